//! The glue between a plugin and the WIT world: one instance, driven by the host's calls.

use krsi_plugin_schema::frame::Frames;
use krsi_plugin_schema::latest::{Argv, Body, Event, INIT_TOKEN, Process, Record};

use crate::{Ctx, Level, Plugin, state};

/// The bindings of world `krsi:plugin/plugin`, and what [`crate::export!`] needs beside them.
#[cfg(target_arch = "wasm32")]
#[allow(missing_docs, reason = "generated")]
pub mod glue {
    wit_bindgen::generate!({
        path: "../wit/v0.2",
        world: "plugin",
        pub_export_macro: true,
        default_bindings_module: "krsi_plugin::glue",
    });

    impl From<crate::Level> for Level {
        fn from(level: crate::Level) -> Self {
            match level {
                crate::Level::Error => Level::Error,
                crate::Level::Warn => Level::Warn,
                crate::Level::Info => Level::Info,
                crate::Level::Debug => Level::Debug,
            }
        }
    }

    /// Sends the text of a panic to the host's log before the trap.
    pub fn catch_panics() {
        std::panic::set_hook(Box::new(|panic| log(Level::Error, &panic.to_string())));
    }
}

/// The bindings exist only on Wasm.
#[cfg(not(target_arch = "wasm32"))]
pub mod glue {}

/// A plugin and its context: what the exported functions drive.
#[derive(Debug)]
pub struct Instance<P> {
    live: Option<(P, Ctx)>,
}

impl<P> Instance<P> {
    /// An instance before its `init`.
    #[must_use]
    pub const fn new() -> Self {
        Self { live: None }
    }
}

impl<P> Default for Instance<P> {
    fn default() -> Self {
        Self::new()
    }
}

impl<P: Plugin> Instance<P> {
    /// The plugin's manifest as bytes. One with a field longer than a frame asks for nothing, not even
    /// a name, and is refused.
    #[must_use]
    pub fn describe() -> Vec<u8> {
        P::manifest().encode().unwrap_or_default()
    }

    /// Starts the plugin; returns its first actions.
    ///
    /// # Errors
    /// What the plugin's own `init` says.
    pub fn init(&mut self, config: &[u8], seed: u64) -> Result<Vec<u8>, String> {
        let mut ctx = Ctx::default();
        ctx.next_token = INIT_TOKEN;
        ctx.plugin = P::manifest().name;
        let plugin = P::init(config, seed, &mut ctx)?;
        ctx.next_token = 0;
        let actions = ctx.take_actions();
        self.live = Some((plugin, ctx));
        Ok(actions)
    }

    /// Hands every record of a batch to the plugin; returns its actions. Without an earlier `init`
    /// nothing happens.
    pub fn handle(&mut self, batch: &[u8]) -> Vec<u8> {
        let Some((plugin, ctx)) = &mut self.live else { return Vec::new() };
        for frame in Frames::new(batch) {
            match frame.and_then(|frame| Record::decode(&frame)) {
                Ok(record) => dispatch(plugin, record, ctx),
                Err(error) => ctx.log(Level::Error, format!("a record was skipped: {error}")),
            }
        }
        ctx.take_actions()
    }

    /// The state, for a successor.
    #[must_use]
    pub fn snapshot(&self) -> Vec<u8> {
        match &self.live {
            Some((plugin, ctx)) => state::wrap(ctx.next_token, &plugin.snapshot()),
            None => state::wrap(0, &[]),
        }
    }

    /// Takes over a predecessor's state.
    ///
    /// # Errors
    /// When the snapshot is foreign or the plugin refuses it.
    pub fn restore(&mut self, from: &str, snapshot: &[u8]) -> Result<(), String> {
        let (next_token, state) = state::unwrap(snapshot)?;
        let Some((plugin, ctx)) = &mut self.live else { return Err("not initialised".into()) };
        plugin.restore(from, state)?;
        ctx.next_token = state::after_restore(next_token);
        Ok(())
    }

    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn take_log(&mut self) -> Vec<(Level, String)> {
        self.live.as_mut().map(|(_, ctx)| ctx.take_log()).unwrap_or_default()
    }
}

/// Bytes of a process's arguments that are kept: as many as an exec's record has.
const ARGUMENTS_KEPT: usize = 4096;

/// A description as the table keeps it: with as many bytes of arguments as an event has, as there are many.
fn kept<'p>(process: &'p Process<'_>) -> Process<'p> {
    let joined: &str = &process.argv.joined;
    let mut end = joined.len().min(ARGUMENTS_KEPT);
    while !joined.is_char_boundary(end) {
        end -= 1;
    }
    let is_cut = end < joined.len();
    let argv = Argv {
        joined: joined.get(..end).unwrap_or_default().into(),
        truncated: process.argv.truncated || is_cut,
        ..process.argv
    };
    Process { exe: (&*process.exe).into(), argv, cgroup: (&*process.cgroup).into(), ..*process }
}

fn dispatch<P: Plugin>(plugin: &mut P, record: Record<'_>, ctx: &mut Ctx) {
    ctx.caused_by(0);
    match record {
        Record::BatchStart(start) => ctx.begin(start),
        Record::Process(process) => ctx.describe(process),
        Record::Gone(gone) => {
            plugin.gone(gone.key, ctx);
            ctx.forget(gone);
        }
        Record::Outcome(outcome) => plugin.outcome(&outcome, ctx),
        Record::Lost(lost) => plugin.lost(&lost, ctx),
        Record::Tick(_) => plugin.tick(ctx),
        Record::Event(Event { mut meta, body }) => {
            ctx.caused_by(meta.boot_ns);
            meta.labels.keep_own(&ctx.plugin);
            match body {
                Body::BprmCheckSecurity(exec) => plugin.exec_check(&meta, &exec, ctx),
                Body::BprmCommittedCreds(exec) => plugin.exec(&meta, &exec, ctx),
                Body::FileOpen(open) => plugin.file_open(&meta, &open, ctx),
                Body::SocketConnect(connect) => plugin.connect(&meta, &connect, ctx),
                Body::SchedProcessFork(fork) => plugin.fork(&meta, &fork, ctx),
                Body::SchedProcessExit(exit) => plugin.exit(&meta, &exit, ctx),
                Body::Call(call) => plugin.call(&meta, &call, ctx),
                Body::Watch(watch) => plugin.watch(&meta, &watch, ctx),
            }
        }
        Record::Running(running) => {
            ctx.describe(kept(&running.process));
            plugin.running(&running, ctx);
        }
        Record::RunningEnd(end) => plugin.running_end(&end, ctx),
        Record::Sample(sample) => plugin.sample(&sample, ctx),
        Record::Unknown(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_keeps_as_many_bytes_of_arguments_as_an_event_has() {
        let argv = |joined: String| Argv { joined: joined.into(), argc: 9, truncated: false };
        let of = |argv| Process { argv, exe: "/a".into(), uid: 7, ..Process::default() };
        let short = of(argv("a\0b\0".into()));
        assert_eq!(kept(&short), short);
        // Cut between characters, and said to be.
        let long = of(argv(format!("a{}", "é".repeat(40_000))));
        let cut = kept(&long);
        assert_eq!((cut.argv.joined.len(), cut.argv.truncated, cut.argv.argc), (4095, true, 9));
        assert_eq!((&*cut.exe, cut.uid), ("/a", 7));
    }
}
