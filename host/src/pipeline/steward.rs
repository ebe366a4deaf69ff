//! The thread that loads, replaces and unloads plugins: one command after the other, so that none sees another half done.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use krsi_host_abi::hook::Hook as AbiHook;
use krsi_plugin_schema::latest::RuleMode;
use tokio::sync::oneshot;

use super::RunError;
use super::arrivals::WaitingFiles;
use super::census::Census;
use super::hook_counts::Counted;
use super::mailbox::{Mailbox, ReaderChange};
use super::prepare::Wider;
use super::recording::{Recordable, Recording};
use super::reloaded::Reloaded;
use super::roster::Roster;
use super::shared::Shared;
use crate::attach::error::AttachError;
use crate::attach::hooks::Hooks;
use crate::attach::left_out::{NotAttached, UsedSlot};
use crate::attach::wanted::Wanted;
use crate::attach::watches::{ADMINISTRATOR, Watch};
use crate::config::{Config, RuleSettings};
use crate::files::PluginFiles;
use crate::kernel::spec::watch::WatchReach;
use crate::machine::ExemptProcesses;
use crate::output::{PluginSummary, Witnessed};
use crate::read::ring::ReadError;
use crate::record::RecordError;
use crate::thread::{self, Task};

/// A program that runs while its link goes may still count and report.
const LINGER: Duration = Duration::from_millis(50);

/// How often it is looked what else has changed: the files of plugins, the files and processes that are exempt, and
/// which run.
const LOOK: Duration = Duration::from_secs(1);

/// Time of a segment of the flight recorder: what it holds goes by so much at a time.
const SEGMENT: Duration = Duration::from_secs(10);

/// Where an answer goes; whoever asked may be gone.
pub(super) type Reply<T> = oneshot::Sender<T>;

/// A command to the steward.
pub(super) enum Command {
    /// Load the plugin of this name, or every one, from its file again.
    Reload {
        /// Name of the plugin; `None` for all.
        name: Option<String>,
        /// Whether more than before is granted.
        wider: Wider,
        /// The result for each plugin.
        reply: Option<Reply<Vec<Result<Reloaded, RunError>>>>,
    },
    /// Files that were renamed to their place, closed, or not written to for a while.
    Complete(HashSet<PathBuf>),
    /// A version has proven itself.
    ProbationEnded {
        /// Slot of the plugin.
        slot: u8,
        /// Number of the version.
        version: u64,
    },
    /// A version failed early, and the one before runs on.
    FellBack {
        /// Slot of the plugin.
        slot: u8,
        /// Number of the version that failed.
        failed: u64,
    },
    /// Record from here on, write what the flight recorder holds, or end a recording and say what became of it.
    Record {
        /// The recording that is begun, written or ended.
        what: Recordable,
        /// Where the result is told, in words.
        reply: Reply<Result<String, RunError>>,
    },
    /// Detach, read what is left, let plugins finish.
    Stop(Reply<Ended>),
}

/// What the administrator asks for on the command line, and by his labels.
pub(super) fn administrator(config: &Config, rules: &RuleSettings) -> Wanted {
    let watch = |(index, text): (u16, &String)| Watch {
        owner: ADMINISTRATOR,
        plugin: "administrator".to_owned(),
        index,
        text: text.clone(),
        mode: RuleMode::Enforce,
        reach: WatchReach { deep: true, content: true },
        labels: Vec::new(),
    };
    let watches = (0..).zip(&config.watches).map(watch).collect();
    Wanted { watches, labels: !rules.labels.is_empty(), ..Wanted::default() }
}

/// Attaches what is wanted. Labels that watches name keep their numbers from before these have a program until they
/// have none any more.
pub(super) fn attach(
    hooks: &mut Hooks,
    mut wanted: Wanted,
    shared: &Shared,
) -> Result<(), AttachError> {
    shared.turns.turn(|ledger| {
        wanted.find_labels(|watch, label| {
            let plugin = (watch.owner != ADMINISTRATOR).then_some(watch.plugin.as_str());
            ledger.named_label(plugin, label)
        });
        ledger.hold_labels(ledger.held_labels() | wanted.label_bits());
    });
    hooks.want(&wanted)?;
    shared.turns.turn(|ledger| ledger.hold_labels(hooks.watched_labels()));
    Ok(())
}

