//! A manifest in the words of policy.

use crate::kernel::errno::errno_number;
use crate::kernel::watch;
use crate::plugin::{DenyKey, Filter, Manifest};
use crate::policy::{Asked, AskedFilter, AskedWatch, DenyKeys};

/// What a plugin's manifest asks for.
pub(super) fn asked(manifest: &Manifest) -> Asked {
    let kind = |key: &DenyKey| match key {
        DenyKey::Process => DenyKeys::PROCESS,
        DenyKey::Lineage => DenyKeys::LINEAGE,
        DenyKey::File => DenyKeys::FILE,
        DenyKey::Network => DenyKeys::NETWORK,
        DenyKey::Cgroup => DenyKeys::CGROUP,
        DenyKey::Path => DenyKeys::PATH,
        DenyKey::Digest => DenyKeys::DIGEST,
        DenyKey::Hook => DenyKeys::HOOK,
    };
    let deny_keys = manifest.deny_keys.iter().map(kind).fold(DenyKeys::default(), DenyKeys::with);
    let filter = |filter: &Filter| AskedFilter { hook: filter.hook, text: words(filter) };
    Asked {
        hooks: manifest.hooks,
        filters: manifest.filters.iter().map(filter).collect(),
        deny_keys,
        deny_hooks: manifest.deny_hooks,
        watches: (0..).zip(&manifest.watches).map(asked_watch).collect(),
        kill: manifest.kill,
    }
}

fn asked_watch((index, text): (u16, &String)) -> AskedWatch {
    // What does not parse is told, with the reason, when it is resolved.
    let parsed = watch::parse(text, errno_number).ok();
    let verdict = parsed.as_ref().and_then(|parsed| parsed.verdict);
    AskedWatch { index, text: text.clone(), hook: parsed.map(|parsed| parsed.hook), verdict }
}

/// What passes a filter, in words.
fn words(filter: &Filter) -> String {
    let Filter { hook: _, uid, cgroup, path_prefix, flags_any, port, first_seen, per_process_rate } =
        filter;
    let conditions = [
        uid.map(|uid| format!("uid {uid}")),
        cgroup.map(|id| format!("cgroup {id}")),
        path_prefix.as_ref().map(|prefix| format!("paths from {prefix:?} on")),
        flags_any.map(|flags| format!("flags {flags:#x}")),
        port.map(|port| format!("port {port}")),
        first_seen.then(|| "first calls".to_owned()),
        per_process_rate.map(|rate| format!("{rate} a second of a process")),
    ];
    let words: Vec<String> = conditions.into_iter().flatten().collect();
    if words.is_empty() { "everything".to_owned() } else { words.join(" with ") }
}

#[cfg(test)]
mod tests {
    use krsi_plugin_schema::latest::Hook;

    use super::*;
    use crate::kernel::watch::WatchVerdict;

    #[test]
    fn a_watch_is_known_by_its_hook_and_verdict_as_far_as_it_parses() {
        let check = |text: &str, hook: Option<&str>, verdict| {
            let watch = asked_watch((3, &text.to_owned()));
            assert_eq!((watch.index, watch.hook.as_deref(), watch.verdict), (3, hook, verdict));
        };
        let deny = Some(WatchVerdict::Deny(1));
        check("file_open: file if file == \"/a\" deny EPERM", Some("file_open"), deny);
        check("inode_getattr: path", Some("inode_getattr"), None);
        check("file_open deny EWHAT", None, None);
    }

    #[test]
    fn every_condition_of_a_filter_has_words() {
        let none = Filter {
            hook: Hook::FileOpen,
            uid: None,
            cgroup: None,
            path_prefix: None,
            flags_any: None,
            port: None,
            first_seen: false,
            per_process_rate: None,
        };
        assert_eq!(words(&none), "everything");
        let all = Filter {
            hook: Hook::FileOpen,
            uid: Some(7),
            cgroup: Some(8),
            path_prefix: Some("/etc/".into()),
            flags_any: Some(0x200),
            port: Some(80),
            first_seen: true,
            per_process_rate: Some(5),
        };
        let expected = "uid 7 with cgroup 8 with paths from \"/etc/\" on with flags 0x200 with port 80 \
                        with first calls with 5 a second of a process";
        assert_eq!(words(&all), expected);
    }
}
