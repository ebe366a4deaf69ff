//! `/proc/PID/net` and `/proc/PID/fd` → the open connections of a process, in its own network namespace.
//!
//! The tables of a namespace are read once, through the first process that is asked about; a connection that was
//! made later is not in them, and is an event of `socket_connect`.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::fs;
use std::io::Read;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use krsi_plugin_schema::latest::Connect;
use procfs_core::net::{TcpNetEntries, TcpNetEntry, TcpState, UdpNetEntries};
use procfs_core::{ExplicitSystemInfo, FromBufReadSI};

/// Bytes that are read of one table of a namespace: some 50,000 sockets.
const TABLE_MAX: u64 = 8 << 20;
/// Descriptors that are looked at of one process.
const DESCRIPTORS_MAX: usize = 4096;
/// Connections that are told of one process.
const CONNECTIONS_MAX: usize = 1024;
/// Namespaces whose tables are kept.
const NAMESPACES_MAX: usize = 64;

/// Where the parser looks for what it needs of a machine: of all that, tables need the order of bytes alone.
const MACHINE: ExplicitSystemInfo = ExplicitSystemInfo {
    boot_time_secs: 0,
    ticks_per_second: 100,
    page_size: 4096,
    is_little_endian: cfg!(target_endian = "little"),
};

/// Connections of a namespace by the inode number of their socket.
#[derive(Debug, Default)]
struct Namespace {
    connections: HashMap<u64, Connect>,
    /// Whether a table could not be read to its end.
    cut: bool,
}

/// Sockets of the network namespaces that were looked into.
#[derive(Debug, Default)]
pub(crate) struct Sockets {
    namespaces: HashMap<u64, Namespace>,
}

/// Connections of a process.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Connections {
    pub(crate) found: Vec<Connect>,
    /// Whether there are more, or some could not be read.
    pub(crate) cut: bool,
}

impl Sockets {
    /// Open connections of a process; none of one that is gone.
    pub(crate) fn of(&mut self, process: &Path) -> Connections {
        let sockets = match descriptors(process) {
            Some(sockets) => sockets,
            None => return Connections { cut: true, ..Connections::default() },
        };
        if sockets.inodes.is_empty() {
            return Connections { cut: sockets.cut, ..Connections::default() };
        }
        // What a link of the kernel's names has the namespace's number.
        let Ok(namespace) = fs::metadata(process.join("ns/net")) else {
            return Connections { cut: true, ..Connections::default() };
        };
        if self.namespaces.len() >= NAMESPACES_MAX
            && !self.namespaces.contains_key(&namespace.ino())
        {
            self.namespaces.clear();
        }
        let number = namespace.ino();
        let namespace = match self.namespaces.entry(number) {
            Entry::Occupied(read) => read.into_mut(),
            Entry::Vacant(place) => {
                let read = Namespace::read(process);
                // Another one's tables, or none, if it ended or left its namespace meanwhile.
                let now = fs::metadata(process.join("ns/net"));
                if !now.is_ok_and(|now| now.ino() == number) {
                    return Connections { cut: true, ..Connections::default() };
                }
                place.insert(read)
            }
        };
        let known = sockets.inodes.iter().filter_map(|inode| namespace.connections.get(inode));
        let mut found: Vec<Connect> = known.copied().collect();
        let cut = sockets.cut || namespace.cut || found.len() > CONNECTIONS_MAX;
        found.truncate(CONNECTIONS_MAX);
        Connections { found, cut }
    }
}

impl Namespace {
    fn read(process: &Path) -> Self {
        let mut namespace = Self::default();
        for name in ["net/tcp", "net/tcp6"] {
            let entries = namespace.table(&process.join(name), |bytes| {
                TcpNetEntries::from_buf_read(bytes, &MACHINE).ok().map(|entries| entries.0)
            });
            let listens = |entry: &&TcpNetEntry| entry.state == TcpState::Listen;
            let listens = entries.iter().filter(listens).map(|entry| entry.local_address.port());
            let listens: HashSet<u16> = listens.collect();
            // What was accepted is somebody else's connection.
            let is_own = |entry: &&TcpNetEntry| !listens.contains(&entry.local_address.port());
            for entry in entries.iter().filter(is_own) {
                namespace.add(entry.inode, entry.remote_address, (6, 1));
            }
        }
        for name in ["net/udp", "net/udp6"] {
            let entries = namespace.table(&process.join(name), |bytes| {
                UdpNetEntries::from_buf_read(bytes, &MACHINE).ok().map(|entries| entries.0)
            });
            for entry in entries {
                namespace.add(entry.inode, entry.remote_address, (17, 2));
            }
        }
        namespace
    }

