//! Which denials are broad: those that can lock the operator out, or everybody. They need a grant of their own.
//!
//! Broad is what is about everybody and covers a whole hook, most of the file system or of the network,
//! who may kill, the group or the tree of PID 1 or the host, or a file that nobody comes in without.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use krsi_host_abi::deny::{Digest, FileKey, Mode, ProcessKey as AbiProcessKey};
use krsi_plugin_schema::latest::{
    Deny, Hook, HookSet, IfUnresolved, ProcessKey, Rule, RuleKey, RuleMode, Subject,
};

use super::asked::AskedWatch;
use super::ledger::RuleSpec;
use super::turns::Others;

use crate::kernel::map::namespace::CgroupError;

/// Components of a path prefix that covers too much.
const DEPTH_BROAD: usize = 1;
/// Bits of an IPv4 prefix that covers too much.
const V4_BROAD: u8 = 8;
/// Bits of an IPv6 prefix that does.
const V6_BROAD: u8 = 32;
/// Bits of `::ffff:0:0/96`.
const MAPPED_BITS: u8 = 96;

/// Folders in which nearly every program opens something: a label for whoever does is everybody's.
const COMMON: [&str; 9] =
    ["/dev", "/etc", "/lib", "/lib64", "/proc", "/sys", "/usr/lib", "/usr/lib64", "/usr/share"];
/// Files below them that few programs open: names of secrets.
const SECRET: [&str; 8] = [
    "/etc/gshadow",
    "/etc/krb5.keytab",
    "/etc/security/opasswd",
    "/etc/shadow",
    "/etc/ssh",
    "/etc/ssl/private",
    "/etc/sudoers",
    "/etc/wireguard",
];

/// Hooks at which the attached programs resolve paths.
#[derive(Debug, Default)]
pub struct ResolvingHooks(Mutex<HookSet>);

impl ResolvingHooks {
    /// The set of all hooks, for checks without a kernel.
    #[must_use]
    pub(crate) const fn all() -> Self {
        Self(Mutex::new(HookSet(u128::MAX)))
    }

    /// Takes note of the programs that are attached now.
    pub(crate) fn set(&self, hooks: HookSet) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = hooks;
    }

    fn has(&self, hook: Hook) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(hook)
    }
}

/// A file that nobody comes in without.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VitalFile {
    /// Name of the file, for people.
    pub what: &'static str,
    /// Where it is found, by each of its names and with links resolved.
    pub paths: Vec<PathBuf>,
    /// Key of the file, as programs see it.
    pub key: FileKey,
}

/// Names of vital files, by their digests.
pub(crate) type VitalDigests = HashMap<Digest, &'static str>;

/// What of this machine decides whether a denial is broad.
#[derive(Debug, Default)]
pub struct Machine {
    /// Files that nobody comes in without.
    pub files: Vec<VitalFile>,
    /// Files that nearly every program opens.
    pub common: Vec<VitalFile>,
    /// PID 1, the host and its ancestors, their starts in ticks.
    pub roots: Vec<AbiProcessKey>,
    /// Cgroups of PID 1 and of the host.
    pub cgroups: Vec<u64>,
    /// Why rules by cgroup are not available at all.
    pub without_cgroups: Option<CgroupError>,
    /// Hooks at which paths are resolved. At others a rule on a path that is to apply to what is unresolved is about
    /// every call.
    pub resolving: ResolvingHooks,
    /// Whether the file system on a device numbers the generations of its files: one may be 0, though.
    pub has_generations: Option<fn(u32) -> bool>,
    /// Digests of the files, taken when they are first asked for.
    pub digests: OnceLock<VitalDigests>,
    /// Function that hashes the files; `None` where there are no rules on digests.
    pub hash: Option<fn(&[VitalFile]) -> VitalDigests>,
}

/// How a denial is broad.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Breadth {
    /// Everybody's calls of a hook.
    WholeHook(Hook),
    /// Everybody's signals.
    Kill,
    /// A path that most others lie below.
    Path(String),
    /// A rule on a path that applies to what is unresolved, at a hook where no path is resolved.
    Unresolved(Hook),
    /// A label for whoever opens what nearly every program opens.
    Common(String),
    /// A prefix of addresses.
    Network(String),
    /// The plugin's prefixes together.
    Networks,
    /// The cgroup of PID 1 or the host.
    Cgroup(u64),
    /// The descendants of PID 1, the host or one of its ancestors.
    Lineage(u32),
    /// A file that nobody comes in without.
    Vital(&'static str),
}

