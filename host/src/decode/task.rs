//! Records of the task family.

use krsi_host_abi::record::{Exit as ExitBytes, Fork as ForkBytes};
use krsi_plugin_schema::latest::{Body, Exit, Fork};

use super::{DecodeError, Payload, process};

pub(super) fn fork<'a>(payload: &Payload<'a>) -> Result<Body<'a>, DecodeError> {
    let (body, _tail) = payload.body::<ForkBytes>()?;
    Ok(Body::SchedProcessFork(Fork { child: process(body.child) }))
}

pub(super) fn exit<'a>(payload: &Payload<'a>) -> Result<Body<'a>, DecodeError> {
    let (body, _tail) = payload.body::<ExitBytes>()?;
    Ok(Body::SchedProcessExit(Exit { code: body.code }))
}
