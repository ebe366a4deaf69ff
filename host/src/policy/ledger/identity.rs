//! When a plugin makes a rule again: the same owner, object, subject, hooks and answer, whatever the token.

use std::sync::Arc;

use krsi_host_abi::deny::{FileKey, Mode};
use krsi_host_abi::hook::{HOOKS, Hook as AbiHook};
use krsi_plugin_schema::latest::{
    FileKey as PluginFile, IfUnread, IfUnresolved, LabelTest, ProcessKey, RuleKey, Subject,
};

use super::error::LedgerError;
use super::lineage::abi;
use super::network::Destination;
use super::place::Place;
use super::rule::RuleSpec;
use crate::kernel::map::prefix::PathPrefix;

/// The object of a rule, normalised; a lineage by its root, as it has no id before it is marked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(clippy::large_enum_variant, reason = "a path is kept in place, as in a key of the maps")]
pub(super) enum Anchor {
    /// A key of the maps.
    Place(Place),
    /// A process and its descendants.
    Lineage(ProcessKey),
}

/// What two rules of a plugin have in common that are one. Texts, times and tokens do not count.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct RuleIdentity {
    owner: u8,
    pub(super) anchor: Anchor,
    protocol: u16,
    if_unresolved: IfUnresolved,
    if_unread: IfUnread,
    subject: Subject,
    hooks: u128,
    errno: u16,
    asked: u8,
    labels: LabelTest<'static>,
    gives: Option<Arc<str>>,
}

impl RuleIdentity {
    /// What makes a rule the same as another one.
    ///
    /// # Errors
    /// When its key is none.
    pub(super) fn of(spec: &RuleSpec, hooks: u128) -> Result<Self, LedgerError> {
        let (anchor, mut protocol, mut if_unresolved) =
            (anchor(spec, hooks)?, 0, IfUnresolved::Pass);
        match &spec.key {
            RuleKey::Transport { protocol: named, .. } => protocol = *named,
            RuleKey::Path { if_unresolved: said, .. } => if_unresolved = *said,
            RuleKey::Process(_)
            | RuleKey::Lineage(_)
            | RuleKey::File(_)
            | RuleKey::Network { .. }
            | RuleKey::Cgroup(_)
            | RuleKey::Digest(_)
            | RuleKey::Hook => {}
        }
        Ok(Self {
            owner: spec.owner,
            anchor,
            protocol,
            if_unresolved,
            if_unread: spec.if_unread,
            subject: spec.subject,
            hooks,
            errno: if matches!(spec.asked, Mode::Allow | Mode::Label) { 0 } else { spec.errno },
            asked: spec.asked as u8,
            labels: spec.labels.clone(),
            gives: spec.gives.clone(),
        })
    }
}

/// The object that a rule is about.
fn anchor(spec: &RuleSpec, hooks: u128) -> Result<Anchor, LedgerError> {
    Ok(Anchor::Place(match spec.key {
        RuleKey::Lineage(root) => return Ok(Anchor::Lineage(root)),
        RuleKey::Process(key) => Place::Process(abi(key)),
        RuleKey::File(key) => {
            let PluginFile { ino, dev, generation } = key;
            Place::File(FileKey { ino, dev, generation })
        }
        RuleKey::Transport { protocol, .. } if !(1..=255).contains(&protocol) => {
            return Err(LedgerError::Protocol { protocol });
        }
        RuleKey::Network { address, prefix, port }
        | RuleKey::Transport { address, prefix, port, .. } => {
            Destination::new(address, prefix, port)
                .map(Place::Network)
                .ok_or(LedgerError::Prefix { prefix })?
        }
        RuleKey::Cgroup(id) => Place::Cgroup(id),
        RuleKey::Hook => Place::Hook(only(hooks).ok_or(LedgerError::SeveralHooks)?),
        RuleKey::Path { ref prefix, .. } => Place::Path(PathPrefix::new(prefix)?),
        RuleKey::Digest(digest) => Place::Digest(digest),
    }))
}

/// The hook of a mask that names one.
fn only(hooks: u128) -> Option<AbiHook> {
    let mut named = HOOKS.iter().map(|row| row.hook).filter(|hook| hooks & hook.bit() != 0);
    named.next().filter(|_| named.next().is_none())
}
