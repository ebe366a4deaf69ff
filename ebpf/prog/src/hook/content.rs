//! The row of a spec that is the first bytes of a message, with their state.

use krsi_host_abi::record::text_value;
use krsi_host_abi::spec::{TEXT_MAX, content_state};

use super::address::{AF_INET, AF_INET6};
use super::state::State;
use super::text;
use crate::capture::{self, Skip};
use crate::gather::{self, Gathered};
use crate::spec::{self, Row};
use crate::{map, offset};

/// Reads that row, and the one after it. Answers zero: a function without an answer would leave a pointer where the
/// verifier looks for one.
#[inline(never)]
pub fn row<const R: usize>(state: &mut State, room: *mut [u8; R]) -> u32 {
    let row = Row::new(spec::content_row() as usize - 1);
    let (value, word) = match content::<R>(row, state, room) {
        Ok(Gathered { len, state }) => {
            let is_all = state == content_state::WHOLE || state == content_state::EMPTY;
            let flags = if is_all { 0 } else { text_value::TRUNCATED };
            (Ok(text::value::<R>(row, len as u16, flags)), Ok(state))
        }
        Err(skip) => (Err(skip), Err(skip)),
    };
    state.values.put(row.at(), value);
    state.values.put(row.at() + 1, word);
    state.values.unknown_zero() as u32
}

#[inline(always)]
fn content<const R: usize>(row: Row, state: &State, out: *mut [u8; R]) -> Result<Gathered, Skip> {
    const { assert!(R >= TEXT_MAX) };
    // Of other families nothing is read.
    let sock = state.pointer(0)?.ptr(&offset::SOCKET_SK)?;
    let family: u16 = sock.load_at(Row::new(row.at() + 1).last());
    if family != AF_INET && family != AF_INET6 {
        return Err(Skip::Null);
    }
    let message = state.pointer(row.arg())?.address();
    let thread = capture::pid_tgid();
    let lent = map::lend(&thread).ok_or(Skip::Read)?;
    let bytes = lent.bytes.cast::<u8>();
    let gathered = gather::gather(message, bytes, state.values.unknown_zero());
    let copied = capture::copy(bytes as u64, out.cast::<[u8; TEXT_MAX]>(), gathered.len as u16);
    lent.let_go(&thread);
    copied.map(|()| gathered)
}