/// The result of a run.
pub(super) struct Ended {
    pub(super) plugins: Vec<PluginSummary>,
    /// Slots that had a program.
    pub(super) hooks: Vec<UsedSlot>,
    /// Counts of the witness at each hook.
    pub(super) witnessed: Vec<Witnessed>,
    pub(super) read: Result<(), RunError>,
}

/// The state of the steward's thread.
pub(super) struct Steward {
    /// What was told of hooks and watches that have no program.
    pub(super) refused: HashSet<String>,
    /// Plugins that were told to see nothing.
    pub(super) unserved: HashSet<String>,
    pub(super) config: Config,
    /// What the configuration said of all rules at the start.
    pub(super) rules: RuleSettings,
    pub(super) hooks: Hooks,
    pub(super) exempt: ExemptProcesses,
    pub(super) census: Census,
    pub(super) roster: Roster,
    pub(super) files: PluginFiles,
    pub(super) waiting: WaitingFiles,
    /// Tables of the configuration that were told to be nobody's.
    pub(super) unused_tables: HashSet<String>,
    pub(super) shared: Arc<Shared>,
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) reader: JoinHandle<Result<(), ReadError>>,
    pub(super) recording: Option<Recording>,
    /// What became of a recording that ended by itself, until somebody asks.
    pub(super) ended_recording: Option<String>,
}

impl Steward {
    /// Starts the thread.
    pub(super) fn spawn(self, commands: Receiver<Command>) -> Result<(), RunError> {
        thread::spawn("steward", Task::Lasting, move || self.run(&commands))
            .map(drop)
            .map_err(RunError::Thread)
    }

