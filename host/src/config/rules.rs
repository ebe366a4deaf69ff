//! What the operator says of all rules: `[rules]` of the configuration file.

use std::collections::BTreeMap;
use std::path::PathBuf;

use krsi_plugin_schema::latest::{Hook, Label};
use serde::Deserialize;

use super::file::{errno_of, within};
use super::setting::SettingError;

/// Most keys of a rule map.
const KEYS_MAX: usize = 1 << 20;

/// Mebibytes of an executable that rules on digests have hashed, unless said otherwise.
const DIGEST_MIB: u32 = 256;
/// The most that can be said: the caller of an exec waits for it, whatever signal comes.
const DIGEST_MIB_MAX: u32 = 16 << 10;

/// Rule maps by their names in the file, with the kernel's. The keys of the last are rules.
const MAPS: [(&str, &str); 11] = [
    ("process", "PROCESS"),
    ("lineage", "LINEAGE"),
    ("file", "FILE"),
    ("network", "NETWORK"),
    ("cgroup", "CGROUP"),
    ("path", "PATH"),
    ("digest", "DIGEST"),
    ("marks", "MEMBER"),
    ("exempt", "EXEMPT"),
    ("labels", "LABELS"),
    ("rules", "HITS"),
];

/// Processes that the host keeps in mind, unless said otherwise.
const PROCESSES_MAX: usize = 65_536;
/// The host's own table among the capacities.
const PROCESSES: &str = "processes";

/// `[rules]` as it is written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct RulesTable {
    /// Executables whose processes no rule refuses.
    #[serde(default)]
    exempt_executables: Vec<PathBuf>,
    /// Real users for whom they count; root without a word.
    exempt_uids: Option<Vec<u32>>,
    /// Cgroups in which they count, whoever runs them.
    #[serde(default)]
    exempt_cgroups: Vec<PathBuf>,
    /// Processes that run at the start and that no rule concerns.
    #[serde(default)]
    exempt_tgids: Vec<u32>,
    /// `pass`, `deny ERRNO` or `audit ERRNO` by hook.
    #[serde(default)]
    on_error: BTreeMap<String, String>,
    /// Mebibytes of an executable at most that is hashed.
    digest_mib: Option<u32>,
    /// Keys by map.
    #[serde(default)]
    capacity: BTreeMap<String, u32>,
}

/// What a hook answers when the object of a rule cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnError {
    /// The call is refused with this errno.
    Deny(u16),
    /// Nothing, but it reports that it would have been the errno.
    Audit(u16),
}

/// The operator's word on all rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleSettings {
    /// Executables whose processes no rule refuses.
    pub exempt_executables: Vec<PathBuf>,
    /// Real users for whom they count.
    pub exempt_uids: Vec<u32>,
    /// Cgroups in which they count, by their paths below the root of the hierarchy.
    pub exempt_cgroups: Vec<PathBuf>,
    /// Processes that run at the start and that no rule concerns.
    pub exempt_tgids: Vec<u32>,
    /// Answers by hook; a hook that is not here lets the call pass.
    pub on_error: Vec<(Hook, OnError)>,
    /// Mebibytes of an executable at most that is hashed for rules on digests.
    pub digest_mib: u32,
    /// Keys of rule maps that get another size.
    pub capacity: Vec<(&'static str, u32)>,
    /// Processes that the host keeps in mind.
    pub processes: usize,
    /// Labels of the administrator's own.
    pub labels: Vec<Label>,
}

impl Default for RuleSettings {
    fn default() -> Self {
        Self {
            exempt_executables: Vec::new(),
            exempt_uids: Vec::new(),
            exempt_cgroups: Vec::new(),
            exempt_tgids: Vec::new(),
            on_error: Vec::new(),
            digest_mib: DIGEST_MIB,
            capacity: Vec::new(),
            processes: PROCESSES_MAX,
            labels: Vec::new(),
        }
    }
}

