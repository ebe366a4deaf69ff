//! The golden batch of schema 0.2, and what becomes of it and of 0.1's in the other schema.

use alloc::borrow::Cow;
use alloc::vec::Vec;

use super::record::{Capset, FileMprotect, PathUnlink, SocketBind, UringSqpoll, why};
use super::*;
use crate::codec::{CodecError, Decode, Encode, Reader};
use crate::frame::{Frame, Frames, push};
use crate::{Schema, lower, v0_1};

const GOLDEN: &[u8] = include_bytes!("golden.batch");
const GOLDEN_OF_0_1: &[u8] = include_bytes!("../v0_1/golden.batch");

fn meta() -> Meta<'static> {
    Meta {
        boot_ns: 1_000_000_007,
        process: ProcessKey { start_boot_ns: 900_000_000, tgid: 42 },
        tid: 43,
        uid: 1000,
        gid: 100,
        mount_ns: 4_026_531_841,
        cgroup_id: 77,
        comm: Cow::Borrowed("dropper"),
        verdict: Verdict::Audited { rule_id: 9, errno: 13 },
        labels: EventLabels { had: [LABEL].into(), gave: Vec::new() },
    }
}

const LABEL: Cow<'static, str> = Cow::Borrowed("web.served");

#[test]
fn a_plugin_is_shown_its_own_labels() {
    let mut meta = meta();
    meta.labels.gave = ["web.late", "webs.late", "host.memfd"].map(Cow::Borrowed).into();
    assert!(!meta.has_label("served"));
    meta.labels.keep_own("web");
    assert!(meta.has_label("served") && !meta.gave_label("served") && meta.gave_label("late"));
    assert_eq!((meta.labels.had.len(), meta.labels.gave.len()), (1, 1));
    meta.labels.keep_own("other");
    assert_eq!(meta.labels, EventLabels::default());
}

const fn text(text: &str, flags: u8) -> Text<'_> {
    Text { text: Cow::Borrowed(text), flags: TextFlags(flags) }
}

const fn call(hook: Hook, values: Vec<Value<'_>>) -> Body<'_> {
    Body::Call(Call { hook, values })
}

/// Every kind of value, every reason for none, the first and the last call.
fn bodies() -> Vec<Body<'static>> {
    let file = FileKey { ino: 11, dev: 0x10_0003, generation: 6 };
    let address = |ip: Option<[u8; 4]>, family, port, path| Address {
        family,
        ip: ip.map(core::net::IpAddr::from),
        port,
        path: Cow::Borrowed(path),
    };
    let listening = [2, 1, 6].map(Value::Number);
    Vec::from([
        Body::SchedProcessExit(Exit { code: 9 }),
        call(Hook::BprmCredsForExec, Vec::from([Value::File(file)])),
        call(
            Hook::FileMprotect,
            Vec::from([
                Value::Absent(Why::Null),
                Value::Absent(Why::Unreadable),
                Value::Number(0x7f00_0000_0000),
                Value::Number(0x7f00_0000_2000),
                Value::Number(3),
                Value::Number(5),
                Value::Number(5),
            ]),
        ),
        call(
            Hook::PathUnlink,
            Vec::from([
                Value::File(file),
                Value::Text(text("/etc", TextFlags::WITHIN_MOUNT)),
                Value::Text(text("shadow", TextFlags::TRUNCATED)),
                Value::File(FileKey { ino: 2, dev: 0x10_0003, generation: 6 }),
            ]),
        ),
        call(
            Hook::SocketBind,
            [Value::Address(address(Some([127, 0, 0, 1]), 2, 80, ""))]
                .into_iter()
                .chain(listening.clone())
                .collect(),
        ),
        call(
            Hook::SocketBind,
            [Value::Address(address(None, 1, 0, "@bus"))].into_iter().chain(listening).collect(),
        ),
        call(Hook::BpfProg, Vec::from([Value::Bytes(Cow::Borrowed(&[1, 0xff]))])),
        call(Hook::Settime, Vec::from([Value::Signed(-5), Value::Signed(i64::MIN)])),
        call(Hook::Bpf, Vec::from([Value::Number(5), Value::Absent(Why::Kernel)])),
        call(Hook::UringCmd, Vec::new()),
        Body::Watch(Watch {
            index: 3,
            hook: Cow::Borrowed("inode_getattr"),
            values: Vec::from([
                Value::Number(u64::MAX),
                Value::Text(text("päth", 0)),
                Value::Content(Content { bytes: Cow::Borrowed(b"GET"), state: ContentState::Cut }),
            ]),
        }),
    ])
}

