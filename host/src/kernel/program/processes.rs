//! Which processes there are, by the keys that programs know them by: `/proc` tells starts to 10 ms only.

use std::collections::HashSet;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use krsi_host_abi::deny::ProcessKey;
use zerocopy::FromBytes;

use super::syscall;

/// The iterator of tasks, which costs nothing until it is read.
#[derive(Debug)]
pub struct TaskIterator(OwnedFd);

impl TaskIterator {
    pub(super) fn new(program: BorrowedFd<'_>) -> io::Result<Self> {
        syscall::iterator(program).map(Self)
    }

    /// Every process that runs. One that is forked or ends meanwhile may be among them or not.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn read(&self) -> io::Result<HashSet<ProcessKey>> {
        let mut bytes = Vec::new();
        syscall::iterate(self.0.as_fd())?.read_to_end(&mut bytes)?;
        let keys = bytes.chunks_exact(size_of::<ProcessKey>());
        Ok(keys.filter_map(|key| ProcessKey::read_from_bytes(key).ok()).collect())
    }
}
