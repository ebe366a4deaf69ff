//! The plugins that run: each comes, is replaced, and goes, while events flow.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use krsi_plugin_schema::Schema;
use krsi_plugin_schema::latest::KeyKind;

use super::ask::asked;
use super::board::{Board, summary};
use super::filters;
use super::mailbox::{Change, Mailbox};
use super::shared::Shared;
use super::sink::{Counts, PolicySink, ShadowReports};
use super::vital;
use super::wanted::Wanted;
use super::watches::Watch;
use super::{ReloadError, RunError, clock};
use crate::config::{PLUGINS_MAX, PluginSpec, Policies, Settings};
use crate::output::{PluginSummary, RefusalReport, Report};
use crate::plugin::{Candidate, Compiler, Engine, Manifest, Origin, Start, Swapped, Worker};
use crate::policy::{Asked, AskedWatch, Grant, GrantSpec};
use crate::route::queue::Queue;
use crate::route::subscription::{PluginSlot, Subscription};

/// Whether a manifest that asks for more than its predecessor is granted it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wider {
    /// No: the old version stays, and the difference is told.
    Refuse,
    /// The operator has said so.
    Accept,
}

/// A plugin that runs.
pub(super) struct Entry {
    pub(super) spec: PluginSpec,
    pub(super) slot: u8,
    pub(super) name: String,
    pub(super) worker: Arc<Worker>,
    pub(super) counts: Arc<Counts>,
    /// What its manifest was accepted to ask for.
    pub(super) accepted: Asked,
    /// What it may do now.
    pub(super) grant: Grant,
    pub(super) shadow: Option<String>,
}

/// All of them.
pub(super) struct Roster {
    compiler: Compiler,
    /// One engine for each limit of stack.
    engines: Vec<(usize, Engine)>,
    pub(super) policies: Policies,
    shared: Arc<Shared>,
    mailbox: Arc<Mailbox>,
    entries: Arc<Mutex<Vec<Entry>>>,
    next_slot: u8,
    /// Plugins that are gone, for the summary.
    gone: Vec<PluginSummary>,
}

/// A described plugin and what the operator says of it.
pub(super) struct Prepared {
    spec: PluginSpec,
    candidate: Candidate,
    settings: Settings,
    asked: Asked,
}

impl Prepared {
    /// What it wants of the kernel, as the plugin of a slot.
    pub(super) fn wanted(&self, slot: u8) -> Wanted {
        let grant = Grant::new(self.asked.clone(), self.settings.grant.clone());
        wanted(slot, &self.candidate.manifest, &grant)
    }

    /// Its name.
    pub(super) fn name(&self) -> &str {
        &self.candidate.manifest.name
    }
}

impl Roster {
    pub(super) fn new(
        compiler: Compiler,
        policies: Policies,
        shared: Arc<Shared>,
        mailbox: Arc<Mailbox>,
    ) -> Self {
        let entries = Arc::default();
        let (engines, gone) = (Vec::new(), Vec::new());
        Self { compiler, engines, policies, shared, mailbox, entries, next_slot: 0, gone }
    }

    pub(super) fn board(&self) -> Board {
        Board(Arc::clone(&self.entries), Arc::clone(&self.shared))
    }

    /// What all plugins want of the kernel, and perhaps one more.
    pub(super) fn wanted(&self, more: Option<Wanted>) -> Wanted {
        let entries = self.entries();
        let each = entries
            .iter()
            .map(|entry| wanted(entry.slot, &entry.worker.about().manifest, &entry.grant));
        each.chain(more).fold(Wanted::default(), Wanted::and)
    }

    /// The slot that a plugin has, or would get next.
    pub(super) fn slot_of(&self, name: &str) -> u8 {
        let running = self.entries().iter().find(|entry| entry.name == name).map(|one| one.slot);
        running.or_else(|| self.next_free()).unwrap_or(self.next_slot)
    }

    /// Files of the plugins that run.
    pub(super) fn specs(&self) -> Vec<PluginSpec> {
        self.entries().iter().map(|entry| entry.spec.clone()).collect()
    }

    /// The file of a plugin.
    pub(super) fn spec(&self, name: &str) -> Option<PluginSpec> {
        self.entries().iter().find(|entry| entry.name == name).map(|entry| entry.spec.clone())
    }

    /// Compiles a plugin and asks what it wants.
    pub(super) fn prepare(&mut self, spec: PluginSpec) -> Result<Prepared, RunError> {
        let stem = spec.file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let settings = self.policies.of(&stem)?;
        let candidate = self.describe(&spec.file, &settings)?;
        // The file is named as the plugin is, as a rule; if not, what counts is the plugin's name.
        let named = self.policies.of(&candidate.manifest.name)?;
        let candidate =
            if named == settings { candidate } else { self.describe(&spec.file, &named)? };
        vital::check(&self.shared.machine, &candidate.manifest, &named)?;
        let asked = asked(&candidate.manifest);
        Ok(Prepared { spec, candidate, settings: named, asked })
    }

