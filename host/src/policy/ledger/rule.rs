//! A rule: what was asked for, what it became, and how it reads.

use std::fmt;
use std::sync::Arc;

use krsi_host_abi::deny::{Lease, Mode, Subject as AbiSubject, UNHASHED, flag, halves};
use krsi_host_abi::hook::{HOOKS, Hook as AbiHook, Keys};
use krsi_plugin_schema::latest::{
    Hook, HookSet, IfUnread, IfUnresolved, KeyKind, LabelTest, RuleKey, Subject,
};

use super::flags::needs;
use super::label_book::LabelBits;
use super::place::Place;

/// A rule that a plugin wants, already within its grant.
#[derive(Clone, Debug)]
pub struct RuleSpec {
    /// Slot of the plugin, below 63.
    pub owner: u8,
    pub plugin: Arc<str>,
    /// The plugin's own name for the rule.
    pub token: u32,
    /// Object of the rule.
    pub key: RuleKey,
    pub subject: Subject,
    pub hooks: HookSet,
    /// Errno to answer; unused by an `allow`.
    pub errno: u16,
    /// Mode that the plugin asked for.
    pub asked: Mode,
    /// Mode of the rule: no more than was asked for, and no more than the operator lets it.
    pub mode: Mode,
    /// Labels that the caller must have or lack.
    pub labels: LabelTest<'static>,
    /// Label that it gives, of a rule that gives one.
    pub gives: Option<Arc<str>>,
    /// What a call means whose file or destination could not be read, or whose executable is not hashed.
    pub if_unread: IfUnread,
    /// Time at which the rule ends, nanoseconds of `CLOCK_BOOTTIME`; 0 for never.
    pub expires_boot_ns: u64,
    /// Why the plugin made it, in its words.
    pub reason: String,
    /// Time of the event that caused it; 0 without one.
    pub cause_boot_ns: u64,
    /// Rules that the plugin may have.
    pub max_rules: usize,
}

/// Tokens of a rule that are answered: of one that is made again under ever new ones, the first and the
/// latest.
const TOKENS_MAX: usize = 64;

/// A rule in the book.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    pub(super) id: u64,
    pub(super) spec: RuleSpec,
    /// The plugin's names for it, in the order in which they came.
    pub(super) tokens: Vec<u32>,
    /// Its key; of a rule that is off, a lineage is not marked and has no id.
    pub(super) place: Place,
    /// Lineage of the subject, 0 without one.
    pub(super) subject_lineage: u64,
    /// Labels that the rule asks for and gives, as bits.
    pub(super) labels: LabelBits,
    /// Hooks, in the kernel contract's bits.
    pub(super) hooks: u128,
    pub(super) created_boot_ns: u64,
}

impl Rule {
    /// Whether it does nothing, and takes nothing of the maps.
    pub(super) fn is_off(&self) -> bool {
        self.spec.mode == Mode::Off
    }

    /// Gives it one more name. Returns the one that it is not known by any more, if it had too many.
    pub(super) fn name(&mut self, token: u32) -> Option<u32> {
        self.tokens.retain(|other| *other != token);
        self.tokens.push(token);
        (self.tokens.len() > TOKENS_MAX).then(|| self.tokens.remove(1))
    }

    /// The rule as the kernel reads it.
    pub(super) fn lease(&self) -> Lease {
        let subject = if self.subject_lineage == 0 { AbiSubject::Any } else { AbiSubject::Lineage };
        Lease {
            hooks: halves(self.hooks),
            expires_boot_ns: self.spec.expires_boot_ns,
            rule_id: self.id,
            subject_id: self.subject_lineage,
            errno: if matches!(self.spec.mode, Mode::Allow | Mode::Label) {
                0
            } else {
                self.spec.errno
            },
            mode: self.spec.mode as u8,
            label: self.labels.gives.unwrap_or(0),
            if_labels: self.labels.has,
            unless_labels: self.labels.lacks,
            subject: subject as u8,
            owner: self.spec.owner,
            protocol: self.protocol(),
        }
    }

