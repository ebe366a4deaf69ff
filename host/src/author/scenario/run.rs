//! A scenario, played: each act's calls are judged by the rules of then, what passes happens, and the plugin sees it.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use krsi_plugin_schema::latest::{RecordRef, Running, ToldRunning, Verdict};

use super::super::StageError;
use super::super::stage::{Happened, Judged, Stage, TICKS_MAX};
use super::act::{Doing, ScenarioWorld, Step};
use super::file::{self, Kind, Scenario, ScenarioError};
use super::mutate::{self, Mutations};
use crate::plugin::PluginPre;

/// Why scenarios were not played to their end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TestError {
    /// The scenarios cannot be read, or an act is not one.
    #[error(transparent)]
    Scenario(#[from] ScenarioError),
    /// The plugin does not start.
    #[error("{scenario:?}: the plugin does not start")]
    Stage {
        /// Name of the scenario.
        scenario: String,
        /// Why the plugin does not start.
        #[source]
        source: Box<StageError>,
    },
}

/// Time of a scenario's start, on its own clock.
const START_NS: u64 = 1_000_000_000_000;
/// What is added to it for the time of day: 2026.
const UNIX_OFFSET_NS: i64 = 1_767_225_600_000_000_000;

/// Result of one scenario.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    /// File that the scenario is from.
    pub(crate) file: PathBuf,
    /// Kind of the scenario: an attack, benign, or a baseline.
    pub(crate) kind: Kind,
    /// Name of the scenario.
    pub(crate) name: String,
    /// Expectations that were not met, in words; empty when the scenario passed.
    pub(crate) failures: Vec<String>,
    /// Time that the scenario took.
    pub(crate) took: Duration,
    /// Of an attack that was found, what of it matters.
    pub(crate) mutations: Option<Mutations>,
    /// Of an attack, how many others do it in another way.
    pub(crate) variants: usize,
}

/// Results of all scenarios.
#[derive(Clone, Debug, Default)]
pub(crate) struct TestResults {
    /// The scenarios, in their order.
    pub(crate) cases: Vec<Case>,
    /// Kinds of scenarios that the plugin lacks.
    pub(crate) untested: Vec<String>,
}

impl TestResults {
    /// Whether every scenario passed, and none is missing.
    #[must_use]
    pub(crate) fn is_passed(&self) -> bool {
        self.untested.is_empty() && self.cases.iter().all(|case| case.failures.is_empty())
    }

    /// Changes of attacks that the plugin noticed, and all that were tried.
    #[must_use]
    pub(crate) fn score(&self) -> (usize, usize) {
        let mutations = self.cases.iter().filter_map(|case| case.mutations.as_ref());
        mutations.fold((0, 0), |(killed, tried), one| (killed + one.killed, tried + one.tried()))
    }
}

/// What came of a played scenario, as far as it can be judged.
#[derive(Debug, Default)]
pub(super) struct Played {
    pub(super) happened: Happened,
    /// Acts that were refused, by their place.
    pub(super) refused: Vec<usize>,
}

impl Played {
    /// Whether everything that a scenario expects came.
    pub(super) fn is_as(&self, scenario: &Scenario) -> bool {
        self.failures(scenario).is_empty()
    }

