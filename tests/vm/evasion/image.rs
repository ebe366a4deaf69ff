//! Programs that run without a name, by another way than their own, or by their loader.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};
use rustix::fs::{Mode, OFlags, open};
use rustix::process::Signal;

use super::call::{at, call, in_child, set_name};
use super::memory::{EXEC, Page, READ};
use super::{EACCES, denial, denials, is_file, pointers, watches};
use crate::harness::{Guest, expect_errno, has_rule, run, wait_for, wait_for_errno};
use crate::scene::Scene;

/// Of the dynamic loader, when it cannot map what it is given.
const CANNOT_LOAD: i32 = 127;
/// Of the program that it is given.
const PROGRAM: i32 = 42;

/// Where a descriptor of this process is a path.
fn descriptor(file: &impl AsRawFd) -> PathBuf {
    format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd()).into()
}

/// Runs a descriptor of this process, as `echo` of an argument that is traced.
fn echo(file: &impl AsRawFd) -> io::Result<()> {
    let mut command = Command::new(descriptor(file));
    command.arg0("echo").arg("trace-me").status().map(drop)
}

/// `execveat` of a descriptor without a path.
fn execute(file: &impl AsRawFd) -> io::Result<()> {
    let (name, argv) = (c"".to_bytes_with_nul(), pointers([at(c"true".to_bytes_with_nul())]));
    let environment = [0_usize];
    in_child(|| {
        let descriptor = file.as_raw_fd() as usize;
        let flags = libc::AT_EMPTY_PATH as usize;
        let (argv, environment) = (at(&*argv), at(&environment));
        call(libc::SYS_execveat, [descriptor, at(name), argv, environment, flags]).map(drop)
    })
}

/// What has no name left, or never had one, is recorded as such.
pub(super) fn without_a_name(guest: &mut Guest) -> anyhow::Result<()> {
    let host = guest.host("tracer", "")?;
    let mode = Mode::RWXU;
    let written = open(guest.path(""), OFlags::TMPFILE | OFlags::RDWR, mode)?;
    let mut written = File::from(written);
    written.write_all(&fs::read("/bin/busybox")?)?;
    // Nobody may run what somebody writes to.
    let unnamed = File::open(descriptor(&written))?;
    drop(written);
    echo(&unnamed)?;
    let named = guest.executable("busybox-named")?;
    let kept = File::open(&named)?;
    echo(&kept)?;
    fs::remove_file(&named)?;
    echo(&kept)?;
    let texts = wait_for("three records", || {
        let mut reports = host.reports()?;
        reports.retain(|report| report["technique"] == "T1622");
        Ok((reports.len() == 3).then_some(reports))
    })?;
    let named = named.to_string_lossy();
    let folder = guest.path("#");
    let expected = ["deleted ", "file ", "deleted "];
    let paths = [&*folder.to_string_lossy(), &*named, &*named];
    for ((record, kind), path) in texts.iter().zip(expected).zip(paths) {
        let text = record["text"].as_str().context("text")?;
        let (_, told) = text.split_once(": ").context("a number")?;
        ensure!(told.starts_with(&format!("{kind}{path}")), "no {kind}{path}: {record}");
        ensure!(told.ends_with(": echo trace-me"), "{record}");
    }
    host.stop(Signal::INT).map(drop)
}

/// A denied program is denied however it is reached.
pub(super) fn by_another_way(guest: &Guest) -> anyhow::Result<Scene<'_>> {
    let (victim, neighbour) = (guest.executable("busybox-a")?, guest.executable("busybox-b")?);
    let script = |name: &str, interpreter: &Path| -> anyhow::Result<PathBuf> {
        let path = guest.path(name);
        fs::write(&path, format!("#!{} true\n", interpreter.display()))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        Ok(path)
    };
    let (denied, free) = (script("denied", &victim)?, script("free", &neighbour)?);
    Ok(Scene::new(vec![format!("exec {} 600000 13", victim.display())], move |host| {
        run(&victim, &["true"])?;
        wait_for_errno(EACCES, || run(&victim, &["true"]))?;
        let kept = File::open(&victim)?;
        expect_errno(EACCES, run(&descriptor(&kept), &["true"]))?;
        expect_errno(EACCES, execute(&kept))?;
        expect_errno(EACCES, run(&denied, &[]))?;
        let other = File::open(&neighbour)?;
        execute(&other)?;
        run(&free, &[])?;
        let object = victim.to_string_lossy();
        let record = denial(host, "bprm_check_security", &object, "sentry")?;
        ensure!(record["errno"] == "EACCES", "{record}");
        wait_for("four records", || Ok((denials(host, &object)?.len() == 4).then_some(())))?;
        Ok(())
    }))
}

/// Bytes of a segment, and where the headers' string and `PT_DYNAMIC` are.
const SEGMENT: u64 = 0x1000;
const NAME: u64 = 0x400;
const DYNAMIC: u64 = 0x200;