    /// Rows of a table, as many as fit; none where the kernel has no such protocol.
    fn table<T>(&mut self, path: &Path, parse: impl Fn(&[u8]) -> Option<Vec<T>>) -> Vec<T> {
        let Ok(file) = fs::File::open(path) else { return Vec::new() };
        let mut bytes = Vec::new();
        let read = file.take(TABLE_MAX).read_to_end(&mut bytes);
        self.cut |= read.is_err() || bytes.len() as u64 == TABLE_MAX;
        // The last line may be cut.
        let end = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        bytes.truncate(end);
        let rows = parse(&bytes);
        self.cut |= rows.is_none();
        rows.unwrap_or_default()
    }

    fn add(&mut self, inode: u64, to: SocketAddr, (protocol, kind): (u16, u16)) {
        // A socket that nobody holds any more has no number, one that is not connected has no port.
        if inode == 0 || to.port() == 0 {
            return;
        }
        let address = to.ip().to_canonical();
        let family = if to.is_ipv6() { 10 } else { 2 };
        let connect = Connect { address: Some(address), port: to.port(), family, protocol, kind };
        self.connections.insert(inode, connect);
    }
}

/// Sockets among the descriptors of a process.
struct Descriptors {
    inodes: Vec<u64>,
    cut: bool,
}

fn descriptors(process: &Path) -> Option<Descriptors> {
    let mut all = Descriptors { inodes: Vec::new(), cut: false };
    for (at, entry) in fs::read_dir(process.join("fd")).ok()?.enumerate() {
        if at >= DESCRIPTORS_MAX {
            all.cut = true;
            break;
        }
        let Ok(entry) = entry else { break };
        let Ok(link) = fs::read_link(entry.path()) else { continue };
        all.inodes.extend(socket(link.as_os_str().as_bytes()));
    }
    all.inodes.sort_unstable();
    all.inodes.dedup();
    Some(all)
}

/// The number in `socket:[NUMBER]`.
fn socket(link: &[u8]) -> Option<u64> {
    let number = link.strip_prefix(b"socket:[")?.strip_suffix(b"]")?;
    std::str::from_utf8(number).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};

    use super::*;

    const HEADER: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n";

    #[test]
    fn links_of_sockets_are_told_from_others() {
        assert_eq!(socket(b"socket:[4711]"), Some(4711));
        for link in [&b"pipe:[4711]"[..], b"socket:[]", b"socket:[1", b"/tmp/socket:[1]", b"\xff"] {
            assert_eq!(socket(link), None);
        }
    }

    #[test]
    fn tables_that_are_cut_or_hostile_say_so_and_whole_lines_are_read() {
        let folder = std::env::temp_dir().join(format!("sockets-{}", std::process::id()));
        fs::create_dir_all(folder.join("net")).unwrap();
        let row = |local: &str, remote: &str, state: &str, inode: &str| {
            format!(
                "   0: 0100007F:{local} {remote} {state} 00000000:00000000 00:00000000 00000000     0        0 {inode} 1 0000000000000000 100 0 0 10 0\n"
            )
        };
        let all = [
            row("9C40", "0A0200C0:0D05", "01", "7"),
            row("0035", "00000000:0000", "0A", "8"),
            // Accepted: the connection of whom it comes from.
            row("0035", "0A0200C0:0D05", "01", "9"),
            row("9C41", "0A0200C0:0D05", "06", "0"),
        ];
        let text = format!("{HEADER}{}   1: 01000", all.concat());
        fs::write(folder.join("net/tcp"), &text).unwrap();
        let read = Namespace::read(&folder);
        let to = Connect {
            address: Some(Ipv4Addr::new(192, 0, 2, 10).into()),
            port: 3333,
            family: 2,
            protocol: 6,
            kind: 1,
        };
        assert_eq!((read.connections, read.cut), (HashMap::from([(7, to)]), false));
        fs::write(folder.join("net/tcp"), format!("{HEADER}\u{202e} x y z\n")).unwrap();
        let read = Namespace::read(&folder);
        assert_eq!((read.connections.len(), read.cut), (0, true));
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn connections_of_this_process_are_found_over_both_versions_and_protocols() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = listener.local_addr().unwrap();
        let stream = TcpStream::connect(to).unwrap();
        let accepted = listener.accept().unwrap();
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        udp.connect(to).unwrap();
        let found = Sockets::default().of(Path::new("/proc/self"));
        for protocol in [6, 17] {
            let is = |one: &&Connect| (one.protocol, one.port) == (protocol, to.port());
            let own = found.found.iter().find(is).unwrap();
            assert_eq!(own.address, Some(to.ip()));
        }
        // The other end of it is here too, and nobody's connection but the first's.
        let from = stream.local_addr().unwrap();
        assert_eq!(accepted.1, from);
        assert!(found.found.iter().all(|one| one.port != from.port()));
        assert!(Sockets::default().of(Path::new("/proc/0")).cut);
    }
}