    /// What did not come, and what came and should not have.
    pub(super) fn failures(&self, scenario: &Scenario) -> Vec<String> {
        let mut failures = Vec::new();
        if let Some(error) = &self.happened.failed {
            failures.push(error.whole());
        }
        for text in &self.happened.refused {
            failures.push(format!("a host would not do what it wants: {text}"));
        }
        if self.happened.ticks_left_out > 0 {
            let ticks = self.happened.ticks_left_out;
            failures
                .push(format!("{ticks} ticks were left out: of a wait, {TICKS_MAX} are played"));
        }
        let alerts = &self.happened.alerts;
        for technique in &scenario.alerts {
            if !alerts.iter().any(|alert| alert.technique == *technique) {
                let got: Vec<&str> = alerts.iter().map(|alert| alert.technique.as_str()).collect();
                failures.push(match got.as_slice() {
                    [] => format!("no alert {technique}: it raised none"),
                    got => format!("no alert {technique}: it raised {}", got.join(", ")),
                });
            }
        }
        for alert in alerts.iter().filter(|alert| !scenario.alerts.contains(&alert.technique)) {
            let (technique, text) = (&alert.technique, &alert.text);
            failures.push(format!("an alert {technique} that is not expected: {text}"));
        }
        if scenario.kind != Kind::Attack {
            failures.extend(self.happened.rules.iter().map(|rule| format!("a rule: {rule}")));
        }
        for (at, act) in scenario.acts.iter().enumerate() {
            match (act.refused, self.refused.contains(&at)) {
                (true, false) => failures.push(format!("act {} was not refused", at + 1)),
                (false, true) => failures.push(format!("act {} was refused", at + 1)),
                _ => {}
            }
        }
        failures
    }
}

/// Plays the scenarios of a folder with a plugin.
///
/// # Errors
/// When they cannot be read, or the plugin does not start with their configuration.
pub(crate) fn test(folder: &Path, pre: &PluginPre) -> Result<TestResults, TestError> {
    let scenarios = file::read(folder)?;
    let mut tested = TestResults { untested: untested(&scenarios), ..TestResults::default() };
    for scenario in &scenarios {
        let began = Instant::now();
        let played = play(pre, scenario)?;
        let failures = played.failures(scenario);
        let is_found = scenario.kind == Kind::Attack && failures.is_empty();
        let is_own = |other: &&Scenario| other.twin_of.as_ref() == Some(&scenario.name);
        let twin = scenarios.iter().find(is_own);
        let mutations = if is_found { Some(mutate::mutations(pre, scenario, twin)?) } else { None };
        let variants =
            scenarios.iter().filter(|one| one.variant_of.as_ref() == Some(&scenario.name));
        tested.cases.push(Case {
            file: scenario.file.clone(),
            kind: scenario.kind,
            name: scenario.name.clone(),
            failures,
            took: began.elapsed(),
            mutations,
            variants: variants.count(),
        });
    }
    Ok(tested)
}

/// What there is no scenario for: an attack, its benign twin, a baseline.
fn untested(scenarios: &[Scenario]) -> Vec<String> {
    let of = |kind| scenarios.iter().filter(move |scenario| scenario.kind == kind);
    let mut untested = Vec::new();
    if of(Kind::Attack).next().is_none() {
        untested.push("no [[attack]] that must be found".to_owned());
    }
    if of(Kind::Baseline).next().is_none() {
        untested.push("no [[baseline]] that must be left alone".to_owned());
    }
    let attacks = of(Kind::Attack).filter(|attack| attack.variant_of.is_none());
    for attack in attacks {
        let has_twin = of(Kind::Benign).any(|one| one.twin_of.as_ref() == Some(&attack.name));
        if !has_twin {
            untested.push(format!("no [[benign]] with twin_of = {:?}", attack.name));
        }
    }
    let named = scenarios.iter().flat_map(|one| one.twin_of.iter().chain(&one.variant_of));
    for name in named {
        if !of(Kind::Attack).any(|attack| attack.name == *name) {
            untested.push(format!("{name:?} is named as an attack and is none"));
        }
    }
    // Two that name each other would need no twin.
    let is_variant = |name: &String| {
        of(Kind::Attack).any(|attack| attack.name == *name && attack.variant_of.is_some())
    };
    let of_variants = scenarios.iter().filter_map(|one| one.variant_of.as_ref());
    for name in of_variants.filter(|name| is_variant(name)) {
        untested.push(format!("{name:?} is named by `variant_of` and is a variant itself"));
    }
    untested
}

