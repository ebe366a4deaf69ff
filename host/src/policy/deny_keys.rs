//! Kinds of keys of rules, as manifests ask for them and configurations name them.

use std::fmt;

use krsi_plugin_schema::latest::RuleKey;

/// Kinds of keys of rules, in the bits of the manifest's `deny-keys`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DenyKeys(u8);

impl DenyKeys {
    /// One process.
    pub const PROCESS: DenyKeys = DenyKeys(1);
    /// A process and its descendants.
    pub const LINEAGE: DenyKeys = DenyKeys(1 << 1);
    /// A file.
    pub const FILE: DenyKeys = DenyKeys(1 << 2);
    /// A destination.
    pub const NETWORK: DenyKeys = DenyKeys(1 << 3);
    /// A cgroup.
    pub const CGROUP: DenyKeys = DenyKeys(1 << 4);
    /// A path prefix.
    pub const PATH: DenyKeys = DenyKeys(1 << 5);
    /// A digest of the executable.
    pub const DIGEST: DenyKeys = DenyKeys(1 << 6);
    /// Every call of a hook.
    pub const HOOK: DenyKeys = DenyKeys(1 << 7);

    /// Every kind with its name in a configuration.
    pub const NAMES: [(DenyKeys, &str); 8] = [
        (Self::PROCESS, "process"),
        (Self::LINEAGE, "lineage"),
        (Self::FILE, "file"),
        (Self::NETWORK, "network"),
        (Self::CGROUP, "cgroup"),
        (Self::PATH, "path"),
        (Self::DIGEST, "digest"),
        (Self::HOOK, "hook"),
    ];

    /// The kinds of both.
    #[must_use]
    pub const fn with(self, other: DenyKeys) -> Self {
        Self(self.0 | other.0)
    }

    /// The kinds in both.
    #[must_use]
    pub const fn and(self, other: DenyKeys) -> Self {
        Self(self.0 & other.0)
    }

    /// The kinds that are not in `other`.
    #[must_use]
    pub const fn without(self, other: DenyKeys) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether all of `other` are in `self`.
    #[must_use]
    pub const fn contains(self, other: DenyKeys) -> bool {
        self.0 & other.0 == other.0
    }

    /// The kind with that name in a configuration.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::NAMES.into_iter().find(|(_, known)| *known == name).map(|(key, _)| key)
    }

    /// The kind of a key.
    #[must_use]
    pub const fn of(key: &RuleKey<'_>) -> Self {
        match key {
            RuleKey::Process(_) => Self::PROCESS,
            RuleKey::Lineage(_) => Self::LINEAGE,
            RuleKey::File(_) => Self::FILE,
            RuleKey::Network { .. } | RuleKey::Transport { .. } => Self::NETWORK,
            RuleKey::Cgroup(_) => Self::CGROUP,
            RuleKey::Path { .. } => Self::PATH,
            RuleKey::Digest(_) => Self::DIGEST,
            RuleKey::Hook => Self::HOOK,
        }
    }
}

impl fmt::Display for DenyKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut between = "";
        for (_, name) in Self::NAMES.into_iter().filter(|(key, _)| self.contains(*key)) {
            write!(f, "{between}{name}")?;
            between = ", ";
        }
        Ok(())
    }
}
