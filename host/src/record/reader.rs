//! A recording, read entry by entry: everything before what is torn or damaged, and where that is.
//!
//! Whoever made the file is not trusted: every length is bounded before anything is allocated for it.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::block::{self, BLOCK_HEAD, BlockHead, ENTRIES, FILE_HEAD, FORMAT};
use super::entry::RecordEntry;
use crate::regular;

/// Why a file is no recording.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecordingError {
    /// The file cannot be read.
    #[error("{}: cannot be read", file.display())]
    Read {
        /// Path of the file.
        file: PathBuf,
        /// Error that the kernel returned.
        #[source]
        source: io::Error,
    },
    /// The file does not start as recordings do.
    #[error("{}: is no recording of krsi-host", file.display())]
    Foreign {
        /// Path of the file.
        file: PathBuf,
    },
    /// It was written by a later version in another format.
    #[error("{}: is of format {format}, this krsi-host reads {FORMAT}", file.display())]
    Format {
        /// Path of the file.
        file: PathBuf,
        /// Format that the file says.
        format: u32,
    },
}

/// Where a recording ends before it should. What comes before is whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Damage {
    /// The file ends within a block.
    #[error("the file is torn: it ends within the block at byte {at}")]
    Torn {
        /// Where the block starts.
        at: u64,
    },
    /// A block is not what it says that it is.
    #[error("the block at byte {at} is damaged, and what follows it was not read")]
    Block {
        /// Byte at which the block starts.
        at: u64,
    },
    /// The file ends without saying why.
    #[error(
        "the recording breaks off at byte {at}: the host or the machine stopped before it was ended"
    )]
    Unended {
        /// Where the file ends.
        at: u64,
    },
    /// Blocks are missing between two others.
    #[error("{blocks} blocks are missing before byte {at}")]
    Missing {
        /// Offset of the next block, bytes.
        at: u64,
        /// Number of blocks that are missing.
        blocks: u64,
    },
}

/// A recording that is read from its start.
#[derive(Debug)]
pub(crate) struct RecordingReader {
    source: io::BufReader<File>,
    file: PathBuf,
    at: u64,
    length: u64,
    sequence: u64,
    /// The entries of the block that is being read, and how far.
    plain: Vec<u8>,
    read: usize,
    damage: Option<Damage>,
    /// Whether it says that it ends here.
    is_ended: bool,
}

impl RecordingReader {
    /// Opens a recording at its start.
    ///
    /// # Errors
    /// When it cannot be read, or is none.
    pub(crate) fn open(file: &Path) -> Result<Self, RecordingError> {
        let failed = |source| RecordingError::Read { file: file.to_owned(), source };
        let opened = regular::open(file).map_err(failed)?;
        let length = opened.metadata().map_err(failed)?.len();
        let mut source = io::BufReader::new(opened);
        let mut head = [0; FILE_HEAD];
        source.read_exact(&mut head).map_err(|source| match source.kind() {
            io::ErrorKind::UnexpectedEof => RecordingError::Foreign { file: file.to_owned() },
            _ => failed(source),
        })?;
        match block::format_of(&head) {
            None => Err(RecordingError::Foreign { file: file.to_owned() }),
            Some(FORMAT) => Ok(Self {
                source,
                file: file.to_owned(),
                at: FILE_HEAD as u64,
                length,
                sequence: 0,
                plain: Vec::new(),
                read: 0,
                damage: None,
                is_ended: false,
            }),
            Some(format) => Err(RecordingError::Format { file: file.to_owned(), format }),
        }
    }

    /// The next entry; `None` at the end, or at [`RecordingReader::damage`].
    ///
    /// # Errors
    /// When the file cannot be read on.
    pub(crate) fn entry(&mut self) -> Result<Option<RecordEntry<'_>>, RecordingError> {
        while self.read >= self.plain.len() {
            if self.damage.is_some_and(|damage| !matches!(damage, Damage::Missing { .. }))
                || !self.block()?
            {
                return Ok(None);
            }
        }
        let rest = self.plain.get(self.read..).unwrap_or_default();
        match RecordEntry::take(rest) {
            Ok((entry, after)) => {
                self.read = self.plain.len() - after.len();
                self.is_ended |= matches!(entry, RecordEntry::Closing(_));
                Ok(Some(entry))
            }
            Err(_) => {
                // The block summed up: it was written like that, and nothing of it can be believed.
                self.damage = Some(Damage::Block { at: self.at });
                self.read = usize::MAX;
                Ok(None)
            }
        }
    }

    /// Where the recording ends before it should, once its end is reached; or that something is missing in it.
    #[must_use]
    pub(crate) const fn damage(&self) -> Option<Damage> {
        self.damage
    }

    /// Bytes that were read, and length of the file.
    #[must_use]
    pub(crate) const fn progress(&self) -> (u64, u64) {
        (self.at, self.length)
    }

    /// Reads the next block that is known; whether there is one.
    fn block(&mut self) -> Result<bool, RecordingError> {
        let at = self.at;
        let mut head = [0; BLOCK_HEAD];
        match self.fill(&mut head)? {
            0 => {
                // What is missing before is told rather than that the end is.
                let unended = (!self.is_ended).then_some(Damage::Unended { at });
                self.damage = self.damage.or(unended);
                return Ok(false);
            }
            BLOCK_HEAD => {}
            _ => return Ok(self.end(Damage::Torn { at })),
        }
        let Some(read) = BlockHead::read(&head) else {
            return Ok(self.end(Damage::Block { at }));
        };
        let stored = self.stored(read.stored)?;
        if (stored.len() as u64) < u64::from(read.stored) {
            return Ok(self.end(Damage::Torn { at }));
        }
        if block::sum(&head, &stored) != read.sum {
            return Ok(self.end(Damage::Block { at }));
        }
        self.at = at + (BLOCK_HEAD + stored.len()) as u64;
        if read.sequence != self.sequence {
            let blocks = read.sequence.saturating_sub(self.sequence);
            self.damage = Some(Damage::Missing { at, blocks });
        }
        self.sequence = read.sequence.saturating_add(1);
        (self.plain, self.read) = (Vec::new(), 0);
        if read.kind == ENTRIES {
            match block::plain(&read, &stored) {
                Some(plain) => self.plain = plain,
                None => return Ok(self.end(Damage::Block { at })),
            }
        }
        Ok(true)
    }

    fn end(&mut self, damage: Damage) -> bool {
        self.damage = Some(damage);
        false
    }

    /// Fills as much as the file has.
    fn fill(&mut self, to: &mut [u8]) -> Result<usize, RecordingError> {
        let mut filled = 0;
        while let Some(room) = to.get_mut(filled..).filter(|room| !room.is_empty()) {
            match self.source.read(room) {
                Ok(0) => break,
                Ok(more) => filled += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => {
                    return Err(RecordingError::Read { file: self.file.clone(), source });
                }
            }
        }
        Ok(filled)
    }

    /// As many bytes as the file has of so many: a length that lies takes no memory.
    fn stored(&mut self, length: u32) -> Result<Vec<u8>, RecordingError> {
        let mut stored = Vec::new();
        let mut most = self.source.by_ref().take(u64::from(length));
        most.read_to_end(&mut stored)
            .map_err(|source| RecordingError::Read { file: self.file.clone(), source })?;
        Ok(stored)
    }
}
