//! A scripted host for native tests: feed events, look at the actions.
//!
//! `krsi-host plugin test` plays scenarios against the Wasm file, with a real ledger; a script is for what a scenario
//! cannot say.

mod seen;

use std::borrow::Cow;
use std::net::SocketAddr;

use krsi_plugin_schema::latest::{
    Argv, BatchStart, Body, Call, Connect, Event, EventLabels, Exec, ExecFlags, FileKey, FileOpen,
    Gone, Hook, Lost, Manifest, Meta, Outcome, Process, ProcessKey, RecordRef, Refusal, Running,
    RunningEnd, SCHEMA, Sample, SampleState, Tick, ToldRunning, Value, Verdict, Watch, Why,
};

use self::seen::{OpenAsk, Unanswered, open_asks, seen, unanswered};

pub use self::seen::Seen;
pub use krsi_plugin_schema::latest::{RuleKey, RuleMode, Subject};

#[cfg(not(target_arch = "wasm32"))]
use crate::Level;
use crate::{Instance, Plugin};

/// A process as a script describes it.
#[derive(Clone, Debug, Default)]
pub struct Spawn<'a> {
    /// Process id; its start time is derived from it.
    pub tgid: u32,
    /// Process id of the parent, 0 for none.
    pub parent: u32,
    /// Path of the executable.
    pub exe: &'a str,
    /// Arguments of the program, its own name first.
    pub argv: &'a [&'a str],
    /// Flags of the executable, such as that it is a `memfd_create` file.
    pub flags: ExecFlags,
}

/// A plugin under test, and the host's side of its conversation.
pub struct Script<P> {
    instance: Instance<P>,
    manifest: Manifest,
    first: Vec<Seen>,
    batch: Vec<u8>,
    boot_ns: u64,
    /// User and group of whom acts next.
    user: (u32, u32),
    /// Verdict on the next call.
    verdict: Verdict,
    labels: EventLabels<'static>,
    /// Actions that were not answered.
    unanswered: Vec<Unanswered>,
    rules: u64,
    /// Asks for samples that are not at their end, by process and token.
    samples: Vec<OpenAsk>,
}

impl<P: Plugin> Script<P> {
    /// Starts a plugin with a configuration.
    ///
    /// # Errors
    /// What its `init` says.
    pub fn start(config: &[u8]) -> Result<Self, String> {
        let mut instance = Instance::new();
        let manifest = P::manifest();
        let actions = instance.init(config, 0)?;
        let (first, unanswered) = (seen(&manifest, &actions), unanswered(&manifest, &actions));
        let samples = open_asks(&manifest, &actions).collect();
        Ok(Self {
            instance,
            manifest,
            first,
            batch: Vec::new(),
            boot_ns: 1_000_000_000,
            user: (0, 0),
            verdict: Verdict::None,
            labels: EventLabels::default(),
            unanswered,
            rules: 0,
            samples,
        })
    }

    /// What its `init` did; nothing when it is asked again.
    pub fn first(&mut self) -> Vec<Seen> {
        std::mem::take(&mut self.first)
    }

    /// The key that a script gives to a process id.
    #[must_use]
    pub const fn key(tgid: u32) -> ProcessKey {
        ProcessKey { start_boot_ns: tgid as u64 * 1000, tgid }
    }

    /// The file that a script gives to a path.
    #[must_use]
    pub fn file(path: &str) -> FileKey {
        let ino = path.bytes().fold(5381u64, |hash, byte| hash.wrapping_mul(33) ^ u64::from(byte));
        FileKey { ino, dev: 1, generation: 1 }
    }

    /// A process runs an executable.
    pub fn exec(&mut self, spawn: &Spawn<'_>) -> Vec<Seen> {
        let process = self.described(spawn);
        self.push(RecordRef::Process(&process));
        let Process { file, argv, .. } = process;
        let exec = Exec {
            file,
            path: Cow::Borrowed(spawn.exe),
            path_truncated: false,
            argv,
            flags: spawn.flags,
        };
        self.event(spawn.tgid, Body::BprmCommittedCreds(exec))
    }

