//! Paths: resolved by the kernel where it lets us, walked along dentries where it does not.

use aya_ebpf::helpers::generated as helper;
use krsi_host_abi::frozen::d_path;
use krsi_host_abi::record::PATH_LONG;

use crate::capture::{self, Ptr, Skip, probe};
use crate::map::{self, Scratch};
use crate::{global, kfunc, offset};

pub use crate::path_read::PathRead;

/// Bytes of a name with its NUL (`NAME_MAX` of `include/uapi/linux/limits.h`).
const NAME_ROOM: usize = 256;

/// Writes the path of a file into `out`.
#[inline(always)]
pub fn path<const N: usize>(file: Ptr, out: *mut [u8; N]) -> Result<PathRead, Skip> {
    path_of(file.embedded(&offset::FILE_F_PATH)?, out)
}

/// Writes a path into `out`: resolved by the kernel, or walked where it does not allow that.
#[inline(always)]
pub fn path_of<const N: usize>(path: Ptr, out: *mut [u8; N]) -> Result<PathRead, Skip> {
    let resolver = offset::d_path();
    if resolver == d_path::NONE {
        return walk_path(path.address(), out);
    }
    // SAFETY: the verifier checks that `out` holds N bytes and that `path` is a `struct path`.
    let len = unsafe {
        if resolver == d_path::KFUNC {
            kfunc::path_d_path(path.raw(), out.cast(), N as u64)
        } else {
            helper::bpf_d_path(path.raw(), out.cast(), N as u32)
        }
    };
    PathRead::resolved(len)
}

/// Writes the names of a path that the kernel gives no type for.
#[inline(always)]
pub fn walk_path<const N: usize>(path: u64, out: *mut [u8; N]) -> Result<PathRead, Skip> {
    let mount = probe(path + offset::PATH_MNT.get()? as u64)?;
    let dentry = probe(path + offset::PATH_DENTRY.get()? as u64)?;
    walk(dentry, mount, out)
}

/// Writes a path into a buffer that has room for a name after it: only where the kernel resolves it.
#[inline(always)]
pub fn folder(path: Ptr, out: *mut Scratch) -> Result<PathRead, Skip> {
    path_of(path, out.cast::<[u8; PATH_LONG]>())
}

/// Joins a name to a path of `len` bytes.
#[inline(always)]
pub fn join(out: *mut Scratch, len: u16, name: u64) -> Result<(), Skip> {
    // The root ends with its slash.
    let end = if len == 1 { 0 } else { len as usize & (PATH_LONG - 1) };
    // SAFETY: NAME_ROOM bytes and one follow `end`; the source is read fault-safe.
    let written = unsafe {
        let slash = out.cast::<u8>().add(end);
        slash.write(b'/');
        helper::bpf_probe_read_kernel_str(slash.add(1).cast(), NAME_ROOM as u32, name as *const _)
    };
    if written <= 0 { Err(Skip::Read) } else { Ok(()) }
}

/// Writes the names from a dentry up to the root of its mount namespace, or of its own mount when
/// `mount` is 0. Only a long room is worth it.
#[inline(always)]
pub fn walk<const N: usize>(dentry: u64, mount: u64, out: *mut [u8; N]) -> Result<PathRead, Skip> {
    if N < PATH_LONG {
        return Ok(PathRead::TooLong);
    }
    // In memory, because a global function takes no kernel pointer for a number.
    let start = [dentry, mount];
    let zero = map::counts(0).ok_or(Skip::Read)?.unknown_zero();
    match krsi_walk(&start, zero, out.cast()) {
        WALK_FAILED => Err(Skip::Read),
        walked => Ok(PathRead::Upwards(walked as u16, walked & WALK_CUT != 0)),
    }
}

/// The walk came to an address that cannot be read.
const WALK_FAILED: u32 = u32::MAX;
/// The root was not reached.
const WALK_CUT: u32 = 1 << 16;

/// Walks from a dentry in a mount; `zero` is 0, which the verifier does not know, so that it goes
/// through each step once.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn krsi_walk(start: &[u64; 2], zero: u64, out: *mut [u8; PATH_LONG]) -> u32 {
    match global::seen(start) {
        Some(start) if !out.is_null() => walked(*start, zero, out) ^ zero as u32,
        _ => WALK_FAILED,
    }
}

#[inline(always)]
fn walked([mut dentry, mut mount]: [u64; 2], zero: u64, out: *mut [u8; PATH_LONG]) -> u32 {
    let mut len = zero;
    let mut step = || {
        if mount != 0 {
            let root: u64 = probe(mount + offset::VFSMOUNT_MNT_ROOT.get()? as u64)?;
            if root == dentry {
                let inner = mount - offset::MOUNT_MNT.get()? as u64;
                let parent: u64 = probe(inner + offset::MOUNT_MNT_PARENT.get()? as u64)?;
                if parent == inner || parent == 0 {
                    return Ok(false);
                }
                let mountpoint: u64 = probe(inner + offset::MOUNT_MNT_MOUNTPOINT.get()? as u64)?;
                dentry = mountpoint ^ zero;
                mount = (parent + offset::MOUNT_MNT.get()? as u64) ^ zero;
                return Ok(true);
            }
        }
        let parent: u64 = probe(dentry + offset::DENTRY_D_PARENT.get()? as u64)?;
        if parent == dentry {
            return Ok(false);
        }
        let name = offset::DENTRY_D_NAME.get()? + offset::QSTR_NAME.get()?;
        let name: u64 = probe(dentry + name as u64)?;
        // A number of its own: 6.1 does not carry a bound over to where the other is kept.
        let end = len ^ zero;
        if end > (PATH_LONG - NAME_ROOM) as u64 {
            return Err(Skip::Field);
        }
        // SAFETY: at least NAME_ROOM bytes follow `end`; the source is read fault-safe.
        let written = unsafe {
            helper::bpf_probe_read_kernel_str(
                out.cast::<u8>().add(end as usize).cast(),
                NAME_ROOM as u32,
                name as *const _,
            )
        };
        if written <= 0 {
            return Err(Skip::Read);
        }
        len = (len + written as u64) ^ zero;
        // Known bounds would make each way through a step one of its own in the next.
        dentry = parent ^ zero;
        mount ^= zero;
        Ok(true)
    };
    for _ in 0..offset::walk_names() {
        match step() {
            Ok(true) => {}
            Ok(false) => return len as u32 & 0xffff,
            Err(Skip::Field) => break,
            Err(_) => return WALK_FAILED,
        }
    }
    len as u32 & 0xffff | WALK_CUT
}

/// Writes the last component of a file's path into `out`: what is left of a path beyond `PATH_MAX`.
#[inline(always)]
pub fn last_component<const N: usize>(file: Ptr, out: *mut [u8; N]) -> Result<u16, Skip> {
    last_name(file.embedded(&offset::FILE_F_PATH)?, out)
}

/// Writes the last component of a path into `out`.
#[inline(always)]
pub fn last_name<const N: usize>(path: Ptr, out: *mut [u8; N]) -> Result<u16, Skip> {
    let dentry = path.ptr(&offset::PATH_DENTRY)?;
    let name = dentry.embedded(&offset::DENTRY_D_NAME)?.ptr(&offset::QSTR_NAME)?;
    capture::text(name.address(), out)
}
