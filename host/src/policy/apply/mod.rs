//! Checked actions → ledger, signals and reports: a plugin's list, in order, each answered.

use std::collections::HashSet;
use std::sync::Arc;

use krsi_host_abi::deny::Mode;
use krsi_plugin_schema::frame::{FrameError, Frames};
use krsi_plugin_schema::latest::{
    Action, Alert, Allow, Deny, INIT_TOKEN, IfUnread, Outcome, ProcessKey, RecordRef, Refusal,
    Rule, RuleKey, RuleMode, Severity, Subject,
};
use krsi_plugin_schema::{Schema, lower};

use super::broad::Machine;
use super::capability::{self, Grant};
use super::kill;
use super::ledger::{Kinship, Ledger, RuleSpec};
use super::rate::Allowance;
use super::text::one_line;
use crate::kernel::store::RuleStore;
use crate::route::scope::Scope;

/// Bytes that are kept of a reason.
const REASON_BYTES: usize = 256;
/// Bytes that are kept of an alert's text.
const ALERT_BYTES: usize = 1024;

/// The plugin whose actions are applied.
#[derive(Debug)]
pub struct Principal {
    /// Its slot, below 63.
    pub slot: u8,
    /// Its name.
    pub plugin: Arc<str>,
    /// What its actions are written in.
    pub schema: Schema,
    /// What it may do.
    pub grant: Grant,
    alerts: Allowance,
}

impl Principal {
    /// A plugin with a grant.
    #[must_use]
    pub fn new(slot: u8, plugin: Arc<str>, schema: Schema, grant: Grant) -> Self {
        let alerts = Allowance::new(grant.spec().alerts_per_second);
        Self { slot, plugin, schema, grant, alerts }
    }
}

/// Time and processes around a list of actions.
#[derive(Clone, Copy)]
pub struct Surroundings<'a> {
    /// Now, `CLOCK_BOOTTIME`.
    pub now_boot_ns: u64,
    /// What is known of processes.
    pub kinship: Kinship<'a>,
    /// What denials may be too much for.
    pub machine: &'a Machine,
    /// Whether a process lies within the plugin's scope.
    pub within: &'a dyn Fn(ProcessKey) -> bool,
}

/// An alert, its texts bounded and made harmless.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RaisedAlert {
    /// ATT&CK technique, or empty.
    pub technique: String,
    /// How bad.
    pub severity: Severity,
    /// Who.
    pub process: ProcessKey,
    /// What was seen.
    pub text: String,
}

/// An action that was not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedAction {
    /// Its token; 0 for those without one.
    pub token: u32,
    /// Why, in words.
    pub detail: String,
}

/// What a list of actions came to.
#[derive(Debug, Default)]
pub struct Applied {
    /// Framed outcomes for the plugin.
    pub outcomes: Vec<u8>,
    /// Alerts to tell.
    pub alerts: Vec<RaisedAlert>,
    /// Alerts beyond the rate.
    pub alerts_dropped: u64,
    /// Rules that came into force.
    pub rules: Vec<u64>,
    /// Tokens of those of them that were made by `init`.
    pub init_tokens: HashSet<u32>,
    /// Metrics, by name.
    pub metrics: u64,
    /// From the hook's call to the rule in force, for each rule that an event caused.
    pub delays_ns: Vec<u64>,
    /// What was refused.
    pub refused: Vec<RefusedAction>,
    /// How many of these for want of room in a map.
    pub map_full: u64,
}

