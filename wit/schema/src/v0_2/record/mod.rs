//! Named, typed fields for the values of each curated hook, by family.
//!
//! The order of a record's fields is the order of the values of its [`Call`]; it is frozen with the
//! schema, later versions append. A value that is not there is `None`, whatever the reason; the
//! reason stands in the call's own [`Value::Absent`].

use alloc::borrow::Cow;

use super::call::{Address, Call, FieldRow, Kind, Text, Value, Why};
use super::hook::Hook;
use super::process::FileKey;

/// Why a call is not a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The call is one of another hook.
    #[error("a call of {found} is not one of {wanted}", found = found.name(), wanted = wanted.name())]
    Hook {
        /// Hook of the record.
        wanted: Hook,
        /// Hook of the call.
        found: Hook,
    },
    /// A value is not of its field's kind.
    #[error("field {field} of {hook} is not a {kind:?}", hook = hook.name())]
    Kind {
        /// Hook of the call.
        hook: Hook,
        /// Name of the field.
        field: &'static str,
        /// Kind that the value should be of.
        kind: Kind,
    },
}

/// The values of a call while they become fields.
struct Fields<'c> {
    hook: Hook,
    rows: core::slice::Iter<'static, FieldRow>,
    values: core::slice::Iter<'c, Value<'c>>,
}

impl<'c> Fields<'c> {
    fn of(call: &'c Call<'_>, hook: Hook) -> Result<Self, RecordError> {
        if call.hook != hook {
            return Err(RecordError::Hook { wanted: hook, found: call.hook });
        }
        Ok(Self { hook, rows: hook.fields().iter(), values: call.values.iter() })
    }

    /// The next value through `take`, which knows one kind. Values that an older host does not send,
    /// or that are of a kind of a later version, are not there.
    fn next<T>(
        &mut self,
        take: impl FnOnce(&'c Value<'c>) -> Option<T>,
    ) -> Result<Option<T>, RecordError> {
        let row = self.rows.next();
        match self.values.next() {
            None | Some(Value::Absent(_) | Value::Unknown(_)) => Ok(None),
            Some(value) => take(value).map(Some).ok_or(RecordError::Kind {
                hook: self.hook,
                field: row.map_or("", |row| row.name),
                kind: row.map_or(Kind::Number, |row| row.kind),
            }),
        }
    }
}

const fn number(value: &Value<'_>) -> Option<u64> {
    if let Value::Number(number) = value { Some(*number) } else { None }
}

const fn signed(value: &Value<'_>) -> Option<i64> {
    if let Value::Signed(number) = value { Some(*number) } else { None }
}

fn text<'c>(value: &'c Value<'_>) -> Option<Text<'c>> {
    if let Value::Text(text) = value { Some(text.borrowed()) } else { None }
}

fn bytes<'c>(value: &'c Value<'_>) -> Option<Cow<'c, [u8]>> {
    if let Value::Bytes(bytes) = value { Some(Cow::Borrowed(&**bytes)) } else { None }
}

fn address<'c>(value: &'c Value<'_>) -> Option<Address<'c>> {
    if let Value::Address(address) = value { Some(address.borrowed()) } else { None }
}

const fn file(value: &Value<'_>) -> Option<FileKey> {
    if let Value::File(file) = value { Some(*file) } else { None }
}

macro_rules! records {
    ($($(#[$doc:meta])* $hook:ident $(<$life:lifetime>)? {
        $($(#[doc = $field_doc:literal])+ $field:ident: $kind:ident $(<$field_life:lifetime>)?,)*
    })*) => { $(
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq)]
        pub struct $hook $(<$life>)? {
            $($(#[doc = $field_doc])+ pub $field: Option<records!(@type $kind $($field_life)?)>,)*
        }

        impl $(<$life>)? $hook $(<$life>)? {
            /// Fields of the record, in the order of its values.
            pub const FIELDS: &'static [$crate::v0_2::FieldRow] = &[$(
                $crate::v0_2::FieldRow {
                    name: stringify!($field),
                    kind: $crate::v0_2::Kind::$kind,
                    doc: concat!($($field_doc),+),
                },
            )*];
        }

        impl $(<$life>)? TryFrom<& $($life)? $crate::v0_2::Call<'_>> for $hook $(<$life>)? {
            type Error = $crate::v0_2::RecordError;

            #[allow(unused_mut, unused_variables, reason = "a hook can be without arguments")]
            fn try_from(call: & $($life)? $crate::v0_2::Call<'_>) -> Result<Self, Self::Error> {
                let mut fields = $crate::v0_2::record::Fields::of(call, $crate::v0_2::Hook::$hook)?;
                Ok(Self { $($field: fields.next(records!(@take $kind))?,)* })
            }
        }
    )* };
    (@type Number) => { u64 };
    (@type Signed) => { i64 };
    (@type Text $life:lifetime) => { $crate::v0_2::Text<$life> };
    (@type Bytes $life:lifetime) => { alloc::borrow::Cow<$life, [u8]> };
    (@type Address $life:lifetime) => { $crate::v0_2::Address<$life> };
    (@type File) => { $crate::v0_2::FileKey };
    (@take Number) => { $crate::v0_2::record::number };
    (@take Signed) => { $crate::v0_2::record::signed };
    (@take Text) => { $crate::v0_2::record::text };
    (@take Bytes) => { $crate::v0_2::record::bytes };
    (@take Address) => { $crate::v0_2::record::address };
    (@take File) => { $crate::v0_2::record::file };
}

mod exec;
mod file;
mod inode;
mod ipc;
mod memory;
mod module;
mod mount;
mod path;
mod socket;
mod task;
mod uring;

pub use exec::{BprmCommittingCreds, BprmCredsForExec, BprmCredsFromFile};
pub use file::FilePermission;
pub use inode::{
    InodeLink, InodeMkdir, InodeMknod, InodeRename, InodeRmdir, InodeSetattr, InodeSetxattr,
    InodeSymlink, InodeUnlink,
};
pub use ipc::{IpcPermission, KeyAlloc, KeyPermission, MsgQueueMsgsnd, SemSemop, ShmShmat};
pub use memory::{FileMprotect, MmapFile};
pub use module::{
    Bpf, BpfMap, BpfProg, KernelLoadData, KernelModuleRequest, KernelReadFile, LockedDown,
    PerfEventOpen, Settime, Syslog,
};
pub use mount::{MoveMount, SbMount, SbPivotroot, SbUmount};
pub use path::{
    PathChmod, PathChown, PathLink, PathMkdir, PathMknod, PathRename, PathRmdir, PathSymlink,
    PathTruncate, PathUnlink,
};
pub use socket::{SocketAccept, SocketBind, SocketCreate, SocketListen, SocketSendmsg};
pub use task::{
    Capable, Capset, PtraceAccessCheck, PtraceTraceme, TaskAlloc, TaskFixSetuid, TaskFree,
    TaskKill, UsernsCreate,
};
pub use uring::{UringCmd, UringOverrideCreds, UringSqpoll};

/// Value of a call that is not there, and why.
#[must_use]
pub fn why(call: &Call<'_>, field: &str) -> Option<Why> {
    let at = call.hook.fields().iter().position(|row| row.name == field)?;
    match call.values.get(at) {
        None => Some(Why::Kernel),
        Some(Value::Absent(why)) => Some(*why),
        Some(Value::Unknown(_)) => Some(Why::Unreadable),
        Some(_) => None,
    }
}
