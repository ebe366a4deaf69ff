//! A recording of a plugin's life, played again: the same, another file, a lie, a tear, a redacted one.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use krsi_host::facade::{
    ActionSink, Batch, CallError, Candidate, CompileLimits, Compiler, Delivery, Engine, Failing,
    Head, Limits, Next, Opened, Options, Queue, Recorder, RecorderSlot, RestartPolicy, Start,
    TapeCause, TapedOutcome, Worker, private,
};
use krsi_plugin_schema::frame::Frames;
use krsi_plugin_schema::latest::{
    Action, Argv, Body, Connect, Event, Exec, FileKey, Gone, Meta, Outcome as Answered, Process,
    ProcessKey, RecordRef,
};

const HOST: &str = env!("CARGO_BIN_EXE_krsi-host");
/// Start of the recordings.
const START_NS: u64 = 5_000_000_000;
/// Arguments of one who mines.
const MINES: &str = "w\0--donate-level=1\0stratum+tcp://pool.example:3333\0";

/// Answers every rule, as a host that takes them all.
struct Sink;

impl ActionSink for Sink {
    fn begin(&mut self, actions: &[u8]) -> Vec<u8> {
        self.apply(actions)
    }
    fn apply(&mut self, actions: &[u8]) -> Vec<u8> {
        let mut outcomes = Vec::new();
        for frame in Frames::new(actions) {
            let token = Action::decode(&frame.unwrap()).unwrap().token();
            if token != 0 {
                let outcome =
                    Answered { token, rule_id: Some(7), refusal: None, detail: "".into() };
                RecordRef::Outcome(&outcome).push(&mut outcomes).unwrap();
            }
        }
        outcomes
    }
    fn failed(&mut self, why: &CallError, _next: Next) {
        panic!("{why}");
    }
    fn note(&mut self, _text: &str) {}
    fn processes(&self) -> Vec<Vec<u8>> {
        let mut described = Vec::new();
        RecordRef::Process(&process(1, "sh\0")).push(&mut described).unwrap();
        vec![described]
    }
    fn now(&self) -> (u64, i64) {
        (START_NS + 1, 0)
    }
}

fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _none = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

fn miner() -> PathBuf {
    built("krsi-plugin-miner", "miner.wasm")
}

fn built(package: &str, module: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let packages = [package.to_owned()];
    let built = krsi_toolchain::build_plugins(root, &root.join("target/wasm"), &packages).unwrap();
    built.join(module)
}

fn candidate(file: &Path) -> Candidate {
    let compiler = Compiler::new(HOST.into(), CompileLimits::default(), None, None);
    let engine = Engine::new(Limits::default().stack_bytes).unwrap();
    Candidate::describe(compiler.load(&engine, file, Limits::default()).unwrap()).unwrap()
}

fn process(tgid: u32, argv: &str) -> Process<'static> {
    let argc = u32::try_from(argv.matches('\0').count()).unwrap();
    let argv = Argv { joined: argv.to_owned().into(), argc, truncated: false };
    let (key, exe) = (key(tgid), format!("/opt/{tgid}/w").into());
    Process { key, parent: key, exe, argv, ..Process::default() }
}

const fn key(tgid: u32) -> ProcessKey {
    ProcessKey { tgid, start_boot_ns: 1000 + tgid as u64 }
}

/// A batch in which a process executes something, so many milliseconds after the start.
fn exec(tgid: u32, argv: &str, after_ms: u64) -> Vec<u8> {
    exec_of(&process(tgid, argv), START_NS + after_ms * 1_000_000)
}

/// A batch in which a process executes what it then is, at a time.
fn exec_of(described: &Process<'_>, boot_ns: u64) -> Vec<u8> {
    let mut batch = private((boot_ns, 0));
    let tgid = described.key.tgid;
    RecordRef::Process(described).push(&mut batch).unwrap();
    let file = FileKey { ino: u64::from(tgid), dev: 1, generation: 1 };
    let exec =
        Exec { file, path: described.exe.clone(), argv: described.argv.clone(), ..Exec::default() };
    let meta = Meta { boot_ns, process: key(tgid), ..Meta::default() };
    Event { meta, body: Body::BprmCommittedCreds(exec) }.push(&mut batch).unwrap();
    batch
}

