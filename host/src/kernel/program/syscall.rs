//! The calls of bpf(2) that aya does not offer: loading any program type, attaching, asking.
//!
//! Layouts are those of `include/uapi/linux/bpf.h`, by way of aya-obj's bindings.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use aya_obj::generated::{
    BPF_F_SLEEPABLE, bpf_attach_type, bpf_attr, bpf_cmd, bpf_func_info, bpf_insn, bpf_link_info,
    bpf_link_type, bpf_prog_info, bpf_prog_type,
};

/// Bytes of a verifier log that are kept: its end says why.
const LOG_BYTES: usize = 1 << 24;

/// How a program is attached to its function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttachType {
    /// `BPF_PROG_TYPE_LSM` on `bpf_lsm_*`.
    Lsm,
    /// `BPF_MODIFY_RETURN` on `security_*`.
    ModifyReturn,
    /// `BPF_TRACE_FEXIT`: after the function, with its return value.
    Exit,
    /// `BPF_TRACE_RAW_TP` on `btf_trace_*`.
    Tracepoint,
    /// `BPF_TRACE_ITER` for `bpf_iter_*`: called while its file is read.
    Iterator,
    /// `BPF_PROG_TYPE_RAW_TRACEPOINT`: attached to nothing, run by [`run`].
    Run,
}

/// Whether a program may sleep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sleep {
    /// The program may not sleep.
    Never,
    /// It may, and so may call helpers that read user memory.
    Allowed,
}

/// A program to load.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Program<'a> {
    /// Name of the program, for people; cut to 15 bytes.
    pub name: &'a str,
    /// Instructions of the program, relocated.
    pub instructions: &'a [bpf_insn],
    /// Attach type of the program.
    pub attach_type: AttachType,
    /// BTF id of the function or tracepoint typedef, in vmlinux.
    pub target: u32,
    /// Whether it may sleep.
    pub sleep: Sleep,
    /// Types of its functions: global ones are verified once, each by itself.
    pub functions: Option<(BorrowedFd<'a>, &'a [bpf_func_info])>,
}

/// Why the kernel did not take a program.
#[derive(Debug, thiserror::Error)]
#[error("the kernel refuses the program: {source}{}", said(log))]
pub struct Refusal {
    /// Errno of the system call.
    #[source]
    pub source: io::Error,
    /// The verifier's last words, if it said any.
    pub log: String,
}

fn said(log: &str) -> String {
    // The last line but the statistics is the reason.
    let statistics = |line: &&str| !line.starts_with("processed ") && !line.is_empty();
    let line = log.lines().rev().find(statistics).unwrap_or_default();
    if line.is_empty() { String::new() } else { format!(": {line}") }
}

const LICENSE: &std::ffi::CStr = c"Dual MIT/GPL";

/// Loads a program; the verifier's words are asked for only when it is refused.
///
/// # Errors
/// With the errno and the verifier's log.
pub(crate) fn load(program: &Program<'_>) -> Result<OwnedFd, Refusal> {
    match try_load(program, &mut []) {
        Ok(fd) => Ok(fd),
        Err(source) => {
            let mut log = vec![0; LOG_BYTES];
            match try_load(program, &mut log) {
                Ok(fd) => Ok(fd),
                // A log that does not fit hides the reason of the first refusal.
                Err(second) => {
                    let end = log.iter().position(|byte| *byte == 0).unwrap_or(log.len());
                    log.truncate(end);
                    let source =
                        if second.raw_os_error() == Some(libc::ENOSPC) { source } else { second };
                    Err(Refusal { source, log: String::from_utf8_lossy(&log).into_owned() })
                }
            }
        }
    }
}

