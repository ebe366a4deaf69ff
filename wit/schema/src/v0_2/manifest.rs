//! What a plugin asks for: a list of named fields, those that a host must know and those that it may skip.
//!
//! ```text
//! | frame REQUIRED or OPTIONAL: name, value | frame … |
//! ```
//! A field that was asked for several times stands several times. A required field that the host does
//! not know is refused by its name, before the plugin starts; an optional one is skipped. What a plugin
//! may do or must see is required; how it would like to be served is optional.

use alloc::borrow::{Cow, ToOwned};
use alloc::string::String;
use alloc::vec::Vec;

use super::filter::Filter;
use super::hook::Hook;
use super::key::{KeyKind, KeyKinds};
use super::label::{Label, LabelExec, LabelFull};
use super::running::ToldRunning;
use crate::codec::{CodecError, Decode, Encode, Reader};
use crate::frame::{Frame, FrameError, Frames, write};
use crate::words;

/// Kinds of frames in a manifest.
pub mod field {
    /// A field that the host must know.
    pub const REQUIRED: u16 = 1;
    /// A field that the host may skip.
    pub const OPTIONAL: u16 = 2;
}

words! {
    /// What becomes of a plugin's rules when it is quarantined. The rules of an unloaded plugin always end.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub enum OnStop ("on-stop") {
        /// The rules stay in force until they expire.
        #[default]
        Keep = 0,
        /// The rules are withdrawn at once.
        Clear = 1,
    }
}

/// Name, version, hooks and capabilities of a plugin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    /// Stable name, `[a-z0-9-]`, at most 64 bytes: rules belong to it.
    pub name: String,
    /// Version of the plugin, semver.
    pub version: String,
    /// Number of the schema that it was built for.
    pub schema: u16,
    /// Hooks it subscribes to, by the kernel's names.
    pub hooks: Vec<String>,
    /// Watches of its own on any LSM hook of the kernel; a record of one says its place in this list.
    pub watches: Vec<String>,
    /// What of its hooks it wants to see; without a filter of a hook it sees every call.
    pub filters: Vec<Filter>,
    /// Kinds of keys that it wants to make rules on.
    pub deny_keys: KeyKinds,
    /// Hooks that its rules refuse, by the kernel's names.
    pub deny_hooks: Vec<String>,
    /// Labels that it gives and asks for.
    pub labels: Vec<Label>,
    /// Whether it wants to be told of what runs already.
    pub running: ToldRunning,
    /// Whether it asks for samples of processes.
    pub samples: bool,
    /// Whether it wants to kill processes.
    pub kill: bool,
    /// Milliseconds between ticks, 0 for none.
    pub tick_ms: u32,
    /// What becomes of the plugin's rules when the plugin stops.
    pub on_stop: OnStop,
}

/// Why a manifest cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestFault {
    /// The bytes are no list of frames.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// A field's value does not decode.
    #[error("the field {name:?} {error}")]
    Field {
        /// Name of the field.
        name: String,
        /// Error of decoding the field's value.
        error: CodecError,
    },
    /// A requirement that this version does not have.
    #[error("it requires {name:?}, which this host does not have")]
    Requirement {
        /// Name of the requirement, as the manifest has it.
        name: String,
    },
    /// A kind of keys that this version does not have.
    #[error("it asks for rules on {name:?} keys, which this host does not have")]
    Key {
        /// Name of the kind of keys, as the manifest has it.
        name: String,
    },
}

impl Manifest {
    /// A manifest of the newest schema that asks for nothing.
    #[must_use]
    pub fn new(name: &str, version: &str) -> Self {
        let schema = super::SCHEMA.number();
        Self { name: name.into(), version: version.into(), schema, ..Self::default() }
    }

    /// Subscribes to a hook.
    #[must_use]
    pub fn hook(mut self, hook: Hook) -> Self {
        self.hooks.push(hook.name().into());
        self
    }

    /// Watches any LSM hook of the kernel, `HOOK: FIELD, … [if PREDICATE] [deny ERRNO]`; what it
    /// sees arrives as a [`super::Watch`], with the watch's place in the order of these calls.
    #[must_use]
    pub fn watch(mut self, watch: &str) -> Self {
        self.watches.push(watch.into());
        self
    }

    /// Leaves out calls of a hook in the kernel; several filters of one hook add up.
    #[must_use]
    pub fn filter(mut self, filter: Filter) -> Self {
        self.filters.push(filter);
        self
    }

