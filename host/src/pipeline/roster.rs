//! The plugins that run: each comes, is replaced, and goes, while events flow.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use krsi_plugin_schema::latest::{Refusal, ToldRunning};

use super::grant_cell::GrantCell;
use super::mailbox::{Mailbox, ReaderChange};
use super::plugin_status::{StatusReader, summary};
use super::prepare::Prepared;
use super::sampler::Sampler;
use super::shared::Shared;
use super::sink::{PluginCommon, PluginCounts, PolicySink, ShadowReports};
use super::steward::Command;
use super::version::Version;
use super::{ReloadError, RunError, clock};
use crate::attach::wanted::Wanted;
use crate::config::{PLUGINS_MAX, PluginSpec, Policies, Settings};
use crate::output::{PluginSummary, RefusalReport, Report};
use crate::plugin::{Candidate, CodeOrigin, Compiler, Engine, Start, Swapped, Worker};
use crate::policy::{Asked, Grant, GrantSpec, Undeclared};
use crate::route::queue::Queue;
use crate::route::subscription::PluginSlot;

/// A plugin that runs.
pub(super) struct Entry {
    pub(super) spec: PluginSpec,
    pub(super) slot: u8,
    pub(super) name: String,
    pub(super) worker: Arc<Worker>,
    pub(super) counts: Arc<PluginCounts>,
    /// Thread that takes the samples that the plugin asked for.
    pub(super) sampler: Arc<Sampler>,
    /// The operator's word on it.
    pub(super) words: Arc<GrantCell>,
    /// The version that runs, whose manifest was accepted.
    pub(super) current: Version,
    /// The version that comes back if that one fails early.
    pub(super) before: Option<Version>,
    pub(super) shadow: Option<String>,
    /// Whether a version of it was told of what ran already.
    told_running: bool,
}

impl Entry {
    /// Grant of the running version.
    pub(super) fn grant(&self) -> Grant {
        self.current.grant(self.words.spec())
    }

    /// What it wants of the kernel. Nothing of it goes while a version that needs it can come back.
    pub(super) fn wanted(&self) -> Wanted {
        let spec = self.words.spec();
        let kept = self.before.as_ref().map(|before| before.kept(self.slot, &spec));
        kept.into_iter().fold(self.current.wanted(self.slot, &spec), Wanted::and)
    }
}

/// The plugins that run, and what starting another takes.
pub(super) struct Roster {
    pub(super) compiler: Compiler,
    /// Engines, one for each limit of the native stack, which is in bytes.
    pub(super) engines: Vec<(usize, Engine)>,
    pub(super) policies: Policies,
    pub(super) shared: Arc<Shared>,
    pub(super) mailbox: Arc<Mailbox>,
    /// Where the plugins' threads tell what changes by itself.
    steward: Sender<Command>,
    entries: Arc<Mutex<Vec<Entry>>>,
    next_slot: u8,
    /// Versions so far.
    versions: u64,
    /// Plugins that are gone, for the summary.
    gone: Vec<PluginSummary>,
    /// What was accepted of plugins that are gone, by name: their file's return is no first load.
    accepted: HashMap<String, Asked>,
    /// Files that others may change, as they were told.
    writable: HashMap<PathBuf, String>,
}

impl Roster {
    pub(super) fn new(
        compiler: Compiler,
        policies: Policies,
        shared: Arc<Shared>,
        mailbox: Arc<Mailbox>,
        steward: Sender<Command>,
    ) -> Self {
        Self {
            compiler,
            engines: Vec::new(),
            policies,
            shared,
            mailbox,
            steward,
            entries: Arc::default(),
            next_slot: 0,
            versions: 0,
            gone: Vec::new(),
            accepted: HashMap::new(),
            writable: HashMap::new(),
        }
    }

    pub(super) fn statuses(&self) -> StatusReader {
        StatusReader(Arc::clone(&self.entries), Arc::clone(&self.shared))
    }

    /// What all plugins want of the kernel, and perhaps one more.
    pub(super) fn wanted(&self, more: Option<Wanted>) -> Wanted {
        let entries = self.entries();
        let each = entries.iter().map(Entry::wanted);
        each.chain(more).fold(Wanted::default(), Wanted::and)
    }

    /// The slot that a plugin has, or would get next.
    pub(super) fn slot_of(&self, name: &str) -> u8 {
        let running = self.entries().iter().find(|entry| entry.name == name).map(|one| one.slot);
        running.or_else(|| self.next_free()).unwrap_or(self.next_slot)
    }

