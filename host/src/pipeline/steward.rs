//! The thread that lets plugins come and go: one command after the other, so that none meets another halfway.

use std::collections::HashSet;
use std::fmt::{self, Display, Formatter};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::Duration;

use krsi_host_abi::hook::Hook as AbiHook;
use krsi_plugin_schema::latest::RuleMode;
use tokio::sync::oneshot;

use super::census::Census;
use super::exempt::Exempt;
use super::hooks::Hooks;
use super::left_out::{Refused, UsedSlot};
use super::mailbox::{Change, Mailbox};
use super::prepare::{Prepared, Wider};
use super::roster::{Roster, in_folder};
use super::shared::Shared;
use super::tally::Counted;
use super::wanted::Wanted;
use super::watches::{ADMINISTRATOR, Watch};
use super::{ReloadError, RunError};
use crate::config::{Config, PluginSpec};
use crate::output::{PluginSummary, Witnessed};
use crate::plugin::Swapped;
use crate::read::ring::ReadError;

/// A program that runs while its link goes may still count and report.
const LINGER: Duration = Duration::from_millis(50);

/// How often it is looked what else has changed: the files and processes that are exempt, and which run.
const LOOK: Duration = Duration::from_secs(1);

/// Where an answer goes; whoever asked may be gone.
pub(super) type Reply<T> = oneshot::Sender<T>;

/// Why a plugin is loaded again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    /// Its file may have changed: if it has not, nothing happens.
    File,
    /// Somebody wants it, or its configuration has changed.
    Order,
}

/// What the steward is told.
pub(super) enum Command {
    /// Load the plugin of this name, or every one, from its file again.
    Reload {
        /// Which; `None` for all.
        name: Option<String>,
        /// Whether more than before is granted.
        wider: Wider,
        /// What became of each.
        reply: Option<Reply<Vec<Result<Reloaded, RunError>>>>,
    },
    /// Files that may have changed, come or gone.
    Changed(HashSet<PathBuf>),
    /// A version has proven itself.
    Settled {
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
    /// Detach, read what is left, let plugins finish.
    Stop(Reply<Ended>),
}

/// What became of a plugin that was to be loaded.
#[derive(Debug)]
pub(super) enum Reloaded {
    /// The same version runs on.
    Unchanged {
        /// Name of the plugin.
        name: String,
    },
    /// It replaced the version before.
    TookOver {
        /// Name of the plugin.
        name: String,
        /// What it took over from, and how long that took.
        swapped: Swapped,
    },
    /// It runs; none of its name did.
    Loaded {
        /// Name of the plugin.
        name: String,
    },
    /// It runs no more: its file is gone from its folder.
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

/// What the administrator asks for on the command line.
pub(super) fn administrator(config: &Config) -> Wanted {
    let watch = |(index, text): (u16, &String)| Watch {
        owner: ADMINISTRATOR,
        plugin: "administrator".to_owned(),
        index,
        text: text.clone(),
        mode: RuleMode::Enforce,
        deep: true,
    };
    Wanted { watches: (0..).zip(&config.watches).map(watch).collect(), ..Wanted::default() }
}

/// How everything ended.
pub(super) struct Ended {
    pub(super) plugins: Vec<PluginSummary>,
    /// Slots that had a program.
    pub(super) hooks: Vec<UsedSlot>,
    /// What the witness saw.
    pub(super) witnessed: Vec<Witnessed>,
    pub(super) read: Result<(), RunError>,
}

/// What the thread holds.
pub(super) struct Steward {
    /// What was told of hooks and watches that have no program.
    pub(super) refused: HashSet<String>,
    pub(super) config: Config,
    pub(super) hooks: Hooks,
    pub(super) exempt: Exempt,
    pub(super) census: Census,
    pub(super) roster: Roster,
    pub(super) shared: Arc<Shared>,
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) reader: JoinHandle<Result<(), ReadError>>,
}

impl Steward {
    /// Starts the thread.
    pub(super) fn spawn(self, commands: Receiver<Command>) -> Result<(), RunError> {
        std::thread::Builder::new()
            .name("steward".into())
            .spawn(move || self.run(&commands))
            .map_err(RunError::Thread)?;
        Ok(())
    }

