//! Actions: all that a plugin can want.
//!
//! What an older host must not leave out is refused by name, its own action alone: a key, a mode, an
//! action that it does not have. What a newer plugin appends to a composite is skipped, so a field may
//! be appended only if a rule without it means no more than with it. A new kind of action starts with
//! its token, 0 without one, so that its refusal can be told apart.

use alloc::borrow::Cow;
use alloc::vec::Vec;

use super::hook::HookSet;
use super::key::RuleKey;
use super::label::{LabelRule, LabelTest, SetLabel};
use super::process::ProcessKey;
use super::sample::AskSamples;
use crate::codec::{CodecError, Composite, Decode, Encode, Reader, choice};
use crate::frame::{Frame, FrameError, write};
use crate::{composite, words};

/// Whom a rule concerns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Subject {
    /// The rule applies to every process.
    #[default]
    Any,
    /// A process and all its descendants.
    Lineage(ProcessKey),
}

impl Encode for Subject {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Subject::Any => choice(out, 0, |_| ()),
            Subject::Lineage(root) => choice(out, 1, |out| root.encode(out)),
        }
    }
}

impl Decode<'_> for Subject {
    fn decode(from: &mut Reader<'_>) -> Result<Self, CodecError> {
        let (number, mut fields) = (from.number()?, from.sized()?);
        match number {
            0 => Ok(Subject::Any),
            1 => ProcessKey::decode(&mut fields).map(Subject::Lineage),
            number => Err(CodecError::Unknown { what: "subject of a rule", number }),
        }
    }
}

/// What `deny` and `allow` share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule<'a> {
    /// The plugin's own name for the rule, for [`Revoke`] and [`super::Outcome`]. A second rule
    /// with the same token replaces the first; the same rule with another token renews it.
    pub token: u32,
    /// Time of the event that caused it, 0 without one; only measured, never trusted.
    pub cause_boot_ns: u64,
    /// Object of the rule.
    pub key: RuleKey,
    /// Subject of the rule.
    pub subject: Subject,
    /// Labels that the caller must have or lack.
    pub labels: LabelTest<'a>,
    /// Hooks it applies to.
    pub hooks: HookSet,
    /// Milliseconds until it ends, 0 for never.
    pub ttl_ms: u64,
    /// Why, for whoever is denied; at most 256 bytes are kept.
    pub reason: Cow<'a, str>,
}

/// Not a [`composite`]: a rule without a key is none, so there is no default to read.
impl Encode for Rule<'_> {
    fn encode(&self, out: &mut Vec<u8>) {
        let Self { token, cause_boot_ns, key, subject, labels, hooks, ttl_ms, reason } = self;
        crate::codec::sized(out, |out| {
            token.encode(out);
            cause_boot_ns.encode(out);
            key.encode(out);
            subject.encode(out);
            labels.encode(out);
            hooks.encode(out);
            ttl_ms.encode(out);
            reason.encode(out);
        });
    }
}

impl<'a> Decode<'a> for Rule<'a> {
    fn decode(from: &mut Reader<'a>) -> Result<Self, CodecError> {
        let mut fields = from.sized()?;
        let from = &mut fields;
        Ok(Self {
            token: u32::decode(from)?,
            cause_boot_ns: u64::decode(from)?,
            key: RuleKey::decode(from)?,
            subject: Subject::decode(from)?,
            labels: LabelTest::decode(from)?,
            hooks: HookSet::decode(from)?,
            ttl_ms: u64::decode(from)?,
            reason: Cow::decode(from)?,
        })
    }
}

words! {
    /// What a rule does.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub enum RuleMode ("mode of a rule") {
        /// The rule refuses calls.
        #[default]
        Enforce = 0,
        /// The rule reports calls that it would have refused, and refuses none.
        Audit = 1,
        /// The rule does nothing: it only keeps its token.
        Off = 2,
    }
}