fn recorder(file: &Path, redacted: bool) -> Recorder {
    let options = Options { file: file.to_owned(), bytes_max: 1 << 30, redacted };
    let hooks = ["bprm_committed_creds", "socket_connect"].map(str::to_owned).to_vec();
    let head = Head { kernel: "6.12".into(), boot_ns: START_NS, hooks, ..Head::default() };
    Recorder::start(&options, head, |_| ()).unwrap()
}

/// Runs a plugin on some batches, recorded from its first call on, or from the second batch on.
fn record(plugin: &Path, file: &Path, redacted: bool, joins: bool) {
    let (recorder, slot) = (recorder(file, redacted), RecorderSlot::default());
    if !joins {
        let _none = slot.set(Some(recorder.clone()));
    }
    let start = Start { config: [].into(), seed: 3, recorder: slot.clone() };
    let queue = Arc::new(Queue::new(1 << 16));
    let worker =
        Worker::start(candidate(plugin), start, RestartPolicy::default(), queue, Box::new(Sink))
            .unwrap();
    let batches = [exec(10, "cc1\0main.c\0", 1), exec(11, MINES, 1500), exec(12, "ls\0", 1501)];
    for (at, batch) in batches.into_iter().enumerate() {
        if at == 1 && joins {
            let _none = slot.set(Some(recorder.clone()));
            worker.record();
        }
        recorder.stream(1, &batch);
        worker.queue().push(Delivery::Batch(Arc::new(Batch::new(batch, 1, None))));
        let began = Instant::now();
        while worker.stats().records.load(std::sync::atomic::Ordering::Relaxed) <= at as u64 {
            assert!(began.elapsed() < Duration::from_secs(60), "batch {at} is not handled");
            std::thread::yield_now();
        }
    }
    worker.stop();
    let recorded = recorder.stop();
    assert_eq!((recorded.lost, recorded.cut_short), (0, None));
}

fn replay(words: &[&str]) -> (Output, String) {
    replay_in(words, Path::new("/"))
}

/// Replays what lies in a folder.
fn replay_in(words: &[&str], folder: &Path) -> (Output, String) {
    let replay = ["replay"].iter().chain(words);
    let output = Command::new(HOST).current_dir(folder).args(replay).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    (output, text)
}

#[test]
fn the_same_calls_do_the_same_and_other_files_are_told_apart() {
    let folder = folder("replay-same");
    let (plugin, tape) = (miner(), folder.join("tape"));
    record(&plugin, &tape, false, false);
    let (tape, plugin) = (tape.to_str().unwrap(), plugin.to_str().unwrap());

    let (first, text) = replay(&[tape, "--plugin", plugin]);
    assert!(first.status.success(), "{text}");
    for words in [
        "recorded by krsi-host",
        "miner: 1.",
        "starts, the file that was recorded",
        "+1.500000000 miner: alert (",
        "T1496",
        "on lineage of process 11",
        "calls as on the tape",
        "the recording ends: stopped",
    ] {
        assert!(text.contains(words), "no {words} in {text}");
    }
    assert!(!text.contains("process 10") && !text.contains("process 12"), "{text}");
    let (second, _) = replay(&[tape, "--plugin", plugin]);
    assert_eq!(first.stdout, second.stdout);

    // The same code in another file: what it wants is compared, and is the same.
    let mut other = fs::read(plugin).unwrap();
    other.extend_from_slice(b"\0\x05\x04note");
    let changed = folder.join("miner.wasm");
    fs::write(&changed, &other).unwrap();
    let (output, text) = replay(&[tape, "--plugin", changed.to_str().unwrap()]);
    assert!(output.status.success() && text.contains("another file than was recorded"), "{text}");

    // On the stream its rules are made by a ledger, and what they would refuse is told.
    let (output, text) = replay(&[tape, "--plugin", plugin, "--on", "stream"]);
    assert_eq!(output.status.code(), Some(3), "{text}");
    assert!(text.contains("what ran already"), "{text}");
    let words = [tape, "--plugin", plugin, "--on", "stream", "--allow-missing"];
    let (output, text) = replay(&words);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("is played on the stream") && text.contains("T1496"), "{text}");

    // Another configuration is another version: what only one of them wants is told.
    let config = include_str!("../../plugins/miner/config.toml");
    fs::write(folder.join("miner.toml"), config.replace("threshold = 100", "threshold = 10000"))
        .unwrap();
    let (output, text) = replay(&[tape, "--compare", plugin, changed.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(5), "{text}");
    assert!(text.contains("miner: only the old one wants to alert ("), "{text}");
    assert!(!text.contains("only the new one"), "{text}");

    let (output, text) = replay(&[tape, "--plugin", plugin, "--output", "json"]);
    assert!(output.status.success());
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(
        lines.iter().any(|line| line["what"] == "action" && line["after_ns"] == 1_500_000_000u64)
    );

    let (output, text) = replay(&[tape]);
    assert_eq!(output.status.code(), Some(3), "{text}");
    assert!(text.contains("give its --plugin"), "{text}");
}