    /// Tells of a file what was not told of it before.
    pub(super) fn report_once(&mut self, file: &Path, text: String) {
        if self.writable.get(file) != Some(&text) {
            self.shared.note(format!("{text} (allowed by --allow-writable)"));
            self.writable.insert(file.to_owned(), text);
        }
    }

    /// Files of the plugins that run.
    pub(super) fn specs(&self) -> Vec<PluginSpec> {
        self.entries().iter().map(|entry| entry.spec.clone()).collect()
    }

    /// The file of a plugin.
    pub(super) fn spec(&self, name: &str) -> Option<PluginSpec> {
        self.entries().iter().find(|entry| entry.name == name).map(|entry| entry.spec.clone())
    }

    /// Starts a plugin whose name nobody has.
    pub(super) fn add(&mut self, prepared: Prepared) -> Result<(), RunError> {
        let Prepared { spec, candidate, settings, asked } = prepared;
        let name = candidate.manifest.name.clone();
        if let Some(taken_by) = self.spec(&name).map(|spec| spec.file) {
            return Err(RunError::SameName { file: spec.file, name, taken_by });
        }
        self.check_labels(&spec.file, &name, &asked)?;
        let slot = self
            .free_slot()
            .ok_or(crate::config::ConfigError::TooManyPlugins { count: PLUGINS_MAX + 1 })?;
        let common = self.common(slot, &name, &settings);
        let PluginCommon { words, counts, queue, sampler, .. } = common.clone();
        let current = self.version(&candidate, asked);
        let grant = current.grant(settings.grant.clone());
        let subscription = current.subscription(slot, &grant, &queue);
        let hello = hello(&candidate, &spec, &current.asked, &grant);
        let start = self.begin(&spec)?;
        let sink = self.sink(common, &current, &candidate);
        let worker = Worker::start(candidate, start, settings.restart, queue, Box::new(sink))?;
        self.mailbox.post(ReaderChange::Subscribe(subscription));
        let told_running = self.survey(&current, &words, (slot, worker.queue()));
        let worker = Arc::new(worker);
        self.entries().push(Entry {
            spec,
            slot,
            name: name.clone(),
            worker,
            counts,
            sampler,
            words: Arc::clone(&words),
            current: current.clone(),
            before: None,
            shadow: None,
            told_running,
        });
        self.shared.note(format!("{name} {hello}"));
        self.report_watches(&name, &current.asked, &words);
        Ok(())
    }

    /// What all versions of a plugin will have in common.
    fn common(&self, slot: u8, name: &str, settings: &Settings) -> PluginCommon {
        let queue = Arc::new(Queue::new(settings.limits.queue_records));
        let words = Arc::new(GrantCell::new(settings.grant.clone()));
        let (shared, its) = (Arc::clone(&self.shared), Arc::clone(&words));
        PluginCommon {
            slot,
            sampler: Arc::new(Sampler::new(name.to_owned(), shared, its, &queue)),
            queue,
            words,
            counts: Arc::new(PluginCounts::default()),
            steward: self.steward.clone(),
        }
    }

    /// That a plugin can have the labels that it declares.
    fn check_labels(&self, file: &Path, name: &str, asked: &Asked) -> Result<(), RunError> {
        let checked = self.shared.turns.turn(|ledger| ledger.check_labels(name, &asked.labels));
        checked.map_err(|source| RunError::Labels { file: file.to_owned(), source })
    }

    /// Lets go of the numbers that were kept for labels which a plugin does not declare.
    pub(super) fn unreserve_labels(&self, name: &str) {
        self.shared.turns.turn(|ledger| ledger.unreserve_labels(name));
    }

    /// What was accepted of the plugin of a name, and whether it runs; `None` of one that never ran.
    pub(super) fn accepted(&self, name: &str) -> Option<(Asked, bool)> {
        let entries = self.entries();
        let running = entries.iter().find(|entry| entry.name == name);
        let running = running.map(|entry| (entry.current.asked.clone(), true));
        running.or_else(|| Some((self.accepted.get(name)?.clone(), false)))
    }

    /// The name that the plugin of a file runs by: the first one that the file gave itself.
    pub(super) fn name_of(&self, file: &Path) -> Option<String> {
        self.entries().iter().find(|entry| entry.spec.file == file).map(|entry| entry.name.clone())
    }

    /// Makes another file that of a plugin, from its next version on.
    pub(super) fn move_to(&self, name: &str, spec: PluginSpec) {
        if let Some(entry) = self.entries().iter_mut().find(|entry| entry.name == name) {
            entry.spec = spec;
        }
    }

