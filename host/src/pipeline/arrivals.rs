//! Files of plugins that come, change and go, and what becomes of the plugin of each.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use super::prepare::{Prepared, Wider};
use super::reloaded::Reloaded;
use super::steward::{Steward, attach};
use super::{ReloadError, RunError};
use crate::config::{Config, PluginSpec};
use crate::files::{DueFile, PluginPlace, in_folder, is_same_folder, without_twins};

/// Why a plugin is loaded again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    /// Its file may have changed: if it has not, nothing happens.
    File,
    /// Somebody wants it, or its configuration has changed.
    Order,
}

/// Files that wait for something else than themselves.
#[derive(Debug, Default)]
pub(super) struct WaitingFiles {
    /// Plugins whose name another file has.
    names: HashSet<PathBuf>,
    /// Shadows of plugins that do not run.
    shadows: HashSet<PathBuf>,
}

/// What lies in the folders at the start, beside what is named.
pub(super) fn found_at_start(config: &Config) -> Vec<PathBuf> {
    let folders = config.plugin_dirs.iter();
    let files = folders.filter_map(|folder| in_folder(folder).ok()).flatten().collect();
    without_twins(files, &named(config))
}

/// Files that are named on the command line.
pub(super) fn named(config: &Config) -> Vec<PathBuf> {
    let plugins = config.plugins.iter().map(|spec| &spec.file);
    plugins.chain(&config.shadows).cloned().collect()
}

impl PluginPlace {
    /// Where a plugin lies that runs or is to run.
    pub(super) fn of(spec: &PluginSpec) -> Self {
        let beside = Self::beside(spec.file.clone());
        match &spec.config {
            Some(config) => Self { config: config.path().to_owned(), ..beside },
            None => beside,
        }
    }
}

impl Steward {
    /// Loads the plugin of a name, or every one, from its file, by the configuration as it is now.
    pub(super) fn reload(
        &mut self,
        name: Option<&str>,
        wider: Wider,
    ) -> Vec<Result<Reloaded, RunError>> {
        let shared = Arc::clone(&self.shared);
        let refused = |error: RunError| {
            shared.note(error.line());
            vec![Err(error)]
        };
        match self.config.policies() {
            Ok(policies) => self.roster.policies = policies,
            Err(error) => return refused(RunError::Config(error)),
        }
        // What the operator says now holds for what runs, whatever becomes of a new version.
        if let Err(error) = self.roster.hear(name) {
            return refused(RunError::Config(error));
        }
        let specs = match name {
            None => self.roster.specs(),
            Some(name) => match self.roster.spec(name) {
                Some(spec) => vec![spec],
                None => match self.come_by_name(name, wider) {
                    Some(result) => return vec![result],
                    None => {
                        let error = ReloadError::Unknown { name: name.into() };
                        return refused(RunError::Reload(error));
                    }
                },
            },
        };
        let mut results = Vec::new();
        // Stamped before it is read: what changes meanwhile is found by the next look.
        let places: Vec<PluginPlace> = specs.iter().map(PluginPlace::of).collect();
        self.files.take(&places, Instant::now());
        for spec in specs {
            let file = spec.file.clone();
            if self.is_gone(&file) {
                results.extend(self.follow(&file));
            } else {
                let result = self.reload_file(spec, wider, Cause::Order);
                results.push(self.became(&file, result));
            }
        }
        if name.is_none() {
            let files = self.folders();
            let places: Vec<PluginPlace> = files.iter().cloned().map(PluginPlace::beside).collect();
            self.files.take(&places, Instant::now());
            results.extend(files.into_iter().map(|file| self.come(&file, wider)));
            let waiting: Vec<PathBuf> = self.waiting.shadows.iter().cloned().collect();
            self.shadow_files(&waiting);
        }
        self.update_hooks();
        results
    }

