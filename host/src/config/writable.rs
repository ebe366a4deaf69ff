//! Whether others may change what lies at a path: the file itself, or a folder on the way to it.
//!
//! Others are all but root and the user that the host runs as. In a folder with the sticky bit, such as `/tmp`, they
//! may make files of their own, but put none in another's place.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Permissions to write, of a group and of everybody, and the sticky bit.
const WRITE_GROUP: u32 = 0o020;
const WRITE_ALL: u32 = 0o002;
const STICKY: u32 = 0o1000;

/// Links that the kernel follows (`MAXSYMLINKS`).
const LINKS_MAX: usize = 40;

/// What others may change on the way to a file, and why they may.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Writable {
    /// Path of the file or folder.
    pub path: PathBuf,
    /// Why others may change it.
    pub why: Access,
}

/// Why others may change something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Access {
    /// The file or folder belongs to another user.
    #[error("it belongs to user {uid}")]
    Owner {
        /// The owner's user id.
        uid: u32,
    },
    /// The group of the file or folder may write to it, and is not root's.
    #[error("group {gid} may write there, as its mode is {mode:04o}")]
    Group {
        gid: u32,
        /// Mode of what may be changed.
        mode: u32,
    },
    /// Everybody may write to it.
    #[error("everybody may write there, as its mode is {mode:04o}")]
    All {
        /// Mode of what may be changed.
        mode: u32,
    },
}

/// What others may change of a file: itself, the folder that the path leads through, or, where links are on the way,
/// one that these lead through. `None` when nothing; what is not there cannot be changed.
#[must_use]
pub(crate) fn writable_by_others(file: &Path) -> Option<Writable> {
    let ways = ways(file);
    let places = ways.iter().flat_map(|way| way.ancestors());
    let mut places = places.filter(|place| !place.as_os_str().is_empty());
    places.find_map(|place| {
        let why = access(place)?;
        Some(Writable { path: place.to_owned(), why })
    })
}

/// The file's path, those of the links that it leads through, and the one without any.
fn ways(file: &Path) -> Vec<PathBuf> {
    let mut ways = vec![file.to_owned()];
    let next = |way: &PathBuf| Some(way.parent()?.join(fs::read_link(way).ok()?));
    while ways.len() < LINKS_MAX
        && let Some(way) = ways.last().and_then(next)
    {
        ways.push(way);
    }
    ways.extend(fs::canonicalize(file));
    ways
}

fn access(place: &Path) -> Option<Access> {
    // What is neither a file nor a folder is refused for that, whoever may write to it.
    let meta = fs::metadata(place).ok().filter(|meta| meta.is_file() || meta.is_dir())?;
    let own = rustix::process::geteuid().as_raw();
    let (mode, is_folder) = (meta.mode() & 0o7777, meta.is_dir());
    access_of(meta.uid(), meta.gid(), mode, is_folder, own)
}

/// Access that others have to a file or folder by its owner, group and mode; `own` is the user of the host.
fn access_of(uid: u32, gid: u32, mode: u32, is_folder: bool, own: u32) -> Option<Access> {
    let is_shared = is_folder && mode & STICKY != 0;
    match () {
        () if uid != 0 && uid != own => Some(Access::Owner { uid }),
        () if is_shared => None,
        () if mode & WRITE_ALL != 0 => Some(Access::All { mode }),
        () if mode & WRITE_GROUP != 0 && gid != 0 => Some(Access::Group { gid, mode }),
        () => None,
    }
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn whoever_may_write_on_the_way_may_change_the_file() {
        let root = std::env::temp_dir().join(format!("krsi-writable-{}", std::process::id()));
        let _absent = fs::remove_dir_all(&root);
        let [own, shared, linked] = ["own", "shared", "linked"].map(|name| root.join(name));
        [&own, &shared, &linked].iter().for_each(|folder| fs::create_dir_all(folder).unwrap());
        let mode =
            |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        let file = own.join("a.wasm");
        fs::write(&file, "x").unwrap();
        [(&root, 0o755), (&own, 0o755), (&linked, 0o755), (&file, 0o644)]
            .iter()
            .for_each(|(path, bits)| mode(path, *bits));
        let link = linked.join("a.wasm");
        symlink(&file, &link).unwrap();
        let found = |path: &Path| writable_by_others(path).map(|found| (found.path, found.why));
        assert_eq!((found(&file), found(&link)), (None, None));
        // The file itself, wherever it is reached from.
        mode(&file, 0o646);
        let all = |mode| Access::All { mode };
        assert_eq!(found(&file), Some((file.clone(), all(0o646))));
        assert_eq!(found(&link), Some((link.clone(), all(0o646))));
        mode(&file, 0o644);
        // The folder of the link, that of its target, and one that everybody shares.
        mode(&linked, 0o777);
        assert_eq!((found(&file), found(&link)), (None, Some((linked.clone(), all(0o777)))));
        mode(&linked, 0o755);
        mode(&own, 0o777);
        assert_eq!(found(&link), Some((own.clone(), all(0o777))));
        mode(&own, 0o1777);
        assert_eq!(found(&link), None);
        fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn another_owner_and_another_group_may_write() {
        let file = |uid, gid, mode| access_of(uid, gid, mode, false, 1000);
        let folder = |uid, gid, mode| access_of(uid, gid, mode, true, 1000);
        // Root's and the host's own, of whatever group, where only the owner writes.
        assert_eq!((file(0, 7, 0o644), file(1000, 7, 0o644)), (None, None));
        // Another owner may change a file whatever its mode says, and what lies in a folder with the sticky bit.
        assert_eq!(file(1001, 0, 0o400), Some(Access::Owner { uid: 1001 }));
        assert_eq!(folder(1001, 0, 0o1777), Some(Access::Owner { uid: 1001 }));
        // A group but root's, where the group may write.
        assert_eq!(file(0, 0, 0o664), None);
        assert_eq!(folder(0, 7, 0o775), Some(Access::Group { gid: 7, mode: 0o775 }));
        assert_eq!(folder(0, 7, 0o1775), None);
        let said = [Access::Owner { uid: 1001 }, Access::Group { gid: 7, mode: 0o775 }];
        assert_eq!(
            said.map(|why| why.to_string()),
            ["it belongs to user 1001", "group 7 may write there, as its mode is 0775",]
        );
    }

    #[test]
    fn why_is_said_in_octal() {
        assert_eq!(
            Access::All { mode: 0o666 }.to_string(),
            "everybody may write there, as its mode is 0666"
        );
    }
}
