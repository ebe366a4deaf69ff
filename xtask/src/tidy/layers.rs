//! Who may know whom in `host/src`: the table in ARCHITECTURE.md, checked against the imports.
//!
//! The table is the block fenced as `layers`: one line a room, `room: rooms it may import`.

use std::collections::{BTreeMap, BTreeSet};

use super::{File, Finding};

const TABLE: &str = "ARCHITECTURE.md";
const HOST: &str = "host/src/";

type Layers = BTreeMap<String, BTreeSet<String>>;

pub(crate) fn check(architecture: &str, files: &[File]) -> Vec<Finding> {
    let Some(layers) = table(architecture) else {
        return vec![Finding::new(TABLE, 1, "no block fenced as ```layers")];
    };
    let mut findings = Vec::new();
    for file in files {
        let Some(inner) = file.path.strip_prefix(HOST) else { continue };
        let room = inner.split(['/', '.']).next().unwrap_or_default();
        if matches!(room, "main" | "lib") {
            continue;
        }
        let Some(allowed) = layers.get(room) else {
            findings.push(Finding::new(
                &file.path,
                1,
                format!("room {room:?} is not in the layer table of {TABLE}"),
            ));
            continue;
        };
        for (line, import) in imports(&file.text) {
            let known = import == room || allowed.contains(&import) || allowed.contains("*");
            if !known {
                let what =
                    format!("{room} may not import {import}: see the layer table of {TABLE}");
                findings.push(Finding::new(&file.path, line, what));
            }
        }
    }
    findings
}

fn table(architecture: &str) -> Option<Layers> {
    let (_, rest) = architecture.split_once("```layers\n")?;
    let (block, _) = rest.split_once("```")?;
    let line = |line: &str| {
        let (room, allowed) = line.split_once(':')?;
        let allowed = allowed.split(',').map(|name| name.trim().to_owned());
        Some((room.trim().to_owned(), allowed.filter(|name| !name.is_empty()).collect()))
    };
    Some(block.lines().filter_map(line).collect())
}

/// Rooms that a file names, as `crate::room` or as the crates of the two contracts.
fn imports(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let code = line.split("//").next().unwrap_or_default();
        for (start, _) in code.match_indices("crate::") {
            let rest = code.get(start + "crate::".len()..).unwrap_or_default();
            let room: String = rest
                .chars()
                .take_while(|character| character.is_alphanumeric() || *character == '_')
                .collect();
            // `crate::{a, b}` names its rooms one by one.
            let rooms: Vec<&str> = match rest.strip_prefix('{') {
                Some(list) => list
                    .split([',', '}'])
                    .map(|name| name.trim().split(':').next().unwrap_or(""))
                    .collect(),
                None => vec![room.as_str()],
            };
            let lower = |name: &&str| name.chars().next().is_some_and(char::is_lowercase);
            found.extend(rooms.into_iter().filter(lower).map(|name| (at + 1, name.to_owned())));
        }
        for (word, name) in [("krsi_host_abi", "abi"), ("krsi_plugin_schema", "schema")] {
            if code.contains(word) {
                found.push((at + 1, name.to_owned()));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARCHITECTURE: &str =
        "# x\n```layers\nkernel: abi\ndecode: abi, schema\npipeline: *\n```\n";

    fn findings(path: &str, text: &str) -> usize {
        check(ARCHITECTURE, &[File { path: path.into(), text: text.into() }]).len()
    }

    #[test]
    fn imports_follow_the_table() {
        assert_eq!(
            findings("host/src/decode/mod.rs", "use krsi_host_abi::x;\nuse crate::decode::y;"),
            0
        );
        assert_eq!(findings("host/src/decode/mod.rs", "use crate::kernel::x;"), 1);
        assert_eq!(findings("host/src/kernel/map/mod.rs", "use krsi_plugin_schema::x;"), 1);
        assert_eq!(findings("host/src/kernel/map/mod.rs", "use crate::{kernel, decode};"), 1);
        assert_eq!(findings("host/src/pipeline.rs", "use crate::kernel::x;"), 0);
        assert_eq!(findings("host/src/cellar/mod.rs", ""), 1);
        assert_eq!(findings("xtask/src/main.rs", "use crate::anything;"), 0);
        assert_eq!(check("# no table", &[]).len(), 1);
    }
}
