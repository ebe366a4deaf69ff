//! The wiring of stages, threads and queues: the only room that names all stages.
//!
//! ```text
//! reader thread:  rings → decode → enrich → route → queues          (owns rings and views)
//! plugin threads: queue → guest → actions → policy → maps           (one each)
//! steward thread: plugins and hooks come and go                     (one command at a time)
//! survey threads: /proc → queues                                     (one for each plugin that starts, then gone)
//! sample threads: /proc → queues                                     (one for each plugin with open asks)
//! output thread:  reports → standard output                         (waits for nobody else)
//! main thread:    signals, watched files, control, expiry           (tokio)
//! ```

mod arrivals;
mod ask;
pub(crate) mod bench;
mod bounds;
mod census;
mod clock;
mod error;
mod grant_cell;
mod hand_over;
mod hook_counts;
mod loss_monitor;
mod mailbox;
mod on_error;
mod outlet;
mod plugin_status;
mod prepare;
mod reader;
mod ready;
mod recording;
mod regrant;
mod reloaded;
mod report;
mod reports;
mod roster;
mod sampler;
mod serve;
mod shared;
mod sink;
mod start;
mod steward;
mod summary;
mod survey;
mod unserved;
mod unused_tables;
mod version;

pub(crate) use self::ask::asked;
pub(crate) use self::error::{ReloadError, RunError};

use crate::config::Config;

/// Runs plugins until a signal.
///
/// # Errors
/// When the machine, the configuration or a plugin does not allow it.
pub(crate) fn run(config: Config) -> Result<(), RunError> {
    let running = start::start(config.clone())?;
    serve::serve(running, &config)
}
