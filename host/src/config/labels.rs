//! Labels of the administrator's own: `[labels]` of the configuration file.

use std::collections::BTreeMap;

use krsi_plugin_schema::latest::{Label, LabelExec, LabelFull};
use serde::Deserialize;

use super::setting::SettingError;
use crate::plugin::is_label_name;
use crate::policy::KEPT;

/// `[labels]`, by the names of the labels.
pub(super) type LabelTables = BTreeMap<String, LabelTable>;

/// A label as it is written. Both keys must be there.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct LabelTable {
    /// Effect of an exec on the label.
    exec: ExecWord,
    /// Effect on a call that finds no room for the label.
    full: FullWord,
}

/// `keep` or `drop`.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum ExecWord {
    Keep,
    Drop,
}

/// `refuse` or `count`.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum FullWord {
    Refuse,
    Count,
}

/// Reads the labels that the administrator's tables declare.
pub(super) fn labels(tables: &LabelTables) -> Result<Vec<Label>, SettingError> {
    if tables.len() > KEPT {
        return Err(SettingError::TooManyLabels { count: tables.len() });
    }
    let label = |(name, table): (&String, &LabelTable)| {
        if !is_label_name(name) {
            return Err(SettingError::LabelName { name: name.clone() }.in_table("labels"));
        }
        let exec = match table.exec {
            ExecWord::Keep => LabelExec::Keep,
            ExecWord::Drop => LabelExec::Drop,
        };
        let full = match table.full {
            FullWord::Refuse => LabelFull::Refuse,
            FullWord::Count => LabelFull::Count,
        };
        Ok(Label { name: name.clone(), exec, full })
    };
    tables.iter().map(label).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Vec<Label>, SettingError> {
        labels(&toml::from_str(text)?)
    }

    #[test]
    fn both_words_on_a_label_must_be_said() {
        let label = |name: &str, exec, full| Label { name: name.into(), exec, full };
        let text = "[memfd]\nexec = \"keep\"\nfull = \"count\"\n\
                    [runtime]\nexec = \"drop\"\nfull = \"refuse\"\n";
        let expected = [
            label("memfd", LabelExec::Keep, LabelFull::Count),
            label("runtime", LabelExec::Drop, LabelFull::Refuse),
        ];
        assert_eq!(parse(text).unwrap(), expected);
        let check = |text: &str, words: &str| {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(words), "{text}: {error}");
        };
        check("[a]\nexec = \"keep\"", "missing field `full`");
        check("[a]\nfull = \"count\"", "missing field `exec`");
        check("[a]\nexec = \"stay\"\nfull = \"count\"", "unknown variant `stay`");
        check("[a]\nexec = \"keep\"\nfull = \"count\"\nttl = 3", "unknown field `ttl`");
        check(
            "[\"a.b\"]\nexec = \"keep\"\nfull = \"count\"",
            "[labels] \"a.b\" is no name of a label",
        );
        let nine: String =
            (0..9).map(|at| format!("[l{at}]\nexec = \"keep\"\nfull = \"count\"\n")).collect();
        check(&nine, "9 labels, at most 8 are kept for the administrator");
    }
}