impl fmt::Display for Breadth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WholeHook(hook) => write!(f, "it covers every call of {}", hook.name()),
            Self::Kill => f.write_str("it covers everybody's signals"),
            Self::Path(prefix) => write!(f, "most files lie below {prefix}"),
            Self::Unresolved(hook) => write!(
                f,
                "no path is resolved at {} here, and it applies to what is unresolved",
                hook.name()
            ),
            Self::Common(what) => {
                write!(f, "nearly every program opens {what}, or a file below it")
            }
            Self::Network(network) => write!(f, "{network} is too much of the network"),
            Self::Networks => {
                f.write_str("the plugin's prefixes together are too much of the network")
            }
            Self::Cgroup(id) => write!(f, "PID 1 or the host is in cgroup {id}"),
            Self::Lineage(tgid) => {
                write!(f, "process {tgid} is PID 1, the host or one of its ancestors")
            }
            Self::Vital(what) => write!(f, "nobody comes in without {what}"),
        }
    }
}

/// What a rule is looked at beside: the plugin's other rules, and labels that everybody can have.
#[derive(Clone, Copy)]
struct Beside<'a> {
    others: Others<'a>,
    common: &'a [String],
}

impl Beside<'_> {
    /// No other rule, and no label.
    const NOTHING: Beside<'static> = Beside { others: &|_| (), common: &[] };

    /// Whether everybody can have all of some labels.
    fn is_everybodys<T: AsRef<str>>(self, labels: &[T]) -> bool {
        labels.iter().all(|label| self.common.iter().any(|common| common == label.as_ref()))
    }
}

impl Machine {
    /// How a denial is broad, if it is. One that only reports is not, nor is one that asks for a label which not
    /// everybody can have. `others` shows the plugin's other rules, `watches` are its own.
    pub fn breadth(
        &self,
        denial: &Deny<'_>,
        others: Others<'_>,
        watches: &[AskedWatch],
    ) -> Option<Breadth> {
        if denial.mode != RuleMode::Enforce {
            return None;
        }
        let rule = &denial.rule;
        let is_network = matches!(rule.key, RuleKey::Network { .. } | RuleKey::Transport { .. });
        let common = match rule.labels.has.is_empty() && !is_network {
            true => Vec::new(),
            false => self.common_labels(others, watches),
        };
        let beside = Beside { others, common: &common };
        let breadth = self.width((&rule.key, rule.subject, rule.hooks), beside)?;
        beside.is_everybodys(&rule.labels.has).then_some(breadth)
    }

    /// Labels that everybody can have: rules of the plugin give them to everybody, or its watches give them, and nobody
    /// knows whom a predicate matches. Looked for once for each denial: `others` may hold the ledger meanwhile.
    fn common_labels(&self, others: Others<'_>, watches: &[AskedWatch]) -> Vec<String> {
        let mut common: Vec<String> =
            watches.iter().filter_map(|watch| watch.gives.clone()).collect();
        others(&mut |spec| {
            if let Some(label) = &spec.gives
                && !common.iter().any(|known| **known == **label)
                && self.giving((&spec.key, spec.subject, spec.hooks)).is_some()
            {
                common.push(label.to_string());
            }
        });
        common
    }

    /// How a rule gives a label to everybody, if it does.
    fn giving(&self, (key, subject, hooks): (&RuleKey, Subject, HookSet)) -> Option<Breadth> {
        self.width((key, subject, hooks), Beside::NOTHING).or_else(|| match (key, subject) {
            (_, Subject::Lineage(root)) if !self.is_root(root) => None,
            // Few programs execute what nearly every one opens.
            _ if hooks.iter().all(|hook| hook == Hook::BprmCheckSecurity) => None,
            (RuleKey::Path { prefix, .. }, _) => {
                is_common(prefix).then(|| Breadth::Common(prefix.clone()))
            }
            (RuleKey::File(file), _) => {
                let is = |one: &&VitalFile| (one.key.ino, one.key.dev) == (file.ino, file.dev);
                let found = self.common.iter().find(is);
                found.map(|one| Breadth::Common(one.what.to_owned()))
            }
            _ => None,
        })
    }

