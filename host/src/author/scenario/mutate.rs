//! What of an attack matters: it is shrunk to what is needed, and each change of that must be noticed.
//!
//! A change is an act that is left out, or a field that is as in the benign twin. Where the plugin still finds what it
//! should not find any more, the change survives: the detection does not depend on what the author thinks it does.
//! What cannot be played is no change that anybody noticed: it is left out.

use super::file::{Scenario, ScenarioAct};
use super::run::{TestError, play};
use crate::plugin::PluginPre;

/// Share of changes that should be noticed, percent.
pub(super) const WANTED_PERCENT: usize = 90;

/// What became of the changes of one attack.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mutations {
    /// Changes after which the attack was not found any more.
    pub(crate) killed: usize,
    /// Changes after which the attack was still found, in words.
    pub(crate) survivors: Vec<String>,
    /// Acts that are not needed for it to be found, from 1 on.
    pub(crate) needless: Vec<usize>,
}

impl Mutations {
    /// Changes that were tried.
    #[must_use]
    pub(crate) fn tried(&self) -> usize {
        self.killed + self.survivors.len()
    }
}

/// Changes an attack that is found in every way, and looks whether it still is.
pub(super) fn mutations(
    pre: &PluginPre,
    scenario: &Scenario,
    twin: Option<&Scenario>,
) -> Result<Mutations, TestError> {
    let mut mutations = Mutations::default();
    let needed = shrink(pre, scenario, &mut mutations)?;
    for leave_out in 0..needed.len() {
        let mut acts = needed.clone();
        let (at, act) = acts.remove(leave_out);
        // Without what must be refused nothing is left to look for, and without any act nothing to play.
        if act.refused || acts.is_empty() {
            continue;
        }
        let words = || format!("act {} is left out", at + 1);
        tally(pre, scenario, &acts, words, &mut mutations)?;
    }
    let Some(twin) = twin else { return Ok(mutations) };
    for place in 0..needed.len() {
        let Some((at, act)) = needed.get(place) else { continue };
        let Some(other) = twin.acts.get(*at) else { continue };
        for (field, changed) in fields(act, other) {
            let mut acts = needed.clone();
            if let Some((_, act)) = acts.get_mut(place) {
                *act = changed;
            }
            let words = || format!("`{field}` of act {} is the twin's", at + 1);
            tally(pre, scenario, &acts, words, &mut mutations)?;
        }
    }
    Ok(mutations)
}

/// The acts without which it is not found, each with its place.
fn shrink(
    pre: &PluginPre,
    scenario: &Scenario,
    mutations: &mut Mutations,
) -> Result<Vec<(usize, ScenarioAct)>, TestError> {
    let mut needed: Vec<(usize, ScenarioAct)> = scenario.acts.iter().cloned().enumerate().collect();
    let mut place = 0;
    while place < needed.len() && needed.len() > 1 {
        let mut fewer = needed.clone();
        let (at, act) = fewer.remove(place);
        // What must be refused is what the scenario is about.
        if !act.refused && is_found(pre, scenario, &fewer)? == Some(true) {
            mutations.needless.push(at + 1);
            (needed, place) = (fewer, 0);
        } else {
            place += 1;
        }
    }
    mutations.needless.sort_unstable();
    Ok(needed)
}

fn tally(
    pre: &PluginPre,
    scenario: &Scenario,
    acts: &[(usize, ScenarioAct)],
    words: impl Fn() -> String,
    mutations: &mut Mutations,
) -> Result<(), TestError> {
    match is_found(pre, scenario, acts)? {
        Some(true) => mutations.survivors.push(words()),
        Some(false) => mutations.killed += 1,
        None => {}
    }
    Ok(())
}

/// Whether all that the scenario expects still comes of some acts; `None` where an act makes no sense any more.
fn is_found(
    pre: &PluginPre,
    scenario: &Scenario,
    acts: &[(usize, ScenarioAct)],
) -> Result<Option<bool>, TestError> {
    let acts: Vec<ScenarioAct> = acts.iter().map(|(_, act)| act.clone()).collect();
    let changed = Scenario { acts, ..scenario.clone() };
    match play(pre, &changed) {
        Ok(played) => Ok(Some(played.is_as(&changed))),
        Err(TestError::Scenario(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The fields in which an act differs from the twin's, each with the act as it is then.
fn fields(act: &ScenarioAct, twin: &ScenarioAct) -> Vec<(&'static str, ScenarioAct)> {
    let mut changes = Vec::new();
    macro_rules! changes {
        ($($field:ident)*) => { $(
            if act.$field != twin.$field {
                changes.push((stringify!($field), ScenarioAct { $field: twin.$field.clone(), ..act.clone() }));
            }
        )* };
    }
    changes! {
        pid parent uid gid comm cgroup after_ms exec running connections argv kind fork exit open flags connect protocol call fields watch
        hook values wait_ms lost
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_field_that_differs_is_changed_alone() {
        let act = ScenarioAct { exec: Some("/a".into()), uid: Some(1), ..ScenarioAct::default() };
        let twin = ScenarioAct {
            exec: Some("/b".into()),
            uid: Some(2),
            refused: true,
            ..ScenarioAct::default()
        };
        let changes = fields(&act, &twin);
        let names: Vec<&str> = changes.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["uid", "exec"]);
        assert_eq!(changes[0].1, ScenarioAct { uid: Some(2), ..act.clone() });
        assert_eq!(fields(&act, &act), []);
    }
}