/// The least program that the loader maps and starts; of a static one it only asks execve.
/// Layout: `Elf64_Ehdr`, `Elf64_Phdr` and `Elf64_Dyn` of elf.h.
fn dynamic_program() -> Vec<u8> {
    // mov edi, PROGRAM; mov eax, SYS_exit_group; syscall
    let code = [&[0xbf, PROGRAM as u8, 0, 0, 0, 0xb8, 231, 0, 0, 0][..], &[0x0f, 0x05]].concat();
    let segment = |kind: u32, flags: u32, at: u64, size: u64| {
        let kind = u64::from(kind) | u64::from(flags) << 32;
        [kind, at, at, at, size, size, SEGMENT].map(u64::to_le_bytes).concat()
    };
    let mut program = b"\x7fELF\x02\x01\x01".to_vec();
    program.resize(16, 0);
    // ET_DYN, EM_X86_64, a version; entry, segments, sections; sizes and counts of headers.
    program.extend([3, 0, 62, 0, 1, 0, 0, 0]);
    program.extend([SEGMENT, 64, 0].map(u64::to_le_bytes).concat());
    program.extend([0, 0, 64, 56, 4, 0, 0, 0].map(u16::to_le_bytes).concat());
    let (interp, load, dynamic) = (libc::PT_INTERP, libc::PT_LOAD, libc::PT_DYNAMIC);
    program.extend(segment(interp, libc::PF_R, NAME, 1));
    program.extend(segment(load, libc::PF_R | libc::PF_W, 0, SEGMENT));
    program.extend(segment(load, libc::PF_R | libc::PF_X, SEGMENT, code.len() as u64));
    program.extend(segment(dynamic, libc::PF_R | libc::PF_W, DYNAMIC, 80));
    program.resize(DYNAMIC as usize, 0);
    // DT_STRTAB, DT_SYMTAB, DT_STRSZ, DT_SYMENT, DT_NULL
    program.extend([5, NAME, 6, NAME, 10, 1, 11, 24, 0, 0].map(u64::to_le_bytes).concat());
    program.resize(SEGMENT as usize, 0);
    program.extend(code);
    program
}

/// Has the dynamic loader run a program, which ends with an exit code.
fn load(program: &Path, code: i32) -> anyhow::Result<()> {
    let output = Command::new("/krsi/ld.so").arg(program).output()?;
    ensure!(output.status.code() == Some(code), "{program:?}, not {code}: {output:?}");
    Ok(())
}

/// Maps a program to be read, and makes code of it.
fn map_as_code(program: &Path) -> io::Result<()> {
    set_name("by-its-loader")?;
    Page::of_file(READ, libc::MAP_PRIVATE, &File::open(program)?)?.protect(READ | EXEC)
}

/// The loader executes nothing but itself: a rule on executions does not see it, one on mappings does.
pub(super) fn by_its_loader(guest: &mut Guest) -> anyhow::Result<()> {
    let program = |name: &str| -> anyhow::Result<PathBuf> {
        let path = guest.path(name);
        fs::write(&path, dynamic_program())?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        Ok(path)
    };
    let (guarded, neighbour) = (program("guarded")?, program("neighbour")?);
    let is_guarded = is_file("file", &guarded)?;
    let exec = format!(
        "bprm_check_security if {} || {} deny EACCES",
        is_file("bprm.file", &guarded)?,
        is_file("bprm.file", &neighbour)?
    );
    let map = format!("mmap_file: file.f_inode, prot if any(prot, 4) && {is_guarded} deny EACCES");
    let protect = format!(
        "file_mprotect: vma.vm_file.f_inode, prot if any(prot, 4) && {} deny EACCES",
        is_file("vma.vm_file", &guarded)?
    );
    load(&guarded, PROGRAM)?;
    let host = guest.start(&watches(&[&exec, &map, &protect]))?;
    expect_errno(EACCES, run(&guarded, &[]))?;
    expect_errno(EACCES, run(&neighbour, &[]))?;
    load(&neighbour, PROGRAM)?;
    load(&guarded, CANNOT_LOAD)?;
    // Another loader could map what it reads and make that executable.
    expect_errno(EACCES, map_as_code(&guarded))?;
    map_as_code(&neighbour)?;
    let told = [("mmap_file", &map, "ld.so"), ("file_mprotect", &protect, "by-its-loader")];
    for (hook, watch, comm) in told {
        let record = host.report(&[("kind", "verdict"), ("hook", hook), ("comm", comm)])?;
        ensure!(record["verdict"] == "denied" && record["errno"] == "EACCES", "{record}");
        ensure!(has_rule(&record), "{record}");
        ensure!(record["reason"] == format!("watch {watch}"), "{record}");
    }
    host.stop(Signal::INT)?;
    load(&guarded, PROGRAM)?;
    map_as_code(&guarded)?;
    Ok(())
}
