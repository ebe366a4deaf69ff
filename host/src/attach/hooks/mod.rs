//! The programs in the kernel, as many as somebody asks for: attached, proven live, and told to forward.

mod watch;

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;

use krsi_host_abi::deny::flag;
use krsi_host_abi::hook::{HOOKS, Hook as AbiHook, WATCH_FIRST};
use krsi_plugin_schema::latest::{HookSet, LostOf};

use super::digests::DigestProgram;
use super::error::AttachError;
use super::left_out::{LeftOut, NotAttached, UsedSlot};
use super::proof::{BackendProof, KeyOf};
use super::published::{LossSource, LossSubject, Published};
use super::wanted::Wanted;
use super::watches::Watches;
use super::witness::{HookCounts, Witnesses};
use crate::config::{Config, ModeArg, RuleSettings};
use crate::decode::{CallLayout, CallLayouts};
use crate::kernel::btf::KernelTypes;
use crate::kernel::btf::trim;
use crate::kernel::map::label::LabelProgram;
use crate::kernel::map::{Counters, Filters, Flags, KernelMaps, RulesObeyed};
use crate::kernel::program::canary::{self, Unproven};
use crate::kernel::program::job::Job;
use crate::kernel::program::load::{HookError, LiveProgram, Loader};
use crate::kernel::program::object::{MapRoom, ObjectFile};
use crate::kernel::program::plan;
use crate::kernel::program::processes::TaskIterator;
use crate::kernel::spec::curated::{self, Bits, CuratedRow};
use crate::kernel::survey::probe;
use crate::output::Witnessed;
use crate::route::filter::FOLLOWED;

/// Hook that is called when an exec begins.
pub(super) const EXEC_BEGINS: AbiHook = AbiHook::BprmCredsForExec;

/// The object and its programs: dropping it detaches every hook.
pub(crate) struct Hooks {
    loader: Loader,
    /// The kernel's types, from the start until the first hooks are attached.
    types: Option<KernelTypes>,
    live: Vec<LiveProgram>,
    watches: Watches,
    layouts: CallLayouts,
    /// Program that changes the labels of processes, run by the host.
    labels: LabelProgram,
    flags: Flags,
    filters: Filters,
    counters: Arc<Counters>,
    mode: ModeArg,
    proof: BackendProof,
    /// Attached, and not seen to be called.
    unproven: Vec<Unproven>,
    /// Slots that had a program at some time, for the summary.
    used: Vec<UsedSlot>,
    refused: Vec<NotAttached>,
    digests: DigestProgram,
    witnesses: Witnesses,
    /// Hooks that are left alone.
    without: Vec<String>,
}

impl Hooks {
    /// Creates the maps and attaches nothing.
    pub(crate) fn load(
        config: &Config,
        rules: &RuleSettings,
    ) -> Result<(Self, KernelMaps), AttachError> {
        let is_own = |hook: &AbiHook| FOLLOWED.iter().any(|own| own.name() == hook.name());
        let may_leave = |name: &String| AbiHook::from_name(name).is_some_and(|hook| !is_own(&hook));
        if let Some(hook) = config.without.iter().find(|name| !may_leave(name)) {
            return Err(AttachError::Without { hook: hook.clone() });
        }
        trim::keep_little();
        let types = KernelTypes::running()?;
        let plan = plan::plan(&types, |_| true);
        for field in &plan.missing {
            let (structure, member, why) = (field.structure, field.member, field.why);
            tracing::warn!(structure, member, %why, "field left out");
        }
        let mut sizes = rules.capacity.clone();
        sizes.push(("TELEMETRY", config.ring_bytes));
        let (file, mut maps) = ObjectFile::create(&sizes, MapRoom::of(&types))?;
        let path_secret = RandomState::new().build_hasher().finish();
        let backend = config.backend.unwrap_or_else(probe::backend);
        let loader = Loader::new(file, backend.backend(), &plan, path_secret, &types);
        let obeyed = if config.mode == ModeArg::Off { RulesObeyed::No } else { RulesObeyed::Yes };
        let maps = KernelMaps::take(&mut maps, path_secret, obeyed)?;
        let hooks = Self {
            loader,
            types: Some(types),
            live: Vec::new(),
            watches: Watches::default(),
            layouts: CallLayouts::default(),
            flags: maps.flags.clone(),
            labels: maps.labels.clone(),
            filters: maps.filters.clone(),
            counters: Arc::clone(&maps.counters),
            mode: config.mode,
            proof: BackendProof::new(Arc::clone(&maps.proofs), config),
            unproven: Vec::new(),
            used: Vec::new(),
            refused: Vec::new(),
            digests: DigestProgram::new(maps.hashed.clone(), rules.digest_mib),
            witnesses: Witnesses::new(config.witness),
            without: config.without.clone(),
        };
        Ok((hooks, maps))
    }

