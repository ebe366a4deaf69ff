//! Which of a plugin's own watches are granted: within the operator's words on hooks and rules.

use std::collections::BTreeMap;

use krsi_plugin_schema::latest::{Hook, HookSet};

use super::asked::{AskedVerdict, AskedWatch};
use super::capability::{CapabilityError, GrantSpec};
use crate::route::scope::Scope;

/// Watches of a plugin's own at one hook.
pub(crate) const HOOK_WATCHES: usize = 4;

/// Why a watch of a plugin's own is not loaded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WatchGrantError {
    /// A hook that the operator's `hooks` do not name.
    #[error("watches on {hook} are not granted")]
    Hook {
        /// The hook that the watch names.
        hook: String,
    },
    /// A verdict on a hook that the operator's `deny-hooks` do not name.
    #[error("verdicts on {hook} are not granted")]
    Deny {
        /// The hook that the watch names.
        hook: String,
    },
    #[error(transparent)]
    Errno(#[from] CapabilityError),
    /// A watch denies for as long as it is there.
    #[error("a denial without end is not granted: `permanent = true` grants it")]
    Permanent,
    /// More watches than a plugin may have at one hook.
    #[error(
        "{hook} has {HOOK_WATCHES} watches of this plugin already: others need the rest of its places"
    )]
    TooMany {
        /// The hook that the watch names.
        hook: String,
    },
    /// The watch denies every call of a hook, or everybody's signals.
    #[error("it denies {what}, and broad denials are not granted: `broad = true` grants them")]
    Broad {
        /// Calls that the watch denies, in words.
        what: &'static str,
    },
    /// A watch is about everybody.
    #[error("only {scope} may be concerned, and a watch denies or labels whoever calls")]
    Scope { scope: Scope },
}

