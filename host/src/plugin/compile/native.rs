//! Compiled code → something that runs: the only unsafe of this room.

use std::io;
use std::path::Path;
use std::ptr;

use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap_anonymous, mprotect, munmap};
use wasmtime::component::Component;

use crate::plugin::engine::Engine;

/// Maps a file of compiled code. The caller has checked its authentication tag through a descriptor
/// that `path` names.
pub(super) fn map(engine: &Engine, path: &Path) -> wasmtime::Result<Component> {
    // SAFETY: the file's bytes bear a tag under a key that only this user can read, so this host's
    // compiler wrote them; the folder is closed to others, so they stay as they are while mapped.
    unsafe { Component::deserialize_file(engine.wasm(), path) }
}

/// Whether memory can be made executable once it was written, as code of plugins is.
pub(super) fn may_make_code() -> io::Result<()> {
    const BYTES: usize = 4096;
    let (read, write) = (ProtFlags::READ, ProtFlags::WRITE);
    // SAFETY: a mapping of its own, at an address that the kernel chooses: nothing else lies there, nothing is
    // executed from it, and it is gone before anybody else learns of it.
    unsafe {
        let page = mmap_anonymous(ptr::null_mut(), BYTES, read | write, MapFlags::PRIVATE)?;
        let made = mprotect(page, BYTES, MprotectFlags::READ | MprotectFlags::EXEC);
        munmap(page, BYTES)?;
        Ok(made?)
    }
}

/// Takes code that the compiler's child has just written.
pub(super) fn take(engine: &Engine, code: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: the bytes came through a pipe from a child of this host's own binary, which wrote
    // nothing but what wasmtime's compiler returned.
    unsafe { Component::deserialize(engine.wasm(), code) }
}