    /// How a rule that gives a label is broad: it gives everybody a label, and a denial that is in force asks for it
    /// and would be broad without.
    pub(super) fn label_breadth(
        &self,
        rule: &Rule<'_>,
        label: &str,
        others: Others<'_>,
        watches: &[AskedWatch],
    ) -> Option<Breadth> {
        let breadth = self.giving((&rule.key, rule.subject, rule.hooks))?;
        let mut asked = watches.iter().any(|watch| watch.denies_with(label));
        let mut blocks = Vec::new();
        others(&mut |spec| {
            if spec.mode == Mode::Enforce && self.is_everybodys(spec.subject) {
                let asks = spec.labels.has.iter().any(|other| other == label);
                asked |= asks && self.is_wide(spec);
                // Whatever else these ask for: the label may have been what kept them apart.
                blocks.extend(block(spec));
            }
        });
        (asked || are_broad(blocks)).then_some(breadth)
    }

    /// Whether a rule with this subject is about everybody.
    fn is_everybodys(&self, subject: Subject) -> bool {
        match subject {
            Subject::Any => true,
            Subject::Lineage(root) => self.is_root(root),
        }
    }

    /// How a label of a process is broad: its descendants are everybody.
    pub(super) fn root_breadth(&self, process: ProcessKey) -> Option<Breadth> {
        self.is_root(process).then_some(Breadth::Lineage(process.tgid))
    }

    /// Whether a rule would be about everybody if it asked for no label.
    fn is_wide(&self, spec: &RuleSpec) -> bool {
        self.width((&spec.key, spec.subject, spec.hooks), Beside::NOTHING).is_some()
    }

    /// How what a rule is about is broad, whatever labels it asks for.
    fn width(
        &self,
        (key, subject, hooks): (&RuleKey, Subject, HookSet),
        beside: Beside<'_>,
    ) -> Option<Breadth> {
        match (key, subject) {
            (_, Subject::Lineage(root)) if !self.is_root(root) => None,
            (RuleKey::Process(_), _) => None,
            (RuleKey::Lineage(root), _) => self.root_breadth(*root),
            (key, _) => self.everybody(key, hooks, beside),
        }
    }

    /// Breadth of a denial without a process, lineage or label condition.
    fn everybody(&self, key: &RuleKey, hooks: HookSet, beside: Beside<'_>) -> Option<Breadth> {
        match key {
            RuleKey::Hook | RuleKey::Cgroup(_) if hooks.contains(Hook::TaskKill) => {
                Some(Breadth::Kill)
            }
            RuleKey::Hook => hooks.iter().next().map(Breadth::WholeHook),
            RuleKey::Cgroup(id) => self.cgroups.contains(id).then_some(Breadth::Cgroup(*id)),
            RuleKey::Path { prefix, if_unresolved } => self.path(prefix).or_else(|| {
                let applies = *if_unresolved == IfUnresolved::Apply;
                let mut unresolved = hooks.iter().filter(|hook| !self.resolving.has(*hook));
                unresolved.next().filter(|_| applies).map(Breadth::Unresolved)
            }),
            RuleKey::File(file) => {
                self.file(|vital| (vital.key.ino, vital.key.dev) == (file.ino, file.dev))
            }
            RuleKey::Digest(digest) => self.digest(digest).map(Breadth::Vital),
            RuleKey::Network { address, prefix, .. }
            | RuleKey::Transport { address, prefix, .. } => self.network(*address, *prefix, beside),
            RuleKey::Process(_) | RuleKey::Lineage(_) => None,
        }
    }

    fn is_root(&self, process: ProcessKey) -> bool {
        let ProcessKey { start_boot_ns, tgid } = process;
        let key = AbiProcessKey { start_boot_ns, tgid, pad: 0 }.in_ticks();
        self.roots.contains(&key)
    }

    fn file(&self, is: impl Fn(&VitalFile) -> bool) -> Option<Breadth> {
        self.files.iter().find(|file| is(file)).map(|file| Breadth::Vital(file.what))
    }

    fn path(&self, prefix: &str) -> Option<Breadth> {
        let whole = prefix.trim_end_matches('/');
        if whole.split('/').filter(|part| !part.is_empty()).count() <= DEPTH_BROAD {
            return Some(Breadth::Path(prefix.to_owned()));
        }
        // `Path` compares whole components, as the kernel does.
        self.file(|vital| vital.paths.iter().any(|path| path.starts_with(whole)))
    }

