//! Watches on any hook: asked for by plugins and the administrator, each a slot of its own.

use std::collections::HashMap;

use krsi_host_abi::hook::{HOOK_SLOTS, WATCH_FIRST};
use krsi_host_abi::spec::spec_flag;
use krsi_plugin_schema::latest::{LostOf, RuleMode};

use super::left_out::LeftOut;
use super::published::LossSubject;
use crate::config::ModeArg;
use crate::decode::CallLayout;
use crate::errno::errno_number;
use crate::kernel::btf::KernelTypes;
use crate::kernel::program::job::Job;
use crate::kernel::program::load::Loader;
use crate::kernel::spec::field_path::Field;
use crate::kernel::spec::watch::{self, WatchReach};
use crate::policy::LabelError;
use crate::route::subscription::PluginSlot;

/// Owner slot of the administrator's watches and rules.
pub(crate) const ADMINISTRATOR: u8 = 63;
/// Rules of watches have ids from here on: above those of the ledger.
pub(crate) const WATCH_RULES: u64 = 1 << 63;

/// Programs that the kernel runs at one function (`BPF_MAX_TRAMP_LINKS` of `include/linux/bpf.h`).
pub(crate) const HOOK_PROGRAMS: usize = 38;
/// Of these, places that are kept for the administrator's watches.
const ADMINISTRATORS: usize = 6;

/// How many programs a hook may have once a watch of an owner is among them.
pub(crate) const fn places(owner: u8) -> usize {
    match owner {
        ADMINISTRATOR => HOOK_PROGRAMS,
        _ => HOOK_PROGRAMS - ADMINISTRATORS,
    }
}

/// A watch that somebody asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Watch {
    /// Slot of the plugin, or [`ADMINISTRATOR`].
    pub(crate) owner: u8,
    pub(crate) plugin: String,
    /// Place in the plugin's list.
    pub(crate) index: u16,
    /// Text of the watch, as it was written.
    pub(crate) text: String,
    /// The most that its verdict does.
    pub(crate) mode: RuleMode,
    /// Fields that the watch may read.
    pub(crate) reach: WatchReach,
    /// Labels that it names, as it writes them, with the number of each.
    pub(crate) labels: Vec<(String, Result<u8, LabelError>)>,
}

impl Watch {
    /// Looks up the labels that it names.
    pub(super) fn find_labels(&mut self, find: impl Fn(&Watch, &str) -> Result<u8, LabelError>) {
        // What does not parse is told when it is resolved.
        let Ok(parsed) = watch::parse(&self.text, errno_number) else { return };
        let names = parsed.labels().into_iter();
        self.labels = names.map(|name| (name.to_owned(), find(self, name))).collect();
    }

    /// The number of a label that it names.
    fn label(&self, name: &str) -> Result<u8, LabelError> {
        let known = self.labels.iter().find(|(known, _)| known == name);
        let unknown = || LabelError::Undeclared { label: name.to_owned() };
        known.map_or_else(|| Err(unknown()), |(_, found)| found.clone())
    }

    /// The labels that it names, as bits.
    pub(super) fn label_bits(&self) -> u64 {
        let found = self.labels.iter().filter_map(|(_, found)| found.as_ref().ok());
        found.fold(0, |bits, at| bits | 1 << (at & 63))
    }
}

/// A watch with a program.
#[derive(Clone, Debug)]
pub(crate) struct LiveWatch {
    watch: Watch,
    slot: u16,
    /// Name of the hook that it is attached to.
    pub(crate) hook: String,
    /// The values that are shown, in order.
    fields: Vec<ToldField>,
}

/// What is told of a watch when it decides a call or is shown.
#[derive(Clone, Debug)]
pub(crate) struct ToldWatch {
    pub(crate) plugin: String,
    /// The hook that it is attached to.
    pub(crate) hook: String,
    /// Text of the watch, as it was written.
    pub(crate) text: String,
    /// Fields of the watch, in the order of its values.
    pub(crate) fields: Vec<ToldField>,
}

/// What is told of a value of a watch.
#[derive(Clone, Debug)]
pub(crate) struct ToldField {
    pub(crate) name: String,
    /// Whether it holds permission bits, which people read in octal.
    pub(crate) is_mode: bool,
}

/// What is told of each watch, by its slot.
pub(crate) type ToldWatches = HashMap<u16, ToldWatch>;

/// The watches that have a program.
#[derive(Debug, Default)]
pub(crate) struct Watches {
    live: Vec<LiveWatch>,
    /// Slot of the watch that came last.
    newest: Option<u16>,
}