    /// Lets a new version take over between two batches.
    pub(super) fn replace(&mut self, prepared: Prepared) -> Result<Swapped, RunError> {
        let Prepared { spec, candidate, settings: _, asked } = prepared;
        let name = candidate.manifest.name.clone();
        let Some((worker, common)) = self.entries().iter().find(|entry| entry.name == name).map(
            |Entry { slot, worker, counts, words, sampler, .. }| {
                let (counts, words, queue) =
                    (Arc::clone(counts), Arc::clone(words), Arc::clone(worker.queue()));
                let (sampler, steward) = (Arc::clone(sampler), self.steward.clone());
                let slot = *slot;
                let common = PluginCommon { slot, queue, words, counts, sampler, steward };
                (Arc::clone(worker), common)
            },
        ) else {
            return Err(RunError::Reload(ReloadError::Unknown { name }));
        };
        self.check_labels(&spec.file, &name, &asked)?;
        let (slot, words) = (common.slot, Arc::clone(&common.words));
        let version = self.version(&candidate, asked);
        let grant = version.grant(words.spec());
        let hello = hello(&candidate, &spec, &version.asked, &grant);
        let sampler = Arc::clone(&common.sampler);
        let again = candidate.manifest.running == ToldRunning::EachVersion;
        let mut told = None;
        let sink = self.sink(common, &version, &candidate);
        let swapped = worker.swap(candidate, self.begin(&spec)?, Box::new(sink))?;
        if !grant.may().samples {
            sampler.end_all();
        }
        let subscription = version.subscription(slot, &grant, worker.queue());
        self.mailbox.post(ReaderChange::Subscribe(subscription));
        if let Some(entry) = self.entries().iter_mut().find(|entry| entry.slot == slot) {
            let number = swapped.before;
            let old = std::mem::replace(&mut entry.current, version.clone());
            // The one that it took over from may have come back itself, and not be told of yet.
            let olds = std::iter::once(old).chain(entry.before.take());
            entry.before = olds.into_iter().find(|old| Some(old.number) == number);
            (entry.spec, entry.shadow) = (spec, None);
            if again || !entry.told_running {
                told = Some(Arc::clone(entry.worker.queue()));
            }
        }
        if let Some(queue) = told
            && self.survey(&version, &words, (slot, &queue))
            && let Some(entry) = self.entries().iter_mut().find(|entry| entry.slot == slot)
        {
            entry.told_running = true;
        }
        if swapped.before.is_none() {
            self.probation_ended(slot, version.number);
        }
        self.report_watches(&name, &version.asked, &words);
        let (from, bytes) = (&swapped.from, swapped.state_bytes);
        let pause = swapped.pause.as_micros();
        self.shared.note(format!(
            "{name} {hello}, in place of {from}, with {bytes} bytes of state, after a pause of {pause} µs"
        ));
        Ok(swapped)
    }

    /// Runs a version beside the plugin of its name.
    pub(super) fn shadow(&mut self, prepared: Prepared) -> Result<(), RunError> {
        let Prepared { spec, candidate, .. } = prepared;
        let (name, version) = (candidate.manifest.name.clone(), candidate.manifest.version.clone());
        let found = self
            .entries()
            .iter()
            .find(|entry| entry.name == name)
            .map(|entry| (entry.slot, Arc::clone(&entry.worker)));
        let Some((slot, worker)) = found else {
            return Err(RunError::Reload(ReloadError::Alone { file: spec.file, name }));
        };
        let sink = ShadowReports {
            shared: Arc::clone(&self.shared),
            plugin: name.clone(),
            version: version.clone(),
            told: (0, 0),
        };
        worker.shadow(candidate, self.begin(&spec)?, Box::new(sink))?;
        if let Some(entry) = self.entries().iter_mut().find(|entry| entry.slot == slot) {
            entry.shadow = Some(version.clone());
        }
        self.shared.note(format!("{name}: shadow {version} runs without effect"));
        Ok(())
    }

    /// Ends a plugin: its events, its thread, its rules.
    pub(super) fn remove(&mut self, file: &Path) {
        let at = self.entries().iter().position(|entry| entry.spec.file == file);
        let Some(at) = at else { return };
        let entry = self.entries().remove(at);
        self.mailbox.post(ReaderChange::Unsubscribe(PluginSlot(entry.slot)));
        entry.sampler.end_all();
        entry.worker.stop();
        let ended = self.shared.turns.withdraw(entry.slot, clock::boot_ns());
        let name = entry.name.as_str().into();
        let turns = &self.shared.turns;
        let gone = turns.turn(|all| all.declare_labels(&name, &[], Undeclared::End));
        if let Err(error) = gone {
            tracing::warn!(%error, "labels of a plugin that is gone are still in use");
        }
        self.gone.push(summary(&entry));
        self.accepted.insert(entry.name.clone(), entry.current.asked.clone());
        self.shared.note(format!("{} unloaded, {ended} rules withdrawn", entry.name));
    }

