//! What is attached now: every BPF program on a kernel function, whoever attached it, and who holds it.
//!
//! Layouts: `struct bpf_link_info` and `struct bpf_prog_info` of `include/uapi/linux/bpf.h`.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use serde::Serialize;

use super::syscall::{Object, info, next_id, open_id};

/// Bytes of an answer that are asked for: more than any field read here needs.
const INFO_BYTES: usize = 256;
/// Objects that are looked at; beyond, the rest is not listed.
const OBJECTS_MAX: usize = 4096;

const LINK_TYPE_TRACING: u32 = 2;

/// Why the list cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum AttachedError {
    /// Links cannot be listed.
    #[error("attached programs cannot be listed")]
    List(#[source] io::Error),
}

/// How a program is attached to a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// As LSM program.
    Lsm,
    /// It modifies the return value.
    FmodRet,
    /// It watches the entry.
    Fentry,
    /// It watches the return.
    Fexit,
}

impl Kind {
    /// The word for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Kind::Lsm => "lsm",
            Kind::FmodRet => "fmod_ret",
            Kind::Fentry => "fentry",
            Kind::Fexit => "fexit",
        }
    }

    const fn of(attach_type: u32) -> Option<Kind> {
        match attach_type {
            24 => Some(Kind::Fentry),
            25 => Some(Kind::Fexit),
            26 => Some(Kind::FmodRet),
            27 => Some(Kind::Lsm),
            _ => None,
        }
    }
}

/// A program on a function of the kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AttachedProgram {
    /// Id of the program.
    pub prog_id: u32,
    /// Its name, as far as the kernel keeps it: 15 bytes.
    pub name: String,
    /// How it is attached.
    pub kind: Kind,
    /// BTF id of the function; `None` where the kernel does not tell (before 5.13).
    pub target_btf_id: Option<u32>,
    /// Processes that hold it; nobody holds what is pinned only.
    pub holders: Vec<Holder>,
    /// Calls, counted while `kernel.bpf_stats_enabled` is 1.
    pub run_cnt: u64,
    /// Time it took for them, nanoseconds.
    pub run_time_ns: u64,
    /// Calls that were skipped because it already ran on that CPU.
    pub recursion_misses: u64,
}

/// A process with a descriptor of a program or of its link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Holder {
    /// Its id.
    pub tgid: u32,
    /// Its name.
    pub comm: String,
}

/// Every program that is attached to a function of the kernel, in order of its link.
///
/// # Errors
/// When links cannot be listed: that needs `CAP_SYS_ADMIN`.
pub fn attached() -> Result<Vec<AttachedProgram>, AttachedError> {
    let mut holders = holders(Path::new("/proc"));
    let mut found = Vec::new();
    let mut id = 0;
    for _ in 0..OBJECTS_MAX {
        id = match next_id(Object::Link, id).map_err(AttachedError::List)? {
            Some(next) => next,
            None => break,
        };
        // What went meanwhile is not attached any more.
        let Ok(link) = answer(Object::Link, id) else { continue };
        let Some((prog_id, kind, target_btf_id)) = tracing_link(&link) else { continue };
        let Ok(program) = answer(Object::Prog, prog_id) else { continue };
        let mut program = program_of(&program, kind, target_btf_id);
        program.holders = holders.remove(&program.prog_id).unwrap_or_default();
        found.push(program);
    }
    Ok(found)
}

fn answer(object: Object, id: u32) -> io::Result<[u8; INFO_BYTES]> {
    info(open_id(object, id)?.as_fd())
}

/// Program, kind and function of a link, if it is one to a function.
fn tracing_link(info: &[u8]) -> Option<(u32, Kind, Option<u32>)> {
    if word(info, 0) != LINK_TYPE_TRACING {
        return None;
    }
    let target = word(info, 24);
    Some((word(info, 8), Kind::of(word(info, 16))?, (target != 0).then_some(target)))
}

