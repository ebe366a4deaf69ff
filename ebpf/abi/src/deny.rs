//! Deny keys, leases and the flags word: what the host writes and the kernel obeys.
//!
//! A map entry holds up to [`SLOTS`] leases, so that several plugins can rule on one key and each
//! lease keeps its own rule id, owner, expiry and errno. Verdict order: exempt, process, lineage,
//! cgroup, file, path, network, hook, for an object that cannot be read the leases that answer errors, and
//! digests by a program of their own; inside an entry in slot order, where the host puts `allow` first. The
//! first deny in force denies. An `allow` lifts only later denies of the same owner.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Leases that one key can carry; a further one is refused to the plugin.
pub const SLOTS: usize = 4;
/// Lineages that one process can be marked with at a time.
pub const LINEAGES: usize = 4;
/// Largest errno of the kernel's error range (`MAX_ERRNO` in `include/linux/err.h`).
pub const MAX_ERRNO: u16 = 4095;

/// A process: thread group id and start time, never a bare pid.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    FromBytes,
    IntoBytes,
    KnownLayout,
    Immutable,
)]
#[repr(C)]
pub struct ProcessKey {
    /// `task->group_leader->start_boottime`, nanoseconds of `CLOCK_BOOTTIME`.
    pub start_boot_ns: u64,
    /// `task->tgid` in the initial pid namespace.
    pub tgid: u32,
    /// Padding, zero.
    pub pad: u32,
}

/// A file: the kernel's `s_dev` (major << 20 | minor), inode number and generation.
///
/// A file system gives the number of a file that is gone to the next one, with another generation. The key of
/// a file that the host holds open has generation 0: its number is nobody else's meanwhile.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    FromBytes,
    IntoBytes,
    KnownLayout,
    Immutable,
)]
#[repr(C)]
pub struct FileKey {
    /// Inode number, `inode->i_ino`.
    pub ino: u64,
    /// `inode->i_sb->s_dev`, the kernel's internal encoding.
    pub dev: u32,
    /// `inode->i_generation`; 0 where the file system has none.
    pub generation: u32,
}

impl FileKey {
    /// The key of a file that the host holds open.
    #[must_use]
    pub const fn held(self) -> Self {
        Self { generation: 0, ..self }
    }

    /// Device and generation in one word, as they lie in memory.
    #[must_use]
    pub const fn place(self) -> u64 {
        self.dev as u64 | (self.generation as u64) << 32
    }

    /// The file of an inode number and what [`Self::place`] made.
    #[must_use]
    pub const fn of(ino: u64, place: u64) -> Self {
        Self { ino, dev: place as u32, generation: (place >> 32) as u32 }
    }
}

/// SHA-256 of an executable.
pub type Digest = [u8; 32];

/// What stands for the executables that are not hashed: no file is known that has this digest.
pub const UNHASHED: Digest = [0; 32];

/// `HASH_ALGO_SHA256` of `include/uapi/linux/hash_info.h`: what IMA answers when a digest is one.
pub const SHA256: i64 = 4;

/// Nanoseconds of a clock tick, in which `/proc` tells when a process started (`USER_HZ` is 100).
pub const TICK_NS: u64 = 10_000_000;

impl ProcessKey {
    /// The key by which a process is exempt: its start in ticks, so that processes that are older
    /// than the host can be named.
    #[must_use]
    pub const fn in_ticks(self) -> Self {
        Self { start_boot_ns: self.start_boot_ns / TICK_NS, tgid: self.tgid, pad: 0 }
    }

    /// A key that is exempt by this one, which counts in ticks.
    #[must_use]
    pub const fn from_ticks(self) -> Self {
        Self { start_boot_ns: self.start_boot_ns.saturating_mul(TICK_NS), tgid: self.tgid, pad: 0 }
    }
}

/// Why no rule refuses a process: the bits of its value in `EXEMPT`, and of an executable's in
/// `EXEMPT_FILE`.
pub mod exempt {
    /// The operator named the process: it is exempt to its end, whatever it executes.
    pub const NAMED: u64 = 1 << 0;
    /// It runs an executable that the operator named, as a user or in a cgroup that he named.
    pub const EXECUTABLE: u64 = 1 << 1;
    /// It is a child of the host that has executed nothing else, or root runs the host's own file in it.
    pub const HOST: u64 = 1 << 2;
    /// What a fork hands on: the child runs the same image.
    pub const INHERITED: u64 = EXECUTABLE | HOST;
}

