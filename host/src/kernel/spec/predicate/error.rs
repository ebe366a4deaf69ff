//! Why a predicate is refused, with the part that is wrong and what to write instead.

use super::super::field_path::FieldError;
use crate::text::Escaped;

/// Why a predicate is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PredicateError {
    /// A number that some read as octal and some as decimal.
    #[error(
        "watch, column {column}: {number} starts with a zero; write {instead}",
        number = Escaped(.number)
    )]
    Zeros {
        /// Column in the watch, from 1.
        column: usize,
        number: String,
        /// Numbers that may be meant.
        instead: String,
    },
    /// A number that is not octal.
    #[error(
        "watch, column {column}: {number} is no octal number; write 0o and digits from 0 to 7",
        number = Escaped(.number)
    )]
    Octal {
        /// Column in the watch, from 1.
        column: usize,
        number: String,
    },
    /// A sign or a word that CEL does not have.
    #[error("watch, column {column}: {sign} {why}", sign = Escaped(.sign))]
    Sign {
        /// Column in the watch, from 1.
        column: usize,
        sign: String,
        /// Advice what to write instead.
        why: &'static str,
    },
    /// The text is no CEL.
    #[error("watch, column {column}: {message}", message = Escaped(.message))]
    Syntax {
        /// Column in the watch, from 1.
        column: usize,
        /// Message of the parser.
        message: String,
    },
    /// Brackets in brackets.
    #[error("predicate: brackets are nested more than 16 deep")]
    Nested,
    /// CEL that the kernel side has no test for.
    #[error("{part}: {why}", part = Escaped(.part))]
    Refused {
        /// The part of the text.
        part: String,
        /// Fault of the part, and what to write instead.
        why: &'static str,
    },
    /// A label that nobody has given a number.
    #[error("label(\"{name}\"): is known to no plugin and no table [labels]", name = Escaped(.name))]
    Label { name: String },
    /// A path that leads nowhere.
    #[error(transparent)]
    Field(#[from] FieldError),
    /// A test that does not apply to what the field is.
    #[error("{part}: {field} is {kind}; {why}", field = Escaped(.field), part = Escaped(.part))]
    Kind {
        /// The part of the text.
        part: String,
        /// Field that is tested.
        field: String,
        kind: &'static str,
        /// Tests that apply to the field.
        why: &'static str,
    },
    /// A number that the field can never have.
    #[error(
        "{part}: {number} is outside of what {field} can be, {low} to {high}",
        field = Escaped(.field),
        part = Escaped(.part)
    )]
    Range {
        /// The part of the text.
        part: String,
        /// Field that is tested.
        field: String,
        number: i128,
        /// Smallest value of the field.
        low: i128,
        /// Largest value of the field.
        high: i128,
    },
    /// A string that the field can never hold.
    #[error(
        "{part}: {field} holds at most {most} bytes, the string has {len}",
        field = Escaped(.field),
        part = Escaped(.part)
    )]
    Longer {
        /// The part of the text.
        part: String,
        /// Field that is tested.
        field: String,
        /// Bytes that are captured.
        most: usize,
        /// Bytes of the string.
        len: usize,
    },
    /// A string that the kernel side has no room for.
    #[error(
        "{part}: a string has at most 64 bytes, this one has {len}; test its start or its end",
        part = Escaped(.part)
    )]
    String {
        /// The part of the text.
        part: String,
        /// Bytes of the string.
        len: usize,
    },
    /// Too many tests.
    #[error(
        "predicate: takes {used} tests, at most 16 fit; write a run of numbers as a range, bits as a \
         mask, or split the watch in two"
    )]
    Atoms {
        /// Tests that it takes.
        used: usize,
    },
    /// Too many alternatives.
    #[error(
        "predicate: takes more than 16 alternatives once && is spread over ||; join fewer || lists \
         by &&, or split the watch in two"
    )]
    Terms,
    /// Too many strings.
    #[error(
        "predicate: compares with {used} strings, at most 8 fit; test a common start, or split the \
         watch in two"
    )]
    Strings {
        /// Strings that it takes.
        used: usize,
    },
}
