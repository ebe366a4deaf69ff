//! Acts on the kernel itself: modules, BPF, perf, lockdown, clock, log.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

use super::call::{at, call, open};

/// Longer than the header of a module, and none.
const JUNK: [u8; 256] = [b'x'; 256];
const BPF_MAP_CREATE: usize = 0;
const BPF_PROG_LOAD: usize = 5;
const BPF_MAP_TYPE_ARRAY: u32 = 2;
const BPF_PROG_TYPE_SOCKET_FILTER: u32 = 1;
const PERF_TYPE_SOFTWARE: u32 = 1;
/// Bytes of the first `perf_event_attr`, `PERF_ATTR_SIZE_VER0`.
const PERF_ATTR_BYTES: u32 = 64;
/// Action of syslog(2), `SYSLOG_ACTION_SIZE_BUFFER`.
const LOG_SIZE: usize = 10;
/// A family that no kernel here has built in.
const AF_X25: usize = 9;

pub(super) fn read_module(folder: &Path) -> io::Result<()> {
    let file = folder.join("module");
    fs::write(&file, JUNK)?;
    let file = File::open(file)?;
    let options = at(c"".to_bytes_with_nul());
    call(libc::SYS_finit_module, [file.as_raw_fd() as usize, options, 0]).map(drop)
}

pub(super) fn load_module(_folder: &Path) -> io::Result<()> {
    let options = at(c"".to_bytes_with_nul());
    call(libc::SYS_init_module, [at(&JUNK), JUNK.len(), options]).map(drop)
}

pub(super) fn request_module(_folder: &Path) -> io::Result<()> {
    open(libc::SYS_socket, [AF_X25, libc::SOCK_SEQPACKET as usize, 0]).map(drop)
}

pub(super) fn make_map(_folder: &Path) -> io::Result<()> {
    // Type, bytes of a key, bytes of a value, entries.
    let attributes = [BPF_MAP_TYPE_ARRAY, 4, 4, 1];
    open(libc::SYS_bpf, [BPF_MAP_CREATE, at(&attributes), size_of_val(&attributes)]).map(drop)
}

pub(super) fn load_program(_folder: &Path) -> io::Result<()> {
    // r0 = 0; exit
    let code = [0xb7_u64, 0x95];
    let first = u64::from(BPF_PROG_TYPE_SOCKET_FILTER) | (code.len() as u64) << 32;
    let license = at(c"GPL".to_bytes_with_nul());
    let attributes = [first, at(&code) as u64, license as u64];
    open(libc::SYS_bpf, [BPF_PROG_LOAD, at(&attributes), size_of_val(&attributes)]).map(drop)
}

/// Counts the own clock.
pub(super) fn open_perf_event(_folder: &Path) -> io::Result<()> {
    let mut attributes = [0_u32; PERF_ATTR_BYTES as usize / 4];
    let [kind, bytes, ..] = &mut attributes;
    (*kind, *bytes) = (PERF_TYPE_SOFTWARE, PERF_ATTR_BYTES);
    let nothing = usize::MAX;
    open(libc::SYS_perf_event_open, [at(&attributes), 0, nothing, nothing, 0]).map(drop)
}

/// The kernel's memory as a file.
pub(super) fn open_memory(_folder: &Path) -> io::Result<()> {
    File::open("/proc/kcore").map(drop)
}

/// Sets the clock to what it shows.
pub(super) fn set_clock(_folder: &Path) -> io::Result<()> {
    let mut now = [0_u64; 2];
    let clock = libc::CLOCK_REALTIME as usize;
    call(libc::SYS_clock_gettime, [clock, (&raw mut now) as usize])?;
    call(libc::SYS_clock_settime, [clock, at(&now)]).map(drop)
}

pub(super) fn ask_log(_folder: &Path) -> io::Result<()> {
    call(libc::SYS_syslog, [LOG_SIZE, 0, 0]).map(drop)
}