fn try_load(program: &Program<'_>, log: &mut [u8]) -> io::Result<OwnedFd> {
    let (kind, attach) = match program.attach_type {
        AttachType::Lsm => (bpf_prog_type::BPF_PROG_TYPE_LSM, bpf_attach_type::BPF_LSM_MAC),
        AttachType::ModifyReturn => {
            (bpf_prog_type::BPF_PROG_TYPE_TRACING, bpf_attach_type::BPF_MODIFY_RETURN)
        }
        AttachType::Exit => {
            (bpf_prog_type::BPF_PROG_TYPE_TRACING, bpf_attach_type::BPF_TRACE_FEXIT)
        }
        AttachType::Tracepoint => {
            (bpf_prog_type::BPF_PROG_TYPE_TRACING, bpf_attach_type::BPF_TRACE_RAW_TP)
        }
        AttachType::Iterator => {
            (bpf_prog_type::BPF_PROG_TYPE_TRACING, bpf_attach_type::BPF_TRACE_ITER)
        }
        // It has no type of attachment; the kernel wants the first one, whose number is 0.
        AttachType::Run => {
            (bpf_prog_type::BPF_PROG_TYPE_RAW_TRACEPOINT, bpf_attach_type::BPF_CGROUP_INET_INGRESS)
        }
    };
    let mut attr = empty();
    // SAFETY: the arm of the union that BPF_PROG_LOAD reads; all its fields are plain numbers.
    let load = unsafe { &mut attr.__bindgen_anon_3 };
    load.prog_type = kind as u32;
    load.expected_attach_type = attach as u32;
    load.insns = program.instructions.as_ptr() as u64;
    load.insn_cnt = u32::try_from(program.instructions.len()).unwrap_or(u32::MAX);
    load.license = LICENSE.as_ptr() as u64;
    load.attach_btf_id = program.target;
    if program.sleep == Sleep::Allowed {
        load.prog_flags = BPF_F_SLEEPABLE;
    }
    if let Some((types, functions)) = program.functions {
        load.prog_btf_fd = types.as_raw_fd() as u32;
        load.func_info = functions.as_ptr() as u64;
        load.func_info_cnt = u32::try_from(functions.len()).unwrap_or(u32::MAX);
        load.func_info_rec_size = size_of::<bpf_func_info>() as u32;
    }
    // One byte stays for the NUL; the kernel takes letters, digits, `_` and `.`.
    for (slot, byte) in load.prog_name.iter_mut().take(15).zip(program.name.bytes()) {
        *slot = byte as core::ffi::c_char;
    }
    if !log.is_empty() {
        load.log_level = 1;
        load.log_buf = log.as_mut_ptr() as u64;
        load.log_size = u32::try_from(log.len()).unwrap_or(u32::MAX);
    }
    let fd = bpf(bpf_cmd::BPF_PROG_LOAD, &mut attr)?;
    // SAFETY: the kernel has just returned this descriptor and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Loads type information.
///
/// # Errors
/// What the kernel says.
pub(crate) fn load_types(types: &[u8]) -> io::Result<OwnedFd> {
    let mut attr = empty();
    // SAFETY: the arm of the union that BPF_BTF_LOAD reads; its pointer outlives the call.
    let load = unsafe { &mut attr.__bindgen_anon_7 };
    load.btf = types.as_ptr() as u64;
    load.btf_size = u32::try_from(types.len()).unwrap_or(u32::MAX);
    let fd = bpf(bpf_cmd::BPF_BTF_LOAD, &mut attr)?;
    // SAFETY: the kernel has just returned this descriptor and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Attaches a tracing or LSM program to the function it was loaded for. Closing the descriptor
/// detaches it.
///
/// # Errors
/// What the kernel says.
pub(crate) fn attach(program: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let mut attr = empty();
    attr.raw_tracepoint.prog_fd = program.as_raw_fd() as u32;
    let fd = bpf(bpf_cmd::BPF_RAW_TRACEPOINT_OPEN, &mut attr)?;
    // SAFETY: the kernel has just returned this descriptor and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Makes an iterator of a program that was loaded for one.
///
/// # Errors
/// What the kernel says.
pub(crate) fn iterator(program: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let mut attr = empty();
    attr.link_create.__bindgen_anon_1.prog_fd = program.as_raw_fd() as u32;
    attr.link_create.attach_type = bpf_attach_type::BPF_TRACE_ITER as u32;
    let fd = bpf(bpf_cmd::BPF_LINK_CREATE, &mut attr)?;
    // SAFETY: the kernel has just returned this descriptor and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Opens a file in which an iterator's program is asked of each object.
///
/// # Errors
/// What the kernel says.
pub(crate) fn iterate(iterator: BorrowedFd<'_>) -> io::Result<File> {
    let mut attr = empty();
    attr.iter_create.link_fd = iterator.as_raw_fd() as u32;
    let fd = bpf(bpf_cmd::BPF_ITER_CREATE, &mut attr)?;
    // SAFETY: the kernel has just returned this descriptor and nobody else knows it.
    Ok(unsafe { File::from_raw_fd(fd) })
}

/// Runs a program of [`AttachType::Run`] once, with arguments; what it answers.
///
/// # Errors
/// What the kernel says.
pub(crate) fn run(program: BorrowedFd<'_>, arguments: &[u64]) -> io::Result<u32> {
    let mut attr = empty();
    // SAFETY: the arm of the union that BPF_PROG_TEST_RUN reads and writes; its pointer outlives the call.
    unsafe {
        let test = &mut attr.test;
        test.prog_fd = program.as_raw_fd() as u32;
        test.ctx_in = arguments.as_ptr() as u64;
        test.ctx_size_in = u32::try_from(size_of_val(arguments)).unwrap_or(u32::MAX);
        bpf(bpf_cmd::BPF_PROG_TEST_RUN, &mut attr)?;
        Ok(attr.test.retval)
    }
}

/// Writes the one value of an array map and makes it constant, for user space and programs alike.
///
/// # Errors
/// What the kernel says.
pub(crate) fn freeze(map: BorrowedFd<'_>, value: &[u8]) -> io::Result<()> {
    let key = 0u32;
    let mut attr = empty();
    // SAFETY: the arm of the union that BPF_MAP_UPDATE_ELEM reads; its pointers outlive the call.
    unsafe {
        let element = &mut attr.__bindgen_anon_2;
        element.map_fd = map.as_raw_fd() as u32;
        element.key = (&raw const key) as u64;
        element.__bindgen_anon_1.value = value.as_ptr() as u64;
    }
    bpf(bpf_cmd::BPF_MAP_UPDATE_ELEM, &mut attr)?;
    let mut attr = empty();
    attr.__bindgen_anon_2.map_fd = map.as_raw_fd() as u32;
    bpf(bpf_cmd::BPF_MAP_FREEZE, &mut attr).map(drop)
}

/// What the kernel tells of a loaded program.
///
/// # Errors
/// What the kernel says.
pub(crate) fn info(program: BorrowedFd<'_>) -> io::Result<bpf_prog_info> {
    // SAFETY: `bpf_prog_info` is a struct of numbers, for which zeroes are a value.
    let mut info: bpf_prog_info = unsafe { std::mem::zeroed() };
    let mut attr = empty();
    attr.info.bpf_fd = program.as_raw_fd() as u32;
    attr.info.info = (&raw mut info) as u64;
    attr.info.info_len = size_of::<bpf_prog_info>() as u32;
    bpf(bpf_cmd::BPF_OBJ_GET_INFO_BY_FD, &mut attr)?;
    Ok(info)
}

/// Opens a program by its id.
///
/// # Errors
/// What the kernel says; programs come and go.
pub(crate) fn open_program(id: u32) -> io::Result<OwnedFd> {
    let mut attr = empty();
    attr.__bindgen_anon_6.__bindgen_anon_1.prog_id = id;
    let fd = bpf(bpf_cmd::BPF_PROG_GET_FD_BY_ID, &mut attr)?;
    // SAFETY: the kernel has just returned this descriptor and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A link of a program to a function of the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TracingLink {
    /// Id of the program.
    pub prog_id: u32,
    /// `enum bpf_attach_type`.
    pub attach_type: u32,
    /// BTF id of the function; 0 where the kernel does not tell (before 5.13).
    pub target_btf_id: u32,
}

/// The id of the link after `id`; `None` after the last (`BPF_LINK_GET_NEXT_ID`).
///
/// # Errors
/// `EPERM` without `CAP_SYS_ADMIN`.
pub(crate) fn next_link(id: u32) -> io::Result<Option<u32>> {
    let mut attr = empty();
    attr.__bindgen_anon_6.__bindgen_anon_1.start_id = id;
    match bpf(bpf_cmd::BPF_LINK_GET_NEXT_ID, &mut attr) {
        // SAFETY: the kernel has just written this arm of the union, a number.
        Ok(_) => Ok(Some(unsafe { attr.__bindgen_anon_6.next_id })),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// What the kernel tells of a link, if it is one to a function or typed tracepoint.
///
/// # Errors
/// What the kernel says; links come and go.
pub(crate) fn tracing_link(id: u32) -> io::Result<Option<TracingLink>> {
    let mut attr = empty();
    attr.__bindgen_anon_6.__bindgen_anon_1.link_id = id;
    let fd = bpf(bpf_cmd::BPF_LINK_GET_FD_BY_ID, &mut attr)?;
    // SAFETY: the kernel has just returned this descriptor and nobody else knows it.
    let link = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: `bpf_link_info` is a struct of numbers, for which zeroes are a value.
    let mut info: bpf_link_info = unsafe { std::mem::zeroed() };
    let mut attr = empty();
    attr.info.bpf_fd = link.as_raw_fd() as u32;
    attr.info.info = (&raw mut info) as u64;
    attr.info.info_len = size_of::<bpf_link_info>() as u32;
    bpf(bpf_cmd::BPF_OBJ_GET_INFO_BY_FD, &mut attr)?;
    if info.type_ != bpf_link_type::BPF_LINK_TYPE_TRACING as u32 {
        return Ok(None);
    }
    // SAFETY: the arm of the union that links of this type have, all numbers.
    let tracing = unsafe { info.__bindgen_anon_1.tracing };
    Ok(Some(TracingLink {
        prog_id: info.prog_id,
        attach_type: tracing.attach_type,
        target_btf_id: tracing.target_btf_id,
    }))
}

fn empty() -> bpf_attr {
    // SAFETY: `bpf_attr` is a union of numbers, for which zeroes are a value.
    unsafe { std::mem::zeroed() }
}

fn bpf(command: bpf_cmd, attr: &mut bpf_attr) -> io::Result<i32> {
    // SAFETY: `attr` is a whole `bpf_attr` whose pointers, if any, the caller keeps alive.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, command as u32, &raw mut *attr, size_of::<bpf_attr>())
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(i32::try_from(result).unwrap_or(-1))
}
