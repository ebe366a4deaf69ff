//! What a replay tells, and how it reads: one line each, for people or as JSON.

use std::fmt;

use serde::Serialize;

use crate::record::{Head, TapeCause};
use crate::text::{Escaped, Quoted};

/// Something that a replay tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Told {
    /// Nanoseconds since the start of the recording, on its own clock; 0 for what is not of a time.
    pub(crate) after_ns: u64,
    /// Name of the plugin, or empty.
    pub(crate) plugin: String,
    /// Kind of the message, with its values.
    #[serde(flatten)]
    pub(crate) what: What,
}

/// Severity of a line in a plugin's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogLevel {
    /// Severity of what is broken.
    Error,
    /// Severity of what is odd.
    Warn,
    /// Severity of what is worth knowing.
    Info,
    /// For whoever looks for a fault.
    Debug,
}

impl LogLevel {
    pub(super) const fn of(level: u8) -> Self {
        match level {
            0 => LogLevel::Error,
            1 => LogLevel::Warn,
            2 => LogLevel::Info,
            _ => LogLevel::Debug,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            LogLevel::Error => "error",
            LogLevel::Warn => "warning",
            LogLevel::Info => "information",
            LogLevel::Debug => "debug",
        }
    }
}

/// What only one of two plugins does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum OnlyKind {
    /// The plugin wants something.
    Wants,
    /// A host would not do something that it wants.
    NotDone,
    /// The plugin fails, and is not called any more.
    Failed,
    /// Rules of the plugin would have refused a call.
    Refuses,
}

impl OnlyKind {
    const fn words(self) -> &'static str {
        match self {
            OnlyKind::Wants => "wants to",
            OnlyKind::NotDone => "is not answered as it would like:",
            OnlyKind::Failed => "failed:",
            OnlyKind::Refuses => "would refuse",
        }
    }
}

/// A piece of evidence about a process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Piece {
    /// Observation, in the plugin's words.
    pub(crate) what: String,
    /// Weight of the evidence, in the plugin's own measure.
    pub(crate) weight: u32,
}

/// How often a plugin did what its tape says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Score {
    /// Calls that were made.
    pub(crate) calls: u64,
    /// Actions that it wanted.
    pub(crate) actions: u64,
    /// Calls that did what the tape says.
    pub(crate) same: u64,
    /// Calls that did something else.
    pub(crate) different: u64,
    /// Calls that were not made or not compared.
    pub(crate) unplayed: u64,
    /// Calls of the stream that its rules would have refused.
    pub(crate) refused: u64,
}

