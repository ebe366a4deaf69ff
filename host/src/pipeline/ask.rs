//! A manifest in the words of policy.

use krsi_plugin_schema::latest::ToldRunning;

use crate::errno::errno_number;
use crate::kernel::spec::watch::{self, WatchSpec, WatchVerdict};
use crate::plugin::{Filter, Manifest};
use crate::policy::{Asked, AskedFilter, AskedVerdict, AskedWatch};

/// What a plugin's manifest asks for.
#[must_use]
pub(crate) fn asked(manifest: &Manifest) -> Asked {
    let filter = |filter: &Filter| AskedFilter { hook: filter.hook, text: words(filter) };
    Asked {
        hooks: manifest.hooks,
        filters: manifest.filters.iter().map(filter).collect(),
        deny_keys: manifest.deny_keys,
        deny_hooks: manifest.deny_hooks,
        watches: (0..).zip(&manifest.watches).map(asked_watch).collect(),
        labels: manifest.labels.iter().cloned().collect(),
        running: manifest.running != ToldRunning::Never,
        samples: manifest.samples,
        kill: manifest.kill,
    }
}

fn asked_watch((index, text): (u16, &String)) -> AskedWatch {
    // What does not parse is told, with the reason, when it is resolved.
    let parsed = watch::parse(text, errno_number).ok();
    let verdict = parsed.as_ref().and_then(|parsed| parsed.verdict.as_ref()).map(asked_verdict);
    let has_predicate = parsed.as_ref().is_some_and(WatchSpec::has_predicate);
    let needs_label = parsed.as_ref().is_some_and(WatchSpec::needs_label);
    let short = |name: &str| name.rsplit('.').next().unwrap_or(name).to_owned();
    let labels = parsed.as_ref().map(WatchSpec::labels).unwrap_or_default();
    let labels = labels.into_iter().map(short).collect();
    let gives = match parsed.as_ref().and_then(|parsed| parsed.verdict.as_ref()) {
        Some(WatchVerdict::Label { name, .. }) => Some(short(name)),
        Some(WatchVerdict::Deny(_) | WatchVerdict::Audit(_)) | None => None,
    };
    let hook = parsed.map(|parsed| parsed.hook);
    let text = text.clone();
    AskedWatch { index, text, hook, has_predicate, needs_label, labels, gives, verdict }
}

fn asked_verdict(verdict: &WatchVerdict) -> AskedVerdict {
    match verdict {
        WatchVerdict::Deny(errno) => AskedVerdict::Deny(*errno),
        WatchVerdict::Audit(errno) => AskedVerdict::Audit(*errno),
        WatchVerdict::Label { .. } => AskedVerdict::Label,
    }
}

/// What passes a filter, in words.
fn words(filter: &Filter) -> String {
    let words: Vec<String> = filter.conditions.iter().map(ToString::to_string).collect();
    if words.is_empty() { "everything".to_owned() } else { words.join(" with ") }
}

#[cfg(test)]
mod tests {
    use krsi_plugin_schema::latest::{self, Hook};

    use super::*;

    #[test]
    fn a_watch_is_known_by_its_hook_and_verdict_as_far_as_it_parses() {
        let check = |text: &str, hook: Option<&str>, verdict| {
            let watch = asked_watch((3, &text.to_owned()));
            assert_eq!((watch.index, watch.hook.as_deref(), watch.verdict), (3, hook, verdict));
        };
        let deny = Some(AskedVerdict::Deny(1));
        check("file_open: file if file == \"/a\" deny EPERM", Some("file_open"), deny);
        check("inode_getattr: path", Some("inode_getattr"), None);
        check("file_open deny EWHAT", None, None);
        check("file_open label reader", Some("file_open"), Some(AskedVerdict::Label));
    }

    #[test]
    fn every_condition_of_a_filter_has_words() {
        let of =
            |filter: latest::Filter| Filter { hook: Hook::FileOpen, conditions: filter.conditions };
        let filter = latest::Filter::new(Hook::FileOpen);
        assert_eq!(words(&of(filter.clone())), "everything");
        let filter = filter.uid(7).cgroup(8).path_prefix("/etc/").flags_any(0x200);
        let all = of(filter.port(80).first_seen().per_process_rate(5));
        let expected = "uid 7 with cgroup 8 with paths from \"/etc/\" on with flags 0x200 with port 80 \
                        with first calls with 5 a second of a process";
        assert_eq!(words(&all), expected);
    }
}
