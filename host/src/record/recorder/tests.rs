//! A recording that is written and read: order, tears, bits that flip, later versions, its size, gaps.

use std::fs;
use std::path::{Path, PathBuf};

use krsi_plugin_schema::latest::{BatchStart, RecordRef};

use super::super::{
    Damage, RecordEntry, RecordingError, RecordingReader, TapedAct, TapedAnswer, TapedOutcome,
};
use super::*;

/// A file that does not exist yet, in a folder of the test's own.
fn place(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("krsi-recorder-{name}-{}", std::process::id()));
    let _none = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder.join("tape")
}

fn options(file: &Path) -> Options {
    Options { file: file.to_owned(), bytes_max: 1 << 30, redacted: false }
}

fn start(options: &Options) -> Recorder {
    Recorder::start(options, Head { kernel: "k".into(), ..Head::default() }, |_| ()).unwrap()
}

/// A recording of one tape with some calls; its file.
fn recorded(name: &str, calls: u64) -> PathBuf {
    let file = place(name);
    let recorder = start(&options(&file));
    let mut tape = recorder.tape(Opened { plugin: "p".into(), ..Opened::default() });
    tape.init(b"config", 7, TapedOutcome::Returned(b""), (Vec::new(), 0));
    for at in 0..calls {
        let mut batch = Vec::new();
        let start = BatchStart { boot_ns: at, ..BatchStart::default() };
        RecordRef::BatchStart(start).push(&mut batch).unwrap();
        batch.extend(at.to_le_bytes().repeat(2000));
        tape.handle(&batch, TapedOutcome::Returned(&at.to_le_bytes()), (Vec::new(), 0));
    }
    let recorded = recorder.stop();
    assert_eq!((recorded.lost, recorded.cut_short), (0, None));
    assert_eq!(recorded.entries, calls + 4);
    assert_eq!(recorded.bytes, fs::metadata(&file).unwrap().len());
    file
}

/// What a file holds in words, up to its end or its damage.
fn read(file: &Path) -> (Vec<String>, Option<Damage>) {
    let mut recording = RecordingReader::open(file).unwrap();
    let mut words = Vec::new();
    while let Some(entry) = recording.entry().unwrap() {
        words.push(match entry {
            RecordEntry::Call(call) => format!("call {}", call.number),
            other => format!("{other:?}").chars().take_while(|at| *at != '(').collect(),
        });
    }
    (words, recording.damage())
}

#[test]
fn what_is_recorded_is_read_in_order() {
    let file = recorded("order", 300);
    let (words, damage) = read(&file);
    assert_eq!((words.len(), damage), (304, None));
    assert_eq!(
        (&*words[0], &*words[1], &*words[2], &*words[303]),
        ("Head", "Opened", "call 0", "Closing")
    );
    let mut recording = RecordingReader::open(&file).unwrap();
    let mut calls = 0;
    while let Some(entry) = recording.entry().unwrap() {
        let RecordEntry::Call(call) = entry else { continue };
        match call.act {
            TapedAct::Init => assert_eq!((&*call.input, call.seed), (&b"config"[..], 7)),
            _ => {
                assert_eq!(call.answer, TapedAnswer::Returned);
                assert_eq!(call.output, call.boot_ns.to_le_bytes().as_slice());
                assert!(call.input.len() > 16_000);
                calls += 1;
            }
        }
    }
    // Two numbers of eight bytes each compress well.
    assert_eq!(calls, 300);
    // What repeats takes a third of its bytes, or less.
    assert!(fs::metadata(&file).unwrap().len() < 300 * 16_000 / 3);
    fs::remove_dir_all(file.parent().unwrap()).unwrap();
}

#[test]
fn a_torn_tail_and_a_flipped_bit_are_told_with_their_place() {
    let file = recorded("torn", 300);
    let whole = fs::read(&file).unwrap();
    let (all, _) = read(&file);
    for cut in [whole.len() - 1, whole.len() / 2, 20] {
        fs::write(&file, &whole[..cut]).unwrap();
        let (words, damage) = read(&file);
        assert!(words.len() < all.len() && words == all[..words.len()], "{cut}");
        assert!(
            matches!(damage, Some(Damage::Torn { at }) if at < cut as u64),
            "{cut}: {damage:?}"
        );
    }
    for at in [16, 21, 60, 200, whole.len() - 3] {
        let mut wrong = whole.clone();
        wrong[at] ^= 4;
        fs::write(&file, &wrong).unwrap();
        let (words, damage) = read(&file);
        assert!(words.len() < all.len() && words == all[..words.len()], "{at}");
        assert!(
            matches!(damage, Some(Damage::Block { .. } | Damage::Torn { .. })),
            "{at}: {damage:?}"
        );
    }
    for (bytes, foreign) in
        [(&b""[..], true), (&b"KHOST"[..], true), (&[7; 64][..], true), (&whole[..16], false)]
    {
        fs::write(&file, bytes).unwrap();
        let opened = RecordingReader::open(&file);
        assert_eq!(matches!(opened, Err(RecordingError::Foreign { .. })), foreign, "{bytes:?}");
    }
    let mut later = whole.clone();
    later[8] = 2;
    fs::write(&file, &later).unwrap();
    assert!(matches!(RecordingReader::open(&file), Err(RecordingError::Format { format: 2, .. })));
    fs::remove_dir_all(file.parent().unwrap()).unwrap();
}