/// The evidence about a process is told with what is missing for an alert, on the calls and on the stream.
#[test]
fn why_there_is_an_alert_or_none_is_explained() {
    let folder = folder("replay-explain");
    let (plugin, tape) = (miner(), folder.join("tape"));
    record(&plugin, &tape, false, false);
    let (tape, plugin) = (tape.to_str().unwrap(), plugin.to_str().unwrap());
    let on_stream = ["--on", "stream", "--allow-missing"];
    let explain = |plugin: &str, more: &[&str]| {
        replay(&[&[tape, "--plugin", plugin, "--explain"], more].concat())
    };
    for more in [&[][..], &on_stream] {
        let (output, text) = explain(plugin, more);
        assert!(output.status.success(), "{text}");
        let line = text.lines().find(|line| line.contains("1 alert about process 11")).unwrap();
        assert!(line.contains(" of 100") && !line.contains("missing"), "{line}");
        assert!(!text.contains("about process 10") && !text.contains("about process 12"), "{text}");
    }
    // With a threshold that is not reached the same evidence is no alert.
    let strict = folder.join("miner.wasm");
    fs::copy(plugin, &strict).unwrap();
    let config = include_str!("../../plugins/miner/config.toml");
    fs::write(folder.join("miner.toml"), config.replace("threshold = 100", "threshold = 10000"))
        .unwrap();
    let (output, text) = explain(strict.to_str().unwrap(), &on_stream);
    assert!(output.status.success() && !text.contains("T1496"), "{text}");
    let line = text.lines().find(|line| line.contains("no alert about process 11")).unwrap();
    assert!(line.contains(" of 10000, ") && line.ends_with("are missing"), "{line}");
}

/// A verb whose reader has gone is done; one whose output takes nothing says so.
#[test]
fn an_output_that_is_closed_or_full_is_told_by_the_exit_code() {
    let (folder, miner) = (folder("outputs"), miner());
    let file = folder.join("a.rec");
    record(&miner, &file, false, false);
    let (file, plugin) = (file.to_str().unwrap(), miner.to_str().unwrap());
    let verbs =
        [&["replay", file, "--plugin", plugin][..], &["plugin", "inspect", plugin], &["--help"]];
    for verb in verbs {
        let told = |out: Stdio| Command::new(HOST).args(verb).stdout(out).output().unwrap();
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let closed = told(writer.into());
        let said = String::from_utf8_lossy(&closed.stderr);
        assert!(closed.status.success() && said.is_empty(), "{verb:?}: {:?} {said}", closed.status);
        let full = told(fs::File::options().write(true).open("/dev/full").unwrap().into());
        let said = String::from_utf8_lossy(&full.stderr);
        assert_eq!(full.status.code(), Some(1), "{verb:?}: {said}");
        assert!(said.contains("standard output cannot be written to"), "{verb:?}: {said}");
    }
    fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn a_recording_that_began_later_starts_from_the_state_of_then() {
    let folder = folder("replay-join");
    let (plugin, tape) = (miner(), folder.join("tape"));
    record(&plugin, &tape, false, true);
    let (output, text) = replay(&[tape.to_str().unwrap(), "--plugin", plugin.to_str().unwrap()]);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("ran already when the recording began"), "{text}");
    assert!(text.contains("T1496") && !text.contains("differs"), "{text}");
}

