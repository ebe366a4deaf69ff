//! A record as it lies on a ring: its header, read once, and the bytes that belong to its hook.

use krsi_host_abi::record::{COMM_LEN, Header};
use zerocopy::FromBytes;

/// A record that is too short for a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("record of {len} bytes is cut off")]
pub struct CutRecord {
    /// Bytes of the record.
    pub len: usize,
}

/// A record whose header was read, and nothing else. What the header claims is not checked yet.
#[derive(Clone, Copy, Debug)]
pub struct RawRecord<'a> {
    pub header: Header,
    /// The header's `comm`, where it lies in the record: the header is a copy, and a name that is
    /// to live as long as the record cannot be borrowed from it.
    pub comm: &'a [u8],
    /// Body and tail of the record.
    pub payload: &'a [u8],
}

const COMM_AT: usize = std::mem::offset_of!(Header, comm);

impl<'a> RawRecord<'a> {
    /// Reads a record's header.
    ///
    /// # Errors
    /// When there are fewer bytes than a header has.
    pub fn parse(record: &'a [u8]) -> Result<Self, CutRecord> {
        let cut = CutRecord { len: record.len() };
        let (header, payload) = Header::read_from_prefix(record).map_err(|_| cut)?;
        let comm = record.get(COMM_AT..COMM_AT + COMM_LEN).ok_or(cut)?;
        Ok(Self { header, comm, payload })
    }

    /// Size of the record, bytes.
    #[must_use]
    pub const fn size(&self) -> usize {
        size_of::<Header>() + self.payload.len()
    }
}