    fn run(mut self, commands: &Receiver<Command>) {
        self.tell_refused();
        let mut missed = 0;
        loop {
            let command = match commands.recv_timeout(LOOK) {
                Ok(command) => command,
                Err(RecvTimeoutError::Timeout) => {
                    self.look(&mut missed);
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => return,
            };
            match command {
                Command::Reload { name, wider, reply } => {
                    let told = self.reload(name.as_deref(), wider);
                    for error in told.iter().filter_map(|result| result.as_ref().err()) {
                        self.shared.note(error.line());
                    }
                    if let Some(reply) = reply {
                        // Whoever asked may be gone.
                        let _told = reply.send(told);
                    }
                }
                Command::Changed(files) => self.changed(&files),
                Command::Settled { slot, version } => {
                    self.roster.settled(slot, version);
                    self.settle();
                }
                Command::FellBack { slot, failed } => {
                    self.roster.fell_back(slot, failed);
                    self.settle();
                    self.tell_refused();
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
    /// are the skipped calls before.
    fn look(&mut self, missed: &mut u64) {
        let now = self.shared.tally.read(AbiHook::BprmCommittedCreds.id(), Counted::Missed);
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

    fn reload(&mut self, name: Option<&str>, wider: Wider) -> Vec<Result<Reloaded, RunError>> {
        match self.config.policies() {
            Ok(policies) => self.roster.policies = policies,
            Err(error) => return vec![Err(RunError::Config(error))],
        }
        // What the operator says now holds for what runs, whatever becomes of a new version.
        if let Err(error) = self.roster.hear(name) {
            return vec![Err(RunError::Config(error))];
        }
        let specs = match name {
            None => self.roster.specs(),
            Some(name) => match self.roster.spec(name) {
                Some(spec) => vec![spec],
                None => {
                    let error = ReloadError::Unknown { name: name.into() };
                    return vec![Err(RunError::Reload(error))];
                }
            },
        };
        let mut results: Vec<Result<Reloaded, RunError>> = Vec::new();
        for spec in specs {
            if self.is_gone(&spec.file) {
                results.extend(self.follow(&spec.file));
            } else {
                results.push(self.reload_file(spec, wider, Cause::Order));
            }
        }
        if name.is_none() {
            results.extend(self.folders().into_iter().map(|file| self.load_file(file)));
        }
        self.settle();
        results
    }

    /// Whether a file lay in a folder of plugins and does not any more. One that was named on the command
    /// line and is gone says nothing: what runs, runs on.
    fn is_gone(&self, file: &Path) -> bool {
        self.is_in_folder(file) && !file.exists()
    }

    /// What becomes of the plugin of a file that is gone from its folder: another file there that calls
    /// itself the same takes over, the youngest of several; if there is none, the plugin ends.
    fn follow(&mut self, gone: &Path) -> Option<Result<Reloaded, RunError>> {
        let name = self.roster.name_of(gone)?;
        let mut others = self.folders();
        others.retain(|file| file.parent() == gone.parent());
        let written = |file: &PathBuf| file.metadata().and_then(|meta| meta.modified()).ok();
        others.sort_by_key(|file| std::cmp::Reverse(written(file)));
        for file in others {
            // What is wrong with a file was told when it came.
            let Ok(prepared) = self.roster.prepare(PluginSpec::beside(file.clone())) else {
                continue;
            };
            if prepared.name() == name {
                self.roster.move_to(&name, PluginSpec::beside(file));
                return Some(self.take_over(prepared, Wider::Refuse, Cause::File));
            }
        }
        self.roster.remove(gone);
        Some(Ok(Reloaded::Unloaded { name }))
    }

    /// Files in the folders that do not run yet.
    fn folders(&self) -> Vec<PathBuf> {
        let running: HashSet<PathBuf> =
            self.roster.specs().into_iter().map(|spec| spec.file).collect();
        let folders = self.config.plugin_dirs.iter();
        let files = folders.filter_map(|folder| in_folder(folder).ok()).flatten();
        files.filter(|file| !running.contains(file)).collect()
    }

    fn changed(&mut self, files: &HashSet<PathBuf>) {
        let shadows = self.config.shadows.clone();
        for file in files {
            // A configuration beside a plugin counts as the plugin.
            let wasm = file.with_extension("wasm");
            let running = self.roster.specs().into_iter().find(|spec| {
                spec.file == *file || spec.file == wasm || spec.config.as_ref() == Some(file)
            });
            let result = match running {
                Some(spec) if self.is_gone(&spec.file) => match self.follow(&spec.file) {
                    Some(result) => result,
                    None => continue,
                },
                Some(spec) if spec.file.exists() => {
                    let cause = if *file == spec.file { Cause::File } else { Cause::Order };
                    self.reload_file(spec, Wider::Refuse, cause)
                }
                // A file that was named on the command line and is gone: what runs, runs on.
                Some(_) => continue,
                None if shadows.contains(file) && file.exists() => {
                    if let Err(error) = self.shadow_file(file) {
                        self.shared.note(error.line());
                    }
                    continue;
                }
                None if self.is_in_folder(&wasm) && wasm.exists() => self.load_file(wasm),
                None => continue,
            };
            if let Err(error) = result {
                self.shared.note(error.line());
            }
        }
        self.settle();
    }

    fn is_in_folder(&self, file: &Path) -> bool {
        self.config.plugin_dirs.iter().any(|folder| file.parent() == Some(folder))
    }

    fn reload_file(
        &mut self,
        spec: PluginSpec,
        wider: Wider,
        cause: Cause,
    ) -> Result<Reloaded, RunError> {
        let runs_as = self.roster.name_of(&spec.file);
        let prepared = self.roster.prepare(spec.again())?;
        // State, rules and grants belong to the name: no file comes by those of another.
        if let Some(name) = runs_as.filter(|name| name != prepared.name()) {
            let (file, named) = (prepared.file().to_owned(), prepared.name().to_owned());
            return Err(RunError::Reload(ReloadError::Renamed { file, name, named }));
        }
        self.take_over(prepared, wider, cause)
    }

    /// Lets a version take over the plugin of its name.
    fn take_over(
        &mut self,
        prepared: Prepared,
        wider: Wider,
        cause: Cause,
    ) -> Result<Reloaded, RunError> {
        let name = prepared.name().to_owned();
        if cause == Cause::File && self.roster.runs(&prepared) {
            return Ok(Reloaded::Unchanged { name });
        }
        // The file may have been read for another plugin's sake since.
        self.roster.hear(Some(&name))?;
        self.roster.check(&prepared, wider).map_err(RunError::Reload)?;
        self.attach_for(&prepared)?;
        let swapped = self.roster.replace(prepared)?;
        Ok(Reloaded::TookOver { name, swapped })
    }

    fn load_file(&mut self, file: PathBuf) -> Result<Reloaded, RunError> {
        let prepared = self.roster.prepare(PluginSpec::beside(file.clone()))?;
        let name = prepared.name().to_owned();
        if let Some(before) = self.roster.spec(&name).map(|spec| spec.file)
            && self.is_gone(&before)
            && before.parent() == file.parent()
        {
            self.roster.move_to(&name, PluginSpec::beside(file));
            return self.take_over(prepared, Wider::Refuse, Cause::File);
        }
        self.attach_for(&prepared)?;
        self.roster.add(prepared)?;
        Ok(Reloaded::Loaded { name })
    }

    /// Attaches what a plugin wants beyond what is attached.
    fn attach_for(&mut self, prepared: &Prepared) -> Result<(), RunError> {
        let slot = self.roster.slot_of(prepared.name());
        let wanted = self.wanted(Some(prepared.wanted(slot)));
        self.hooks.want(&wanted)?;
        self.tell_refused();
        self.hooks.publish(&self.shared);
        Ok(())
    }

    /// Starts versions beside the plugins of their names; one that cannot be is told.
    pub(super) fn shadow_files(&mut self, files: &[PathBuf]) {
        for file in files {
            if let Err(error) = self.shadow_file(file) {
                self.shared.note(error.line());
            }
        }
    }

    /// Starts a version beside the plugin of its name.
    fn shadow_file(&mut self, file: &Path) -> Result<(), RunError> {
        let prepared = self.roster.prepare_beside(PluginSpec::beside(file.into()))?;
        self.roster.shadow(prepared)
    }

    /// What plugins and the administrator want, and perhaps one more plugin.
    fn wanted(&self, more: Option<Wanted>) -> Wanted {
        self.roster.wanted(more).and(administrator(&self.config))
    }

    /// Tells of hooks and watches that this kernel does not take.
    fn tell_refused(&mut self) {
        let mut refused = HashSet::new();
        for Refused { what, owner, why } in self.hooks.refused() {
            let text = format!("{what}: left out: {}", why.words());
            if let Some(slot) = owner {
                self.roster.tell(*slot, &text);
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
    fn settle(&mut self) {
        let wanted = self.wanted(None);
        if let Err(error) = self.hooks.want(&wanted) {
            self.shared.note(error.line());
        }
        self.hooks.publish(&self.shared);
        self.shared.set_hooks(self.hooks.attached(), self.hooks.backend().name());
    }

    fn stop(mut self) -> Ended {
        let hooks = self.hooks.used().to_vec();
        self.hooks.detach();
        std::thread::sleep(LINGER);
        let witnessed = self.hooks.end();
        self.mailbox.post(Change::Stop);
        let read = match self.reader.join() {
            Ok(read) => read.map_err(RunError::Read),
            Err(_) => Err(RunError::Thread(std::io::Error::other("the reader panicked"))),
        };
        self.roster.stop();
        Ended { plugins: self.roster.summaries(), hooks, witnessed, read }
    }
}
