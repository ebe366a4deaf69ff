//! Verdicts on made-up machines, and the golden text of two of them.

use super::*;
use crate::cli::exit::Health;
use crate::kernel::program::trial::{Grounds, Obstacle, Outcome};
use crate::kernel::survey::facts::{LackingHook, LackingMember, OPTIONAL_FUNCTIONS};
use diagnose::{BackendChoice, Severity};

/// A machine that lacks nothing.
fn whole() -> Facts {
    Facts {
        release: "6.12.1-made-up".into(),
        machine: "x86_64".into(),
        lsm: Some(["lockdown", "capability", "bpf", "apparmor"].map(str::to_owned).to_vec()),
        hooks: 276,
        root: true,
        capabilities: Some(0x1ff_ffff_ffff),
        lockdown: Some("none".into()),
        unprivileged_bpf_disabled: Some(2),
        bpf_jit_enable: Some(1),
        bpf_stats_enabled: Some(1),
        ftrace_enabled: Some(1),
        lsm_trial: Outcome::Accepted,
        fmod_ret_trial: Outcome::Accepted,
        observe_trial: Outcome::Accepted,
        functions: OPTIONAL_FUNCTIONS.to_vec(),
        ..Facts::default()
    }
}

fn refused(grounds: Grounds, errno: i32, words: &str) -> Outcome {
    Outcome::Refused(Obstacle { grounds, errno, words: words.into() })
}

fn without_bpf() -> Option<Vec<String>> {
    Some(vec!["lockdown".into(), "yama".into()])
}

/// What a change of the whole machine must lead to: verdict, backend, and one finding that has the words.
fn check(
    change: impl FnOnce(&mut Facts),
    health: Health,
    backend: BackendChoice,
    severity: Severity,
    words: &[&str],
) {
    let mut facts = whole();
    change(&mut facts);
    let diagnosis = diagnose(&facts);
    assert_eq!((diagnosis.health, diagnosis.backend), (health, backend), "{words:?}");
    let has = |finding: &diagnose::Finding| {
        let text = format!("{} | {} | {}", finding.what, finding.cost, finding.fix);
        finding.severity == severity && words.iter().all(|word| text.contains(word))
    };
    let found = diagnosis.findings.iter().filter(|finding| has(finding)).count();
    assert_eq!(found, 1, "{words:?} in {:#?}", diagnosis.findings);
    // Nothing is said without what it costs and the fix.
    for finding in &diagnosis.findings {
        assert!(!finding.what.is_empty() && !finding.cost.is_empty() && !finding.fix.is_empty());
    }
}

#[test]
fn a_whole_machine_is_fine() {
    let diagnosis = diagnose(&whole());
    assert_eq!((diagnosis.health, diagnosis.backend), (Health::Fine, BackendChoice::Lsm));
    assert_eq!(diagnosis.findings, []);
}