    /// Asks to deny calls of a hook.
    #[must_use]
    pub fn deny_hook(mut self, hook: Hook) -> Self {
        self.deny_hooks.push(hook.name().into());
        self
    }

    /// Declares a label: what an exec does to it, and what happens when there is no room for one.
    #[must_use]
    pub fn label(mut self, name: &str, exec: LabelExec, full: LabelFull) -> Self {
        self.labels.push(Label { name: name.into(), exec, full });
        self
    }

    /// Asks to be told of every process that runs when the plugin starts, by records of their own; a version that
    /// takes over from one that was told is not told again.
    #[must_use]
    pub const fn running(mut self) -> Self {
        self.running = ToldRunning::Once;
        self
    }

    /// Asks for the same for this version, also if it takes over from one that was told.
    #[must_use]
    pub const fn running_each_version(mut self) -> Self {
        self.running = ToldRunning::EachVersion;
        self
    }

    /// Asks to be told what processes that it names use and are, by samples.
    #[must_use]
    pub const fn samples(mut self) -> Self {
        self.samples = true;
        self
    }

    /// Asks to kill processes.
    #[must_use]
    pub const fn kill(mut self) -> Self {
        self.kill = true;
        self
    }

    /// Asks for a tick every so many milliseconds, at least 10.
    #[must_use]
    pub const fn tick_ms(mut self, tick_ms: u32) -> Self {
        self.tick_ms = tick_ms;
        self
    }

    /// Says what becomes of the plugin's rules when it is quarantined; they stay in force unless said otherwise. The
    /// rules of an unloaded plugin always end.
    #[must_use]
    pub const fn on_stop(mut self, on_stop: OnStop) -> Self {
        self.on_stop = on_stop;
        self
    }

    /// The manifest as bytes.
    ///
    /// # Errors
    /// When a field is longer than a frame can be.
    pub fn encode(&self) -> Result<Vec<u8>, FrameError> {
        let Self {
            name,
            version,
            schema,
            hooks,
            watches,
            filters,
            deny_keys,
            deny_hooks,
            labels,
            running,
            samples,
            kill,
            tick_ms,
            on_stop,
        } = self;
        let mut out = Vec::new();
        required(&mut out, "name", name)?;
        required(&mut out, "version", version)?;
        required(&mut out, "schema", schema)?;
        hooks.iter().try_for_each(|hook| required(&mut out, "hook", hook))?;
        watches.iter().try_for_each(|watch| required(&mut out, "watch", watch))?;
        filters.iter().try_for_each(|filter| push(&mut out, field::OPTIONAL, "filter", filter))?;
        deny_keys.iter().try_for_each(|kind| required(&mut out, "deny-key", kind.name()))?;
        deny_hooks.iter().try_for_each(|hook| required(&mut out, "deny-hook", hook))?;
        labels.iter().try_for_each(|label| required(&mut out, "label", label))?;
        if *running != ToldRunning::Never {
            required(&mut out, "running", running)?;
        }
        if *samples {
            required(&mut out, "samples", samples)?;
        }
        if *kill {
            required(&mut out, "kill", kill)?;
        }
        if *tick_ms > 0 {
            required(&mut out, "tick-ms", tick_ms)?;
        }
        required(&mut out, "on-stop", on_stop)?;
        Ok(out)
    }

    /// Reads a manifest, of this version or another that appended fields.
    ///
    /// # Errors
    /// Names the first field that is wrong, or that is required and not known.
    pub fn decode(bytes: &[u8]) -> Result<Self, ManifestFault> {
        let mut manifest = Self::default();
        for frame in Frames::new(bytes) {
            let frame = frame?;
            let mut from = frame.reader();
            let name = Cow::<str>::decode(&mut from)
                .map_err(|_| FrameError::Body { at: frame.at, kind: frame.kind })?;
            manifest.take(&frame, &name, &mut from)?;
        }
        Ok(manifest)
    }

