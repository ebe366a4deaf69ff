//! The thread that lets plugins come and go: one command after the other, so that none meets another halfway.

use std::collections::HashSet;
use std::fmt::{self, Display, Formatter};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use krsi_plugin_schema::latest::RuleMode;
use tokio::sync::oneshot;

use super::exempt::Exempt;
use super::hooks::Hooks;
use super::left_out::{Refused, UsedSlot};
use super::mailbox::{Change, Mailbox};
use super::roster::{Prepared, Roster, Wider, in_folder};
use super::shared::Shared;
use super::wanted::Wanted;
use super::watches::{ADMINISTRATOR, Watch};
use super::{ReloadError, RunError};
use crate::config::{Config, PluginSpec};
use crate::output::{PluginSummary, Witnessed};
use crate::plugin::Swapped;
use crate::read::ring::ReadError;

/// A program that runs while its link goes may still count and report.
const LINGER: Duration = Duration::from_millis(50);

/// How often it is looked whether an exempt executable is another file.
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
    /// Detach, read what is left, let plugins finish.
    Stop(Reply<Ended>),
}

/// What became of a plugin that was to be loaded.
#[derive(Debug)]
pub(super) enum Reloaded {
    /// The same version runs on.
    Unchanged {
        /// The plugin.
        name: String,
    },
    /// It replaced the version before.
    TookOver {
        /// The plugin.
        name: String,
        /// What it took over from, and how long that took.
        swapped: Swapped,
    },
    /// It runs; none of its name did.
    Loaded {
        /// The plugin.
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
    pub(super) config: Config,
    pub(super) hooks: Hooks,
    pub(super) exempt: Exempt,
    pub(super) roster: Roster,
    pub(super) shared: Arc<Shared>,
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) reader: JoinHandle<Result<(), ReadError>>,
}

impl Steward {
    /// Starts the thread.
    pub(super) fn spawn(self) -> Result<Sender<Command>, RunError> {
        let (sender, commands) = channel();
        std::thread::Builder::new()
            .name("steward".into())
            .spawn(move || self.run(&commands))
            .map_err(RunError::Thread)?;
        Ok(sender)
    }

    fn run(mut self, commands: &Receiver<Command>) {
        loop {
            let command = match commands.recv_timeout(LOOK) {
                Ok(command) => command,
                Err(RecvTimeoutError::Timeout) => {
                    self.look_at_exempt();
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
                Command::Stop(reply) => {
                    let _told = reply.send(self.stop());
                    return;
                }
            }
        }
    }

    /// An executable that was upgraded is exempt as what it replaced was.
    fn look_at_exempt(&mut self) {
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
        let mut results: Vec<Result<Reloaded, RunError>> =
            specs.into_iter().map(|spec| self.reload_file(spec, wider, Cause::Order)).collect();
        if name.is_none() {
            results.extend(self.folders().into_iter().map(|file| self.load_file(file)));
        }
        self.settle();
        results
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
                Some(spec) if spec.file.exists() => {
                    let cause = if *file == spec.file { Cause::File } else { Cause::Order };
                    self.reload_file(spec, Wider::Refuse, cause)
                }
                Some(spec) if self.is_in_folder(&spec.file) => {
                    self.roster.remove(&spec.file);
                    continue;
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
        let prepared = self.roster.prepare(spec.again())?;
        let name = prepared.name().to_owned();
        if cause == Cause::File && self.roster.runs(&prepared) {
            return Ok(Reloaded::Unchanged { name });
        }
        self.roster.check(&prepared, wider).map_err(RunError::Reload)?;
        self.attach_for(&prepared)?;
        let swapped = self.roster.replace(prepared)?;
        Ok(Reloaded::TookOver { name, swapped })
    }

    fn load_file(&mut self, file: PathBuf) -> Result<Reloaded, RunError> {
        let prepared = self.roster.prepare(PluginSpec::beside(file))?;
        let name = prepared.name().to_owned();
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
        let prepared = self.roster.prepare(PluginSpec::beside(file.into()))?;
        self.roster.shadow(prepared)
    }

    /// What plugins and the administrator want, and perhaps one more plugin.
    fn wanted(&self, more: Option<Wanted>) -> Wanted {
        self.roster.wanted(more).and(administrator(&self.config))
    }

    /// Tells of hooks and watches that this kernel does not take.
    fn tell_refused(&self) {
        for Refused { what, why } in self.hooks.refused() {
            self.shared.note(format!("{what}: left out: {why}"));
        }
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