/// What a replay tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "what", rename_all = "kebab-case")]
pub(crate) enum What {
    /// Machine, boot and hooks that the recording is of.
    Recording {
        /// Head of the recording.
        #[serde(serialize_with = "of_head")]
        head: Head,
    },
    /// The first call of a tape follows.
    Begins {
        /// Version that is played.
        version: String,
        /// Version that was recorded.
        recorded: String,
        /// Why the tape begins.
        #[serde(serialize_with = "of_cause")]
        cause: TapeCause,
        /// Whether it is the very file that was recorded.
        exact: bool,
    },
    /// A tape whose plugin was not given.
    LeftOut {
        /// Version that was recorded.
        version: String,
    },
    /// A tape that is not played, as tapes before it had other limits, too many sets of them.
    TooManyLimits {
        /// Version that was recorded.
        version: String,
    },
    /// A plugin that was given has no tape.
    WithoutTape,
    /// Ticks were due between two events and were not given, as there were too many.
    TicksLeftOut {
        /// Ticks that were not given.
        ticks: u64,
    },
    /// The plugin wants something.
    Action {
        /// The action in words.
        text: String,
    },
    /// A host would not do what it wants.
    NotDone {
        /// Why a host would not do it.
        text: String,
    },
    /// A call that happened, and that its rules would have refused: what follows might not have happened.
    WouldRefuse {
        /// Name of the hook.
        hook: &'static str,
        /// Id of the process that called.
        tgid: u32,
        /// Errno of the answer.
        errno: u16,
    },
    /// A plugin that is played on the stream.
    OnStream {
        /// Version of the plugin.
        version: String,
        /// What it asks for and the recording does not have.
        lacks: Vec<String>,
    },
    /// One of two plugins does something that the other does not.
    Only {
        /// The plugin that does it: `old` or `new`.
        who: &'static str,
        /// Whether it is something that it wants, that a host would not do, or that it fails with.
        kind: OnlyKind,
        /// The difference, in words.
        text: String,
    },
    /// The plugin logs something.
    Log {
        /// Severity of the line.
        level: LogLevel,
        /// Words of the line.
        text: String,
    },
    /// The plugin refuses its configuration or a state.
    Refused {
        /// Words of the plugin.
        text: String,
    },
    /// A call of the plugin fails.
    Failed {
        /// Error of the call, in words.
        text: String,
    },
    /// A call does not do what the tape says.
    Differs {
        /// Number of the call on its tape.
        call: u64,
        /// Which function was called.
        act: &'static str,
        /// Differences from the tape, one on each line.
        lines: Vec<String>,
    },
    /// No more calls of this tape are made.
    Ends {
        /// Number of the first call that is not made, or not compared.
        call: u64,
        /// Why the tape ends there.
        why: String,
    },
    /// Entries did not reach the recording.
    Gap {
        /// Entries that are missing.
        entries: u64,
    },
    /// The recording was ended.
    Closed {
        /// Why the recording ends.
        why: String,
    },
    /// Why there was an alert about a process, or none.
    Explained {
        /// Id of the process.
        tgid: u32,
        /// Executable of the process; empty when it was not described.
        exe: String,
        /// Evidence that the plugin noted about the process.
        pieces: Vec<Piece>,
        /// Sum of their weights.
        sum: u64,
        /// Sum at which the plugin raises an alert; 0 when it has none.
        threshold: u32,
        /// Alerts about the process.
        alerts: u64,
    },
    /// Evidence and alerts that are not explained, as they are about too many processes.
    NotExplained {
        /// Pieces of evidence and alerts.
        notes: u64,
    },
    /// Counts of a plugin's calls, by whether they did what its tape says.
    Score {
        /// Counts of calls and actions.
        #[serde(flatten)]
        score: Score,
    },
    /// The recording is not whole.
    Damaged {
        /// Where the recording is damaged, and how.
        damage: String,
    },
}

fn of_head<S: serde::Serializer>(head: &Head, out: S) -> Result<S::Ok, S::Error> {
    out.collect_str(&Started(head))
}

fn of_cause<S: serde::Serializer>(cause: &TapeCause, out: S) -> Result<S::Ok, S::Error> {
    out.serialize_str(cause_words(*cause))
}

const fn cause_words(cause: TapeCause) -> &'static str {
    match cause {
        TapeCause::Started => "starts",
        TapeCause::Restarted => "starts again after a failure",
        TapeCause::TookOver => "takes over",
        TapeCause::Joined => "ran already when the recording began",
        TapeCause::Other => "begins",
    }
}

/// The head of a recording in words.
struct Started<'h>(&'h Head);