    /// How a prefix is broad, alone or together with the plugin's others that are about everybody.
    fn network(&self, address: IpAddr, prefix: u8, beside: Beside<'_>) -> Option<Breadth> {
        let own = Block::new(address, prefix);
        if own.is_broad() {
            return Some(Breadth::Network(format!("{address}/{prefix}")));
        }
        let mut all = vec![own];
        (beside.others)(&mut |spec| {
            let is_counted = spec.mode == Mode::Enforce
                && self.is_everybodys(spec.subject)
                && beside.is_everybodys(&spec.labels.has);
            all.extend(block(spec).filter(|block| is_counted && block.is_v4 == own.is_v4));
        });
        are_broad(all).then_some(Breadth::Networks)
    }

    /// Takes the digests of the files, if that has not been done.
    pub fn take_digests(&self) -> &VitalDigests {
        self.digests.get_or_init(|| self.hash.map(|hash| hash(&self.files)).unwrap_or_default())
    }

    fn digest(&self, digest: &Digest) -> Option<&'static str> {
        self.take_digests().get(digest).copied()
    }
}

/// The addresses of a rule on destinations.
fn block(spec: &RuleSpec) -> Option<Block> {
    match spec.key {
        RuleKey::Network { address, prefix, .. } | RuleKey::Transport { address, prefix, .. } => {
            Some(Block::new(address, prefix))
        }
        _ => None,
    }
}

/// Whether blocks of either family are too much of the network together.
fn are_broad(mut blocks: Vec<Block>) -> bool {
    blocks.sort_unstable();
    let (v4, v6): (Vec<Block>, Vec<Block>) = blocks.into_iter().partition(|block| block.is_v4);
    [v4, v6].iter().any(|of_one| {
        of_one.first().is_some_and(|first| {
            of_one.iter().any(|block| block.is_broad()) || covered(of_one) >= first.broad_size()
        })
    })
}

/// Whether nearly every program opens something that a prefix covers.
fn is_common(prefix: &str) -> bool {
    // `Path` compares whole components, as the kernel does.
    let prefix = Path::new(prefix.trim_end_matches('/'));
    let is_below =
        |folder: &str| prefix.starts_with(folder) || Path::new(folder).starts_with(prefix);
    COMMON.into_iter().any(is_below) && !SECRET.iter().any(|secret| prefix.starts_with(secret))
}

/// A prefix of addresses: a block of them from its first one on. A wider one comes before what it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Block {
    is_v4: bool,
    first: u128,
    prefix: u8,
}

impl Block {
    fn new(address: IpAddr, prefix: u8) -> Self {
        let (is_v4, bits, prefix) = match address {
            IpAddr::V4(v4) => (true, u128::from(v4.to_bits()), prefix),
            IpAddr::V6(v6) => match (v6.to_ipv4_mapped(), prefix.checked_sub(MAPPED_BITS)) {
                (Some(v4), Some(rest)) => (true, u128::from(v4.to_bits()), rest),
                _ => (false, v6.to_bits(), prefix),
            },
        };
        let block = Self { is_v4, first: 0, prefix };
        Self { first: bits & !(block.size().wrapping_sub(1)), ..block }
    }

    const fn width(self) -> u8 {
        if self.is_v4 { 32 } else { 128 }
    }

    /// Number of addresses; 0 for all of IPv6.
    fn size(self) -> u128 {
        1u128.checked_shl(u32::from(self.width().saturating_sub(self.prefix))).unwrap_or(0)
    }

    const fn least_bits(self) -> u8 {
        if self.is_v4 { V4_BROAD } else { V6_BROAD }
    }

    const fn is_broad(self) -> bool {
        self.prefix <= self.least_bits()
    }

    fn broad_size(self) -> u128 {
        Self { prefix: self.least_bits(), ..self }.size()
    }
}

/// Addresses of sorted blocks, each counted once; none of them is all of IPv6.
fn covered(blocks: &[Block]) -> u128 {
    let mut sum: u128 = 0;
    let mut end: Option<u128> = None;
    for block in blocks {
        if end.is_some_and(|end| block.first < end) {
            continue;
        }
        sum = sum.saturating_add(block.size());
        end = Some(block.first.saturating_add(block.size()));
    }
    sum
}

#[cfg(test)]
mod tests;
