//! Compiling in a short-lived child of the host: limited, without privileges, without descriptors.
//!
//! ```text
//! parent ── Wasm bytes ──► child's standard input
//! parent ◄── compiled code or nothing ── standard output, bounded
//! parent ◄── a Fault as JSON ── standard error, bounded
//! ```
//! wasmtime promises nothing about the cost of compiling hostile modules, and what Cranelift
//! allocates stays with its process. Code that comes back is trusted as the host's own: the child is
//! confined against exhaustion, it is no sandbox against a fault in the compiler.

use std::io::{self, Read, Write};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Gid, Resource, Rlimit, Uid, setrlimit};
use rustix::thread::{
    CapabilitySet, CapabilitySets, set_capabilities, set_no_new_privs, set_thread_gid,
    set_thread_groups, set_thread_uid,
};

use super::fault::Fault;
use super::recognise;
use crate::plugin::engine::Engine;

/// The verb of the host that is the child.
pub const VERB: &str = "compile-plugin";
/// Bytes of compiled code that are taken; code is three to six times the size of its Wasm.
const CODE_MAX: u64 = 256 << 20;
/// Bytes of an error that are read.
const ERROR_MAX: u64 = 64 << 10;
/// Nobody: the overflow ids of the kernel.
const NOBODY: u32 = 65534;
/// What a refusal ends with; anything else is a failure of the child.
const REFUSED: u8 = 4;
/// How often a silent child is looked after.
const LOOK: Duration = Duration::from_millis(20);

/// What compiling one plugin may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompileLimits {
    /// Address space, MiB.
    pub memory_mib: u64,
    /// Processor seconds; waiting may take four times as long.
    pub seconds: u64,
}

impl Default for CompileLimits {
    fn default() -> Self {
        Self { memory_mib: 1024, seconds: 60 }
    }
}

/// Ends the compiling children of a host that is to end, which does not wait for what they would answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct CompileStop(Arc<AtomicBool>);

