//! Programs of the socket family.

use aya_ebpf::macros::lsm;
use aya_ebpf::programs::LsmContext;
use krsi_host_abi::hook::Hook;
use krsi_host_abi::record::Connect;

use super::address;
use crate::capture::{self, Ptr, Skip};
use crate::emit::{self, Fill, NoTail, Room, Wanted};
use crate::filter::{self, Traits};
use crate::offset;
use crate::verdict::{self, Object};

/// `security_socket_connect(struct socket *sock, struct sockaddr *address, int addrlen)`.
/// A skipped capture is answered by the on-error rule.
#[lsm(hook = "socket_connect")]
pub fn socket_connect(ctx: LsmContext) -> i32 {
    let Some(call) = filter::enter(Hook::SocketConnect.id() as u32) else { return 0 };
    let mut traits = Traits::none(&call);
    match destination(&ctx, &mut traits.object) {
        Ok((protocol, kind)) => {
            let decision = verdict::decide(&call, &traits.object);
            traits.port = u32::from(u16::from_be(traits.object.port_be()));
            let wanted = Wanted::new(&call, decision, &traits);
            emit::emit(&call, &wanted, |room: &Room<Connect, NoTail>| {
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
        Err(skip) => {
            call.skip(skip);
            verdict::decide_unread(&call).answer()
        }
    }
}

/// Reads the destination; protocol and type of the socket.
#[inline(always)]
fn destination(ctx: &LsmContext, object: &mut Object) -> Result<(u16, u16), Skip> {
    let socket = Ptr::arg::<0>(ctx)?;
    let address = Ptr::arg::<1>(ctx)?;
    let len = capture::number::<2>(ctx) & 0xffff_ffff;
    let kind: u16 = socket.load(&offset::SOCKET_TYPE)?;
    // `sk` is NULL for a socket that is being torn down.
    let protocol = match socket.ptr(&offset::SOCKET_SK) {
        Ok(sock) => sock.load(&offset::SOCK_SK_PROTOCOL)?,
        Err(Skip::Null) => 0,
        Err(skip) => return Err(skip),
    };
    address::read(address.address(), len, object)?;
    Ok((protocol, kind))
}
