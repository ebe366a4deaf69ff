//! Acts on keys and on System V's shared memory, messages and semaphores.

use std::io;
use std::path::Path;

use super::call::{at, call};

const KEYRING_OF_PROCESS: usize = -2_i32 as u32 as usize;
const KEYCTL_GET_KEYRING_ID: usize = 0;
/// Of the object's owner: read and write.
const MODE: usize = 0o600;

pub(super) fn add_key(_folder: &Path) -> io::Result<()> {
    let (kind, name) = (c"user".to_bytes_with_nul(), c"krsi:act".to_bytes_with_nul());
    call(libc::SYS_add_key, [at(kind), at(name), at(b"x"), 1, KEYRING_OF_PROCESS]).map(drop)
}

/// Looks a keyring up, which is made if need be.
pub(super) fn use_key(_folder: &Path) -> io::Result<()> {
    call(libc::SYS_keyctl, [KEYCTL_GET_KEYRING_ID, KEYRING_OF_PROCESS, 1]).map(drop)
}

pub(super) fn attach_memory(_folder: &Path) -> io::Result<()> {
    let memory = call(libc::SYS_shmget, [libc::IPC_PRIVATE as usize, 4096, MODE])?;
    let attached = call(libc::SYS_shmat, [memory, 0, 0]);
    if let Ok(address) = &attached {
        call(libc::SYS_shmdt, [*address])?;
    }
    call(libc::SYS_shmctl, [memory, libc::IPC_RMID as usize, 0])?;
    attached.map(drop)
}

pub(super) fn send_message(_folder: &Path) -> io::Result<()> {
    let queue = call(libc::SYS_msgget, [libc::IPC_PRIVATE as usize, MODE])?;
    // Its type, then its text.
    let message = [1_u64, u64::MAX];
    let sent = call(libc::SYS_msgsnd, [queue, at(&message), 8, libc::IPC_NOWAIT as usize]);
    call(libc::SYS_msgctl, [queue, libc::IPC_RMID as usize, 0])?;
    sent.map(drop)
}

pub(super) fn operate_semaphore(_folder: &Path) -> io::Result<()> {
    let set = call(libc::SYS_semget, [libc::IPC_PRIVATE as usize, 1, MODE])?;
    // Semaphore 0, plus 1, no flags.
    let operation = [0_u16, 1, 0];
    let done = call(libc::SYS_semop, [set, at(&operation), 1]);
    call(libc::SYS_semctl, [set, 0, libc::IPC_RMID as usize, 0])?;
    done.map(drop)
}
