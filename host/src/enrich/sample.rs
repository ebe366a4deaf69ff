//! A process → a sample of it: what it uses, what it is connected to, its arguments in full.

use std::borrow::Cow;
use std::path::Path;

use krsi_plugin_schema::latest::{Argv, ProcessKey, Sample, SampleState};

use super::identity::MachineRoot;
use super::proc_scan::{TICK_NS, argv, read};
use super::running::{ARGUMENTS_MAX, executable};
use super::sockets::Sockets;

/// Bytes of `stat` and `status` that are read.
const FILE_MAX: usize = 8192;
/// Bytes that are read of the list of mappings: some 10,000 of them.
const MAPS_MAX: usize = 1 << 20;
/// Places of fields in `stat`, from the state on, which is 0 (proc(5)).
const UTIME: usize = 11;
const STIME: usize = 12;
const THREADS: usize = 17;
const START: usize = 19;
/// States of a process that has ended and was not waited for yet.
const ENDED: [&str; 3] = ["Z", "X", "x"];

/// Parts of a process that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SampleParts {
    /// Whether memory and connections are read.
    pub(crate) usage: bool,
    /// Whether all arguments are read.
    pub(crate) arguments: bool,
}

/// What samples are compared with and joined from; used for those that are read together.
#[derive(Debug, Default)]
pub(crate) struct Around {
    pub(crate) machine: MachineRoot,
    pub(crate) sockets: Sockets,
}

/// What `root` (`/proc`) says of a process. Nothing in it is of another process that has its number meanwhile.
#[must_use]
pub(crate) fn sample(
    root: &Path,
    process: ProcessKey,
    parts: SampleParts,
    around: &mut Around,
) -> Sample<'static> {
    let folder = root.join(process.tgid.to_string());
    let bare = |state| Sample { process, state, ..Sample::default() };
    let before = match usage(&folder, process) {
        Ok(usage) => usage,
        Err(state) => return bare(state),
    };
    let (mut exe, mut arguments) = named(&folder, parts);
    let again = executable(&folder).0;
    if again != exe {
        // It executed something else meanwhile: both are read of that.
        (exe, arguments) = named(&folder, parts);
    }
    let (root, mounts) = around.machine.of(&folder);
    let mut sample = Sample {
        process,
        exe,
        root,
        mounts,
        cpu_ns: before.cpu_ns,
        threads: before.threads,
        argv: arguments,
        state: SampleState::Read,
        ..Sample::default()
    };
    if parts.usage {
        let status = read(&folder.join("status"), FILE_MAX).unwrap_or_default();
        sample.resident_bytes = kib(&status, b"VmRSS:");
        // A kernel without huge pages does not have it.
        sample.huge_bytes = kib(&status, b"HugetlbPages:");
        let maps = read(&folder.join("maps"), MAPS_MAX).unwrap_or_default();
        (sample.executable_bytes, sample.executable_cut) = executable_memory(&maps);
        let connections = around.sockets.of(&folder);
        (sample.connections, sample.connections_cut) = (connections.found, connections.cut);
    }
    // All of it is of that process only if it still is there.
    match usage(&folder, process) {
        Ok(_) => sample,
        Err(state) => bare(state),
    }
}

/// Executable, and arguments if they are wanted.
fn named(folder: &Path, parts: SampleParts) -> (Cow<'static, str>, Option<Argv<'static>>) {
    let exe = executable(folder).0;
    if !parts.arguments {
        return (exe, None);
    }
    let bytes = read(&folder.join("cmdline"), ARGUMENTS_MAX + 1);
    (exe, bytes.map(|bytes| argv(bytes, ARGUMENTS_MAX)))
}

/// What `stat` says that a process uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Usage {
    cpu_ns: u64,
    threads: u32,
}

/// Reads `stat`; the state of a process that is not there any more, or cannot be read.
fn usage(folder: &Path, process: ProcessKey) -> Result<Usage, SampleState> {
    match std::fs::symlink_metadata(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(SampleState::Ended);
        }
        Err(_) => return Err(SampleState::Unread),
        Ok(_) => {}
    }
    // It may end between the two.
    let Some(bytes) = read(&folder.join("stat"), FILE_MAX) else {
        let is_there = folder.join("stat").exists();
        return Err(if is_there { SampleState::Unread } else { SampleState::Ended });
    };
    parse(&bytes, process)
}

/// A name may hold spaces and parentheses: fields are counted from the last one that closes.
fn parse(stat: &[u8], process: ProcessKey) -> Result<Usage, SampleState> {
    let end = stat.iter().rposition(|byte| *byte == b')').ok_or(SampleState::Unread)?;
    let text = stat.get(end + 1..).and_then(|rest| std::str::from_utf8(rest).ok());
    let fields: Vec<&str> = text.unwrap_or_default().split_ascii_whitespace().collect();
    let number = |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok());
    let (Some(utime), Some(stime), Some(threads), Some(start)) =
        (number(UTIME), number(STIME), number(THREADS), number(START))
    else {
        return Err(SampleState::Unread);
    };
    // Of the first thread alone: others may run on.
    let has_ended = fields.first().is_some_and(|state| ENDED.contains(state)) && threads <= 1;
    if start != process.start_boot_ns / TICK_NS || has_ended {
        return Err(SampleState::Ended);
    }
    Ok(Usage {
        cpu_ns: utime.saturating_add(stime).saturating_mul(TICK_NS),
        threads: u32::try_from(threads).unwrap_or(u32::MAX),
    })
}

