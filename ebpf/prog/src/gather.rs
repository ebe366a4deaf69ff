//! The first bytes of a message, gathered from the sender's memory into a room that the call lends.
//!
//! A program that does not sleep reads only what is resident: nobody's memory can hold it. Why:
//! docs/adr/0032-content-by-a-program-that-does-not-sleep.md.

use aya_ebpf::helpers::generated as helper;
use krsi_host_abi::spec::{TEXT_MAX, content, content_state};

use crate::capture::{self, Skip};
use crate::global;
use crate::map::SCRATCH_LEN;
use crate::spec::{self, Row};

/// Bits of `iov_iter.type` beside the type, before 5.14: the direction, and a flag of pages.
const DIRECTION: u32 = 3;

/// What the lent room is used as. The bytes have room for one more piece behind the last.
#[repr(C)]
pub struct Work {
    bytes: [u8; 2 * TEXT_MAX],
    /// Address of the `struct msghdr`.
    message: u64,
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
    /// State of the message: one of [`content_state`].
    pub state: u64,
}

/// Bits before the state in what [`krsi_gather`] answers.
const STATE_SHIFT: u32 = 16;

/// Gathers the first bytes of a message into a lent room; they stand at its start. `zero` is 0, which the verifier
/// does not know.
#[inline(always)]
pub fn gather(message: u64, room: *mut u8, zero: u64) -> Gathered {
    const { assert!(size_of::<Work>() <= SCRATCH_LEN) };
    let work = room.cast::<Work>();
    // The address goes through the room: a global function takes no kernel pointer for a number.
    // SAFETY: the room is longer than `Work`.
    unsafe { (&raw mut (*work).message).write_volatile(message) };
    let answer = u64::from(krsi_gather(work, zero));
    Gathered { len: answer & 0xffff, state: answer >> STATE_SHIFT }
}

/// Gathers: bytes, and the state above them. A global function, so that the kernel goes through it once.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn krsi_gather(work: *mut Work, zero: u64) -> u32 {
    let unread = content_state::UNREAD << STATE_SHIFT;
    if work.is_null() || spec::content_row() == 0 {
        return (unread ^ zero) as u32;
    }
    let (len, state) = all(Row::new(spec::content_row() as usize - 1), work, zero);
    ((len & 0xffff | state << STATE_SHIFT) ^ zero) as u32
}

/// Reads the iterator, then what it leads to.
#[inline(always)]
fn all(row: Row, work: *mut Work, zero: u64) -> (u64, u64) {
    // SAFETY: addresses within the room.
    let (bytes, iterator) = unsafe { (&raw mut (*work).bytes, &raw mut (*work).iterator) };
    // SAFETY: the same.
    let segments = unsafe { (&raw mut (*work).segments).cast::<Segment>() };
    // SAFETY: it was written before.
    let message = unsafe { (&raw const (*work).message).read_volatile() };
    let from = message + row.offset(content::ITERATOR) as u64;
    if capture::copy(from, iterator, content::ITERATOR_LEN as u16).is_err() {
        return (0, content_state::UNREAD);
    }
    let word = |at: usize| member::<u64>(iterator, row.offset(at));
    let left = word(content::LEFT);
    if left == 0 {
        return (0, content_state::EMPTY);
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
            return (0, content_state::UNREAD);
        }
    } else {
        return (0, content_state::KERNEL);
    }
    let bound = u64::from(row.bound());
    let bound = if bound > TEXT_MAX as u64 { TEXT_MAX as u64 } else { bound };
    let wanted = if left > bound { bound } else { left };
    let (len, why) = walk(bytes.cast(), segments, (count ^ zero, begun, wanted), zero);
    let whole = if left > wanted { content_state::CUT } else { content_state::WHOLE };
    (len, if len >= wanted { whole } else { why })
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
    // What the verifier does not know of, it need not go on with once for each way to here.
    let why = loop {
        if filled >= wanted {
            break content_state::WHOLE ^ zero;
        }
        if at >= content::SEGMENTS_MAX as u64 {
            break content_state::SEGMENTS ^ zero;
        }
        if at >= count {
            break content_state::UNREAD ^ zero;
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
        skip = zero;
        let rest = wanted - filled;
        let len = if len > rest { rest } else { len };
        if len == 0 {
            continue;
        }
        if user(bytes, filled, len, base).is_err() {
            break content_state::UNREAD ^ zero;
        }
        filled = (filled + len) ^ zero;
    };
    (filled, why)
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
