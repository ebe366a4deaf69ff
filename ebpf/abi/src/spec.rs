//! What one loaded instance of the template program does: captures, predicate, verdict.
//!
//! The host resolves a [`Spec`] against the running kernel's BTF and freezes it as a read-only
//! global, so the verifier knows every field as a constant and drops the branches that are not
//! taken. Nothing in here is a kernel pointer.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Captures of one program.
pub const CAPTURES: usize = 12;
/// Pointers that one capture follows, its argument not counted.
pub const HOPS: usize = 6;
/// Tests of one predicate.
pub const ATOMS: usize = 16;
/// Alternatives of one predicate.
pub const TERMS: usize = 16;
/// Constants that tests compare strings with.
pub const STRINGS: usize = 8;
/// Bytes of one of them.
pub const STRING_LEN: usize = 64;
/// Arguments of a hook that can be read: BPF trampolines of x86 pass six, and twelve since 6.6.
pub const ARGS: usize = 6;
/// Texts, byte ranges and addresses of one program.
pub const ROOMS: usize = 4;
/// Bytes that one text capture may take; a path may take more.
pub const TEXT_MAX: usize = 256;

/// Where a capture starts.
pub mod root {
    /// What argument `n` of the hook points to, `n` below [`super::ARGS`]: the first offset counts
    /// from the argument's value.
    pub const ARG: u8 = 0;
    /// `current`, the calling task.
    pub const TASK: u8 = 1;
    /// `current->cred`, the calling task's credentials.
    pub const CRED: u8 = 2;
    /// Argument `n` itself, never followed: no hops, `offsets` all zero. A number is its low bits;
    /// where a [`super::Read`] wants a pointer, it is the argument.
    pub const VALUE: u8 = 3;
    /// Labels of the calling process, a bit for each: a [`super::Read::Scalar`] of 8 bytes, always read.
    pub const LABELS: u8 = 4;
}

/// What a capture reads at the end of its hops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Read {
    /// Nothing: an unused row.
    None = 0,
    /// A number: `size` bytes at the last offset; with [`root::VALUE`], the argument's low `size`
    /// bytes.
    Scalar = 1,
    /// The string that the last member points to; with [`root::VALUE`], the argument points to it.
    Text = 2,
    /// The string that is embedded at the last offset (`comm`, `d_iname`).
    TextInline = 3,
    /// `bound` bytes at the last offset.
    Bytes = 4,
    /// `bound` bytes that the last member points to; with [`root::VALUE`], the argument points to
    /// them.
    BytesBehind = 5,
    /// The `struct path` at the last offset (offset 0 of what an argument points to when the
    /// argument is a path), by `bpf_d_path`; walked where the kernel does not allow that.
    Path = 6,
    /// The `struct dentry` that the last member points to, or the argument with [`root::VALUE`]: its
    /// names upwards within its own mount, joined by the host.
    Dentry = 7,
    /// A `struct sockaddr` that the last member points to, or the argument with [`root::VALUE`]; `bound`
    /// is the argument that holds its length, plus one, or 0 when the kernel gives none. Takes a
    /// room, filled with its bytes as they are, at most `_K_SS_MAXSIZE`, and the row after it.
    SockAddr = 8,
    /// The `struct inode` that the last member points to, or the argument with [`root::VALUE`]: the
    /// inode number. The row after it is [`Read::InodeDev`].
    Inode = 9,
    /// Second value of an [`Read::Inode`]: the device, as the kernel encodes it, and the generation from bit
    /// 32 on.
    InodeDev = 10,
    /// Second value of a [`Read::SockAddr`] or [`Read::Peer`]: family, and the port in host order from bit 16 on.
    SockAddrPort = 11,
    /// The path of what the calling task runs, by [`crate::kfunc::TASK_EXE_FILE`]; offsets are as those of
    /// a [`Read::Path`].
    TaskExe = 12,
    /// An extended attribute of the `struct file` that the last member points to, or the argument with
    /// [`root::VALUE`], by [`crate::kfunc::FILE_XATTR`]: string `size` is its name.
    Xattr = 13,
    /// The fs-verity digest of such a file, by [`crate::kfunc::FSVERITY_DIGEST`], without its header.
    FsVerity = 14,
    /// Where a message goes: the `struct sockaddr` that the last member of the `struct msghdr` in the argument points
    /// to, or what the `struct socket` in argument 0 is connected to; other offsets are those of [`peer`]. Takes a
    /// room and the row after it, as a [`Read::SockAddr`] does.
    Peer = 15,
    /// The first `bound` bytes of the message in the argument, gathered from user memory: offsets are those of
    /// [`content`]. `size` is the bytes of the iterator's type, `shift` the value of it for segments, `width` that for
    /// one buffer plus one, or 0 where the kernel has none. Takes a room; the row after it is
    /// [`Read::ContentState`].
    Content = 16,
    /// Second value of a [`Read::Content`]: one of [`content_state`]. Its first offset is that of the family in a
    /// `struct sock`.
    ContentState = 17,
}

