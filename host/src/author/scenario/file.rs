//! The file of scenarios: TOML, every key known, every number bounded.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::regular;

/// Largest file of scenarios, and largest configuration beside it.
const FILE_MAX: u64 = 1 << 20;
/// Acts of a scenario.
const ACTS_MAX: usize = 1000;
/// Scenarios of a plugin.
const SCENARIOS_MAX: usize = 1000;

/// Why scenarios cannot be played.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ScenarioError {
    /// The folder or a file cannot be read.
    #[error("{}: cannot be read", file.display())]
    Read {
        /// The file or folder.
        file: PathBuf,
        /// Error that the kernel returned.
        #[source]
        source: io::Error,
    },
    /// A file is none of scenarios.
    #[error("{}: {reason}", file.display())]
    File {
        /// Path of the file.
        file: PathBuf,
        /// Fault in the file, and where it is.
        reason: String,
    },
    /// An act is not one.
    #[error("{scenario:?}, act {act}: {reason}")]
    Act {
        /// Name of the scenario.
        scenario: String,
        /// Number of the act, from 1 on.
        act: usize,
        /// Fault in the act.
        reason: String,
    },
}

/// What a scenario is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// An attack, which must be detected.
    Attack,
    /// A benign scenario that looks like an attack, and must be left alone.
    Benign,
    /// A baseline: what a machine does all day, and must be left alone.
    Baseline,
}

impl Kind {
    /// The word for the kind.
    #[must_use]
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Kind::Attack => "attack",
            Kind::Benign => "benign",
            Kind::Baseline => "baseline",
        }
    }
}

/// A file, as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ScenarioFile {
    /// Configuration of the plugin, beside the file.
    config: Option<PathBuf>,
    #[serde(default)]
    attack: Vec<Written>,
    #[serde(default)]
    benign: Vec<Written>,
    #[serde(default)]
    baseline: Vec<Written>,
}

/// A scenario, as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    name: String,
    acts: Vec<ScenarioAct>,
    /// Techniques of the alerts that must come, each at least once.
    #[serde(default)]
    alerts: Vec<String>,
    /// Of a benign scenario, the attack that it is the twin of.
    twin_of: Option<String>,
    /// Of an attack, the one that it does in another way.
    variant_of: Option<String>,
}

/// A value of a field of a call.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(untagged)]
pub(super) enum GivenValue {
    /// A whole number.
    Number(i64),
    /// A text, path, or address.
    Text(String),
}

/// Something that a process does. One of `exec`, `fork`, `exit`, `open`, `connect`, `call`, `watch`, `running`, `wait_ms`,
/// `lost` says what.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ScenarioAct {
    /// Id of the process that acts; 100 unless said.
    pub(super) pid: Option<u32>,
    /// Its parent, when it is seen for the first time.
    pub(super) parent: Option<u32>,
    /// User id and group id of the process.
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
    /// Name of its thread; the file's name after an exec, unless said.
    pub(super) comm: Option<String>,
    /// Path of its cgroup.
    pub(super) cgroup: Option<String>,
    /// Milliseconds after the act before; 1 unless said.
    pub(super) after_ms: Option<u64>,
    /// Whether the plugin's rules must refuse it by then. What is refused does not happen.
    pub(super) refused: bool,

    /// Executes a file, with arguments and a kind: `memfd` or `deleted`.
    pub(super) exec: Option<String>,
    pub(super) argv: Option<Vec<String>>,
    pub(super) kind: Option<String>,
    /// Ran that file when the plugin started, with `argv`, `kind` and connections to `ADDRESS:PORT`.
    pub(super) running: Option<String>,
    pub(super) connections: Option<Vec<String>>,
    /// Creates a process with that id.
    pub(super) fork: Option<u32>,
    /// Ends with a status.
    pub(super) exit: Option<u32>,
    /// Opens a file, with `O_*` flags.
    pub(super) open: Option<String>,
    pub(super) flags: Option<u32>,
    /// Connects to `ADDRESS:PORT`, by `tcp` unless `udp` is said.
    pub(super) connect: Option<String>,
    pub(super) protocol: Option<String>,
    /// Calls a hook of docs/hooks.md, with its fields.
    pub(super) call: Option<String>,
    pub(super) fields: BTreeMap<String, GivenValue>,
    /// Is seen by a watch of the plugin, by its place in the manifest, at a hook, with its values.
    pub(super) watch: Option<u16>,
    pub(super) hook: Option<String>,
    pub(super) values: Vec<GivenValue>,
    /// Waits for so many milliseconds.
    pub(super) wait_ms: Option<u64>,
    /// Loses so many records.
    pub(super) lost: Option<u64>,
}

/// A scenario that was read and checked.
#[derive(Clone, Debug)]
pub(super) struct Scenario {
    pub(super) file: PathBuf,
    pub(super) kind: Kind,
    pub(super) name: String,
    pub(super) acts: Vec<ScenarioAct>,
    pub(super) alerts: Vec<String>,
    pub(super) twin_of: Option<String>,
    pub(super) variant_of: Option<String>,
    /// Bytes of the configuration that the plugin starts with.
    pub(super) config: Vec<u8>,
}