    fn run(mut self, commands: &Receiver<Command>) {
        self.report_not_attached();
        self.report_unserved();
        self.report_unused_tables();
        let mut missed = 0;
        let (mut looked, mut segment) = (Instant::now(), Instant::now());
        loop {
            thread::turn();
            if segment.elapsed() >= SEGMENT {
                segment = Instant::now();
                self.begin_segment();
            }
            if looked.elapsed() >= LOOK {
                looked = Instant::now();
                self.look(&mut missed);
            }
            let command = match commands.recv_timeout(LOOK.saturating_sub(looked.elapsed())) {
                Ok(command) => command,
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            match command {
                Command::Reload { name, wider, reply } => {
                    let told = self.reload(name.as_deref(), wider);
                    self.report_unused_tables();
                    if let Some(reply) = reply {
                        // Whoever asked may be gone.
                        let _told = reply.send(told);
                    }
                }
                Command::Complete(files) => self.look_at_files(&files),
                Command::ProbationEnded { slot, version } => {
                    self.roster.probation_ended(slot, version);
                    self.update_hooks();
                }
                Command::FellBack { slot, failed } => {
                    self.roster.fell_back(slot, failed);
                    self.update_hooks();
                    self.report_not_attached();
                }
                Command::Record { what, reply } => {
                    let _told = reply.send(self.record(what));
                }
                Command::Stop(reply) => {
                    let _told = reply.send(self.stop());
                    return;
                }
            }
        }
    }

    /// What changes without a command. An executable that was upgraded is exempt as what it replaced was; and of
    /// who executed something while the kernel skipped the program that ends an exemption, the host ends it: as
    /// soon as it hears of a skipped call, and with every census, for kernels before 5.12 do not tell. `missed`
    /// are the skipped calls before. And whatever lies at the places of plugins is looked at, for what no sign tells.
    fn look(&mut self, missed: &mut u64) {
        self.take_recording_down();
        self.look_at_files(&HashSet::new());
        let now = self.shared.hook_counts.read(AbiHook::BprmCommittedCreds.id(), Counted::Missed);
        let is_time = self.census.look_in_time();
        if now != std::mem::replace(missed, now) || is_time {
            self.exempt.recheck();
        }
        if self.exempt.is_stale() {
            let (exempt, shared) = (&mut self.exempt, &self.shared);
            self.hooks.learn(|key_of| {
                exempt.hold(key_of).into_iter().for_each(|text| shared.note(text));
            });
        }
    }

    /// What plugins and the administrator want, and perhaps one more plugin.
    pub(super) fn wanted(&self, more: Option<Wanted>) -> Wanted {
        self.roster.wanted(more).and(administrator(&self.config, &self.rules))
    }

    /// Tells of hooks and watches that this kernel does not take.
    pub(super) fn report_not_attached(&mut self) {
        let mut refused = HashSet::new();
        for NotAttached { what, owner, why } in self.hooks.refused() {
            let text = format!("{what}: left out: {}", why.words());
            if let Some(slot) = owner {
                self.roster.queue_outcome(*slot, &text);
            }
            // What was told already is refused again with every change.
            if !self.refused.contains(&text) {
                self.shared.note(text.clone());
            }
            refused.insert(text);
        }
        self.refused = refused;
    }

    /// Detaches what nobody wants any more.
    pub(super) fn update_hooks(&mut self) {
        let wanted = self.wanted(None);
        if let Err(error) = attach(&mut self.hooks, wanted, &self.shared) {
            self.shared.note(RunError::Attach(error).line());
        }
        // A watch on a label goes with who declares it.
        self.report_not_attached();
        self.shared.publish(self.hooks.published());
        self.report_unserved();
    }

    /// Tells of plugins that run and have no hook or watch with a program.
    fn report_unserved(&mut self) {
        let unserved = self.roster.unserved(&self.shared.hooks(), self.hooks.refused());
        for name in unserved.iter().filter(|name| !self.unserved.contains(*name)) {
            self.shared.note(format!(
                "{name} runs and sees nothing: no hook or watch that it asks for is to be had here (`krsi-host doctor` \
                 says what is missing)"
            ));
        }
        self.unserved = unserved;
    }

    /// Takes down a recording that ended by itself, as its file is full: nothing is encoded for it any more, and the
    /// flight recorder goes on.
    fn take_recording_down(&mut self) {
        let over = self.recording.take_if(|one| !one.is_flight() && one.is_over());
        if let Some(over) = over {
            let text = over.end_of(&self.shared, &self.mailbox);
            self.shared.note(text.clone());
            self.ended_recording = Some(text);
            self.fly();
        }
    }

    fn record(&mut self, what: Recordable) -> Result<String, RunError> {
        self.take_recording_down();
        let running = self.recording.as_ref();
        match (what, running) {
            (Recordable::From(_), Some(recording)) if !recording.is_flight() => {
                let file = recording.file().to_owned();
                Err(RunError::Record(RecordError::Running { file }))
            }
            (Recordable::From(options), _) => {
                // The flight recorder starts anew after it.
                let begun = Recording::begin(&options, &self.shared, &self.mailbox)?;
                if let Some(before) = self.recording.replace(begun) {
                    let _held = before.end();
                }
                self.roster.record();
                self.ended_recording = None;
                Ok(format!("recording to {}", options.file.display()))
            }
            (Recordable::Held(file), Some(recording)) => recording.dump(&file),
            (Recordable::Held(_), None) => Err(RunError::Record(RecordError::NoFlight)),
            (Recordable::End, Some(recording)) if !recording.is_flight() => {
                let ended =
                    self.recording.take().map(|one| one.end_of(&self.shared, &self.mailbox));
                self.fly();
                Ok(ended.unwrap_or_default())
            }
            (Recordable::End, _) => {
                self.ended_recording.take().ok_or(RunError::Record(RecordError::NotRunning))
            }
        }
    }

    /// Starts the flight recorder, if the host has one.
    fn fly(&mut self) {
        match Recording::flight(&self.config, &self.shared, &self.mailbox) {
            Ok(flight) => self.recording = flight,
            Err(error) => self.shared.note(error.line()),
        }
        self.roster.record();
    }

    /// Begins a segment of the flight recorder, from which its file can be played.
    fn begin_segment(&mut self) {
        if let Some(flight) = self.recording.as_ref().filter(|one| one.is_flight()) {
            flight.begin_segment(&self.mailbox);
            self.roster.record();
        }
    }

    fn stop(mut self) -> Ended {
        let hooks = self.hooks.used().to_vec();
        self.hooks.detach();
        std::thread::sleep(LINGER);
        let witnessed = self.hooks.end();
        self.mailbox.post(ReaderChange::Stop);
        let read = match self.reader.join() {
            Ok(read) => read.map_err(RunError::Read),
            // That is told by the thread itself.
            Err(_) => Ok(()),
        };
        self.roster.stop();
        if let Some(recording) = self.recording.take() {
            let is_flight = recording.is_flight();
            let text = recording.end_of(&self.shared, &self.mailbox);
            if !is_flight {
                self.shared.note(text);
            }
        }
        Ended { plugins: self.roster.summaries(), hooks, witnessed, read }
    }
}
