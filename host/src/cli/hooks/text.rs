//! The listing for people: a line a hook, and below it its signature, its programs and refusals.

use std::fmt::Write;

use super::{HookLine, Listing};
use crate::kernel::program::trial::{Grounds, Outcome};
use crate::kernel::survey::attached::AttachedProgram;
use crate::output::WatchCount;
use crate::text::{Escaped, Quoted};

pub(super) fn render(listing: &Listing) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail, here and below.
    let _ok = writeln!(
        out,
        "{:<32}{:<10}{:<10}{:<6}{:<7}{:>10}{:>10}{:>10}",
        "hook", "lsm", "fmod_ret", "deny", "sleep", "calls", "denied", "mean ns"
    );
    for row in &listing.hooks {
        hook(&mut out, row);
    }
    if !listing.unplaced.is_empty() {
        let _ok = writeln!(out, "\nattached, and this kernel does not tell where:");
        for program in &listing.unplaced {
            let _ok = writeln!(out, "    {}", shown(program));
        }
    }
    for line in &listing.unknown {
        let _ok = writeln!(out, "\n{line}");
    }
    out
}

fn hook(out: &mut String, row: &HookLine) {
    let hook = &row.hook;
    let number = |value: Option<u64>| value.map_or_else(|| "-".into(), |value| value.to_string());
    let yes = |value: bool| if value { "yes" } else { "no" };
    let _ok = writeln!(
        out,
        "{:<32}{:<10}{:<10}{:<6}{:<7}{:>10}{:>10}{:>10}",
        hook.hook,
        word(&hook.lsm),
        word(&hook.fmod_ret),
        yes(hook.can_deny),
        hook.can_sleep.map_or("?", yes),
        number(row.calls),
        number(row.denied),
        number(row.mean_ns),
    );
    let _ok = writeln!(out, "    {}", hook.signature);
    if let Some(function) = hook.function.as_ref().filter(|function| function.contains('(')) {
        let _ok = writeln!(out, "    fmod_ret: {function}");
    }
    for (backend, outcome) in [("lsm", &hook.lsm), ("fmod_ret", &hook.fmod_ret)] {
        if let Outcome::Refused(obstacle) = outcome {
            let _ok = writeln!(out, "    {backend}: {obstacle}");
        }
    }
    for program in &hook.attached {
        let _ok = writeln!(out, "    {}", shown(program));
    }
    for WatchCount { plugin, watch, seen, matched, denied, .. } in &row.watches {
        let (plugin, watch) = (Quoted(plugin), Escaped(watch));
        let _ok = writeln!(
            out,
            "    watch of {plugin}: {seen} calls, {matched} matched, {denied} denied: {watch}"
        );
    }
}

fn word(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Untried => "?",
        Outcome::Accepted => "yes",
        Outcome::NoFunction => "none",
        Outcome::Refused(obstacle) => match obstacle.grounds {
            Grounds::Disabled => "disabled",
            Grounds::NoHook => "no hook",
            Grounds::NotSleepable | Grounds::NotPermitted | Grounds::Other => "no",
        },
    }
}

fn shown(program: &AttachedProgram) -> String {
    let holders: Vec<String> = program
        .holders
        .iter()
        .map(|holder| format!("{}[{}]", Quoted(&holder.comm), holder.tgid))
        .collect();
    let held = if holders.is_empty() {
        "pinned".to_owned()
    } else {
        format!("held by {}", holders.join(", "))
    };
    let (kind, id, name) = (program.kind.word(), program.prog_id, Quoted(&program.name));
    let mut text = format!("{kind} program {id} {name}, {held}");
    if let Some(mean_ns) = program.run_time_ns.checked_div(program.run_cnt) {
        let _ok = write!(text, ": {} calls, mean {mean_ns} ns", program.run_cnt);
    }
    if program.recursion_misses > 0 {
        let _ok = write!(text, ", {} calls skipped", program.recursion_misses);
    }
    text
}
