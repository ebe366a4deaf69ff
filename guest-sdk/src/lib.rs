//! The author's API: implement [`Plugin`], name it in [`export!`], compile to `wasm32-unknown-unknown`.
//!
//! A plugin is a deterministic state machine: events go in, actions come out. It has no clock, no
//! files and no network; time is [`Ctx::now_boot_ns`], what it knows of processes [`Ctx::process`].
//!
//! ```
//! use std::time::Duration;
//! use krsi_plugin::{Connect, Ctx, Hook, Manifest, Meta, Plugin, Severity};
//!
//! /// Refuses telnet.
//! struct NoTelnet;
//!
//! impl Plugin for NoTelnet {
//!     fn manifest() -> Manifest {
//!         Manifest::new("no-telnet", "1.0.0")
//!             .hook(Hook::SocketConnect)
//!             .deny_by_lineage()
//!             .deny_hook(Hook::SocketConnect)
//!     }
//!
//!     fn init(_config: &[u8], _seed: u64, _ctx: &mut Ctx) -> Result<Self, String> {
//!         Ok(NoTelnet)
//!     }
//!
//!     fn connect(&mut self, meta: &Meta, connect: &Connect, ctx: &mut Ctx) {
//!         if connect.port == 23 {
//!             ctx.deny_lineage(meta.process)
//!                 .hook(Hook::SocketConnect)
//!                 .ttl(Duration::from_secs(60))
//!                 .because("telnet is not allowed here");
//!             ctx.alert("T1021", Severity::Medium, meta.process, "telnet");
//!         }
//!     }
//! }
//!
//! # use krsi_plugin::testing::Script;
//! let mut script = Script::<NoTelnet>::start(b"").unwrap();
//! let actions = script.connect(42, "10.0.0.1:23");
//! assert_eq!(actions.len(), 2);
//! ```
//! In a plugin crate, `krsi_plugin::export!(NoTelnet);` makes it a component.

mod action;
mod context;
mod export;
#[cfg(feature = "parse")]
pub mod parse;
mod process_table;
mod state;
pub mod testing;

pub use action::{Errno, Protocol, RuleBuilder, Token};
pub use context::Ctx;
pub use export::{Instance, glue};
pub use krsi_plugin_schema::latest::{
    Address, Argv, Call, Condition, Connect, Content, ContentState, Exec, ExecFlags, Exit,
    FieldRow, FileKey, FileOpen, Filter, Fork, Hook, IfUnread, IfUnresolved, KeyKind, Kind,
    LabelExec, LabelFull, Lost, LostOf, LostWhere, Manifest, Meta, MetricKind, OnStop, Outcome,
    Process, ProcessKey, RecordError, Refusal, RuleMode, Running, RunningEnd, Sample, SampleState,
    Severity, Text, TextFlags, ToldRunning, Value, Verdict, Watch, Whose, Why, record,
};

/// The examples of the page on labels, run as printed.
#[cfg(doctest)]
#[doc = include_str!("../../docs/labels.md")]
struct LabelsPage;

/// Severity of a line in the host's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// The plugin, or what it needs, is broken.
    Error,
    /// The plugin found something odd.
    Warn,
    /// Worth knowing.
    Info,
    /// For whoever looks for a fault.
    Debug,
}