impl LiveWatch {
    /// Checks a watch against this kernel.
    pub(crate) fn resolve(
        types: &KernelTypes,
        loader: &Loader,
        watch: Watch,
        slot: u16,
        mode: ModeArg,
    ) -> Result<(Self, CallLayout, Job), LeftOut> {
        let (backend, kfuncs) = (loader.backend(), &loader.kfuncs());
        let mut parsed = watch::parse(&watch.text, errno_number)?;
        parsed.number_labels(|name| watch.label(name))?;
        let prototype = |hook: &str| {
            let target = backend.target(types, hook).map(|target| target.function);
            types.prototype(&target.unwrap_or_else(|| format!("bpf_lsm_{hook}")))
        };
        let resolved = parsed.resolve(types, kfuncs, prototype)?;
        if watch.owner != ADMINISTRATOR
            && let Some(why) = resolved.beyond.into_iter().find(|why| why.holds(watch.reach))
        {
            return Err(why.into());
        }
        let mut spec = resolved.spec;
        spec.slot = u32::from(slot);
        spec.rule_id = WATCH_RULES | u64::from(slot);
        spec.owner = u32::from(watch.owner);
        spec.flags |= spec_flag::WATCH;
        if resolved.can_deny {
            spec.flags |= spec_flag::DENY;
        }
        if watch.mode == RuleMode::Audit && spec.flags & spec_flag::WATCH_DENY != 0 {
            spec.flags ^= spec_flag::WATCH_DENY | spec_flag::WATCH_AUDIT;
        }
        if mode == ModeArg::Off || watch.mode == RuleMode::Off {
            spec.flags &=
                !(spec_flag::WATCH_DENY | spec_flag::WATCH_AUDIT | spec_flag::WATCH_LABEL);
        }
        let shown: Vec<_> = resolved.fields.iter().filter(|field| field.shown).collect();
        let rows: Vec<usize> = shown.iter().map(|field| field.row).collect();
        let layout =
            CallLayout::watch(watch.owner, watch.index, &resolved.hook, &rows, &spec.captures)?;
        let told = |field: &&Field| ToldField {
            name: field.name.clone(),
            is_mode: field.type_name == "umode_t",
        };
        let fields = shown.iter().map(told).collect();
        let hook = resolved.hook.clone();
        let job = Job::Template { hook: resolved.hook, spec: Box::new(spec) };
        Ok((Self { watch, slot, hook, fields }, layout, job))
    }
}

impl Watches {
    /// Returns the wanted watches that have no program yet.
    pub(crate) fn missing(&self, wanted: &[Watch]) -> Vec<Watch> {
        let has = |watch: &&Watch| self.live.iter().any(|live| live.watch == **watch);
        wanted.iter().filter(|watch| !has(watch)).cloned().collect()
    }

    /// A slot that no watch has, and none had for as long as can be: its counts stay in the summary.
    pub(crate) fn free_slot(&self) -> Option<u16> {
        let last = u16::try_from(HOOK_SLOTS).unwrap_or(u16::MAX);
        let next = self.newest.map_or(WATCH_FIRST, |newest| newest + 1);
        let slots = (next..last).chain(WATCH_FIRST..next.min(last));
        slots.into_iter().find(|slot| !self.live.iter().any(|live| live.slot == *slot))
    }

    /// Watches of an owner.
    pub(crate) fn count(&self, owner: u8) -> usize {
        self.live.iter().filter(|live| live.watch.owner == owner).count()
    }

    /// How many an owner may have: the administrator all, a plugin half of what the others leave.
    pub(crate) fn share(&self, owner: u8) -> usize {
        let slots = HOOK_SLOTS - usize::from(WATCH_FIRST);
        match owner {
            ADMINISTRATOR => slots,
            _ => slots.saturating_sub(self.live.len() - self.count(owner)).div_ceil(2),
        }
    }

    /// Keeps one that has a program now.
    pub(crate) fn add(&mut self, live: LiveWatch) {
        self.newest = Some(live.slot);
        self.live.push(live);
    }

    /// Forgets those that nobody asks for any more; their slots.
    pub(crate) fn retain(&mut self, wanted: &[Watch]) -> Vec<u16> {
        let stays = |live: &LiveWatch| wanted.contains(&live.watch);
        let gone = self.live.iter().filter(|live| !stays(live)).map(|live| live.slot).collect();
        self.live.retain(stays);
        gone
    }

    /// Labels that those with a program name, as bits.
    pub(crate) fn label_bits(&self) -> u64 {
        self.live.iter().fold(0, |bits, live| bits | live.watch.label_bits())
    }

    /// What losses of a watch's slot are of.
    pub(crate) fn loss_subject(&self, slot: u16) -> LossSubject {
        let live = self.live.iter().find(|live| live.slot == slot);
        let subject = |live: &LiveWatch| LossSubject {
            of: LostOf::Watch(live.watch.index),
            owner: Some(PluginSlot(live.watch.owner)),
        };
        live.map(subject).unwrap_or_default()
    }

    /// Returns what is told of each watch.
    pub(crate) fn told(&self) -> ToldWatches {
        let told = |live: &LiveWatch| ToldWatch {
            plugin: live.watch.plugin.clone(),
            hook: live.hook.clone(),
            text: live.watch.text.clone(),
            fields: live.fields.clone(),
        };
        self.live.iter().map(|live| (live.slot, told(live))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watch(owner: u8, index: u16) -> LiveWatch {
        let (plugin, text, mode) = (owner.to_string(), index.to_string(), RuleMode::Enforce);
        let reach = WatchReach::default();
        let watch = Watch { owner, plugin, index, text, mode, reach, labels: Vec::new() };
        LiveWatch { watch, slot: WATCH_FIRST + index, hook: "file_open".into(), fields: Vec::new() }
    }

    #[test]
    fn plugins_leave_slots_to_each_other_and_places_to_the_administrator() {
        assert_eq!((places(0), places(62), places(ADMINISTRATOR)), (32, 32, 38));
        let mut watches = Watches::default();
        assert_eq!((watches.share(0), watches.share(ADMINISTRATOR)), (64, 128));
        for index in 0..64 {
            watches.add(watch(0, index));
        }
        // Its own do not make its share smaller.
        assert_eq!((watches.count(0), watches.share(0), watches.share(1)), (64, 64, 32));
        let gone = watches.retain(&[]);
        assert_eq!((gone.len(), watches.share(1)), (64, 64));
    }
}
