//! Actions, reduced to what tests ask about, and what a host would refuse of them.

use std::borrow::Cow;

use krsi_plugin_schema::frame::Frames;
use krsi_plugin_schema::latest::{
    Action, Allow, Deny, Hook, LabelRule, Manifest, RuleKey, RuleMode, Severity, Subject,
};

/// An action, reduced to what tests ask about.
#[derive(Clone, Debug, PartialEq)]
pub enum Seen {
    /// A deny rule.
    Deny {
        /// Object of the rule.
        key: RuleKey,
        /// Subject of the rule.
        subject: Subject,
        /// Names of its hooks.
        hooks: Vec<&'static str>,
        /// Errno that the rule answers.
        errno: u16,
        /// Whether it refuses.
        mode: RuleMode,
        /// Duration of the rule, milliseconds; 0 for ever.
        ttl_ms: u64,
        /// Why, in the plugin's words.
        reason: String,
    },
    /// An alert.
    Alert {
        /// ATT&CK technique.
        technique: String,
        /// Severity of the alert.
        severity: Severity,
        /// Text of the alert.
        text: String,
    },
    /// What a host would not do, or not send: the manifest does not ask for it.
    Refused {
        /// What the manifest does not ask for.
        reason: String,
    },
    /// Anything else, as its `Debug` shows it.
    Other(String),
}

/// Actions as a host takes them that grants what the manifest asks for.
pub(super) fn seen(manifest: &Manifest, actions: &[u8]) -> Vec<Seen> {
    Frames::new(actions)
        .map(|frame| match frame.and_then(|frame| Action::decode(&frame)) {
            Ok(action) => refused(manifest, &action)
                .map_or_else(|| shown(&action), |reason| Seen::Refused { reason }),
            Err(error) => Seen::Other(error.to_string()),
        })
        .collect()
}

/// Why a host would refuse an action.
fn refused(manifest: &Manifest, action: &Action<'_>) -> Option<String> {
    let rule = match action {
        Action::Deny(Deny { rule, .. })
        | Action::Allow(Allow { rule })
        | Action::LabelRule(LabelRule { rule, .. }) => rule,
        Action::SetLabel(set) => return undeclared(manifest, [&set.label]),
        Action::Kill(_) if !manifest.kill => {
            return Some("the manifest does not ask for `kill`".to_owned());
        }
        _ => return None,
    };
    let given = match action {
        Action::LabelRule(LabelRule { label, .. }) => Some(label),
        _ => None,
    };
    let named = rule.labels.has.iter().chain(&rule.labels.lacks).chain(given);
    if let Some(refused) = undeclared(manifest, named) {
        return Some(refused);
    }
    let key = rule.key.kind();
    if !manifest.deny_keys.contains(key) {
        return Some(format!("the manifest does not ask for rules on {} keys", key.name()));
    }
    if rule.hooks.is_empty() {
        return Some("the rule names no hook".to_owned());
    }
    let mut hooks = rule.hooks.iter().map(|hook| hook.name());
    let asked = |hook: &&str| manifest.deny_hooks.iter().any(|name| name == hook);
    let hook = hooks.find(|hook| !asked(hook))?;
    Some(format!("the manifest does not ask for rules on {hook}"))
}

/// The first label that the manifest does not declare, as a reason.
fn undeclared<'l, 'a: 'l>(
    manifest: &Manifest,
    labels: impl IntoIterator<Item = &'l Cow<'a, str>>,
) -> Option<String> {
    let mut labels = labels.into_iter();
    let is_there = |name: &str| manifest.labels.iter().any(|label| label.name == name);
    let name = labels.find(|name| !is_there(name))?;
    Some(format!("the manifest declares no label {name:?}"))
}

fn shown(action: &Action<'_>) -> Seen {
    match action {
        Action::Deny(Deny { rule, errno, mode, .. }) => Seen::Deny {
            key: rule.key.clone(),
            subject: rule.subject,
            hooks: rule.hooks.iter().map(Hook::name).collect(),
            errno: *errno,
            mode: *mode,
            ttl_ms: rule.ttl_ms,
            reason: rule.reason.clone().into_owned(),
        },
        Action::Alert(alert) => Seen::Alert {
            technique: alert.technique.clone().into_owned(),
            severity: alert.severity,
            text: alert.text.clone().into_owned(),
        },
        other => Seen::Other(format!("{other:?}")),
    }
}

/// Tokens of actions, for their outcomes.
pub(super) fn tokens(actions: &[u8]) -> Vec<u32> {
    let token = |action: Action<'_>| action.token();
    let tokens = Frames::new(actions).flatten().filter_map(|frame| Action::decode(&frame).ok());
    tokens.map(token).filter(|token| *token != 0).collect()
}
