//! Compiled code → something that runs: the only unsafe of this room.

use std::path::Path;

use wasmtime::component::Component;

use crate::plugin::engine::Engine;

/// Maps a file of compiled code. The caller has checked its authentication tag through a descriptor
/// that `path` names.
pub(super) fn map(engine: &Engine, path: &Path) -> wasmtime::Result<Component> {
    // SAFETY: the file's bytes bear a tag under a key that only this user can read, so this host's
    // compiler wrote them; the folder is closed to others, so they stay as they are while mapped.
    unsafe { Component::deserialize_file(engine.wasm(), path) }
}

/// Takes code that the compiler's child has just written.
pub(super) fn take(engine: &Engine, code: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: the bytes came through a pipe from a child of this host's own binary, which wrote
    // nothing but what wasmtime's compiler returned.
    unsafe { Component::deserialize(engine.wasm(), code) }
}
