//! Raw records → events: bytes validated into types, the one room that sees both contracts.

use std::borrow::Cow;

use krsi_host_abi::deny::ProcessKey as AbiProcessKey;
use krsi_host_abi::hook::{HOOK_SLOTS, HOOKS, Hook as AbiHook};
use krsi_host_abi::record::{Header, Text, Verdict as AbiVerdict, text_flag};
use krsi_host_abi::{ABI_VERSION, deny};
use krsi_plugin_schema::latest::{
    Body, Event, EventLabels, FileKey, Hook, Meta, ProcessKey, Verdict,
};
use zerocopy::FromBytes;

use crate::read::record::{CutRecord, RawRecord};

mod call;
mod exec;
mod file;
mod socket;
mod task;
pub(crate) mod text;

pub use call::CallLayouts;
pub(crate) use call::{CallLayout, LayoutError};

/// Why a record is not an event. Counted, never fatal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Shorter than its header or body.
    #[error("record of {len} bytes is cut off")]
    Cut {
        /// Bytes of the record.
        len: usize,
    },
    /// Written by an object of another version.
    #[error("record of layout version {abi}, this host reads {ABI_VERSION}")]
    Version {
        /// Layout version that the record claims.
        abi: u16,
    },
    /// No hook of that id, or a call whose layout was never told.
    #[error("record of unknown hook {hook}")]
    Hook {
        /// Hook id that the record claims.
        hook: u16,
    },
    /// A string lies outside the record.
    #[error("record of {} points outside itself", slot_name(*slot))]
    Text {
        /// Slot of its hook.
        slot: u16,
    },
    /// A verdict that is none.
    #[error("record of {} has verdict {verdict}", slot_name(*slot))]
    Verdict {
        /// Slot of its hook.
        slot: u16,
        /// Number of the verdict that the record claims.
        verdict: u8,
    },
}

impl From<CutRecord> for DecodeError {
    fn from(CutRecord { len }: CutRecord) -> Self {
        DecodeError::Cut { len }
    }
}

/// A curated hook by name, a watch by its slot.
fn slot_name(slot: u16) -> Cow<'static, str> {
    match AbiHook::from_id(slot) {
        Some(hook) => Cow::Borrowed(hook.name()),
        None => Cow::Owned(format!("slot {slot}")),
    }
}

/// A decoded record: the event and what only the host needs.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded<'a> {
    /// The event, as plugins see it.
    pub event: Event<'a>,
    /// The caller's real parent.
    pub parent: ProcessKey,
    /// Owner slot of the rule that decided; of a watch, its own.
    pub owner: u8,
    /// Labels that the caller had before the call, as bits.
    pub had_labels: u64,
    /// Labels that the call gave, as bits.
    pub gave_labels: u64,
}

/// Body and tail of a record, and its slot for errors.
struct Payload<'a> {
    slot: u16,
    bytes: &'a [u8],
}

type Decoder = for<'a> fn(&Payload<'a>) -> Result<Body<'a>, DecodeError>;

/// The decoder of a hook with a body of its own; none for one whose record is a call.
const fn decoder(hook: AbiHook) -> Option<Decoder> {
    Some(match hook {
        AbiHook::BprmCheckSecurity => exec::check,
        AbiHook::BprmCommittedCreds => exec::committed,
        AbiHook::FileOpen => file::open,
        AbiHook::SocketConnect => socket::connect,
        AbiHook::SchedProcessFork => task::fork,
        AbiHook::SchedProcessExit => task::exit,
        _ => return None,
    })
}

/// Decoders by hook id, built from the hook table.
static DECODERS: [Option<Decoder>; HOOK_SLOTS] = {
    let mut table = [None; HOOK_SLOTS];
    let mut rest = HOOKS;
    while let [row, tail @ ..] = rest {
        #[expect(clippy::indexing_slicing, reason = "evaluated at compile time")]
        {
            table[row.hook.id() as usize] = decoder(row.hook);
        }
        rest = tail;
    }
    table
};