/// Every place, every kind of thing that is lost.
fn losses() -> [Lost; 6] {
    let hook = LostOf::Hook(Hook::FileMprotect as u16);
    [
        (LostWhere::Ring, hook),
        (LostWhere::Decode, LostOf::Hook(u16::MAX)),
        (LostWhere::Queue, LostOf::Any),
        (LostWhere::Plugin, LostOf::Any),
        (LostWhere::Verdicts, hook),
        (LostWhere::Recursion, LostOf::Watch(3)),
    ]
    .map(|(place, of)| Lost { place, records: 300, of })
}

const KEY: ProcessKey = ProcessKey { start_boot_ns: 5, tgid: 6 };

fn exec() -> Exec<'static> {
    Exec {
        file: FileKey { ino: 1 << 40, dev: 3, generation: 6 },
        path: Cow::Borrowed("/usr/bin/x"),
        path_truncated: true,
        argv: Argv { joined: Cow::Borrowed("x\0-a\0"), argc: 2, truncated: false },
        flags: ExecFlags(ExecFlags::MEMFD),
    }
}

fn connect() -> Connect {
    let address = Some([10, 0, 0, 1].into());
    Connect { address, port: 443, family: 2, protocol: 6, kind: 1 }
}

fn process() -> Process<'static> {
    Process {
        key: KEY,
        parent: meta().process,
        exe: Cow::Borrowed("/bin/sh"),
        argv: exec().argv,
        file: FileKey { ino: 9, dev: 1, generation: 6 },
        uid: 1,
        gid: 2,
        cgroup: Cow::Borrowed("/x"),
        root: Whose::Own,
        mounts: Whose::Machine,
    }
}

/// What is read of processes.
fn read() -> [Record<'static>; 4] {
    let running = Running {
        process: process(),
        flags: ExecFlags(ExecFlags::DELETED),
        connections: Vec::from([connect(), Connect { port: 3333, ..connect() }]),
        connections_cut: true,
    };
    let end = RunningEnd { told: 300, ended: 1, outside: 1 << 40, lost: 2 };
    let sample = Sample {
        token: 9,
        process: KEY,
        number: 2,
        is_last: true,
        boot_ns: 1 << 40,
        state: SampleState::Read,
        exe: Cow::Borrowed("/bin/sh"),
        root: Whose::Machine,
        mounts: Whose::Own,
        cpu_ns: 70_000_000,
        threads: 3,
        resident_bytes: 1 << 30,
        huge_bytes: 1 << 21,
        executable_bytes: 4096,
        executable_cut: true,
        connections: Vec::from([connect()]),
        connections_cut: true,
        argv: Some(exec().argv),
    };
    let ended = Sample { state: SampleState::Ended, process: KEY, ..Sample::default() };
    let (running, end) = (Record::Running(running), Record::RunningEnd(end));
    [running, end, Record::Sample(sample), Record::Sample(ended)]
}

/// Every kind of record.
fn records() -> Vec<Record<'static>> {
    let file = FileKey { ino: 9, dev: 1, generation: 6 };
    let open =
        FileOpen { file, path: Cow::Borrowed("/a"), path_truncated: false, flags: 2, mode: 6 };
    let refused = Outcome {
        token: 7,
        rule_id: None,
        refusal: Some(Refusal::KeyFull),
        detail: Cow::Borrowed("full"),
    };
    let done = Outcome { token: 8, rule_id: Some(1 << 50), ..Outcome::default() };
    let own = [
        Body::BprmCheckSecurity(exec()),
        Body::BprmCommittedCreds(exec()),
        Body::FileOpen(open),
        Body::SocketConnect(connect()),
        Body::SchedProcessFork(Fork { child: KEY }),
    ];
    let event = |body| Record::Event(Event { meta: meta(), body });
    let start = BatchStart { schema: 2, boot_ns: 5, unix_offset_ns: -3 };
    let first = [
        Record::BatchStart(start),
        Record::Process(process()),
        Record::Outcome(refused),
        Record::Outcome(done),
        Record::Tick(Tick {}),
    ];
    let events = own.into_iter().chain(bodies()).map(event);
    let last = losses().map(Record::Lost).into_iter().chain([Record::Gone(Gone { key: KEY })]);
    first.into_iter().chain(events).chain(last).chain(read()).collect()
}

