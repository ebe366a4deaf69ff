//! A recording → the same calls of the same plugins, made again: do they do the same?
//!
//! Nothing here asks the machine: no clock, no kernel, no order of a hash map. What is told is a function of the
//! recording and the plugins' files. Why: docs/adr/0027-recordings.md.

mod compare;
mod error;
mod explain;
mod play;
mod stream;
mod told;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use krsi_plugin_schema::latest::SCHEMA;

pub(crate) use self::compare::compare;
pub(crate) use self::error::ReplayError;
use self::explain::Explanation;
use self::play::Play;
use self::stream::Streaming;
pub(crate) use self::told::{Told, What};
use super::describe::DescribeError;
use crate::plugin::{Cache, CompileLimits, Compiler, Engine, Limits, PluginPre, Stepped};
use crate::record::{Damage, Head, Opened, RecordEntry, RecordingReader, Streamed};

/// Time that a call may take, whatever it had live: only one that never ends should meet it.
const CALL_DEADLINE: Duration = Duration::from_secs(60);

/// Instances that wait for their next call at a time: more than a host runs.
const LIVE_MAX: usize = 128;
/// Sets of limits that tapes may have, beside the default ones of each plugin: each is a compilation.
const LIMITS_MAX: usize = 32;

/// Counts of a replay: what was played, and with what result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Replayed {
    /// Tapes that were played.
    pub(crate) played: u64,
    /// Tapes whose plugin was not given.
    pub(crate) left_out: u64,
    /// Calls that were made.
    pub(crate) calls: u64,
    /// Calls that were made and did what the tape says.
    pub(crate) same: u64,
    /// Calls that did something else.
    pub(crate) different: u64,
    /// Calls that were not made, or could not be compared: after a gap, or decided by time or machine.
    pub(crate) unplayed: u64,
    /// Events of the stream that were played.
    pub(crate) records: u64,
    /// Whether a plugin asks for what the recording does not have.
    pub(crate) lacking: bool,
    /// Whether the recording itself is not whole: entries are missing in it, or its end.
    pub(crate) damaged: bool,
    /// Plugins that were given and that no tape is of.
    pub(crate) without_tape: u64,
}

/// What plugins are played on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum On {
    /// The tapes of their names: the same calls. Of a redacted recording the stream, as nothing can be held against
    /// its tapes.
    #[default]
    Tapes,
    /// The host's stream, whatever was recorded of whom.
    Stream,
}

/// Input of a replay: the recording and the plugins that are played.
#[derive(Clone, Debug)]
pub(crate) struct Replay {
    /// Path of the recording.
    pub(crate) file: PathBuf,
    /// Files of plugins, each with its configuration for the stream.
    pub(crate) plugins: Vec<(PathBuf, Vec<u8>)>,
    /// Part of the recording that the plugins are played on.
    pub(crate) on: On,
    /// Where code that was compiled before lies.
    pub(crate) cache: Option<PathBuf>,
    /// A krsi-host, whose child compiles.
    pub(crate) program: PathBuf,
    /// Whether it is told at the end why there was an alert about each process, or none.
    pub(crate) explain: bool,
}

/// Receiver of what a replay tells.
pub(crate) trait Follower {
    /// Is told what the replay came to next.
    ///
    /// # Errors
    /// When it cannot be passed on; the replay ends.
    fn write(&mut self, told: &Told) -> std::io::Result<()>;
    /// Learns that a call of a time, nanoseconds since the start of the recording, is made next.
    fn reach(&mut self, _after_ns: u64) {}
    /// Learns how much of the recording was read of how much, bytes.
    fn progress(&mut self, _read: (u64, u64)) {}
}

/// A plugin that was given, compiled once for each set of limits that tapes have.
struct GivenPlugin {
    file: PathBuf,
    config: Vec<u8>,
    compiled: Vec<(Limits, PluginPre)>,
    is_played: bool,
}

struct Player<'f> {
    compiler: Compiler,
    engines: Vec<(usize, Engine)>,
    /// Sets of limits that tapes asked for.
    limits: usize,
    given: BTreeMap<String, GivenPlugin>,
    /// Tapes that are played, by number.
    plays: BTreeMap<u32, Play>,
    /// Calls of tapes so far.
    calls: u64,
    /// Plugins on the stream, by name.
    streams: BTreeMap<String, Streaming>,
    on: On,
    follower: &'f mut dyn Follower,
    replayed: Replayed,
    /// Start of the recording.
    start_ns: u64,
    /// What plugins noted about processes, if that is asked for.
    explanation: Option<Explanation>,
}