/// Offsets of a [`Read::Peer`] but for its first: where they stand among the row's.
pub mod peer {
    /// Family, in a `struct sock`.
    pub const FAMILY: usize = 1;
    /// Port of the peer, in network byte order.
    pub const PORT: usize = 2;
    /// IPv4 address of the peer.
    pub const INET: usize = 3;
    /// IPv6 address of the peer, or [`crate::capture::ABSENT`].
    pub const INET6: usize = 4;
}

/// Offsets of a [`Read::Content`]: where they stand among the row's.
pub mod content {
    /// The iterator, in a `struct msghdr`.
    pub const ITERATOR: usize = 0;
    /// Type of the iterator; this and the rest lie in a `struct iov_iter`.
    pub const TYPE: usize = 1;
    /// Pointer to its segments.
    pub const SEGMENTS: usize = 2;
    /// Number of its segments.
    pub const COUNT: usize = 3;
    /// Bytes that are left.
    pub const LEFT: usize = 4;
    /// Bytes of the first segment that are done with.
    pub const DONE: usize = 5;
    /// Pointer to its only buffer.
    pub const BUFFER: usize = 6;
    /// Bytes of a `struct iov_iter` that are read; all of these lie there.
    pub const ITERATOR_LEN: usize = 40;
    /// Segments that are read; empty ones count.
    pub const SEGMENTS_MAX: usize = 8;
}

/// What became of the first bytes of a message.
pub mod content_state {
    /// The whole message was read.
    pub const WHOLE: u64 = 0;
    /// The message goes on.
    pub const CUT: u64 = 1;
    /// The rest of the message is not in memory, or cannot be read.
    pub const UNREAD: u64 = 2;
    /// The rest of the message lies in further segments.
    pub const SEGMENTS: u64 = 3;
    /// The message lies in pages of the kernel's: splice, sendfile, registered buffers.
    pub const KERNEL: u64 = 4;
    /// The message has no bytes.
    pub const EMPTY: u64 = 5;
    /// Words for them, by number.
    pub const WORDS: [&str; 6] = ["whole", "cut", "unread", "segments", "kernel", "empty"];
}

/// A value that the template reads from a call.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
#[repr(C)]
pub struct Capture {
    /// How the value is read: number of a [`Read`].
    pub read: u8,
    /// Where the path starts: a number of [`root`].
    pub root: u8,
    /// Index of the argument.
    pub arg: u8,
    /// Pointers to follow: that many of `offsets` are loads of a pointer; the one after them is the
    /// offset of what is read.
    pub hops: u8,
    /// Bytes of a scalar's container: 1, 2, 4 or 8. Number of a string for a [`Read::Xattr`].
    pub size: u8,
    /// Bits to drop below it.
    pub shift: u8,
    /// Bits that count after the shift; 0 for all.
    pub width: u8,
    /// 1 when the highest bit is a sign: the value is extended to 64 bits with it.
    pub signed: u8,
    /// Bytes of a text or byte range, at most [`TEXT_MAX`].
    pub bound: u16,
    /// Room in the record's tail that a text, byte range or address takes, below [`ROOMS`]; each
    /// such capture has its own.
    pub room: u16,
    /// Offsets, in bytes.
    pub offsets: [u32; HOPS + 1],
}

/// How a test compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Compare {
    /// Unused row: never true.
    None = 0,
    /// `value & mask == number`. A signed value is compared as it is extended, under a full mask.
    Equal = 1,
    /// `value & mask < number`, unsigned.
    Below = 2,
    /// `value < number`, signed.
    BelowSigned = 3,
    /// `value & mask != 0`.
    AnyBit = 4,
    /// The text is string `number`.
    TextEqual = 5,
    /// The text starts with string `number`.
    TextPrefix = 6,
    /// The text ends with string `number`.
    TextSuffix = 7,
    /// The capture is there: nothing on the way to it is NULL.
    Present = 8,
}