fn golden() -> Vec<u8> {
    let mut out = Vec::new();
    for record in records() {
        record.by_ref().unwrap().push(&mut out).unwrap();
    }
    out
}

fn written(action: &Action<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    action.push(&mut out).unwrap();
    out
}

fn frame(bytes: &[u8]) -> Frame<'_> {
    Frames::new(bytes).next().unwrap().unwrap()
}

#[test]
fn golden_batch_still_decodes_and_is_still_what_we_write() {
    if std::env::var_os("KRSI_BLESS").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/v0_2/golden.batch");
        std::fs::write(path, golden()).unwrap();
        return;
    }
    let read = Frames::new(GOLDEN).map(|frame| Record::decode(&frame.unwrap()).unwrap());
    assert_eq!(read.collect::<Vec<_>>(), records());
    assert_eq!(golden(), GOLDEN);
}

#[test]
fn a_batch_of_0_1_becomes_one_of_0_2_and_back_without_a_difference() {
    assert_eq!(lower::schema_of(GOLDEN_OF_0_1), Some(Schema::V0_1));
    let newer = lower::batch(GOLDEN_OF_0_1, Schema::V0_1, Schema::V0_2, &[]);
    assert_eq!(lower::schema_of(&newer), Some(Schema::V0_2));
    assert_eq!(Frames::new(&newer).count(), Frames::new(GOLDEN_OF_0_1).count());
    assert_eq!(lower::batch(&newer, Schema::V0_2, Schema::V0_1, &[]), GOLDEN_OF_0_1);
}

#[test]
fn a_reader_of_0_1_gets_what_it_knows_and_of_the_wrong_schema_only_the_time() {
    let lowered = lower::batch(GOLDEN, Schema::V0_2, Schema::V0_1, &[]);
    assert_eq!(lower::schema_of(&lowered), Some(Schema::V0_1));
    let read = |bytes| {
        let decode = |frame: Result<Frame<'static>, _>| v0_1::Record::decode(&frame.unwrap());
        Frames::new(bytes).map(decode).collect::<Result<Vec<_>, _>>().unwrap()
    };
    let lowered: &'static [u8] = lowered.leak();
    // 0.1 does not say which file of a number it is: what lies beside the batch does.
    let named = records();
    let files: Vec<FileKey> =
        named.iter().filter_map(|record| lower::file_of(record.by_ref()?)).collect();
    assert!(files.iter().any(|file| file.generation != 0));
    let back = lower::batch(lowered, Schema::V0_1, Schema::V0_2, &files);
    let back = Frames::new(&back).map(|frame| Record::decode(&frame.unwrap()).unwrap());
    let has = |record: &Record<'_>| match record {
        Record::Event(event) => event.body.hook().is_some_and(|hook| Schema::V0_1.has(hook)),
        Record::Lost(lost) => lost.place != LostWhere::Recursion,
        Record::Running(_) | Record::RunningEnd(_) | Record::Sample(_) => false,
        _ => true,
    };
    // What 0.1 says of a loss is less.
    let lost = |lost: Lost| Lost {
        place: if lost.place == LostWhere::Verdicts { LostWhere::Ring } else { lost.place },
        of: LostOf::Any,
        ..lost
    };
    let expected = records().into_iter().filter(has).map(|record| match record {
        Record::Lost(loss) => Record::Lost(lost(loss)),
        // 0.1 knows no labels.
        Record::Event(mut event) => {
            event.meta.labels = EventLabels::default();
            Record::Event(event)
        }
        Record::Process(process) => {
            let (root, mounts) = (Whose::Unknown, Whose::Unknown);
            Record::Process(Process { root, mounts, ..process })
        }
        other => other,
    });
    assert_eq!(back.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
    assert!(read(lowered).iter().all(|record| !matches!(record, v0_1::Record::Unknown(_))));

    let wrong = read(GOLDEN);
    let known = |record: &&v0_1::Record<'_>| !matches!(record, v0_1::Record::Unknown(_));
    let start = v0_1::BatchStart { schema: 2, boot_ns: 5, unix_offset_ns: -3 };
    assert_eq!(wrong.iter().filter(known).collect::<Vec<_>>(), [&v0_1::Record::BatchStart(start)]);
    let wrong = Frames::new(GOLDEN_OF_0_1).skip(1);
    let mut wrong = wrong.map(|frame| Record::decode(&frame.unwrap()).unwrap());
    assert!(wrong.all(|record| matches!(record, Record::Unknown(_))));
}