impl CompileStop {
    /// Ends the child that compiles now, and each one later.
    pub(crate) fn stop(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn is_told(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Compiles in a child of `program`.
pub(super) fn compile(
    program: &Path,
    bytes: &[u8],
    limits: CompileLimits,
    stop: &CompileStop,
) -> Result<Vec<u8>, Fault> {
    let failed =
        |what: &str, error: io::Error| Fault::Compiler { reason: format!("{what}: {error}") };
    let mut command = Command::new(program);
    command.arg(VERB).arg(limits.memory_mib.to_string()).arg(limits.seconds.to_string());
    command.env_clear().current_dir("/");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| failed("starting it", error))?;
    let (Some(mut input), Some(output), Some(errors)) =
        (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        return Err(Fault::Compiler { reason: "its pipes".into() });
    };
    let (code, errors, ended) = std::thread::scope(|scope| {
        let code = scope.spawn(|| read(output, CODE_MAX));
        let errors = scope.spawn(|| read(errors, ERROR_MAX));
        // A child that refuses early does not read on; its own words say why.
        scope.spawn(move || drop(input.write_all(bytes)));
        let ended = wait(&mut child, Duration::from_secs(limits.seconds.saturating_mul(4)), stop);
        (code.join().unwrap_or_default(), errors.join().unwrap_or_default(), ended)
    });
    let ended = ended.map_err(|error| failed("waiting for it", error))?;
    let Some(status) = ended else {
        if stop.is_told() {
            return Err(Fault::Stopped);
        }
        return Err(Fault::TooCostly { limit: format!("{} s of waiting", limits.seconds * 4) });
    };
    if status.success() && !code.is_empty() && (code.len() as u64) < CODE_MAX {
        return Ok(code);
    }
    // The last line; what a library said while it panicked stands before it.
    let last = errors.trim_ascii_end().rsplit(|byte| *byte == b'\n').next();
    if status.code() == Some(i32::from(REFUSED))
        && let Ok(fault) = serde_json::from_slice(last.unwrap_or_default())
    {
        return Err(fault);
    }
    Err(explain(status, &errors, limits))
}

/// Reason why a child ended without an answer.
fn explain(status: std::process::ExitStatus, errors: &[u8], limits: CompileLimits) -> Fault {
    use std::os::unix::process::ExitStatusExt;
    const SIGABRT: i32 = 6;
    const SIGKILL: i32 = 9;
    const SIGSEGV: i32 = 11;
    const SIGXCPU: i32 = 24;
    let text = String::from_utf8_lossy(errors);
    match status.signal() {
        Some(SIGXCPU | SIGKILL) => {
            Fault::TooCostly { limit: format!("{} s of processor time", limits.seconds) }
        }
        Some(SIGABRT) if text.contains("memory allocation") => {
            Fault::TooCostly { limit: format!("{} MiB of memory", limits.memory_mib) }
        }
        Some(SIGSEGV | SIGABRT) if text.contains("stack") => {
            Fault::TooCostly { limit: "its stack".into() }
        }
        _ => Fault::Compiler { reason: format!("{status} {}", Fault::words(&text.trim())) },
    }
}

fn read(from: impl Read, limit: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    // What was read before an error is looked at with the child's exit.
    let _read = from.take(limit).read_to_end(&mut bytes);
    bytes
}

/// Waits for the child, or kills it when it takes too long or the host ends: then `None`.
fn wait(
    child: &mut Child,
    patience: Duration,
    stop: &CompileStop,
) -> io::Result<Option<std::process::ExitStatus>> {
    let deadline = Instant::now() + patience;
    let mut look = Duration::from_micros(500);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if stop.is_told() || Instant::now() >= deadline {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(look);
        look = (look * 2).min(LOOK);
    }
}

/// The child: gives up what it has, reads, compiles, writes.
#[must_use]
pub(crate) fn child(limits: CompileLimits) -> ExitCode {
    if let Err(error) = confine(limits) {
        eprintln!("giving up privileges: {error}");
        return ExitCode::FAILURE;
    }
    let mut bytes = Vec::new();
    if let Err(error) = io::stdin().lock().read_to_end(&mut bytes) {
        eprintln!("reading: {error}");
        return ExitCode::FAILURE;
    }
    match code(bytes) {
        Ok(code) => match io::stdout().lock().write_all(&code) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("writing: {error}");
                ExitCode::FAILURE
            }
        },
        Err(fault) => {
            eprintln!("{}", serde_json::to_string(&fault).unwrap_or_default());
            ExitCode::from(REFUSED)
        }
    }
}

/// Recognises and compiles in this process.
pub(super) fn code(bytes: Vec<u8>) -> Result<Vec<u8>, Fault> {
    let engine =
        Engine::compiling().map_err(|error| Fault::Compiler { reason: error.to_string() })?;
    code_by(&engine, bytes)
}

/// Compiles with an engine that is there already.
pub(super) fn code_by(engine: &wasmtime::Engine, bytes: Vec<u8>) -> Result<Vec<u8>, Fault> {
    let component = recognise::componentise(bytes)?;
    engine
        .precompile_component(&component)
        .map_err(|error| Fault::Invalid { reason: Fault::words(&error) })
}

fn confine(limits: CompileLimits) -> rustix::io::Result<()> {
    let bytes = limits.memory_mib.saturating_mul(1 << 20);
    let limit = |most| Rlimit { current: Some(most), maximum: Some(most) };
    setrlimit(Resource::As, limit(bytes))?;
    setrlimit(Resource::Cpu, limit(limits.seconds))?;
    setrlimit(Resource::Core, limit(0))?;
    setrlimit(Resource::Fsize, limit(0))?;
    setrlimit(Resource::Nofile, limit(3))?;
    set_no_new_privs(true)?;
    // One thread runs so far: it is the whole process. Without root there is nothing to give up.
    if rustix::process::geteuid().is_root() && become_nobody().is_err() {
        // Without CAP_SETUID or CAP_SETGID it stays root: one that can open nothing, and has no privilege.
        let none = CapabilitySet::empty();
        set_capabilities(
            None,
            CapabilitySets { effective: none, permitted: none, inheritable: none },
        )?;
    }
    Ok(())
}

fn become_nobody() -> rustix::io::Result<()> {
    set_thread_groups(&[])?;
    set_thread_gid(Gid::from_raw(NOBODY))?;
    set_thread_uid(Uid::from_raw(NOBODY))
}
