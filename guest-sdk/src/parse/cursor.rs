//! Bytes that are read from the front, of a message that may go on behind their end.

/// What is left of a part of a message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    /// Bytes of the part behind the end of what was read.
    missing: usize,
}

/// Why there is no more to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// The part ends here: whoever wants more of it reads something else than it is.
    End,
    /// The message goes on, and was cut.
    Cut,
}

impl<'a> Cursor<'a> {
    /// A message of which nobody knows how long it is.
    pub(super) const fn of(bytes: &'a [u8]) -> Self {
        Self { bytes, missing: usize::MAX }
    }

    /// Whether the part is at its end.
    pub(super) const fn is_empty(&self) -> bool {
        self.bytes.is_empty() && self.missing == 0
    }

    /// Takes the next `len` bytes.
    pub(super) fn take(&mut self, len: usize) -> Result<&'a [u8], Stop> {
        match self.bytes.split_at_checked(len) {
            Some((taken, rest)) => {
                self.bytes = rest;
                Ok(taken)
            }
            None if len - self.bytes.len() <= self.missing => Err(Stop::Cut),
            None => Err(Stop::End),
        }
    }

    pub(super) fn byte(&mut self) -> Result<u8, Stop> {
        self.take(1)?.first().copied().ok_or(Stop::End)
    }

    /// The next number of two bytes, the higher one first.
    pub(super) fn short(&mut self) -> Result<u16, Stop> {
        let (high, low) = (self.byte()?, self.byte()?);
        Ok(u16::from_be_bytes([high, low]))
    }

    /// The next part, of so many bytes, as far as it is there.
    pub(super) fn part(&mut self, len: usize) -> Result<Cursor<'a>, Stop> {
        let missing = len.saturating_sub(self.bytes.len());
        if missing > self.missing {
            return Err(Stop::End);
        }
        let (part, rest) = self.bytes.split_at_checked(len).unwrap_or((self.bytes, &[]));
        self.bytes = rest;
        self.missing -= if self.missing == usize::MAX { 0 } else { missing };
        // What follows a cut part was cut too.
        Ok(Cursor { bytes: part, missing })
    }
}