    /// Keys that it stands at: its own, and if it says so that of the unresolved paths or the unread
    /// objects of its hooks.
    pub(super) fn places(&self) -> Vec<Place> {
        let mut places = vec![self.place];
        let hooks = HOOKS.iter().map(|row| row.hook);
        let hooks = hooks.filter(|hook| self.hooks & hook.bit() != 0);
        if let RuleKey::Path { if_unresolved: IfUnresolved::Apply, .. } = self.spec.key {
            places.extend(hooks.map(Place::Unresolved));
        } else if let RuleKey::Digest(digest) = self.spec.key {
            let applies = matches!(self.spec.if_unread, IfUnread::Apply) && digest != UNHASHED;
            places.extend(applies.then_some(Place::Digest(UNHASHED)));
        } else if self.applies_to_unread() {
            places.extend(hooks.map(Place::Unread));
        }
        places
    }

    /// Bits that it needs in the word of each of its hooks.
    pub(super) fn needs(&self) -> u64 {
        if self.is_off() {
            return 0;
        }
        let bits = needs(self.place, self.subject_lineage);
        let bits = if self.protocol() == 0 { bits } else { bits | flag::PROTOCOL };
        if self.applies_to_unread() { bits | flag::ERROR_RULE } else { bits }
    }

    const fn applies_to_unread(&self) -> bool {
        matches!(self.spec.if_unread, IfUnread::Apply)
            && matches!(
                self.spec.key,
                RuleKey::File(_) | RuleKey::Network { .. } | RuleKey::Transport { .. }
            )
    }

    /// The protocol that it names, 0 for any.
    const fn protocol(&self) -> u16 {
        match self.spec.key {
            RuleKey::Transport { protocol, .. } => protocol,
            _ => 0,
        }
    }

    /// Lineages that it holds, its key's and its subject's; none while it is off.
    pub(super) fn lineages(&self) -> impl Iterator<Item = u64> {
        let key = match self.place {
            Place::Lineage(id) => Some(id).filter(|id| *id != 0),
            _ => None,
        };
        key.into_iter().chain((self.subject_lineage != 0).then_some(self.subject_lineage))
    }

    /// Subject of the rule, in words; empty for everybody.
    fn subject(&self) -> String {
        let mut words = match self.spec.subject {
            Subject::Any => Vec::new(),
            Subject::Lineage(root) => vec![format!("lineage of process {}", root.tgid)],
        };
        let LabelTest { has, lacks } = &self.spec.labels;
        words.extend(has.iter().map(|label| format!("label {label}")));
        words.extend(lacks.iter().map(|label| format!("no label {label}")));
        words.join(" and ")
    }

    /// The label that it gives to what executes a file, as a bit, and which file.
    pub(super) fn labels_at_exec(&self) -> Option<(u64, RuleKey)> {
        let is_exec = self.spec.hooks.contains(Hook::BprmCheckSecurity) && !self.is_off();
        let bit = self.labels.gives.filter(|_| is_exec).map(|at| 1 << at)?;
        Some((bit, self.spec.key.clone()))
    }

    /// The rule for people.
    pub(super) fn view(&self, hits: u64, ending: Option<Ending>) -> RuleView {
        let key = match self.spec.key {
            RuleKey::Lineage(root) => format!("lineage of process {}", root.tgid),
            RuleKey::Transport { protocol, .. } => format!("{} protocol {protocol}", self.place),
            _ => self.place.to_string(),
        };
        let subject = self.subject();
        RuleView {
            rule_id: self.id,
            owner: self.spec.owner,
            plugin: Arc::clone(&self.spec.plugin),
            token: self.spec.token,
            key,
            subject,
            hooks: self.spec.hooks,
            errno: self.spec.errno,
            mode: self.spec.mode,
            gives: self.spec.gives.clone(),
            reason: self.spec.reason.clone(),
            cause_boot_ns: self.spec.cause_boot_ns,
            created_boot_ns: self.created_boot_ns,
            expires_boot_ns: self.spec.expires_boot_ns,
            hits,
            ending,
            of_lineage: matches!(self.spec.key, RuleKey::Lineage(_))
                || matches!(self.spec.subject, Subject::Lineage(_)),
        }
    }
}