    /// A process that ran when the plugin started is told of, with its connections (`ADDRESS:PORT`).
    pub fn running(&mut self, spawn: &Spawn<'_>, connections: &[&str]) -> Vec<Seen> {
        if self.manifest.running == ToldRunning::Never {
            let reason = "the manifest does not ask for what runs already: no host sends it".into();
            return vec![Seen::Refused { reason }];
        }
        let connections = connections.iter().map(|to| connect(to)).collect();
        let (process, flags) = (self.described(spawn), spawn.flags);
        let running = Running { process, flags, connections, connections_cut: false };
        self.push(RecordRef::Running(&running));
        self.flush()
    }

    /// The survey ends: the plugin was told of all running processes.
    pub fn running_end(&mut self) -> Vec<Seen> {
        self.push(RecordRef::RunningEnd(RunningEnd::default()));
        self.flush()
    }

    /// A process is read for everybody who asked: `sample` says what is found, but for its token, its number and its
    /// time. Without an ask it is told so, as no host sends a sample then.
    pub fn sample(&mut self, tgid: u32, sample: Sample<'_>) -> Vec<Seen> {
        self.read(tgid, Sample { state: SampleState::Read, ..sample })
    }

    /// A process has ended by the time that it is read, for everybody who asked.
    pub fn sample_ended(&mut self, tgid: u32) -> Vec<Seen> {
        self.read(tgid, Sample { state: SampleState::Ended, ..Sample::default() })
    }

    fn read(&mut self, tgid: u32, sample: Sample<'_>) -> Vec<Seen> {
        let (process, boot_ns) = (Self::key(tgid), self.boot_ns);
        let mut all = std::mem::take(&mut self.samples);
        let mut is_asked = false;
        for ask in all.iter_mut().filter(|ask| ask.process == process) {
            is_asked = true;
            ask.taken += 1;
            if sample.state == SampleState::Ended {
                ask.times = ask.taken;
            }
            let argv = sample.argv.clone().filter(|_| ask.arguments);
            let (token, number, is_last) = (ask.token, ask.taken, ask.taken >= ask.times);
            let sample =
                Sample { token, process, number, is_last, boot_ns, argv, ..sample.clone() };
            self.push(RecordRef::Sample(&sample));
        }
        all.retain(|ask| ask.taken < ask.times);
        self.samples = all;
        if !is_asked {
            let reason = format!("nobody asked for samples of {tgid}: no host sends one");
            return vec![Seen::Refused { reason }];
        }
        self.flush()
    }