    /// Looks at what lies where plugins lie, and deals with what is another than before. Files that are `told`
    /// are complete.
    pub(super) fn look_at_files(&mut self, told: &HashSet<PathBuf>) {
        let now = Instant::now();
        let specs = self.roster.specs();
        let shadows = self.config.shadows.iter().cloned().map(PluginPlace::beside);
        let mut places: Vec<PluginPlace> =
            specs.iter().map(PluginPlace::of).chain(shadows).collect();
        let others: Vec<PathBuf> = places.iter().map(|place| place.file.clone()).collect();
        let listed = self.files.in_folders(&self.config.plugin_dirs, &others, now);
        places.extend(listed.into_iter().map(PluginPlace::beside));
        for (folder, why) in self.files.unread() {
            let folder = folder.display();
            self.shared.note(format!(
                "--plugin-dir {folder}: {why}: what ran from there runs on, and what comes to lie there will run"
            ));
        }
        let found = self.files.look(&places, told, now);
        self.shared.keep_rejected(|file| places.iter().any(|place| place.file == file));
        if found.is_empty() {
            return;
        }
        found.into_iter().for_each(|found| self.deal(&found));
        self.update_hooks();
    }

    fn deal(&mut self, found: &DueFile) {
        let file = &found.file;
        let running = self.roster.specs().into_iter().find(|spec| spec.file == *file);
        match running {
            Some(_) if found.is_gone => {
                // One that was named on the command line and is gone says nothing: what runs, runs on.
                if self.is_gone(file) {
                    // What became of it is noted.
                    let _noted = self.follow(file);
                }
            }
            Some(spec) => {
                let cause = if found.is_configured_anew { Cause::Order } else { Cause::File };
                let result = self.reload_file(spec, Wider::Refuse, cause);
                let _noted = self.became(file, result);
            }
            None if found.is_gone => {}
            None if self.config.shadows.contains(file) => {
                self.shadow_files(std::slice::from_ref(file))
            }
            None => {
                let _noted = self.come(file, Wider::Refuse);
            }
        }
    }

    /// Tells of files in folders that are no plugins; they stop nothing.
    pub(super) fn report_rejected(&mut self, rejected: Vec<(PathBuf, RunError)>) {
        if rejected.is_empty() {
            return;
        }
        for (file, error) in rejected {
            // What became of it is noted.
            let _noted = self.became(&file, Err(error));
        }
        // Watches may name labels of what does not run.
        self.update_hooks();
    }

    /// Notes what became of a file, and keeps for `status` why it does not run.
    fn became(
        &mut self,
        file: &Path,
        result: Result<Reloaded, RunError>,
    ) -> Result<Reloaded, RunError> {
        self.waiting.names.remove(file);
        match &result {
            Ok(_) => self.shared.accept(file),
            Err(error) => {
                self.shared.reject(file, error.line());
                if matches!(error, RunError::SameName { .. }) {
                    self.waiting.names.insert(file.to_owned());
                }
            }
        }
        result
    }

    /// Whether a file lay in a folder of plugins and does not any more. Where the folder itself is gone, nothing is
    /// known of the file.
    fn is_gone(&self, file: &Path) -> bool {
        let has_folder = file.parent().is_some_and(Path::is_dir);
        has_folder && self.is_in_folder(file) && !file.exists()
    }

    /// What becomes of the plugin of a file that is gone from its folder: another file there that calls
    /// itself the same takes over, the youngest of several; if there is none, the plugin ends, and one of another
    /// folder that waits for the name is loaded.
    fn follow(&mut self, gone: &Path) -> Option<Result<Reloaded, RunError>> {
        let name = self.roster.name_of(gone)?;
        let mut others = self.folders();
        others.retain(|file| is_beside(file, gone));
        let written = |file: &PathBuf| file.metadata().and_then(|meta| meta.modified()).ok();
        others.sort_by_key(|file| std::cmp::Reverse(written(file)));
        for file in others {
            // What is wrong with a file was told when it came.
            let Ok(prepared) = self.roster.prepare(PluginSpec::beside(file.clone())) else {
                continue;
            };
            if prepared.name() == name {
                self.roster.move_to(&name, PluginSpec::beside(file.clone()));
                let result = self.take_over(prepared, Wider::Refuse, Cause::File);
                return Some(self.became(&file, result));
            }
        }
        self.roster.remove(gone);
        self.shared.accept(gone);
        for file in self.waiting.names.clone() {
            // What became of it is noted.
            let _noted = self.come(&file, Wider::Refuse);
        }
        Some(Ok(Reloaded::Unloaded { name }))
    }

