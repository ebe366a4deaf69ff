//! Records of the kernel's rings: whatever the bytes, an event or an error, and an event that every schema takes.

use std::time::Duration;

use crate::decode::{self, CallLayout, CallLayouts};
use crate::read::record::RawRecord;
use arbitrary::Unstructured;
use krsi_host_abi::ABI_VERSION;
use krsi_host_abi::hook::HOOKS;
use krsi_host_abi::record::Header;
use krsi_host_abi::spec::Capture;
use krsi_plugin_schema::frame::Frames;
use krsi_plugin_schema::latest::{Hook, RecordRef};
use krsi_plugin_schema::{Schema, lower};
use zerocopy::{FromBytes, FromZeros, IntoBytes};

use crate::fuzz::engine::{FuzzOutcome, FuzzTarget, outcome, words};

pub(crate) const TARGET: FuzzTarget = FuzzTarget {
    name: "ring records",
    seeds,
    words: &["\0", "/etc/shadow\0", "x\0-o\0", "\u{202e}", "\n", "\\x"],
    run,
    slow: Duration::from_secs(10),
    longest: 4096,
};

/// A slot that no curated hook has.
const WATCH: u16 = 130;
/// Bytes of an input that say what the layouts are.
const LAYOUTS: usize = 64;

fn seeds() -> Vec<Vec<u8>> {
    let record = |slot: u16, body: usize| {
        let mut header = Header::new_zeroed();
        (header.abi, header.hook) = (ABI_VERSION as u16, slot);
        header.comm[..4].copy_from_slice(b"comm");
        let tail = b"/usr/bin/x\0\0x\0-o\0HOME=/\0";
        [&[0; LAYOUTS][..], header.as_bytes(), &vec![0; body], tail].concat()
    };
    let of_hook = |slot| [0, 32, 64, 128].map(|body| record(slot, body));
    let mut seeds: Vec<Vec<u8>> = HOOKS.iter().flat_map(|row| of_hook(row.hook.id())).collect();
    seeds.extend(of_hook(WATCH));
    seeds
}

/// Layouts that the first bytes say: as the host makes them, captures that may be nonsense.
fn layouts(bytes: &[u8]) -> CallLayouts {
    let mut from = Unstructured::new(bytes);
    let mut layouts = CallLayouts::default();
    let mut captures = Vec::new();
    for _ in 0..from.int_in_range(0..=12).unwrap_or(0) {
        let mut bytes = [0; size_of::<Capture>()];
        let _filled = from.fill_buffer(&mut bytes);
        bytes[0] %= 16;
        captures.push(Capture::read_from_bytes(&bytes).unwrap());
    }
    let rows: Vec<usize> = (0..captures.len()).collect();
    if let Ok(layout) = CallLayout::watch(3, 1, "inode_getattr", &rows, &captures) {
        layouts.set(WATCH, layout);
    }
    for hook in Hook::ALL.iter().filter(|hook| hook.is_call()) {
        let row = |at: usize| (at < captures.len()).then_some(at);
        let rows: Vec<Option<usize>> = (0..hook.fields().len()).map(row).collect();
        let nowhere = vec![None; rows.len()];
        let layout = CallLayout::curated(*hook, &rows, &captures)
            .or_else(|_| CallLayout::curated(*hook, &nowhere, &[]));
        if let (Ok(layout), Some(id)) = (layout, HOOKS.iter().find(|row| row.name == hook.name())) {
            layouts.set(id.hook.id(), layout);
        }
    }
    layouts
}

fn run(input: &[u8]) -> FuzzOutcome {
    let (told, record) = input.split_at(input.len().min(LAYOUTS));
    let layouts = layouts(told);
    let record = match RawRecord::parse(record) {
        Ok(record) => record,
        Err(error) => return words(&error.to_string()),
    };
    let decoded = match decode::decode(&record, &layouts) {
        Ok(decoded) => decoded,
        Err(error) => return words(&error.to_string()),
    };
    let event = &decoded.event;
    let sent = [Schema::V0_1, Schema::V0_2].map(|schema| {
        let mut batch = Vec::new();
        let Ok(had) = lower::push(&mut batch, RecordRef::Event(event), schema) else {
            return None;
        };
        assert_eq!(had, !batch.is_empty());
        for frame in Frames::new(&batch) {
            let record = lower::record(&frame.unwrap(), schema).unwrap();
            let Some(RecordRef::Event(read)) = record.by_ref() else { panic!("no event") };
            assert_eq!(read.meta.boot_ns, event.meta.boot_ns);
            if schema == Schema::V0_2 {
                assert_eq!(read, event);
            }
        }
        Some(had)
    });
    outcome((event.body.name().to_owned(), event.is_cut(), sent))
}
