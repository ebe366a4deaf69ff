//! The rows of a spec that take a room of the record: texts, paths, bytes, addresses.

use krsi_host_abi::record::text_value;
use krsi_host_abi::spec::{ObjectKind, ROOMS, Read, TEXT_MAX};

use super::row::{self, End, SOCKADDR_MAX};
use super::state::State;
use super::{content, peer};
use crate::capture::{self, Skip};
use crate::filter;
use crate::kfunc;
use crate::resolve::{self, PathRead};
use crate::spec::{self, Row};

/// Texts of a record.
pub type Rooms<const R: usize> = [[u8; R]; ROOMS];

/// A text does not fit its room.
pub struct Short;

/// Reads every row that takes a room.
#[inline(always)]
pub fn texts<const R: usize>(state: &mut State, rooms: *mut Rooms<R>) -> Result<(), Short> {
    macro_rules! one {
        ($room:literal) => {
            if let Some(row) = Row::of_room::<$room>() {
                let room = rooms.cast::<[u8; R]>().wrapping_add($room);
                if is_of_nothing(row, state) {
                    state.values.put(row.at(), Err(Skip::Null));
                } else if row.read() == Read::Content as u8 {
                    state.nulls ^= content::row::<R>(state, room);
                } else if text_row::<R, $room>(state, room) == 0 {
                    return Err(Short);
                }
            }
        };
    }
    one!(0);
    one!(1);
    one!(2);
    one!(3);
    Ok(())
}

/// Whether a row is the path of the call's file, and there is no file.
#[inline(always)]
fn is_of_nothing(row: Row, state: &State) -> bool {
    spec::object() == ObjectKind::File as u32
        && spec::path_row() as usize == row.at() + 1
        && spec::name_row() == 0
        && state.values.is_null(spec::object_capture() as usize)
}

/// Reads that of a room; 0 when the room is too short. A function for each: what its row asks for is then all that
/// stays of it.
#[inline(never)]
fn text_row<const R: usize, const ROOM: usize>(state: &mut State, room: *mut [u8; R]) -> u32 {
    let Some(row) = Row::of_room::<ROOM>() else { return 1 };
    let at = row.at();
    let (value, fits) = match text::<R>(row, state, room) {
        Ok(Some(value)) => (Ok(value), 1),
        Ok(None) => (Err(Skip::Field), 0),
        Err(skip) => (Err(skip), 1),
    };
    state.values.put(at, value);
    fits ^ state.values.unknown_zero() as u32
}

/// Room number `at` of the tail.
#[inline(always)]
pub fn room<const R: usize>(rooms: *mut Rooms<R>, at: u16) -> *mut [u8; R] {
    let first = rooms.cast::<[u8; R]>();
    match at {
        0 => first,
        1 => first.wrapping_add(1),
        2 => first.wrapping_add(2),
        _ => first.wrapping_add(3),
    }
}

/// A text's value: where it lies, how long it is, and its flags.
#[inline(always)]
pub fn value<const R: usize>(row: Row, len: u16, flags: u64) -> u64 {
    let offset = u64::from(row.room()) * R as u64;
    offset | u64::from(len) << text_value::LEN_SHIFT | flags << text_value::FLAG_SHIFT
}

