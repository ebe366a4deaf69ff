//! Batches, actions and manifests: what decodes is the same when it is written and read again, in each schema.

use std::time::Duration;

use krsi_plugin_schema::frame::Frames;
use krsi_plugin_schema::latest::{Action, Filter, Hook, Manifest, RecordRef};
use krsi_plugin_schema::{Schema, lower};

use crate::fuzz::engine::{FuzzOutcome, FuzzTarget, outcome};
use crate::fuzz::seed::actions;

pub(crate) const TARGET: FuzzTarget = FuzzTarget {
    name: "batches and actions",
    seeds,
    words: &["\u{1}\0\0\0", "\0\0", "file_open", "/etc"],
    run,
    slow: Duration::from_secs(10),
    longest: 16 << 10,
};

const SCHEMAS: [Schema; 2] = [Schema::V0_1, Schema::V0_2];

fn seeds() -> Vec<Vec<u8>> {
    let golden: [&[u8]; 2] = [
        include_bytes!("../../../../wit/schema/src/v0_1/golden.batch"),
        include_bytes!("../../../../wit/schema/src/v0_2/golden.batch"),
    ];
    let mut seeds: Vec<Vec<u8>> = golden.map(<[u8]>::to_vec).to_vec();
    // Each frame by itself, so that it is reached by the first change.
    for batch in golden {
        let mut at = 0;
        for frame in Frames::new(batch).flatten() {
            let end = frame.at + 6 + frame.body.len();
            seeds.push(batch[at..end].to_vec());
            at = end;
        }
    }
    seeds.extend(actions());
    let manifest = Manifest::new("fuzz", "1.0.0")
        .hook(Hook::FileOpen)
        .deny_hook(Hook::FileOpen)
        .watch("inode_getattr: path");
    seeds.push(manifest.encode().unwrap());
    let filtered = manifest.filter(Filter::new(Hook::FileOpen).uid(0));
    seeds.push(filtered.encode().unwrap());
    seeds
}

fn run(input: &[u8]) -> FuzzOutcome {
    let mut kinds = Vec::new();
    for schema in SCHEMAS {
        for frame in Frames::new(input) {
            let Ok(frame) = frame else {
                kinds.push((0, false, false));
                continue;
            };
            let record = lower::record(&frame, schema);
            if let Ok(record) = &record
                && let Some(of) = record.by_ref()
            {
                same_again(of, schema);
            }
            let action = lower::action(&frame, schema);
            if let Ok(action) = &action {
                same_action(action);
            }
            let _token = lower::token_of(&frame, schema);
            kinds.push((frame.kind, record.is_ok(), action.is_ok()));
        }
        for to in SCHEMAS {
            let lowered = lower::batch(input, schema, to, &[]);
            // What was written is read, every frame of it.
            for frame in Frames::new(&lowered) {
                lower::record(&frame.unwrap(), to).unwrap();
            }
        }
    }
    let manifest = Manifest::decode(input).map(|manifest| {
        let written = manifest.encode().unwrap();
        assert_eq!(Manifest::decode(&written).unwrap().encode().unwrap(), written);
    });
    kinds.truncate(8);
    outcome((kinds, manifest.is_ok(), lower::schema_of(input).is_some()))
}

/// That a record reads as it was written, by its bytes: a number that is none equals nothing.
fn same_again(record: RecordRef<'_, '_>, schema: Schema) {
    let mut once = Vec::new();
    if !lower::push(&mut once, record, schema).unwrap_or(false) {
        return;
    }
    let frame = Frames::new(&once).next().unwrap().unwrap();
    let read = lower::record(&frame, schema).unwrap();
    let mut twice = Vec::new();
    lower::push(&mut twice, read.by_ref().unwrap(), schema).unwrap();
    assert_eq!(once, twice);
}

fn same_action(action: &Action<'_>) {
    // What schema 0.1 does not know may be an action of this one.
    if matches!(action, Action::Unknown(_)) {
        return;
    }
    let mut once = Vec::new();
    if action.push(&mut once).is_err() {
        return;
    }
    let frame = Frames::new(&once).next().unwrap().unwrap();
    let mut twice = Vec::new();
    Action::decode(&frame).unwrap().push(&mut twice).unwrap();
    assert_eq!(once, twice);
}