words! {
    /// What a call means to a rule on files or destinations, whose file or destination could not be
    /// read. What is not there at all is no such call.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub enum IfUnread ("meaning of what cannot be read") {
        /// The rule does not apply.
        #[default]
        Pass = 0,
        /// The rule applies.
        Apply = 1,
    }
}

/// Refuse calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deny<'a> {
    /// Key, subject and duration of the rule.
    pub rule: Rule<'a>,
    /// Errno to answer, 1 to 4095.
    pub errno: u16,
    /// Whether the rule refuses, only reports, or does nothing.
    pub mode: RuleMode,
    /// What a call means whose file or destination could not be read; of no meaning to rules on other
    /// keys.
    pub if_unread: IfUnread,
}

/// Lift this plugin's own denials on a more specific key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allow<'a> {
    /// Key, subject and duration of the rule.
    pub rule: Rule<'a>,
}

composite! {
    /// Withdraw a rule.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Revoke {
        /// Token of the rule.
        pub token: u32,
    }
}

composite! {
    /// Send `SIGKILL`.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Kill {
        /// The plugin's number for this action, which the outcome names.
        pub token: u32,
        /// The process that is killed.
        pub process: ProcessKey,
    }
}

words! {
    /// Severity of an alert, ascending.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
    pub enum Severity ("severity") {
        /// Worth keeping.
        #[default]
        Info = 0,
        /// Worth a look.
        Low = 1,
        /// Worth a look today.
        Medium = 2,
        /// Worth waking somebody.
        High = 3,
        /// Damage is being done.
        Critical = 4,
    }
}

composite! {
    /// A piece of evidence that an alert stands on.
    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    pub struct AlertEvidence<'a> {
        /// Observation, in the plugin's words.
        pub what: Cow<'a, str>,
        /// Weight of the evidence, in the plugin's own measure.
        pub weight: u32,
    }
}

composite! {
    /// Evidence about a process that is not enough for an alert yet, or belongs to one: for whoever asks later why there
    /// was an alert, or none.
    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    pub struct Evidence<'a> {
        /// The process that the evidence is about.
        pub process: ProcessKey,
        /// Observation, in the plugin's words; the same words again are the same evidence.
        pub what: Cow<'a, str>,
        /// Weight of the evidence, in the plugin's own measure.
        pub weight: u32,
        /// The sum of weights at which the plugin raises an alert; 0 when it has none.
        pub threshold: u32,
    }
}

composite! {
    /// A detection.
    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    pub struct Alert<'a> {
        /// MITRE ATT&CK technique, such as `T1496`; empty without one.
        pub technique: Cow<'a, str>,
        /// Severity of the alert.
        pub severity: Severity,
        /// Process that the alert is about; a tgid of 0 for nobody in particular.
        pub process: ProcessKey,
        /// Text of the alert: what was seen, in one line.
        pub text: Cow<'a, str>,
        /// Time of the event that caused it, 0 without one.
        pub cause_boot_ns: u64,
        /// Evidence that it stands on; a host keeps the first 16 pieces.
        pub evidence: Vec<AlertEvidence<'a>>,
    }
}

words! {
    /// How a metric's values add up.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub enum MetricKind ("kind of a metric") {
        /// Each value is added.
        #[default]
        Counter = 0,
        /// Each value replaces the last.
        Gauge = 1,
    }
}

composite! {
    /// A value that the plugin counts or measures.
    #[derive(Clone, Debug, Default, PartialEq)]
    pub struct Metric<'a> {
        /// Name, `[a-z0-9_]`, at most 64 bytes.
        pub name: Cow<'a, str>,
        /// Kind of the metric: how its values add up.
        pub kind: MetricKind,
        /// Value of the metric, a finite number.
        pub value: f64,
    }
}