#[test]
fn the_first_call_that_differs_is_named() {
    let folder = folder("replay-differs");
    let (plugin, file) = (miner(), folder.join("tape"));
    let opened = opened(&plugin, Limits::default().output_bytes as u64);
    let recorder = recorder(&file, false);
    let mut tape = recorder.tape(opened);
    let no_log = || (Vec::new(), 0);
    tape.init(b"", 3, TapedOutcome::Returned(b""), no_log());
    tape.handle(&exec(10, "ls\0", 1), TapedOutcome::Returned(b""), no_log());
    // Two calls that wanted nothing then, and will now.
    tape.handle(&exec(11, MINES, 2), TapedOutcome::Returned(b""), no_log());
    tape.handle(&exec(12, MINES, 3), TapedOutcome::Returned(b""), no_log());
    // What time decided is not repeated, and ends the tape.
    let late = TapedOutcome::Failed(Failing::Machine, "handle took longer");
    tape.handle(&exec(13, "ls\0", 4), late, no_log());
    let _recorded = recorder.stop();
    let words = [file.to_str().unwrap(), "--plugin", plugin.to_str().unwrap()];
    let (output, text) = replay(&words);
    assert_eq!(output.status.code(), Some(5), "{text}");
    assert!(text.contains("call 2 (handle) differs: it returned 0 bytes then"), "{text}");
    assert!(!text.contains("call 3 (handle) differs"), "{text}");
    assert!(text.contains("played up to call 4: not repeated: handle took longer"), "{text}");
    assert!(text.contains("2 calls as on the tape, 2 not, 1 not played"), "{text}");
    // Of another file it is said what it wants, and which of the two does.
    let mut other = fs::read(&plugin).unwrap();
    other.extend_from_slice(b"\0\x05\x04note");
    let changed = folder.join("other.wasm");
    fs::write(&changed, &other).unwrap();
    let other = [words[0], "--plugin", changed.to_str().unwrap()];
    let (_, text) = replay(&other);
    assert!(text.contains("only this version wants to") && !text.contains("shadow"), "{text}");

    // Torn, it is played up to the tear.
    let whole = fs::read(&file).unwrap();
    fs::write(&file, &whole[..whole.len() - 4]).unwrap();
    let (output, text) = replay(&words);
    assert_eq!(output.status.code(), Some(3), "{text}");
    assert!(text.contains("the file is torn"), "{text}");
    fs::write(&file, b"no recording at all").unwrap();
    let (output, text) = replay(&words);
    assert_eq!(output.status.code(), Some(3), "{text}");
    assert!(text.contains("is no recording"), "{text}");
}

#[test]
fn a_redacted_recording_holds_no_argument_and_is_played_on_its_stream() {
    let folder = folder("replay-redacted");
    let (plugin, tape) = (miner(), folder.join("tape"));
    record(&plugin, &tape, true, false);
    let words = [tape.to_str().unwrap(), "--plugin", plugin.to_str().unwrap(), "--allow-missing"];
    let (output, text) = replay(&[&words[..], &["--output", "json"]].concat());
    assert!(output.status.success(), "{text}");
    assert!(text.contains("names and texts are tokens") && text.contains("on-stream"), "{text}");
    assert!(!text.contains("T1496") && !text.contains("stratum"), "{text}");
}

