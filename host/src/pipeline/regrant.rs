//! Changed grants, the end of a probation and a rollback: what they mean for rules in force, subscriptions and hooks.

use std::sync::Arc;

use krsi_plugin_schema::latest::{ProcessKey, Refusal, RuleKey};

use super::bounds;
use super::clock;
use super::grant_cell::GrantCell;
use super::mailbox::ReaderChange;
use super::roster::{Entry, Roster};
use super::shared::Shared;
use super::version::Version;
use crate::config::ConfigError;
use crate::plugin::{State, Worker};
use crate::policy::{
    Grant, GrantSpec, GrantVerdict, Kinship, Others, Regranted, RuleSpec, recheck_rule,
};

/// What became of a plugin's rules in force.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct RegrantOutcome {
    /// Rules that do something else than before.
    pub(super) changed: usize,
    /// Rules that the new grant ended.
    pub(super) ended: usize,
}

impl Roster {
    /// Has the operator's word of now hold for a plugin, or for all of them.
    ///
    /// # Errors
    /// When the file's values are out of range.
    pub(super) fn hear(&mut self, name: Option<&str>) -> Result<(), ConfigError> {
        let names: Vec<String> = self.entries().iter().map(|entry| entry.name.clone()).collect();
        for name in names.iter().filter(|other| name.is_none_or(|name| name == **other)) {
            let spec = self.policies.of(name)?.grant;
            let found = self
                .entries()
                .iter()
                .find(|entry| entry.name == *name)
                .map(|entry| (RulesOf::of(entry), entry.current.clone()));
            let Some((plugin, current)) = found else { continue };
            if plugin.words.spec() == spec {
                continue;
            }
            let outcome = plugin.recheck_rules(&self.shared, Some(spec.clone()));
            self.send(&plugin.worker, &current, plugin.slot, &current.grant(spec));
            self.report_rechecked(name, outcome);
        }
        Ok(())
    }

    /// A version has proven itself, or need not: what only the one before asked for goes.
    pub(super) fn probation_ended(&mut self, slot: u8, version: u64) {
        self.without_before(slot, version, |_| None);
    }

    /// A version failed early, and the one before runs on: it has again what it had.
    pub(super) fn fell_back(&mut self, slot: u8, failed: u64) {
        self.without_before(slot, failed, |entry| entry.before.clone());
    }

    /// Lets a plugin have one version, and has its grant checked against the rules that the other one made.
    fn without_before(
        &mut self,
        slot: u8,
        version: u64,
        instead: impl Fn(&Entry) -> Option<Version>,
    ) {
        let mut entries = self.entries();
        let found = entries.iter_mut().find(|entry| entry.slot == slot);
        // Another version may have come since that was told.
        let Some(entry) = found.filter(|entry| entry.current.number == version) else { return };
        if let Some(instead) = instead(entry) {
            entry.current = instead;
        }
        entry.before = None;
        let (plugin, current, grant) = (RulesOf::of(entry), entry.current.clone(), entry.grant());
        drop(entries);
        // What the other version is sent may have been asked for since it gave way.
        self.send(&plugin.worker, &current, slot, &grant);
        let outcome = plugin.recheck_rules(&self.shared, None);
        self.report_rechecked(&plugin.name, outcome);
    }

    /// Has a plugin be sent what a version of it may see, unless it was given up.
    fn send(&self, worker: &Worker, version: &Version, slot: u8, grant: &Grant) {
        if !matches!(worker.stats().state(), State::Quarantined | State::Stopped) {
            let subscription = version.subscription(slot, grant, worker.queue());
            self.mailbox.post(ReaderChange::Subscribe(subscription));
        }
    }

    /// Tells a plugin that a watch of its own is left out.
    pub(super) fn queue_outcome(&self, slot: u8, text: &str) {
        if let Some(entry) = self.entries().iter().find(|entry| entry.slot == slot) {
            entry.words.queue_outcome(0, Refusal::Unsupported, text);
        }
    }

    fn report_rechecked(&self, name: &str, RegrantOutcome { changed, ended }: RegrantOutcome) {
        if changed + ended > 0 {
            self.shared.note(format!(
                "{name}: its grants changed: {ended} of its rules ended, {changed} changed their mode"
            ));
        }
    }
}

/// The rules in force of a plugin, and the grants that they are checked against.
struct RulesOf {
    slot: u8,
    name: String,
    worker: Arc<Worker>,
    words: Arc<GrantCell>,
    /// The version that runs, and the one that can come back.
    versions: Vec<Version>,
}

impl RulesOf {
    fn of(entry: &Entry) -> Self {
        let versions = std::iter::once(&entry.current).chain(&entry.before);
        let versions = versions.cloned().collect();
        let (name, worker, words) =
            (entry.name.clone(), Arc::clone(&entry.worker), Arc::clone(&entry.words));
        Self { slot: entry.slot, name, worker, words, versions }
    }

    /// Checks the plugin's rules in force against its grant, a changed one if there is one.
    /// While a version can come back, its rules stay that only its own manifest asked for.
    fn recheck_rules(&self, shared: &Shared, spec: Option<GrantSpec>) -> RegrantOutcome {
        // No list of actions is half done under the old word.
        let held = self.words.hold();
        if let Some(spec) = spec {
            self.words.say(spec, &held);
        }
        let word = self.words.spec();
        let scope = word.scope.clone();
        let grants: Vec<Grant> =
            self.versions.iter().map(|version| version.grant(word.clone())).collect();
        let now_boot_ns = clock::boot_ns();
        let exists = |key: ProcessKey| shared.is_running(key);
        let descendants = |key: ProcessKey| shared.processes().descendants(key);
        let within = |key: ProcessKey| {
            shared.processes().get(key).is_some_and(|process| scope.holds(process))
        };
        let verdict = |rule: &RuleSpec, others: Others<'_>| {
            let verdicts = grants.iter().map(|grant| {
                recheck_rule((grant, &shared.machine), rule, others, now_boot_ns, &within)
            });
            let verdicts: Vec<GrantVerdict> = verdicts.collect();
            let granted = verdicts.iter().find(|one| matches!(one, GrantVerdict::Granted(_)));
            let verdict = granted.or(verdicts.first()).cloned();
            verdict.unwrap_or(GrantVerdict::Granted(rule.mode))
        };
        let running = |key: &RuleKey| shared.running(key);
        let kinship = Kinship { exists: &exists, descendants: &descendants, running: &running };
        let bounds = bounds::of(&scope);
        if let Err(error) = shared.turns.turn(|ledger| ledger.bound(self.slot, bounds)) {
            let name = &self.name;
            shared.note(format!("{name}: the kernel refused the new scope of its rules, and the old one stays: {error}"));
        }
        let became = shared.turns.regrant(self.slot, verdict, now_boot_ns, kinship);
        let mut outcome = RegrantOutcome::default();
        for became in became {
            match became {
                Regranted::Changed(_) => outcome.changed += 1,
                Regranted::Ended(rule, refusal, why) => {
                    outcome.ended += 1;
                    let detail = format!("rule {} ended, {rule}: {why}", rule.rule_id);
                    self.words.queue_outcome(rule.token, refusal, &detail);
                    shared.note(format!("{}: {detail}", self.name));
                }
            }
        }
        outcome
    }
}