    /// Files in the folders that do not run yet.
    fn folders(&self) -> Vec<PathBuf> {
        let specs = self.roster.specs().into_iter().map(|spec| spec.file);
        let others: Vec<PathBuf> = specs.chain(self.config.shadows.iter().cloned()).collect();
        let folders = self.config.plugin_dirs.iter();
        let files = folders.filter_map(|folder| in_folder(folder).ok()).flatten().collect();
        without_twins(files, &others)
    }

    fn is_in_folder(&self, file: &Path) -> bool {
        let folder = |parent: &Path| {
            self.config.plugin_dirs.iter().any(|folder| is_same_folder(folder, parent))
        };
        file.parent().is_some_and(folder)
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
        let swapped = self.attach_for(&prepared).and_then(|()| self.roster.replace(prepared));
        self.roster.unreserve_labels(&name);
        Ok(Reloaded::TookOver { name, swapped: swapped? })
    }

    /// Loads a file that does not run yet, and the shadows that wait for its plugin.
    fn come(&mut self, file: &Path, wider: Wider) -> Result<Reloaded, RunError> {
        let result = self.load_file(file.to_owned(), wider);
        let result = self.became(file, result);
        if matches!(result, Ok(Reloaded::Loaded { .. })) {
            let waiting: Vec<PathBuf> = self.waiting.shadows.iter().cloned().collect();
            self.shadow_files(&waiting);
        }
        result
    }

    /// Loads the file in the folders that gives itself a name, by which no plugin runs.
    fn come_by_name(&mut self, name: &str, wider: Wider) -> Option<Result<Reloaded, RunError>> {
        let named = self.folders().into_iter().find(|file| {
            let prepared = self.roster.prepare(PluginSpec::beside(file.clone()));
            prepared.is_ok_and(|prepared| prepared.name() == name)
        });
        let result = self.come(&named?, wider);
        self.update_hooks();
        Some(result)
    }

    fn load_file(&mut self, file: PathBuf, wider: Wider) -> Result<Reloaded, RunError> {
        let prepared = self.roster.prepare(PluginSpec::beside(file.clone()))?;
        let name = prepared.name().to_owned();
        if let Some(before) = self.roster.spec(&name).map(|spec| spec.file)
            && self.is_gone(&before)
            && is_beside(&before, &file)
        {
            self.roster.move_to(&name, PluginSpec::beside(file));
            return self.take_over(prepared, Wider::Refuse, Cause::File);
        }
        if self.roster.spec(&name).is_none() {
            self.roster.check(&prepared, wider).map_err(RunError::Reload)?;
        }
        let added = self.attach_for(&prepared).and_then(|()| self.roster.add(prepared));
        self.roster.unreserve_labels(&name);
        added.map(|()| Reloaded::Loaded { name })
    }

    /// Attaches what a plugin wants beyond what is attached.
    fn attach_for(&mut self, prepared: &Prepared) -> Result<(), RunError> {
        prepared.reserve_labels(&self.shared)?;
        let slot = self.roster.slot_of(prepared.name());
        let wanted = self.wanted(Some(prepared.wanted(slot)));
        attach(&mut self.hooks, wanted, &self.shared)?;
        self.report_not_attached();
        self.shared.publish(self.hooks.published());
        Ok(())
    }

    /// Starts versions beside the plugins of their names; one that cannot be is told, and waits if its plugin may
    /// still come.
    pub(super) fn shadow_files(&mut self, files: &[PathBuf]) {
        for file in files {
            let waited = self.waiting.shadows.remove(file);
            match self.shadow_file(file) {
                Ok(()) => self.shared.accept(file),
                Err(error) => {
                    let is_alone = matches!(error, RunError::Reload(ReloadError::Alone { .. }));
                    if is_alone {
                        self.waiting.shadows.insert(file.clone());
                    }
                    // Told once.
                    if !(is_alone && waited) {
                        self.shared.reject(file, error.line());
                    }
                }
            }
        }
    }

    /// Starts a version beside the plugin of its name.
    fn shadow_file(&mut self, file: &Path) -> Result<(), RunError> {
        let prepared = self.roster.prepare_beside(PluginSpec::beside(file.into()))?;
        self.roster.shadow(prepared)
    }
}

/// Whether two files lie in one folder.
fn is_beside(one: &Path, other: &Path) -> bool {
    one.parent().zip(other.parent()).is_some_and(|(one, other)| is_same_folder(one, other))
}