/// A detection. Every method but the first two does nothing unless implemented.
///
/// Events of a hook arrive only when [`Plugin::manifest`] names it; denials by this plugin's own
/// rules always arrive, with [`Meta::verdict`] set.
pub trait Plugin: Sized + 'static {
    /// Name, hooks and capabilities.
    fn manifest() -> Manifest;

    /// Starts from a configuration. Rules made here are in force before the first event.
    ///
    /// # Errors
    /// The text is shown to the operator, who wrote the configuration.
    fn init(config: &[u8], seed: u64, ctx: &mut Ctx) -> Result<Self, String>;

    /// An executable is about to run; arguments are not known yet.
    fn exec_check(&mut self, _meta: &Meta, _exec: &Exec, _ctx: &mut Ctx) {}
    /// An exec succeeded.
    fn exec(&mut self, _meta: &Meta, _exec: &Exec, _ctx: &mut Ctx) {}
    /// A file is being opened.
    fn file_open(&mut self, _meta: &Meta, _open: &FileOpen, _ctx: &mut Ctx) {}
    /// A socket is being connected.
    fn connect(&mut self, _meta: &Meta, _connect: &Connect, _ctx: &mut Ctx) {}
    /// A process was created.
    fn fork(&mut self, _meta: &Meta, _fork: &Fork, _ctx: &mut Ctx) {}
    /// A process ended.
    fn exit(&mut self, _meta: &Meta, _exit: &Exit, _ctx: &mut Ctx) {}
    /// Any other hook was called. [`record`] has a struct with named fields for each:
    ///
    /// ```
    /// # use krsi_plugin::{Call, Ctx, Hook, Manifest, Meta, Plugin, Severity, record};
    /// # struct WriteToExec;
    /// # impl Plugin for WriteToExec {
    /// #     fn manifest() -> Manifest { Manifest::new("w-to-x", "1.0.0").hook(Hook::FileMprotect) }
    /// #     fn init(_: &[u8], _: u64, _: &mut Ctx) -> Result<Self, String> { Ok(WriteToExec) }
    /// fn call(&mut self, meta: &Meta, call: &Call, ctx: &mut Ctx) {
    ///     if let Ok(mprotect) = record::FileMprotect::try_from(call)
    ///         && mprotect.write_to_exec()
    ///     {
    ///         ctx.alert("T1055", Severity::Low, meta.process, "writable memory becomes executable");
    ///     }
    /// }
    /// # }
    /// # use krsi_plugin::{Value, testing::Script};
    /// # let mut script = Script::<WriteToExec>::start(b"").unwrap();
    /// # let values = [("vm_flags", Value::Number(3)), ("protection", Value::Number(5))];
    /// # assert_eq!(script.call(7, Hook::FileMprotect, &values).len(), 1);
    /// # assert_eq!(script.call(7, Hook::FileMprotect, &values[1..]).len(), 0);
    /// ```
    fn call(&mut self, _meta: &Meta, _call: &Call, _ctx: &mut Ctx) {}
    /// A watch of the manifest matched a call.
    fn watch(&mut self, _meta: &Meta, _watch: &Watch, _ctx: &mut Ctx) {}
    /// A process ran when the plugin started; comes only if [`Manifest::running`] asks for it, for each process once,
    /// mixed with events of the same processes.
    ///
    /// ```
    /// # use krsi_plugin::{Ctx, Manifest, Plugin, Running, Severity};
    /// # struct OldShells;
    /// # impl Plugin for OldShells {
    /// fn manifest() -> Manifest {
    ///     Manifest::new("old-shells", "1.0.0").running()
    /// }
    /// #     fn init(_: &[u8], _: u64, _: &mut Ctx) -> Result<Self, String> { Ok(OldShells) }
    /// fn running(&mut self, running: &Running, ctx: &mut Ctx) {
    ///     if running.process.exe == "/bin/sh" && running.connections.iter().any(|to| to.port == 4444) {
    ///         ctx.alert("T1059", Severity::High, running.process.key, "a shell talks to port 4444");
    ///     }
    /// }
    /// # }
    /// # use krsi_plugin::testing::{Script, Spawn};
    /// # let mut script = Script::<OldShells>::start(b"").unwrap();
    /// # let shell = Spawn { tgid: 7, exe: "/bin/sh", argv: &["sh"], ..Spawn::default() };
    /// # assert_eq!(script.running(&shell, &["10.0.0.1:4444"]).len(), 1);
    /// # assert_eq!(script.running(&shell, &[]).len(), 0);
    /// ```
    fn running(&mut self, _running: &Running, _ctx: &mut Ctx) {}
    /// All processes that ran when the plugin started have been told of.
    fn running_end(&mut self, _end: &RunningEnd, _ctx: &mut Ctx) {}
    /// A process was read, as [`Ctx::sample`] or [`Ctx::arguments`] asked.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use krsi_plugin::{
    /// #     Ctx, Exec, Hook, Manifest, Meta, Plugin, Sample, SampleState, Severity, testing::Script, testing::Spawn,
    /// # };
    /// # struct Crowded;
    /// # impl Plugin for Crowded {
    /// fn manifest() -> Manifest {
    ///     Manifest::new("crowded", "1.0.0").hook(Hook::BprmCommittedCreds).samples()
    /// }
    /// #     fn init(_: &[u8], _: u64, _: &mut Ctx) -> Result<Self, String> { Ok(Crowded) }
    /// fn exec(&mut self, meta: &Meta, _: &Exec, ctx: &mut Ctx) {
    ///     ctx.sample(meta.process, Duration::from_secs(10), 6);
    /// }
    /// fn sample(&mut self, sample: &Sample, ctx: &mut Ctx) {
    ///     if sample.state == SampleState::Read && sample.threads > 1000 {
    ///         ctx.alert("", Severity::Low, sample.process, "a thousand threads");
    ///     }
    /// }
    /// # }
    /// # let mut script = Script::<Crowded>::start(b"").unwrap();
    /// # script.exec(&Spawn { tgid: 7, exe: "/a", ..Spawn::default() });
    /// # assert_eq!(script.sample(7, Sample { threads: 7, ..Sample::default() }).len(), 0);
    /// # assert_eq!(script.sample(7, Sample { threads: 1001, ..Sample::default() }).len(), 1);
    /// # assert_eq!(script.sample_ended(7).len(), 0);
    /// ```
    fn sample(&mut self, _sample: &Sample, _ctx: &mut Ctx) {}
    /// A process that was described is gone; nothing later refers to it.
    fn gone(&mut self, _process: ProcessKey, _ctx: &mut Ctx) {}
    /// The interval of [`Manifest::tick_ms`] has passed.
    fn tick(&mut self, _ctx: &mut Ctx) {}
    /// An earlier action was done or refused.
    fn outcome(&mut self, _outcome: &Outcome, _ctx: &mut Ctx) {}
    /// Records did not reach this plugin: those around this call in time, as well as can be known.
    /// [`Lost::of`] says of which hook or watch, [`Lost::place`] where.
    fn lost(&mut self, _lost: &Lost, _ctx: &mut Ctx) {}

    /// The state, for a successor or a restart.
    fn snapshot(&self) -> Vec<u8> {
        Vec::new()
    }

    /// Takes over a state that version `from` of this plugin wrote.
    ///
    /// # Errors
    /// Keeps the predecessor running; the text says why.
    fn restore(&mut self, _from: &str, _state: &[u8]) -> Result<(), String> {
        Ok(())
    }
}

