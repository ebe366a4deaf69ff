//! The rows of a spec that are numbers, and where any row leads to: unrolled.

use krsi_host_abi::record::Call as Body;
use krsi_host_abi::spec::{HOPS, ObjectKind, Read, root};

use super::address::{self, AF_INET, AF_INET6, AF_UNSPEC, Unspecified};
use super::peer;
use super::state::{State, Values};
use crate::capture::{self, Ptr, Skip, Task};
use crate::spec::{self, Row};
use crate::{global, label, offset, prefix};

/// Size of `struct sockaddr_storage` (`_K_SS_MAXSIZE` of `include/uapi/linux/socket.h`).
pub const SOCKADDR_MAX: u64 = 128;

/// Writes the body of a record.
#[inline(always)]
pub fn write(body: *mut Body, values: &Values) {
    capture::put(body, Body { values: values.numbers, read: values.read, null: values.null });
}

macro_rules! each_row {
    ($do:ident) => {
        $do!(0);
        $do!(1);
        $do!(2);
        $do!(3);
        $do!(4);
        $do!(5);
        $do!(6);
        $do!(7);
        $do!(8);
        $do!(9);
        $do!(10);
        $do!(11);
    };
}

/// Reads every row that is a number, but for those of the file that rules were asked about before.
#[inline(always)]
pub fn numbers(state: &mut State) {
    macro_rules! one {
        ($at:literal) => {
            let (read, root) = (Row::new($at).read(), Row::new($at).root());
            let is_scalar = read == Read::Scalar as u8;
            if is_scalar && (root == root::ARG || root == root::VALUE) {
                state.nulls ^= of_argument::<$at>(state);
            } else if (is_scalar
                || read == Read::Inode as u8
                || read == Read::SockAddr as u8
                || read == Read::Peer as u8)
                && !is_object($at)
            {
                state.nulls ^= number(state, $at);
            }
        };
    }
    each_row!(one);
}

/// Whether a row is the file that rules are asked about.
#[inline(always)]
fn is_object(at: usize) -> bool {
    spec::object() == ObjectKind::File as u32 && spec::object_capture() as usize == at
}

/// Reads a scalar of an argument: each row by a function of its own, of which the kernel keeps what the
/// row asks for. Answers zero, as [`scalar_row`] does.
#[inline(never)]
fn of_argument<const AT: usize>(state: &mut State) -> u32 {
    let row = Row::new(AT);
    let value = if row.root() == root::VALUE {
        Ok(cut(row.size(), state.argument(row.arg()) as u64))
    } else {
        from_argument(row, state).map(
            #[inline(always)]
            |from| load(from, row),
        )
    };
    let is_whole = row.shift() == 0 && row.width() == 0 && row.signed() == 0;
    state.values.put(
        AT,
        value.map(
            #[inline(always)]
            |value| if is_whole { value } else { shape(row, value) },
        ),
    );
    state.values.unknown_zero() as u32
}

/// The low bytes of a value.
#[inline(always)]
fn cut(bytes: u8, value: u64) -> u64 {
    match bytes {
        1 => value & 0xff,
        2 => value & 0xffff,
        4 => value & 0xffff_ffff,
        _ => value,
    }
}

/// Reads any of them, by a function for each kind: a program whose rows are of one kind keeps one.
#[inline(always)]
fn number(state: &mut State, at: usize) -> u32 {
    let read = Row::new(at).read();
    if read == Read::Scalar as u8 {
        scalar_row(state, at)
    } else if read == Read::SockAddr as u8 || read == Read::Peer as u8 {
        port_row(state, at)
    } else {
        inode_row(state, at)
    }
}

/// Reads a scalar. Answers zero: a function without an answer would leave a pointer where the verifier looks for one.
#[inline(never)]
fn scalar_row(state: &mut State, at: usize) -> u32 {
    let value = scalar(Row::new(at), state);
    state.values.put(at, value);
    state.values.unknown_zero() as u32
}

/// Reads the port of an address, into the row after it. Answers zero, as [`scalar_row`] does.
#[inline(never)]
fn port_row(state: &mut State, at: usize) -> u32 {
    let port = port(Row::new(at), state);
    state.values.put(at + 1, port);
    state.values.unknown_zero() as u32
}

/// Reads an inode's number; its device and generation go into the row after it. Answers zero, as [`scalar_row`] does.
#[inline(never)]
fn inode_row(state: &mut State, at: usize) -> u32 {
    let (ino, place) = match inode(Row::new(at), state) {
        Ok((ino, place)) => (Ok(ino), place),
        Err(skip) => (Err(skip), 0),
    };
    let place = global::written(place);
    state.values.put(at, ino);
    state.values.put(at + 1, ino.map(|_| place));
    state.values.unknown_zero() as u32
}

