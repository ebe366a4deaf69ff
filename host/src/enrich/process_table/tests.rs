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
    assert_eq!(table.counts().dropped, 0);
}

#[test]
fn room_is_made_by_the_ended_then_by_the_youngest() {
    let mut table = ProcessTable::with_capacity(3);
    for tgid in [2, 3, 4] {
        see(&mut table, &open(key(tgid)));
    }
    see(&mut table, &exit(key(4), 1));
    see(&mut table, &open(key(5)));
    assert!(table.get(key(4)).is_none() && table.get(key(2)).is_some());
    see(&mut table, &open(key(6)));
    assert!(table.get(key(2)).is_some() && table.get(key(5)).is_none());
    let counts = TableCounts { dropped: 2, outside: 1, ..TableCounts::default() };
    assert_eq!((table.len(), table.counts()), (3, counts));
}

/// A process that runs, as `/proc` describes it.
fn running(tgid: u32, parent: u32) -> Process<'static> {
    Process { key: key(tgid), parent: key(parent), exe: "/bin/d".into(), ..Process::default() }
}

#[test]
fn who_runs_already_is_added_once() {
    let mut table = ProcessTable::with_capacity(3);
    see(&mut table, &fork(key(2), key(3)));
    let joined = table.add(vec![running(1, 0), running(2, 1), running(3, 2), running(4, 1)]);
    assert_eq!(joined, []);
    assert_eq!(table.get(key(1)).unwrap().exe, "/bin/d");
    assert_eq!((table.get(key(2)).unwrap().uid, table.descendants(key(2))), (7, vec![key(3)]));
    // The last of them finds no room, and takes nobody's.
    assert!(table.get(key(4)).is_none());
    assert_eq!(table.counts(), TableCounts { outside: 1, ..TableCounts::default() });
}

#[test]
fn a_ghost_and_a_stranger_are_believed_when_seen_twice() {
    let mut table = ProcessTable::default();
    for tgid in [2, 3, 4] {
        see(&mut table, &fork(key(1), key(tgid)));
    }
    let mut runs: HashSet<ProcessKey> = [1, 2, 5, 6].map(key).into();
    // 9 was forked after the look began.
    runs.insert(key(9));
    assert_eq!(table.compare(&runs, 8000), Missed::default());
    // The records of 4 and of 6 were only late.
    see(&mut table, &exit(key(4), 1));
    see(&mut table, &fork(key(1), key(6)));
    let missed = table.compare(&runs, 8001);
    assert_eq!(missed, Missed { ghosts: vec![key(3)], strangers: vec![key(5)] });
    assert!(!table.is_running(key(3)) && table.is_running(key(2)));
    let joined = table.add(vec![running(5, 2)]);
    assert_eq!(joined, [Joined { parent: key(2), child: key(5) }]);
    assert_eq!(table.descendants(key(1)), [2, 6, 5].map(key));
    assert_eq!(table.compare(&runs, 8002), Missed::default());
    assert_eq!(table.counts(), TableCounts { ghosts: 1, strangers: 1, ..TableCounts::default() });
}

#[test]
fn a_full_table_says_who_runs_outside_it_until_nobody_does() {
    let mut table = ProcessTable::with_capacity(3);
    for tgid in 2..6 {
        see(&mut table, &fork(key(1), key(tgid)));
    }
    assert_eq!(table.counts().outside, 2);
    let runs: HashSet<ProcessKey> = (1..6).map(key).collect();
    for _ in 0..2 {
        assert_eq!(table.compare(&runs, 8000), Missed::default());
        assert_eq!(table.counts().outside, 2);
    }
    see(&mut table, &exit(key(5), 1));
    let late = event(key(1), GRACE_NS + 1, Body::FileOpen(FileOpen::default()));
    see(&mut table, &late);
    let runs: HashSet<ProcessKey> = (1..5).map(key).collect();
    let missed = table.compare(&runs, 8000);
    // There is room for one.
    assert_eq!((missed.ghosts.len(), missed.strangers.len()), (0, 1));
    table.add(vec![running(missed.strangers[0].tgid, 1)]);
    let runs: HashSet<ProcessKey> = table.iter().map(|process| process.key).collect();
    table.compare(&runs, 8000);
    assert_eq!(table.counts().outside, 0);
}

/// A machine whose records are lost at random: after two looks the table has what runs, or says how many it has
/// no room for, and of those that it dropped while they ran none is older than one that it kept.
#[test]
fn after_two_looks_the_table_is_what_runs() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = |below: u64| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    for capacity in [4, 16, 64] {
        let mut table = ProcessTable::with_capacity(capacity);
        let (mut runs, mut next) = (vec![key(1)], 2);
        table.add(vec![running(1, 0)]);
        for round in 1..60 {
            for _ in 0..random(40) {
                let at = usize::try_from(random(runs.len() as u64)).unwrap();
                let event = if random(2) == 0 || at == 0 {
                    runs.push(key(next));
                    next += 1;
                    fork(runs[at], key(next - 1))
                } else {
                    exit(runs.remove(at), round)
                };
                if random(3) > 0 {
                    see(&mut table, &event);
                }
            }
            let now: HashSet<ProcessKey> = runs.iter().copied().collect();
            table.compare(&now, u64::MAX);
            let strangers = table.compare(&now, u64::MAX).strangers;
            table.add(strangers.iter().map(|key| running(key.tgid, 1)).collect());
            let kept = now.iter().filter(|key| table.is_running(**key)).count();
            let ghosts = table
                .iter()
                .filter(|process| table.is_running(process.key) && !now.contains(&process.key));
            assert_eq!(ghosts.count(), 0);
            assert!(table.len() <= capacity && table.is_running(key(1)));
            if table.len() < capacity {
                assert_eq!(kept, now.len(), "round {round}");
            }
            assert!(table.counts().outside as usize <= now.len());
        }
    }
}