/// Plays a recording from its start to its end.
///
/// # Errors
/// When it is none, or a plugin cannot be run at all.
pub(crate) fn replay(
    replay: &Replay,
    follower: &mut dyn Follower,
) -> Result<Replayed, ReplayError> {
    let cache = replay.cache.as_deref().map(Cache::open).transpose()?;
    let compiler = Compiler::new(replay.program.clone(), CompileLimits::default(), cache, None);
    let mut player = Player {
        compiler,
        engines: Vec::new(),
        limits: 0,
        given: BTreeMap::new(),
        plays: BTreeMap::new(),
        calls: 0,
        streams: BTreeMap::new(),
        on: replay.on,
        follower,
        replayed: Replayed::default(),
        start_ns: 0,
        explanation: replay.explain.then(Explanation::default),
    };
    for (file, config) in &replay.plugins {
        player.give(file, config)?;
    }
    let mut recording = RecordingReader::open(&replay.file)?;
    loop {
        let read = recording.progress();
        player.follower.progress(read);
        match recording.entry()? {
            Some(entry) => player.entry(entry)?,
            None => break,
        }
    }
    player.end(recording.damage())
}

impl Player<'_> {
    /// Takes a plugin's file, by the name that it gives itself.
    fn give(&mut self, file: &Path, config: &[u8]) -> Result<(), ReplayError> {
        let own = Limits::default();
        let limits = Limits { call_deadline: CALL_DEADLINE, init_deadline: CALL_DEADLINE, ..own };
        let pre = self.load(file, limits)?;
        let name = stepped(&pre)?.manifest().name.clone();
        let (owned, config) = (file.to_owned(), config.to_vec());
        let given =
            GivenPlugin { file: owned, config, compiled: vec![(limits, pre)], is_played: false };
        match self.given.get(&name) {
            Some(other) => Err(ReplayError::SameName {
                file: file.to_owned(),
                name,
                other: other.file.clone(),
            }),
            None => {
                self.given.insert(name, given);
                Ok(())
            }
        }
    }

    fn load(&mut self, file: &Path, limits: Limits) -> Result<PluginPre, DescribeError> {
        let found = self.engines.iter().find(|(bytes, _)| *bytes == limits.stack_bytes);
        let engine = match found {
            Some((_, engine)) => engine.clone(),
            None => {
                let engine = Engine::new(limits.stack_bytes)?;
                self.engines.push((limits.stack_bytes, engine.clone()));
                engine
            }
        };
        Ok(self.compiler.load(&engine, file, limits)?)
    }

    fn entry(&mut self, entry: RecordEntry<'_>) -> Result<(), ReplayError> {
        match entry {
            RecordEntry::Head(head) => self.head(&head),
            RecordEntry::Opened(opened) => self.open(&opened),
            RecordEntry::Call(call) => {
                let Some(play) = self.plays.get_mut(&call.tape) else { return Ok(()) };
                self.calls += 1;
                play.last = self.calls;
                let after_ns = call.boot_ns.saturating_sub(self.start_ns);
                self.follower.reach(after_ns);
                let mut telling = Vec::new();
                play.call(&call, &mut |what| telling.push(what), self.explanation.as_mut());
                let plugin = play.name().to_owned();
                for what in telling {
                    let told = Told { after_ns, plugin: plugin.clone(), what };
                    self.follower.write(&told).map_err(ReplayError::Tell)?;
                }
                Ok(())
            }
            RecordEntry::Gap(gap) => {
                self.replayed.damaged = true;
                self.tell("", What::Gap { entries: gap.entries })
            }
            RecordEntry::Closing(closing) => self.tell("", What::Closed { why: closing.why }),
            RecordEntry::Streamed(batch) => self.streamed(&batch),
            RecordEntry::Unknown(_) => Ok(()),
        }
    }

    fn head(&mut self, head: &Head) -> Result<(), ReplayError> {
        self.start_ns = head.boot_ns;
        if head.redacted {
            self.on = On::Stream;
        }
        self.tell("", What::Recording { head: head.clone() })?;
        if self.on == On::Tapes {
            return Ok(());
        }
        let mut told = Vec::new();
        for (name, given) in &mut self.given {
            given.is_played = true;
            let Some((_, pre)) = given.compiled.first() else { continue };
            let mut tell = |what| told.push((name.clone(), what));
            let failed = |why| ReplayError::Stage { name: name.clone(), why };
            let manifest = stepped(pre)?.manifest().clone();
            let lacks = stream::lacks(&manifest, head);
            self.replayed.lacking |= !lacks.is_empty();
            tell(What::OnStream { version: manifest.version, lacks });
            let streaming =
                Streaming::start(pre, &given.config, head, &mut tell).map_err(failed)?;
            self.streams.insert(name.clone(), streaming);
            self.replayed.played += 1;
        }
        told.into_iter().try_for_each(|(name, what)| self.tell(&name, what))
    }

    fn streamed(&mut self, batch: &Streamed<'_>) -> Result<(), ReplayError> {
        if self.streams.is_empty() {
            return Ok(());
        }
        let after_ns = batch.boot_ns.saturating_sub(self.start_ns);
        self.follower.reach(after_ns);
        self.replayed.records += u64::from(batch.records);
        if let Some(explanation) = &mut self.explanation {
            explanation.read(&batch.batch, SCHEMA);
        }
        for (plugin, streaming) in &mut self.streams {
            let mut told = Vec::new();
            streaming.batch(batch, &mut |what| told.push(what));
            streaming.explain(plugin, self.explanation.as_mut());
            for what in told {
                let told = Told { after_ns, plugin: plugin.clone(), what };
                self.follower.write(&told).map_err(ReplayError::Tell)?;
            }
        }
        Ok(())
    }

    fn open(&mut self, opened: &Opened) -> Result<(), ReplayError> {
        if self.on == On::Stream {
            return Ok(());
        }
        let limits = limits(opened);
        let Some(given) = self.given.get_mut(&opened.plugin) else {
            self.replayed.left_out += 1;
            return self.tell(&opened.plugin, What::LeftOut { version: opened.version.clone() });
        };
        given.is_played = true;
        let is_with = |(with, _): &&(Limits, PluginPre)| *with == limits;
        if !given.compiled.iter().any(|with| is_with(&with)) {
            if self.limits == LIMITS_MAX {
                let version = opened.version.clone();
                self.replayed.unplayed += 1;
                return self.tell(&opened.plugin, What::TooManyLimits { version });
            }
            self.limits += 1;
            let file = given.file.clone();
            let pre = self.load(&file, limits)?;
            if let Some(given) = self.given.get_mut(&opened.plugin) {
                given.compiled.push((limits, pre));
            }
        }
        let given = self.given.get(&opened.plugin);
        let Some((_, pre)) = given.and_then(|given| given.compiled.iter().find(is_with)) else {
            return Ok(());
        };
        let stepped = stepped(pre)?;
        let play = Play::new(stepped, opened, self.calls);
        self.replayed.played += 1;
        let what = What::Begins {
            version: play.version().to_owned(),
            recorded: opened.version.clone(),
            cause: opened.cause,
            exact: play.is_exact(),
        };
        self.score(opened.tape)?;
        self.plays.insert(opened.tape, play);
        self.make_room();
        self.tell(&opened.plugin, what)
    }

    /// Lets go of the instance that waits longest, if there are more than a host runs: most likely its tape is over,
    /// which no recording says.
    fn make_room(&mut self) {
        let live = || self.plays.values().filter(|play| play.is_live());
        if live().count() > LIVE_MAX
            && let Some(last) = live().map(|play| play.last).min()
        {
            let idle = self.plays.values_mut().filter(|play| play.last == last && play.is_live());
            idle.take(1).for_each(Play::let_go);
        }
    }

    /// Tells what a tape came to, if there is one of that number.
    fn score(&mut self, tape: u32) -> Result<(), ReplayError> {
        let Some(play) = self.plays.remove(&tape) else { return Ok(()) };
        let score = play.score();
        self.replayed.calls += score.calls;
        self.replayed.same += score.same;
        self.replayed.different += score.different;
        self.replayed.unplayed += score.unplayed;
        self.tell(play.name(), What::Score { score })
    }

    fn tell(&mut self, plugin: &str, what: What) -> Result<(), ReplayError> {
        let told = Told { after_ns: 0, plugin: plugin.to_owned(), what };
        self.follower.write(&told).map_err(ReplayError::Tell)
    }

    fn end(mut self, damage: Option<Damage>) -> Result<Replayed, ReplayError> {
        let tapes: Vec<u32> = self.plays.keys().copied().collect();
        tapes.into_iter().try_for_each(|tape| self.score(tape))?;
        for (name, streaming) in std::mem::take(&mut self.streams) {
            let score = streaming.score();
            self.replayed.calls += score.calls;
            self.replayed.unplayed += score.unplayed;
            self.tell(&name, What::Score { score })?;
        }
        let explained = self.explanation.take().map(Explanation::told).unwrap_or_default();
        explained.into_iter().try_for_each(|(name, what)| self.tell(&name, what))?;
        let names = self.given.iter().filter(|(_, given)| !given.is_played);
        let names: Vec<String> = names.map(|(name, _)| name.clone()).collect();
        for name in names {
            self.replayed.without_tape += 1;
            self.tell(&name, What::WithoutTape)?;
        }
        if let Some(damage) = damage {
            self.replayed.damaged = true;
            self.tell("", What::Damaged { damage: damage.to_string() })?;
        }
        Ok(self.replayed)
    }
}

/// A fresh instance of a plugin.
fn stepped(pre: &PluginPre) -> Result<Stepped, DescribeError> {
    Ok(Stepped::new(pre)?)
}

/// Limits of a tape, as far as they are those of some host: the file may lie.
fn limits(opened: &Opened) -> Limits {
    let bounded = |value: u64, most: usize| usize::try_from(value).unwrap_or(most).min(most);
    let least = Limits::default();
    Limits {
        memory_bytes: bounded(opened.memory_bytes, 4 << 30),
        table_elements: bounded(opened.table_elements, 1 << 24),
        stack_bytes: bounded(opened.stack_bytes, 1 << 20).max(64 << 10),
        output_bytes: bounded(opened.output_bytes, 64 << 20),
        state_bytes: bounded(opened.state_bytes, 64 << 20),
        log_line_bytes: bounded(opened.log_line_bytes, 1 << 20),
        call_deadline: CALL_DEADLINE,
        init_deadline: CALL_DEADLINE,
        ..least
    }
}
