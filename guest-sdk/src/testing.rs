//! A scripted host for native tests: feed events, look at the actions.

use std::borrow::Cow;
use std::net::SocketAddr;

use krsi_plugin_schema::frame::Frames;
use krsi_plugin_schema::latest::{
    Action, Allow, Argv, BatchStart, Body, Call, Connect, Deny, Event, Exec, ExecFlags, FileKey,
    FileOpen, Gone, Hook, LabelRule, Lost, Manifest, Meta, Process, ProcessKey, RecordRef, SCHEMA,
    Severity, Tick, Value, Watch, Why,
};

pub use krsi_plugin_schema::latest::{RuleKey, RuleMode, Subject};

#[cfg(not(target_arch = "wasm32"))]
use crate::Level;
use crate::{Instance, Plugin};

/// An action, reduced to what tests ask about.
#[derive(Clone, Debug, PartialEq)]
pub enum Seen {
    /// A deny rule.
    Deny {
        /// Object.
        key: RuleKey,
        /// Subject.
        subject: Subject,
        /// Names of its hooks.
        hooks: Vec<&'static str>,
        /// Errno.
        errno: u16,
        /// Whether it refuses.
        mode: RuleMode,
    },
    /// An alert.
    Alert {
        /// ATT&CK technique.
        technique: String,
        /// How bad.
        severity: Severity,
        /// Text.
        text: String,
    },
    /// What a host would not do, or not send: the manifest does not ask for it.
    Refused {
        /// What the manifest does not ask for.
        reason: String,
    },
    /// Anything else, as its `Debug` shows it.
    Other(String),
}

/// A process as a script describes it.
#[derive(Clone, Debug, Default)]
pub struct Spawn<'a> {
    /// Its id; its start time is derived from it.
    pub tgid: u32,
    /// Its parent's id, 0 for none.
    pub parent: u32,
    /// Its executable.
    pub exe: &'a str,
    /// Its arguments.
    pub argv: &'a [&'a str],
    /// Kind of executable.
    pub flags: ExecFlags,
}

/// A plugin under test, and the host's side of its conversation.
pub struct Script<P> {
    instance: Instance<P>,
    manifest: Manifest,
    first: Vec<Seen>,
    batch: Vec<u8>,
    boot_ns: u64,
}

impl<P: Plugin> Script<P> {
    /// Starts a plugin with a configuration.
    ///
    /// # Errors
    /// What its `init` says.
    pub fn start(config: &[u8]) -> Result<Self, String> {
        let mut instance = Instance::new();
        let manifest = P::manifest();
        let first = seen(&manifest, &instance.init(config, 0)?);
        Ok(Self { instance, manifest, first, batch: Vec::new(), boot_ns: 1_000_000_000 })
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
        let mut joined = spawn.argv.join("\0");
        joined.push('\0');
        let argc = u32::try_from(spawn.argv.len()).unwrap_or(u32::MAX);
        let argv = Argv { joined: Cow::Owned(joined), argc, truncated: false };
        let file = Self::file(spawn.exe);
        let process = Process {
            key: Self::key(spawn.tgid),
            parent: Self::key(spawn.parent),
            exe: Cow::Borrowed(spawn.exe),
            argv: argv.clone(),
            file,
            ..Process::default()
        };
        self.push(RecordRef::Process(&process));
        let exec = Exec {
            file,
            path: Cow::Borrowed(spawn.exe),
            path_truncated: false,
            argv,
            flags: spawn.flags,
        };
        self.event(spawn.tgid, Body::BprmCommittedCreds(exec))
    }

    /// Records were lost.
    pub fn lost(&mut self, lost: Lost) -> Vec<Seen> {
        self.push(RecordRef::Lost(lost));
        self.flush()
    }

    /// A process connects to `address:port`. A text that is no socket address is port 0 of none.
    pub fn connect(&mut self, tgid: u32, to: &str) -> Vec<Seen> {
        let to: Option<SocketAddr> = to.parse().ok();
        let connect = Connect {
            address: to.map(|to| to.ip()),
            port: to.map_or(0, |to| to.port()),
            family: if to.is_some_and(|to| to.is_ipv6()) { 10 } else { 2 },
            protocol: 6,
            kind: 1,
        };
        self.event(tgid, Body::SocketConnect(connect))
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
        let process = Self::key(tgid);
        let meta = Meta { boot_ns: self.boot_ns, process, tid: tgid, ..Meta::default() };
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
        seen(&self.manifest, &self.instance.handle(&batch))
    }
}

/// Actions as a host takes them that grants what the manifest asks for.
fn seen(manifest: &Manifest, actions: &[u8]) -> Vec<Seen> {
    Frames::new(actions)
        .map(|frame| match frame.and_then(|frame| Action::decode(&frame)) {
            Ok(action) => refused(manifest, &action)
                .map_or_else(|| shown(&action), |reason| Seen::Refused { reason }),
            Err(error) => Seen::Other(error.to_string()),
        })
        .collect()
}

