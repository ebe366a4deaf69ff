//! The bytes of a recording: its head, and blocks that say how long they are and what they must sum to.
//!
//! ```text
//! file:   | "KHOSTREC" | u32 format | u32 0 | block | block | …
//! block:  | u32 stored | u32 plain | u16 kind | u16 0 | u32 0 | u64 sequence | u64 first_boot_ns | u64 last_boot_ns
//!         | [u8; 16] sum | stored bytes |
//! ```
//! Little endian. `sum` is the start of the SHA-256 of the 40 bytes before it and of the stored bytes. The stored
//! bytes of [`ENTRIES`] are one zstd frame of `plain` bytes, which are entries (`entry.rs`); other kinds are skipped.

use std::io::Read;

use ruzstd::decoding::{FrameDecoder, StreamingDecoder};
use ruzstd::encoding::{CompressionLevel, compress_to_vec};
use sha2::{Digest, Sha256};

/// First bytes of a recording.
pub(super) const MAGIC: [u8; 8] = *b"KHOSTREC";
/// Format that is written, and the newest that is read.
pub(super) const FORMAT: u32 = 1;
/// Bytes before the first block.
pub(super) const FILE_HEAD: usize = 16;
/// Bytes of a block before its stored ones.
pub(super) const BLOCK_HEAD: usize = 56;
/// Kind of a block of entries.
pub(super) const ENTRIES: u16 = 1;
/// Bytes after which a block is ended. An entry that is longer is a block of its own.
pub(super) const PLAIN_AIM: usize = 1 << 20;
/// Most bytes of a block's entries: what a reader refuses to believe beyond. One call's input and output, each
/// bounded by the limits of plugins, fit in it.
pub(super) const PLAIN_MAX: usize = 64 << 20;
/// Most stored bytes of a block: what does not compress grows a little.
const STORED_MAX: usize = PLAIN_MAX + (1 << 20);
/// Bytes of the head that are summed.
const SUMMED: usize = 40;
/// Memory that decoding may take beside the plain bytes.
const WINDOW_MAX: u64 = 8 << 20;

/// What a block says of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct BlockHead {
    /// Length of its stored bytes.
    pub(super) stored: u32,
    /// Length of what they decode to.
    pub(super) plain: u32,
    /// Kind of what the block holds.
    pub(super) kind: u16,
    /// Number of the block, from 0 on.
    pub(super) sequence: u64,
    /// Times of its first and last entry, nanoseconds of `CLOCK_BOOTTIME`.
    pub(super) boot_ns: (u64, u64),
    /// Start of the SHA-256 that the block must have.
    pub(super) sum: [u8; 16],
}

/// The bytes before the first block.
pub(super) fn file_head() -> [u8; FILE_HEAD] {
    let mut head = [0; FILE_HEAD];
    put(&mut head, 0, &MAGIC);
    put(&mut head, 8, &FORMAT.to_le_bytes());
    head
}

/// Format of a file that starts with these bytes; `None` if it is no recording.
pub(super) fn format_of(head: &[u8; FILE_HEAD]) -> Option<u32> {
    head.starts_with(&MAGIC).then(|| u32::from_le_bytes(take(head, 8)))
}

/// A block of entries, compressed and summed.
pub(super) fn block(plain: &[u8], sequence: u64, boot_ns: (u64, u64)) -> Vec<u8> {
    let stored = compress_to_vec(plain, CompressionLevel::Fastest);
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    let mut head = [0; BLOCK_HEAD];
    put(&mut head, 0, &length(&stored).to_le_bytes());
    put(&mut head, 4, &length(plain).to_le_bytes());
    put(&mut head, 8, &ENTRIES.to_le_bytes());
    put(&mut head, 16, &sequence.to_le_bytes());
    put(&mut head, 24, &boot_ns.0.to_le_bytes());
    put(&mut head, 32, &boot_ns.1.to_le_bytes());
    let sum = sum(&head, &stored);
    put(&mut head, SUMMED, &sum);
    let mut block = Vec::with_capacity(BLOCK_HEAD + stored.len());
    block.extend_from_slice(&head);
    block.extend_from_slice(&stored);
    block
}

