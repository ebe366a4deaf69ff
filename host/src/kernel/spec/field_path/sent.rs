//! What no member holds and the template reads by itself at `socket_sendmsg`: where a message goes, its first bytes.

use krsi_host_abi::capture::ABSENT;
use krsi_host_abi::spec::{Capture, Read, TEXT_MAX, content, peer, root};

use super::{Captured, Field, FieldError, FieldKind, FieldPath, PathStep, argument};
use crate::kernel::btf::{KernelTypes, Prototype};

/// Where a message goes.
const PEER: &str = "peer";
/// Name of the field with the first bytes of a message.
const CONTENT: &str = "content";
/// How the functions that are attached to at that hook end.
const FUNCTION: &str = "_socket_sendmsg";
/// Argument of the message.
const MESSAGE: u8 = 1;

/// The capture of a path that starts with one of these.
pub(super) fn finish(
    types: &KernelTypes,
    prototype: &Prototype,
    path: &FieldPath,
) -> Result<Option<Captured>, FieldError> {
    let is_peer = path.root == PEER;
    if !is_peer && path.root != CONTENT || argument(prototype, &path.root).is_some() {
        return Ok(None);
    }
    if !prototype.function.ends_with(FUNCTION) {
        return Err(FieldError::NotSent { path: path.root.clone() });
    }
    let sent = Sent { types, path: path.text() };
    let (kind, rows) = match (is_peer, path.steps.as_slice(), path.bound) {
        (true, [], None) => (FieldKind::Address, sent.peer()?),
        (false, [], bound) => {
            let bound = bound.unwrap_or(u16::try_from(TEXT_MAX).unwrap_or(u16::MAX));
            (FieldKind::Content(bound), sent.content(bound)?)
        }
        (false, [PathStep::Index(index)], None) => {
            let len = u32::try_from(TEXT_MAX).unwrap_or(u32::MAX);
            let outside = FieldError::Index { path: path.text(), type_name: told(false), len };
            let byte = u8::try_from(*index).map_err(|_| outside)?;
            (FieldKind::ContentByte(byte), sent.content(u16::try_from(TEXT_MAX).unwrap_or(0))?)
        }
        (_, [], Some(_)) => {
            return Err(FieldError::NoBound { path: path.text(), type_name: told(is_peer) });
        }
        _ => return Err(FieldError::NoMembers { path: path.text(), type_name: told(is_peer) }),
    };
    let (name, path) = (path.text(), path.text());
    let type_name = told(is_peer);
    let field = Field { name, path, kind, type_name, row: 0, is_pointer: false, shown: true };
    Ok(Some(Captured { field, rows, attribute: None }))
}

fn told(is_peer: bool) -> String {
    if is_peer { "a socket address" } else { "the first bytes of a message" }.to_owned()
}

/// A path that starts with [`PEER`] or [`CONTENT`], and the types of the kernel that it is resolved on.
struct Sent<'a> {
    types: &'a KernelTypes,
    path: String,
}

impl Sent<'_> {
    fn peer(&self) -> Result<Vec<Capture>, FieldError> {
        let of_sock = |member| -> Result<u32, FieldError> {
            Ok(self.offset("sock", "__sk_common")? + self.offset("sock_common", member)?)
        };
        let mut row = row(Read::Peer);
        let mut set = |at: usize, offset: u32| {
            if let Some(place) = row.offsets.get_mut(at) {
                *place = offset;
            }
        };
        set(0, self.offset("msghdr", "msg_name")?);
        set(peer::FAMILY, of_sock("skc_family")?);
        set(peer::PORT, of_sock("skc_dport")?);
        set(peer::INET, of_sock("skc_daddr")?);
        // A kernel without IPv6 has no such peers.
        set(peer::INET6, of_sock("skc_v6_daddr").unwrap_or(ABSENT));
        Ok(vec![row, Capture { read: Read::SockAddrPort as u8, ..row }])
    }

    fn content(&self, bound: u16) -> Result<Vec<Capture>, FieldError> {
        let value = |name: &str| self.types.enumerator("iter_type", name);
        let small = |value: u32| u8::try_from(value).ok();
        let lacks = |structure: &'static str, member: &'static str| FieldError::Lacks {
            path: self.path.clone(),
            structure,
            member,
        };
        let mut row = Capture { bound, ..row(Read::Content) };
        let new = self.offset("iov_iter", "iter_type");
        row.size = if new.is_ok() { 1 } else { 4 };
        let segments = value("ITER_IOVEC").and_then(small);
        row.shift = segments.ok_or_else(|| lacks("iter_type", "ITER_IOVEC"))?;
        let buffer = value("ITER_UBUF").and_then(small).zip(self.offset("iov_iter", "ubuf").ok());
        let mut set = |at: usize, offset: u32| {
            if let Some(place) = row.offsets.get_mut(at) {
                *place = offset;
            }
        };
        set(content::ITERATOR, self.offset("msghdr", "msg_iter")?);
        set(content::TYPE, new.or_else(|_| self.offset("iov_iter", "type"))?);
        let pointer = self.offset("iov_iter", "__iov");
        set(content::SEGMENTS, pointer.or_else(|_| self.offset("iov_iter", "iov"))?);
        set(content::COUNT, self.offset("iov_iter", "nr_segs")?);
        set(content::LEFT, self.offset("iov_iter", "count")?);
        set(content::DONE, self.offset("iov_iter", "iov_offset")?);
        if let Some((value, offset)) = buffer {
            set(content::BUFFER, offset);
            row.width = value + 1;
        }
        let last = content::ITERATOR_LEN - size_of::<u64>();
        let lies_there = |offset: &u32| *offset as usize <= last;
        if !row.offsets.iter().skip(content::TYPE).all(lies_there) {
            return Err(lacks("iov_iter", "members where they are looked for"));
        }
        let mut state = self::row(Read::ContentState);
        let [first, ..] = &mut state.offsets;
        *first = self.offset("sock", "__sk_common")? + self.offset("sock_common", "skc_family")?;
        Ok(vec![row, state])
    }

    fn offset(&self, structure: &'static str, member: &'static str) -> Result<u32, FieldError> {
        let lacks = |_| FieldError::Lacks { path: self.path.clone(), structure, member };
        self.types.offset(structure, member).map_err(lacks)
    }
}

fn row(read: Read) -> Capture {
    Capture { read: read as u8, root: root::ARG, arg: MESSAGE, ..Capture::default() }
}