/// How a rule ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The time of the rule was over.
    Expired,
    /// The plugin revoked the rule.
    Revoked,
    /// The plugin made another rule with the token of this one.
    Replaced,
    /// The process it was about ended.
    Exited,
    /// The plugin was stopped, or started without the rule.
    Withdrawn,
    /// The operator does not grant it any more.
    Ungranted,
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Ending::Expired => "its time was over",
            Ending::Revoked => "its plugin revoked it",
            Ending::Replaced => "its plugin made another of its token",
            Ending::Exited => "its process ended",
            Ending::Withdrawn => "its plugin was stopped, or started without it",
            Ending::Ungranted => "it is no longer granted",
        })
    }
}

/// A rule for people, in force or ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleView {
    pub rule_id: u64,
    /// Slot of its plugin.
    pub owner: u8,
    pub plugin: Arc<str>,
    /// The plugin's own name for it.
    pub token: u32,
    /// Object of the rule, in words.
    pub key: String,
    /// Subject, in words; empty for everybody.
    pub subject: String,
    pub hooks: HookSet,
    /// Errno that the rule answers.
    pub errno: u16,
    /// The mode in force.
    pub mode: Mode,
    /// Label that it gives, of a rule that gives one.
    pub gives: Option<Arc<str>>,
    /// Why the plugin made it, in its words.
    pub reason: String,
    /// Time of the event that caused it; 0 without one.
    pub cause_boot_ns: u64,
    /// Time at which the rule came into force, nanoseconds of `CLOCK_BOOTTIME`.
    pub created_boot_ns: u64,
    /// Time at which the rule ends, nanoseconds of `CLOCK_BOOTTIME`; 0 for never.
    pub expires_boot_ns: u64,
    /// Calls that the rule decided.
    pub hits: u64,
    /// How the rule ended; `None` while it is in force.
    pub ending: Option<Ending>,
    /// Whether it is about a process and its descendants, or for them.
    pub of_lineage: bool,
}

impl fmt::Display for RuleView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.mode {
            Mode::Enforce => "deny ",
            Mode::Audit => "audit ",
            Mode::Allow => "allow ",
            Mode::Off => "off ",
            Mode::Label => "label ",
        })?;
        if let Some(label) = &self.gives {
            write!(f, "{label} at ")?;
        }
        for (at, hook) in self.hooks.iter().enumerate() {
            write!(f, "{}{}", if at == 0 { "" } else { ", " }, hook.name())?;
        }
        write!(f, " on {}", self.key)?;
        if self.subject.is_empty() { Ok(()) } else { write!(f, " for {}", self.subject) }
    }
}

/// What a hook must look up for a kind of keys to apply to it. Rules on paths need a hook with a path,
/// beside.
#[must_use]
pub fn looked_up(kind: KeyKind) -> Keys {
    match kind {
        KeyKind::File | KeyKind::Path => Keys::FILE,
        KeyKind::Network => Keys::NETWORK,
        KeyKind::Digest => Keys::DIGEST,
        KeyKind::Process | KeyKind::Lineage | KeyKind::Cgroup | KeyKind::Hook => Keys::SUBJECT,
    }
}

/// The kernel contract's hook, if the kernel looks up those keys in it.
pub(super) fn applies(hook: Hook, kind: KeyKind) -> Option<AbiHook> {
    let keys = looked_up(kind);
    let hook = AbiHook::from_name(hook.name()).filter(|hook| hook.row().keys.contains(keys));
    hook.filter(|hook| kind != KeyKind::Path || hook.has_path())
}