/// Plays one scenario from its start.
pub(super) fn play(pre: &PluginPre, scenario: &Scenario) -> Result<Played, TestError> {
    let of = |source: StageError| TestError::Stage {
        scenario: scenario.name.clone(),
        source: Box::new(source),
    };
    let clock = (START_NS, UNIX_OFFSET_NS);
    let (mut stage, first) = Stage::start(pre, (&scenario.config, 1), clock).map_err(of)?;
    let mut played =
        Played { happened: Happened { rules: Vec::new(), ..first }, refused: Vec::new() };
    let mut world = ScenarioWorld::new(START_NS);
    for (at, act) in scenario.acts.iter().enumerate() {
        let wrong =
            |reason| ScenarioError::Act { scenario: scenario.name.clone(), act: at + 1, reason };
        let is_refused = match world.doing(act).map_err(wrong)? {
            Doing::Wait => {
                played.happened.and(stage.advance(world.boot_ns));
                false
            }
            Doing::Told(running) => {
                told(&mut stage, &mut world, &running, &mut played.happened);
                false
            }
            Doing::Lost(lost) => {
                let mut frames = Vec::new();
                // A loss is a few bytes.
                let _fits = RecordRef::Lost(lost).push(&mut frames);
                played.happened.and(stage.batch(world.boot_ns, &frames));
                false
            }
            Doing::Exit(step, gone) => {
                one(&mut stage, &mut world, *step, &mut played.happened);
                let mut frames = Vec::new();
                let _fits = RecordRef::Gone(gone).push(&mut frames);
                stage.forget(gone.key);
                played.happened.and(stage.batch(world.boot_ns, &frames));
                false
            }
            Doing::Calls(steps) => steps
                .into_iter()
                .any(|step| one(&mut stage, &mut world, step, &mut played.happened)),
        };
        if is_refused {
            played.refused.push(at);
        }
        if played.happened.failed.is_some() {
            break;
        }
    }
    Ok(played)
}

/// One call: judged, told to the plugin if it asks for it; whether it was refused.
fn one(
    stage: &mut Stage,
    world: &mut ScenarioWorld,
    mut step: Step,
    happened: &mut Happened,
) -> bool {
    let process = step.event.meta.process;
    // Time passes before the call, and whoever calls is known by then.
    happened.and(stage.advance(world.boot_ns));
    if happened.failed.is_some() {
        return false;
    }
    world.follow(stage);
    let is_refused = match stage.judge(&step.event, &step.object()) {
        Judged::Passes => false,
        Judged::Audited { rule_id, errno } => {
            step.event.meta.verdict = Verdict::Audited { rule_id, errno };
            false
        }
        Judged::Refused { rule_id, errno } => {
            step.event.meta.verdict = Verdict::Denied { rule_id, errno };
            true
        }
    };
    if !is_refused {
        world.committed(&step.event);
    }
    if is_refused || stage.is_sent(&step.event) {
        let mut frames = Vec::new();
        world.describe(process.tgid, &mut frames);
        // What a scenario writes fits a frame, as its file is bounded.
        let _fits = step.event.push(&mut frames);
        happened.and(stage.batch(world.boot_ns, &frames));
    }
    is_refused
}

/// Tells the plugin of a process that ran already, after its ancestors, if it asks for that.
fn told(
    stage: &mut Stage,
    world: &mut ScenarioWorld,
    running: &Running<'_>,
    happened: &mut Happened,
) {
    world.follow(stage);
    if stage.plugin().manifest().running == ToldRunning::Never {
        world.renew(running.process.key.tgid);
        return happened.and(stage.advance(world.boot_ns));
    }
    let mut frames = Vec::new();
    world.describe(running.process.key.tgid, &mut frames);
    // What a scenario writes fits a frame, as its file is bounded.
    let _fits = RecordRef::Running(running).push(&mut frames);
    happened.and(stage.batch(world.boot_ns, &frames));
}