/// Makes a type that implements [`Plugin`] the plugin of this crate.
#[macro_export]
macro_rules! export {
    ($plugin:ty) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            use $crate::glue as bindings;

            thread_local! {
                static INSTANCE: ::core::cell::RefCell<$crate::Instance<$plugin>> =
                    const { ::core::cell::RefCell::new($crate::Instance::new()) };
            }

            struct Component;

            impl bindings::Guest for Component {
                fn describe() -> Vec<u8> {
                    bindings::catch_panics();
                    $crate::Instance::<$plugin>::describe()
                }
                fn init(config: Vec<u8>, seed: u64) -> Result<Vec<u8>, String> {
                    INSTANCE.with_borrow_mut(|instance| instance.init(&config, seed))
                }
                fn handle(batch: Vec<u8>) -> Vec<u8> {
                    INSTANCE.with_borrow_mut(|instance| instance.handle(&batch))
                }
                fn snapshot() -> Vec<u8> {
                    INSTANCE.with_borrow(|instance| instance.snapshot())
                }
                fn restore(from_version: String, state: Vec<u8>) -> Result<(), String> {
                    INSTANCE.with_borrow_mut(|instance| instance.restore(&from_version, &state))
                }
            }

    $crate::glue::export!(Component with_types_in $crate::glue);
        };
    };
}