/// Bits of [`NetworkKey`] before the address: family and port are always matched in full.
pub const NETWORK_FIXED_BITS: u32 = 32;

/// A destination in the trie: family and port exactly, then an address prefix.
///
/// ```text
/// 0        4        6       8                        24
/// | prefix | family | port  | address (v4: first 4)  |
/// ```
/// An address of `::ffff:0:0/96` is entered and looked up as IPv4. Port 0 holds rules for every port.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    FromBytes,
    IntoBytes,
    KnownLayout,
    Immutable,
)]
#[repr(C)]
pub struct NetworkKey {
    /// Matched bits: [`NETWORK_FIXED_BITS`] plus the address prefix.
    pub prefix_bits: u32,
    /// Address family, `AF_INET` or `AF_INET6`.
    pub family: u16,
    /// Port in network byte order, or 0.
    pub port_be: u16,
    /// Address in network byte order.
    pub address: [u8; 16],
}

/// What a lease does when it applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Mode {
    /// Refuse with the errno.
    Enforce = 1,
    /// Report what would have been refused.
    Audit = 2,
    /// Lift later denies of the same owner.
    Allow = 3,
    /// Nothing: the operator switched it off.
    Off = 4,
    /// Give the caller a label.
    Label = 5,
}

/// Whom a lease concerns, beside its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Subject {
    /// The lease applies to every process.
    Any = 0,
    /// Members of the lineage `subject_id`.
    Lineage = 1,
}

/// The part of one rule that is in the kernel's maps, for one key.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
#[repr(C)]
pub struct Lease {
    /// Hooks it applies to, by [`crate::hook::Hook::bit`], low half first; 0 = empty slot.
    pub hooks: [u64; 2],
    /// `CLOCK_BOOTTIME` at which it ends; 0 = never.
    pub expires_boot_ns: u64,
    /// Rule id, unique in the life of a host.
    pub rule_id: u64,
    /// Lineage id when `subject` is [`Subject::Lineage`].
    pub subject_id: u64,
    /// Errno to answer, positive, at most [`MAX_ERRNO`].
    pub errno: u16,
    /// Number of the lease's [`Mode`].
    pub mode: u8,
    /// Number of the lease's [`Subject`].
    pub subject: u8,
    /// Slot of the owning plugin, below 64; the administrator is 63.
    pub owner: u8,
    /// Label that a [`Mode::Label`] gives, below [`LABELS`].
    pub label: u8,
    /// Protocol of the sockets it is about (`IPPROTO_*` of `include/uapi/linux/in.h`); 0 for any.
    pub protocol: u16,
    /// Labels that the caller must have, all of them, as bits; 0 for none.
    pub if_labels: u64,
    /// Labels of which the caller must have none, as bits.
    pub unless_labels: u64,
}

impl Lease {
    /// Whether it asks for the labels of the caller.
    #[must_use]
    pub const fn asks_labels(&self) -> bool {
        self.if_labels | self.unless_labels != 0
    }
}

/// Labels of all owners.
pub const LABELS: usize = 64;

/// The labels of a process: a byte of its own for each, 0 or 1, so that a program gives one by a plain store
/// (5.10 has no atomic `or`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C, align(8))]
pub struct Labels {
    /// A byte for each label, by its number: not 0 if the process has it.
    pub has: [u8; LABELS],
}

impl Labels {
    /// No label.
    pub const NONE: Self = Self { has: [0; LABELS] };

    /// The labels as bits, by their numbers.
    #[must_use]
    pub fn bits(&self) -> u64 {
        (0..).zip(self.has).fold(0, |bits, (at, has)| bits | u64::from(has & 1) << at)
    }
}

/// What holds of the labels themselves, as bits: written by the host.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
#[repr(C)]
pub struct LabelRules {
    /// Labels that somebody has declared: no other is seen.
    pub live: u64,
    /// Labels that an exec takes away.
    pub dropped_at_exec: u64,
    /// Labels without room for which the call that would give one is refused.
    pub refused_when_full: u64,
    /// Rule id of such a refusal.
    pub full_rule: u64,
}

