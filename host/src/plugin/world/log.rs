//! Lines that a plugin logs: cut, made visible, limited in rate, and its last words kept.

use std::time::{Duration, Instant};

use super::super::limit::Limits;
use crate::record::TapedLine;
use crate::text::{Escaped, cut};

/// Bytes of lines that are kept of one call.
const KEPT_MAX: usize = 64 << 10;

/// Severity of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    Error,
    Warn,
    Info,
    Debug,
}

/// What a plugin logged during a call, before any limit of time: the same calls log the same again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct KeptLog {
    /// Lines that were kept, the oldest first.
    pub(crate) lines: Vec<TapedLine>,
    /// Lines beyond those that are kept.
    pub(crate) more: u64,
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
    /// Lines of the call that runs, if somebody asked for them.
    kept: Option<KeptLog>,
    kept_bytes: usize,
}

impl Log {
    pub(super) fn new(plugin: String, limits: Limits) -> Self {
        Self {
            plugin,
            limits,
            second: Instant::now(),
            bytes: 0,
            dropped: 0,
            last_words: None,
            kept: None,
            kept_bytes: 0,
        }
    }

    /// Lines since the last time that it was asked; from the first time on they are kept.
    pub(super) fn take(&mut self) -> KeptLog {
        self.kept_bytes = 0;
        self.kept.replace(KeptLog::default()).unwrap_or_default()
    }

    fn keep(&mut self, level: Level, text: &str) {
        let Some(kept) = &mut self.kept else { return };
        if self.kept_bytes + text.len() > KEPT_MAX {
            kept.more += 1;
            return;
        }
        self.kept_bytes += text.len() + 1;
        kept.lines.push(TapedLine { level: level as u8, text: text.to_owned() });
    }

    pub(super) fn write(&mut self, level: Level, text: &str) {
        let text = cut(text, self.limits.log_line_bytes);
        if level == Level::Error {
            self.last_words = Some(text.to_owned());
        }
        self.keep(level, text);
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

    #[test]
    fn lines_are_kept_for_whoever_asks_whatever_the_rate_says() {
        let limits =
            Limits { log_bytes_per_second: 8, log_line_bytes: KEPT_MAX, ..Limits::default() };
        let mut log = Log::new("a".into(), limits);
        log.write(Level::Info, "before");
        assert_eq!(log.take(), KeptLog::default());
        (0..3).for_each(|at| log.write(Level::Warn, &format!("line {at}")));
        let kept = log.take();
        assert_eq!(kept.lines[2], TapedLine { level: 1, text: "line 2".into() });
        assert_eq!((kept.lines.len(), kept.more, log.take()), (3, 0, KeptLog::default()));
        let long = "x".repeat(KEPT_MAX / 2);
        (0..3).for_each(|_| log.write(Level::Info, &long));
        assert_eq!((log.take().more, log.dropped), (2, 6));
    }
}