    fn describe(&mut self, file: &Path, settings: &Settings) -> Result<Candidate, RunError> {
        let engine = self.engine(settings.limits.stack_bytes)?;
        Ok(Candidate::describe(self.compiler.load(&engine, file, settings.limits)?)?)
    }

    fn engine(&mut self, stack_bytes: usize) -> Result<Engine, RunError> {
        if let Some((_, engine)) = self.engines.iter().find(|(bytes, _)| *bytes == stack_bytes) {
            return Ok(engine.clone());
        }
        let engine = Engine::new(stack_bytes)?;
        self.engines.push((stack_bytes, engine.clone()));
        Ok(engine)
    }

    /// Starts a plugin whose name nobody has.
    pub(super) fn add(&mut self, prepared: Prepared) -> Result<(), RunError> {
        let Prepared { spec, candidate, settings, asked } = prepared;
        let name = candidate.manifest.name.clone();
        if self.entries().iter().any(|entry| entry.name == name) {
            return Err(RunError::SameName { file: spec.file, name });
        }
        let slot = self
            .free_slot()
            .ok_or(crate::config::ConfigError::TooManyPlugins { count: PLUGINS_MAX + 1 })?;
        let grant = Grant::new(asked.clone(), settings.grant.clone());
        let counts = Arc::new(Counts::default());
        let sink = self.sink(slot, &candidate, &grant, &counts);
        let queue = Arc::new(Queue::new(settings.limits.queue_records));
        let schema = candidate.manifest.schema;
        let (subscription, hello) =
            (subscription(slot, schema, &grant, &queue), hello(&candidate, &asked, &grant));
        let told = (asked.clone(), settings.grant.clone());
        let start = begin(&spec)?;
        let worker = Worker::start(candidate, start, settings.restart, queue, Box::new(sink))?;
        self.mailbox.post(Change::Subscribe(subscription));
        let worker = Arc::new(worker);
        self.entries().push(Entry {
            spec,
            slot,
            name: name.clone(),
            worker,
            counts,
            accepted: asked,
            grant,
            shadow: None,
        });
        self.shared.note(format!("{name} {hello}"));
        self.tell_watches(&name, &told.0, &told.1);
        Ok(())
    }

    /// Whether the very same file runs already.
    pub(super) fn runs(&self, prepared: &Prepared) -> bool {
        let sha256 = &prepared.candidate.identity().sha256;
        let entries = self.entries();
        let mut same = entries.iter().filter(|entry| entry.name == prepared.name());
        same.any(|entry| entry.worker.about().identity.sha256 == *sha256)
    }

    /// Whether a version may take over the plugin of its name, from the operator's side.
    pub(super) fn check(&self, prepared: &Prepared, wider: Wider) -> Result<(), ReloadError> {
        let name = prepared.name().to_owned();
        let entries = self.entries();
        let entry = entries.iter().find(|entry| entry.name == name);
        let entry = entry.ok_or_else(|| ReloadError::Unknown { name: name.clone() })?;
        let spec = &prepared.settings.grant;
        let (asked, accepted) = (&prepared.asked, &entry.accepted);
        // Where the operator's configuration speaks, it decides; elsewhere the first manifest does.
        let bounded = asked.watches.iter().filter(|watch| {
            let words = if watch.denies() { spec.deny_hooks } else { spec.hooks };
            words.is_some()
        });
        let bound = Asked {
            hooks: if spec.hooks.is_some() { asked.hooks } else { accepted.hooks },
            deny_hooks: if spec.deny_hooks.is_some() {
                asked.deny_hooks
            } else {
                accepted.deny_hooks
            },
            deny_keys: if spec.deny_keys.is_some() { asked.deny_keys } else { accepted.deny_keys },
            filters: if spec.hooks.is_some() { &asked.filters } else { &accepted.filters }.clone(),
            watches: accepted.watches.iter().chain(bounded).cloned().collect(),
            kill: asked.kill,
        };
        let more = asked.beyond(&bound);
        if !more.is_empty() && wider == Wider::Refuse {
            return Err(ReloadError::Wider { file: prepared.spec.file.clone(), name, more });
        }
        Ok(())
    }

