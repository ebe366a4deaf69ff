//! A call as rules see it, of its event; and what they make of it, where nothing is refused but in words.

use std::net::SocketAddr;

use krsi_host_abi::deny::FileKey as AbiFile;
use krsi_plugin_schema::latest::{Body, Call, Event, FileKey, Value};

use crate::policy::ledger::memory::{CallAddress, CallKeys, CallPath, Ruling};

/// `__FMODE_EXEC` of `include/linux/fs.h`: an open on the way to an exec.
const FMODE_EXEC: u32 = 0x20;

/// What rules make of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::author) enum Judged {
    /// No rule is about the call.
    Passes,
    /// The call would be refused.
    Refused {
        /// Rule that refuses.
        rule_id: u64,
        /// Errno of the answer.
        errno: u16,
    },
    /// The call passes, and is reported.
    Audited {
        /// Rule that would refuse.
        rule_id: u64,
        /// Errno that it would answer.
        errno: u16,
    },
}

impl Judged {
    pub(super) fn of(decided: Ruling) -> Self {
        match decided.by {
            None => Judged::Passes,
            Some((rule_id, errno)) if decided.is_denied => Judged::Refused { rule_id, errno },
            Some((rule_id, errno)) => Judged::Audited { rule_id, errno },
        }
    }
}

/// What an event's call is about. No file of a stage has bytes, so none has a digest.
pub(in crate::author) fn object<'e>(event: &'e Event<'_>) -> CallKeys<'e> {
    let none = CallKeys { cgroup: event.meta.cgroup_id, ..CallKeys::default() };
    match &event.body {
        Body::BprmCheckSecurity(exec) | Body::BprmCommittedCreds(exec) => {
            CallKeys { file: Some(abi(exec.file)), path: at(&exec.path), ..none }
        }
        Body::FileOpen(open) => CallKeys {
            file: Some(abi(open.file)),
            path: at(&open.path),
            is_executed: open.flags & FMODE_EXEC != 0,
            ..none
        },
        Body::SocketConnect(connect) => {
            let to = connect.address.map(|address| SocketAddr::new(address, connect.port));
            let to = to.map(|to| CallAddress::new(to, connect.protocol));
            CallKeys { to, ..none }
        }
        Body::Call(call) => {
            let mut object = none;
            let protocol = named(call, "protocol");
            let protocol = protocol.and_then(|value| match value {
                Value::Number(number) => u16::try_from(*number).ok(),
                _ => None,
            });
            for (value, row) in call.values.iter().zip(call.hook.fields()) {
                match value {
                    Value::File(file) if object.file.is_none() => object.file = Some(abi(*file)),
                    Value::Text(text)
                        if object.path == CallPath::None && row.name.contains("path") =>
                    {
                        object.path = at(&text.text);
                    }
                    Value::Address(address) if object.to.is_none() => {
                        let to = address.ip.map(|ip| SocketAddr::new(ip, address.port));
                        object.to = to.map(|to| CallAddress::new(to, protocol.unwrap_or(0)));
                    }
                    _ => {}
                }
            }
            object
        }
        Body::SchedProcessFork(_) | Body::SchedProcessExit(_) | Body::Watch(_) => none,
    }
}

/// The file that a call replaces, which rules on files apply to as well.
pub(super) fn replaced<'e>(event: &Event<'_>, object: &CallKeys<'e>) -> Option<CallKeys<'e>> {
    let Body::Call(call) = &event.body else { return None };
    match named(call, "replaced")? {
        Value::File(file) => Some(CallKeys { file: Some(abi(*file)), ..*object }),
        _ => None,
    }
}

/// The value of one of a call's fields.
fn named<'c>(call: &'c Call<'_>, name: &str) -> Option<&'c Value<'c>> {
    let mut fields = call.values.iter().zip(call.hook.fields());
    fields.find_map(|(value, row)| (row.name == name).then_some(value))
}

/// The path of an event, which is empty where it could not be resolved.
const fn at(path: &str) -> CallPath<'_> {
    if path.is_empty() { CallPath::Unresolved } else { CallPath::At(path) }
}

const fn abi(FileKey { ino, dev, generation }: FileKey) -> AbiFile {
    AbiFile { ino, dev, generation }
}

#[cfg(test)]
mod tests {
    use krsi_plugin_schema::latest::{Address, Hook, Meta, Why};

    use super::*;

    /// A call with some of its fields; the others could not be read.
    fn call(name: &str, known: &[(&str, Value<'static>)]) -> Event<'static> {
        let hook = Hook::from_name(name).unwrap();
        let value = |name: &str| known.iter().find(|(known, _)| *known == name);
        let values = hook.fields().iter().map(|row| {
            value(row.name).map_or(Value::Absent(Why::Unreadable), |(_, value)| value.clone())
        });
        let call = Call { hook, values: values.collect() };
        Event { meta: Meta::default(), body: Body::Call(call) }
    }

    #[test]
    fn a_file_that_is_replaced_is_judged_too_and_an_address_by_its_protocol() {
        let file = |ino| FileKey { ino, dev: 1, generation: 1 };
        let known = [("file", Value::File(file(7))), ("replaced", Value::File(file(8)))];
        let event = call("path_rename", &known);
        let first = object(&event);
        assert_eq!(first.file, Some(abi(file(7))));
        assert_eq!(replaced(&event, &first).unwrap().file, Some(abi(file(8))));
        assert_eq!(replaced(&call("path_rename", &known[..1]), &first), None);
        let ip = Some("10.0.0.1".parse().unwrap());
        let address = Value::Address(Address { ip, port: 80, ..Address::default() });
        let known = [("address", address), ("protocol", Value::Number(17))];
        let event = call("socket_bind", &known);
        assert_eq!(object(&event).to.unwrap().protocol, 17);
        assert_eq!(object(&call("socket_bind", &known[..1])).to.unwrap().protocol, 0);
    }
}