#[test]
fn a_loss_names_its_hook_where_it_has_one() {
    let named = losses().map(|lost| lost.of.hook());
    assert_eq!(
        named.map(|hook| hook == Some(Hook::FileMprotect)),
        [true, false, false, false, true, false]
    );
}

#[test]
fn each_schema_serves_its_own_and_later_ones_from_the_second_on() {
    for (schema, served) in [(Schema::V0_1, [1].as_slice()), (Schema::V0_2, &[2, 3, u16::MAX])] {
        assert_eq!(Schema::from_number(schema.number()), Some(schema));
        let asked = [0, 1, 2, 3, u16::MAX].into_iter().filter(|asked| schema.serves(*asked));
        assert_eq!(asked.collect::<Vec<_>>(), served);
    }
}

#[test]
fn what_is_cut_is_known_of_an_event() {
    let cut: Vec<bool> =
        bodies().into_iter().map(|body| Event { meta: meta(), body }.is_cut()).collect();
    let names = ["path_unlink"];
    let expected: Vec<bool> = bodies().iter().map(|body| names.contains(&body.name())).collect();
    assert_eq!(cut, expected);
}

#[test]
fn actions_of_0_1_are_actions_of_0_2() {
    let process = ProcessKey { start_boot_ns: u64::MAX, tgid: 7 };
    let file = v0_1::FileKey { ino: u64::MAX, dev: 9 };
    let file_of_0_2 = FileKey { ino: u64::MAX, dev: 9, generation: 0 };
    let address = core::net::IpAddr::from([0xfe80, 0, 0, 0, 0, 0, 0, 1]);
    let keys = [
        (v0_1::RuleKey::Process(process), RuleKey::Process(process)),
        (v0_1::RuleKey::Lineage(process), RuleKey::Lineage(process)),
        (v0_1::RuleKey::File(file), RuleKey::File(file_of_0_2)),
        (
            v0_1::RuleKey::Network { address, prefix: 64, port: 22 },
            RuleKey::Network { address, prefix: 64, port: 22 },
        ),
    ];
    let modes = [(false, RuleMode::Enforce), (true, RuleMode::Audit)];
    for ((old, new), (hooks, (audit, mode))) in keys.into_iter().flat_map(|keys| {
        let hooks = [1 << 3, 0x7e, u64::MAX, 1 << 63].into_iter();
        hooks.zip(modes.into_iter().cycle()).map(move |rest| (keys.clone(), rest))
    }) {
        let rule = v0_1::Rule {
            token: 1 << 31,
            cause_boot_ns: 5,
            key: old,
            subject: v0_1::Subject::Lineage(process),
            hooks: v0_1::HookSet(hooks),
            ttl_ms: 6,
            reason: Cow::Borrowed("why"),
        };
        let mut out = Vec::new();
        let deny = v0_1::Deny { rule, errno: 13, audit };
        push(&mut out, v0_1::ActionKind::Deny as u16, &deny).unwrap();
        let rule = Rule {
            token: 1 << 31,
            cause_boot_ns: 5,
            key: new,
            subject: Subject::Lineage(process),
            labels: LabelTest::default(),
            hooks: HookSet(u128::from(hooks)),
            ttl_ms: 6,
            reason: Cow::Borrowed("why"),
        };
        assert_eq!(
            lower::action(&frame(&out), Schema::V0_1),
            Ok(Action::Deny(Deny { rule, errno: 13, mode, if_unread: IfUnread::Pass }))
        );
    }
}

