//! Where each field of a curated hook is found in the kernel: paths from the hook's arguments, by family.
//!
//! A path starts with an argument's name in `include/linux/lsm_hook_defs.h` (or `arg0`, `arg1`, … by
//! place) and goes on with members, joined by dots; pointers are followed. Names and structures moved
//! between 5.10 and 7.x, so a field has alternatives: the first one that this kernel's types have is
//! taken, and a field without any is absent. The fields' names, order and kinds are those of the
//! plugin contract's records; `host/tests/hook_table.rs` compares the two tables.

mod exec;
mod file;
mod inode;
mod ipc;
mod memory;
mod module;
mod mount;
mod path;
mod resolve;
mod socket;
mod task;
mod uring;

use krsi_host_abi::hook::Hook;

/// What a path must end in, and how it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// An integer, an enum or a bitfield.
    Number,
    /// A pointer to a string.
    Text,
    /// A string that is embedded (`comm`).
    Inline,
    /// An embedded range of so many bytes.
    Bytes(u16),
    /// A `struct path`, embedded or pointed to: its full path.
    Path,
    /// A pointer to a `struct dentry`: its path within its mount.
    Dentry,
    /// A pointer to a `struct inode`: the file's identity.
    Inode,
    /// A pointer to a `struct sockaddr`, or to `void` that is one.
    SockAddr,
}

/// A field, and where it may be found.
#[derive(Clone, Copy, Debug)]
pub struct CuratedField {
    /// Name in the plugin contract's record.
    pub name: &'static str,
    pub shape: Shape,
    /// Paths, the first one that resolves is taken.
    pub paths: &'static [&'static str],
}

/// What the keys of objects are taken from in a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CuratedObject {
    /// Nothing: only subject keys apply.
    None,
    /// The field of that name, of [`Shape::Inode`].
    File(&'static str),
    /// The field of that name, of [`Shape::SockAddr`].
    Network(&'static str),
}

/// A curated hook.
#[derive(Clone, Copy, Debug)]
pub struct CuratedRow {
    pub hook: Hook,
    /// Its fields, in the order of the plugin contract's record.
    pub fields: &'static [CuratedField],
    /// Object of a call, which rules deny by.
    pub object: CuratedObject,
    /// First kernel that has it; 5.10 for those that are older too.
    pub since: &'static str,
    /// A second file that the call is about, of [`Shape::Inode`]; its path is `new_folder` and
    /// `new_name`.
    pub second: Option<&'static str>,
    /// The hook that is attached where this one is not there.
    pub or: Option<Instead>,
}

/// A hook that sees another one's calls, and maybe more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instead {
    pub hook: Hook,
    /// Which calls are the other's: those where some of these bits of a field are set.
    pub own: Option<Bits>,
}

/// Bits of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bits {
    /// Path of the field.
    pub path: &'static str,
    /// Number of the lowest bit.
    pub shift: u8,
    pub width: u8,
}

/// First kernel that is supported at all.
pub const OLDEST: &str = "5.10";

const fn field(name: &'static str, shape: Shape, paths: &'static [&'static str]) -> CuratedField {
    CuratedField { name, shape, paths }
}

const fn row(hook: Hook, fields: &'static [CuratedField]) -> CuratedRow {
    CuratedRow { hook, fields, object: CuratedObject::None, second: None, since: OLDEST, or: None }
}

impl CuratedRow {
    const fn since(self, since: &'static str) -> Self {
        Self { since, ..self }
    }

    const fn file(self, field: &'static str) -> Self {
        Self { object: CuratedObject::File(field), ..self }
    }

    const fn and(self, field: &'static str) -> Self {
        Self { second: Some(field), ..self }
    }

    const fn network(self, field: &'static str) -> Self {
        Self { object: CuratedObject::Network(field), ..self }
    }

    const fn or(self, hook: Hook) -> Self {
        Self { or: Some(Instead { hook, own: None }), ..self }
    }

    /// By the changes that `inode_setattr` is told of: that many `ATTR_*` of `include/linux/fs.h` from a
    /// bit on.
    const fn or_attributes(self, shift: u8, width: u8) -> Self {
        let own = Some(Bits { path: "attr.ia_valid", shift, width });
        Self { or: Some(Instead { hook: Hook::InodeSetattr, own }), ..self }
    }

    /// Rows of captures that its fields take, and rooms in a record's tail.
    #[must_use]
    pub fn cost(&self) -> (usize, usize) {
        self.fields.iter().fold((0, 0), |(rows, rooms), field| {
            let (more_rows, more_rooms) = match field.shape {
                Shape::Number => (1, 0),
                Shape::Inode => (2, 0),
                Shape::SockAddr => (2, 1),
                Shape::Text | Shape::Inline | Shape::Bytes(_) | Shape::Path | Shape::Dentry => {
                    (1, 1)
                }
            };
            (rows + more_rows, rooms + more_rooms)
        })
    }
}

/// Rows of every family.
const FAMILIES: &[&[CuratedRow]] = &[
    exec::ROWS,
    file::ROWS,
    memory::ROWS,
    path::ROWS,
    inode::ROWS,
    socket::ROWS,
    task::ROWS,
    module::ROWS,
    mount::ROWS,
    ipc::ROWS,
    uring::ROWS,
];

/// Every curated hook whose record is a list of values.
pub fn rows() -> impl Iterator<Item = &'static CuratedRow> {
    FAMILIES.iter().copied().flatten()
}

