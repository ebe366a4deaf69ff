//! The acts that are priced and the batches they are done in.
//!
//! The worker does them: a process of its own, because the driver is the host, whose calls ours let
//! pass unseen.

use std::fmt::{self, Display};
use std::fs::Permissions;
use std::io::{self, BufRead, Write};
use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::str::FromStr;

use anyhow::{Context, ensure};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap_anonymous, mprotect};
use rustix::time::{ClockId, clock_gettime};

/// The file that is opened.
const FILE: &str = "/tmp/f";
/// Scripts, each of which names the next one as its interpreter. The last names nothing that there
/// is, so that the execution is given up once all of them have passed the hook.
const SCRIPTS: [&str; 6] = ["/tmp/1", "/tmp/2", "/tmp/3", "/tmp/4", "/tmp/5", "/tmp/6"];
/// Nobody has to listen for a datagram socket to connect.
const DESTINATION: &str = "127.0.0.1:9";
/// Bytes of a page of this machine.
const PAGE: usize = 4096;

/// Something whose price is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Act {
    /// open(2) and close(2) of a file in memory.
    Open,
    /// execve(2) of a script, by its share of one of [`SCRIPTS`]: memory for the new image costs so much
    /// and so differently that a single call of the hook would drown in it.
    Exec,
    /// connect(2) of a datagram socket.
    Connect,
    /// mprotect(2) of a page, from writable to not and back.
    Mprotect,
}

impl Act {
    pub const ALL: [Act; 4] = [Act::Open, Act::Exec, Act::Connect, Act::Mprotect];

    /// The kernel's name of the hook.
    pub const fn hook(self) -> &'static str {
        match self {
            Act::Open => "file_open",
            Act::Exec => "bprm_check_security",
            Act::Connect => "socket_connect",
            Act::Mprotect => "file_mprotect",
        }
    }

    /// Calls of the hook in a batch: about a million instructions, a quarter of the time between two ticks.
    pub const fn batch(self) -> u32 {
        match self {
            Act::Open => 150,
            Act::Exec => 8 * SCRIPTS.len() as u32,
            Act::Connect | Act::Mprotect => 300,
        }
    }

    /// Rounds of batches, until each has met its cheapest: an execution's memory costs now more, now less.
    pub const fn rounds(self) -> u32 {
        match self {
            Act::Exec => 12,
            Act::Open | Act::Connect | Act::Mprotect => 5,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Act::Open => "open",
            Act::Exec => "exec",
            Act::Connect => "connect",
            Act::Mprotect => "mprotect",
        }
    }
}

impl Display for Act {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(self.name())
    }
}

impl FromStr for Act {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let found = Act::ALL.into_iter().find(|act| act.name() == text);
        found.with_context(|| format!("{text:?} is no act"))
    }
}

/// Answers each line `ACT CALLS` with the nanoseconds that so many calls took.
pub fn work() -> anyhow::Result<()> {
    std::fs::write(FILE, "f")?;
    for (script, next) in SCRIPTS.iter().zip(SCRIPTS.iter().skip(1).chain(&["/tmp/none"])) {
        std::fs::write(script, format!("#!{next}\n"))?;
        std::fs::set_permissions(script, Permissions::from_mode(0o755))?;
    }
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    let mut page = Page::new()?;
    let mut out = io::stdout().lock();
    for line in io::stdin().lock().lines() {
        let line = line?;
        let (act, calls) = line.split_once(' ').context("ACT CALLS")?;
        let (act, calls): (Act, u32) = (act.parse()?, calls.parse()?);
        let nanos = match act {
            Act::Open => time(calls, open)?,
            Act::Exec => time(calls / SCRIPTS.len() as u32, exec)?,
            Act::Connect => time(calls, || Ok(socket.connect(DESTINATION)?))?,
            Act::Mprotect => time(calls, || page.flip())?,
        };
        writeln!(out, "{nanos}")?;
        out.flush()?;
    }
    Ok(())
}

fn time(calls: u32, mut act: impl FnMut() -> anyhow::Result<()>) -> anyhow::Result<i64> {
    let start = clock_gettime(ClockId::Monotonic);
    for _ in 0..calls {
        act()?;
    }
    let end = clock_gettime(ClockId::Monotonic);
    Ok((end.tv_sec - start.tv_sec) * 1_000_000_000 + end.tv_nsec - start.tv_nsec)
}

fn open() -> anyhow::Result<()> {
    drop(rustix::fs::openat(CWD, FILE, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?);
    Ok(())
}

fn exec() -> anyhow::Result<()> {
    let refused = Command::new(SCRIPTS[0]).exec();
    ensure!(refused.kind() == io::ErrorKind::NotFound, "execve: {refused}");
    Ok(())
}

/// A page of memory.
struct Page {
    address: *mut core::ffi::c_void,
    writable: bool,
}

impl Page {
    fn new() -> anyhow::Result<Self> {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping wherever the kernel has room; nothing else lies there.
        let address =
            unsafe { mmap_anonymous(core::ptr::null_mut(), PAGE, protection, MapFlags::PRIVATE)? };
        Ok(Self { address, writable: true })
    }

    /// Changes the protection of the page.
    fn flip(&mut self) -> anyhow::Result<()> {
        self.writable = !self.writable;
        let write = if self.writable { MprotectFlags::WRITE } else { MprotectFlags::empty() };
        // SAFETY: the page is this structure's own, and nobody reads or writes it.
        unsafe { mprotect(self.address, PAGE, MprotectFlags::READ | write)? };
        Ok(())
    }
}