impl fmt::Display for Started<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Head { krsi_host, kernel, boot_ns, unix_offset_ns, hooks, redacted, .. } = self.0;
        let unix_ns = i64::try_from(*boot_ns).unwrap_or(0).saturating_add(*unix_offset_ns);
        let since = std::time::Duration::from_nanos(u64::try_from(unix_ns).unwrap_or(0));
        let time = humantime::format_rfc3339_seconds(std::time::UNIX_EPOCH + since);
        write!(f, "recorded by krsi-host {} on {}", Quoted(krsi_host), Quoted(kernel))?;
        write!(f, " from {time} on")?;
        if !hooks.is_empty() {
            write!(f, ", hooks {}", Escaped(&hooks.join(", ")))?;
        }
        if *redacted {
            write!(f, "; names and texts are tokens, so nothing can be held against the tapes")?;
        }
        Ok(())
    }
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { after_ns, plugin, what } = self;
        if *after_ns > 0 {
            write!(f, "+{}.{:09} ", after_ns / 1_000_000_000, after_ns % 1_000_000_000)?;
        }
        if !plugin.is_empty() {
            write!(f, "{}: ", Quoted(plugin))?;
        }
        what.fmt(f)
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            What::Recording { head } => Started(head).fmt(f),
            What::Begins { version, recorded, cause, exact } => {
                write!(f, "{} {}", Quoted(version), cause_words(*cause))?;
                begins(*exact, recorded, f)
            }
            What::LeftOut { version } => {
                write!(f, "{} was recorded, and is not played: give its --plugin", Quoted(version))
            }
            What::OnStream { version, lacks } => on_stream(version, lacks, f),
            What::Action { text } => Escaped(text).fmt(f),
            What::NotDone { text } => write!(f, "not done: {}", Escaped(text)),
            What::WouldRefuse { hook, tgid, errno } => {
                write!(
                    f,
                    "{hook} of process {tgid} would be refused with errno {errno}; it was not"
                )
            }
            What::Only { who, kind, text } => {
                write!(f, "only the {who} one {} {}", kind.words(), Escaped(text))
            }
            What::TooManyLimits { version } => {
                let version = Quoted(version);
                write!(f, "{version} was recorded, and is not played: too many sets of limits")
            }
            What::WithoutTape => f.write_str("the recording has no tape of it"),
            What::TicksLeftOut { ticks } => {
                write!(f, "{ticks} ticks were due and are left out: nothing happened for too long")
            }
            What::Log { level, text } => write!(f, "logs ({}): {}", level.name(), Escaped(text)),
            What::Refused { text } => write!(f, "refuses: {}", Escaped(text)),
            What::Failed { text } => write!(f, "failed: {}", Escaped(text)),
            What::Differs { call, act, lines } => {
                write!(f, "call {call} ({act}) differs: {}", Escaped(&lines.join("; ")))
            }
            What::Ends { call, why } => {
                write!(f, "its tape is played up to call {call}: {}", Escaped(why))
            }
            What::Gap { entries } => {
                write!(f, "{entries} entries are missing here: the recorder was too slow")
            }
            What::Closed { why } => write!(f, "the recording ends: {}", Escaped(why)),
            What::Explained { tgid, exe, pieces, sum, threshold, alerts } => {
                explained((*tgid, exe), pieces, (*sum, u64::from(*threshold)), *alerts, f)
            }
            What::NotExplained { notes } => {
                write!(
                    f,
                    "{notes} pieces of evidence and alerts are not explained: too many processes"
                )
            }
            What::Score { score } => score.fmt(f),
            What::Damaged { damage } => f.write_str(damage),
        }
    }
}

fn begins(exact: bool, recorded: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    if exact {
        return f.write_str(", the file that was recorded");
    }
    let recorded = Quoted(recorded);
    write!(
        f,
        ", another file than was recorded ({recorded}): its answers are those that the recorded one got"
    )
}

fn on_stream(version: &str, lacks: &[String], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(f, "{} is played on the stream", Quoted(version))?;
    if !lacks.is_empty() {
        write!(f, ", which does not have what it asks for: {}", Escaped(&lacks.join(", ")))?;
    }
    Ok(())
}

fn explained(
    (tgid, exe): (u32, &str),
    pieces: &[Piece],
    (sum, threshold): (u64, u64),
    alerts: u64,
    f: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    match alerts {
        0 => f.write_str("no alert")?,
        1 => f.write_str("1 alert")?,
        alerts => write!(f, "{alerts} alerts")?,
    }
    write!(f, " about process {tgid}")?;
    if !exe.is_empty() {
        write!(f, " {}", Quoted(exe))?;
    }
    for (at, Piece { what, weight }) in pieces.iter().enumerate() {
        write!(f, "{} {} ({weight})", if at == 0 { ":" } else { "," }, Quoted(what))?;
    }
    if pieces.is_empty() {
        return f.write_str(": the plugin noted no evidence");
    }
    write!(f, ": {sum}")?;
    if threshold > 0 {
        write!(f, " of {threshold}")?;
    }
    let missing = threshold.saturating_sub(sum);
    if alerts == 0 && missing > 0 {
        write!(f, ", {missing} are missing")?;
    }
    Ok(())
}

impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { calls, actions, same, different, unplayed, refused } = self;
        write!(f, "{calls} calls, {actions} actions")?;
        if same + different > 0 {
            write!(f, ": {same} calls as on the tape")?;
        }
        if *different > 0 {
            write!(f, ", {different} not")?;
        }
        if *refused > 0 {
            write!(f, ", {refused} calls would be refused")?;
        }
        if *unplayed > 0 {
            write!(f, ", {unplayed} not played")?;
        }
        Ok(())
    }
}
