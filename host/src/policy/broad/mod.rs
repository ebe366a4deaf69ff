//! Which denials are broad: those that can lock the operator out, or everybody. They need a grant of their own.
//!
//! Broad is what is about everybody and covers a whole hook, most of the file system or of the network,
//! who may kill, the group or the tree of PID 1 or the host, or a file that nobody comes in without.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::OnceLock;

use krsi_host_abi::deny::{Digest, FileKey, ProcessKey as AbiProcessKey};
use krsi_plugin_schema::latest::{Deny, Hook, HookSet, ProcessKey, RuleKey, RuleMode, Subject};

use crate::kernel::map::namespace::CgroupError;

/// Components of a path prefix that covers too much.
const DEPTH_BROAD: usize = 1;
/// Bits of an IPv4 prefix that covers too much.
const V4_BROAD: u8 = 8;
/// Bits of an IPv6 prefix that does.
const V6_BROAD: u8 = 32;
/// Bits of `::ffff:0:0/96`.
const MAPPED_BITS: u8 = 96;

/// A file that nobody comes in without.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VitalFile {
    /// What it is, for people.
    pub what: &'static str,
    /// Where it is found, by each of its names and with links resolved.
    pub paths: Vec<PathBuf>,
    /// What it is to programs.
    pub key: FileKey,
}

/// What files are, by their digests.
pub(crate) type VitalDigests = HashMap<Digest, &'static str>;

/// What of this machine decides whether a denial is broad.
#[derive(Debug, Default)]
pub struct Machine {
    /// Files that nobody comes in without.
    pub files: Vec<VitalFile>,
    /// PID 1, the host and its ancestors, their starts in ticks.
    pub roots: Vec<AbiProcessKey>,
    /// Cgroups of PID 1 and of the host.
    pub cgroups: Vec<u64>,
    /// Why rules by cgroup are not to be had at all.
    pub without_cgroups: Option<CgroupError>,
    /// Whether the file system on a device numbers the generations of its files: one may be 0, though.
    pub has_generations: Option<fn(u32) -> bool>,
    /// Digests of the files, taken when they are first asked for.
    pub digests: OnceLock<VitalDigests>,
    /// Takes them.
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

impl Machine {
    /// How a denial is broad, if it is. One that only reports is not. `others` are the destinations of the
    /// plugin's other denials that are about everybody; only one of a destination asks for them.
    pub fn breadth(
        &self,
        denial: &Deny<'_>,
        others: impl FnOnce() -> Vec<(IpAddr, u8)>,
    ) -> Option<Breadth> {
        if denial.mode != RuleMode::Enforce {
            return None;
        }
        let rule = &denial.rule;
        match (&rule.key, rule.subject) {
            (_, Subject::Lineage(root)) if !self.is_root(root) => None,
            (RuleKey::Process(_), _) => None,
            (RuleKey::Lineage(root), _) => {
                self.is_root(*root).then_some(Breadth::Lineage(root.tgid))
            }
            (key, _) => self.everybody(key, rule.hooks, others),
        }
    }

    /// The same of a denial that is about everybody.
    fn everybody(
        &self,
        key: &RuleKey,
        hooks: HookSet,
        others: impl FnOnce() -> Vec<(IpAddr, u8)>,
    ) -> Option<Breadth> {
        match key {
            RuleKey::Hook | RuleKey::Cgroup(_) if hooks.contains(Hook::TaskKill) => {
                Some(Breadth::Kill)
            }
            RuleKey::Hook => hooks.iter().next().map(Breadth::WholeHook),
            RuleKey::Cgroup(id) => self.cgroups.contains(id).then_some(Breadth::Cgroup(*id)),
            RuleKey::Path { prefix, .. } => self.path(prefix),
            RuleKey::File(file) => {
                self.file(|vital| (vital.key.ino, vital.key.dev) == (file.ino, file.dev))
            }
            RuleKey::Digest(digest) => self.digest(digest).map(Breadth::Vital),
            RuleKey::Network { address, prefix, .. }
            | RuleKey::Transport { address, prefix, .. } => network(*address, *prefix, others),
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

    /// Takes the digests of the files, if that has not been done.
    pub fn take_digests(&self) -> &VitalDigests {
        self.digests.get_or_init(|| self.hash.map(|hash| hash(&self.files)).unwrap_or_default())
    }

    fn digest(&self, digest: &Digest) -> Option<&'static str> {
        self.take_digests().get(digest).copied()
    }
}

fn network(
    address: IpAddr,
    prefix: u8,
    others: impl FnOnce() -> Vec<(IpAddr, u8)>,
) -> Option<Breadth> {
    let own = Block::new(address, prefix);
    if own.is_broad() {
        return Some(Breadth::Network(format!("{address}/{prefix}")));
    }
    let others = others().into_iter().map(|(address, prefix)| Block::new(address, prefix));
    let mut all: Vec<Block> =
        others.chain([own]).filter(|block| block.is_v4 == own.is_v4).collect();
    all.sort_unstable();
    (covered(&all) >= own.broad_size()).then_some(Breadth::Networks)
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

    /// How many addresses; 0 for all of IPv6.
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
