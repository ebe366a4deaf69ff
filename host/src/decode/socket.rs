//! Records of the socket family.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use krsi_host_abi::record::Connect as Bytes;
use krsi_plugin_schema::latest::{Body, Connect};

use super::{DecodeError, Payload};

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

pub(super) fn connect<'a>(payload: &Payload<'a>) -> Result<Body<'a>, DecodeError> {
    let (body, _tail) = payload.body::<Bytes>()?;
    let [a, b, c, d, ..] = body.address;
    let address = match body.family {
        AF_INET => Some(IpAddr::V4(Ipv4Addr::new(a, b, c, d))),
        AF_INET6 => Some(IpAddr::V6(Ipv6Addr::from(body.address))),
        _ => None,
    };
    Ok(Body::SocketConnect(Connect {
        address,
        port: u16::from_be(body.port_be),
        family: body.family,
        protocol: body.protocol,
        kind: body.kind,
    }))
}