impl GrantSpec {
    /// Which of a plugin's watches are not granted, and why: those beyond the operator's words, and those beyond
    /// the first few of a hook.
    #[must_use]
    pub fn refused_watches<'a>(
        &self,
        watches: &'a [AskedWatch],
    ) -> Vec<(&'a AskedWatch, WatchGrantError)> {
        let (mut refused, mut granted) = (Vec::new(), BTreeMap::<&str, usize>::new());
        // Nobody knows whom a predicate gives a label: it can be everybody.
        let given: Vec<&String> = watches.iter().filter_map(|watch| watch.gives.as_ref()).collect();
        for watch in watches {
            let count = watch.hook.as_deref().map(|hook| granted.entry(hook).or_default());
            let by_watch = watch.labels.iter().any(|label| given.contains(&label));
            match (self.check_watch(watch, by_watch), count) {
                (Err(why), _) => refused.push((watch, why)),
                (Ok(()), Some(count)) if *count < HOOK_WATCHES => *count += 1,
                (Ok(()), Some(_)) => {
                    let hook = watch.hook.clone().unwrap_or_default();
                    refused.push((watch, WatchGrantError::TooMany { hook }));
                }
                // What is no watch takes no place, and is told when it is resolved.
                (Ok(()), None) => {}
            }
        }
        refused
    }

    /// Whether a watch lies within what the operator's words on hooks, errnos and scope grant; `by_watch` says whether
    /// a watch of the plugin gives a label that it names.
    ///
    /// # Errors
    /// The first thing that is not granted.
    pub fn check_watch(&self, watch: &AskedWatch, by_watch: bool) -> Result<(), WatchGrantError> {
        let Some(hook) = &watch.hook else { return Ok(()) };
        let within = |words: Option<HookSet>| {
            let named = Hook::from_name(hook);
            words.is_none_or(|words| named.is_some_and(|hook| words.contains(hook)))
        };
        if !within(self.hooks) {
            return Err(WatchGrantError::Hook { hook: hook.clone() });
        }
        let Some(verdict) = watch.verdict else { return Ok(()) };
        if !within(self.deny_hooks) {
            return Err(WatchGrantError::Deny { hook: hook.clone() });
        }
        match verdict {
            AskedVerdict::Deny(errno) => self.check_errno(errno)?,
            AskedVerdict::Audit(errno) => return Ok(self.check_errno(errno)?),
            AskedVerdict::Label if self.scope == Scope::System => return Ok(()),
            AskedVerdict::Label => {
                return Err(WatchGrantError::Scope { scope: self.scope.clone() });
            }
        }
        if self.scope != Scope::System {
            return Err(WatchGrantError::Scope { scope: self.scope.clone() });
        }
        // Who has a label of the plugin's rules, or by its hand, is known by what it did.
        if watch.needs_label && !by_watch {
            return Ok(());
        }
        if !self.permanent {
            return Err(WatchGrantError::Permanent);
        }
        let what = match hook.as_str() {
            "task_kill" => Some("everybody's signals"),
            _ if !watch.has_predicate => Some("every call of its hook"),
            _ => None,
        };
        if let Some(what) = what.filter(|_| !self.broad) {
            return Err(WatchGrantError::Broad { what });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::asked::Asked;
    use super::super::capability::Grant;
    use super::*;

    fn watch(hook: &str, verdict: Option<AskedVerdict>) -> AskedWatch {
        AskedWatch {
            index: 0,
            text: format!("{hook} {verdict:?}"),
            hook: Some(hook.into()),
            has_predicate: true,
            needs_label: false,
            labels: Vec::new(),
            gives: None,
            verdict,
        }
    }

    #[test]
    fn a_watch_is_bounded_by_what_the_operator_says_of_hooks_and_rules() {
        let sees = watch("file_open", None);
        let denies = watch("file_open", Some(AskedVerdict::Deny(13)));
        let audits = watch("file_open", Some(AskedVerdict::Audit(13)));
        let foreign = watch("inode_getattr", None);
        let garbled = AskedWatch { hook: None, ..watch("", None) };
        let watches: Arc<[_]> =
            [&sees, &denies, &audits, &foreign, &garbled].map(AskedWatch::clone).into();
        let asked = Asked { watches, ..Asked::default() };
        let open = || Some(HookSet::default().with(Hook::FileOpen));
        let connect = || Some(HookSet::default().with(Hook::SocketConnect));
        let base = || GrantSpec { permanent: true, ..GrantSpec::default() };
        let check = |spec: GrantSpec, expected: &[&AskedWatch]| {
            let told = format!("{spec:?}");
            let grant = Grant::new(asked.clone(), spec);
            assert!(grant.may().watches.iter().eq(expected.iter().copied()), "{told}");
        };
        check(base(), &[&sees, &denies, &audits, &foreign, &garbled]);
        check(GrantSpec::default(), &[&sees, &audits, &foreign, &garbled]);
        check(GrantSpec { hooks: connect(), ..base() }, &[&garbled]);
        check(GrantSpec { hooks: open(), ..base() }, &[&sees, &denies, &audits, &garbled]);
        check(GrantSpec { deny_hooks: connect(), ..base() }, &[&sees, &foreign, &garbled]);
        let both = GrantSpec { hooks: open(), deny_hooks: open(), ..base() };
        check(both, &[&sees, &denies, &audits, &garbled]);
        let errnos = Some([1].into());
        check(GrantSpec { errnos, ..base() }, &[&sees, &foreign, &garbled]);
        let scope = Scope::Uid(7);
        check(GrantSpec { scope, ..base() }, &[&sees, &audits, &foreign, &garbled]);
        // Without a predicate, or on signals, it is about everybody's every call.
        let every = AskedWatch { has_predicate: false, ..denies.clone() };
        let kills = watch("task_kill", Some(AskedVerdict::Deny(13)));
        for broad in [&every, &kills] {
            let refused = base().check_watch(broad, false).unwrap_err().to_string();
            assert!(refused.contains("`broad = true`"), "{refused}");
            assert_eq!(GrantSpec { broad: true, ..base() }.check_watch(broad, false), Ok(()));
        }
        let audits = AskedWatch { verdict: Some(AskedVerdict::Audit(13)), ..every };
        assert_eq!(base().check_watch(&audits, false), Ok(()));
        let refused = GrantSpec::default().check_watch(&denies, false).unwrap_err().to_string();
        assert!(refused.contains("permanent"), "{refused}");
        // Whoever has a label is few, until the label goes; and a label refuses nothing.
        let labelled = AskedWatch { needs_label: true, ..denies };
        let gives = AskedWatch { verdict: Some(AskedVerdict::Label), ..labelled.clone() };
        for watch in [&labelled, &gives] {
            assert_eq!(GrantSpec::default().check_watch(watch, false), Ok(()));
            let scoped = GrantSpec { scope: Scope::Uid(7), ..GrantSpec::default() };
            assert!(matches!(scoped.check_watch(watch, false), Err(WatchGrantError::Scope { .. })));
            let elsewhere = GrantSpec { deny_hooks: connect(), ..GrantSpec::default() };
            assert!(matches!(
                elsewhere.check_watch(watch, false),
                Err(WatchGrantError::Deny { .. })
            ));
        }
    }

    #[test]
    fn a_label_that_a_watch_gives_is_nobodys_in_particular() {
        let named = vec!["a".to_owned()];
        let labelled = AskedWatch {
            needs_label: true,
            labels: named.clone(),
            ..watch("file_open", Some(AskedVerdict::Deny(13)))
        };
        let gives = AskedWatch {
            gives: Some("a".into()),
            labels: named,
            verdict: Some(AskedVerdict::Label),
            ..watch("file_open", None)
        };
        let spec = GrantSpec::default();
        let refused = |watches: &[AskedWatch]| spec.refused_watches(watches).len();
        assert_eq!(refused(std::slice::from_ref(&labelled)), 0);
        let others = AskedWatch { gives: Some("b".into()), ..gives.clone() };
        assert_eq!(refused(&[labelled.clone(), others]), 0);
        assert_eq!(refused(&[labelled.clone(), gives]), 1, "a watch can give it to everybody");
    }

    #[test]
    fn a_plugin_has_four_watches_at_a_hook_and_those_that_are_refused_do_not_count() {
        let watch = |index: u16| AskedWatch {
            index,
            text: format!("file_open: file if file == \"/{index}\""),
            hook: Some(if index == 9 { "task_kill" } else { "file_open" }.into()),
            has_predicate: true,
            needs_label: false,
            labels: Vec::new(),
            gives: None,
            verdict: (index == 1).then_some(AskedVerdict::Deny(1)),
        };
        let watches: Arc<[AskedWatch]> = (0..10).map(watch).collect();
        let spec = GrantSpec::default();
        let refused: Vec<(u16, String)> = spec
            .refused_watches(&watches)
            .into_iter()
            .map(|(watch, why)| (watch.index, why.to_string()))
            .collect();
        let indexes: Vec<u16> = refused.iter().map(|(index, _)| *index).collect();
        assert_eq!(indexes, [1, 5, 6, 7, 8]);
        assert!(refused[1].1.starts_with("file_open has 4 watches"), "{refused:?}");
        let asked = Asked { watches, ..Asked::default() };
        let may = Grant::new(asked, spec).may().watches.iter().map(|watch| watch.index).collect();
        let may: Vec<u16> = may;
        assert_eq!(may, [0, 2, 3, 4, 9]);
    }
}