/// The contract's hook for one of the kernel contract's.
#[must_use]
pub(crate) fn hook(hook: AbiHook) -> Option<Hook> {
    Hook::from_name(hook.name())
}

/// The kernel contract's hook for one of the contract's.
#[must_use]
pub(crate) fn abi_hook(hook: Hook) -> Option<AbiHook> {
    AbiHook::from_name(hook.name())
}

/// Decodes one record. Strings borrow from it unless they hold bytes that are not UTF-8. `layouts`
/// says what the records of calls and watches hold.
///
/// # Errors
/// When the bytes are not a record of this version.
pub fn decode<'a>(
    record: &RawRecord<'a>,
    layouts: &'a CallLayouts,
) -> Result<Decoded<'a>, DecodeError> {
    let RawRecord { ref header, comm, payload: bytes } = *record;
    if u32::from(header.abi) != ABI_VERSION {
        return Err(DecodeError::Version { abi: header.abi });
    }
    let slot = header.hook;
    let payload = Payload { slot, bytes };
    let (body, owner) = match DECODERS.get(usize::from(slot)).copied().flatten() {
        Some(decoder) => (decoder(&payload)?, None),
        None => layouts.get(slot).ok_or(DecodeError::Hook { hook: slot })?.body(&payload)?,
    };
    let meta = Meta {
        boot_ns: header.boot_ns,
        process: process(header.process),
        tid: header.tid,
        uid: header.uid,
        gid: header.gid,
        mount_ns: header.mount_ns,
        cgroup_id: header.cgroup_id,
        comm: text::until_nul(comm),
        verdict: verdict(header)?,
        // The names of labels are not known here.
        labels: EventLabels::default(),
    };
    Ok(Decoded {
        event: Event { meta, body },
        parent: process(header.parent),
        owner: owner.unwrap_or(header.owner),
        had_labels: header.labels,
        gave_labels: header.given,
    })
}

fn verdict(header: &Header) -> Result<Verdict, DecodeError> {
    let (rule_id, errno) = (header.rule_id, header.errno);
    match header.verdict {
        verdict if verdict == AbiVerdict::None as u8 => Ok(Verdict::None),
        verdict if verdict == AbiVerdict::Denied as u8 => Ok(Verdict::Denied { rule_id, errno }),
        verdict if verdict == AbiVerdict::Audited as u8 => Ok(Verdict::Audited { rule_id, errno }),
        verdict => Err(DecodeError::Verdict { slot: header.hook, verdict }),
    }
}

/// A process key of the kernel contract as plugins know it.
#[must_use]
pub(crate) const fn process(key: AbiProcessKey) -> ProcessKey {
    ProcessKey { start_boot_ns: key.start_boot_ns, tgid: key.tgid }
}

const fn file_key(key: deny::FileKey) -> FileKey {
    FileKey { ino: key.ino, dev: key.dev, generation: key.generation }
}

impl<'a> Payload<'a> {
    /// The body, and the tail after it.
    fn body<T: FromBytes>(&self) -> Result<(T, &'a [u8]), DecodeError> {
        T::read_from_prefix(self.bytes).map_err(|_| DecodeError::Cut { len: self.bytes.len() })
    }

    /// The bytes of a string in the tail.
    fn text(&self, tail: &'a [u8], text: Text) -> Result<&'a [u8], DecodeError> {
        let start = usize::from(text.offset);
        tail.get(start..start + usize::from(text.len)).ok_or(DecodeError::Text { slot: self.slot })
    }

    /// A path in the tail.
    fn path(&self, tail: &'a [u8], path: Text) -> Result<Cow<'a, str>, DecodeError> {
        let bytes = self.text(tail, path)?;
        Ok(if path.flags & text_flag::UPWARDS == 0 {
            text::escape(bytes)
        } else {
            text::upwards(bytes)
        })
    }
}

#[cfg(test)]
mod tests;
