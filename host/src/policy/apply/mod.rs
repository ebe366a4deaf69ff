//! Checked actions → ledger, signals and reports: a plugin's list, in order, each answered.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;

use krsi_host_abi::deny::{Bounds, Mode};
use krsi_plugin_schema::frame::{Frame, FrameError, Frames};
use krsi_plugin_schema::latest::{
    Action, Alert, Allow, AskSamples, Deny, INIT_TOKEN, IfUnread, LabelRule, LabelTest, Outcome,
    ProcessKey, RecordRef, Refusal, Revoke, Rule, RuleMode, SetLabel, Severity,
};
use krsi_plugin_schema::{Schema, lower};

use super::broad::Machine;
use super::capability::{self, Grant};
use super::generation::Generations;
use super::kill;
use super::ledger::{Kinship, LedgerError, MadeRule, RuleSpec, RuleView};
use super::metric::{MetricNames, MetricValue};
use super::rate::Allowance;
use super::regrant::applies_beyond;
use super::sample::Sampling;
use super::turns::Turns;
use crate::kernel::map::store::RuleStore;
use crate::route::queue::Batch;
use crate::route::scope::Scope;
use crate::text::cut;

/// Bytes that are kept of a reason.
const REASON_BYTES: usize = 256;
/// Bytes that are kept of the technique that an alert names.
const TECHNIQUE_BYTES: usize = 64;
/// Bytes that are kept of an alert's text.
const ALERT_BYTES: usize = 1024;
/// Pieces of evidence that are kept of an alert.
const EVIDENCE_MAX: usize = 16;
/// Bytes that are kept of each.
const EVIDENCE_BYTES: usize = 128;

/// The plugin whose actions are applied.
#[derive(Debug)]
pub struct Principal {
    /// Slot of the plugin, below 63.
    pub slot: u8,
    pub plugin: Arc<str>,
    /// Schema of the plugin's actions.
    pub schema: Schema,
    /// Grant of the plugin.
    pub grant: Grant,
    alerts: Allowance,
    /// Names of its metrics.
    metrics: MetricNames,
    /// Generations of files, which keys of contract 0.1 leave out.
    generations: Generations,
}

impl Principal {
    /// A plugin with a grant.
    #[must_use]
    pub fn new(slot: u8, plugin: Arc<str>, schema: Schema, grant: Grant) -> Self {
        let alerts = Allowance::new(grant.spec().alerts_per_second);
        let (metrics, generations) = (MetricNames::default(), Generations::default());
        Self { slot, plugin, schema, grant, alerts, metrics, generations }
    }

    /// Learns which files it is about to be told of, if its contract cannot say that.
    pub fn note(&mut self, batch: &Batch) {
        if self.schema == Schema::V0_1 {
            self.generations.note(batch);
        }
    }

    /// Gives it another grant, from its next list of actions on.
    pub fn set_grant(&mut self, grant: Grant) {
        if grant.spec().alerts_per_second != self.grant.spec().alerts_per_second {
            self.alerts = Allowance::new(grant.spec().alerts_per_second);
        }
        self.grant = grant;
    }
}

/// What a plugin's list of actions is checked against: the time, processes, the machine and the scope.
#[derive(Clone, Copy)]
pub struct ActionContext<'a> {
    /// Now, `CLOCK_BOOTTIME`.
    pub now_boot_ns: u64,
    /// Look-ups of processes, of their descendants and of what they run.
    pub kinship: Kinship<'a>,
    /// Facts about this machine that make a denial broad.
    pub machine: &'a Machine,
    /// Whether a process lies within the plugin's scope.
    pub within: &'a dyn Fn(ProcessKey) -> bool,
    /// The scope, as the kernel checks it in every call.
    pub bounds: Bounds,
    /// Where asks for samples go.
    pub sampling: &'a dyn Sampling,
}

/// An alert, its texts bounded and made harmless.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RaisedAlert {
    /// ATT&CK technique, or empty.
    pub technique: String,
    pub severity: Severity,
    pub process: ProcessKey,
    /// The plugin's text about it.
    pub text: String,
    /// Evidence of the alert, each piece with its weight.
    pub evidence: Vec<(String, u32)>,
}