#[test]
fn a_file_that_breaks_off_between_two_blocks_is_not_whole() {
    let file = place("unended");
    let mut entries = Vec::new();
    RecordEntry::Head(Head::default()).push(&mut entries);
    let block = super::super::block::block(&entries, 0, (0, 0));
    let whole = [&super::super::block::file_head()[..], &block].concat();
    fs::write(&file, &whole).unwrap();
    let at = whole.len() as u64;
    assert_eq!(read(&file), (vec!["Head".to_owned()], Some(Damage::Unended { at })));
    fs::remove_dir_all(file.parent().unwrap()).unwrap();
}

#[test]
fn blocks_of_a_later_version_are_stepped_over_and_missing_ones_are_told() {
    let file = recorded("later", 3);
    let whole = fs::read(&file).unwrap();
    let later = |kind: u16| {
        let mut block = super::super::block::block(b"of a later version", 0, (0, 0));
        block[8..10].copy_from_slice(&kind.to_le_bytes());
        let sum = super::super::block::sum(block.first_chunk().unwrap(), &block[56..]);
        block[40..56].copy_from_slice(&sum);
        block
    };
    let renumbered = |sequence: u64| {
        let mut block = whole[16..].to_vec();
        block[16..24].copy_from_slice(&sequence.to_le_bytes());
        let sum = super::super::block::sum(block.first_chunk().unwrap(), &block[56..]);
        block[40..56].copy_from_slice(&sum);
        block
    };
    let (all, _) = read(&file);
    fs::write(&file, [&whole[..16], &later(9), &renumbered(1)].concat()).unwrap();
    assert_eq!(read(&file), (all.clone(), None));
    fs::write(&file, [&whole[..16], &renumbered(5)].concat()).unwrap();
    assert_eq!(read(&file), (all, Some(Damage::Missing { at: 16, blocks: 5 })));
    fs::remove_dir_all(file.parent().unwrap()).unwrap();
}

/// Bytes that do not compress.
fn noise(seed: u32) -> Vec<u8> {
    let mut state = seed;
    let next = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..100_000).map(next).collect()
}

#[test]
fn a_recording_ends_at_its_size_and_says_so() {
    let file = place("size");
    let (told, heard) = std::sync::mpsc::channel();
    let options = Options { bytes_max: 2 << 20, ..options(&file) };
    let recorder =
        Recorder::start(&options, Head::default(), move |why| told.send(why).unwrap()).unwrap();
    let mut at = 0;
    while !recorder.is_over() {
        recorder.stream(1, &noise(at));
        at += 1;
        std::thread::yield_now();
    }
    let why = heard.recv().unwrap();
    assert!(why.contains("2 MiB"), "{why}");
    let recorded = recorder.stop();
    assert!(recorded.bytes <= (2 << 20) + 1024 && recorded.cut_short.is_some(), "{recorded:?}");
    let (words, damage) = read(&file);
    assert_eq!((words.last().map(String::as_str), damage), (Some("Closing"), None));
    fs::remove_dir_all(file.parent().unwrap()).unwrap();
}

#[test]
fn what_a_cut_leaves_out_is_counted() {
    let file = place("cut");
    let recorder = Recorder::without_thread(0, QUEUE_BYTES);
    recorder.write(&RecordEntry::Head(Head::default()));
    for seed in 0..40 {
        recorder.stream(1, &noise(seed));
    }
    lock(&recorder.0.waiting).over = true;
    let most = 2 << 20;
    let place = BlockPlace::File(super::file::create(&file).unwrap(), file.clone(), most);
    run(&recorder.0, BlockWriter::new(place, None), drop);
    let recorded = recorder.stop();
    let (words, damage) = read(&file);
    assert_eq!((words.last().map(String::as_str), damage), (Some("Closing"), None));
    let there = words.len() as u64;
    // What is there without the end, and what is not, is all that was handed over.
    assert_eq!((recorded.entries, there - 1 + recorded.lost), (there, 41), "{recorded:?}");
    assert!(recorded.lost > 0 && recorded.bytes == fs::metadata(&file).unwrap().len());
    fs::remove_dir_all(file.parent().unwrap()).unwrap();
}

#[test]
fn nobody_waits_for_a_thread_that_panicked() {
    let file = place("panic");
    let recorder = Recorder::without_thread(0, QUEUE_BYTES);
    recorder.write(&RecordEntry::Head(Head::default()));
    let shared = Arc::clone(&recorder.0);
    let thread = std::thread::spawn(move || {
        let memory = FlightMemory::new(Head::default(), 1 << 20);
        let writer = BlockWriter::new(BlockPlace::Memory(memory), None);
        let _end = RecordingEnd { shared: &shared, writer, cut_short: None };
        while lock(&shared.waiting).items.len() < 2 {
            std::thread::yield_now();
        }
        panic!("told to");
    });
    assert!(matches!(recorder.dump(&file), Err(RecordError::Create { .. })));
    assert!(recorder.is_over() && thread.join().is_err() && !file.exists());
    let recorded = recorder.stop();
    assert_eq!((recorded.entries, recorded.lost), (0, 1));
    assert!(recorded.cut_short.is_some_and(|why| why.contains("panicked")));
    fs::remove_dir_all(file.parent().unwrap()).unwrap();
}

