//! In-kernel filters of telemetry: the union of what plugins ask of a hook.
//!
//! A call is forwarded when one clause holds. A hook with a subscriber that asks for everything has
//! no filter at all.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Clauses of one hook: one a subscriber; more subscribers than that mean no filter.
pub const CLAUSES: usize = 4;
/// Bytes of a path prefix.
pub const PREFIX_LEN: usize = 64;

/// Bits of [`Clause::tests`]: what a clause asks; all of it must hold.
pub mod test {
    /// The clause is in use.
    pub const LIVE: u32 = 1 << 0;
    /// `uid` is the caller's.
    pub const UID: u32 = 1 << 1;
    /// `cgroup_id` is the caller's.
    pub const CGROUP: u32 = 1 << 2;
    /// The open flags contain one of `flags_any`.
    pub const FLAGS: u32 = 1 << 3;
    /// `port` is the destination's.
    pub const PORT: u32 = 1 << 4;
    /// The path starts with `prefix`.
    pub const PREFIX: u32 = 1 << 5;
    /// The process, object and hook have not been seen together lately.
    pub const FIRST_SEEN: u32 = 1 << 6;
    /// The process has had less than `rate` records of the hook this second.
    pub const RATE: u32 = 1 << 7;
}

/// Conditions of one subscriber.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
#[repr(C)]
pub struct Clause {
    /// Bits of [`test`].
    pub tests: u32,
    /// User id in the initial user namespace.
    pub uid: u32,
    /// Id of the cgroup.
    pub cgroup_id: u64,
    /// Open flags (`O_*`).
    pub flags_any: u32,
    /// Records a second and process.
    pub rate: u32,
    /// Port, host order.
    pub port: u16,
    /// Bytes of `prefix`.
    pub prefix_len: u16,
    /// Slot of the subscriber.
    pub owner: u32,
}

/// Conditions of all subscribers of a hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Filter {
    /// Tests that every clause in use has ([`Filter::seal`]): a call that fails one fails the filter.
    pub every: u32,
    /// Clauses in use ([`Filter::seal`]).
    pub live: u32,
    /// Clauses; unused ones last.
    pub clauses: [Clause; CLAUSES],
    /// Path prefixes of the clauses, [`PREFIX_LEN`] bytes each.
    pub prefixes: [[u64; PREFIX_LEN / 8]; CLAUSES],
    /// All ones where a byte of a prefix counts. Words and masks instead of a length: the verifier has
    /// no loop to go through.
    pub masks: [[u64; PREFIX_LEN / 8]; CLAUSES],
}

impl Filter {
    /// Lets nothing pass.
    pub const NONE: Filter = Filter {
        every: 0,
        live: 0,
        clauses: [Clause {
            tests: 0,
            uid: 0,
            cgroup_id: 0,
            flags_any: 0,
            rate: 0,
            port: 0,
            prefix_len: 0,
            owner: 0,
        }; CLAUSES],
        prefixes: [[0; PREFIX_LEN / 8]; CLAUSES],
        masks: [[0; PREFIX_LEN / 8]; CLAUSES],
    };

    /// Notes what all clauses share, once they are there.
    #[must_use]
    pub fn seal(mut self) -> Self {
        let live = self.clauses.iter().filter(|clause| clause.tests & test::LIVE != 0);
        (self.every, self.live) =
            live.fold((u32::MAX, 0), |(every, live), clause| (every & clause.tests, live + 1));
        self
    }
}

/// A process, a hook and an object that were seen together.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
#[repr(C)]
pub struct SeenKey {
    /// Start of the process, `CLOCK_BOOTTIME`.
    pub start_boot_ns: u64,
    /// Inode number, or the first half of an address.
    pub object: u64,
    /// Device, or port and the rest of an address.
    pub object_more: u64,
    /// Thread group id.
    pub tgid: u32,
    /// Slot of the hook.
    pub slot: u32,
}

/// Records of a process and hook in the current second.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
#[repr(C)]
pub struct Rate {
    /// The current second of `CLOCK_BOOTTIME`.
    pub second: u64,
    /// Records in the current second.
    pub records: u64,
}

const _: () = assert!(size_of::<Clause>() == 32);
const _: () = assert!(size_of::<Filter>() == 8 + CLAUSES * (32 + 2 * PREFIX_LEN));
const _: () = assert!(size_of::<SeenKey>() == 32);