    /// Tells of a plugin's watches that are not granted; it runs without them.
    fn report_watches(&self, plugin: &str, asked: &Asked, words: &GrantCell) {
        let spec: GrantSpec = words.spec();
        let unix_ns = clock::unix_ns(clock::boot_ns());
        for (watch, why) in spec.refused_watches(&asked.watches) {
            let reason = format!("watch {} `{}`: {why}", watch.index, watch.text);
            let plugin = plugin.to_owned();
            words.queue_outcome(0, Refusal::NotGranted, &reason);
            self.shared.report(Report::Refusal(RefusalReport {
                unix_ns,
                plugin,
                token: 0,
                reason,
            }));
        }
    }

    /// Lets every plugin finish what is queued.
    pub(super) fn stop(&self) {
        let workers: Vec<Arc<Worker>> =
            self.entries().iter().map(|entry| Arc::clone(&entry.worker)).collect();
        workers.iter().for_each(|worker| worker.stop());
    }

    /// Counts of every plugin that ran.
    pub(super) fn summaries(&self) -> Vec<PluginSummary> {
        self.entries().iter().map(summary).chain(self.gone.iter().cloned()).collect()
    }

    fn begin(&self, spec: &PluginSpec) -> Result<Start, RunError> {
        // A seed that differs from run to run; a recording keeps it.
        let seed = clock::boot_ns() ^ u64::from(std::process::id()) << 32;
        let recorder = self.shared.recorder.clone();
        Ok(Start { config: spec.read_config()?.into(), seed, recorder })
    }

    /// Has the calls of all plugins recorded from here on.
    pub(super) fn record(&self) {
        let workers: Vec<Arc<Worker>> =
            self.entries().iter().map(|entry| Arc::clone(&entry.worker)).collect();
        workers.iter().for_each(|worker| worker.record());
    }

    fn sink(&self, common: PluginCommon, version: &Version, candidate: &Candidate) -> PolicySink {
        let (shared, mailbox) = (Arc::clone(&self.shared), Arc::clone(&self.mailbox));
        PolicySink::new(shared, mailbox, common, version.clone(), &candidate.manifest)
    }

    fn version(&mut self, candidate: &Candidate, asked: Asked) -> Version {
        self.versions += 1;
        Version::new(self.versions, &candidate.manifest, asked)
    }

    /// Slots are taken in turn, so that records of a plugin that is gone find nobody in its place.
    fn free_slot(&mut self) -> Option<u8> {
        let slot = self.next_free()?;
        self.next_slot = (slot + 1) % most_slots();
        Some(slot)
    }

    fn next_free(&self) -> Option<u8> {
        let taken = |slot| self.entries().iter().any(|entry| entry.slot == slot);
        let most = most_slots();
        let slots = (0..most).map(|step| (self.next_slot + step) % most);
        let mut free = slots.filter(|slot| !taken(*slot));
        // Rules of a plugin that is gone run to their end, as its own.
        let is_clear = |slot: &u8| self.shared.turns.turn(|ledger| ledger.owned(*slot) == 0);
        free.clone().find(is_clear).or_else(|| free.next())
    }

    pub(super) fn entries(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn most_slots() -> u8 {
    u8::try_from(PLUGINS_MAX).unwrap_or(u8::MAX)
}

/// Who has come, in words: what was asked and not granted is said.
fn hello(candidate: &Candidate, spec: &PluginSpec, asked: &Asked, grant: &Grant) -> String {
    let identity = candidate.identity();
    let hash: String = identity.sha256.chars().take(16).collect();
    let origin = match identity.origin {
        CodeOrigin::Compiled => "compiled",
        CodeOrigin::Cached => "from the cache",
        CodeOrigin::Distrusted => "compiled again because the cached code failed its check",
    };
    let version = &candidate.manifest.version;
    let mut text = format!("{version} runs: {}, sha256 {hash}…, {origin}", identity.contract);
    if let Some(key) = &identity.signed_by {
        text.push_str(&format!(", signed by {key}"));
    }
    match &spec.config {
        Some(config) => text.push_str(&format!(", configured by {}", config.path().display())),
        None => text.push_str(", without a configuration"),
    }
    if let Some(other) = spec.misspelt() {
        let name = spec.file.with_extension("toml");
        text.push_str(&format!(" ({} is not read: {} would be)", other.display(), name.display()));
    }
    let refused = asked.beyond(grant.may());
    if !refused.is_empty() {
        text.push_str(&format!(", not granted: {}", refused.join(", ")));
    }
    text
}
