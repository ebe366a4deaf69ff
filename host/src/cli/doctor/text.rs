//! A diagnosis for people.

use std::fmt::Write;

use super::super::exit::Health;
use super::diagnose::{BackendChoice, Diagnosis, Severity};
use crate::kernel::survey::facts::Facts;

/// The facts as a table, the findings below it, the verdict last.
pub(super) fn render(facts: &Facts, diagnosis: &Diagnosis) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ok = writeln!(
        out,
        "krsi-host {} on {} ({})\n",
        env!("CARGO_PKG_VERSION"),
        facts.release,
        facts.machine
    );
    for (name, value) in rows(facts, diagnosis) {
        let _ok = writeln!(out, "{name:<26}{value}");
    }
    for finding in &diagnosis.findings {
        let word = match finding.severity {
            Severity::Blocks => "BLOCKS",
            Severity::Limits => "LIMITS",
            Severity::Note => "note",
        };
        let _ok = writeln!(out, "\n{word:<7} {}", finding.what);
        let _ok = writeln!(out, "        costs: {}", finding.cost);
        let _ok = writeln!(out, "        fix:   {}", finding.fix);
    }
    let verdict = match diagnosis.health {
        Health::Fine => "krsi-host can do here all that it can do",
        Health::Limited => "krsi-host works here, within the limits above",
        Health::Unable => "krsi-host cannot work here",
    };
    let _ok = writeln!(out, "\n{verdict}");
    out
}

fn rows(facts: &Facts, diagnosis: &Diagnosis) -> Vec<(&'static str, String)> {
    let known =
        |value: Option<u32>| value.map_or_else(|| "unknown".into(), |value| value.to_string());
    let bytes = |value: Option<u64>| {
        value.map_or_else(|| "no limit".into(), |value| format!("{value} bytes"))
    };
    let backend = match diagnosis.backend {
        BackendChoice::Lsm => "lsm",
        BackendChoice::FmodRet => "fmod_ret",
        BackendChoice::ObserveOnly => "observe only",
        BackendChoice::None => "none",
    };
    let types = match &facts.btf_error {
        Some(_) => "none".into(),
        None => format!("{} functions of LSM hooks", facts.hooks),
    };
    let functions =
        if facts.functions.is_empty() { "none".into() } else { facts.functions.join(", ") };
    let capabilities =
        facts.capabilities.map_or_else(|| "unknown".into(), |set| format!("{set:#x}"));
    let mut rows = vec![
        ("backend", backend.into()),
        ("lsm=", facts.lsm.as_ref().map_or_else(|| "unknown".into(), |list| list.join(","))),
        ("BTF", types),
        ("optional functions", functions),
        ("capabilities", capabilities),
        ("lockdown", facts.lockdown.clone().unwrap_or_else(|| "not there".into())),
        ("ftrace_enabled", known(facts.ftrace_enabled)),
        ("bpf_jit_enable", known(facts.bpf_jit_enable)),
        ("bpf_stats_enabled", known(facts.bpf_stats_enabled)),
        ("unprivileged_bpf_disabled", known(facts.unprivileged_bpf_disabled)),
        ("memory.max", bytes(facts.memory_max_bytes)),
    ];
    if facts.memlock_counts {
        rows.push(("RLIMIT_MEMLOCK", bytes(facts.memlock_bytes)));
    }
    rows
}