/// An action that was not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedAction {
    /// Token of the action; 0 for an action without one.
    pub token: u32,
    pub detail: String,
}

/// The result of a list of actions.
#[derive(Debug, Default)]
pub struct Applied {
    /// Framed outcomes for the plugin.
    pub outcomes: Vec<u8>,
    /// Alerts to tell.
    pub alerts: Vec<RaisedAlert>,
    /// Alerts beyond the rate.
    pub alerts_dropped: u64,
    /// Rules that came into force.
    pub rules: Vec<RuleView>,
    /// Tokens of rules in force that were made by `init`.
    pub init_tokens: HashSet<u32>,
    /// Values of metrics, in order.
    pub metrics: Vec<MetricValue>,
    /// From the hook's call to the rule in force, for each rule that an event caused.
    pub delays_ns: Vec<u64>,
    pub refused: Vec<RefusedAction>,
    /// How many of these for want of room in a map.
    pub map_full: u64,
}

/// Applies a list of action frames in order, each in a turn of its own. One that does not decode, or wants
/// what this host does not have, is refused alone; what is no frame ends the list. What comes after as many
/// actions, or as many updates of maps, as a call may have is refused as too many.
pub fn apply<S: RuleStore>(
    ledger: &Turns<S>,
    principal: &mut Principal,
    actions: &[u8],
    context: ActionContext<'_>,
) -> Applied {
    let mut applied = Applied::default();
    let most = principal.grant.spec().actions_max;
    let mut budget = Budget { writes: 0, max: principal.grant.spec().writes_max };
    for (at, frame) in Frames::new(actions).enumerate() {
        if at >= most || budget.is_used_up() {
            let what = if at >= most { Bound::Actions(most) } else { Bound::Writes(budget.max) };
            applied.refuse_late(Frames::new(actions).skip(at), principal.schema, what);
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
            Ok(mut action) => {
                let known = match principal.schema {
                    Schema::V0_1 => principal.generations.complete(&mut action),
                    Schema::V0_2 => Ok(()),
                };
                match known {
                    Ok(()) => one(ledger, principal, &action, context, (&mut applied, &mut budget)),
                    Err(error) => {
                        applied.refuse(action.token(), Refusal::Unsupported, error.to_string());
                    }
                }
            }
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

/// The kernel writes that one call may cause.
struct Budget {
    writes: u64,
    max: u64,
}

impl Budget {
    const fn is_used_up(&self) -> bool {
        self.writes >= self.max
    }
}

/// The kernel writes and actions that a call has used up.
#[derive(Clone, Copy)]
enum Bound {
    Actions(usize),
    Writes(u64),
}

fn one<S: RuleStore>(
    ledger: &Turns<S>,
    principal: &mut Principal,
    action: &Action<'_>,
    context: ActionContext<'_>,
    (applied, budget): (&mut Applied, &mut Budget),
) {
    let token = action.token();
    if let Err(error) = capability::check(&principal.grant, action) {
        applied.refuse(token, error.refusal(), error.to_string());
        return;
    }
    let others = |see: &mut dyn FnMut(&RuleSpec)| {
        ledger.turn(|ledger| ledger.own_rules((principal.slot, token), see));
    };
    if let Err(error) = capability::check_on(context.machine, &principal.grant, action, &others) {
        applied.refuse(token, error.refusal(), error.to_string());
        return;
    }
    if !in_scope(principal, action, context) {
        let detail = format!("only {} may be concerned", principal.grant.spec().scope);
        applied.refuse(token, Refusal::OutOfScope, detail);
        return;
    }
    match action {
        Action::Deny(Deny { rule, errno, mode, if_unread }) => {
            let asked = match mode {
                RuleMode::Enforce => Mode::Enforce,
                RuleMode::Audit => Mode::Audit,
                RuleMode::Off => Mode::Off,
            };
            let said = Said { errno: *errno, asked, if_unread: *if_unread, gives: None };
            add(ledger, principal, (rule, said), context, (applied, budget));
        }
        Action::Allow(Allow { rule }) => {
            let said = Said { asked: Mode::Allow, ..Said::default() };
            add(ledger, principal, (rule, said), context, (applied, budget));
        }
        Action::LabelRule(LabelRule { rule, label }) => {
            let gives = Some(label.as_ref());
            let said = Said { asked: Mode::Label, gives, ..Said::default() };
            add(ledger, principal, (rule, said), context, (applied, budget));
        }
        Action::SetLabel(set) => set_label(ledger, principal, set, context, (applied, budget)),
        Action::Revoke(Revoke { token }) => {
            if context.sampling.end(*token) {
                applied.done(*token, None);
            } else {
                revoke(ledger, (principal, *token), context.now_boot_ns, (applied, budget));
            }
        }
        Action::Kill(kill) => match kill::kill(kill.process) {
            Ok(()) => applied.done(token, None),
            Err(error) => applied.refuse(token, error.refusal(), error.to_string()),
        },
        Action::AskSamples(ask) => ask_samples(principal, ask, context, applied),
        Action::Alert(alert) => raise(principal, alert, context.now_boot_ns, applied),
        Action::Metric(metric) => match principal.metrics.take(metric) {
            Ok(value) => applied.metrics.push(value),
            Err(error) => applied.refuse(token, Refusal::TooMany, error.to_string()),
        },
        // Evidence is for recordings and replays: an alert carries its own.
        Action::Evidence(_) => {}
        // Refused before it comes here.
        Action::Unknown(_) => {}
    }
}

fn revoke<S: RuleStore>(
    ledger: &Turns<S>,
    (principal, token): (&Principal, u32),
    now_boot_ns: u64,
    (applied, budget): (&mut Applied, &mut Budget),
) {
    let revoked = ledger.turn(|ledger| {
        let before = ledger.writes();
        let revoked = ledger.revoke(principal.slot, token, now_boot_ns);
        budget.writes += ledger.writes() - before;
        revoked
    });
    match revoked {
        Ok(_ended) => applied.done(token, None),
        Err(error) => applied.refuse(token, error.refusal(), error.to_string()),
    }
}

fn ask_samples(
    principal: &Principal,
    ask: &AskSamples,
    context: ActionContext<'_>,
    applied: &mut Applied,
) {
    if !(context.kinship.exists)(ask.process) {
        let detail = format!("no process {} that started then runs", ask.process.tgid);
        applied.refuse(ask.token, Refusal::UnknownProcess, detail);
        return;
    }
    let limits = principal.grant.spec().samples;
    match context.sampling.begin(ask, limits, context.now_boot_ns) {
        Ok(()) => applied.done(ask.token, None),
        Err(error) => applied.refuse(ask.token, error.refusal(), error.to_string()),
    }
}

fn set_label<S: RuleStore>(
    ledger: &Turns<S>,
    principal: &Principal,
    set: &SetLabel<'_>,
    context: ActionContext<'_>,
    (applied, budget): (&mut Applied, &mut Budget),
) {
    let done = ledger.turn(|ledger| {
        let before = ledger.writes();
        let done = ledger.set_label(&principal.plugin, set, context.kinship);
        budget.writes += ledger.writes() - before;
        done
    });
    match done {
        Ok(()) => applied.done(set.token, None),
        Err(error) => applied.refuse(set.token, error.refusal(), error.to_string()),
    }
}

/// Whether an action concerns nobody outside the plugin's scope.
fn in_scope(principal: &Principal, action: &Action<'_>, context: ActionContext<'_>) -> bool {
    let scope = &principal.grant.spec().scope;
    if *scope == Scope::System {
        return true;
    }
    match action {
        Action::Deny(Deny { rule, .. })
        | Action::Allow(Allow { rule })
        | Action::LabelRule(LabelRule { rule, .. }) => {
            !applies_beyond(scope, (rule.subject, &rule.key), context.within)
        }
        Action::Kill(kill) => (context.within)(kill.process),
        Action::SetLabel(set) => (context.within)(set.process),
        Action::AskSamples(ask) => (context.within)(ask.process),
        Action::Revoke(_)
        | Action::Alert(_)
        | Action::Metric(_)
        | Action::Evidence(_)
        | Action::Unknown(_) => true,
    }
}

/// What an action says of a rule beside the rule.
#[derive(Clone, Copy)]
struct Said<'a> {
    errno: u16,
    asked: Mode,
    if_unread: IfUnread,
    gives: Option<&'a str>,
}

impl Default for Said<'_> {
    fn default() -> Self {
        Self { errno: 0, asked: Mode::Enforce, if_unread: IfUnread::Pass, gives: None }
    }
}

fn add<S: RuleStore>(
    ledger: &Turns<S>,
    principal: &Principal,
    (rule, Said { errno, asked, if_unread, gives }): (&Rule<'_>, Said<'_>),
    context: ActionContext<'_>,
    (applied, budget): (&mut Applied, &mut Budget),
) {
    let now = context.now_boot_ns;
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
        asked,
        mode: principal.grant.mode_of(asked),
        labels: owned(&rule.labels),
        gives: gives.map(Arc::from),
        if_unread,
        expires_boot_ns,
        reason: cut(&rule.reason, REASON_BYTES).to_owned(),
        cause_boot_ns: rule.cause_boot_ns,
        max_rules: principal.grant.spec().max_rules,
    };
    let made = ledger.turn(|ledger| {
        let before = ledger.writes();
        let bound = ledger.bound(principal.slot, context.bounds).map_err(LedgerError::from);
        let made = bound.and_then(|()| ledger.add(spec, now, context.kinship));
        budget.writes += ledger.writes() - before;
        made.map(|made| (made, ledger.explain(made.rule_id)))
    });
    match made {
        Ok((MadeRule { rule_id, renewed }, view)) => {
            // That a rule goes on is no news.
            applied.rules.extend(view.filter(|_| !renewed));
            if rule.token >= INIT_TOKEN {
                applied.init_tokens.insert(rule.token);
            }
            applied.done(rule.token, Some(rule_id));
        }
        Err(error) => applied.refuse(rule.token, error.refusal(), error.to_string()),
    }
}

