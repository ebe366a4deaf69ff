//! `krsi-host hooks`: every LSM hook of the running kernel, and what can be done with it.

mod text;

use std::path::Path;
use std::process::ExitCode;

use serde::Serialize;

use super::argument::OutputArg;
use super::exit::{self, ExitReason};
use crate::attach::AttachError;
use crate::control::{Answer, Query, send_query};
use crate::kernel::btf::KernelTypes;
use crate::kernel::spec::field_path::resembling;
use crate::kernel::survey::attached::AttachedProgram;
use crate::kernel::survey::facts;
use crate::kernel::survey::probe;
use crate::kernel::survey::{Survey, SurveyedHook, survey};
use crate::output::{HookCount, Status, WatchCount};
use crate::pipeline::RunError;
use crate::text::Quoted;

/// The answer as JSON: one object on one line.
#[derive(Serialize)]
struct Listing {
    kernel: String,
    hooks: Vec<HookLine>,
    unplaced: Vec<AttachedProgram>,
    unknown: Vec<String>,
}

/// A hook with what is known of its calls.
#[derive(Serialize)]
struct HookLine {
    #[serde(flatten)]
    hook: SurveyedHook,
    /// Calls: of programs while the kernel counts them, or else those that krsi-host had to look at.
    calls: Option<u64>,
    /// Calls that krsi-host denied.
    denied: Option<u64>,
    /// What its programs add to a call on average, nanoseconds.
    mean_ns: Option<u64>,
    /// Watches of krsi-host, and what they counted.
    watches: Vec<WatchCount>,
}

/// Surveys and tells. `names` are those of the hooks to show; all without one.
pub(super) fn run(output: OutputArg, control: &Path, names: &[String]) -> ExitCode {
    let types = match KernelTypes::running() {
        Ok(types) => types,
        Err(error) => return exit::report(&RunError::Attach(AttachError::Btf(error))),
    };
    let wanted = |hook: &str| names.is_empty() || names.iter().any(|name| name == hook);
    let mut survey = survey(&types, wanted);
    let absent = |name: &&String| survey.hooks.iter().all(|hook| hook.hook != **name);
    let absent: Vec<&String> = names.iter().filter(absent).collect();
    let all: Vec<String> = types.lsm_hooks().into_iter().map(|(hook, _)| hook).collect();
    for name in &absent {
        exit::say(&no_hook(name, &all), "");
    }
    if facts::active_lsms().is_some_and(|list| list.iter().all(|name| name != "bpf")) {
        survey.unknown.push(
            "bpf is not among the active LSMs: programs of type lsm load here, and are never called".into(),
        );
    }
    let Status { counts, watches, .. } = status(control);
    let listing = listing(survey, &counts, &watches);
    let code = if absent.is_empty() { ExitCode::SUCCESS } else { ExitReason::Usage.into() };
    match output {
        // What is wrong was said, and there is nothing to list.
        OutputArg::Text if listing.hooks.is_empty() && !absent.is_empty() => code,
        OutputArg::Text => super::print::print(&text::render(&listing), code),
        OutputArg::Json => super::print::print(&super::print::line(&listing), code),
    }
}

/// That there is no such hook, and which ones may be meant.
fn no_hook(name: &str, all: &[String]) -> String {
    let meant = match resembling(name, all).as_slice() {
        [] => "`krsi-host hooks` lists those that there are".to_owned(),
        [one] => format!("did you mean {one}?"),
        several => format!("there is {}", several.join(", ")),
    };
    format!("this kernel has no LSM hook {}; {meant}", Quoted(name))
}

/// What a running host tells; nothing where none runs.
fn status(control: &Path) -> Status {
    match send_query(control, &Query::Status) {
        Ok(Answer::Status(status)) => *status,
        _ => Status::default(),
    }
}

fn listing(survey: Survey, counts: &[HookCount], watches: &[WatchCount]) -> Listing {
    let rows = survey.hooks.into_iter().map(|hook| {
        let count = counts.iter().find(|count| count.hook == hook.hook);
        let watches = watches.iter().filter(|watch| watch.hook == hook.hook);
        // Every call runs every program once.
        let most = hook.attached.iter().map(|program| program.run_cnt).max();
        HookLine {
            calls: most.filter(|most| *most > 0).or(count.map(|count| count.seen)),
            denied: count.map(|count| count.denied),
            mean_ns: mean_ns(&hook.attached),
            watches: watches.cloned().collect(),
            hook,
        }
    });
    Listing {
        kernel: probe::release(),
        hooks: rows.collect(),
        unplaced: survey.unplaced,
        unknown: survey.unknown,
    }
}

/// The sum of the means of all programs that ran.
fn mean_ns(programs: &[AttachedProgram]) -> Option<u64> {
    let mean = |program: &AttachedProgram| program.run_time_ns.checked_div(program.run_cnt);
    programs.iter().filter_map(mean).reduce(u64::saturating_add)
}

#[cfg(test)]
mod tests;