#[inline(always)]
fn text<const R: usize>(row: Row, state: &State, room: *mut [u8; R]) -> Result<Option<u64>, Skip> {
    let read = row.read();
    if read == Read::Text as u8 {
        return string::<R>(row, row::behind(row, state)?, room).map(Some);
    }
    if read == Read::TextInline as u8 {
        return string::<R>(row, row::inside(row, state)?, room).map(Some);
    }
    if read == Read::Bytes as u8 {
        return bytes::<R>(row, row::inside(row, state)?, room).map(Some);
    }
    if read == Read::BytesBehind as u8 {
        return bytes::<R>(row, row::behind(row, state)?, room).map(Some);
    }
    if read == Read::SockAddr as u8 || read == Read::Peer as u8 {
        return sock::<R>(row, state, room).map(Some);
    }
    if read == Read::Dentry as u8 {
        let path = resolve::walk(row::behind(row, state)?, 0, room)?;
        return Ok(path_value::<R>(row, path, text_value::WITHIN_MOUNT));
    }
    if read == Read::TaskExe as u8 {
        return Ok(path_value::<R>(row, kfunc::task_exe(room)?, 0));
    }
    if read == Read::Xattr as u8 || read == Read::FsVerity as u8 {
        let len = kfunc::of_file(row, row::pointed(row, state)?, room)?;
        return Ok(Some(value::<R>(row, len, 0)));
    }
    let from = match row::follow(row, state)? {
        End::Typed(from) => from.at(row.last()),
        End::Task(from) => {
            let path = resolve::walk_path(from.address() + row.last() as u64, room)?;
            return Ok(path_value::<R>(row, path, 0));
        }
    };
    match resolve::path_of(from, room)? {
        PathRead::TooLong if R >= krsi_host_abi::record::PATH_LONG => {
            let len = resolve::last_name(from, room)?;
            Ok(Some(value::<R>(row, len, text_value::TRUNCATED)))
        }
        path => Ok(path_value::<R>(row, path, 0)),
    }
}

#[inline(always)]
fn path_value<const R: usize>(row: Row, path: PathRead, flags: u64) -> Option<u64> {
    match path {
        PathRead::Whole(len) => Some(value::<R>(row, len, flags)),
        PathRead::Upwards(len, cut) => {
            let cut = if cut { text_value::TRUNCATED } else { 0 };
            Some(value::<R>(row, len, flags | text_value::UPWARDS | cut))
        }
        PathRead::TooLong => None,
    }
}

#[inline(always)]
fn string<const R: usize>(row: Row, from: u64, room: *mut [u8; R]) -> Result<u64, Skip> {
    const { assert!(R >= TEXT_MAX) };
    let room = room.cast::<[u8; TEXT_MAX]>();
    let bound = row.bound();
    let len = capture::text(from, room)?;
    let cut = len as usize >= TEXT_MAX - 1 || bound != 0 && len > bound;
    let len = if bound != 0 && len > bound { bound } else { len };
    Ok(value::<R>(row, len, if cut { text_value::TRUNCATED } else { 0 }))
}

#[inline(always)]
fn bytes<const R: usize>(row: Row, from: u64, room: *mut [u8; R]) -> Result<u64, Skip> {
    let bound = row.bound();
    let len = if bound as usize > TEXT_MAX { TEXT_MAX as u16 } else { bound };
    capture::copy(from, room.cast::<[u8; TEXT_MAX]>(), len)?;
    Ok(value::<R>(row, len, 0))
}

/// A `struct sockaddr` as it is, as long as it is.
#[inline(always)]
fn sock<const R: usize>(row: Row, state: &State, room: *mut [u8; R]) -> Result<u64, Skip> {
    let (from, len) = match row::sockaddr(row, state) {
        Err(Skip::Null) if row.read() == Read::Peer as u8 => {
            peer::write::<R>(row, state, room)?;
            return Ok(value::<R>(row, peer::LEN, 0));
        }
        other => other?,
    };
    let len = if len > SOCKADDR_MAX { SOCKADDR_MAX } else { len } as u16;
    capture::copy(from, room.cast::<[u8; TEXT_MAX]>(), len)?;
    Ok(value::<R>(row, len, 0))
}

/// Whether the first room's path starts as one of some clauses asks.
#[inline(always)]
pub fn path_passes<const R: usize>(state: &State, rooms: *mut Rooms<R>) -> bool {
    let Some(row) = Row::of_room::<0>() else { return true };
    let Some(value) = state.values.get(row.at()) else { return true };
    row.read() != Read::Path as u8
        || value >> text_value::FLAG_SHIFT & text_value::UPWARDS != 0
        || filter::path_passes(&state.call, &state.traits, rooms.cast::<[u8; R]>().cast_const())
}
