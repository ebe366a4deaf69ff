//! How far a field of a watch reads: what the hook's arguments and the caller tell, which every plugin may
//! see, or whatever the kernel's types lead to.

use krsi_host_abi::hook::Hook;
use krsi_host_abi::spec::{Capture, root};

use super::super::curated;
use super::super::field_path::{self, Field, FieldKind};
use crate::kernel::btf::{KernelTypes, Prototype};
use crate::text::Escaped;

/// Fields of the caller that events tell too.
const CALLER: &[&str] = &[
    "current.tgid",
    "current.pid",
    "current.comm",
    "current.start_boottime",
    "current.start_time",
    "current.group_leader.start_boottime",
    "current.group_leader.start_time",
    "current.real_parent.tgid",
    "current.mm.exe_file",
    "current_cred.uid",
    "current_cred.euid",
    "current_cred.gid",
    "current_cred.egid",
];

/// Hooks whose events have a body of their own, and the hook with a row of fields that has the same arguments.
const ALIKE: &[(&str, Hook)] = &[
    ("bprm_check_security", Hook::BprmCredsForExec),
    ("bprm_committed_creds", Hook::BprmCredsForExec),
    ("file_open", Hook::FilePermission),
    ("socket_connect", Hook::SocketBind),
];

/// Why a plugin may not read a field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReachError {
    /// Neither an argument's own value, nor of docs/hooks.md, nor told of every caller.
    #[error(
        "{field}: is read from the kernel's memory behind the hook's arguments; `deep = true` grants it",
        field = Escaped(.field)
    )]
    Deep {
        /// Path of the field, as the watch writes it.
        field: String,
    },
    /// Bytes that a process sends, shown. A test of them tells a bit.
    #[error(
        "{field}: shows what processes send; `content = true` grants it, a test of it needs no grant",
        field = Escaped(.field)
    )]
    Content {
        /// Path of the field, as the watch writes it.
        field: String,
    },
    /// An address of the kernel's.
    #[error(
        "{field}: is an address in the kernel, which no plugin is told",
        field = Escaped(.field)
    )]
    Address {
        /// Path of the field, as the watch writes it.
        field: String,
    },
}

/// How far a watch may read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct WatchReach {
    /// Whatever the kernel's types lead to.
    pub deep: bool,
    /// The first bytes of what processes send.
    pub content: bool,
}

impl ReachError {
    /// Whether it is refused to a plugin whose watches may read so far.
    #[must_use]
    pub(crate) const fn holds(&self, reach: WatchReach) -> bool {
        match self {
            Self::Deep { .. } => !reach.deep,
            Self::Content { .. } => !reach.content,
            Self::Address { .. } => true,
        }
    }
}

/// The fields that not every plugin may read, with why.
pub(super) fn beyond(
    types: &KernelTypes,
    prototype: &Prototype,
    hook: &str,
    fields: &[Field],
    rows: &[Capture],
) -> Vec<ReachError> {
    let alike = ALIKE.iter().find(|(name, _)| *name == hook).map(|(_, hook)| *hook);
    let row = alike.or_else(|| Hook::from_name(hook)).and_then(curated::of);
    let curated = row.iter().flat_map(|row| row.fields).flat_map(|field| field.paths);
    let told: Vec<Vec<Capture>> = curated
        .chain(CALLER)
        .filter_map(|path| field_path::resolve(types, prototype, path).ok())
        .map(|captured| captured.rows.into_iter().map(anywhere).collect())
        .collect();
    let why = |field: &Field| {
        let path = || field.path.clone();
        if field.is_pointer {
            return Some(ReachError::Address { field: path() });
        }
        if let FieldKind::Content(_) | FieldKind::ContentByte(_) = field.kind {
            return field.shown.then(|| ReachError::Content { field: path() });
        }
        let own: Vec<Capture> =
            rows.iter().skip(field.row).take(field.kind.rows()).copied().map(anywhere).collect();
        // A plugin names its own labels alone.
        let is_labels = own.iter().all(|row| row.root == root::LABELS);
        let plain = is_labels || is_of_argument(field, &own) || told.contains(&own);
        (!plain).then(|| ReachError::Deep { field: path() })
    };
    fields.iter().filter_map(why).collect()
}

/// Whether it is an argument's own: its number, or the file, folder or address that it is.
fn is_of_argument(field: &Field, rows: &[Capture]) -> bool {
    let is_number = matches!(field.kind, FieldKind::Unsigned(_) | FieldKind::Signed(_));
    let is_object = matches!(
        field.kind,
        FieldKind::Path | FieldKind::Names | FieldKind::Inode | FieldKind::Address
    );
    let is_whole = !field.path.contains(['.', '[']);
    is_number && rows.iter().all(|row| row.root == root::VALUE)
        || is_whole && (is_number || is_object)
}

/// The row as it is wherever the record has room for it, and however much of it is read.
fn anywhere(row: Capture) -> Capture {
    Capture { room: 0, bound: 0, ..row }
}