/// Label conditions that borrow nothing.
fn owned(test: &LabelTest<'_>) -> LabelTest<'static> {
    let all = |names: &[Cow<'_, str>]| names.iter().map(|name| name.to_string().into()).collect();
    LabelTest { has: all(&test.has), lacks: all(&test.lacks) }
}

fn raise(principal: &mut Principal, alert: &Alert<'_>, now_boot_ns: u64, applied: &mut Applied) {
    if !principal.alerts.take(now_boot_ns) {
        applied.alerts_dropped += 1;
        return;
    }
    applied.alerts.push(RaisedAlert {
        technique: cut(&alert.technique, TECHNIQUE_BYTES).to_owned(),
        severity: alert.severity,
        process: alert.process,
        text: cut(&alert.text, ALERT_BYTES).to_owned(),
        evidence: alert
            .evidence
            .iter()
            .take(EVIDENCE_MAX)
            .map(|one| (cut(&one.what, EVIDENCE_BYTES).to_owned(), one.weight))
            .collect(),
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

    /// Refuses what a call has no room for: each is answered, and one line tells of all.
    fn refuse_late<'a>(
        &mut self,
        late: impl Iterator<Item = Result<Frame<'a>, FrameError>>,
        schema: Schema,
        bound: Bound,
    ) {
        let what = match bound {
            Bound::Actions(most) => format!("more than the {most} actions of one call"),
            Bound::Writes(most) => format!("more than the {most} updates of maps of one call"),
        };
        let mut count = 0;
        for frame in late.map_while(Result::ok) {
            let token = match lower::action(&frame, schema) {
                Ok(action) => action.token(),
                Err(_) => lower::token_of(&frame, schema),
            };
            let refusal = Some(Refusal::TooMany);
            self.answer(&Outcome { token, rule_id: None, refusal, detail: (&what).into() });
            count += 1;
        }
        self.refused.push(RefusedAction { token: 0, detail: format!("{count} actions: {what}") });
    }

    fn answer(&mut self, outcome: &Outcome<'_>) {
        // An outcome is far shorter than a frame can be.
        let _fits = RecordRef::Outcome(outcome).push(&mut self.outcomes);
    }
}

#[cfg(test)]
mod tests;
