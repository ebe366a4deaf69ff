//! What is wrong with a configuration file, in words that name the table, the key and what is known.

use std::path::PathBuf;

use crate::policy::KEPT;

/// Why a configuration file says nothing that could be followed.
#[derive(Debug, thiserror::Error)]
pub enum SettingError {
    /// The file is not UTF-8.
    #[error(transparent)]
    Utf8(#[from] std::string::FromUtf8Error),
    /// It is no TOML, or has a key that is not known.
    #[error("{}", on_one_line(.0))]
    Toml(#[from] toml::de::Error),
    /// Something in a table.
    #[error("[{table}] {why}")]
    Table { table: String, why: Box<SettingError> },
    /// Something at a key.
    #[error("{key}: {why}")]
    Key { key: String, why: Box<SettingError> },
    /// A number out of its range.
    #[error("{key} = {value} is not from {least} to {most}")]
    Range {
        key: String,
        /// The number, as it was given.
        value: usize,
        /// The least that may be.
        least: usize,
        /// The most that may be.
        most: usize,
    },
    /// A name that is none of those that can stand there.
    #[error("{name:?} is none of {}", known.join(", "))]
    Unknown {
        /// The name, as it was given.
        name: String,
        /// Names that can stand there.
        known: Vec<&'static str>,
    },
    /// A name that no hook has.
    #[error("{name:?} is no hook")]
    Hook {
        /// The name, as it was given.
        name: String,
    },
    /// A name that no errno has.
    #[error("{name:?} is no errno")]
    Errno {
        /// The name, as it was given.
        name: String,
    },
    /// A name that no label can have.
    #[error("{name:?} is no name of a label: 1 to 32 of a-z, 0-9 and -")]
    LabelName {
        /// The name, as it was given.
        name: String,
    },
    /// More labels than numbers.
    #[error("[labels] {count} labels, at most {KEPT} are kept for the administrator")]
    TooManyLabels { count: usize },
    /// A scope that is none.
    #[error("scope = {text:?} is not \"system\", \"uid:N\" or \"cgroup:/PATH\"")]
    Scope {
        /// The text, as it was given.
        text: String,
    },
    /// An answer to errors that is none.
    #[error("{text:?} is not \"pass\", \"deny ERRNO\" or \"audit ERRNO\"")]
    Answer {
        /// The text, as it was given.
        text: String,
    },
    /// A digest that is none.
    #[error("sha256 = {text:?} is not 64 hexadecimal digits")]
    Digest {
        /// The text, as it was given.
        text: String,
    },
    /// A pin of every plugin.
    #[error("{key} pins one plugin: it stands in a table [plugin.NAME]")]
    PinOfAll {
        /// Name of the key.
        key: &'static str,
    },
    /// A path that does not begin at the root.
    #[error("{path:?} is not absolute")]
    Relative {
        /// The path, as it was given.
        path: PathBuf,
    },
}

impl SettingError {
    /// This error, with the table that it is in.
    pub(super) fn in_table(self, table: impl Into<String>) -> Self {
        SettingError::Table { table: table.into(), why: Box::new(self) }
    }

    /// This error, with the key that it is at.
    pub(super) fn at_key(self, key: impl Into<String>) -> Self {
        SettingError::Key { key: key.into(), why: Box::new(self) }
    }
}

/// A parser's error without the lines that it shows: where it is, and what.
fn on_one_line(error: &toml::de::Error) -> String {
    let text = error.to_string();
    let place = text.lines().next().unwrap_or_default();
    format!("{place}: {}", error.message())
}
