//! Records of the template program.

use krsi_plugin_schema::latest::Body;

use super::{DecodeError, Payload};

pub(super) fn call<'a>(payload: &Payload<'a>) -> Result<Body<'a>, DecodeError> {
    Err(DecodeError::Hook { hook: payload.hook.id() })
}
