//! Memory that changes under an execve: what is recorded is what ran, what is judged is what would run.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, ensure};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::Signal;

use super::call::{at, call, in_child, path};
use super::{EACCES, denial, execve, pointers};
use crate::harness::{Guest, expect_errno, repeats, run, wait_for, wait_for_errno};
use crate::scene::Scene;

/// Enough for either text to win at times.
fn rounds() -> usize {
    repeats(24, 2400)
}

const PAGE: usize = 4096;

/// Does something with the address of a string that another thread, and processes that share it,
/// see change between two texts all the while.
fn while_changing<T>(
    texts: [&[u8]; 2],
    act: impl FnOnce(usize) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let memory = File::from(memfd_create("changing", MemfdFlags::CLOEXEC)?);
    memory.set_len(PAGE as u64)?;
    let change = || texts.iter().try_for_each(|text| memory.write_all_at(text, 0));
    change()?;
    let (protection, flags) = (libc::PROT_READ as usize, libc::MAP_SHARED as usize);
    let descriptor = memory.as_raw_fd() as usize;
    let address = call(libc::SYS_mmap, [0, PAGE, protection, flags, descriptor, 0])?;
    let over = AtomicBool::new(false);
    let result = std::thread::scope(|scope| {
        let changing = scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                change()?;
            }
            anyhow::Ok(())
        });
        let result = act(address);
        over.store(true, Ordering::Relaxed);
        changing.join().map_err(|_| anyhow::anyhow!("the changing thread panicked"))??;
        result
    });
    call(libc::SYS_munmap, [address, PAGE])?;
    result
}

/// Has a child execute something that writes into a file.
fn execute_into(out: &File, program: usize, argv: &[usize]) -> std::io::Result<()> {
    in_child(|| {
        call(libc::SYS_dup2, [out.as_raw_fd() as usize, 1])?;
        execve(program, argv)
    })
}

/// That a race was one: each of the two texts won at least once.
fn both(lines: &[&str], texts: [&str; 2]) -> anyhow::Result<()> {
    ensure!(texts.iter().all(|text| lines.iter().any(|line| line == text)), "no race: {lines:?}");
    Ok(())
}

pub(super) fn of_arguments(guest: &mut Guest) -> anyhow::Result<()> {
    let program = guest.path("trace-me");
    fs::copy("/bin/busybox", &program)?;
    let host = guest.host("tracer", "")?;
    let (ran, texts) = (guest.path("ran"), ["a".repeat(100), "b".repeat(100)]);
    let out = File::create(&ran)?;
    let name = path(&program)?;
    while_changing([texts[0].as_bytes(), texts[1].as_bytes()], |changing| {
        // It says itself what it was given.
        let argv = pointers([at(c"echo".to_bytes_with_nul()), changing]);
        for _ in 0..rounds() {
            execute_into(&out, at(name.to_bytes_with_nul()), &argv)?;
        }
        Ok(())
    })?;
    let ran = fs::read_to_string(ran)?;
    let lines: Vec<&str> = ran.lines().collect();
    both(&lines, [&texts[0], &texts[1]])?;
    let told = wait_for("a record of each execution", || {
        let mut reports = host.reports()?;
        reports.retain(|report| report["kind"] == "alert");
        Ok((reports.len() >= rounds()).then_some(reports))
    })?;
    ensure!(told.len() == lines.len(), "{} records of {} executions", told.len(), lines.len());
    for (record, line) in told.iter().zip(&lines) {
        let text = record["text"].as_str().context("text")?;
        ensure!(text.ends_with(&format!("/trace-me: echo {line}")), "ran {line}: {record}");
    }
    host.stop(Signal::INT).map(drop)
}

pub(super) fn of_executables(guest: &Guest) -> anyhow::Result<Scene<'_>> {
    let (denied, free) = (guest.executable("busybox-a")?, guest.executable("busybox-b")?);
    Ok(Scene::new(vec![format!("exec {} 600000 13", denied.display())], move |host| {
        run(&denied, &["true"])?;
        wait_for_errno(EACCES, || run(&denied, &["true"]))?;
        let ran = guest.path("ran");
        let out = File::create(&ran)?;
        let names = [path(&denied)?, path(&free)?];
        let mut refusals = 0;
        while_changing([names[0].as_bytes(), names[1].as_bytes()], |changing| {
            // It says itself what it is.
            let strings = [c"readlink", c"/proc/self/exe"].map(|text| at(text.to_bytes_with_nul()));
            let argv = pointers(strings);
            for _ in 0..rounds() {
                let result = execute_into(&out, changing, &argv);
                if result.is_err() {
                    expect_errno(EACCES, result)?;
                    refusals += 1;
                }
            }
            Ok(())
        })?;
        let ran = fs::read_to_string(ran)?;
        ensure!(refusals > 0 && ran.lines().count() + refusals == rounds(), "{refusals} and {ran}");
        ensure!(ran.lines().count() > 0, "no race: {refusals} refusals");
        ensure!(ran.lines().all(|line| Path::new(line) == free), "{ran}");
        let object = denied.to_string_lossy();
        let record = denial(host, "bprm_check_security", &object, "sentry")?;
        ensure!(record["errno"] == "EACCES", "{record}");
        Ok(())
    }))
}
