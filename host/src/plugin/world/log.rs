//! Lines that a plugin logs: cut, made visible, limited in rate, and its last words kept.

use std::time::{Duration, Instant};

use super::super::limit::Limits;
use crate::text::{Escaped, cut};

/// Severity of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    Error,
    Warn,
    Info,
    Debug,
}

/// The log of one plugin.
#[derive(Debug)]
pub(super) struct Log {
    pub(super) plugin: String,
    limits: Limits,
    second: Instant,
    bytes: usize,
    pub(super) dropped: u64,
    /// The last error: what a panic says before its trap.
    pub(super) last_words: Option<String>,
}

impl Log {
    pub(super) fn new(plugin: String, limits: Limits) -> Self {
        Self { plugin, limits, second: Instant::now(), bytes: 0, dropped: 0, last_words: None }
    }

    pub(super) fn write(&mut self, level: Level, text: &str) {
        let text = cut(text, self.limits.log_line_bytes);
        if level == Level::Error {
            self.last_words = Some(text.to_owned());
        }
        if self.second.elapsed() >= Duration::from_secs(1) {
            (self.second, self.bytes) = (Instant::now(), 0);
        }
        // An empty line costs the host one too.
        self.bytes = self.bytes.saturating_add(text.len() + 1);
        if self.bytes > self.limits.log_bytes_per_second as usize {
            self.dropped += 1;
            return;
        }
        let (plugin, text) = (&self.plugin, Escaped(text));
        match level {
            Level::Error => tracing::error!(%plugin, "{text}"),
            Level::Warn => tracing::warn!(%plugin, "{text}"),
            Level::Info => tracing::info!(%plugin, "{text}"),
            Level::Debug => tracing::debug!(%plugin, "{text}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_counted_and_its_last_error_kept() {
        let limits = Limits { log_bytes_per_second: 14, ..Limits::default() };
        let mut log = Log::new("a".into(), limits);
        (0..5).for_each(|at| log.write(Level::Error, &format!("line {at}")));
        assert_eq!(log.dropped, 3);
        assert_eq!(log.last_words.as_deref(), Some("line 4"));
    }
}
