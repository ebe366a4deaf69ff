//! Actions, reduced to what tests ask about, and what a host would refuse of them.

use std::borrow::Cow;

use krsi_plugin_schema::frame::Frames;
use krsi_plugin_schema::latest::{
    Action, Allow, AskSamples, Deny, Evidence, Hook, LabelRule, Manifest, ProcessKey, Refusal,
    RuleKey, RuleMode, Severity, Subject,
};

/// An action, reduced to what tests ask about.
#[derive(Clone, Debug, PartialEq)]
pub enum Seen {
    /// A rule that denies, audits or notes.
    Deny {
        /// Key of the rule.
        key: RuleKey,
        /// Subject of the rule: the processes that it applies to.
        subject: Subject,
        /// Names of its hooks.
        hooks: Vec<&'static str>,
        /// Errno that the rule answers with.
        errno: u16,
        /// Whether the rule refuses, reports or does nothing.
        mode: RuleMode,
        /// Duration of the rule, milliseconds; 0 for ever.
        ttl_ms: u64,
        /// Why, in the plugin's words.
        reason: String,
    },
    /// An alert about a process.
    Alert {
        /// ATT&CK technique of the alert.
        technique: String,
        /// Severity of the alert.
        severity: Severity,
        /// Words of the alert.
        text: String,
        /// Evidence of the alert: words and weights.
        evidence: Vec<(String, u32)>,
    },
    /// Evidence about a process.
    Evidence {
        /// Observation, in the plugin's words.
        what: String,
        /// Weight of the evidence.
        weight: u32,
    },
    /// An ask for samples of a process.
    Samples {
        /// The process that is to be read.
        process: ProcessKey,
        /// Milliseconds between two samples.
        every_ms: u64,
        /// Number of samples.
        times: u32,
        /// Whether all its arguments are to be read.
        arguments: bool,
    },
    /// What a host would not do, or not send: the manifest does not ask for it.
    Refused {
        /// Reason of the refusal: what the manifest does not ask for.
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
                .map_or_else(|| shown(&action), |(_, reason)| Seen::Refused { reason }),
            Err(error) => Seen::Other(error.to_string()),
        })
        .collect()
}

/// Why a host would refuse an action.
fn refused(manifest: &Manifest, action: &Action<'_>) -> Option<(Refusal, String)> {
    let not_granted = |reason| Some((Refusal::NotGranted, reason));
    let rule = match action {
        Action::Deny(Deny { rule, .. })
        | Action::Allow(Allow { rule })
        | Action::LabelRule(LabelRule { rule, .. }) => rule,
        Action::SetLabel(set) => return undeclared(manifest, [&set.label]),
        Action::AskSamples(_) if !manifest.samples => {
            return not_granted("the manifest does not ask for `samples`".to_owned());
        }
        Action::Kill(_) if !manifest.kill => {
            return not_granted("the manifest does not ask for `kill`".to_owned());
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
        return not_granted(format!("the manifest does not ask for rules on {} keys", key.name()));
    }
    if rule.hooks.is_empty() {
        return Some((Refusal::Invalid, "the rule names no hook".to_owned()));
    }
    let mut hooks = rule.hooks.iter().map(|hook| hook.name());
    let asked = |hook: &&str| manifest.deny_hooks.iter().any(|name| name == hook);
    let hook = hooks.find(|hook| !asked(hook))?;
    not_granted(format!("the manifest does not ask for rules on {hook}"))
}

/// The first label that the manifest does not declare, as a reason.
fn undeclared<'l, 'a: 'l>(
    manifest: &Manifest,
    labels: impl IntoIterator<Item = &'l Cow<'a, str>>,
) -> Option<(Refusal, String)> {
    let mut labels = labels.into_iter();
    let is_there = |name: &str| manifest.labels.iter().any(|label| label.name == name);
    let name = labels.find(|name| !is_there(name))?;
    Some((Refusal::Invalid, format!("the manifest declares no label {name:?}")))
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
            evidence: alert
                .evidence
                .iter()
                .map(|one| (one.what.clone().into_owned(), one.weight))
                .collect(),
        },
        Action::Evidence(Evidence { what, weight, .. }) => {
            Seen::Evidence { what: what.clone().into_owned(), weight: *weight }
        }
        Action::AskSamples(AskSamples { process, every_ms, times, arguments, .. }) => {
            let (process, every_ms, times, arguments) = (*process, *every_ms, *times, *arguments);
            Seen::Samples { process, every_ms, times, arguments }
        }
        other => Seen::Other(format!("{other:?}")),
    }
}

/// An action that waits for its outcome.
pub(super) struct Unanswered {
    pub(super) token: u32,
    /// Whether it makes a rule, which has an id.
    pub(super) is_rule: bool,
    /// Why a host would refuse it whatever happens.
    pub(super) refused: Option<(Refusal, String)>,
}

/// Actions that wait for their outcomes.
pub(super) fn unanswered(manifest: &Manifest, actions: &[u8]) -> Vec<Unanswered> {
    let of = |action: Action<'_>| Unanswered {
        token: action.token(),
        is_rule: matches!(action, Action::Deny(_) | Action::Allow(_) | Action::LabelRule(_)),
        refused: refused(manifest, &action),
    };
    let actions = Frames::new(actions).flatten().filter_map(|frame| Action::decode(&frame).ok());
    actions.map(of).filter(|one| one.token != 0).collect()
}

/// An ask for samples that is not at its end.
pub(super) struct OpenAsk {
    pub(super) token: u32,
    pub(super) process: ProcessKey,
    /// Samples that were asked for, and those that came.
    pub(super) times: u32,
    pub(super) taken: u32,
    pub(super) arguments: bool,
}

/// Asks for samples that a host takes.
pub(super) fn open_asks<'a>(
    manifest: &'a Manifest,
    actions: &'a [u8],
) -> impl Iterator<Item = OpenAsk> + use<'a> {
    let actions = Frames::new(actions).flatten().filter_map(|frame| Action::decode(&frame).ok());
    actions.filter(|action| refused(manifest, action).is_none()).filter_map(|action| match action {
        Action::AskSamples(AskSamples { token, process, times, arguments, .. }) => {
            Some(OpenAsk { token, process, times, taken: 0, arguments })
        }
        _ => None,
    })
}
