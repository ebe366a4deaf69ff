//! What is attached now: every BPF program on a kernel function, whoever attached it, and who holds it.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use aya_obj::generated::{bpf_attach_type, bpf_prog_info};
use serde::Serialize;

use crate::kernel::program::syscall::{self, TracingLink};

/// Links that are looked at; beyond, the rest is not listed.
const LINKS_MAX: usize = 4096;

/// Types of links as the kernel numbers them (`enum bpf_attach_type`).
const FENTRY: u32 = bpf_attach_type::BPF_TRACE_FENTRY as u32;
const FEXIT: u32 = bpf_attach_type::BPF_TRACE_FEXIT as u32;
const MODIFY_RETURN: u32 = bpf_attach_type::BPF_MODIFY_RETURN as u32;
const LSM_MAC: u32 = bpf_attach_type::BPF_LSM_MAC as u32;

/// Why the list cannot be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AttachedError {
    /// Links cannot be listed.
    #[error("attached programs cannot be listed")]
    List(#[source] io::Error),
}

/// How a program is attached to a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum AttachedAs {
    /// An LSM program.
    Lsm,
    /// A program that modifies the return value of the function.
    FmodRet,
    /// A program that runs at the entry of the function.
    Fentry,
    /// A program that runs at the return of the function.
    Fexit,
}

impl AttachedAs {
    #[must_use]
    pub(crate) const fn word(self) -> &'static str {
        match self {
            AttachedAs::Lsm => "lsm",
            AttachedAs::FmodRet => "fmod_ret",
            AttachedAs::Fentry => "fentry",
            AttachedAs::Fexit => "fexit",
        }
    }

    const fn of(attach_type: u32) -> Option<AttachedAs> {
        match attach_type {
            FENTRY => Some(AttachedAs::Fentry),
            FEXIT => Some(AttachedAs::Fexit),
            MODIFY_RETURN => Some(AttachedAs::FmodRet),
            LSM_MAC => Some(AttachedAs::Lsm),
            _ => None,
        }
    }
}

/// A program on a function of the kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct AttachedProgram {
    /// Id of the program.
    pub prog_id: u32,
    /// Its name, as far as the kernel keeps it: 15 bytes.
    pub name: String,
    /// Kind of the program, by its attach type.
    pub kind: AttachedAs,
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
pub(crate) struct Holder {
    pub tgid: u32,
    pub comm: String,
}

/// Every program that is attached to a function of the kernel, in order of its link.
///
/// # Errors
/// When links cannot be listed: that needs `CAP_SYS_ADMIN`.
pub(crate) fn attached() -> Result<Vec<AttachedProgram>, AttachedError> {
    let mut holders = holders(Path::new("/proc"));
    let mut found = Vec::new();
    let mut id = 0;
    for _ in 0..LINKS_MAX {
        id = match syscall::next_link(id).map_err(AttachedError::List)? {
            Some(next) => next,
            None => break,
        };
        // What went meanwhile is not attached any more.
        let Ok(Some(link)) = syscall::tracing_link(id) else { continue };
        let info = syscall::open_program(link.prog_id).and_then(|fd| syscall::info(fd.as_fd()));
        let Some(mut program) = info.ok().and_then(|info| program_of(link, &info)) else {
            continue;
        };
        program.holders = holders.remove(&program.prog_id).unwrap_or_default();
        found.push(program);
    }
    Ok(found)
}

/// A link and its program, if it is on a function.
fn program_of(link: TracingLink, info: &bpf_prog_info) -> Option<AttachedProgram> {
    let (kind, target_btf_id) = place(link, info.attach_btf_id)?;
    let name = info.name.iter().map(|byte| *byte as u8).take_while(|byte| *byte != 0);
    Some(AttachedProgram {
        prog_id: link.prog_id,
        name: String::from_utf8_lossy(&name.collect::<Vec<u8>>()).into_owned(),
        kind,
        target_btf_id,
        holders: Vec::new(),
        run_cnt: info.run_cnt,
        run_time_ns: info.run_time_ns,
        recursion_misses: info.recursion_misses,
    })
}

/// How and where a link attaches its program. Kernels from 6.0 tell the function of the program too.
fn place(link: TracingLink, attach_btf_id: u32) -> Option<(AttachedAs, Option<u32>)> {
    let target = [link.target_btf_id, attach_btf_id].into_iter().find(|id| *id != 0);
    Some((AttachedAs::of(link.attach_type)?, target))
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

    #[test]
    fn programs_on_functions_are_told_from_others() {
        let check = |attach_type: u32, target_btf_id: u32, attach_btf_id: u32, expected| {
            let link = TracingLink { prog_id: 31, attach_type, target_btf_id };
            assert_eq!(place(link, attach_btf_id), expected, "{attach_type}");
        };
        check(LSM_MAC, 4711, 0, Some((AttachedAs::Lsm, Some(4711))));
        check(LSM_MAC, 0, 4711, Some((AttachedAs::Lsm, Some(4711))));
        check(MODIFY_RETURN, 0, 0, Some((AttachedAs::FmodRet, None)));
        check(FEXIT, 7, 8, Some((AttachedAs::Fexit, Some(7))));
        // A typed tracepoint.
        check(bpf_attach_type::BPF_TRACE_RAW_TP as u32, 4711, 0, None);
    }

    #[test]
    fn a_descriptor_tells_its_program() {
        assert_eq!(prog_id("pos:\t0\nlink_type:\ttracing\nlink_id:\t5\nprog_id:\t12\n"), Some(12));
        assert_eq!(prog_id("pos:\t0\n"), None);
        assert_eq!(prog_id("prog_id:\tmany\n"), None);
    }
}