    /// Gives the memory of the kernel's types back.
    pub(crate) fn forget_types(&mut self) {
        self.types = None;
        trim::give_back();
    }

    /// Proves the backend, before anything is attached. Meanwhile `learn` may ask what files are to programs.
    pub(crate) fn prove(&mut self, learn: impl FnOnce(KeyOf<'_>)) -> Result<(), AttachError> {
        let types = match self.types.take() {
            Some(types) => types,
            None => KernelTypes::running()?,
        };
        let proven = self.proof.prove(&mut self.loader, &types, learn);
        self.types = Some(types);
        proven
    }

    /// What tells which processes there are, or why this kernel does not. To be called before anything is
    /// attached, while the kernel's types are there.
    pub(crate) fn processes(&mut self) -> Result<Result<TaskIterator, HookError>, AttachError> {
        let types = match self.types.take() {
            Some(types) => types,
            None => KernelTypes::running()?,
        };
        let processes = self.loader.processes(&types);
        if let Err(error) = self.loader.label(&self.labels) {
            tracing::warn!(%error, "plugins cannot give or take labels by hand");
        }
        self.types = Some(types);
        Ok(processes)
    }

    /// What a file is to programs, of those that are asked for while everything runs.
    pub(crate) fn learn(&self, learn: impl FnOnce(KeyOf<'_>)) {
        self.proof.learn(&self.loader, learn);
    }

    /// Attaches what is wanted and was not, and detaches what nobody wants any more. A hook that this kernel
    /// lacks is told, not fatal; so is one that was not seen to be called.
    pub(crate) fn want(&mut self, wanted: &Wanted) -> Result<(), AttachError> {
        let own = FOLLOWED.into_iter().fold(HookSet::default(), HookSet::with);
        let seen = HookSet(wanted.seen.0 | own.0);
        self.attach(seen, wanted)
    }

    fn attach(&mut self, seen: HookSet, wanted: &Wanted) -> Result<(), AttachError> {
        let is_wanted = |hook| {
            contains(seen, hook)
                || contains(wanted.denied, hook)
                || wanted.labels && hook == EXEC_BEGINS
        };
        let is_live =
            |live: &[LiveProgram], hook: AbiHook| live.iter().any(|one| one.slot == hook.id());
        let fresh: Vec<AbiHook> = HOOKS
            .iter()
            .map(|row| row.hook)
            .filter(|hook| is_wanted(*hook) && !is_live(&self.live, *hook))
            .collect();
        self.refused.clear();
        // Those that nobody asks for any more make room for those that come.
        let gone = self.watches.retain(&wanted.watches);
        for slot in &gone {
            self.flags.lower(*slot, u64::MAX)?;
            self.layouts.clear(*slot);
        }
        self.live.retain(|live| !gone.contains(&live.slot));
        let come = self.watches.missing(&wanted.watches);
        if !fresh.is_empty() || !come.is_empty() {
            let types = match self.types.take() {
                Some(types) => types,
                None => KernelTypes::running()?,
            };
            for hook in &fresh {
                self.add(&types, *hook);
            }
            for watch in come {
                self.add_watch(&types, watch);
            }
            self.attach_witnesses(&types);
            drop(types);
            trim::give_back();
        }
        if self.live.is_empty() {
            // The host's own hooks are always wanted, so one of them was refused.
            let [own, ..] = FOLLOWED;
            let (what, why) = (own.name().to_owned(), Arc::new(LeftOut::Lacking));
            let none = || NotAttached { what, owner: None, why };
            let NotAttached { what, why, .. } = self.refused.first().cloned().unwrap_or_else(none);
            return Err(AttachError::NoHook { hook: what, why });
        }
        // What was not proven before gets another chance.
        let before = self.unproven.iter().map(|unproven| unproven.hook);
        let attached: Vec<AbiHook> =
            fresh.into_iter().chain(before).filter(|hook| is_live(&self.live, *hook)).collect();
        self.unproven = canary::prove(&attached, &self.flags, &self.counters)?;
        let may_hash = wanted.digests && is_live(&self.live, AbiHook::BprmCheckSecurity);
        self.digests.want(may_hash, &self.loader, &self.flags)?;
        self.forward(seen, wanted)?;
        self.live.retain(|live| {
            live.slot >= WATCH_FIRST || AbiHook::from_id(live.slot).is_some_and(is_wanted)
        });
        let told = HookCounts { counters: &self.counters, used: &self.used };
        self.witnesses.keep(&self.live, told);
        // One of a hook's programs may have gone with the witness, and another be there.
        if self.witnesses.lack(&self.live) {
            self.attach_witnesses(&KernelTypes::running()?);
            trim::give_back();
        }
        Ok(())
    }

    /// Sets what is forwarded of each hook.
    fn forward(&mut self, seen: HookSet, wanted: &Wanted) -> Result<(), AttachError> {
        let audit = if self.mode == ModeArg::Audit || !self.loader.backend().can_deny() {
            flag::AUDIT_ONLY
        } else {
            0
        };
        for live in &self.live {
            let forward = match AbiHook::from_id(live.slot) {
                Some(hook) if !contains(seen, hook) => 0,
                _ => flag::FORWARD,
            };
            let filter = AbiHook::from_id(live.slot)
                .and_then(crate::decode::hook)
                .and_then(|hook| wanted.filters.of(hook));
            let filtered = if filter.is_some() { flag::FILTER } else { 0 };
            if let Some(filter) = filter {
                self.filters.set(live.slot, &filter)?;
            }
            let all = flag::FORWARD | flag::FILTER | flag::AUDIT_ONLY;
            let on = forward | filtered | audit;
            self.flags.raise(live.slot, on)?;
            self.flags.lower(live.slot, all & !on)?;
        }
        Ok(())
    }

    fn add(&mut self, types: &KernelTypes, hook: AbiHook) {
        let job = if !hook.is_call() && self.leaves(hook.name()) {
            return self.refuse(hook.name(), LeftOut::Without);
        } else if hook.is_call() {
            match self.template(types, hook) {
                Ok(job) => job,
                Err(why) => return self.refuse(hook.name(), why),
            }
        } else {
            Job::Own(hook)
        };
        self.start(types, &job, (hook.name(), None));
    }

    /// The template's job for a curated hook, and how its records are read.
    fn template(&mut self, types: &KernelTypes, hook: AbiHook) -> Result<Job, LeftOut> {
        let row = curated::of(hook).ok_or(LeftOut::NoFields)?;
        let (at, own) = self.place_of(types, row)?;
        let target = self.loader.backend().target(types, at).ok_or(LeftOut::Lacking)?;
        let prototype = types.prototype(&target.function)?;
        let resolved = row.resolve(types, &prototype, own);
        if own.is_some() && resolved.spec.gate_row == 0 {
            return Err(LeftOut::NotOwn { at });
        }
        if at != hook.name() {
            tracing::warn!(hook = hook.name(), at, "a substitute is attached");
        }
        if !resolved.missing.is_empty() {
            let missing = resolved.missing.join(", ");
            tracing::info!(hook = hook.name(), missing, "fields left out");
        }
        let there = crate::decode::hook(hook).ok_or(LeftOut::NoContract)?;
        let layout = CallLayout::curated(there, &resolved.places, &resolved.spec.captures)?;
        self.layouts.set(hook.id(), layout);
        Ok(Job::Template { hook: at.to_owned(), spec: Box::new(resolved.spec) })
    }

    /// Returns the hook to attach to for a curated hook, and which of the calls there are its own.
    fn place_of(
        &self,
        types: &KernelTypes,
        row: &CuratedRow,
    ) -> Result<(&'static str, Option<Bits>), LeftOut> {
        let is_there = |hook: AbiHook| {
            !self.leaves(hook.name()) && self.loader.backend().target(types, hook.name()).is_some()
        };
        if is_there(row.hook) {
            return Ok((row.hook.name(), None));
        }
        match row.or {
            Some(instead) if is_there(instead.hook) => Ok((instead.hook.name(), instead.own)),
            _ if self.leaves(row.hook.name()) => Err(LeftOut::Without),
            _ => Err(LeftOut::Lacking),
        }
    }

    fn leaves(&self, hook: &str) -> bool {
        self.without.iter().any(|name| name == hook)
    }

    /// Loads and attaches; `what` was asked for, by a plugin if it is a watch, and is told of when the kernel
    /// refuses.
    fn start(&mut self, types: &KernelTypes, job: &Job, (what, owner): (&str, Option<u8>)) -> bool {
        match self.loader.load(types, job) {
            Ok(live) => {
                let slot = UsedSlot { slot: live.slot, hook: live.hook.clone() };
                if !self.used.contains(&slot) {
                    self.used.push(slot);
                }
                self.live.push(live);
                true
            }
            Err(error) => {
                if let HookError::Refused(refusal) = &error {
                    tracing::debug!(what, log = refusal.log, "the verifier's whole log");
                }
                self.refuse_of(owner, what, error.into());
                false
            }
        }
    }

    fn refuse(&mut self, what: &str, why: LeftOut) {
        self.refuse_of(None, what, why);
    }

    fn refuse_of(&mut self, owner: Option<u8>, what: &str, why: LeftOut) {
        self.refused.push(NotAttached { what: what.to_owned(), owner, why: Arc::new(why) });
    }

    /// Labels that watches with a program name, as bits.
    pub(crate) fn watched_labels(&self) -> u64 {
        self.watches.label_bits()
    }

    /// What was refused at the last change, with the reason.
    pub(crate) fn refused(&self) -> &[NotAttached] {
        &self.refused
    }

    /// Returns what is attached now.
    pub(crate) fn published(&self) -> Published {
        let hooks = self.live.iter().filter_map(|live| AbiHook::from_id(live.slot));
        let can_deny = self.loader.backend().can_deny() || self.mode != ModeArg::Enforce;
        let unproven = self.unproven.iter().map(ToString::to_string);
        let program = |live: &LiveProgram| LossSource {
            slot: live.slot,
            subject: self.loss_subject(live.slot),
            misses: live.misses(),
        };
        let programs = self.live.iter().chain(self.digests.program());
        Published {
            hooks: self.attached(),
            backend: self.loader.backend().kind().name(),
            enforced: hooks.filter(|_| can_deny).collect(),
            resolving: self.resolving(),
            digests: self.digests.are_read(),
            layouts: self.layouts.clone(),
            watches: self.watches.told(),
            unproven: self.proof.told().into_iter().chain(unproven).collect(),
            programs: programs.map(program).collect(),
        }
    }

    /// Hooks whose programs resolve paths.
    fn resolving(&self) -> HookSet {
        let resolving = self.live.iter().filter(|live| live.resolves);
        let hooks = resolving.filter_map(|live| AbiHook::from_id(live.slot));
        hooks.filter_map(crate::decode::hook).fold(HookSet::default(), HookSet::with)
    }

    /// Returns the hook or watch that the losses of a slot belong to.
    fn loss_subject(&self, slot: u16) -> LossSubject {
        match AbiHook::from_id(slot).and_then(crate::decode::hook) {
            Some(hook) => LossSubject { of: LostOf::Hook(hook as u16), owner: None },
            None => self.watches.loss_subject(slot),
        }
    }

    /// Names of hooks with a live program, in the order of their slots.
    fn attached(&self) -> Vec<String> {
        let name = |live: &'_ LiveProgram| match AbiHook::from_id(live.slot) {
            Some(hook) => hook.name().to_owned(),
            None => live.hook.clone(),
        };
        let mut slots: Vec<(u16, String)> =
            self.live.iter().map(|live| (live.slot, name(live))).collect();
        slots.sort_unstable();
        slots.into_iter().map(|(_, hook)| hook).collect()
    }

    /// Slots that ever had one.
    pub(crate) fn used(&self) -> &[UsedSlot] {
        &self.used
    }

    /// Gives each hook with a program a witness, if one is wanted.
    fn attach_witnesses(&mut self, types: &KernelTypes) {
        let told = HookCounts { counters: &self.counters, used: &self.used };
        self.witnesses.follow(&self.loader, types, &self.live, told);
    }

    /// Detaches every hook. The witnesses stay.
    pub(crate) fn detach(&mut self) {
        self.live.clear();
        self.digests.end();
    }

    /// Ends the witnesses; their counts of each hook.
    pub(crate) fn end(mut self) -> Vec<Witnessed> {
        self.witnesses.end(HookCounts { counters: &self.counters, used: &self.used })
    }
}

fn contains(set: HookSet, hook: AbiHook) -> bool {
    crate::decode::hook(hook).is_some_and(|hook| set.contains(hook))
}
