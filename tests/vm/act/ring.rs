//! Acts through io_uring: a ring with room for one request, and what it answers.
//!
//! Layouts: `struct io_uring_params`, `io_uring_sqe` and `io_uring_cqe` of `include/uapi/linux/io_uring.h`.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use super::call::{call, open};

const SETUP_SQPOLL: u32 = 1 << 1;
const REGISTER_PERSONALITY: usize = 9;
const ENTER_GETEVENTS: usize = 1;
const OP_NOP: u8 = 0;
const OP_URING_CMD: u8 = 46;
const OFFSET_SQ_RING: usize = 0;
const OFFSET_CQ_RING: usize = 0x800_0000;
const OFFSET_SQES: usize = 0x1000_0000;
/// More than a ring of one entry takes.
const RING_BYTES: usize = 4096;
/// Bytes of a request, `struct io_uring_sqe`.
pub(crate) const SQE_BYTES: usize = 64;

/// Words of `struct io_uring_params`.
pub(crate) type Params = [u32; 30];
const FLAGS: usize = 2;
/// `sq_off`: head, tail, ring_mask, ring_entries, flags, dropped, array.
const SQ_TAIL: usize = 11;
const SQ_ARRAY: usize = 16;
/// `cq_off`: head, tail, ring_mask, ring_entries, overflow, cqes.
const CQ_TAIL: usize = 21;
const CQ_CQES: usize = 25;

/// Makes a ring with room for one request.
pub(crate) fn set_up(flags: u32) -> io::Result<(OwnedFd, Params)> {
    let mut params: Params = [0; 30];
    params[FLAGS] = flags;
    let ring = open(libc::SYS_io_uring_setup, [1, (&raw mut params) as usize])?;
    Ok((ring, params))
}

/// A part of a ring, mapped.
struct Mapped(*mut u8);

impl Mapped {
    fn new(ring: &OwnedFd, offset: usize) -> io::Result<Self> {
        let protection = (libc::PROT_READ | libc::PROT_WRITE) as usize;
        let (flags, ring) = (libc::MAP_SHARED as usize, ring.as_raw_fd() as usize);
        let address = call(libc::SYS_mmap, [0, RING_BYTES, protection, flags, ring, offset])?;
        Ok(Self(address as *mut u8))
    }

    /// The word at an offset that the kernel named.
    fn word(&self, offset: u32) -> &AtomicU32 {
        // SAFETY: the kernel's offsets lie, aligned, in the ring, which fits the mapping.
        unsafe { &*self.0.add(offset as usize).cast::<AtomicU32>() }
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        let _unmapped = call(libc::SYS_munmap, [self.0 as usize, RING_BYTES]);
    }
}

/// Submits one request and returns what it came to.
pub(crate) fn submit(
    ring: &OwnedFd,
    params: &Params,
    request: &[u8; SQE_BYTES],
) -> io::Result<usize> {
    let (queue, answers) = (Mapped::new(ring, OFFSET_SQ_RING)?, Mapped::new(ring, OFFSET_CQ_RING)?);
    let requests = Mapped::new(ring, OFFSET_SQES)?;
    // SAFETY: the first entry has exactly this size, and the kernel reads it at the submission below.
    unsafe { requests.0.cast::<[u8; SQE_BYTES]>().write(*request) };
    queue.word(params[SQ_ARRAY]).store(0, Ordering::Relaxed);
    queue.word(params[SQ_TAIL]).store(1, Ordering::Release);
    call(libc::SYS_io_uring_enter, [ring.as_raw_fd() as usize, 1, 1, ENTER_GETEVENTS, 0, 0])?;
    if answers.word(params[CQ_TAIL]).load(Ordering::Acquire) != 1 {
        return Err(io::Error::other("the ring holds no answer"));
    }
    // The result follows eight bytes of the request's own.
    let result = answers.word(params[CQ_CQES] + 8).load(Ordering::Relaxed).cast_signed();
    usize::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result))
}

/// Does nothing, with the credentials that it has, but registered ones.
pub(super) fn other_credentials(_folder: &Path) -> io::Result<()> {
    let (ring, params) = set_up(0)?;
    let descriptor = ring.as_raw_fd() as usize;
    let id = call(libc::SYS_io_uring_register, [descriptor, REGISTER_PERSONALITY, 0, 0])?;
    let mut request = [0; SQE_BYTES];
    request[0] = OP_NOP;
    request[42..44].copy_from_slice(&(id as u16).to_ne_bytes());
    submit(&ring, &params, &request).map(drop)
}

pub(super) fn polling_thread(_folder: &Path) -> io::Result<()> {
    set_up(SETUP_SQPOLL).map(drop)
}

/// A command to `/dev/null`, which takes any.
pub(super) fn command(_folder: &Path) -> io::Result<()> {
    let (ring, params) = set_up(0)?;
    let null = File::options().read(true).write(true).open("/dev/null")?;
    let mut request = [0; SQE_BYTES];
    request[0] = OP_URING_CMD;
    request[4..8].copy_from_slice(&null.as_raw_fd().to_ne_bytes());
    submit(&ring, &params, &request).map(drop)
}
