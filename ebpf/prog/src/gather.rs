//! The first bytes of a message, gathered from the sender's memory into a room that the call lends.
//!
//! A program that does not sleep reads only what is resident: nobody's memory can hold it. Why:
//! docs/adr/0032-content-by-a-program-that-does-not-sleep.md.

use aya_ebpf::helpers::generated as helper;
use krsi_host_abi::spec::{TEXT_MAX, content, content_state};

use crate::capture::{self, Skip};
use crate::global;
use crate::map::SCRATCH_LEN;
use crate::spec::Row;

/// Bits of `iov_iter.type` beside the type, before 5.14: the direction, and a flag of pages.
const DIRECTION: u32 = 3;

/// What the lent room is used as. The bytes have room for one more piece behind the last.
#[repr(C)]
struct Work {
    bytes: [u8; 2 * TEXT_MAX],
    iterator: [u8; content::ITERATOR_LEN],
    segments: [Segment; content::SEGMENTS_MAX],
}

/// `struct iovec` of `include/uapi/linux/uio.h`.
#[repr(C)]
struct Segment {
    base: u64,
    len: u64,
}

/// Bytes that were gathered, and what became of the message: one of [`content_state`].
pub struct Gathered {
    /// Bytes that were gathered.
    pub len: u64,
    /// What became of the message.
    pub state: u64,
}

/// Gathers the first bytes of a message into a lent room; they stand at its start. `zero` is 0, which the verifier
/// does not know.
#[inline(always)]
pub fn gather(row: Row, message: u64, room: *mut u8, zero: u64) -> Gathered {
    const { assert!(size_of::<Work>() <= SCRATCH_LEN) };
    let work = room.cast::<Work>();
    // SAFETY: addresses within the room, which is longer than `Work`.
    let (bytes, iterator) = unsafe { (&raw mut (*work).bytes, &raw mut (*work).iterator) };
    // SAFETY: the same.
    let segments = unsafe { (&raw mut (*work).segments).cast::<Segment>() };
    let done = |state| Gathered { len: 0, state };
    let from = message + row.offset(content::ITERATOR) as u64;
    if capture::copy(from, iterator, content::ITERATOR_LEN as u16).is_err() {
        return done(content_state::UNREAD);
    }
    let word = |at: usize| member::<u64>(iterator, row.offset(at));
    let left = word(content::LEFT);
    if left == 0 {
        return done(content_state::EMPTY);
    }
    let kind = if row.size() == 1 {
        u32::from(member::<u8>(iterator, row.offset(content::TYPE)))
    } else {
        member::<u32>(iterator, row.offset(content::TYPE)) & !DIRECTION
    };
    let begun = word(content::DONE);
    let count;
    if row.width() != 0 && kind == u32::from(row.width()) - 1 {
        let segment = Segment { base: word(content::BUFFER), len: left + begun };
        // SAFETY: the first segment of the room.
        unsafe { segments.write(segment) };
        count = 1;
    } else if kind == u32::from(row.shift()) {
        count = word(content::COUNT);
        let most = content::SEGMENTS_MAX as u64;
        let some = if count > most { most } else { count };
        // Its bound is looked at where it is used: 5.10 keeps none of a number that was put aside.
        let len = global::written(some * size_of::<Segment>() as u64) as u16;
        let into = segments.cast::<[u8; size_of::<Segment>() * content::SEGMENTS_MAX]>();
        if capture::copy(word(content::SEGMENTS), into, len).is_err() {
            return done(content_state::UNREAD);
        }
    } else {
        return done(content_state::KERNEL);
    }
    let bound = row.bound() as u64;
    let bound = if bound > TEXT_MAX as u64 { TEXT_MAX as u64 } else { bound };
    let wanted = if left > bound { bound } else { left };
    let (len, why) = walk(bytes.cast(), segments, (count, begun, wanted), zero);
    let whole = if left > wanted { content_state::CUT } else { content_state::WHOLE };
    Gathered { len, state: if len >= wanted { whole } else { why } }
}

/// Copies pieces until all that is wanted is there; how many bytes are, and why it ended if they are fewer.
#[inline(always)]
fn walk(
    bytes: *mut u8,
    segments: *const Segment,
    (count, begun, wanted): (u64, u64, u64),
    zero: u64,
) -> (u64, u64) {
    let (mut at, mut filled, mut skip) = (0, zero, begun);
    while filled < wanted {
        if at >= content::SEGMENTS_MAX as u64 {
            return (filled, content_state::SEGMENTS);
        }
        if at >= count {
            return (filled, content_state::UNREAD);
        }
        // SAFETY: `at` is below the number of segments in the room.
        let (base, len) = unsafe {
            let segment = segments.add(at as usize);
            (
                core::ptr::read_volatile(&raw const (*segment).base),
                core::ptr::read_volatile(&raw const (*segment).len),
            )
        };
        at = global::written(at + 1);
        let len = if len > skip { len - skip } else { 0 };
        let base = base + skip;
        skip = 0;
        let rest = wanted - filled;
        let len = if len > rest { rest } else { len };
        if len == 0 {
            continue;
        }
        if user(bytes, filled, len, base).is_err() {
            return (filled, content_state::UNREAD);
        }
        filled = (filled + len) ^ zero;
    }
    (filled, content_state::WHOLE)
}

/// Copies at most [`TEXT_MAX`] bytes of user memory behind those that are there.
#[inline(always)]
fn user(bytes: *mut u8, filled: u64, len: u64, base: u64) -> Result<(), Skip> {
    let to = global::written(filled) as usize & (TEXT_MAX - 1);
    let len = global::written(len);
    if len > TEXT_MAX as u64 {
        return Err(Skip::Read);
    }
    // SAFETY: there is room for two times `TEXT_MAX`, which the verifier checks; a bad user address is an error, not
    // a fault.
    let failed =
        unsafe { helper::bpf_probe_read_user(bytes.add(to).cast(), len as u32, base as *const _) };
    if failed == 0 { Ok(()) } else { Err(Skip::Read) }
}

/// A member of the iterator.
#[inline(always)]
fn member<T: Copy>(iterator: *const [u8; content::ITERATOR_LEN], at: usize) -> T {
    let last = content::ITERATOR_LEN - size_of::<T>();
    let at = if at > last { last } else { at };
    // SAFETY: the member lies within the iterator, aligned as the kernel has it.
    unsafe { core::ptr::read_volatile(iterator.cast::<u8>().add(at).cast::<T>()) }
}