fn program_of(info: &[u8], kind: Kind, target_btf_id: Option<u32>) -> AttachedProgram {
    let name = info.get(64..80).unwrap_or_default();
    let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
    // Kernels from 6.0 tell it of the program too.
    let target = word(info, 224);
    AttachedProgram {
        prog_id: word(info, 4),
        name: String::from_utf8_lossy(name.get(..end).unwrap_or_default()).into_owned(),
        kind,
        target_btf_id: target_btf_id.or((target != 0).then_some(target)),
        holders: Vec::new(),
        run_cnt: long(info, 200),
        run_time_ns: long(info, 192),
        recursion_misses: long(info, 208),
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    let field = bytes.get(at..at + 4).and_then(|field| field.try_into().ok());
    field.map_or(0, u32::from_ne_bytes)
}

fn long(bytes: &[u8], at: usize) -> u64 {
    let field = bytes.get(at..at + 8).and_then(|field| field.try_into().ok());
    field.map_or(0, u64::from_ne_bytes)
}

/// Who holds which program, from the descriptors of all processes that may be looked into.
fn holders(proc: &Path) -> HashMap<u32, Vec<Holder>> {
    let mut holders: HashMap<u32, Vec<Holder>> = HashMap::new();
    for process in fs::read_dir(proc).into_iter().flatten().flatten() {
        let name = process.file_name();
        let Some(tgid) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
        let folder = process.path();
        let comm = fs::read_to_string(folder.join("comm")).unwrap_or_default();
        for descriptor in fs::read_dir(folder.join("fd")).into_iter().flatten().flatten() {
            let is_bpf = fs::read_link(descriptor.path())
                .is_ok_and(|to| to.to_string_lossy().starts_with("anon_inode:bpf"));
            if !is_bpf {
                continue;
            }
            let text = fs::read_to_string(folder.join("fdinfo").join(descriptor.file_name()));
            let Some(id) = prog_id(&text.unwrap_or_default()) else { continue };
            let of_program = holders.entry(id).or_default();
            if of_program.iter().all(|holder| holder.tgid != tgid) {
                of_program.push(Holder { tgid, comm: comm.trim_end().to_owned() });
            }
        }
    }
    holders
}

fn prog_id(fdinfo: &str) -> Option<u32> {
    fdinfo.lines().find_map(|line| line.strip_prefix("prog_id:"))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
        bytes[at..at + value.len()].copy_from_slice(value);
    }

    #[test]
    fn links_to_functions_are_told_from_others() {
        let check = |fields: &[(usize, u32)], expected| {
            let mut info = [0; INFO_BYTES];
            for (at, value) in fields {
                put(&mut info, *at, &value.to_ne_bytes());
            }
            assert_eq!(tracing_link(&info), expected, "{fields:?}");
        };
        let lsm = [(0, 2), (4, 9), (8, 31), (16, 27), (20, 1), (24, 4711)];
        check(&lsm, Some((31, Kind::Lsm, Some(4711))));
        check(&lsm[..4], Some((31, Kind::Lsm, None)));
        check(&[(0, 2), (8, 31), (16, 26)], Some((31, Kind::FmodRet, None)));
        // A typed tracepoint, and a link of a cgroup.
        check(&[(0, 2), (8, 31), (16, 23)], None);
        check(&[(0, 3), (8, 31), (16, 27)], None);
        assert_eq!(tracing_link(&[]), None);
    }

    #[test]
    fn programs_are_read_where_the_kernel_writes_them() {
        let mut info = [0; INFO_BYTES];
        put(&mut info, 4, &31_u32.to_ne_bytes());
        put(&mut info, 64, b"bprm_check_secu");
        put(&mut info, 192, &9000_u64.to_ne_bytes());
        put(&mut info, 200, &3_u64.to_ne_bytes());
        put(&mut info, 208, &1_u64.to_ne_bytes());
        let program = program_of(&info, Kind::Lsm, None);
        assert_eq!((program.prog_id, program.name.as_str()), (31, "bprm_check_secu"));
        assert_eq!((program.run_cnt, program.run_time_ns), (3, 9000));
        assert_eq!((program.recursion_misses, program.target_btf_id), (1, None));
        put(&mut info, 224, &4711_u32.to_ne_bytes());
        assert_eq!(program_of(&info, Kind::Lsm, None).target_btf_id, Some(4711));
        assert_eq!(program_of(&info, Kind::Lsm, Some(1)).target_btf_id, Some(1));
    }

    #[test]
    fn a_descriptor_tells_its_program() {
        assert_eq!(prog_id("pos:\t0\nlink_type:\ttracing\nlink_id:\t5\nprog_id:\t12\n"), Some(12));
        assert_eq!(prog_id("pos:\t0\n"), None);
        assert_eq!(prog_id("prog_id:\tmany\n"), None);
    }
}
