//! A file → a plugin that is described, may have its name, and asks for no more than is granted.

use std::path::Path;

use super::ask::asked;
use super::roster::Roster;
use super::shared::Shared;
use super::version::Version;
use super::{ReloadError, RunError};
use crate::attach::wanted::Wanted;
use crate::config::{PluginSpec, Settings};
use crate::machine;
use crate::plugin::{Candidate, Engine};
use crate::policy::Asked;

/// Whether a manifest that asks for more than its predecessor is granted it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wider {
    /// No: the old version stays, and the difference is told.
    Refuse,
    /// The operator has said so.
    Accept,
}

/// A described plugin and what the operator says of it.
pub(super) struct Prepared {
    pub(super) spec: PluginSpec,
    pub(super) candidate: Candidate,
    pub(super) settings: Settings,
    pub(super) asked: Asked,
}

impl Prepared {
    /// What it wants of the kernel, as the plugin of a slot.
    pub(super) fn wanted(&self, slot: u8) -> Wanted {
        let version = Version::new(0, &self.candidate.manifest, self.asked.clone());
        version.wanted(slot, &self.settings.grant)
    }

    /// Keeps numbers for its labels, so that watches can name them before it runs.
    pub(super) fn reserve_labels(&self, shared: &Shared) -> Result<(), RunError> {
        let (name, labels) = (self.name(), &self.asked.labels);
        shared
            .turns
            .turn(|ledger| ledger.check_labels(name, labels))
            .map_err(|source| RunError::Labels { file: self.file().to_owned(), source })?;
        if let Err(error) = shared.turns.turn(|ledger| ledger.reserve_labels(name, labels)) {
            tracing::warn!(name, %error, "the plugin's watches cannot name its labels");
        }
        Ok(())
    }

    pub(super) fn file(&self) -> &Path {
        &self.spec.file
    }

    pub(super) fn name(&self) -> &str {
        &self.candidate.manifest.name
    }
}

impl Roster {
    /// Compiles a plugin that may have its name, and asks what it wants.
    pub(super) fn prepare(&mut self, spec: PluginSpec) -> Result<Prepared, RunError> {
        let prepared = self.prepare_beside(spec)?;
        let Prepared { candidate, settings, .. } = &prepared;
        settings.pin.check(&candidate.manifest.name, candidate.identity())?;
        Ok(prepared)
    }

    /// The same of one that only runs beside the plugin of its name: another file, and other bytes, than
    /// are pinned, but signed with the pinned key.
    pub(super) fn prepare_beside(&mut self, spec: PluginSpec) -> Result<Prepared, RunError> {
        // Before it is read: whoever may write there decides what it is.
        for (file, text) in self.policies.check_writers(&spec)? {
            self.report_once(&file, text);
        }
        let stem = spec.file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let settings = self.policies.of(&stem)?;
        let candidate = self.describe(&spec.file, &settings)?;
        // The file is named as the plugin is, as a rule; if not, what counts is the plugin's name.
        let named = self.policies.of(&candidate.manifest.name)?;
        let candidate =
            if named == settings { candidate } else { self.describe(&spec.file, &named)? };
        machine::check_manifest(&self.shared.machine, &candidate.manifest, &named)?;
        let asked = asked(&candidate.manifest);
        Ok(Prepared { spec, candidate, settings: named, asked })
    }

    fn describe(&mut self, file: &Path, settings: &Settings) -> Result<Candidate, RunError> {
        let engine = self.engine(settings.limits.stack_bytes)?;
        let key = settings.pin.trusted_key(file)?;
        let pre = self.compiler.load_pinned(&engine, file, settings.limits, key.as_ref())?;
        Ok(Candidate::describe(pre)?)
    }

    fn engine(&mut self, stack_bytes: usize) -> Result<Engine, RunError> {
        if let Some((_, engine)) = self.engines.iter().find(|(bytes, _)| *bytes == stack_bytes) {
            return Ok(engine.clone());
        }
        let engine = Engine::new(stack_bytes)?;
        self.engines.push((stack_bytes, engine.clone()));
        Ok(engine)
    }

    /// Whether the very same file runs already.
    pub(super) fn runs(&self, prepared: &Prepared) -> bool {
        let sha256 = &prepared.candidate.identity().sha256;
        let entries = self.entries();
        let mut same = entries.iter().filter(|entry| entry.name == prepared.name());
        same.any(|entry| entry.worker.about().identity.sha256 == *sha256)
    }

    /// Whether a version may take over the plugin of its name, or come after it, from the operator's side.
    pub(super) fn check(&self, prepared: &Prepared, wider: Wider) -> Result<(), ReloadError> {
        let name = prepared.name().to_owned();
        let Some((accepted, is_running)) = self.accepted(&name) else { return Ok(()) };
        let spec = &prepared.settings.grant;
        let asked = &prepared.asked;
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
            labels: accepted.labels.clone(),
            running: accepted.running,
            samples: accepted.samples,
            kill: asked.kill,
        };
        let more = asked.beyond(&bound);
        if !more.is_empty() && wider == Wider::Refuse {
            let file = prepared.spec.file.clone();
            return Err(ReloadError::Wider { file, name, more, is_running });
        }
        Ok(())
    }
}
