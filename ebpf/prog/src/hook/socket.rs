//! Programs of the socket family.

use aya_ebpf::macros::lsm;
use aya_ebpf::programs::LsmContext;
use krsi_host_abi::deny::flag;
use krsi_host_abi::hook::Hook;
use krsi_host_abi::record::Connect;

use super::address::{self, Unspecified};
use crate::capture::{self, Ptr, Skip};
use crate::emit::{self, Fill, NoTail, Room, Wanted};
use crate::filter::{self, Call, NoEarlyObject, Passes, Traits};
use crate::offset;
use crate::verdict;

/// `security_socket_connect(struct socket *sock, struct sockaddr *address, int addrlen)`.
/// A skipped capture is answered by the on-error rule.
#[lsm(hook = "socket_connect")]
pub fn socket_connect(ctx: LsmContext) -> i32 {
    let Some(mut call) = filter::enter(Hook::SocketConnect.id() as u32, &NoEarlyObject) else {
        return 0;
    };
    let mut traits = Traits::none(&call);
    if call.wants_object() && destination(&ctx, &call, &mut traits).is_err() {
        traits.object.set_unread();
    }
    if call.wants(flag::PROTOCOL) {
        match socket(&ctx) {
            Ok((protocol, _)) => call.facts.protocol = address::named(u32::from(protocol)),
            Err(_) if traits.object.is_network() => traits.object.set_unread(),
            Err(_) => {}
        }
    }
    let decision = verdict::decide(&call, &mut traits.object);
    let wanted = Wanted::new(&call, decision, &traits);
    if wanted.passes == Passes::No {
        call.leave();
        return decision.answer();
    }
    let object = destination(&ctx, &call, &mut traits);
    emit::emit(&call, &wanted, |room: &Room<Connect, NoTail>| {
        object?;
        let (protocol, kind) = socket(&ctx)?;
        let object = &traits.object;
        room.write(Connect {
            address: object.address(),
            family: object.family(),
            port_be: object.port_be(),
            protocol,
            kind,
        });
        Ok(Fill::Done)
    });
    decision.answer()
}

/// Reads the destination.
#[inline(always)]
fn destination(ctx: &LsmContext, call: &Call, traits: &mut Traits) -> Result<(), Skip> {
    let address = Ptr::arg::<1>(ctx)?;
    let len = capture::number::<2>(ctx) & 0xffff_ffff;
    address::read((address.address(), len), Unspecified::Nothing, call, &mut traits.object)?;
    traits.port = u32::from(u16::from_be(traits.object.port_be()));
    Ok(())
}

/// Protocol and type of the socket.
#[inline(always)]
fn socket(ctx: &LsmContext) -> Result<(u16, u16), Skip> {
    let socket = Ptr::arg::<0>(ctx)?;
    let kind: u16 = socket.load(&offset::SOCKET_TYPE)?;
    // `sk` is NULL for a socket that is being torn down.
    let protocol = match socket.ptr(&offset::SOCKET_SK) {
        Ok(sock) => sock.load(&offset::SOCK_SK_PROTOCOL)?,
        Err(Skip::Null) => 0,
        Err(skip) => return Err(skip),
    };
    Ok((protocol, kind))
}
