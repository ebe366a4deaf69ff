//! Records of the exec family.

use krsi_host_abi::record::{Exec as Bytes, exec_flag, text_flag};
use krsi_plugin_schema::latest::{Argv, Body, Exec, ExecFlags};

use super::{DecodeError, Payload, file_key, text};

pub(super) fn check<'a>(payload: &Payload<'a>) -> Result<Body<'a>, DecodeError> {
    exec(payload).map(Body::BprmCheckSecurity)
}

pub(super) fn committed<'a>(payload: &Payload<'a>) -> Result<Body<'a>, DecodeError> {
    exec(payload).map(Body::BprmCommittedCreds)
}

fn exec<'a>(payload: &Payload<'a>) -> Result<Exec<'a>, DecodeError> {
    let (body, tail) = payload.body::<Bytes>()?;
    let mut flags = 0;
    if body.flags & exec_flag::MEMFD != 0 {
        flags |= ExecFlags::MEMFD;
    }
    if body.flags & exec_flag::DELETED != 0 {
        flags |= ExecFlags::DELETED;
    }
    Ok(Exec {
        file: file_key(body.file),
        path: payload.path(tail, body.path)?,
        path_truncated: body.path.flags & text_flag::TRUNCATED != 0,
        argv: argv(payload.text(tail, body.argv)?, body.argc),
        flags: ExecFlags(flags),
    })
}

/// The kernel copies argv and what lies above it, the environment: only `argc` strings are argv.
fn argv(bytes: &[u8], argc: u32) -> Argv<'_> {
    let mut strings = 0;
    let mut end = 0;
    for (at, byte) in bytes.iter().enumerate() {
        if strings == argc {
            break;
        }
        if *byte == 0 {
            strings += 1;
            end = at + 1;
        }
    }
    let truncated = strings < argc;
    let kept = if truncated { bytes } else { bytes.get(..end).unwrap_or(bytes) };
    Argv { joined: text::escape(kept), argc, truncated }
}

#[cfg(test)]
mod tests {
    use super::argv;

    #[test]
    fn argv_ends_where_the_environment_begins() {
        let check = |bytes: &[u8], argc, expected: &[&str], truncated| {
            let argv = argv(bytes, argc);
            assert_eq!(argv.iter().collect::<Vec<_>>(), expected);
            assert_eq!(argv.truncated, truncated);
        };
        check(b"a\0b\0HOME=/\0", 2, &["a", "b"], false);
        check(b"a\0b\0HOME=/", 2, &["a", "b"], false);
        check(b"a\0bc", 2, &["a", "bc"], true);
        check(b"HOME=/\0", 0, &[], false);
        check(b"", 1, &[], true);
        check(b"\xff\0", 1, &["\\xff"], false);
    }
}
