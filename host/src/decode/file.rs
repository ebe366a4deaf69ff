//! Records of the file family.

use krsi_host_abi::record::{FileOpen as Bytes, text_flag};
use krsi_plugin_schema::latest::{Body, FileOpen};

use super::{DecodeError, Payload, file_key};

pub(super) fn open<'a>(payload: &Payload<'a>) -> Result<Body<'a>, DecodeError> {
    let (body, tail) = payload.body::<Bytes>()?;
    Ok(Body::FileOpen(FileOpen {
        file: file_key(body.file),
        path: payload.path(tail, body.path)?,
        path_truncated: body.path.flags & text_flag::TRUNCATED != 0,
        flags: body.flags,
        mode: body.mode,
    }))
}
