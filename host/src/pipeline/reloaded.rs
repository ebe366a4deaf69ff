//! Result of loading a plugin, as a value and in words.

use std::fmt::{self, Display, Formatter};

use crate::plugin::Swapped;

/// What became of a plugin that was to be loaded.
#[derive(Debug)]
pub(super) enum Reloaded {
    /// The version is the one that ran before, and runs on.
    Unchanged {
        /// Name of the plugin.
        name: String,
    },
    /// The version replaced the one before.
    TookOver {
        /// Name of the plugin.
        name: String,
        /// What it took over from, and how long that took.
        swapped: Swapped,
    },
    /// The plugin runs; none of its name ran before.
    Loaded {
        /// Name of the plugin.
        name: String,
    },
    /// The plugin runs no more: its file is gone from its folder.
    Unloaded {
        /// Name of the plugin.
        name: String,
    },
}

impl Display for Reloaded {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Reloaded::Unchanged { name } => write!(formatter, "{name}: runs already"),
            Reloaded::TookOver { name, swapped } => {
                let (from, pause) = (&swapped.from, swapped.pause.as_micros());
                write!(formatter, "{name}: took over from {from} in {pause} µs")
            }
            Reloaded::Loaded { name } => write!(formatter, "{name}: loaded"),
            Reloaded::Unloaded { name } => write!(formatter, "{name}: unloaded, its file is gone"),
        }
    }
}