/// What of a capture a test is about.
pub mod part {
    /// The whole value of the capture.
    pub const WHOLE: u8 = 0;
    /// Byte `len` of its room, as a number.
    pub const BYTE: u8 = 1;
    /// A number that is known once the rooms are filled.
    pub const LATE: u8 = 2;
}

/// One test of a predicate: true, false or unknown. A capture behind a NULL makes every test on it false, and
/// a term that wants a test to be false wants [`Compare::Present`] of the same capture too, so that what is
/// not there is no match either way. A capture that could not be read makes every test on it unknown, as
/// does a text that was cut before what decides. A predicate that is unknown holds for a watch that refuses,
/// for no other, and is counted.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
#[repr(C)]
pub struct Atom {
    /// How the capture is compared: number of a [`Compare`].
    pub compare: u8,
    /// Capture that is tested.
    pub capture: u8,
    /// Length of the string of a text test; place of the byte of [`part::BYTE`].
    pub len: u8,
    /// Part of the capture that is compared: one of [`part`].
    pub part: u8,
    /// Padding, zero.
    pub pad: [u8; 4],
    /// Bits of the capture that are compared.
    pub mask: u64,
    /// Number, or number of a string, that the capture is compared with.
    pub number: u64,
}

/// One alternative: all atoms in `care` must be as in `value`.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
#[repr(C)]
pub struct Term {
    /// Atoms that matter, as bits. 0 in an unused row.
    pub care: u32,
    /// Truth that each atom of `care` must have, as bits.
    pub value: u32,
}

/// What a deny key of the call is taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ObjectKind {
    /// Only subject keys apply.
    None = 0,
    /// The [`Read::Inode`] capture at `object_capture`.
    File = 1,
    /// The [`Read::SockAddr`] or [`Read::Peer`] capture at `object_capture`.
    Network = 2,
}

/// Bits of [`Spec::flags`].
pub mod spec_flag {
    /// The hook can refuse: leases apply and a denial is answered.
    pub const DENY: u32 = 1 << 0;
    /// The predicate tests a path, which the kernel must resolve.
    pub const PATH_TEST: u32 = 1 << 1;
    /// The predicate decides whether there is a record; without it every call has one.
    pub const PREDICATE: u32 = 1 << 2;
    /// A call that the predicate holds for is refused with `errno`; without a predicate, every call.
    pub const WATCH_DENY: u32 = 1 << 3;
    /// A call that the predicate holds for is reported and not refused.
    pub const WATCH_AUDIT: u32 = 1 << 4;
    /// The call is about a path that its arguments do not tell: rules on paths go by their word on those.
    pub const PATH_UNTOLD: u32 = 1 << 5;
    /// The object is a file that is being executed, or a step on the way to that: root's execution of the
    /// host's own file is not refused.
    pub const EXECUTES: u32 = 1 << 6;
    /// A caller that the predicate holds for is given the label `label`; without a predicate, every caller.
    pub const WATCH_LABEL: u32 = 1 << 7;
    /// The label waits for the end of the exec that the call belongs to.
    pub const LABEL_AT_EXEC: u32 = 1 << 8;
    /// An exec begins with the call: what an earlier one would have given is forgotten.
    pub const EXEC_BEGINS: u32 = 1 << 9;
    /// A predicate that is unknown refuses nothing.
    pub const UNKNOWN_PASSES: u32 = 1 << 10;
    /// The spec is a watch's: no lease and no filter is about its slot, so that the kernel need not go through what
    /// asks for them.
    pub const WATCH: u32 = 1 << 11;
}