#[test]
#[allow(clippy::too_many_lines, reason = "a row for each finding")]
fn what_blocks() {
    use BackendChoice::{Lsm, None};
    use Health::Unable;
    use Severity::Blocks;
    let untried = |facts: &mut Facts| {
        facts.lsm_trial = Outcome::Untried;
        facts.fmod_ret_trial = Outcome::Untried;
        facts.observe_trial = Outcome::Untried;
    };
    let user = |facts: &mut Facts| {
        untried(facts);
        facts.root = false;
        facts.capabilities = Some(0);
    };
    check(user, Unable, None, Blocks, &["not root", "sudo"]);
    let contained = |facts: &mut Facts| facts.pids_error = Some("in a PID namespace".into());
    check(contained, Unable, Lsm, Blocks, &["PID namespace", "does not start", "--pid=host"]);
    let bare =
        |facts: &mut Facts| facts.capabilities = Some(0x1ff_ffff_ffff & !(1 << 21) & !(1 << 38));
    check(bare, Unable, Lsm, Blocks, &["CAP_PERFMON", "is missing"]);
    let bare_and_refused = |facts: &mut Facts| {
        bare(facts);
        facts.lsm_trial = refused(Grounds::NotPermitted, 1, "");
        facts.fmod_ret_trial = facts.lsm_trial.clone();
        facts.observe_trial = facts.lsm_trial.clone();
    };
    // Told once.
    check(bare_and_refused, Unable, None, Blocks, &[""]);
    let no_types = |facts: &mut Facts| {
        untried(facts);
        facts.btf_error = Some("/sys/kernel/btf/vmlinux is missing".into());
        facts.functions.clear();
    };
    check(no_types, Unable, None, Blocks, &["vmlinux is missing", "CONFIG_DEBUG_INFO_BTF"]);
    let kernel = |grounds, errno, words: &'static str| {
        move |facts: &mut Facts| {
            facts.lsm_trial = refused(grounds, errno, words);
            facts.fmod_ret_trial = refused(grounds, errno, words);
            facts.observe_trial = refused(grounds, errno, words);
        }
    };
    check(
        kernel(Grounds::NotPermitted, 1, ""),
        Unable,
        None,
        Blocks,
        &["not permitted", "namespace"],
    );
    check(
        kernel(Grounds::Other, 524, "no JIT"),
        Unable,
        None,
        Blocks,
        &[": no JIT", "CONFIG_BPF_LSM"],
    );
    check(|facts| facts.ftrace_enabled = Some(0), Unable, Lsm, Blocks, &["ftrace_enabled=1"]);
    check(|facts| facts.bpf_jit_enable = Some(0), Unable, Lsm, Blocks, &["bpf_jit_enable=1"]);
    let locked = |facts: &mut Facts| facts.lockdown = Some("confidentiality".into());
    check(locked, Unable, Lsm, Blocks, &["locked down", "lockdown=integrity"]);
    let tight = |facts: &mut Facts| {
        facts.memlock_counts = true;
        facts.memlock_bytes = Some(65536);
        facts.capabilities = Some(0x1ff_ffff_ffff & !(1 << 24));
    };
    check(tight, Unable, Lsm, Blocks, &["RLIMIT_MEMLOCK is 65536", "LimitMEMLOCK=infinity"]);
}

#[test]
fn what_limits() {
    use BackendChoice::{FmodRet, Lsm, ObserveOnly};
    use Health::Limited;
    use Severity::Limits;
    let boot = ["(lockdown,yama)", "fmod_ret", "lsm=lockdown,yama,bpf"];
    check(|facts| facts.lsm = without_bpf(), Limited, FmodRet, Limits, &boot);
    let observe = |facts: &mut Facts| {
        facts.lsm = without_bpf();
        facts.fmod_ret_trial = refused(Grounds::Other, 22, "not modifiable");
    };
    check(observe, Limited, ObserveOnly, Limits, &["not modifiable", "nothing can be denied"]);
    let groups = |facts: &mut Facts| facts.cgroups_error = Some("no cgroup2".into());
    check(groups, Limited, Lsm, Limits, &["no cgroup2", "by cgroup are refused", "unified"]);
    // Where `capability`, `ima` and `evm` stand is not for the boot line to say.
    let fixed = |facts: &mut Facts| {
        facts.lsm = Some(["capability", "yama", "ima", "evm"].map(str::to_owned).to_vec());
    };
    check(fixed, Limited, FmodRet, Limits, &["boot with lsm=yama,bpf,"]);
    let no_lsm = |facts: &mut Facts| facts.lsm_trial = refused(Grounds::Other, 22, "no LSM type");
    check(no_lsm, Limited, FmodRet, Limits, &["no LSM type", "backend fmod_ret"]);
    check(|facts| facts.lsm = None, Limited, Lsm, Limits, &["cannot be read", "securityfs"]);
    let no_kill = |facts: &mut Facts| facts.capabilities = Some(0x1ff_ffff_ffff & !(1 << 5));
    check(no_kill, Limited, Lsm, Limits, &["CAP_KILL", "kill"]);
    let no_setuid = |facts: &mut Facts| facts.capabilities = Some(0x1ff_ffff_ffff & !(1 << 7));
    check(no_setuid, Limited, Lsm, Limits, &["CAP_SETUID", "compiled by a child that stays root"]);
    let written = |facts: &mut Facts| facts.code_error = Some("Permission denied".into());
    check(written, Limited, Lsm, Limits, &["made executable", "MemoryDenyWriteExecute=no"]);
    let noexec = |facts: &mut Facts| facts.cache_error = Some("/c: mounted noexec".into());
    check(noexec, Health::Fine, Lsm, Severity::Note, &["noexec", "copied", "--cache-dir"]);
    let few = |facts: &mut Facts| {
        facts.capabilities = Some(0x1ff_ffff_ffff & !(1 << 24));
        facts.descriptors = Some(64);
    };
    check(few, Limited, Lsm, Limits, &["RLIMIT_NOFILE", "64", "LimitNOFILE"]);
    let lacks = |hook: &'static str| {
        move |facts: &mut Facts| facts.lacking.push(LackingHook { hook, why: "not there".into() })
    };
    check(lacks("path_unlink"), Limited, Lsm, Limits, &["no hook path_unlink", "inode_*"]);
    check(lacks("userns_create"), Limited, Lsm, Limits, &["userns_create: not there", "6.1"]);
    check(lacks("uring_cmd"), Limited, Lsm, Limits, &["drivers", "io_uring_disabled"]);
    check(lacks("uring_sqpoll"), Limited, Lsm, Limits, &["set-up", "io_uring_disabled"]);
    check(lacks("settime"), Limited, Lsm, Limits, &["no hook settime", "newer kernel"]);
    let member = |facts: &mut Facts| {
        let (structure, member) = ("linux_binprm", "argc");
        facts.missing.push(LackingMember { structure, member, why: "no such member".into() });
    };
    check(member, Limited, Lsm, Limits, &["argc in struct linux_binprm", "skipped_field"]);
    for name in OPTIONAL_FUNCTIONS {
        let lacks = |facts: &mut Facts| facts.functions.retain(|other| *other != name);
        check(lacks, Limited, Lsm, Limits, &[name, "a kernel from"]);
    }
    let small = |facts: &mut Facts| facts.memory_max_bytes = Some(64 << 20);
    check(small, Limited, Lsm, Limits, &["memory.max", "MemoryMax=256M"]);
}