/// Where a row ends: the pointer after its hops, and whether the kernel types it.
pub enum End {
    /// A pointer that the kernel types.
    Typed(Ptr),
    /// It is reached from the caller's task, by probes where need be.
    Task(Task),
}

/// Follows the pointers of a row.
#[inline(always)]
pub fn follow(row: Row, state: &State) -> Result<End, Skip> {
    if row.root() == root::ARG {
        return from_argument(row, state).map(End::Typed);
    }
    let mut at = state.call.task;
    if row.root() == root::CRED {
        at = at.ptr(&offset::TASK_CRED)?;
    }
    macro_rules! hop {
        ($($hop:literal)*) => {$(
            if $hop < row.hops() as usize {
                at = at.ptr_at(row.offset($hop))?;
            }
        )*};
    }
    hop!(0 1 2 3 4 5);
    Ok(End::Task(at))
}

/// Follows the pointers of a row that starts at an argument.
#[inline(always)]
fn from_argument(row: Row, state: &State) -> Result<Ptr, Skip> {
    let mut at = state.pointer(row.arg())?;
    let hops = row.hops() as usize;
    // Most rows have none.
    if hops == 0 {
        return Ok(at);
    }
    macro_rules! hop {
        ($($hop:literal)*) => {$(
            if $hop < hops {
                at = Ptr::new(at.load_at::<*const u8>(row.offset($hop)))?;
            }
        )*};
    }
    const { assert!(HOPS == 6) };
    hop!(0 1 2 3 4 5);
    Ok(at)
}

/// Reads a scalar at the end of a row's hops.
#[inline(always)]
fn load(from: Ptr, row: Row) -> u64 {
    let at = row.last();
    match row.size() {
        1 => u64::from(from.load_at::<u8>(at)),
        2 => u64::from(from.load_at::<u16>(at)),
        4 => u64::from(from.load_at::<u32>(at)),
        _ => from.load_at::<u64>(at),
    }
}

#[inline(always)]
fn scalar(row: Row, state: &State) -> Result<u64, Skip> {
    if row.root() == root::LABELS {
        return Ok(label::of_caller(&state.call.facts));
    }
    let value = if row.root() == root::VALUE {
        state.argument(row.arg()) as u64
    } else {
        member(row, state)?
    };
    Ok(shape(row, value))
}

#[inline(always)]
fn member(row: Row, state: &State) -> Result<u64, Skip> {
    let at = row.last();
    match follow(row, state)? {
        End::Typed(from) => Ok(load(from, row)),
        End::Task(from) => Ok(match row.size() {
            1 => u64::from(from.load_at::<u8>(at)?),
            2 => u64::from(from.load_at::<u16>(at)?),
            4 => u64::from(from.load_at::<u32>(at)?),
            _ => from.load_at::<u64>(at)?,
        }),
    }
}

/// Cuts a value to its bits, and extends its sign.
#[inline(always)]
fn shape(row: Row, value: u64) -> u64 {
    let width = match row.width() {
        0 => u32::from(row.size()) * 8,
        width => u32::from(width),
    };
    let mut value = value >> (row.shift() & 63);
    if width < 64 && width > 0 {
        value &= (1 << width) - 1;
        if row.signed() != 0 && value & (1 << (width - 1)) != 0 {
            value |= !((1 << width) - 1);
        }
    }
    value
}

/// Address of what the row's last member points to, or that is the argument itself.
#[inline(always)]
pub fn behind(row: Row, state: &State) -> Result<u64, Skip> {
    if row.root() == root::VALUE {
        let address = state.argument(row.arg()) as u64;
        return if address == 0 { Err(Skip::Null) } else { Ok(address) };
    }
    let at = row.last();
    let address: u64 = match follow(row, state)? {
        End::Typed(from) => from.load_at(at),
        End::Task(from) => from.load_at(at)?,
    };
    if address == 0 { Err(Skip::Null) } else { Ok(address) }
}

/// Address of what is embedded at the row's last offset.
#[inline(always)]
pub fn inside(row: Row, state: &State) -> Result<u64, Skip> {
    let at = row.last() as u64;
    match follow(row, state)? {
        End::Typed(from) => Ok(from.address() + at),
        End::Task(from) => Ok(from.address() + at),
    }
}