/// What a tape of the miner's says of itself, with a bound on what a call returns.
fn opened(plugin: &Path, output_bytes: u64) -> Opened {
    let (candidate, limits) = (candidate(plugin), Limits::default());
    Opened {
        plugin: candidate.manifest.name.clone(),
        version: candidate.manifest.version.clone(),
        sha256: candidate.identity().sha256.clone(),
        schema: candidate.manifest.schema.number(),
        cause: TapeCause::Started,
        memory_bytes: limits.memory_bytes as u64,
        table_elements: limits.table_elements as u64,
        stack_bytes: limits.stack_bytes as u64,
        output_bytes,
        state_bytes: limits.state_bytes as u64,
        log_line_bytes: limits.log_line_bytes as u64,
        ..Opened::default()
    }
}

#[test]
fn what_a_file_can_ask_for_is_bounded_and_what_is_left_out_is_told() {
    let folder = folder("replay-bounds");
    let (plugin, file) = (miner(), folder.join("tape"));
    let (words, no_log) = (plugin.to_str().unwrap(), || (Vec::new(), 0));
    let recording = recorder(&file, false);
    let limits = Limits::default().output_bytes as u64;
    let one = opened(&plugin, limits);
    let mut first = recording.tape(one.clone());
    first.init(b"", 3, TapedOutcome::Returned(b""), no_log());
    // More instances than a host runs, none of which is over; the one that waits longest is let go of.
    for _ in 0..128 {
        let mut tape = recording.tape(one.clone());
        tape.init(b"", 3, TapedOutcome::Returned(b""), no_log());
    }
    first.handle(&exec(10, "ls\0", 1), TapedOutcome::Returned(b""), no_log());
    // More sets of limits than there are compilations for.
    for more in 1..=40 {
        let _tape = recording.tape(Opened { output_bytes: limits + more, ..one.clone() });
    }
    let _recorded = recording.stop();
    let cache = folder.join("cache");
    let cache = ["--cache-dir", cache.to_str().unwrap()];
    let (output, text) = replay_in(&[&["tape", "--plugin", words][..], &cache].concat(), &folder);
    assert_eq!(output.status.code(), Some(3), "{text}");
    assert!(text.contains("played up to call 1: too many tapes at a time"), "{text}");
    assert_eq!(text.matches("not played: too many sets of limits").count(), 8, "{text}");
}

#[test]
fn a_recording_that_is_not_whole_is_told_and_is_no_success() {
    let folder = folder("replay-gap");
    let (plugin, gap, none) = (miner(), folder.join("gap"), folder.join("none"));
    let recording = recorder(&gap, false);
    // More than the recorder's queue holds, handed over faster than it is compressed.
    let batch = vec![5; 8 << 20];
    (0..40).for_each(|_| recording.stream(1, &batch));
    assert!(recording.stop().lost > 0);
    let (output, text) = replay_in(&["gap", "--on", "stream"], &folder);
    assert!(text.contains("entries are missing here"), "{text}");
    assert_eq!(output.status.code(), Some(3), "{text}");
    // A plugin that nothing was recorded of.
    let _recorded = recorder(&none, false).stop();
    let (output, text) = replay_in(&["none", "--plugin", plugin.to_str().unwrap()], &folder);
    assert!(text.contains("miner: the recording has no tape of it"), "{text}");
    assert_eq!(output.status.code(), Some(3), "{text}");
}

#[test]
fn how_plugins_fail_is_compared_and_told() {
    let folder = folder("replay-fails");
    let (miner, trapper) = (miner(), built("fixture-trapper", "trapper.wasm"));
    let file = folder.join("tape");
    let recording = recorder(&file, false);
    let traps = Process { exe: "/opt/trap-me".into(), ..process(10, "x\0") };
    recording.stream(1, &exec_of(&traps, START_NS + 1));
    // The end of time is a time.
    recording.stream(1, &exec_of(&process(11, "y\0"), u64::MAX));
    let _recorded = recording.stop();
    let (miner, trapper) = (miner.to_str().unwrap(), trapper.to_str().unwrap());
    let (output, text) = replay_in(&["tape", "--compare", miner, trapper], &folder);
    assert_eq!(output.status.code(), Some(5), "{text}");
    assert!(text.contains("trapper: only the new one failed: "), "{text}");
    let (output, text) = replay_in(&["tape", "--compare", trapper, miner], &folder);
    assert!(text.contains("trapper: only the old one failed: "), "{text}");
    assert_eq!(output.status.code(), Some(5), "{text}");
    // Where both fail they do not differ, and half of the recording was not played.
    let (output, text) = replay_in(&["tape", "--compare", trapper, trapper], &folder);
    assert!(text.contains("trapper: failed: ") && !text.contains("only the"), "{text}");
    assert_eq!(output.status.code(), Some(3), "{text}");
}

