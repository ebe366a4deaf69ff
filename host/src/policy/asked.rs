//! What a manifest asks for, in the words of policy, and how two manifests differ.

use std::sync::Arc;

use krsi_plugin_schema::latest::{Hook, HookSet, KeyKinds, Label};

/// What a plugin's manifest asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// Hooks it wants to see.
    pub hooks: HookSet,
    /// What of them it wants to see; all of a hook without a filter.
    pub filters: Arc<[AskedFilter]>,
    /// Kinds of keys.
    pub deny_keys: KeyKinds,
    /// Hooks that its rules refuse.
    pub deny_hooks: HookSet,
    /// Watches of its own, which can be on any hook of the kernel.
    pub watches: Arc<[AskedWatch]>,
    /// Labels that it declares.
    pub labels: Arc<[Label]>,
    /// Whether it wants to be told of what runs already.
    pub running: bool,
    /// Whether it asks for samples of processes.
    pub samples: bool,
    /// Whether it wants to kill.
    pub kill: bool,
}

/// What of a hook a plugin wants to see: calls that pass one of the hook's filters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AskedFilter {
    pub hook: Hook,
    /// Condition of the filter, in words.
    pub text: String,
}

/// What a watch does with a call that it matches, beyond recording it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AskedVerdict {
    /// Refuses it with that errno.
    Deny(u16),
    /// Reports that it would have refused it with that errno.
    Audit(u16),
    /// Gives the caller a label.
    Label,
}

/// A watch of a plugin's own. Its text says everything; the rest is read from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AskedWatch {
    /// Place in the manifest's list.
    pub index: u16,
    /// Text of the watch, as it was written.
    pub text: String,
    /// The hook; `None` for a text that is no watch, which is told when it is resolved.
    pub hook: Option<String>,
    /// Whether it says which calls it matches; else it matches every one.
    pub has_predicate: bool,
    /// Whether it matches only callers that have a label.
    pub needs_label: bool,
    /// Labels that it names, without the plugin's name before them.
    pub labels: Vec<String>,
    /// The label that it gives.
    pub gives: Option<String>,
    /// Verdict on a call that the watch matches.
    pub verdict: Option<AskedVerdict>,
}

impl AskedWatch {
    /// Whether it refuses calls.
    #[must_use]
    pub const fn denies(&self) -> bool {
        matches!(self.verdict, Some(AskedVerdict::Deny(_)))
    }

    /// Whether it refuses calls of whoever has a label.
    pub(super) fn denies_with(&self, label: &str) -> bool {
        self.denies() && self.needs_label && self.labels.iter().any(|named| named == label)
    }

    fn is_among(&self, watches: &[AskedWatch]) -> bool {
        watches.iter().any(|watch| watch.text == self.text)
    }
}

impl Asked {
    /// What is in `self` and not in `other`, in words; empty when nothing is.
    #[must_use]
    pub fn beyond(&self, other: &Asked) -> Vec<String> {
        let mut more = Vec::new();
        for hook in self.hooks.iter() {
            more.extend(self.sight_beyond(hook, other));
        }
        let denied = HookSet(self.deny_hooks.0 & !other.deny_hooks.0);
        more.extend(denied.iter().map(|hook| format!("refuse calls of {}", hook.name())));
        let keys = self.deny_keys.without(other.deny_keys);
        if !keys.is_empty() {
            more.push(format!("make rules on {keys} keys"));
        }
        for watch in self.watches.iter().filter(|watch| !watch.is_among(&other.watches)) {
            let verb = match watch.verdict {
                Some(AskedVerdict::Deny(_)) => "refuse calls by the watch",
                Some(AskedVerdict::Label) => "give labels by the watch",
                Some(AskedVerdict::Audit(_)) | None => "watch",
            };
            more.push(format!("{verb} `{}`", watch.text));
        }
        let own = self.labels.iter().filter(|label| !other.labels.contains(label));
        more.extend(own.map(|label| format!("have the label `{}`", label.name)));
        if self.running && !other.running {
            more.push("be told of what runs already".into());
        }
        if self.samples && !other.samples {
            more.push("take samples of processes".into());
        }
        if self.kill && !other.kill {
            more.push("kill".into());
        }
        more
    }

    /// What it wants to see of a hook that `other` does not.
    fn sight_beyond(&self, hook: Hook, other: &Asked) -> Option<String> {
        let name = hook.name();
        let (own, others) = (self.texts(hook), other.texts(hook));
        if !other.hooks.contains(hook) {
            let of =
                if own.is_empty() { String::new() } else { format!(" of {}", own.join(" or ")) };
            return Some(format!("see {name}{of}"));
        }
        if others.is_empty() {
            return None;
        }
        if own.is_empty() {
            return Some(format!("see all of {name}, not only of {}", others.join(" or ")));
        }
        let wider: Vec<&str> = own.into_iter().filter(|text| !others.contains(text)).collect();
        (!wider.is_empty()).then(|| format!("see {name} of {}", wider.join(" or ")))
    }