impl RulesTable {
    /// Checks the values of the table.
    pub(super) fn settings(&self) -> Result<RuleSettings, SettingError> {
        for (key, paths) in [
            ("exempt-executables", &self.exempt_executables),
            ("exempt-cgroups", &self.exempt_cgroups),
        ] {
            if let Some(path) = paths.iter().find(|path| !path.is_absolute()) {
                let relative = SettingError::Relative { path: path.clone() };
                return Err(relative.at_key(key).in_table("rules"));
            }
        }
        let mut settings = RuleSettings {
            exempt_executables: self.exempt_executables.clone(),
            exempt_uids: self.exempt_uids.clone().unwrap_or_else(|| vec![0]),
            exempt_cgroups: self.exempt_cgroups.clone(),
            exempt_tgids: self.exempt_tgids.clone(),
            ..RuleSettings::default()
        };
        if let Some(mib) = self.digest_mib {
            let here = |error: SettingError| error.in_table("rules");
            within("digest-mib", mib as usize, 1, DIGEST_MIB_MAX as usize).map_err(here)?;
            settings.digest_mib = mib;
        }
        for (name, text) in &self.on_error {
            let here = |error: SettingError| error.in_table("rules.on-error");
            let unknown = || here(SettingError::Hook { name: name.clone() });
            let hook = Hook::from_name(name).ok_or_else(unknown)?;
            let answer = on_error(text).map_err(|error| here(error.at_key(name)))?;
            settings.on_error.extend(answer.map(|answer| (hook, answer)));
        }
        for (name, keys) in &self.capacity {
            let here = |error: SettingError| error.in_table("rules.capacity");
            if name == PROCESSES {
                within(name, *keys as usize, 1, KEYS_MAX).map_err(here)?;
                settings.processes = *keys as usize;
                continue;
            }
            let (_, map) = MAPS.iter().find(|(known, _)| known == name).ok_or_else(|| {
                let known = MAPS.iter().map(|(name, _)| *name).chain([PROCESSES]).collect();
                here(SettingError::Unknown { name: name.clone(), known })
            })?;
            within(name, *keys as usize, 1, KEYS_MAX).map_err(here)?;
            settings.capacity.push((map, *keys));
        }
        Ok(settings)
    }
}

fn on_error(text: &str) -> Result<Option<OnError>, SettingError> {
    let wrong = || SettingError::Answer { text: text.to_owned() };
    if text == "pass" {
        return Ok(None);
    }
    let (verb, errno) = text.split_once(' ').ok_or_else(wrong)?;
    let errno = errno_of(errno)?;
    match verb {
        "deny" => Ok(Some(OnError::Deny(errno))),
        "audit" => Ok(Some(OnError::Audit(errno))),
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<RuleSettings, SettingError> {
        toml::from_str::<RulesTable>(text)?.settings()
    }

    #[test]
    fn everything_can_be_said() {
        let text = "exempt-executables = [\"/usr/sbin/sshd\"]\nexempt-tgids = [1, 7]\n\
                    digest-mib = 64\n\
                    exempt-uids = [1000]\nexempt-cgroups = [\"/system.slice\"]\n\
                    [on-error]\nsocket_connect = \"deny EACCES\"\nsocket_bind = \"audit EPERM\"\n\
                    file_open = \"pass\"\n[capacity]\nfile = 2\nprocesses = 9\nrules = 100";
        let [eperm, eacces] = ["EPERM", "EACCES"].map(|name| errno_of(name).unwrap());
        let expected = RuleSettings {
            exempt_executables: vec!["/usr/sbin/sshd".into()],
            exempt_uids: vec![1000],
            exempt_cgroups: vec!["/system.slice".into()],
            exempt_tgids: vec![1, 7],
            on_error: vec![
                (Hook::SocketBind, OnError::Audit(eperm)),
                (Hook::SocketConnect, OnError::Deny(eacces)),
            ],
            digest_mib: 64,
            capacity: vec![("FILE", 2), ("HITS", 100)],
            processes: 9,
            labels: Vec::new(),
        };
        let found = parse(text).unwrap();
        assert_eq!(found, expected);
        let nothing = parse("").unwrap();
        assert_eq!((nothing.exempt_uids, nothing.exempt_cgroups), (vec![0], Vec::new()));
    }

    #[test]
    fn mistakes_are_named() {
        let check = |text: &str, words: &str| {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(words), "{text}: {error}");
        };
        check("exempt-executables = [\"sshd\"]", "\"sshd\" is not absolute");
        check("exempt-cgroups = [\"a\"]", "\"a\" is not absolute");
        check("exempt = []", "exempt-executables");
        check("[on-error]\nfile_opem = \"pass\"", "\"file_opem\" is no hook");
        check("[on-error]\nfile_open = \"deny\"", "is not \"pass\", \"deny ERRNO\"");
        check("[on-error]\nfile_open = \"deny EWHAT\"", "\"EWHAT\" is no errno");
        check("[on-error]\nfile_open = \"allow EPERM\"", "is not \"pass\"");
        check("digest-mib = 20000", "digest-mib = 20000 is not from 1 to 16384");
        check("digest-mib = 0", "digest-mib = 0 is not from 1 to 16384");
        check("[capacity]\nfiles = 2", "none of process, lineage, file");
        check("[capacity]\nfile = 0", "file = 0 is not from 1 to 1048576");
    }
}
