//! `/proc/PID/root` and `/proc/PID/ns/mnt` → whether a process sees the machine's files.
//!
//! The machine's are those of process 1: a host in a mount namespace of its own, as a service manager may give it, is no
//! measure. The same root folder in another mount namespace can still show other files, so the two are told apart.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use krsi_plugin_schema::latest::Whose;

/// Process 1.
const INIT: &str = "1";

/// Root folder and mount namespace of the machine, as far as they can be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct MachineRoot {
    /// Device and inode number.
    root: Option<(u64, u64)>,
    /// Number of the namespace.
    mounts: Option<u64>,
}

impl MachineRoot {
    /// Reads those of process 1 below `root` (`/proc`).
    #[must_use]
    pub(crate) fn read(root: &Path) -> Self {
        let init = root.join(INIT);
        Self { root: folder(&init), mounts: namespace(&init) }
    }

    /// Number of the machine's mount namespace.
    pub(crate) const fn mounts(&self) -> Option<u64> {
        self.mounts
    }

    /// Whose root folder and mount namespace a process has, by its folder in `/proc`.
    pub(super) fn of(&self, process: &Path) -> (Whose, Whose) {
        (whose(self.root, folder(process)), whose(self.mounts, namespace(process)))
    }
}

/// Whether something of a process is the machine's or another one.
pub(super) fn whose<T: PartialEq>(machine: Option<T>, of: Option<T>) -> Whose {
    match (machine, of) {
        (Some(machine), Some(of)) if machine == of => Whose::Machine,
        (Some(_), Some(_)) => Whose::Own,
        _ => Whose::Unknown,
    }
}

fn folder(process: &Path) -> Option<(u64, u64)> {
    let root = fs::metadata(process.join("root")).ok()?;
    Some((root.dev(), root.ino()))
}

fn namespace(process: &Path) -> Option<u64> {
    // What a link of the kernel's names has the namespace's number.
    fs::metadata(process.join("ns/mnt")).ok().map(|namespace| namespace.ino())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn what_is_the_machines_is_told_from_what_is_not_and_from_what_cannot_be_read() {
        let folder = std::env::temp_dir().join(format!("identity-{}", std::process::id()));
        let make = |pid: &str, root: &str, mounts: &str| {
            let (process, root) = (folder.join(pid), folder.join(root));
            fs::create_dir_all(process.join("ns")).unwrap();
            fs::create_dir_all(&root).unwrap();
            symlink(root, process.join("root")).unwrap();
            fs::write(folder.join(mounts), "").unwrap();
            symlink(folder.join(mounts), process.join("ns/mnt")).unwrap();
            process
        };
        make("1", "root-1", "mounts-1");
        let (same, both) = (make("2", "root-1", "mounts-1"), make("3", "root-3", "mounts-3"));
        let (jailed, service) = (make("4", "root-3", "mounts-1"), make("5", "root-1", "mounts-3"));
        let machine = MachineRoot::read(&folder);
        assert_eq!(machine.of(&same), (Whose::Machine, Whose::Machine));
        assert_eq!(machine.of(&both), (Whose::Own, Whose::Own));
        assert_eq!(machine.of(&jailed), (Whose::Own, Whose::Machine));
        assert_eq!(machine.of(&service), (Whose::Machine, Whose::Own));
        assert_eq!(machine.of(&folder.join("6")), (Whose::Unknown, Whose::Unknown));
        assert_eq!(MachineRoot::default().of(&same), (Whose::Unknown, Whose::Unknown));
        fs::remove_dir_all(&folder).unwrap();
    }
}
