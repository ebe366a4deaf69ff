//! What rules in force would make of a call: the kernel's order of keys, on the rules themselves.
//!
//! It stands for `ebpf/prog/src/verdict.rs` where there is no kernel: in scenarios and replays, which say what would be
//! refused and refuse nothing.

use std::net::{IpAddr, SocketAddr};

use krsi_host_abi::deny::Mode;
use krsi_plugin_schema::latest::{FileKey, Hook, KeyKind, ProcessKey, RuleKey, Subject};

use crate::policy::RuleSpec;

/// What a call is about.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::author) struct JudgedObject<'a> {
    /// The file, and where it lies.
    pub(in crate::author) file: Option<(FileKey, &'a str)>,
    /// Destination and protocol.
    pub(in crate::author) to: Option<(SocketAddr, u16)>,
    /// Cgroup of the caller.
    pub(in crate::author) cgroup: u64,
}

/// What becomes of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::author) enum Judged {
    /// No rule is about it.
    Passes,
    /// It would be refused.
    Refused {
        /// Id of the rule that refuses the call.
        rule_id: u64,
        /// Errno of the answer.
        errno: u16,
    },
    /// It passes, and is reported.
    Audited {
        /// Rule that would refuse.
        rule_id: u64,
        /// Errno that it would answer.
        errno: u16,
    },
}

/// Place of a kind of key in the kernel's walk.
const fn place(kind: KeyKind) -> u8 {
    match kind {
        KeyKind::Process => 0,
        KeyKind::Lineage => 1,
        KeyKind::Cgroup => 2,
        KeyKind::File => 3,
        KeyKind::Digest => 4,
        KeyKind::Path => 5,
        KeyKind::Network => 6,
        KeyKind::Hook => 7,
    }
}

/// Judges a call of a process, whose lineage is itself and its ancestors, by rules with their ids.
pub(super) fn judge(
    mut rules: Vec<(u64, RuleSpec)>,
    (hook, process, object): (Hook, ProcessKey, &JudgedObject<'_>),
    lineage: &[ProcessKey],
    now_boot_ns: u64,
) -> Judged {
    rules.retain(|(_, rule)| {
        let concerns = match rule.subject {
            Subject::Any => true,
            Subject::Lineage(root) => lineage.contains(&root),
        };
        let is_over = rule.expires_boot_ns != 0 && rule.expires_boot_ns <= now_boot_ns;
        // Who has a label is not known on a stage: whoever plays says so before.
        let is_of_labels = !rule.labels.is_empty() || rule.mode == Mode::Label;
        rule.hooks.contains(hook)
            && !is_of_labels
            && concerns
            && !is_over
            && covers(&rule.key, process, object, lineage).is_some()
    });
    // A trie and a path have one entry, that of the longest prefix.
    let length = |rule: &RuleSpec| covers(&rule.key, process, object, lineage).unwrap_or(0);
    for kind in [KeyKind::Path, KeyKind::Network] {
        let of_kind = rules.iter().filter(|(_, rule)| rule.key.kind() == kind);
        let longest = of_kind.map(|(_, rule)| length(rule)).max().unwrap_or(0);
        rules.retain(|(_, rule)| rule.key.kind() != kind || length(rule) == longest);
    }
    rules.sort_by_key(|(id, rule)| (place(rule.key.kind()), *id));
    let (mut lifted, mut judged) = (false, Judged::Passes);
    for (rule_id, rule) in rules {
        let errno = rule.errno;
        match rule.mode {
            Mode::Allow => lifted = true,
            Mode::Enforce if !lifted => return Judged::Refused { rule_id, errno },
            Mode::Audit if !lifted && judged == Judged::Passes => {
                judged = Judged::Audited { rule_id, errno };
            }
            _ => {}
        }
    }
    judged
}

/// Whether a key is that of a call, and how long a prefix it is.
fn covers(
    key: &RuleKey,
    process: ProcessKey,
    object: &JudgedObject<'_>,
    lineage: &[ProcessKey],
) -> Option<usize> {
    let covers = match key {
        RuleKey::Process(key) => *key == process,
        RuleKey::Lineage(root) => lineage.contains(root),
        RuleKey::Cgroup(id) => *id == object.cgroup,
        RuleKey::File(key) => object.file.is_some_and(|(file, _)| file == *key),
        // No file of a stage has bytes.
        RuleKey::Digest(_) => false,
        RuleKey::Path { prefix, .. } => {
            let (_, path) = object.file?;
            return below(path, prefix).then_some(prefix.len());
        }
        RuleKey::Network { address, prefix, port } => {
            let (to, _) = object.to?;
            let is_it = within(to.ip(), *address, *prefix) && (*port == 0 || *port == to.port());
            return is_it.then_some(usize::from(*prefix));
        }
        RuleKey::Transport { address, prefix, port, protocol } => {
            let (to, with) = object.to?;
            let is_it = within(to.ip(), *address, *prefix)
                && (*port == 0 || *port == to.port())
                && u64::from(with) == u64::from(*protocol);
            return is_it.then_some(usize::from(*prefix));
        }
        RuleKey::Hook => true,
    };
    covers.then_some(0)
}

/// Whether a path is a prefix's own or lies below it: whole components.
pub(super) fn below(path: &str, prefix: &str) -> bool {
    let rest = path.strip_prefix(prefix);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || prefix.ends_with('/'))
}

fn within(ip: IpAddr, network: IpAddr, prefix: u8) -> bool {
    let bits = |ip: IpAddr| match ip.to_canonical() {
        IpAddr::V4(v4) => (32, u128::from(u32::from(v4)) << 96),
        IpAddr::V6(v6) => (128, u128::from(v6)),
    };
    let ((width, ip), (of, network)) = (bits(ip), bits(network));
    let mask = u128::MAX.checked_shl(128 - u32::from(prefix.min(width))).unwrap_or(0);
    width == of && ip & mask == network & mask
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_are_whole_components_and_whole_bits() {
        for (path, prefix, is_below) in [
            ("/etc/shadow", "/etc", true),
            ("/etc/shadow", "/etc/", true),
            ("/etcetera", "/etc", false),
            ("/etc", "/etc", true),
            ("/", "/etc", false),
        ] {
            assert_eq!(below(path, prefix), is_below, "{path} {prefix}");
        }
        for (ip, network, prefix, is_in) in [
            ("10.1.2.3", "10.0.0.0", 8, true),
            ("11.1.2.3", "10.0.0.0", 8, false),
            ("::ffff:10.1.2.3", "10.1.2.3", 32, true),
            ("2001:db8::1", "2001:db8::", 32, true),
            ("2001:db8::1", "10.0.0.0", 0, false),
            ("10.9.9.9", "0.0.0.0", 0, true),
        ] {
            assert_eq!(
                within(ip.parse().unwrap(), network.parse().unwrap(), prefix),
                is_in,
                "{ip}"
            );
        }
    }
}