/// Gives a block another number.
pub(super) fn renumber(block: &mut [u8], sequence: u64) {
    put(block, 16, &sequence.to_le_bytes());
    let Some((head, stored)) = block.split_first_chunk::<BLOCK_HEAD>() else { return };
    let sum = sum(head, stored);
    put(block, SUMMED, &sum);
}

impl BlockHead {
    /// What the bytes before a block's stored ones say; `None` for lengths that no block has.
    pub(super) fn read(head: &[u8; BLOCK_HEAD]) -> Option<Self> {
        let read = Self {
            stored: u32::from_le_bytes(take(head, 0)),
            plain: u32::from_le_bytes(take(head, 4)),
            kind: u16::from_le_bytes(take(head, 8)),
            sequence: u64::from_le_bytes(take(head, 16)),
            boot_ns: (u64::from_le_bytes(take(head, 24)), u64::from_le_bytes(take(head, 32))),
            sum: take(head, SUMMED),
        };
        let fits = |length: u32, most| usize::try_from(length).is_ok_and(|length| length <= most);
        (fits(read.stored, STORED_MAX) && fits(read.plain, PLAIN_MAX)).then_some(read)
    }
}

/// What a block's head and stored bytes sum to.
pub(super) fn sum(head: &[u8; BLOCK_HEAD], stored: &[u8]) -> [u8; 16] {
    let summed = head.get(..SUMMED).unwrap_or_default();
    take(&Sha256::new().chain_update(summed).chain_update(stored).finalize(), 0)
}

/// The plain bytes of stored ones; `None` unless they decode to as many as the head says, with bounded memory.
pub(super) fn plain(head: &BlockHead, stored: &[u8]) -> Option<Vec<u8>> {
    let expected = usize::try_from(head.plain).ok()?;
    let mut decoder = FrameDecoder::new();
    decoder.set_max_window_size(WINDOW_MAX);
    let decoder = StreamingDecoder::new_with_decoder(stored, decoder).ok()?;
    let mut plain = Vec::new();
    // One more than it should be, so that a frame that goes on is found out and not decoded.
    decoder.take(u64::from(head.plain) + 1).read_to_end(&mut plain).ok()?;
    (plain.len() == expected).then_some(plain)
}

fn put(head: &mut [u8], at: usize, bytes: &[u8]) {
    head.iter_mut().skip(at).zip(bytes).for_each(|(to, from)| *to = *from);
}

/// Some bytes from a place on; zeros where there are none.
fn take<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut taken = [0; N];
    taken.iter_mut().zip(bytes.iter().skip(at)).for_each(|(to, from)| *to = *from);
    taken
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(block: &[u8]) -> (BlockHead, &[u8]) {
        let (head, stored) = block.split_first_chunk().unwrap();
        (BlockHead::read(head).unwrap(), stored)
    }

    #[test]
    fn a_block_is_what_was_put_into_it() {
        for plain in [Vec::new(), b"x".to_vec(), b"abcabc".repeat(100_000), vec![0; 3 << 20]] {
            let block = block(&plain, 7, (3, 9));
            let (head, stored) = parts(&block);
            assert_eq!((head.kind, head.sequence, head.boot_ns), (ENTRIES, 7, (3, 9)));
            assert_eq!(head.sum, sum(block.first_chunk().unwrap(), stored));
            assert_eq!(super::plain(&head, stored).unwrap(), plain);
        }
        let noise: Vec<u8> =
            (0..200_000u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        let block = block(&noise, 0, (0, 0));
        let (head, stored) = parts(&block);
        assert_eq!(super::plain(&head, stored).unwrap(), noise);
    }

    #[test]
    fn a_head_that_lies_is_not_believed() {
        let block = block(&[1; 1000], 0, (0, 0));
        let (head, stored) = parts(&block);
        for wrong in [0, 999, 1001, 4000] {
            assert_eq!(plain(&BlockHead { plain: wrong, ..head }, stored), None, "{wrong}");
        }
        assert_eq!(plain(&head, &stored[..stored.len() - 1]), None);
        let mut long: [u8; BLOCK_HEAD] = *block.first_chunk().unwrap();
        put(&mut long, 0, &u32::MAX.to_le_bytes());
        assert_eq!(BlockHead::read(&long), None);
    }
}
