//! The pipeline without hooks: what benches and native tests feed. Maps are real, no program is attached.

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use krsi_host_abi::hook::HOOKS;

use super::RunError;
use super::mailbox::{Mailbox, ReaderChange};
use super::prepare::Wider;
use super::reader::Reader;
use super::reports::{self, ReportReceiver};
use super::roster::Roster;
use super::shared::Shared;
use super::start::compiler;
use crate::attach::hooks::Hooks;
use crate::config::{Config, PluginSpec};
use crate::enrich::ProcessTable;
use crate::output::PluginSummary;
use crate::plugin::Swapped;
use crate::policy::{Ledger, Machine};
use crate::read::ring::{ReadError, Ring, Rings};

/// Everything after the hooks, reading a ring that somebody else fills.
pub struct BenchPipeline {
    shared: Arc<Shared>,
    roster: Roster,
    mailbox: Arc<Mailbox>,
    reader: Option<Reader>,
    thread: Option<JoinHandle<Result<(), ReadError>>>,
    /// Reports of the run, alerts and failures among them.
    pub reports: ReportReceiver,
    /// Keeps the maps.
    _hooks: Hooks,
}

impl BenchPipeline {
    /// Creates the maps and starts the plugins, compiled by a child of `program`, a krsi-host; nothing is read before [`BenchPipeline::go`].
    ///
    /// # Errors
    /// When a map or a plugin cannot be had.
    pub fn start(config: &Config, program: PathBuf, ring: Ring) -> Result<Self, RunError> {
        let policies = config.policies()?;
        let (mut hooks, maps) = Hooks::load(config, policies.rules())?;
        hooks.forget_types();
        let (sender, reports) = reports::channel();
        let ledger = Ledger::new(maps.rules, HOOKS.iter().map(|row| row.hook));
        let shared =
            Arc::new(Shared::new(ledger, ProcessTable::default(), Machine::default(), sender));
        let mailbox = Arc::new(Mailbox::new().map_err(RunError::Thread)?);
        let (compiler, _) = compiler(config, program)?;
        // Nothing is attached that a version could lack: nobody needs to be told.
        let (steward, _) = std::sync::mpsc::channel();
        let (all, post) = (Arc::clone(&shared), Arc::clone(&mailbox));
        let mut roster = Roster::new(compiler, policies, all, post, steward);
        for spec in &config.plugins {
            let prepared = roster.prepare(spec.clone())?;
            roster.add(prepared)?;
        }
        let reader =
            Some(Reader::new(Rings::new(maps.verdicts, ring), maps.counters, Arc::clone(&shared)));
        Ok(Self { shared, roster, mailbox, reader, thread: None, reports, _hooks: hooks })
    }

    /// Starts reading.
    ///
    /// # Errors
    /// When there is no thread for it.
    pub fn go(&mut self) -> Result<(), RunError> {
        let Some(reader) = self.reader.take() else { return Ok(()) };
        let mailbox = Arc::clone(&self.mailbox);
        let thread = std::thread::Builder::new()
            .name("reader".into())
            .spawn(move || reader.run(&mailbox))
            .map_err(RunError::Thread)?;
        self.thread = Some(thread);
        Ok(())
    }

    /// Loads a plugin while the others run.
    ///
    /// # Errors
    /// When it is no plugin or fails.
    pub fn add(&mut self, spec: PluginSpec) -> Result<(), RunError> {
        let prepared = self.roster.prepare(spec)?;
        self.roster.add(prepared)
    }

    /// Lets a file's plugin take over the plugin of its name.
    ///
    /// # Errors
    /// When it is no plugin, fails, or refuses the state.
    pub fn replace(&mut self, spec: PluginSpec) -> Result<Swapped, RunError> {
        let prepared = self.roster.prepare(spec)?;
        self.roster.check(&prepared, Wider::Refuse)?;
        self.roster.replace(prepared)
    }

    /// Counts of every plugin.
    #[must_use]
    pub fn plugins(&self) -> Vec<PluginSummary> {
        self.roster.summaries()
    }

    /// From a record's time to the rule it caused being in the map, at a quantile; nanoseconds.
    #[must_use]
    pub fn delay_ns(&self, quantile: f64) -> u64 {
        self.shared.delay(quantile)
    }

    /// Reads what is left, lets plugins finish, and ends.
    ///
    /// # Errors
    /// When the ring could not be read.
    pub fn stop(self) -> Result<Vec<PluginSummary>, RunError> {
        self.mailbox.post(ReaderChange::Stop);
        if let Some(thread) = self.thread {
            let read = thread
                .join()
                .map_err(|_| RunError::Thread(std::io::Error::other("the reader panicked")))?;
            read?;
        }
        self.roster.stop();
        Ok(self.roster.summaries())
    }
}
