//! Actions: all that a plugin can want.

use alloc::borrow::Cow;
use core::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::event::HookSet;
use super::process::{FileKey, ProcessKey};
use crate::frame::{Frame, FrameError};

/// Object of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum RuleKey {
    /// Rules on one process.
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
}

/// Whom a rule concerns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Subject {
    /// The rule applies to every process.
    #[default]
    Any,
    /// A process and all its descendants.
    Lineage(ProcessKey),
}

/// What `deny` and `allow` share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule<'a> {
    /// The plugin's own name for the rule, for [`Revoke`] and [`super::Outcome`]. A second rule
    /// with the same token replaces the first.
    pub token: u32,
    /// Time of the event that caused it, 0 without one; only measured, never trusted.
    pub cause_boot_ns: u64,
    /// Object of the rule.
    pub key: RuleKey,
    /// Subject of the rule.
    pub subject: Subject,
    /// Hooks it applies to.
    pub hooks: HookSet,
    /// Milliseconds until it ends, 0 for never.
    pub ttl_ms: u64,
    /// Why, for whoever is denied; at most 256 bytes are kept.
    #[serde(borrow)]
    pub reason: Cow<'a, str>,
}

/// Refuse calls.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deny<'a> {
    /// Key, subject and duration of the rule.
    #[serde(borrow)]
    pub rule: Rule<'a>,
    /// Errno to answer, 1 to 4095.
    pub errno: u16,
    /// Only report what would have been refused.
    pub audit: bool,
}

/// Lift this plugin's own denials on a more specific key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allow<'a> {
    /// Key, subject and duration of the rule.
    #[serde(borrow)]
    pub rule: Rule<'a>,
}

/// Withdraw a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revoke {
    /// Token of the rule.
    pub token: u32,
}

/// Send `SIGKILL`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kill {
    /// The plugin's number for this action, which the outcome names.
    pub token: u32,
    /// The process that is killed.
    pub process: ProcessKey,
}

/// Severity of an alert, ascending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Severity {
    /// Worth keeping.
    Info,
    /// Worth a look.
    Low,
    /// Worth a look today.
    Medium,
    /// Worth waking somebody.
    High,
    /// Damage is being done.
    Critical,
}

/// A detection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert<'a> {
    /// MITRE ATT&CK technique, such as `T1496`; empty without one.
    #[serde(borrow)]
    pub technique: Cow<'a, str>,
    /// Severity of the alert.
    pub severity: Severity,
    /// Process that the alert is about; a tgid of 0 for nobody in particular.
    pub process: ProcessKey,
    /// Text of the alert: what was seen, in one line.
    #[serde(borrow)]
    pub text: Cow<'a, str>,
    /// Time of the event that caused it, 0 without one.
    pub cause_boot_ns: u64,
}

/// How a metric's values add up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MetricKind {
    /// Each value is added.
    Counter,
    /// Each value replaces the last.
    Gauge,
}

/// A value that the plugin counts or measures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Metric<'a> {
    /// Name, `[a-z0-9_]`, at most 64 bytes.
    #[serde(borrow)]
    pub name: Cow<'a, str>,
    /// Kind of the metric: how its values add up.
    pub kind: MetricKind,
    /// Value of the metric, a finite number.
    pub value: f64,
}

/// Kinds of frames in a list of actions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum ActionKind {
    /// [`Deny`].
    Deny = 1,
    /// [`Allow`].
    Allow = 2,
    /// [`Revoke`].
    Revoke = 3,
    /// [`Kill`].
    Kill = 4,
    /// [`Alert`].
    Alert = 5,
    /// [`Metric`].
    Metric = 6,
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
    /// Decodes one frame.
    ///
    /// # Errors
    /// When the body is not what the kind says.
    pub fn decode(frame: &Frame<'a>) -> Result<Self, FrameError> {
        Ok(match frame.kind {
            1 => Action::Deny(frame.decode()?),
            2 => Action::Allow(frame.decode()?),
            3 => Action::Revoke(frame.decode()?),
            4 => Action::Kill(frame.decode()?),
            5 => Action::Alert(frame.decode()?),
            6 => Action::Metric(frame.decode()?),
            other => Action::Unknown(other),
        })
    }
}