    /// Lets a new version take over between two batches.
    pub(super) fn replace(&mut self, prepared: Prepared) -> Result<Swapped, RunError> {
        let Prepared { spec, candidate, settings, asked } = prepared;
        let name = candidate.manifest.name.clone();
        let found = self
            .entries()
            .iter()
            .find(|entry| entry.name == name)
            .map(|entry| (entry.slot, Arc::clone(&entry.worker), Arc::clone(&entry.counts)));
        let Some((slot, worker, counts)) = found else {
            return Err(RunError::Reload(ReloadError::Unknown { name }));
        };
        let grant = Grant::new(asked.clone(), settings.grant.clone());
        let (schema, hello) = (candidate.manifest.schema, hello(&candidate, &asked, &grant));
        let told = (asked.clone(), settings.grant.clone());
        let sink = self.sink(slot, &candidate, &grant, &counts);
        let swapped = worker.swap(candidate, begin(&spec)?, Box::new(sink))?;
        let subscription = subscription(slot, schema, &grant, worker.queue());
        self.mailbox.post(Change::Subscribe(subscription));
        if let Some(entry) = self.entries().iter_mut().find(|entry| entry.slot == slot) {
            (entry.accepted, entry.grant, entry.spec) = (asked, grant, spec);
            entry.shadow = None;
        }
        self.tell_watches(&name, &told.0, &told.1);
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
            return Err(RunError::Reload(ReloadError::Unknown { name }));
        };
        let sink = ShadowReports {
            shared: Arc::clone(&self.shared),
            plugin: name.clone(),
            version: version.clone(),
            told: (0, 0),
        };
        worker.shadow(candidate, begin(&spec)?, Box::new(sink))?;
        if let Some(entry) = self.entries().iter_mut().find(|entry| entry.slot == slot) {
            entry.shadow = Some(version.clone());
        }
        self.shared.note(format!("{name}: shadow {version} runs beside, without effect"));
        Ok(())
    }

    /// Ends a plugin: its events, its thread, its rules.
    pub(super) fn remove(&mut self, file: &Path) {
        let at = self.entries().iter().position(|entry| entry.spec.file == file);
        let Some(at) = at else { return };
        let entry = self.entries().remove(at);
        self.mailbox.post(Change::Unsubscribe(PluginSlot(entry.slot)));
        entry.worker.stop();
        let ended = self.shared.ledger().withdraw(entry.slot, clock::boot_ns()).len();
        self.gone.push(summary(&entry));
        self.shared.note(format!("{} unloaded, {ended} rules withdrawn", entry.name));
    }

    /// Tells of a plugin's watches that are not granted; it runs without them.
    fn tell_watches(&self, plugin: &str, asked: &Asked, spec: &GrantSpec) {
        let unix_ns = clock::unix_ns(clock::boot_ns());
        for watch in asked.watches.iter() {
            let Err(why) = spec.check_watch(watch) else { continue };
            tracing::warn!(plugin, watch = watch.text, %why, "watch left out");
            let reason = format!("watch {} `{}`: {why}", watch.index, watch.text);
            let plugin = plugin.to_owned();
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

    fn sink(
        &self,
        slot: u8,
        candidate: &Candidate,
        grant: &Grant,
        counts: &Arc<Counts>,
    ) -> PolicySink {
        PolicySink::new(
            Arc::clone(&self.shared),
            Arc::clone(&self.mailbox),
            (slot, &candidate.manifest),
            grant.clone(),
            Arc::clone(counts),
        )
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
        (0..most).map(|step| (self.next_slot + step) % most).find(|slot| !taken(*slot))
    }

    fn entries(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn most_slots() -> u8 {
    u8::try_from(PLUGINS_MAX).unwrap_or(u8::MAX)
}

/// What a plugin wants of the kernel.
fn wanted(slot: u8, manifest: &Manifest, grant: &Grant) -> Wanted {
    let may = grant.may();
    let watch = |watch: &AskedWatch| Watch {
        owner: slot,
        plugin: manifest.name.clone(),
        index: watch.index,
        text: watch.text.clone(),
        mode: grant.spec().mode,
    };
    Wanted {
        seen: may.hooks,
        denied: may.deny_hooks,
        digests: may.deny_keys.contains(KeyKind::Digest),
        watches: may.watches.iter().map(watch).collect(),
        filters: filters::Asked::of_plugin(slot, may.hooks.iter(), &manifest.filters),
    }
}

fn begin(spec: &PluginSpec) -> Result<Start, RunError> {
    // A seed that differs from run to run; a recording will keep it.
    let seed = clock::boot_ns() ^ u64::from(std::process::id()) << 32;
    Ok(Start { config: spec.read_config()?.into(), seed })
}

fn subscription(slot: u8, schema: Schema, grant: &Grant, queue: &Arc<Queue>) -> Subscription {
    Subscription {
        slot: PluginSlot(slot),
        schema,
        hooks: grant.may().hooks,
        denied: grant.may().deny_hooks,
        scope: grant.spec().scope.clone(),
        queue: Arc::clone(queue),
    }
}

/// Who has come, in words: what was asked and not granted is said.
fn hello(candidate: &Candidate, asked: &Asked, grant: &Grant) -> String {
    let identity = candidate.identity();
    let hash: String = identity.sha256.chars().take(16).collect();
    let origin = match identity.origin {
        Origin::Compiled => "compiled",
        Origin::Cached => "from the cache",
        Origin::Distrusted => "compiled anew, as the cached code was not to be trusted",
    };
    let version = &candidate.manifest.version;
    let mut text = format!("{version} runs: {}, sha256 {hash}…, {origin}", identity.contract);
    if let Some(key) = &identity.signed_by {
        text.push_str(&format!(", signed by {key}"));
    }
    let refused = asked.beyond(grant.may());
    if !refused.is_empty() {
        text.push_str(&format!(", not granted: {}", refused.join(", ")));
    }
    text
}

/// Paths of the plugins in a folder, in order.
pub(super) fn in_folder(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder)?;
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "wasm"));
    files.sort();
    Ok(files)
}