/// What the row's last member points to, or the argument, as the verifier types it.
#[inline(always)]
pub fn pointed(row: Row, state: &State) -> Result<Ptr, Skip> {
    if row.root() == root::VALUE {
        return state.pointer(row.arg());
    }
    match follow(row, state)? {
        End::Typed(from) => Ptr::new(from.load_at(row.last())),
        End::Task(_) => Err(Skip::Read),
    }
}

#[inline(always)]
fn inode(row: Row, state: &State) -> Result<(u64, u64), Skip> {
    if row.root() == root::VALUE {
        return capture::file_words(state.pointer(row.arg())?);
    }
    let typed = match follow(row, state)? {
        End::Typed(from) => Ptr::new(from.load_at(row.last()))?,
        End::Task(from) => return from.inode(row.last()),
    };
    capture::file_words(typed)
}

/// Reads the rows of an object.
#[inline(always)]
pub fn object(state: &mut State, at: usize) {
    state.nulls ^= number(state, at);
}

/// Whether a row's number tells that the call is the hook's own.
#[inline(always)]
pub fn is_own(state: &mut State, at: usize) -> bool {
    state.nulls ^= number(state, at);
    state.values.number(at) != 0
}

/// Reads the protocol of the call's socket: a row plus one. A destination whose protocol cannot be read
/// is not read.
#[inline(always)]
pub fn protocol(state: &mut State, row: u32) {
    let at = row as usize - 1;
    state.nulls ^= number(state, at);
    state.call.facts.protocol = address::named(state.values.number(at) as u32);
    // Without a socket behind it (`sk`) there is none to know.
    let is_known = state.values.is_read(at) || state.values.is_null(at);
    if !is_known && state.traits.object.is_network() {
        state.traits.object.set_unread();
    }
}

/// Reads the address of the call, if it has one that rules can name.
#[inline(always)]
pub fn address(state: &mut State) {
    let row = Row::new(spec::object_capture() as usize);
    match sockaddr(row, state).and_then(|(from, len)| {
        address::read((from, len), Unspecified::Inet, &state.call, &mut state.traits.object)
    }) {
        Ok(()) => {}
        Err(Skip::Null) if row.read() == Read::Peer as u8 => {
            state.nulls ^= peer::object(state);
        }
        Err(Skip::Null) => return,
        Err(_) => state.traits.object.set_unread(),
    }
    state.traits.port = u32::from(u16::from_be(state.traits.object.port_be()));
}

/// Notes a path that rules on paths are about: rows plus one of it and of the name that is joined to
/// it. Answers zero.
#[inline(never)]
pub fn path(state: &mut State, path_row: u32, name_row: u32) -> u32 {
    let row = Row::new(path_row as usize - 1);
    let path = match follow(row, state) {
        Ok(End::Typed(from)) => Ok(from.at(row.last())),
        Ok(End::Task(_)) => Err(Skip::Read),
        Err(skip) => Err(skip),
    };
    let name = match name_row {
        0 => 0,
        // An entry without a name would be the folder itself.
        name => behind(Row::new(name as usize - 1), state).unwrap_or(1),
    };
    prefix::note(&state.call, path, name, &mut state.traits.object);
    state.values.unknown_zero() as u32
}

/// Family of an address, and its port in host order from bit 16 on.
#[inline(always)]
fn port(row: Row, state: &State) -> Result<u64, Skip> {
    let (from, len) = match sockaddr(row, state) {
        Err(Skip::Null) if row.read() == Read::Peer as u8 => return peer::port(row, state),
        other => other?,
    };
    if len < 4 {
        return Err(Skip::Read);
    }
    let [family, port]: [u16; 2] = capture::probe(from)?;
    let port = match family {
        // Without a family it is sent as one of IPv4.
        AF_UNSPEC | AF_INET | AF_INET6 => u16::from_be(port),
        _ => 0,
    };
    Ok(u64::from(family) | u64::from(port) << 16)
}

/// Where an address lies, and how long it is; none of a message whose socket's peer counts.
#[inline(always)]
pub fn sockaddr(row: Row, state: &State) -> Result<(u64, u64), Skip> {
    let from = if row.read() == Read::Peer as u8 {
        peer::named(row, state)?
    } else if row.root() == root::VALUE {
        state.argument(row.arg()) as u64
    } else {
        from_argument(row, state)?.load_at::<u64>(row.last())
    };
    let len = match row.bound() {
        0 => SOCKADDR_MAX,
        argument => state.argument(argument as u8 - 1) as u64 & 0xffff_ffff,
    };
    if from == 0 { Err(Skip::Null) } else { Ok((from, len)) }
}