/// Applies a list of action frames in order. One that does not decode, or wants what this host does
/// not have, is refused alone; what is no frame ends the list.
pub fn apply<S: RuleStore>(
    ledger: &mut Ledger<S>,
    principal: &mut Principal,
    actions: &[u8],
    around: Surroundings<'_>,
) -> Applied {
    let mut applied = Applied::default();
    let most = principal.grant.spec().actions_max;
    for (at, frame) in Frames::new(actions).enumerate() {
        if at >= most {
            let beyond = Frames::new(actions).skip(most).count();
            let detail = format!("{beyond} actions beyond the {most} of one call");
            applied.refuse(0, Refusal::Invalid, detail);
            break;
        }
        let frame = match frame {
            Ok(frame) => frame,
            // What follows cannot be found any more.
            Err(error) => {
                applied.refuse(0, Refusal::Invalid, error.to_string());
                break;
            }
        };
        match lower::action(&frame, principal.schema) {
            Ok(Action::Unknown(kind)) => {
                let detail = format!("actions of kind {kind} are unknown");
                let token = lower::token_of(&frame, principal.schema);
                applied.refuse(token, Refusal::Unsupported, detail);
            }
            Ok(action) => one(ledger, principal, &action, around, &mut applied),
            Err(error) => {
                let refusal = match error {
                    FrameError::Unknown { .. } => Refusal::Unsupported,
                    FrameError::Cut { .. }
                    | FrameError::TooLong { .. }
                    | FrameError::Body { .. } => Refusal::Invalid,
                };
                let token = lower::token_of(&frame, principal.schema);
                applied.refuse(token, refusal, error.to_string());
            }
        }
    }
    applied
}

fn one<S: RuleStore>(
    ledger: &mut Ledger<S>,
    principal: &mut Principal,
    action: &Action<'_>,
    around: Surroundings<'_>,
    applied: &mut Applied,
) {
    let token = action.token();
    if let Err(error) = capability::check(&principal.grant, action) {
        applied.refuse(token, error.refusal(), error.to_string());
        return;
    }
    let others = || ledger.networks(principal.slot, token);
    if let Err(error) = capability::check_on(around.machine, &principal.grant, action, others) {
        applied.refuse(token, error.refusal(), error.to_string());
        return;
    }
    if !in_scope(principal, action, around) {
        let detail = format!("only {} may be concerned", principal.grant.spec().scope);
        applied.refuse(token, Refusal::OutOfScope, detail);
        return;
    }
    match action {
        Action::Deny(Deny { rule, errno, mode, if_unread }) => {
            let mode = weaker(principal.grant.spec().mode, *mode);
            add(ledger, principal, (rule, *errno, mode, *if_unread), around, applied);
        }
        Action::Allow(Allow { rule }) => {
            let off = principal.grant.spec().mode == RuleMode::Off;
            let mode = if off { Mode::Off } else { Mode::Allow };
            add(ledger, principal, (rule, 0, mode, IfUnread::Pass), around, applied);
        }
        Action::Revoke(revoke) => {
            match ledger.revoke(principal.slot, revoke.token, around.now_boot_ns) {
                Ok(_ended) => applied.done(token, None),
                Err(error) => applied.refuse(token, error.refusal(), error.to_string()),
            }
        }
        Action::Kill(kill) => match kill::kill(kill.process) {
            Ok(()) => applied.done(token, None),
            Err(error) => applied.refuse(token, error.refusal(), error.to_string()),
        },
        Action::Alert(alert) => raise(principal, alert, around.now_boot_ns, applied),
        Action::Metric(metric) => {
            applied.metrics += 1;
            tracing::debug!(plugin = %principal.plugin, name = %metric.name, value = metric.value, "metric");
        }
        // Refused before it comes here.
        Action::Unknown(_) => {}
    }
}

/// What a denial does: no more than the operator lets it, and no more than it says.
const fn weaker(granted: RuleMode, asked: RuleMode) -> Mode {
    match (granted, asked) {
        (RuleMode::Off, _) | (_, RuleMode::Off) => Mode::Off,
        (RuleMode::Audit, _) | (_, RuleMode::Audit) => Mode::Audit,
        (RuleMode::Enforce, RuleMode::Enforce) => Mode::Enforce,
    }
}

