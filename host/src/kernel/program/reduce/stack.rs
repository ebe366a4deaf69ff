//! Known values in a function's frame, word by word.
//!
//! A compiler puts values that it has no register for into places of their own, which it reads and writes
//! by the frame pointer alone. Whatever has its address taken lies above those: from the lowest address
//! that was ever made of the frame pointer on, anything may be changed by whoever holds an address.

use std::rc::Rc;

use super::value::Value;

/// Bytes of a frame.
pub(super) const BYTES: i64 = 512;
/// Bytes of a word.
const WORD: i64 = 4;
/// Words of a frame.
pub(super) const WORDS: usize = (BYTES / WORD) as usize;

/// A word of a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Word {
    /// A word of which nothing is known.
    #[default]
    Any,
    Number(u32),
    /// The first half of an address.
    Low(Value),
    /// The second half of the address before it.
    High,
}

/// A function's frame. States of it are many and mostly alike: those that are share their words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stack {
    words: Rc<[Word; WORDS]>,
}

/// The word that an offset from the frame pointer lies in.
pub(super) fn word(offset: i64) -> Option<usize> {
    let from_bottom = offset.checked_add(BYTES)?;
    let word = usize::try_from(from_bottom.div_euclid(WORD)).ok()?;
    (word < WORDS).then_some(word)
}

/// The words that `size` bytes at an offset touch.
pub(super) fn words(offset: i64, size: usize) -> std::ops::Range<usize> {
    let last = offset.saturating_add(i64::try_from(size).unwrap_or(BYTES)).saturating_sub(1);
    let clamp = |offset: i64| word(offset.clamp(-BYTES, -1)).unwrap_or(0);
    if last < -BYTES || offset >= 0 { 0..0 } else { clamp(offset)..clamp(last) + 1 }
}

impl Stack {
    /// A frame of which nothing is known.
    pub(super) fn unknown() -> Self {
        Self { words: Rc::new([Word::Any; WORDS]) }
    }

    fn at(&self, word: usize) -> Word {
        self.words.get(word).copied().unwrap_or_default()
    }

    fn put(&mut self, at: usize, word: Word) {
        if self.words.get(at).is_some_and(|own| *own != word)
            && let Some(slot) = Rc::make_mut(&mut self.words).get_mut(at)
        {
            *slot = word;
        }
    }

    /// Value that is known of so many bytes at an offset of the frame.
    pub(super) fn load(&self, offset: i64, size: usize) -> Value {
        let Some(first) = word(offset) else { return Value::Any };
        let within = offset.rem_euclid(WORD);
        match (self.at(first), size) {
            (Word::Number(low), 8) if within == 0 => match self.at(first + 1) {
                Word::Number(high) => Value::Number(u64::from(low) | u64::from(high) << u32::BITS),
                _ => Value::Any,
            },
            (Word::Low(value), 8) if within == 0 && self.at(first + 1) == Word::High => value,
            (Word::Number(number), 1 | 2 | 4) => {
                let size = i64::try_from(size).unwrap_or(WORD);
                if within + size > WORD {
                    return Value::Any;
                }
                let mask = u64::MAX >> (64 - size * 8);
                Value::Number(u64::from(number) >> (within * 8) & mask)
            }
            _ => Value::Any,
        }
    }

    /// Notes a value that is written at an offset of the frame.
    pub(super) fn store(&mut self, offset: i64, size: usize, value: Value) {
        for word in words(offset, size) {
            self.put(word, Word::Any);
        }
        let Some(first) = word(offset) else { return };
        if offset.rem_euclid(WORD) != 0 {
            return;
        }
        match (value, size) {
            (Value::Number(number), 8) => {
                self.put(first, Word::Number(number as u32));
                self.put(first + 1, Word::Number((number >> u32::BITS) as u32));
            }
            (Value::Number(number), 4) => self.put(first, Word::Number(number as u32)),
            (Value::Globals(_) | Value::Frame(_), 8) => {
                self.put(first, Word::Low(value));
                self.put(first + 1, Word::High);
            }
            _ => {}
        }
    }

    /// Forgets what somebody who holds an address may have changed: all from `lowest` on.
    pub(super) fn forget_from(&mut self, lowest: i64) {
        for word in words(lowest, usize::try_from(BYTES).unwrap_or(0)) {
            self.put(word, Word::Any);
        }
    }

    /// Keeps what is known of both; whether that is less than before.
    pub(super) fn join(&mut self, other: &Self) -> bool {
        if Rc::ptr_eq(&self.words, &other.words) {
            return false;
        }
        let mut changed = false;
        for at in 0..WORDS {
            if self.at(at) != other.at(at) && self.at(at) != Word::Any {
                self.put(at, Word::Any);
                changed = true;
            }
        }
        changed
    }
}