    fn described<'s>(&self, spawn: &Spawn<'s>) -> Process<'s> {
        let mut joined = spawn.argv.join("\0");
        joined.push('\0');
        let argc = u32::try_from(spawn.argv.len()).unwrap_or(u32::MAX);
        Process {
            key: Self::key(spawn.tgid),
            parent: Self::key(spawn.parent),
            exe: Cow::Borrowed(spawn.exe),
            argv: Argv { joined: Cow::Owned(joined), argc, truncated: false },
            file: Self::file(spawn.exe),
            uid: self.user.0,
            gid: self.user.1,
            ..Process::default()
        }
    }

    /// From here on a user and a group act; root until then.
    ///
    /// ```
    /// # use krsi_plugin::{Connect, Ctx, Hook, Manifest, Meta, Plugin, Severity, testing::Script};
    /// # struct NoRoot;
    /// # impl Plugin for NoRoot {
    /// #     fn manifest() -> Manifest { Manifest::new("no-root", "1.0.0").hook(Hook::SocketConnect) }
    /// #     fn init(_: &[u8], _: u64, _: &mut Ctx) -> Result<Self, String> { Ok(NoRoot) }
    /// #     fn connect(&mut self, meta: &Meta, _: &Connect, ctx: &mut Ctx) {
    /// #         if meta.uid == 0 { ctx.alert("", Severity::Low, meta.process, "root connects") }
    /// #     }
    /// # }
    /// let mut script = Script::<NoRoot>::start(b"").unwrap();
    /// assert_eq!(script.connect(7, "10.0.0.1:80").len(), 1);
    /// script.user(1000, 1000);
    /// assert_eq!(script.connect(7, "10.0.0.1:80").len(), 0);
    /// ```
    pub const fn user(&mut self, uid: u32, gid: u32) {
        self.user = (uid, gid);
    }

    /// The next call is answered so: a plugin is sent what its own rules refuse, of hooks too that it does not
    /// subscribe to.
    ///
    /// ```
    /// # use krsi_plugin::{Connect, Ctx, Hook, Manifest, Meta, Plugin, Severity, Verdict, testing::Script};
    /// # struct Denials;
    /// # impl Plugin for Denials {
    /// #     fn manifest() -> Manifest {
    /// #         Manifest::new("denials", "1.0.0").deny_by_process().deny_hook(Hook::SocketConnect)
    /// #     }
    /// #     fn init(_: &[u8], _: u64, _: &mut Ctx) -> Result<Self, String> { Ok(Denials) }
    /// #     fn connect(&mut self, meta: &Meta, _: &Connect, ctx: &mut Ctx) {
    /// #         if let Verdict::Denied { .. } = meta.verdict {
    /// #             ctx.alert("", Severity::Low, meta.process, "it tries again")
    /// #         }
    /// #     }
    /// # }
    /// let mut script = Script::<Denials>::start(b"").unwrap();
    /// script.verdict(Verdict::Denied { rule_id: 1, errno: 1 });
    /// assert_eq!(script.connect(7, "10.0.0.1:80").len(), 1);
    /// ```
    pub const fn verdict(&mut self, verdict: Verdict) {
        self.verdict = verdict;
    }

    /// The caller of the next call had some of the plugin's labels before it, and the call gives it others.
    ///
    /// ```
    /// # use krsi_plugin::{Connect, Ctx, Hook, LabelExec, LabelFull, Manifest, Meta, Plugin, Severity, testing::Script};
    /// # struct Readers;
    /// # impl Plugin for Readers {
    /// #     fn manifest() -> Manifest {
    /// #         Manifest::new("readers", "1.0.0")
    /// #             .hook(Hook::SocketConnect)
    /// #             .label("reader", LabelExec::Keep, LabelFull::Count)
    /// #     }
    /// #     fn init(_: &[u8], _: u64, _: &mut Ctx) -> Result<Self, String> { Ok(Readers) }
    /// #     fn connect(&mut self, meta: &Meta, _: &Connect, ctx: &mut Ctx) {
    /// #         if meta.has_label("reader") {
    /// #             ctx.alert("", Severity::Low, meta.process, "a reader connects")
    /// #         }
    /// #     }
    /// # }
    /// let mut script = Script::<Readers>::start(b"").unwrap();
    /// script.labels(&["reader"], &[]);
    /// assert_eq!(script.connect(7, "10.0.0.1:80").len(), 1);
    /// assert_eq!(script.connect(7, "10.0.0.1:80").len(), 0);
    /// ```
    pub fn labels(&mut self, had: &[&str], gave: &[&str]) {
        let plugin = P::manifest().name;
        let named = |labels: &[&str]| {
            labels.iter().map(|label| format!("{plugin}.{label}").into()).collect()
        };
        self.labels = EventLabels { had: named(had), gave: named(gave) };
    }

    /// Answers every action that was not answered yet: done, rules with ids of their own; what a host would refuse, as
    /// the manifest does not ask for it, is refused.
    ///
    /// ```
    /// # use krsi_plugin::{Ctx, Hook, Level, Manifest, Outcome, Plugin, Refusal, testing::Script};
    /// # struct Careful;
    /// # impl Plugin for Careful {
    /// #     fn manifest() -> Manifest {
    /// #         Manifest::new("careful", "1.0.0").deny_by_path().deny_hook(Hook::FileOpen)
    /// #     }
    /// #     fn init(_: &[u8], _: u64, ctx: &mut Ctx) -> Result<Self, String> {
    /// #         ctx.deny_path("/etc/secret").open().because("nobody reads it");
    /// #         Ok(Careful)
    /// #     }
    /// #     fn outcome(&mut self, outcome: &Outcome, ctx: &mut Ctx) {
    /// #         if outcome.refusal.is_some() { ctx.log(Level::Error, "unprotected"); }
    /// #     }
    /// # }
    /// let mut script = Script::<Careful>::start(b"").unwrap();
    /// script.done();
    /// assert!(script.log().is_empty());
    /// let mut script = Script::<Careful>::start(b"").unwrap();
    /// script.refuse(Refusal::MapFull, "the path map is full");
    /// assert_eq!(script.log()[0].1, "unprotected");
    /// ```
    pub fn done(&mut self) -> Vec<Seen> {
        self.answer(None, "")
    }

    /// Answers every action that was not answered yet: refused, for a reason.
    pub fn refuse(&mut self, refusal: Refusal, detail: &str) -> Vec<Seen> {
        self.answer(Some(refusal), detail)
    }

    fn answer(&mut self, refusal: Option<Refusal>, detail: &str) -> Vec<Seen> {
        for Unanswered { token, is_rule, refused } in std::mem::take(&mut self.unanswered) {
            let (refusal, detail) = match &refused {
                Some((refusal, reason)) => (Some(*refusal), reason.as_str()),
                None => (refusal, detail),
            };
            let is_made = is_rule && refusal.is_none();
            self.rules += u64::from(is_made);
            let rule_id = is_made.then_some(self.rules);
            let outcome = Outcome { token, rule_id, refusal, detail: Cow::Borrowed(detail) };
            self.push(RecordRef::Outcome(&outcome));
        }
        self.flush()
    }

    /// Time passes, and nobody is told: the next event is that much later.
    pub const fn wait(&mut self, milliseconds: u64) {
        self.boot_ns = self.boot_ns.saturating_add(milliseconds.saturating_mul(1_000_000));
    }

    /// The time of the script, nanoseconds of `CLOCK_BOOTTIME`.
    #[must_use]
    pub const fn now_boot_ns(&self) -> u64 {
        self.boot_ns
    }

    /// Records were lost.
    pub fn lost(&mut self, lost: Lost) -> Vec<Seen> {
        self.push(RecordRef::Lost(lost));
        self.flush()
    }

    /// A process connects to `address:port`. A text that is no socket address is port 0 of none.
    pub fn connect(&mut self, tgid: u32, to: &str) -> Vec<Seen> {
        self.event(tgid, Body::SocketConnect(connect(to)))
    }

    /// A process opens a file.
    pub fn open(&mut self, tgid: u32, path: &str) -> Vec<Seen> {
        let file = Self::file(path);
        let open = FileOpen { file, path: Cow::Borrowed(path), ..FileOpen::default() };
        self.event(tgid, Body::FileOpen(open))
    }

    /// A process calls a hook with the values of some fields; the others could not be read.
    /// A field that the hook does not have is an answer of its own, for the test to fail on.
    pub fn call(&mut self, tgid: u32, hook: Hook, fields: &[(&str, Value<'_>)]) -> Vec<Seen> {
        let names = hook.fields();
        if let Some((name, _)) =
            fields.iter().find(|(name, _)| !names.iter().any(|row| row.name == *name))
        {
            return vec![Seen::Other(format!("{} has no field {name}", hook.name()))];
        }
        let value = |name| fields.iter().find(|(field, _)| *field == name);
        let values = names.iter().map(|row| {
            value(row.name).map_or(Value::Absent(Why::Unreadable), |(_, value)| value.clone())
        });
        let call = Call { hook, values: values.collect() };
        self.event(tgid, Body::Call(call))
    }

    /// A watch of the plugin, by its place in the manifest, sees a call.
    pub fn watch(&mut self, tgid: u32, index: u16, hook: &str, values: &[Value<'_>]) -> Vec<Seen> {
        let watch = Watch { index, hook: Cow::Borrowed(hook), values: values.to_vec() };
        self.event(tgid, Body::Watch(watch))
    }

    /// A process is gone.
    pub fn gone(&mut self, tgid: u32) -> Vec<Seen> {
        self.push(RecordRef::Gone(Gone { key: Self::key(tgid) }));
        self.flush()
    }

    /// Time passes.
    pub fn tick(&mut self, milliseconds: u64) -> Vec<Seen> {
        self.boot_ns += milliseconds * 1_000_000;
        self.push(RecordRef::Tick(Tick {}));
        self.flush()
    }

    /// The same plugin after a reload: its state goes through snapshot and restore.
    ///
    /// # Errors
    /// What `init` or `restore` say.
    pub fn reload(self, config: &[u8]) -> Result<Self, String> {
        let state = self.instance.snapshot();
        let mut next = Self::start(config)?;
        next.boot_ns = self.boot_ns;
        next.instance.restore("0.0.0", &state)?;
        Ok(next)
    }

    /// Lines that the plugin logged since the last call.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn log(&mut self) -> Vec<(Level, String)> {
        self.instance.take_log()
    }

    fn event(&mut self, tgid: u32, body: Body<'_>) -> Vec<Seen> {
        if let Some(name) = self.never_sent(&body) {
            let reason = format!("the manifest does not ask for {name}: no host sends it");
            return vec![Seen::Refused { reason }];
        }
        self.boot_ns += 1000;
        let (process, (uid, gid)) = (Self::key(tgid), self.user);
        let verdict = std::mem::replace(&mut self.verdict, Verdict::None);
        let (boot_ns, labels) = (self.boot_ns, std::mem::take(&mut self.labels));
        let meta =
            Meta { boot_ns, process, tid: tgid, uid, gid, verdict, labels, ..Meta::default() };
        self.begin();
        let event = Event { meta, body };
        if event.push(&mut self.batch).is_err() {
            return vec![Seen::Other("an event too long for a frame".into())];
        }
        self.flush()
    }

    /// What of an event's the manifest would have to ask for, and does not.
    fn never_sent(&self, body: &Body<'_>) -> Option<String> {
        let hook = match body {
            Body::Watch(watch) => {
                let is_there = usize::from(watch.index) < self.manifest.watches.len();
                return (!is_there).then(|| format!("watch {}", watch.index));
            }
            body => body.hook()?,
        };
        let denies = self.manifest.deny_hooks.iter().any(|name| name == hook.name());
        if denies && self.verdict != Verdict::None {
            return None;
        }
        let is_there = self.manifest.hooks.iter().any(|name| name == hook.name());
        (!is_there).then(|| hook.name().to_owned())
    }

    fn begin(&mut self) {
        if self.batch.is_empty() {
            let boot_ns = self.boot_ns;
            let schema = SCHEMA.number();
            let start = BatchStart { schema, boot_ns, unix_offset_ns: 0 };
            // A batch start always fits a frame.
            let _fits = RecordRef::BatchStart(start).push(&mut self.batch);
        }
    }

    fn push(&mut self, record: RecordRef<'_, '_>) {
        self.begin();
        // What a script writes fits a frame; what does not is missing, and its test fails.
        let _fits = record.push(&mut self.batch);
    }

    fn flush(&mut self) -> Vec<Seen> {
        let batch = std::mem::take(&mut self.batch);
        let actions = self.instance.handle(&batch);
        self.unanswered.extend(unanswered(&self.manifest, &actions));
        self.samples.extend(open_asks(&self.manifest, &actions));
        seen(&self.manifest, &actions)
    }
}

fn connect(to: &str) -> Connect {
    let to: Option<SocketAddr> = to.parse().ok();
    Connect {
        address: to.map(|to| to.ip()),
        port: to.map_or(0, |to| to.port()),
        family: if to.is_some_and(|to| to.is_ipv6()) { 10 } else { 2 },
        protocol: 6,
        kind: 1,
    }
}

#[cfg(test)]
mod tests;