    fn take(
        &mut self,
        frame: &Frame<'_>,
        name: &str,
        from: &mut Reader<'_>,
    ) -> Result<(), ManifestFault> {
        let wrong = |error| ManifestFault::Field { name: name.to_owned(), error };
        match name {
            "name" => self.name = value(from).map_err(wrong)?,
            "version" => self.version = value(from).map_err(wrong)?,
            "schema" => self.schema = value(from).map_err(wrong)?,
            "hook" => self.hooks.push(value(from).map_err(wrong)?),
            "watch" => self.watches.push(value(from).map_err(wrong)?),
            "filter" => self.filters.push(value(from).map_err(wrong)?),
            "deny-key" => {
                let kind: String = value(from).map_err(wrong)?;
                let known = KeyKind::from_name(&kind).ok_or(ManifestFault::Key { name: kind })?;
                self.deny_keys = self.deny_keys.with(known);
            }
            "deny-hook" => self.deny_hooks.push(value(from).map_err(wrong)?),
            "label" => self.labels.push(value(from).map_err(wrong)?),
            "running" => self.running = value(from).map_err(wrong)?,
            "samples" => self.samples = value(from).map_err(wrong)?,
            "kill" => self.kill = value(from).map_err(wrong)?,
            "tick-ms" => self.tick_ms = value(from).map_err(wrong)?,
            "on-stop" => self.on_stop = value(from).map_err(wrong)?,
            _ if frame.kind == field::OPTIONAL => {}
            _ => return Err(ManifestFault::Requirement { name: name.to_owned() }),
        }
        Ok(())
    }
}

fn value<'a, T: Decode<'a>>(from: &mut Reader<'a>) -> Result<T, CodecError> {
    T::decode(from)
}

fn required<T: Encode + ?Sized>(
    out: &mut Vec<u8>,
    name: &str,
    value: &T,
) -> Result<(), FrameError> {
    push(out, field::REQUIRED, name, value)
}

/// Appends a field.
///
/// # Errors
/// When it is longer than a frame can be.
pub fn push<T: Encode + ?Sized>(
    out: &mut Vec<u8>,
    kind: u16,
    name: &str,
    value: &T,
) -> Result<(), FrameError> {
    write(out, kind, |out| {
        name.encode(out);
        value.encode(out);
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole() -> Manifest {
        let filter = Filter::new(Hook::FileOpen).uid(7).path_prefix("/etc/").first_seen();
        let manifest = Manifest::new("a", "1.0.0")
            .hook(Hook::FileOpen)
            .watch("inode_getattr: path")
            .watch("task_kill: sig")
            .filter(filter.flags_any(2).port(80).cgroup(8).per_process_rate(5))
            .deny_hook(Hook::TaskKill)
            .running_each_version()
            .samples()
            .kill()
            .tick_ms(500)
            .on_stop(OnStop::Clear);
        manifest.deny_by_cgroup().deny_by_file()
    }

    #[test]
    fn a_manifest_holds_what_was_asked_in_order_and_round_trips() {
        let manifest = whole();
        assert_eq!(manifest.watches, ["inode_getattr: path", "task_kill: sig"]);
        assert_eq!(manifest.deny_keys.iter().collect::<Vec<_>>(), [KeyKind::File, KeyKind::Cgroup]);
        assert_eq!(Manifest::decode(&manifest.encode().unwrap()), Ok(manifest));
    }

    #[test]
    fn what_is_required_and_unknown_is_refused_by_name_and_the_optional_is_skipped() {
        let mut bytes = whole().encode().unwrap();
        push(&mut bytes, field::OPTIONAL, "colour", &7u8).unwrap();
        push(&mut bytes, 9, "hook", "bpf").unwrap();
        let mut more = whole();
        more.hooks.push("bpf".into());
        assert_eq!(Manifest::decode(&bytes), Ok(more));
        let refused = |name: &str, value: &str| {
            let mut bytes = bytes.clone();
            push(&mut bytes, field::REQUIRED, name, value).unwrap();
            Manifest::decode(&bytes).unwrap_err()
        };
        let name = || "labels".to_owned();
        assert_eq!(refused("labels", "x"), ManifestFault::Requirement { name: name() });
        assert_eq!(refused("deny-key", "labels"), ManifestFault::Key { name: name() });
        let error = CodecError::Malformed;
        assert_eq!(refused("kill", "xx"), ManifestFault::Field { name: "kill".into(), error });
        assert!(Manifest::decode(&bytes[..bytes.len() - 1]).is_err());
    }

    #[test]
    fn a_second_condition_of_a_kind_takes_the_place_of_the_first() {
        let filter = Filter::new(Hook::FileOpen).uid(7).port(1).uid(8);
        let words: Vec<String> =
            filter.conditions.iter().map(alloc::string::ToString::to_string).collect();
        assert_eq!(words, ["port 1", "uid 8"]);
        assert_eq!(filter.uid(9).flags_any(0).conditions[2].fault(), Some("no bit in its flags"));
    }
}