#[test]
fn what_is_only_worth_knowing() {
    use BackendChoice::Lsm;
    use Health::Fine;
    use Severity::Note;
    check(|facts| facts.bpf_stats_enabled = Some(0), Fine, Lsm, Note, &["bpf_stats_enabled=1"]);
    let open = |facts: &mut Facts| facts.unprivileged_bpf_disabled = Some(0);
    check(open, Fine, Lsm, Note, &["unprivileged_bpf_disabled=2"]);
    let late = |facts: &mut Facts| {
        facts.lsm = Some(["capability", "apparmor", "bpf"].map(str::to_owned).to_vec());
    };
    check(late, Fine, Lsm, Note, &["apparmor before bpf"]);
    let deaf = |facts: &mut Facts| facts.inotify_error = Some("no inotify watch is left".into());
    check(deaf, Fine, Lsm, Note, &["no inotify watch is left", "fs.inotify.max_user_watches"]);
    // Memory that the host may raise is no finding.
    let mut facts = Facts { memlock_counts: true, memlock_bytes: Some(65536), ..whole() };
    assert_eq!(diagnose(&facts).findings, []);
    facts.memory_max_bytes = Some(1 << 30);
    assert_eq!(diagnose(&facts).findings, []);
}

#[test]
fn the_gravest_comes_first() {
    let mut facts = Facts { bpf_stats_enabled: Some(0), lsm: without_bpf(), ..whole() };
    facts.ftrace_enabled = Some(0);
    let severities: Vec<Severity> =
        diagnose(&facts).findings.iter().map(|finding| finding.severity).collect();
    assert_eq!(severities, [Severity::Blocks, Severity::Limits, Severity::Note]);
}

#[test]
fn the_answer_for_people() {
    let check = |facts: &Facts, expected: &str| {
        let expected = expected.replace("VERSION", env!("CARGO_PKG_VERSION"));
        assert_eq!(text::render(facts, &diagnose(facts)), expected);
    };
    check(&whole(), include_str!("golden/whole.txt"));
    let facts = Facts {
        release: "5.10.1-made-up".into(),
        lsm: without_bpf(),
        lockdown: None,
        functions: vec![],
        lacking: vec![LackingHook {
            hook: "userns_create",
            why: "this kernel has no such LSM hook for BPF".into(),
        }],
        bpf_stats_enabled: Some(0),
        memlock_counts: true,
        memlock_bytes: Some(65536),
        ..whole()
    };
    check(&facts, include_str!("golden/limited.txt"));
}

#[test]
fn the_answer_for_machines() {
    let facts = Facts { lsm: without_bpf(), ..whole() };
    let diagnosis = diagnose(&facts);
    let answer = Examination { version: "0", diagnosis: &diagnosis, facts: &facts };
    let json = serde_json::to_value(answer).unwrap();
    assert_eq!((&json["health"], &json["backend"]), (&"limited".into(), &"fmod_ret".into()));
    assert_eq!(json["findings"][0]["severity"], "limits");
    assert_eq!(json["facts"]["lsm_trial"], "accepted");
}
