//! Which file a plugin of contract 0.1 means: its keys have no generation, so it is that of the last event.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use krsi_plugin_schema::frame::Frames;
use krsi_plugin_schema::latest::{Action, Allow, Deny, FileKey, RuleKey};
use krsi_plugin_schema::{Schema, lower};

use crate::route::queue::Batch;

/// Files of which the generation is kept: as many again of those before them.
const FILES_MAX: usize = 16_384;

/// Generations by inode number and device.
type GenerationTable = HashMap<(u64, u32), u32, RandomState>;

/// What files were last, as a plugin was told of them. Of those that nothing was said of for longest, it
/// forgets the first half when it is full.
#[derive(Debug, Default)]
pub(super) struct Generations {
    young: GenerationTable,
    old: GenerationTable,
}

/// A file of which nothing was said, or too long ago.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "no event told of file {0}, and its number alone, which is all that contract 0.1 has, may be another file's"
)]
pub(super) struct UnknownFile(FileKey);

impl Generations {
    /// Notes the files of a batch, which lie beside it when it is written in a schema without generations.
    pub(super) fn note(&mut self, batch: &Batch) {
        batch.files().iter().for_each(|file| self.add(*file));
        let Some(schema) = lower::schema_of(batch.bytes()).filter(|schema| *schema != Schema::V0_1)
        else {
            return;
        };
        for frame in Frames::new(batch.bytes()).flatten() {
            let Ok(record) = lower::record(&frame, schema) else { continue };
            if let Some(file) = record.by_ref().and_then(lower::file_of) {
                self.add(file);
            }
        }
    }

    fn add(&mut self, file: FileKey) {
        if self.young.len() >= FILES_MAX {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert((file.ino, file.dev), file.generation);
    }

    /// Says which file an action is about, if it is about one.
    pub(super) fn complete(&self, action: &mut Action<'_>) -> Result<(), UnknownFile> {
        let (Action::Deny(Deny { rule, .. }) | Action::Allow(Allow { rule })) = action else {
            return Ok(());
        };
        let RuleKey::File(file) = &mut rule.key else { return Ok(()) };
        let number = (file.ino, file.dev);
        let known = self.young.get(&number).or_else(|| self.old.get(&number));
        file.generation = *known.ok_or(UnknownFile(*file))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use krsi_plugin_schema::latest::{
        BatchStart, Body, Event, FileOpen, HookSet, IfUnread, Meta, RecordRef, Rule, RuleMode,
        Subject,
    };

    use super::*;

    fn file(ino: u64, generation: u32) -> FileKey {
        FileKey { ino, dev: 3, generation }
    }

    fn deny(ino: u64) -> Action<'static> {
        let rule = Rule {
            token: 1,
            cause_boot_ns: 0,
            key: RuleKey::File(file(ino, 0)),
            subject: Subject::Any,
            hooks: HookSet::default(),
            ttl_ms: 1,
            reason: "".into(),
        };
        let (mode, if_unread) = (RuleMode::Enforce, IfUnread::Pass);
        Action::Deny(Deny { rule, errno: 1, mode, if_unread })
    }

    /// The generation that a rule on a number is completed with.
    fn meant(generations: &Generations, ino: u64) -> Option<u32> {
        let mut action = deny(ino);
        generations.complete(&mut action).ok()?;
        let Action::Deny(Deny { rule: Rule { key: RuleKey::File(file), .. }, .. }) = action else {
            panic!("{action:?}");
        };
        assert_eq!((file.ino, file.dev), (ino, 3));
        Some(file.generation)
    }

    fn batch(schema: Schema, files: &[FileKey]) -> Batch {
        let mut bytes = Vec::new();
        let start = BatchStart { schema: schema.number(), boot_ns: 1, unix_offset_ns: 0 };
        lower::push(&mut bytes, RecordRef::BatchStart(start), schema).unwrap();
        for file in files {
            let body = Body::FileOpen(FileOpen { file: *file, ..FileOpen::default() });
            let event = Event { meta: Meta::default(), body };
            lower::push(&mut bytes, RecordRef::Event(&event), schema).unwrap();
        }
        Batch::private(bytes)
    }

    #[test]
    fn a_rule_is_on_the_last_file_that_was_told_of() {
        let mut generations = Generations::default();
        assert_eq!(meant(&generations, 7), None);
        generations.note(&batch(Schema::V0_2, &[file(7, 1), file(8, 5), file(7, 2)]));
        assert_eq!((meant(&generations, 7), meant(&generations, 8)), (Some(2), Some(5)));
        // The bytes of 0.1 do not say it; what lies beside them does.
        let told = batch(Schema::V0_1, &[file(7, 3), file(9, 1)]);
        generations.note(&told);
        assert_eq!((meant(&generations, 7), meant(&generations, 9)), (Some(2), None));
        generations.note(&told.with_files(vec![file(7, 3), file(9, 1)]));
        assert_eq!((meant(&generations, 7), meant(&generations, 9)), (Some(3), Some(1)));
        let mut other = Action::Revoke(krsi_plugin_schema::latest::Revoke { token: 1 });
        assert_eq!(generations.complete(&mut other), Ok(()));
        let words = UnknownFile(FileKey { ino: 6, dev: 8 << 20 | 1, generation: 0 }).to_string();
        assert!(words.starts_with("no event told of file 8:1 inode 6, "), "{words}");
    }

    #[test]
    fn the_files_that_are_kept_are_bounded_and_the_last_ones() {
        let mut generations = Generations::default();
        let all = 3 * FILES_MAX as u64;
        for ino in 0..all {
            generations.add(file(ino, 1));
            assert!(generations.young.len() + generations.old.len() <= 2 * FILES_MAX);
        }
        assert_eq!((meant(&generations, 0), meant(&generations, all - 1)), (None, Some(1)));
        assert_eq!(meant(&generations, all - FILES_MAX as u64), Some(1));
    }
}