/// The scenarios of a folder, in the order of its files' names.
pub(super) fn read(folder: &Path) -> Result<Vec<Scenario>, ScenarioError> {
    let failed = |source| ScenarioError::Read { file: folder.to_owned(), source };
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            files.push(path);
        }
    }
    files.sort();
    let mut scenarios = Vec::new();
    for file in files {
        scenarios.extend(of_file(&file)?);
        if scenarios.len() > SCENARIOS_MAX {
            let reason = format!("more than {SCENARIOS_MAX} scenarios");
            return Err(ScenarioError::File { file, reason });
        }
    }
    Ok(scenarios)
}

fn of_file(path: &Path) -> Result<Vec<Scenario>, ScenarioError> {
    let failed = |source| ScenarioError::Read { file: path.to_owned(), source };
    let wrong = |reason: String| ScenarioError::File { file: path.to_owned(), reason };
    let text = regular::read_text(path, FILE_MAX).map_err(failed)?;
    let file: ScenarioFile =
        toml::from_str(&text).map_err(|error| wrong(error.to_string().trim().to_owned()))?;
    let config = match file.config {
        None => Vec::new(),
        Some(name) => {
            let beside = path.parent().unwrap_or(Path::new(".")).join(name);
            regular::read(&beside, FILE_MAX)
                .map_err(|source| ScenarioError::Read { file: beside, source })?
        }
    };
    let each =
        [(Kind::Attack, file.attack), (Kind::Benign, file.benign), (Kind::Baseline, file.baseline)];
    let mut scenarios = Vec::new();
    for (kind, written) in each {
        for one in written {
            check(kind, &one).map_err(|reason| wrong(format!("{:?}: {reason}", one.name)))?;
            let Written { name, acts, alerts, twin_of, variant_of } = one;
            let (file, config) = (path.to_owned(), config.clone());
            scenarios.push(Scenario {
                file,
                kind,
                name,
                acts,
                alerts,
                twin_of,
                variant_of,
                config,
            });
        }
    }
    Ok(scenarios)
}

fn check(kind: Kind, one: &Written) -> Result<(), String> {
    let refuses = one.acts.iter().any(|act| act.refused);
    if one.acts.is_empty() || one.acts.len() > ACTS_MAX {
        return Err(format!("has {} acts, 1 to {ACTS_MAX} are allowed", one.acts.len()));
    }
    match kind {
        Kind::Attack if one.alerts.is_empty() && !refuses => {
            Err("an attack says what must come of it: `alerts`, or an act that is `refused`".into())
        }
        Kind::Attack if one.twin_of.is_some() => Err("`twin_of` is for benign scenarios".into()),
        Kind::Benign | Kind::Baseline if !one.alerts.is_empty() || refuses => {
            Err("nothing may come of it: no `alerts`, no act that is `refused`".into())
        }
        Kind::Benign | Kind::Baseline if one.variant_of.is_some() => {
            Err("`variant_of` is for attacks".into())
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use rustix::fs::{CWD, Mode, mkfifoat};

    use super::*;

    #[test]
    fn what_is_no_scenario_is_refused_with_its_place() {
        let folder = std::env::temp_dir().join(format!("krsi-scenario-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let check = |text: &str, told: &str| {
            fs::write(folder.join("a.toml"), text).unwrap();
            match read(&folder) {
                Ok(scenarios) => assert_eq!(told, format!("{} scenarios", scenarios.len())),
                Err(error) => assert!(error.to_string().contains(told), "{error}"),
            }
        };
        check(
            "[[attack]]\nname = \"a\"\nacts = [{ exec = \"/x\" }]\nalerts = [\"T1\"]",
            "1 scenarios",
        );
        check("[[attack]]\nname = \"a\"\nacts = [{ exec = \"/x\" }]", "what must come of it");
        check(
            "[[benign]]\nname = \"a\"\nacts = [{ exec = \"/x\", refused = true }]",
            "nothing may come",
        );
        check("[[benign]]\nname = \"a\"\nacts = []", "has 0 acts");
        check("[[benign]]\nname = \"a\"\nacts = [{ exce = \"/x\" }]", "exce");
        check("[[attak]]\nname = \"a\"", "attak");
        check("config = \"none.toml\"", "none.toml: cannot be read");
        // What never ends, what waits for a writer, and what is too long is refused, whichever file it is.
        check("config = \"/dev/zero\"", "/dev/zero: cannot be read");
        let long = " ".repeat(usize::try_from(FILE_MAX).unwrap() + 1);
        check(&long, "a.toml: cannot be read");
        check("", "0 scenarios");
        mkfifoat(CWD, folder.join("b.toml"), Mode::RUSR | Mode::WUSR).unwrap();
        check("", "b.toml: cannot be read");
        fs::remove_dir_all(folder).unwrap();
    }
}