/// Whether an action concerns nobody outside the plugin's scope.
fn in_scope(principal: &Principal, action: &Action<'_>, around: Surroundings<'_>) -> bool {
    if principal.grant.spec().scope == Scope::System {
        return true;
    }
    match action {
        Action::Deny(Deny { rule, .. }) | Action::Allow(Allow { rule }) => {
            match (rule.subject, &rule.key) {
                (Subject::Lineage(root), _) => (around.within)(root),
                (Subject::Any, RuleKey::Process(root) | RuleKey::Lineage(root)) => {
                    (around.within)(*root)
                }
                // What is no process lies within no scope, whatever kinds of keys there are.
                (Subject::Any, _) => false,
            }
        }
        Action::Kill(kill) => (around.within)(kill.process),
        Action::Revoke(_) | Action::Alert(_) | Action::Metric(_) | Action::Unknown(_) => true,
    }
}

fn add<S: RuleStore>(
    ledger: &mut Ledger<S>,
    principal: &Principal,
    (rule, errno, mode, if_unread): (&Rule<'_>, u16, Mode, IfUnread),
    around: Surroundings<'_>,
    applied: &mut Applied,
) {
    let now = around.now_boot_ns;
    let expires_boot_ns = match rule.ttl_ms {
        0 => 0,
        ttl => now.saturating_add(ttl.saturating_mul(1_000_000)),
    };
    let spec = RuleSpec {
        owner: principal.slot,
        plugin: Arc::clone(&principal.plugin),
        token: rule.token,
        key: rule.key.clone(),
        subject: rule.subject,
        hooks: rule.hooks,
        errno,
        mode,
        if_unread,
        expires_boot_ns,
        reason: one_line(&rule.reason, REASON_BYTES),
        cause_boot_ns: rule.cause_boot_ns,
        max_rules: principal.grant.spec().max_rules,
    };
    match ledger.add(spec, now, around.kinship) {
        Ok(id) => {
            applied.rules.push(id);
            if rule.token >= INIT_TOKEN {
                applied.init_tokens.insert(rule.token);
            }
            applied.done(rule.token, Some(id));
        }
        Err(error) => applied.refuse(rule.token, error.refusal(), error.to_string()),
    }
}

fn raise(principal: &mut Principal, alert: &Alert<'_>, now_boot_ns: u64, applied: &mut Applied) {
    if !principal.alerts.take(now_boot_ns) {
        applied.alerts_dropped += 1;
        return;
    }
    applied.alerts.push(RaisedAlert {
        technique: alert.technique.clone().into_owned(),
        severity: alert.severity,
        process: alert.process,
        text: one_line(&alert.text, ALERT_BYTES),
    });
}

impl Applied {
    fn done(&mut self, token: u32, rule_id: Option<u64>) {
        self.answer(&Outcome { token, rule_id, refusal: None, detail: "".into() });
    }

    fn refuse(&mut self, token: u32, refusal: Refusal, detail: String) {
        self.map_full += u64::from(refusal == Refusal::MapFull);
        self.answer(&Outcome {
            token,
            rule_id: None,
            refusal: Some(refusal),
            detail: (&detail).into(),
        });
        self.refused.push(RefusedAction { token, detail });
    }

    fn answer(&mut self, outcome: &Outcome<'_>) {
        // An outcome is far shorter than a frame can be.
        let _fits = RecordRef::Outcome(outcome).push(&mut self.outcomes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_modes_the_weaker_counts() {
        use RuleMode::{Audit, Enforce, Off};
        for (granted, asked, expected) in [
            (Enforce, Enforce, Mode::Enforce),
            (Enforce, Audit, Mode::Audit),
            (Audit, Enforce, Mode::Audit),
            (Audit, Audit, Mode::Audit),
            (Enforce, Off, Mode::Off),
            (Audit, Off, Mode::Off),
            (Off, Enforce, Mode::Off),
            (Off, Audit, Mode::Off),
            (Off, Off, Mode::Off),
        ] {
            assert_eq!(weaker(granted, asked), expected, "{granted:?} {asked:?}");
        }
    }
}