    /// Filters of a hook, in words.
    fn texts(&self, hook: Hook) -> Vec<&str> {
        let own = self.filters.iter().filter(|filter| filter.hook == hook);
        own.map(|filter| filter.text.as_str()).collect()
    }

    /// What is in both. Filters stay, as they take nothing that is not granted.
    #[must_use]
    pub fn cut_to(self, other: &Asked) -> Self {
        let watches = self.watches.iter().filter(|watch| watch.is_among(&other.watches));
        Self {
            hooks: HookSet(self.hooks.0 & other.hooks.0),
            deny_hooks: HookSet(self.deny_hooks.0 & other.deny_hooks.0),
            deny_keys: self.deny_keys.and(other.deny_keys),
            watches: watches.cloned().collect(),
            labels: self
                .labels
                .iter()
                .filter(|label| other.labels.contains(label))
                .cloned()
                .collect(),
            filters: self.filters,
            running: self.running && other.running,
            samples: self.samples && other.samples,
            kill: self.kill && other.kill,
        }
    }
}

#[cfg(test)]
mod tests {
    use krsi_plugin_schema::latest::KeyKind;

    use super::*;

    fn asked() -> Asked {
        let deny_hooks = HookSet::default().with(Hook::FileOpen);
        Asked {
            deny_keys: [KeyKind::File].into_iter().collect(),
            deny_hooks,
            kill: true,
            ..Asked::default()
        }
    }

    #[test]
    fn what_a_new_version_asks_beyond_the_old_one_is_said() {
        let before = asked();
        let exec = HookSet::default().with(Hook::BprmCheckSecurity);
        let deny_keys = before.deny_keys.with(KeyKind::Lineage);
        let (running, samples) = (true, true);
        let wider = Asked { hooks: exec, deny_keys, running, samples, ..before.clone() };
        assert_eq!(before.beyond(&wider), Vec::<String>::new());
        let more = [
            "see bprm_check_security",
            "make rules on lineage keys",
            "be told of what runs already",
            "take samples of processes",
        ];
        assert_eq!(wider.beyond(&before), more);
    }

    #[test]
    fn a_watch_that_was_not_there_is_said_and_one_that_denies_is_said_so() {
        let watch = |index, text: &str, verdict| AskedWatch {
            index,
            text: text.into(),
            hook: Some("file_open".into()),
            has_predicate: false,
            needs_label: false,
            labels: Vec::new(),
            gives: None,
            verdict,
        };
        let sees = |index| watch(index, "file_open: file", None);
        let denies = watch(0, "file_open deny EPERM", Some(AskedVerdict::Deny(1)));
        let of = |watches: &[AskedWatch]| Asked { watches: watches.into(), ..asked() };
        let (before, wider) = (of(&[sees(0)]), of(&[denies.clone(), sees(1)]));
        assert_eq!(before.beyond(&wider), Vec::<String>::new());
        assert_eq!(wider.beyond(&before), ["refuse calls by the watch `file_open deny EPERM`"]);
        assert_eq!(before.beyond(&asked()), ["watch `file_open: file`"]);
        // Its place is that of the manifest, wherever the other one stood.
        assert_eq!(wider.clone().cut_to(&before).watches[..], [sees(1)]);
        assert_eq!(wider.cut_to(&asked()).watches.len(), 0);
    }

    #[test]
    fn to_see_more_of_a_hook_is_to_ask_for_more() {
        let hooks = HookSet::default().with(Hook::FileOpen);
        let of = |texts: &[&str]| {
            let filter = |text: &&str| AskedFilter { hook: Hook::FileOpen, text: (*text).into() };
            Asked { hooks, filters: texts.iter().map(filter).collect(), ..Asked::default() }
        };
        let check = |before: &[&str], after: &[&str], more: &[&str]| {
            assert_eq!(of(after).beyond(&of(before)), more, "{before:?} {after:?}");
        };
        check(&[], &["uid 7"], &[]);
        check(&["uid 7"], &["uid 7"], &[]);
        check(&["uid 7", "uid 8"], &["uid 8"], &[]);
        check(&["uid 7"], &["uid 7", "uid 8"], &["see file_open of uid 8"]);
        check(&["uid 7"], &[], &["see all of file_open, not only of uid 7"]);
        let new = of(&["uid 7", "uid 8"]).beyond(&Asked::default());
        assert_eq!(new, ["see file_open of uid 7 or uid 8"]);
    }
}
