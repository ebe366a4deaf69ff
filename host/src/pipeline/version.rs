//! One version of a plugin, as the steward knows it: what it asked for, and what that means for the kernel
//! and the router.

use std::sync::Arc;

use krsi_plugin_schema::Schema;
use krsi_plugin_schema::latest::KeyKind;

use crate::attach::filters::AskedFilters;
use crate::attach::wanted::Wanted;
use crate::attach::watches::Watch;
use crate::kernel::spec::watch::WatchReach;
use crate::plugin::{Filter, Manifest};
use crate::policy::{Asked, AskedWatch, Grant, GrantSpec};
use crate::route::queue::Queue;
use crate::route::subscription::{PluginSlot, Subscription};

/// A version that runs, or that can come back.
#[derive(Clone, Debug)]
pub(super) struct Version {
    /// Number of the version, among all versions of all plugins.
    pub(super) number: u64,
    /// Name of its plugin.
    pub(super) name: String,
    /// Capabilities that the version's manifest asked for.
    pub(super) asked: Asked,
    schema: Schema,
    filters: Arc<[Filter]>,
}

impl Version {
    pub(super) fn new(number: u64, manifest: &Manifest, asked: Asked) -> Self {
        Self {
            number,
            name: manifest.name.clone(),
            asked,
            schema: manifest.schema,
            filters: manifest.filters.as_slice().into(),
        }
    }

    /// Grant of the version: what it asked for and the operator grants.
    pub(super) fn grant(&self, spec: GrantSpec) -> Grant {
        Grant::new(self.asked.clone(), spec)
    }

    /// Returns what the version wants of the kernel.
    pub(super) fn wanted(&self, slot: u8, spec: &GrantSpec) -> Wanted {
        let grant = self.grant(spec.clone());
        let may = grant.may();
        let watch = |watch: &AskedWatch| Watch {
            owner: slot,
            plugin: self.name.clone(),
            index: watch.index,
            text: watch.text.clone(),
            mode: spec.mode,
            reach: WatchReach { deep: spec.deep, content: spec.content },
            labels: Vec::new(),
        };
        Wanted {
            seen: may.hooks,
            denied: may.deny_hooks,
            digests: may.deny_keys.contains(KeyKind::Digest),
            labels: !may.labels.is_empty(),
            watches: may.watches.iter().map(watch).collect(),
            filters: AskedFilters::of_plugin(slot, may.hooks.iter(), &self.filters),
        }
    }

    /// The same of one that another version took over from and that can come back: its hooks stay, so that
    /// its rules apply without a gap. Its watches do not, as their records are its own.
    pub(super) fn kept(&self, slot: u8, spec: &GrantSpec) -> Wanted {
        Wanted { watches: Vec::new(), ..self.wanted(slot, spec) }
    }

    /// Returns what the version is to be sent.
    pub(super) fn subscription(&self, slot: u8, grant: &Grant, queue: &Arc<Queue>) -> Subscription {
        Subscription {
            slot: PluginSlot(slot),
            schema: self.schema,
            hooks: grant.may().hooks,
            denied: grant.may().deny_hooks,
            scope: grant.spec().scope.clone(),
            filters: Arc::clone(&self.filters),
            queue: Arc::clone(queue),
        }
    }
}

#[cfg(test)]
mod tests {
    use krsi_plugin_schema::latest::{Condition, Hook, HookSet};

    use super::*;

    fn version(number: u64, hooks: &[Hook], watch: &str) -> Version {
        let hooks: HookSet = hooks.iter().copied().collect();
        let watch = AskedWatch {
            index: 0,
            text: watch.into(),
            hook: Some("inode_getattr".into()),
            has_predicate: false,
            needs_label: false,
            labels: Vec::new(),
            gives: None,
            verdict: None,
        };
        let asked = Asked {
            hooks,
            deny_hooks: hooks,
            deny_keys: [KeyKind::Digest].into_iter().collect(),
            watches: [watch].into(),
            ..Asked::default()
        };
        let filter = Filter { hook: Hook::FileOpen, conditions: vec![Condition::Uid(7)] };
        let (name, schema) = ("p".to_owned(), Schema::V0_2);
        Version { number, name, asked, schema, filters: [filter].into() }
    }

    #[test]
    fn what_an_old_version_needs_stays_while_it_can_come_back() {
        let (open, exec) = (Hook::FileOpen, Hook::BprmCheckSecurity);
        let old = version(1, &[open, exec], "inode_getattr: path");
        let new = version(2, &[exec], "inode_getattr: dentry");
        let spec = GrantSpec::default();
        let both = new.wanted(3, &spec).and(old.kept(3, &spec));
        assert_eq!(both.seen, old.wanted(3, &spec).seen);
        assert_eq!(both.denied, both.seen);
        assert!(both.digests && both.filters.of(open).is_some());
        // A record of its watch would be taken for one of the new version's.
        assert_eq!(both.watches, new.wanted(3, &spec).watches);
        // The operator's word of now counts for it too.
        let words = GrantSpec { hooks: Some(HookSet::default().with(exec)), ..spec };
        assert!(!old.kept(3, &words).seen.contains(open));
    }
}
