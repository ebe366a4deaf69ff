//! Tests of the process table.

use krsi_plugin_schema::latest::{Body, Event, Exit, FileOpen, Fork};

use super::*;

const fn key(tgid: u32) -> ProcessKey {
    ProcessKey { start_boot_ns: tgid as u64 * 1000, tgid }
}

fn event(process: ProcessKey, boot_ns: u64, body: Body<'static>) -> Event<'static> {
    let meta = Meta { boot_ns, process, uid: 7, cgroup_id: 9, ..Meta::default() };
    Event { meta: Meta { comm: "sh".into(), ..meta }, body }
}

fn fork(parent: ProcessKey, child: ProcessKey) -> Event<'static> {
    event(parent, 1, Body::SchedProcessFork(Fork { child }))
}

fn open(process: ProcessKey) -> Event<'static> {
    event(process, 1, Body::FileOpen(FileOpen::default()))
}

fn exit(process: ProcessKey, boot_ns: u64) -> Event<'static> {
    event(process, boot_ns, Body::SchedProcessExit(Exit::default()))
}

fn observe(
    table: &mut ProcessTable,
    event: &Event<'_>,
    parent: ProcessKey,
    cgroup: &mut dyn FnMut(u64) -> String,
) -> Observation {
    table.observe(&event.meta, parent, ProcessChange::of(event), cgroup)
}

fn see(table: &mut ProcessTable, event: &Event<'_>) -> Observation {
    observe(table, event, ProcessKey::default(), &mut |id| format!("/{id}"))
}

#[test]
fn a_fork_inherits_and_an_exec_replaces() {
    let mut table = ProcessTable::default();
    let exec = Exec { path: "/bin/a".into(), ..Exec::default() };
    see(&mut table, &event(key(1), 1, Body::BprmCommittedCreds(exec)));
    let seen = see(&mut table, &fork(key(1), key(2)));
    assert_eq!(seen.joined, [Joined { parent: key(1), child: key(2) }]);
    let child = table.get(key(2)).unwrap();
    assert_eq!((&*child.exe, &*child.cgroup, child.uid), ("/bin/a", "/9", 7));
    assert_eq!(child.parent, key(1));
    let exec = Exec { path: "/bin/b".into(), ..Exec::default() };
    see(&mut table, &event(key(2), 1, Body::BprmCommittedCreds(exec)));
    assert_eq!(table.get(key(2)).unwrap().exe, "/bin/b");
    assert_eq!(table.get(key(1)).unwrap().exe, "/bin/a");
}

#[test]
fn the_unknown_is_made_from_its_event_once() {
    let mut table = ProcessTable::default();
    let mut asked = 0;
    for round in 0..3 {
        let seen = observe(&mut table, &open(key(5)), key(4), &mut |_| {
            asked += 1;
            "/x".to_owned()
        });
        assert_eq!(seen.joined.len(), usize::from(round == 0));
    }
    assert_eq!(asked, 1);
    let process = table.get(key(5)).unwrap();
    assert_eq!((process.argv.iter().next(), process.parent), (Some("sh"), key(4)));
    // The fork's record comes after the child's.
    see(&mut table, &fork(key(3), key(5)));
    assert_eq!(table.get(key(5)).unwrap().parent, key(3));
    assert_eq!(table.descendants(key(3)), [key(5)]);
    assert_eq!(table.descendants(key(4)), []);
}

#[test]
fn what_differs_from_a_moment_ago_is_learnt() {
    let mut table = ProcessTable::with_capacity(1);
    let mut asked = 0;
    let mut see = |table: &mut ProcessTable, tgid, boot_ns, uid, name: &str| {
        let mut event = event(key(tgid), boot_ns, Body::FileOpen(FileOpen::default()));
        event.meta.uid = uid;
        observe(table, &event, ProcessKey::default(), &mut |_| {
            asked += 1;
            name.to_owned()
        });
        let process = table.get(key(tgid)).unwrap();
        assert_eq!(process.uid, uid);
        (asked, process.cgroup.clone().into_owned())
    };
    // A cgroup without a name is asked for again, though not with every event.
    assert_eq!(see(&mut table, 1, 1, 7, ""), (1, String::new()));
    assert_eq!(see(&mut table, 1, 2, 7, "/late"), (1, String::new()));
    assert_eq!(see(&mut table, 1, 1_000_000_000, 7, "/late"), (2, "/late".into()));
    assert_eq!(see(&mut table, 1, u64::MAX - 1, 8, "/other"), (2, "/late".into()));
    // Who had to make room is made anew, also in the same place.
    assert_eq!(see(&mut table, 1 + 256, 5, 7, "/b"), (3, "/b".into()));
    assert_eq!(see(&mut table, 1, 5, 8, "/a"), (4, "/a".into()));
}

