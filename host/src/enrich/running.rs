//! A running process → what a plugin is told of it when it starts.

use std::borrow::Cow;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use krsi_plugin_schema::latest::{ExecFlags, FileKey, Process, Running};

use super::proc_scan::{TICK_NS, argv, read, stat_of};
use super::sample::Around;
use crate::decode::text::escape;

/// Bytes of arguments that are told.
pub(super) const ARGUMENTS_MAX: usize = 64 << 10;

/// What `root` (`/proc`) says of a process that is known: its executable, all its arguments and its connections.
/// `None` if it has ended; another process may have its number meanwhile.
#[must_use]
pub(crate) fn running(
    root: &Path,
    known: Process<'static>,
    around: &mut Around,
) -> Option<Running<'static>> {
    let (tgid, start) = (known.key.tgid, known.key.start_boot_ns / TICK_NS);
    let is_same = || stat_of(root, tgid).is_some_and(|stat| stat.start_ticks == start);
    if !is_same() {
        return None;
    }
    let folder = root.join(tgid.to_string());
    let (mut exe, mut flags) = executable(&folder);
    let mut arguments = argv(read(&folder.join("cmdline"), ARGUMENTS_MAX + 1)?, ARGUMENTS_MAX);
    let (again, flags_again) = executable(&folder);
    if again != exe {
        // It executed something else meanwhile: both are read of that.
        (exe, flags) = (again, flags_again);
        arguments = argv(read(&folder.join("cmdline"), ARGUMENTS_MAX + 1)?, ARGUMENTS_MAX);
    }
    // The first thread has ended, and the others run on: what was known of it before still holds.
    if exe.is_empty() {
        exe = known.exe.clone();
    }
    // A process can write over its arguments; those that the kernel told of are as they were.
    if exe == known.exe && known.argv.argc > 0 && !known.argv.truncated {
        arguments = known.argv.clone();
    }
    let connections = around.sockets.of(&folder);
    let (whose_root, mounts) = around.machine.of(&folder);
    // All of it is of that process only if it still is there.
    if !is_same() {
        return None;
    }
    // An exec that no event has told of yet: whose file it is will be told then.
    let file = if known.exe == exe { known.file } else { FileKey::default() };
    let process = Process { exe, argv: arguments, file, root: whose_root, mounts, ..known };
    let (connections, connections_cut) = (connections.found, connections.cut);
    Some(Running { process, flags, connections, connections_cut })
}

/// Path and kind of the executable. Nobody can name a file that is gone, so the count of its names decides.
pub(super) fn executable(folder: &Path) -> (Cow<'static, str>, ExecFlags) {
    let link = folder.join("exe");
    let path = fs::read_link(&link).unwrap_or_default();
    let path = path.as_os_str().as_bytes();
    let is_gone = fs::metadata(&link).is_ok_and(|file| file.nlink() == 0);
    let flags = match is_gone {
        true if path.starts_with(b"/memfd:") => ExecFlags::MEMFD | ExecFlags::DELETED,
        true => ExecFlags::DELETED,
        false => 0,
    };
    (Cow::Owned(escape(path).into_owned()), ExecFlags(flags))
}

#[cfg(test)]
mod tests {
    use krsi_plugin_schema::latest::{Argv, ProcessKey};

    use super::*;

    #[test]
    fn this_process_is_told_with_its_arguments_and_no_other_in_its_place() {
        let root = Path::new("/proc");
        let tgid = std::process::id();
        let start_boot_ns = stat_of(root, tgid).unwrap().start_ticks * TICK_NS + 77;
        let key = ProcessKey { start_boot_ns, tgid };
        let known = |key| Process { key, uid: 7, ..Process::default() };
        let told = running(root, known(key), &mut Around::default()).unwrap();
        assert_eq!((told.process.key, told.process.uid, told.flags), (key, 7, ExecFlags(0)));
        let own = std::env::args().next().unwrap();
        assert_eq!(told.process.argv.iter().next(), Some(own.as_str()));
        assert!(!told.process.exe.is_empty() && !told.process.argv.truncated);
        // What the kernel told of its arguments is kept, whatever it has written over them; not of another image.
        let kernels = Argv { joined: "as\0told\0".into(), argc: 2, truncated: false };
        let of = |exe: &str, argv: &Argv<'static>| {
            let known = Process { exe: exe.to_owned().into(), argv: argv.clone(), ..known(key) };
            running(root, known, &mut Around::default()).unwrap().process.argv
        };
        let exe = told.process.exe.clone();
        assert_eq!(of(&exe, &kernels), kernels);
        assert_eq!(of("/another", &kernels), told.process.argv);
        assert_eq!(of(&exe, &Argv { truncated: true, ..kernels.clone() }), told.process.argv);
        let later = ProcessKey { start_boot_ns: start_boot_ns + TICK_NS, tgid };
        assert!(running(root, known(later), &mut Around::default()).is_none());
    }
}