/// A hook mask as a lease carries it.
#[must_use]
pub const fn halves(hooks: u128) -> [u64; 2] {
    [hooks as u64, (hooks >> 64) as u64]
}

/// The value of every deny map.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
#[repr(C)]
pub struct Entry {
    /// Leases in evaluation order, empty slots last.
    pub slots: [Lease; SLOTS],
}

/// Slots of owners: plugins, and the administrator with the last one.
pub const OWNERS: usize = 64;

/// Whom an owner's leases concern at all, whatever they say: the operator's bound.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
#[repr(C)]
pub struct Bounds {
    /// The real user id, or the id of the cgroup.
    pub id: u64,
    /// Kind of `id`: a constant of [`bounds`].
    pub kind: u32,
    /// Depth of the cgroup below the root of the hierarchy, whose own is 0.
    pub level: u32,
}

/// What the id of a [`Bounds`] is, and so whom the leases concern.
pub mod bounds {
    /// No bound: the leases concern everybody.
    pub const NONE: u32 = 0;
    /// Processes of a real user id.
    pub const UID: u32 = 1;
    /// Processes in a cgroup or below it.
    pub const CGROUP: u32 = 2;
}

/// The lineages that a process belongs to; inherited on fork, in the kernel.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
#[repr(C)]
pub struct Membership {
    /// Lineage ids, 0 = free.
    pub lineages: [u64; LINEAGES],
}

/// Bits of a hook's flags word: what is worth doing in a call at all.
pub mod flag {
    /// Somebody subscribed: emit telemetry.
    pub const FORWARD: u64 = 1 << 0;
    /// The host is proving that the hook fires: count only.
    pub const CANARY: u64 = 1 << 1;
    /// The process map holds a rule for this hook.
    pub const PROCESS: u64 = 1 << 2;
    /// The lineage map holds a rule for this hook.
    pub const LINEAGE: u64 = 1 << 3;
    /// The file map holds a rule for this hook.
    pub const FILE: u64 = 1 << 4;
    /// The network trie holds a rule for this hook that names a port.
    pub const NETWORK: u64 = 1 << 5;
    /// Some lease of this hook has a lineage as its subject, or marks must be inherited.
    pub const MEMBERSHIP: u64 = 1 << 6;
    /// The cgroup map holds a rule for this hook.
    pub const CGROUP: u64 = 1 << 7;
    /// The hook itself carries a rule.
    pub const HOOK: u64 = 1 << 8;
    /// Telemetry is forwarded only when the filter of this hook lets it pass.
    pub const FILTER: u64 = 1 << 10;
    /// Nothing is refused: what would have been is reported (`--mode audit`).
    pub const AUDIT_ONLY: u64 = 1 << 11;
    /// A call whose object cannot be read is answered by the leases of `ON_ERROR`.
    pub const ERROR_RULE: u64 = 1 << 12;
    /// The path map holds a rule for this hook.
    pub const PATH: u64 = 1 << 13;
    /// The digest map holds a rule for this hook: asked by a program of its own, which sleeps.
    pub const DIGEST: u64 = 1 << 14;
    /// The network trie holds a rule for this hook on every port.
    pub const ANY_PORT: u64 = 1 << 15;
    /// Some lease of this hook names a protocol: the socket's is read.
    pub const PROTOCOL: u64 = 1 << 16;
    /// Labels are in force: at exec they are dropped and given, at fork handed on, at exit forgotten.
    pub const LABELS: u64 = 1 << 17;
    /// Bits that the ledger decides: all that do not belong to routing or to the operator.
    pub const LEDGER: u64 = !(FORWARD | CANARY | FILTER | AUDIT_ONLY);
    /// Some map holds a rule for this hook, digests aside.
    pub const RULES: u64 = LEDGER & !(MEMBERSHIP | ERROR_RULE | PROTOCOL | DIGEST | LABELS);
}

const _: () = assert!(size_of::<ProcessKey>() == 16);
const _: () = assert!(size_of::<FileKey>() == 16);
const _: () = assert!(size_of::<NetworkKey>() == 24);
const _: () = assert!(size_of::<Lease>() == 64);
const _: () = assert!(size_of::<Entry>() == 64 * SLOTS);
const _: () = assert!(size_of::<Labels>() == LABELS);
const _: () = assert!(size_of::<Bounds>() == 16);
const _: () = assert!(size_of::<Membership>() == 8 * LINEAGES);