#[test]
fn descent_outlives_those_in_between() {
    let mut table = ProcessTable::default();
    see(&mut table, &fork(key(1), key(2)));
    see(&mut table, &fork(key(2), key(3)));
    assert_eq!(see(&mut table, &exit(key(2), 5)).exited, Some(key(2)));
    assert_eq!(table.descendants(key(1)), [key(3)]);
    assert!(table.get(key(2)).is_some() && !table.is_running(key(2)));
    // Reparented to init, and the grace is over.
    let late = event(key(3), GRACE_NS + 5, Body::FileOpen(FileOpen::default()));
    observe(&mut table, &late, key(99), &mut |_| String::new());
    assert!(table.get(key(2)).is_none());
    assert_eq!(table.descendants(key(1)), [key(3)]);
    assert_eq!(table.ancestors(key(3)), [key(1)]);
    assert_eq!(table.dropped(), 0);
}

#[test]
fn room_is_made_by_the_ended_then_by_the_oldest() {
    let mut table = ProcessTable::with_capacity(3);
    for tgid in [2, 3, 4] {
        see(&mut table, &open(key(tgid)));
    }
    see(&mut table, &exit(key(4), 1));
    see(&mut table, &open(key(5)));
    assert!(table.get(key(4)).is_none() && table.get(key(2)).is_some());
    see(&mut table, &open(key(6)));
    assert!(table.get(key(2)).is_none());
    assert_eq!((table.len(), table.dropped()), (3, 2));
}

#[test]
fn an_approximate_key_gives_way_to_the_exact_one() {
    let root = std::env::temp_dir().join(format!("proc-scan-{}", std::process::id()));
    for (tgid, ppid, ticks) in [(10, 0, 100), (11, 10, 250), (12, 11, 300)] {
        let folder = root.join(tgid.to_string());
        std::fs::create_dir_all(&folder).unwrap();
        let zeros = "0 ".repeat(17);
        let stat = format!("{tgid} (x) S {ppid} {zeros}{ticks} 0");
        std::fs::write(folder.join("stat"), stat).unwrap();
        std::fs::write(folder.join("status"), "Uid:\t5 5 5 5\nGid:\t6 6 6 6\n").unwrap();
        std::fs::write(folder.join("cgroup"), "0::/a\n").unwrap();
    }
    let mut table = ProcessTable::default();
    assert_eq!(table.scan(&root).unwrap(), 3);
    assert_eq!(table.scan(&root).unwrap(), 0);
    std::fs::remove_dir_all(&root).unwrap();
    let about = |tgid, ticks: u64| ProcessKey { start_boot_ns: ticks * TICK_NS, tgid };
    let exact = |tgid, ticks: u64| ProcessKey { start_boot_ns: ticks * TICK_NS + 77, tgid };
    assert_eq!(table.descendants(about(10, 100)), [about(11, 250), about(12, 300)]);
    assert_eq!(table.get(about(11, 250)).unwrap().gid, 6);

    // The caller and its parent become exact in one event.
    let seen = observe(&mut table, &open(exact(11, 250)), exact(10, 100), &mut |_| String::new());
    let adopted = [(11, 250), (10, 100)]
        .map(|(tgid, at)| Adopted { approximate: about(tgid, at), exact: exact(tgid, at) });
    assert_eq!(seen, Observation { adopted: adopted.to_vec(), ..Observation::default() });
    assert_eq!(table.descendants(exact(10, 100)), [exact(11, 250), about(12, 300)]);
    assert_eq!(table.get(about(12, 300)).unwrap().parent, exact(11, 250));
    assert_eq!(table.get(exact(11, 250)).unwrap().parent, exact(10, 100));
    assert_eq!(table.get(exact(11, 250)).unwrap().cgroup, "/a");
    // Another process with a tgid that /proc had shown.
    see(&mut table, &open(exact(12, 900)));
    assert!(!table.is_running(about(12, 300)) && table.is_running(exact(12, 900)));
}