/// An action.
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
    /// See [`LabelRule`].
    LabelRule(LabelRule<'a>),
    /// See [`SetLabel`].
    SetLabel(SetLabel<'a>),
    /// Notes evidence about a process; see [`Evidence`].
    Evidence(Evidence<'a>),
    /// Asks for samples of a process; see [`AskSamples`].
    AskSamples(AskSamples),
    /// A kind that this version does not have.
    Unknown(u16),
}

impl<'a> Action<'a> {
    /// Decodes one frame.
    ///
    /// # Errors
    /// When the body is not what the kind says, or wants what this version does not have.
    pub fn decode(frame: &Frame<'a>) -> Result<Self, FrameError> {
        frame.read(|from| {
            Ok(match frame.kind {
                1 => Action::Deny(Deny {
                    rule: Rule::decode(from)?,
                    errno: u16::decode(from)?,
                    mode: from.field()?,
                    if_unread: from.field()?,
                }),
                2 => Action::Allow(Allow { rule: Rule::decode(from)? }),
                3 => Action::Revoke(Revoke::decode_fields(from)?),
                4 => Action::Kill(Kill::decode_fields(from)?),
                5 => Action::Alert(Alert::decode_fields(from)?),
                6 => Action::Metric(Metric::decode_fields(from)?),
                7 => Action::LabelRule(LabelRule {
                    rule: Rule::decode(from)?,
                    label: Cow::decode(from)?,
                }),
                8 => Action::SetLabel(SetLabel::decode_fields(from)?),
                10 => Action::Evidence(Evidence::decode_fields(from)?),
                9 => Action::AskSamples(AskSamples::decode_fields(from)?),
                other => Action::Unknown(other),
            })
        })
    }

    /// Appends the action to a list.
    ///
    /// # Errors
    /// When it is longer than a frame can be.
    pub fn push(&self, out: &mut Vec<u8>) -> Result<(), FrameError> {
        match self {
            Action::Deny(Deny { rule, errno, mode, if_unread }) => write(out, 1, |out| {
                rule.encode(out);
                errno.encode(out);
                mode.encode(out);
                if_unread.encode(out);
            }),
            Action::Allow(Allow { rule }) => write(out, 2, |out| rule.encode(out)),
            Action::Revoke(revoke) => write(out, 3, |out| revoke.encode_fields(out)),
            Action::Kill(kill) => write(out, 4, |out| kill.encode_fields(out)),
            Action::Alert(alert) => write(out, 5, |out| alert.encode_fields(out)),
            Action::Metric(metric) => write(out, 6, |out| metric.encode_fields(out)),
            Action::LabelRule(LabelRule { rule, label }) => write(out, 7, |out| {
                rule.encode(out);
                label.encode(out);
            }),
            Action::SetLabel(set) => write(out, 8, |out| set.encode_fields(out)),
            Action::Evidence(evidence) => write(out, 10, |out| evidence.encode_fields(out)),
            Action::AskSamples(ask) => write(out, 9, |out| ask.encode_fields(out)),
            Action::Unknown(kind) => write(out, *kind, |_| ()),
        }
    }

    /// Token of an action, 0 for those without one.
    #[must_use]
    pub const fn token(&self) -> u32 {
        match self {
            Action::Deny(Deny { rule, .. })
            | Action::Allow(Allow { rule })
            | Action::LabelRule(LabelRule { rule, .. }) => rule.token,
            Action::SetLabel(set) => set.token,
            Action::AskSamples(ask) => ask.token,
            Action::Revoke(revoke) => revoke.token,
            Action::Kill(kill) => kill.token,
            Action::Alert(_) | Action::Metric(_) | Action::Evidence(_) | Action::Unknown(_) => 0,
        }
    }

    /// Token of an action that does not decode, as far as it can be read, 0 without one: who is
    /// refused is told of what.
    #[must_use]
    pub fn token_of(frame: &Frame<'_>) -> u32 {
        let token = match frame.kind {
            1 | 2 | 7 => frame.read(|from| u32::decode(&mut from.sized()?)),
            5 | 6 | 10 => Ok(0),
            _ => frame.read(u32::decode),
        };
        token.unwrap_or(0)
    }
}