#[test]
fn what_was_lost_before_a_dump_is_told_in_it() {
    let recorder = Recorder::without_thread(0, 8);
    for _ in 0..2 {
        recorder.stream(1, &[7; 64]);
    }
    recorder.hand(Item::Segment);
    let waiting = lock(&recorder.0.waiting);
    let kinds = waiting.items.iter().map(|item| match item {
        Item::Entry(..) => "entry",
        Item::Gap(_) => "gap",
        Item::Segment | Item::Dump(..) => "other",
    });
    assert_eq!(kinds.collect::<Vec<_>>(), ["entry", "gap", "other"]);
    assert_eq!((waiting.recorded.lost, waiting.gap.entries), (1, 0));
}

#[test]
fn what_the_thread_is_too_slow_for_is_a_gap_with_its_count() {
    let file = place("gap");
    let recorder = start(&options(&file));
    // More than the queue holds, handed over faster than it is compressed.
    let batch = vec![5; 8 << 20];
    for _ in 0..40 {
        recorder.stream(1, &batch);
    }
    let recorded = recorder.stop();
    let (words, damage) = read(&file);
    let streamed = words.iter().filter(|word| *word == "Streamed").count() as u64;
    assert_eq!(damage, None);
    assert_eq!(streamed + recorded.lost, 40, "{words:?}");
    assert!(recorded.lost > 0 && words.iter().any(|word| word == "Gap"), "{words:?}");
    fs::remove_dir_all(file.parent().unwrap()).unwrap();
}

#[test]
fn a_flight_recorder_holds_the_last_segments_and_each_can_be_read_alone() {
    let file = place("flight");
    let head = Head { kernel: "k".into(), boot_ns: 1, ..Head::default() };
    let recorder = Recorder::flight(8 << 20, head, |_| ()).unwrap();
    // Some hundred KiB each, compressed.
    let noise = |seed: u32| -> Vec<u8> {
        (0..1u32 << 19).map(|at| ((at ^ seed).wrapping_mul(2_654_435_761) >> 11) as u8).collect()
    };
    for at in 0..30 {
        recorder.segment();
        let mut tape = recorder.tape(Opened { version: at.to_string(), ..Opened::default() });
        tape.init(&noise(at), u64::from(at), TapedOutcome::Returned(b""), (Vec::new(), 0));
        while lock(&recorder.0.waiting).bytes > 0 {
            std::thread::yield_now();
        }
    }
    let dumped = recorder.dump(&file).unwrap();
    assert_eq!(dumped.bytes, fs::metadata(&file).unwrap().len());
    assert!(dumped.bytes < 8 << 20, "{dumped:?}");
    let (words, damage) = read(&file);
    assert_eq!((damage, &*words[0], &*words[1]), (None, "Head", "Opened"));
    let calls = words.iter().filter(|word| word.starts_with("call")).count();
    assert!((5..29).contains(&calls), "{words:?}");
    let mut reading = RecordingReader::open(&file).unwrap();
    let mut versions = Vec::new();
    while let Some(entry) = reading.entry().unwrap() {
        if let RecordEntry::Opened(opened) = entry {
            versions.push(opened.version);
        }
    }
    assert_eq!(versions.last().map(String::as_str), Some("29"));
    assert!(matches!(recorder.dump(&file), Err(RecordError::Taken { .. })));
    let _recorded = recorder.stop();
    let after = file.with_extension("after");
    assert!(matches!(recorder.dump(&after), Err(RecordError::Create { .. })));
    fs::remove_dir_all(file.parent().unwrap()).unwrap();
}

#[test]
fn a_flight_recorder_is_redacted_as_its_head_says() {
    let file = place("redacted");
    let recorder =
        Recorder::flight(8 << 20, Head { redacted: true, ..Head::default() }, |_| ()).unwrap();
    recorder.segment();
    let mut tape = recorder.tape(Opened { plugin: "p".into(), ..Opened::default() });
    tape.init(b"secret", 1, TapedOutcome::Refused("secret"), (Vec::new(), 0));
    recorder.dump(&file).unwrap();
    let _recorded = recorder.stop();
    let mut recording = RecordingReader::open(&file).unwrap();
    let mut calls = 0;
    while let Some(entry) = recording.entry().unwrap() {
        match entry {
            RecordEntry::Head(head) => assert!(head.redacted),
            RecordEntry::Call(call) => {
                calls += 1;
                assert_eq!((&*call.input, &*call.text), (&b""[..], ""));
            }
            _ => {}
        }
    }
    assert_eq!((calls, recording.damage()), (1, None));
    fs::remove_dir_all(file.parent().unwrap()).unwrap();
}