#[test]
fn rules_on_every_kind_of_key_round_trip() {
    let prefix = "/etc/".into();
    for key in [
        RuleKey::Cgroup(u64::MAX),
        RuleKey::Path { prefix, if_unresolved: IfUnresolved::Apply },
        RuleKey::Digest([7; 32]),
        RuleKey::Hook,
        RuleKey::Transport {
            address: "10.0.0.0".parse().unwrap(),
            prefix: 8,
            port: 53,
            protocol: 17,
        },
    ] {
        let rule = Rule {
            token: 1,
            cause_boot_ns: 0,
            key,
            subject: Subject::Any,
            labels: LabelTest::default(),
            hooks: Hook::all().collect(),
            ttl_ms: 0,
            reason: Cow::Borrowed(""),
        };
        let allow = Action::Allow(Allow { rule });
        assert_eq!(Action::decode(&frame(&written(&allow))), Ok(allow));
    }
}

#[test]
fn labels_are_given_and_asked_for_by_name() {
    let test = LabelTest { has: ["a".into(), "b".into()].into(), lacks: ["c".into()].into() };
    let rule = Rule {
        token: 3,
        cause_boot_ns: 0,
        key: RuleKey::Hook,
        subject: Subject::Any,
        labels: test,
        hooks: HookSet(2),
        ttl_ms: 0,
        reason: Cow::Borrowed(""),
    };
    let process = ProcessKey { start_boot_ns: 7, tgid: 8 };
    let set = SetLabel { token: 4, process, descendants: true, label: "a".into(), gives: true };
    for action in [Action::LabelRule(LabelRule { rule, label: "d".into() }), Action::SetLabel(set)]
    {
        let written = written(&action);
        assert_eq!(Action::token_of(&frame(&written)), action.token());
        assert_eq!(Action::decode(&frame(&written)), Ok(action));
    }
    let manifest = Manifest::new("a", "1.0.0").label("d", LabelExec::Drop, LabelFull::Count);
    assert_eq!(Manifest::decode(&manifest.encode().unwrap()), Ok(manifest));
}

#[test]
fn every_mode_of_a_rule_and_its_word_on_the_unread_round_trip() {
    let modes = [
        (RuleMode::Enforce, IfUnread::Pass),
        (RuleMode::Audit, IfUnread::Apply),
        (RuleMode::Off, IfUnread::Pass),
    ];
    for (mode, if_unread) in modes {
        let rule = Rule {
            token: 1,
            cause_boot_ns: 0,
            key: RuleKey::Hook,
            subject: Subject::Any,
            labels: LabelTest::default(),
            hooks: HookSet(2),
            ttl_ms: 0,
            reason: Cow::Borrowed("why"),
        };
        let deny = Action::Deny(Deny { rule, errno: 13, mode, if_unread });
        let mut out = written(&deny);
        assert_eq!(Action::decode(&frame(&out)), Ok(deny));
        // A word that this version does not have is no word that it has, and it is said of what.
        *out.last_mut().unwrap() = 2;
        let unknown = FrameError::Unknown { what: "meaning of what cannot be read", number: 2 };
        assert_eq!(Action::decode(&frame(&out)), Err(unknown));
        assert_eq!(Action::token_of(&frame(&out)), 1);
    }
}

#[test]
fn every_action_round_trips_and_tells_its_token() {
    let process = ProcessKey { start_boot_ns: 3, tgid: 4 };
    let alert = Alert {
        technique: Cow::Borrowed("T1496"),
        severity: Severity::High,
        process,
        text: Cow::Borrowed("text"),
        cause_boot_ns: 5,
        evidence: Vec::from([AlertEvidence { what: Cow::Borrowed("a word"), weight: 60 }]),
    };
    let what = Cow::Borrowed("another word");
    let evidence = Evidence { process, what, weight: 30, threshold: 100 };
    let metric = Metric { name: Cow::Borrowed("m"), kind: MetricKind::Gauge, value: -0.5 };
    let (usage, arguments) = (true, true);
    let ask = AskSamples { token: 302, process, every_ms: 1 << 20, times: 7, usage, arguments };
    let actions = [
        (Action::Revoke(Revoke { token: 300 }), 300),
        (Action::Kill(Kill { token: 301, process }), 301),
        (Action::Alert(alert), 0),
        (Action::Metric(metric), 0),
        (Action::Evidence(evidence), 0),
        (Action::AskSamples(ask), 302),
    ];
    for (action, token) in actions {
        let out = written(&action);
        let told = (action.token(), Action::token_of(&frame(&out)));
        assert_eq!((Action::decode(&frame(&out)), told), (Ok(action), (token, token)));
    }
}