#[test]
fn what_rules_would_refuse_and_what_a_recording_lacks_is_told() {
    let folder = folder("replay-refuses");
    fs::copy(built("fixture-sentry", "sentry.wasm"), folder.join("sentry.wasm")).unwrap();
    fs::write(folder.join("sentry.toml"), "lineage /opt/10/w 60000 13").unwrap();
    let recording = recorder(&folder.join("tape"), false);
    recording.stream(1, &exec(10, "w\0", 1));
    // A child of one that has ended is refused at its first call, which is told beside who it is.
    let mut batch = private((START_NS + 2, 0));
    let child = Process { parent: key(11), ..process(12, "w\0") };
    let neighbour = process(13, "w\0");
    RecordRef::Process(&Process { parent: key(10), ..process(11, "w\0") })
        .push(&mut batch)
        .unwrap();
    RecordRef::Gone(Gone { key: key(10) }).push(&mut batch).unwrap();
    RecordRef::Process(&child).push(&mut batch).unwrap();
    RecordRef::Process(&neighbour).push(&mut batch).unwrap();
    for tgid in [12, 13] {
        let to = Connect {
            address: Some("10.0.0.1".parse().unwrap()),
            port: 80,
            family: 2,
            protocol: 6,
            kind: 1,
        };
        let meta = Meta { boot_ns: START_NS + 3, process: key(tgid), ..Meta::default() };
        Event { meta, body: Body::SocketConnect(to) }.push(&mut batch).unwrap();
    }
    recording.stream(2, &batch);
    let _recorded = recording.stop();
    let words = ["tape", "--on", "stream", "--plugin", "sentry.wasm"];
    let (output, text) = replay_in(&words, &folder);
    let refused = "socket_connect of process 12 would be refused with errno 13";
    assert!(text.contains(refused) && !text.contains("process 13 would"), "{text}");
    // It asks for hooks that the recording does not have.
    assert!(text.contains("does not have what it asks for: bprm_check_security"), "{text}");
    assert_eq!(output.status.code(), Some(3), "{text}");
    let (output, text) = replay_in(&[&words[..], &["--allow-missing"]].concat(), &folder);
    assert!(output.status.success() && text.contains(refused), "{text}");
}

#[test]
fn ticks_are_bounded_and_end_with_time() {
    let folder = folder("replay-ticks");
    let flooder = built("fixture-flooder", "flooder.wasm");
    let recording = recorder(&folder.join("tape"), false);
    let reports = Process { exe: "/opt/flood-report".into(), ..process(10, "x\0") };
    for boot_ns in [START_NS + 150_000_000, u64::MAX, u64::MAX] {
        recording.stream(1, &exec_of(&reports, boot_ns));
    }
    let _recorded = recording.stop();
    let words = ["tape", "--on", "stream", "--plugin", flooder.to_str().unwrap()];
    let (output, text) = replay_in(&words, &folder);
    for ticks in [3, 10_003] {
        assert!(text.contains(&format!("ticks {ticks}\n")), "{ticks} in {text}");
    }
    // At the end of time there is none any more.
    assert_eq!(text.matches("ticks 10003\n").count(), 2, "{text}");
    assert!(text.contains("ticks were due and are left out"), "{text}");
    assert_eq!(output.status.code(), Some(3), "{text}");
}