/// The row of a hook; none for one with a record of its own.
#[must_use]
pub fn of(hook: Hook) -> Option<&'static CuratedRow> {
    rows().find(|row| row.hook == hook)
}

#[cfg(test)]
mod tests {
    use krsi_host_abi::hook::{Attach, HOOKS, Keys};
    use krsi_host_abi::spec::{CAPTURES, HOPS, ROOMS};

    use super::*;

    #[test]
    fn every_call_of_the_hook_table_has_one_row_that_fits_a_program() {
        for hook in HOOKS.iter().map(|row| row.hook) {
            let rows = rows().filter(|row| row.hook == hook).count();
            assert_eq!(rows, usize::from(hook.is_call()), "{}", hook.name());
        }
        for row in rows() {
            let (captures, rooms) = row.cost();
            assert!(captures <= CAPTURES && rooms <= ROOMS, "{}", row.hook.name());
            for field in row.fields {
                assert!(!field.paths.is_empty(), "{}.{}", row.hook.name(), field.name);
                let steps = |path: &&str| path.split('.').count() - 1 <= HOPS + 1;
                assert!(field.paths.iter().all(steps), "{}.{}", row.hook.name(), field.name);
            }
        }
    }

    #[test]
    fn objects_are_what_the_hooks_keys_say() {
        for row in rows() {
            let (name, keys) = (row.hook.name(), row.hook.row().keys);
            let shape = |wanted| {
                row.fields.iter().find(|field| field.name == wanted).map(|field| field.shape)
            };
            match row.object {
                CuratedObject::None => {
                    assert_eq!(row.second, None, "{name}");
                    assert!(!keys.contains(Keys::FILE) && !keys.contains(Keys::NETWORK), "{name}");
                }
                CuratedObject::File(file) => {
                    assert!(keys.contains(Keys::FILE), "{name}");
                    assert_eq!(shape(file), Some(Shape::Inode), "{name}");
                    let second = row.second.map(shape);
                    assert!(second.is_none_or(|found| found == Some(Shape::Inode)), "{name}");
                }
                CuratedObject::Network(address) => {
                    assert_eq!(row.second, None, "{name}");
                    assert!(keys.contains(Keys::NETWORK), "{name}");
                    assert_eq!(shape(address), Some(Shape::SockAddr), "{name}");
                }
            }
        }
    }

    #[test]
    fn hooks_with_a_path_have_a_field_for_it() {
        for row in rows() {
            let has = |name: &str| {
                row.fields.iter().any(|field| field.name == name && field.shape == Shape::Path)
            };
            let is = row.hook.row().keys.contains(Keys::FILE)
                && (has("path") || has("folder") && row.fields.iter().any(|at| at.name == "name"));
            assert_eq!(row.hook.has_path(), is, "{}", row.hook.name());
        }
    }

    #[test]
    fn what_stands_in_for_a_hook_denies_by_the_same_keys() {
        for row in rows() {
            let Some(Instead { hook: other, .. }) = row.or else { continue };
            let (this, that) = (row.hook.row(), other.row());
            assert_eq!((this.attach, this.keys), (that.attach, that.keys), "{}", this.name);
            assert_eq!(that.attach, Attach::LsmDeny);
            assert!(of(other).is_some_and(|other| other.or.is_none() && other.since == OLDEST));
        }
        let others = rows().filter(|row| row.or.is_some()).count();
        assert_eq!(others, rows().filter(|row| row.hook.name().starts_with("path_")).count());
    }
}