#[test]
fn hooks_and_sets_know_each_other() {
    for (at, hook) in (1..).zip(Hook::all()) {
        assert_eq!(hook as u16, at);
        assert_eq!(Hook::from_id(at), Some(hook));
        assert_eq!(Hook::from_name(hook.name()), Some(hook));
        assert_eq!(hook.is_call(), v0_1::Hook::from_id(at).is_none());
        let older = v0_1::Hook::from_id(at).map(v0_1::Hook::name);
        assert!(older.is_none_or(|name| name == hook.name()));
    }
    let all: HookSet = Hook::all().collect();
    for set in [HookSet(0), all, HookSet(1 << 127)] {
        let mut out = Vec::new();
        set.encode(&mut out);
        assert_eq!(HookSet::decode(&mut Reader::new(&out)), Ok(set));
    }
    // A hook beyond what this version can hold: bit 3 of byte 16.
    let beyond = [[17].as_slice(), &[0; 16], &[8]].concat();
    let unknown = CodecError::Unknown { what: "hook", number: 131 };
    assert_eq!(HookSet::decode(&mut Reader::new(&beyond)), Err(unknown));
    assert!(all.is_known() && all.iter().eq(Hook::all()));
    assert!(!HookSet(all.0 | 1).is_known() && !HookSet(1 << 127).is_known());
}

#[test]
fn a_call_becomes_its_record_and_no_other() {
    let calls: Vec<Call<'static>> = bodies()
        .into_iter()
        .filter_map(|body| if let Body::Call(call) = body { Some(call) } else { None })
        .collect();
    let of = |hook| calls.iter().find(|call| call.hook == hook).unwrap();

    let mprotect = FileMprotect::try_from(of(Hook::FileMprotect)).unwrap();
    assert_eq!((mprotect.file, mprotect.path.as_ref()), (None, None));
    assert_eq!((mprotect.length(), mprotect.requested), (Some(0x2000), Some(5)));
    assert!(mprotect.gains_exec() && mprotect.write_to_exec());
    let harmless = FileMprotect { vm_flags: Some(7), ..mprotect.clone() };
    assert!(!harmless.gains_exec() && !FileMprotect::default().gains_exec());
    assert_eq!(why(of(Hook::FileMprotect), "file"), Some(Why::Null));
    assert_eq!(why(of(Hook::FileMprotect), "path"), Some(Why::Unreadable));
    assert_eq!(why(of(Hook::FileMprotect), "vm_end"), None);

    let unlink = PathUnlink::try_from(of(Hook::PathUnlink)).unwrap();
    let (folder, name) = (unlink.folder.unwrap(), unlink.name.unwrap());
    assert_eq!((&*folder.text, &*name.text), ("/etc", "shadow"));
    assert!(folder.flags.within_mount() && !folder.flags.truncated() && name.flags.truncated());

    let bind = SocketBind::try_from(of(Hook::SocketBind)).unwrap();
    assert_eq!(std::format!("{}", bind.address.unwrap()), "127.0.0.1:80");

    let wrong = RecordError::Hook { wanted: Hook::UringSqpoll, found: Hook::FileMprotect };
    assert_eq!(UringSqpoll::try_from(of(Hook::FileMprotect)), Err(wrong));
    let lie = Call { hook: Hook::PathUnlink, values: Vec::from([Value::Number(1)]) };
    let wrong = RecordError::Kind { hook: Hook::PathUnlink, field: "file", kind: Kind::File };
    assert_eq!(PathUnlink::try_from(&lie), Err(wrong));
}

#[test]
fn values_of_another_version_are_left_out() {
    let call = |values| Call { hook: Hook::Capset, values };
    let halves = Capset::try_from(&call([1, 2].map(Value::Number).into())).unwrap();
    assert_eq!((halves.effective_set(), halves.permitted_set()), (Some(1 | 2 << 32), None));
    let more = call((0..9).map(Value::Number).collect());
    assert_eq!(Capset::try_from(&more).unwrap().inheritable_high, Some(5));
    assert_eq!(why(&call(Vec::new()), "effective"), Some(Why::Kernel));
}
