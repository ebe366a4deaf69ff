//! The listing of made-up hooks, as people and as machines get it.

use super::*;
use crate::kernel::program::trial::{Grounds, Obstacle, Outcome};
use crate::kernel::survey::attached::{AttachedAs, Holder};

fn hook(name: &str, lsm: Outcome, attached: Vec<AttachedProgram>) -> SurveyedHook {
    SurveyedHook {
        hook: name.into(),
        btf_id: 7,
        function_btf_id: Some(8),
        signature: format!("int {name}(struct file *file)"),
        can_deny: true,
        can_sleep: Some(lsm == Outcome::Accepted),
        lsm,
        function: Some(format!("security_{name}")),
        fmod_ret: Outcome::Accepted,
        attached,
    }
}

fn program(run_cnt: u64, run_time_ns: u64, holders: Vec<Holder>) -> AttachedProgram {
    AttachedProgram {
        prog_id: 31,
        name: "file_open".into(),
        kind: AttachedAs::Lsm,
        target_btf_id: Some(7),
        holders,
        run_cnt,
        run_time_ns,
        recursion_misses: 0,
    }
}

fn made_up() -> Listing {
    let host = vec![Holder { tgid: 212, comm: "krsi-host".into() }];
    let words = "attach_btf_id 77 points to disabled hook bpf_lsm_getprocattr";
    let disabled = Obstacle { grounds: Grounds::Disabled, errno: 22, words: words.into() };
    let watched = vec![program(10, 4000, host), program(30, 3000, vec![])];
    let survey = Survey {
        hooks: vec![
            hook("file_open", Outcome::Accepted, watched),
            hook("getprocattr", Outcome::Refused(disabled), vec![]),
            hook("socket_connect", Outcome::Untried, vec![program(0, 0, vec![])]),
        ],
        unplaced: vec![program(0, 0, vec![])],
        unknown: vec!["something is not known".into()],
    };
    let counts = [
        HookCount { hook: "file_open".into(), seen: 12, denied: 2 },
        HookCount { hook: "socket_connect".into(), seen: 5, denied: 0 },
    ];
    let watch = WatchCount {
        plugin: "administrator".into(),
        hook: "file_open".into(),
        watch: "file_open: file deny EPERM".into(),
        seen: 12,
        matched: 2,
        denied: 2,
        ..WatchCount::default()
    };
    let watches = [watch, WatchCount { hook: "task_kill".into(), ..WatchCount::default() }];
    Listing { kernel: "6.12".into(), ..listing(survey, &counts, &watches) }
}

#[test]
fn the_listing_for_people() {
    assert_eq!(text::render(&made_up()), include_str!("golden/listing.txt"));
}

#[test]
fn the_listing_for_machines() {
    let json = serde_json::to_value(made_up()).unwrap();
    let row = |at: usize| &json["hooks"][at];
    assert_eq!(row(0)["hook"], "file_open");
    assert_eq!(row(0)["lsm"], "accepted");
    // Both programs ran at each call of the time they were there.
    assert_eq!(
        (&row(0)["calls"], &row(0)["denied"], &row(0)["mean_ns"]),
        (&30.into(), &2.into(), &500.into())
    );
    assert_eq!(row(0)["attached"][0]["holders"][0]["tgid"], 212);
    assert_eq!(row(1)["lsm"]["refused"]["grounds"], "disabled");
    assert_eq!(row(1)["calls"], serde_json::Value::Null);
    // While the kernel does not count, the host's own count serves.
    assert_eq!((&row(2)["calls"], &row(2)["mean_ns"]), (&5.into(), &serde_json::Value::Null));
    assert_eq!(json["unplaced"][0]["kind"], "lsm");
}

#[test]
fn a_name_that_is_no_hook_says_which_may_be_meant() {
    let all = ["file_open", "inode_permission", "ipc_permission", "path_chmod"].map(str::to_owned);
    let check = |name: &str, expected: &str| {
        let start = "this kernel has no LSM hook ";
        assert_eq!(no_hook(name, &all), format!("{start}{expected}"));
    };
    check("chmod", "chmod; did you mean path_chmod?");
    check("permission", "permission; there is ipc_permission, inode_permission");
    check("a\nb", "\"a\\nb\"; `krsi-host hooks` lists those that there are");
}
