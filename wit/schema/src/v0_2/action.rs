//! Actions: those of schema 0.1, with rules over every hook and every kind of key.

use alloc::borrow::Cow;
use alloc::string::String;
use core::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::hook::HookSet;
use crate::frame::{Frame, FrameError};
use crate::v0_1::{Alert, FileKey, Kill, Metric, ProcessKey, Revoke, Subject};

/// What a path that could not be resolved in full means to a rule on paths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum IfUnresolved {
    /// The rule does not apply.
    #[default]
    Pass,
    /// The rule applies.
    Apply,
}

/// Object of a rule. The first four are those of schema 0.1; later versions append.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum RuleKey<'a> {
    /// One process.
    Process(ProcessKey),
    /// A process and all its descendants, present and future.
    Lineage(ProcessKey),
    /// A file, by whatever name.
    File(FileKey),
    /// A destination.
    Network {
        /// Address prefix.
        address: IpAddr,
        /// Bits of it that count; 0 for every address of the family.
        prefix: u8,
        /// Port, 0 for every port.
        port: u16,
    },
    /// Everything that runs in a cgroup.
    Cgroup(u64),
    /// Files whose path starts with a text.
    Path {
        /// The text, from a slash on.
        #[serde(borrow)]
        prefix: Cow<'a, str>,
        /// What a path means that could not be resolved in full.
        if_unresolved: IfUnresolved,
    },
    /// Executables with a SHA-256 digest, as the kernel's IMA hashes the file.
    Digest([u8; 32]),
    /// Every call of the rule's hooks.
    Hook,
    /// A destination, by sockets of one protocol.
    Transport {
        /// Address prefix.
        address: IpAddr,
        /// Bits of it that count; 0 for every address of the family.
        prefix: u8,
        /// Port, 0 for every port.
        port: u16,
        /// `IPPROTO_*` of `include/uapi/linux/in.h`, 1 to 255; sockets of `IPPROTO_MPTCP` are TCP's.
        protocol: u16,
    },
}

impl RuleKey<'_> {
    /// A copy that borrows nothing.
    #[must_use]
    pub fn into_owned(self) -> RuleKey<'static> {
        match self {
            RuleKey::Process(key) => RuleKey::Process(key),
            RuleKey::Lineage(root) => RuleKey::Lineage(root),
            RuleKey::File(file) => RuleKey::File(file),
            RuleKey::Network { address, prefix, port } => {
                RuleKey::Network { address, prefix, port }
            }
            RuleKey::Cgroup(id) => RuleKey::Cgroup(id),
            RuleKey::Path { prefix, if_unresolved } => {
                RuleKey::Path { prefix: Cow::Owned(String::from(prefix)), if_unresolved }
            }
            RuleKey::Digest(digest) => RuleKey::Digest(digest),
            RuleKey::Hook => RuleKey::Hook,
            RuleKey::Transport { address, prefix, port, protocol } => {
                RuleKey::Transport { address, prefix, port, protocol }
            }
        }
    }
}

/// What `deny` and `allow` share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule<'a> {
    /// The plugin's own name for the rule, for [`Revoke`] and [`super::Outcome`]. A second rule
    /// with the same token replaces the first.
    pub token: u32,
    /// Time of the event that caused it, 0 without one; only measured, never trusted.
    pub cause_boot_ns: u64,
    /// Object.
    #[serde(borrow)]
    pub key: RuleKey<'a>,
    /// Subject.
    pub subject: Subject,
    /// Hooks it applies to.
    pub hooks: HookSet,
    /// Milliseconds until it ends, 0 for never.
    pub ttl_ms: u64,
    /// Why, for whoever is denied; at most 256 bytes are kept.
    #[serde(borrow)]
    pub reason: Cow<'a, str>,
}

/// What a rule does. The first two are `false` and `true` of schema 0.1's `audit`; later versions
/// append.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum RuleMode {
    /// It refuses.
    #[default]
    Enforce,
    /// It reports what it would have refused.
    Audit,
    /// Nothing: it only keeps its token.
    Off,
}

/// What a call means to a rule on files or destinations, whose file or destination could not be read.
/// What is not there at all is no such call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum IfUnread {
    /// The rule does not apply.
    #[default]
    Pass,
    /// The rule applies.
    Apply,
}

/// Refuse calls.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deny<'a> {
    /// What, whom, how long.
    #[serde(borrow)]
    pub rule: Rule<'a>,
    /// Errno to answer, 1 to 4095.
    pub errno: u16,
    /// Whether it does.
    pub mode: RuleMode,
    /// What a call means whose file or destination could not be read; of no meaning to rules on other
    /// keys. Schema 0.1 ends before it.
    pub if_unread: IfUnread,
}

impl<'a> Deny<'a> {
    fn decode(frame: &Frame<'a>) -> Result<Self, FrameError> {
        let ((rule, errno, mode), rest) = frame.decode_start()?;
        let if_unread = if rest.body.is_empty() { IfUnread::Pass } else { rest.decode()? };
        Ok(Deny { rule, errno, mode, if_unread })
    }
}

/// Lift this plugin's own denials on a more specific key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allow<'a> {
    /// What, whom, how long.
    #[serde(borrow)]
    pub rule: Rule<'a>,
}

/// A decoded action.
#[derive(Clone, Debug, PartialEq)]
pub enum Action<'a> {
    /// See [`Deny`].
    Deny(Deny<'a>),
    /// See [`Allow`].
    Allow(Allow<'a>),
    /// See [`Revoke`].
    Revoke(Revoke),
    /// See [`Kill`].
    Kill(Kill),
    /// See [`Alert`].
    Alert(Alert<'a>),
    /// See [`Metric`].
    Metric(Metric<'a>),
    /// A kind that this version does not have.
    Unknown(u16),
}

impl<'a> Action<'a> {
    /// Decodes one frame, of this schema or of 0.1.
    ///
    /// # Errors
    /// When the body is not what the kind says.
    pub fn decode(frame: &Frame<'a>) -> Result<Self, FrameError> {
        Ok(match frame.kind {
            1 => Action::Deny(Deny::decode(frame)?),
            2 => Action::Allow(frame.decode()?),
            3 => Action::Revoke(frame.decode()?),
            4 => Action::Kill(frame.decode()?),
            5 => Action::Alert(frame.decode()?),
            6 => Action::Metric(frame.decode()?),
            other => Action::Unknown(other),
        })
    }
}
