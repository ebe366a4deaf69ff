//! Memory that was written becomes code: writable and executable at a time, one after the other, or
//! as two views of the same.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use anyhow::{Context, ensure};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::Signal;
use serde_json::Value;

use super::call::call;
use super::{EACCES, watches};
use crate::harness::{Guest, Host, expect_errno, has_rule, wait_for};

const PAGE: usize = 4096;
pub(super) const READ: usize = libc::PROT_READ as usize;
const WRITE: usize = libc::PROT_WRITE as usize;
pub(super) const EXEC: usize = libc::PROT_EXEC as usize;
const ANONYMOUS: usize = (libc::MAP_ANONYMOUS | libc::MAP_PRIVATE) as usize;

/// Nothing but a file with a name may be code, and no memory that can be written to.
const WATCHES: [&str; 3] = [
    "mmap_file: prot, flags if any(prot, 4) && !present(file.f_flags) deny EACCES",
    "mmap_file: prot, flags if any(prot, 4) && file.f_inode.i_nlink == 0 deny EACCES",
    "file_mprotect: prot, vma.vm_flags as flags if any(prot, 4) && (any(vma.vm_flags, 2) \
     || !present(vma.vm_file.f_flags) || vma.vm_file.f_inode.i_nlink == 0) deny EACCES",
];

/// A page of memory; unmapped when dropped.
pub(super) struct Page(usize);

impl Page {
    fn new(protection: usize, flags: usize, descriptor: usize) -> io::Result<Self> {
        call(libc::SYS_mmap, [0, PAGE, protection, flags, descriptor, 0]).map(Self)
    }

    fn anonymous(protection: usize) -> io::Result<Self> {
        Self::new(protection, ANONYMOUS, usize::MAX)
    }

    pub(super) fn of_file(protection: usize, flags: i32, file: &impl AsRawFd) -> io::Result<Self> {
        Self::new(protection, flags as usize, file.as_raw_fd() as usize)
    }

    pub(super) fn protect(&self, protection: usize) -> io::Result<()> {
        call(libc::SYS_mprotect, [self.0, PAGE, protection]).map(drop)
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        let _unmapped = call(libc::SYS_munmap, [self.0, PAGE]);
    }
}

fn writable_and_executable() -> io::Result<()> {
    Page::anonymous(READ | WRITE | EXEC).map(drop)
}

fn executable_after_written() -> io::Result<()> {
    Page::anonymous(READ | WRITE)?.protect(READ | EXEC)
}

/// At no time both.
fn executable_after_read_only() -> io::Result<()> {
    let page = Page::anonymous(READ | WRITE)?;
    page.protect(READ)?;
    page.protect(READ | EXEC)
}

fn second_view() -> io::Result<()> {
    let memory = File::from(memfd_create("memory", MemfdFlags::CLOEXEC)?);
    memory.set_len(PAGE as u64)?;
    let _written = Page::of_file(READ | WRITE, libc::MAP_SHARED, &memory)?;
    Page::of_file(READ | EXEC, libc::MAP_SHARED, &memory).map(drop)
}

fn view_that_changes() -> io::Result<()> {
    let memory = File::from(memfd_create("memory", MemfdFlags::CLOEXEC)?);
    memory.set_len(PAGE as u64)?;
    let page = Page::of_file(READ | WRITE, libc::MAP_SHARED, &memory)?;
    page.protect(READ)?;
    page.protect(READ | EXEC)
}

fn shared_segment() -> io::Result<()> {
    let segment = call(libc::SYS_shmget, [libc::IPC_PRIVATE as usize, PAGE, 0o700])?;
    let attached = call(libc::SYS_shmat, [segment, 0, libc::SHM_EXEC as usize]);
    if let Ok(address) = &attached {
        call(libc::SYS_shmdt, [*address])?;
    }
    call(libc::SYS_shmctl, [segment, libc::IPC_RMID as usize, 0])?;
    attached.map(drop)
}

/// How memory gains code, and the watch and the protections of its record.
type CodeGain = (fn() -> io::Result<()>, u64, &'static str);

const ACTS: [CodeGain; 6] = [
    (writable_and_executable, 0, "7"),
    (executable_after_written, 2, "5"),
    (executable_after_read_only, 2, "5"),
    (second_view, 1, "5"),
    (view_that_changes, 2, "5"),
    (shared_segment, 1, "7"),
];

/// Checks that each act succeeds.
fn succeed() -> anyhow::Result<()> {
    let act =
        |(number, (act, ..)): (usize, &CodeGain)| act().with_context(|| format!("act {number}"));
    ACTS.iter().enumerate().try_for_each(act)
}

/// What a program does all the time.
fn neighbours() -> io::Result<()> {
    Page::anonymous(READ | WRITE)?.protect(READ)?;
    let program = File::open("/bin/busybox")?;
    let page = Page::of_file(READ, libc::MAP_PRIVATE, &program)?;
    page.protect(READ | EXEC)?;
    Page::of_file(READ | EXEC, libc::MAP_PRIVATE, &program).map(drop)
}

/// Watch and protections of what was seen of this process.
fn seen(host: &Host) -> anyhow::Result<Vec<(u64, String)>> {
    let own = |report: &Value| report["kind"] == "watch" && report["tgid"] == std::process::id();
    let told = |report: &Value| -> anyhow::Result<(u64, String)> {
        ensure!(report["verdict"] == "denied", "{report}");
        let watch = report["watch"].as_u64().with_context(|| report.to_string())?;
        let prot = report["fields"][0][1].as_str().with_context(|| report.to_string())?;
        Ok((watch, prot.to_owned()))
    };
    host.reports()?.iter().filter(|report| own(report)).map(told).collect()
}

pub(super) fn gains_code(guest: &mut Guest) -> anyhow::Result<()> {
    succeed()?;
    let host = guest.start(&watches(&WATCHES))?;
    for (act, watch, prot) in ACTS {
        expect_errno(EACCES, act()).with_context(|| format!("watch {watch}, prot {prot}"))?;
    }
    neighbours().context("a neighbour")?;
    let expected: Vec<_> =
        ACTS.iter().map(|(_, watch, prot)| (*watch, (*prot).to_owned())).collect();
    let seen = wait_for("a record of each act", || {
        let seen = seen(&host)?;
        Ok((seen.len() >= expected.len()).then_some(seen))
    })?;
    ensure!(seen == expected, "{seen:?}");
    for hook in ["mmap_file", "file_mprotect"] {
        let record = host.report(&[("kind", "verdict"), ("hook", hook)])?;
        ensure!(record["plugin"] == "administrator" && record["errno"] == "EACCES", "{record}");
        ensure!(has_rule(&record), "{record}");
    }
    host.stop(Signal::INT)?;
    succeed()
}