/// Why a host would refuse an action.
fn refused(manifest: &Manifest, action: &Action<'_>) -> Option<String> {
    let rule = match action {
        Action::Deny(Deny { rule, .. })
        | Action::Allow(Allow { rule })
        | Action::LabelRule(LabelRule { rule, .. }) => rule,
        Action::SetLabel(set) => return undeclared(manifest, [&set.label]),
        Action::Kill(_) if !manifest.kill => {
            return Some("the manifest does not ask for `kill`".to_owned());
        }
        _ => return None,
    };
    let given = match action {
        Action::LabelRule(LabelRule { label, .. }) => Some(label),
        _ => None,
    };
    let named = rule.labels.has.iter().chain(&rule.labels.lacks).chain(given);
    if let Some(refused) = undeclared(manifest, named) {
        return Some(refused);
    }
    let key = rule.key.kind();
    if !manifest.deny_keys.contains(key) {
        return Some(format!("the manifest does not ask for rules on {} keys", key.name()));
    }
    if rule.hooks.is_empty() {
        return Some("the rule names no hook".to_owned());
    }
    let mut hooks = rule.hooks.iter().map(|hook| hook.name());
    let asked = |hook: &&str| manifest.deny_hooks.iter().any(|name| name == hook);
    let hook = hooks.find(|hook| !asked(hook))?;
    Some(format!("the manifest does not ask for rules on {hook}"))
}

/// The first label that the manifest does not declare, as a reason.
fn undeclared<'l, 'a: 'l>(
    manifest: &Manifest,
    labels: impl IntoIterator<Item = &'l Cow<'a, str>>,
) -> Option<String> {
    let mut labels = labels.into_iter();
    let is_there = |name: &str| manifest.labels.iter().any(|label| label.name == name);
    let name = labels.find(|name| !is_there(name))?;
    Some(format!("the manifest declares no label {name:?}"))
}

fn shown(action: &Action<'_>) -> Seen {
    match action {
        Action::Deny(Deny { rule, errno, mode, .. }) => Seen::Deny {
            key: rule.key.clone(),
            subject: rule.subject,
            hooks: rule.hooks.iter().map(Hook::name).collect(),
            errno: *errno,
            mode: *mode,
        },
        Action::Alert(alert) => Seen::Alert {
            technique: alert.technique.clone().into_owned(),
            severity: alert.severity,
            text: alert.text.clone().into_owned(),
        },
        other => Seen::Other(format!("{other:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Ctx, Exec};

    /// Denies by file at its start and at an exec, kills, and asks for what `ASKS` says alone.
    struct Forgetful<const ASKS: u8>;

    impl<const ASKS: u8> Plugin for Forgetful<ASKS> {
        fn manifest() -> Manifest {
            let manifest = Manifest::new("forgetful", "1.0.0");
            match ASKS {
                0 => manifest,
                1 => manifest.hook(Hook::BprmCommittedCreds),
                2 => manifest.hook(Hook::BprmCommittedCreds).deny_by_file(),
                _ => manifest
                    .hook(Hook::BprmCommittedCreds)
                    .deny_by_file()
                    .deny_hook(Hook::BprmCheckSecurity)
                    .kill(),
            }
        }

        fn init(_config: &[u8], _seed: u64, ctx: &mut Ctx) -> Result<Self, String> {
            ctx.deny_file(Script::<Self>::file("/x")).exec().because("x");
            Ok(Self)
        }

        fn exec(&mut self, meta: &Meta, exec: &Exec, ctx: &mut Ctx) {
            ctx.deny_file(exec.file).exec().because("x");
            let _token = ctx.kill(meta.process);
        }
    }

    fn acts<const ASKS: u8>() -> (Vec<Seen>, Vec<Seen>) {
        let mut script = Script::<Forgetful<ASKS>>::start(b"").unwrap();
        let exec = script.exec(&Spawn { tgid: 1, exe: "/x", argv: &["x"], ..Spawn::default() });
        (script.first(), exec)
    }

    fn reason(seen: &[Seen], at: usize) -> &str {
        match seen.get(at) {
            Some(Seen::Refused { reason }) => reason,
            _ => "",
        }
    }

    #[test]
    fn what_the_manifest_forgot_is_refused_as_a_host_does() {
        let (first, exec) = acts::<0>();
        assert!(reason(&first, 0).contains("rules on file keys"), "{first:?}");
        assert_eq!(exec.len(), 1);
        assert!(reason(&exec, 0).contains("bprm_committed_creds: no host sends it"), "{exec:?}");
        let (_, exec) = acts::<1>();
        assert!(reason(&exec, 0).contains("rules on file keys"), "{exec:?}");
        assert!(reason(&exec, 1).contains("`kill`"), "{exec:?}");
        let (_, exec) = acts::<2>();
        assert!(reason(&exec, 0).contains("rules on bprm_check_security"), "{exec:?}");
        let (first, exec) = acts::<3>();
        assert!(matches!(first[0], Seen::Deny { .. }), "{first:?}");
        assert!(
            matches!(exec[0], Seen::Deny { .. }) && matches!(exec[1], Seen::Other(_)),
            "{exec:?}"
        );
    }
}