/// Bytes of a field of `status` in KiB; 0 without the field.
fn kib(status: &[u8], name: &[u8]) -> u64 {
    let mut lines = status.split(|byte| *byte == b'\n');
    let line = lines.find_map(|line| line.strip_prefix(name));
    let text = line.and_then(|line| std::str::from_utf8(line).ok()).unwrap_or_default();
    let kib = text.split_ascii_whitespace().next().and_then(|kib| kib.parse::<u64>().ok());
    kib.unwrap_or(0).saturating_mul(1024)
}

/// Bytes of mappings that are executable and of no file, and whether there may be more.
fn executable_memory(maps: &[u8]) -> (u64, bool) {
    let is_cut = maps.len() >= MAPS_MAX;
    let whole = maps.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let lines = maps.get(..whole).unwrap_or_default().split(|byte| *byte == b'\n');
    (lines.filter_map(executable_mapping).fold(0, u64::saturating_add), is_cut)
}

/// Bytes of a mapping if it is executable, anonymous and not the kernel's own: `START-END PERMS OFFSET DEV INODE [NAME]`.
fn executable_mapping(line: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(line).ok()?;
    let mut fields = text.split_ascii_whitespace();
    let (start, end) = fields.next()?.split_once('-')?;
    let is_executable = fields.next()?.contains('x');
    let inode = fields.nth(2)?;
    let name = fields.next().unwrap_or_default();
    let is_anonymous =
        inode == "0" && matches!(name, "" | "[heap]" | "[stack]") || name.starts_with("[anon");
    let number = |text| u64::from_str_radix(text, 16).ok();
    (is_executable && is_anonymous).then(|| Some(number(end)?.saturating_sub(number(start)?)))?
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::super::proc_scan::stat_of;
    use super::*;

    const ALL: SampleParts = SampleParts { usage: true, arguments: true };

    fn own() -> ProcessKey {
        let tgid = std::process::id();
        let start_ticks = stat_of(Path::new("/proc"), tgid).unwrap().start_ticks;
        ProcessKey { start_boot_ns: start_ticks * TICK_NS + 77, tgid }
    }

    #[test]
    fn this_process_is_read_with_what_it_uses_and_no_other_in_its_place() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = listener.local_addr().unwrap();
        let _stream = TcpStream::connect(to).unwrap();
        let machine = MachineRoot::read(Path::new("/proc"));
        let read = |key, parts| {
            let mut around = Around { machine, sockets: Sockets::default() };
            sample(Path::new("/proc"), key, parts, &mut around)
        };
        let first = read(own(), ALL);
        assert_eq!((first.state, first.process), (SampleState::Read, own()));
        assert!(first.threads >= 1 && first.resident_bytes > 100_000 && !first.exe.is_empty());
        assert!(first.connections.iter().any(|one| one.port == to.port()));
        let argv = first.argv.unwrap();
        assert_eq!(argv.iter().next(), std::env::args().next().as_deref());
        // Processor time goes on.
        let mut count = 0u64;
        let later = loop {
            (0..1_000_000u64).for_each(|one| count = std::hint::black_box(count ^ one));
            let later = read(own(), SampleParts { usage: false, arguments: false });
            if later.cpu_ns > first.cpu_ns {
                break later;
            }
        };
        assert_eq!((later.argv, later.connections.len()), (None, 0));
        let another = ProcessKey { start_boot_ns: own().start_boot_ns + TICK_NS, ..own() };
        let nobody = ProcessKey { tgid: u32::MAX, ..own() };
        for key in [another, nobody] {
            let ended = read(key, ALL);
            assert_eq!(
                ended,
                Sample { process: key, state: SampleState::Ended, ..Sample::default() }
            );
        }
    }

    #[test]
    fn a_process_that_was_not_waited_for_has_ended_and_one_without_its_first_thread_has_not() {
        let key = ProcessKey { start_boot_ns: 4711 * TICK_NS, tgid: 7 };
        let line = |state: &str, threads: u32, start: u32| {
            let text = format!(
                "7 (a) b (x) {state} 3 7 7 0 -1 0 0 0 0 0 500 20 0 0 20 0 {threads} 0 {start} 0"
            );
            parse(text.as_bytes(), key)
        };
        let usage = |threads| Usage { cpu_ns: 5_200_000_000, threads };
        assert_eq!(line("S", 1, 4711), Ok(usage(1)));
        assert_eq!(line("Z", 3, 4711), Ok(usage(3)));
        assert_eq!(line("Z", 1, 4711), Err(SampleState::Ended));
        assert_eq!(line("S", 1, 4712), Err(SampleState::Ended));
        assert_eq!(parse(b"7 (a", key), Err(SampleState::Unread));
        assert_eq!(parse(b"7 (a) S 1 x", key), Err(SampleState::Unread));
    }

    #[test]
    fn memory_is_counted_where_it_is_anonymous_and_executable_or_huge() {
        let maps = b"7f00-8000 rwxp 00000000 00:00 0\n8000-9000 r-xp 00000000 00:00 0 [anon: jit]\n\
            9000-a000 r-xp 00000000 08:01 99 /bin/x\na000-b000 rw-p 00000000 00:00 0 \nb000-c000 r-xp 00000000 00:00 0 [vdso]\n\
            c000-d000 r-xp 0 00:00 0 [heap]\nd000-e000 r-xp 0000";
        assert_eq!(executable_memory(maps), (0x100 + 0x1000 + 0x1000, false));
        assert_eq!(executable_memory(b"\xff\xfe\nx-y rwxp 0 0 0\n-\n"), (0, false));
        assert_eq!(executable_memory(&vec![b'x'; MAPS_MAX]), (0, true));
        let huge = |status| kib(status, b"HugetlbPages:");
        assert_eq!(huge(b"Name:\tx\nHugetlbPages:\t    2048 kB\n"), 2 << 20);
        assert_eq!((huge(b"HugetlbPages:\tx kB"), huge(b"")), (0, 0));
    }
}