/// Everything that an instance of the template is frozen with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Spec {
    /// Slot of the hook in flags and counters, and in records.
    pub slot: u32,
    /// Bits of [`spec_flag`].
    pub flags: u32,
    /// Arguments that rows take for pointers, as bits ([`Spec::seal`]).
    pub pointers: u32,
    /// Errno of a watch that refuses.
    pub errno: u32,
    /// Rule id of a watch that refuses.
    pub rule_id: u64,
    /// Kind of the call's object: number of an [`ObjectKind`].
    pub object: u32,
    /// Capture that the object is taken from.
    pub object_capture: u32,
    /// Row plus one of the path that rules on paths are about; 0 without one.
    pub path_row: u32,
    /// Row plus one of the name that is joined to it; 0 without one.
    pub name_row: u32,
    /// Capture plus one of a second file that the call is about, as one that a rename replaces; 0
    /// without one.
    pub second_capture: u32,
    /// Row plus one of the second path.
    pub second_path_row: u32,
    /// Row plus one of the name that is joined to that.
    pub second_name_row: u32,
    /// Row plus one of a number that is not 0 for the hook's own calls: of others nothing is decided and
    /// nothing told. 0 where all calls are its own.
    pub gate_row: u32,
    /// Row plus one of the socket's protocol, which rules may name; 0 without one.
    pub protocol_row: u32,
    /// Number of the label that a watch gives.
    pub label: u32,
    /// Row plus one of the [`Read::Content`]; 0 without one ([`Spec::seal`]).
    pub content_row: u32,
    /// Padding, zero.
    pub pad: u32,
    /// Captures in use.
    pub capture_count: u32,
    /// Atoms in use.
    pub atom_count: u32,
    /// Terms in use; a predicate without any is never true.
    pub term_count: u32,
    /// Owner slot of a watch that refuses.
    pub owner: u32,
    /// Row of each room's capture plus one; 0 for a room that nobody takes ([`Spec::seal`]).
    pub room_rows: [u32; ROOMS],
    /// Rows of captures, `capture_count` of them in use.
    pub captures: [Capture; CAPTURES],
    /// Rows of tests, `atom_count` of them in use.
    pub atoms: [Atom; ATOMS],
    /// Rows of alternatives, `term_count` of them in use.
    pub terms: [Term; TERMS],
    /// Strings that tests and extended attributes name, filled up with zeros.
    pub strings: [[u8; STRING_LEN]; STRINGS],
}

impl Spec {
    /// Reads nothing and wants nothing.
    pub const EMPTY: Spec = Spec {
        slot: 0,
        flags: 0,
        pointers: 0,
        errno: 0,
        rule_id: 0,
        object: 0,
        object_capture: 0,
        path_row: 0,
        name_row: 0,
        second_capture: 0,
        second_path_row: 0,
        second_name_row: 0,
        gate_row: 0,
        protocol_row: 0,
        label: 0,
        content_row: 0,
        pad: 0,
        capture_count: 0,
        atom_count: 0,
        term_count: 0,
        owner: 0,
        room_rows: [0; ROOMS],
        captures: [Capture {
            read: 0,
            root: 0,
            arg: 0,
            hops: 0,
            size: 0,
            shift: 0,
            width: 0,
            signed: 0,
            bound: 0,
            room: 0,
            offsets: [0; HOPS + 1],
        }; CAPTURES],
        atoms: [Atom { compare: 0, capture: 0, len: 0, part: 0, pad: [0; 4], mask: 0, number: 0 };
            ATOMS],
        terms: [Term { care: 0, value: 0 }; TERMS],
        strings: [[0; STRING_LEN]; STRINGS],
    };
}

impl Capture {
    /// Whether it takes its argument for a pointer.
    #[must_use]
    pub const fn starts_at_pointer(&self) -> bool {
        let is_first = self.read != Read::None as u8
            && self.read != Read::InodeDev as u8
            && self.read != Read::SockAddrPort as u8
            && self.read != Read::ContentState as u8;
        is_first
            && (self.root == root::ARG
                || self.root == root::VALUE && self.read != Read::Scalar as u8)
    }

    /// Whether what it reads is written into a room.
    #[must_use]
    pub const fn takes_room(&self) -> bool {
        self.read >= Read::Text as u8 && self.read <= Read::SockAddr as u8
            || self.read >= Read::TaskExe as u8 && self.read < Read::ContentState as u8
    }
}

impl Spec {
    /// Notes which row takes which room, which reads content, and which arguments are pointers, once all captures are
    /// there.
    #[must_use]
    pub fn seal(mut self) -> Self {
        (self.room_rows, self.content_row) = ([0; ROOMS], 0);
        let starts = self.captures.iter().filter(|capture| capture.starts_at_pointer());
        self.pointers = starts.fold(0, |bits, capture| bits | 1 << (capture.arg & 7));
        for (row, capture) in (1..).zip(&self.captures) {
            if capture.read == Read::Content as u8 {
                self.content_row = row;
            }
            let room = self.room_rows.get_mut(usize::from(capture.room));
            if let Some(room) = room.filter(|_| capture.takes_room()) {
                *room = row;
            }
        }
        self
    }
}

const _: () = assert!(size_of::<Capture>() == 40);
const _: () = assert!(size_of::<Atom>() == 24);
const _: () = assert!(size_of::<Term>() == 8);
