//! An act → the records that a host would send of it, and what it is about to rules.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use krsi_host_abi::deny::FileKey as AbiFile;
use krsi_plugin_schema::latest::{
    Address, Argv, Body, Call, Connect, Event, Exec, ExecFlags, Exit, FileKey, FileOpen, Fork,
    Gone, Hook, Kind, Lost, LostOf, LostWhere, Meta, Process, ProcessKey, RecordRef, Running, Text,
    Value, Verdict, Watch, Why,
};

use super::super::stage::{Stage, object};
use super::file::{GivenValue, ScenarioAct};
use crate::policy::ledger::memory::{CallKeys, CallPath};

/// Id of the process that acts unless an act says otherwise.
const PID: u32 = 100;
/// Process id of init, the ancestor of every process.
const INIT: u32 = 1;
/// `__FMODE_EXEC` and the mode of an executable.
const EXECUTABLE: (u32, u32) = (0x20, 0o100_755);

/// The processes of a scenario, and its clock.
#[derive(Debug, Default)]
pub(super) struct ScenarioWorld {
    pub(super) boot_ns: u64,
    processes: BTreeMap<u32, KnownProcess>,
}

#[derive(Clone, Debug)]
struct KnownProcess {
    process: Process<'static>,
    comm: String,
    /// Whether the plugin was not told what it is.
    is_new: bool,
    /// Whether the host did not follow what it is.
    is_unfollowed: bool,
}

/// An event of an act: one call of a hook.
pub(super) struct Step {
    pub(super) event: Event<'static>,
}

impl Step {
    /// Keys of the event, by which rules are looked up for it.
    pub(super) fn object(&self) -> CallKeys<'_> {
        let object = object(&self.event);
        let own = match object.path {
            CallPath::At(path) => Some(file(path)),
            CallPath::None | CallPath::Unresolved => None,
        };
        // A path is a file of its own, also where a call is given the path alone.
        let own = own.map(|FileKey { ino, dev, generation }| AbiFile { ino, dev, generation });
        CallKeys { file: object.file.or(own), ..object }
    }
}

/// The key that a scenario gives to a process id.
pub(super) const fn key(pid: u32) -> ProcessKey {
    ProcessKey { start_boot_ns: pid as u64 * 1000, tgid: pid }
}

/// The file that a scenario gives to a path.
pub(super) fn file(path: &str) -> FileKey {
    let ino = path.bytes().fold(5381u64, |hash, byte| hash.wrapping_mul(33) ^ u64::from(byte));
    FileKey { ino, dev: 1, generation: 1 }
}

/// A number for the path of a cgroup.
fn cgroup_id(path: &str) -> u64 {
    if path.is_empty() { 1 } else { file(path).ino >> 1 | 2 }
}

/// What an act is, before it is played.
pub(super) enum Doing {
    /// Calls of hooks, in the order in which the kernel makes them; the first that is refused ends the act.
    Calls(Vec<Step>),
    /// The plugin is told of a process that ran already.
    Told(Box<Running<'static>>),
    /// Time passes, and nothing else happens.
    Wait,
    /// Records are lost; the value says how many and where.
    Lost(Lost),
    /// A process ends: its call, and that it is gone.
    Exit(Box<Step>, Gone),
}

impl ScenarioWorld {
    /// A world at a time, with nobody in it but PID 1.
    pub(super) fn new(boot_ns: u64) -> Self {
        let mut world = Self { boot_ns, processes: BTreeMap::new() };
        let init = ScenarioAct { exec: Some("/sbin/init".into()), ..ScenarioAct::default() };
        world.know(INIT, &init);
        world
    }

    /// What an act comes to; the error says what is wrong with it.
    pub(super) fn doing(&mut self, act: &ScenarioAct) -> Result<Doing, String> {
        let kinds = [
            act.exec.is_some(),
            act.fork.is_some(),
            act.exit.is_some(),
            act.open.is_some(),
            act.connect.is_some(),
            act.call.is_some(),
            act.watch.is_some(),
            act.running.is_some(),
            act.wait_ms.is_some(),
            act.lost.is_some(),
        ];
        if kinds.iter().filter(|is| **is).count() != 1 {
            return Err(
                "does not say one of exec, fork, exit, open, connect, call, watch, running, wait_ms, lost"
                    .into(),
            );
        }
        let after_ns = act.after_ms.unwrap_or(1).saturating_mul(1_000_000);
        self.boot_ns = self.boot_ns.saturating_add(after_ns);
        let pid = act.pid.unwrap_or(PID);
        if let Some(milliseconds) = act.wait_ms {
            self.boot_ns = self.boot_ns.saturating_add(milliseconds.saturating_mul(1_000_000));
            return Ok(Doing::Wait);
        }
        if let Some(records) = act.lost {
            return Ok(Doing::Lost(Lost { place: LostWhere::Ring, records, of: LostOf::Any }));
        }
        self.know(pid, act);
        if let Some(path) = &act.running {
            return self.running(pid, path, act).map(Doing::Told);
        }
        self.calls(pid, act)
    }

    /// The calls of an act of a known process.
    fn calls(&mut self, pid: u32, act: &ScenarioAct) -> Result<Doing, String> {
        if let Some(path) = &act.exec {
            return self.exec(pid, path, act).map(Doing::Calls);
        }
        if let Some(child) = act.fork {
            let parent = self.processes.get(&pid).cloned();
            let Some(known) = parent else { return Ok(Doing::Wait) };
            let process = Process { key: key(child), parent: key(pid), ..known.process };
            self.processes.insert(
                child,
                KnownProcess { process, is_new: true, is_unfollowed: true, comm: known.comm },
            );
            let fork = Body::SchedProcessFork(Fork { child: key(child) });
            return Ok(Doing::Calls(vec![self.step(pid, fork)]));
        }
        if let Some(code) = act.exit {
            let step = self.step(pid, Body::SchedProcessExit(Exit { code: code << 8 }));
            self.processes.remove(&pid);
            return Ok(Doing::Exit(Box::new(step), Gone { key: key(pid) }));
        }
        if let Some(path) = &act.open {
            let (path, flags) = (path.clone(), act.flags.unwrap_or(0));
            let open = FileOpen {
                file: file(&path),
                path: path.into(),
                flags,
                mode: 0o100_644,
                ..FileOpen::default()
            };
            return Ok(Doing::Calls(vec![self.step(pid, Body::FileOpen(open))]));
        }
        if let Some(to) = &act.connect {
            return self
                .connect(pid, to, act.protocol.as_deref())
                .map(|step| Doing::Calls(vec![step]));
        }
        if let Some(hook) = &act.call {
            let call = call(hook, &act.fields)?;
            return Ok(Doing::Calls(vec![self.step(pid, Body::Call(call))]));
        }
        let values = act.values.iter().map(|given| match given {
            GivenValue::Number(number) => Value::Number(u64::try_from(*number).unwrap_or(0)),
            GivenValue::Text(text) => self::text(text),
        });
        let hook = act.hook.clone().unwrap_or_default().into();
        let watch = Watch { index: act.watch.unwrap_or(0), hook, values: values.collect() };
        Ok(Doing::Calls(vec![self.step(pid, Body::Watch(watch))]))
    }

    /// Descriptions of processes that the plugin was not told yet, ancestors first.
    pub(super) fn describe(&mut self, of: u32, out: &mut Vec<u8>) {
        for pid in self.lineage(of) {
            if let Some(known) = self.processes.get_mut(&pid)
                && std::mem::take(&mut known.is_new)
            {
                // What a scenario writes fits a frame, as its file is bounded.
                let _fits = RecordRef::Process(&known.process).push(out);
            }
        }
    }

    /// Has a process described before its next event, as nobody has described it.
    pub(super) fn renew(&mut self, pid: u32) {
        if let Some(known) = self.processes.get_mut(&pid) {
            known.is_new = true;
        }
    }

    /// Has a host follow what it did not follow yet, ancestors first.
    pub(super) fn follow(&mut self, stage: &mut Stage) {
        let unfollowed = |(pid, known): (&u32, &KnownProcess)| known.is_unfollowed.then_some(*pid);
        let unfollowed: Vec<u32> = self.processes.iter().filter_map(unfollowed).collect();
        for pid in unfollowed.into_iter().flat_map(|of| self.lineage(of)).collect::<Vec<u32>>() {
            if let Some(known) = self.processes.get_mut(&pid)
                && std::mem::take(&mut known.is_unfollowed)
            {
                stage.know(&known.process);
            }
        }
    }

    /// A process and its ancestors, the first of them first.
    fn lineage(&self, of: u32) -> Vec<u32> {
        let mut lineage = vec![of];
        while let Some(known) = lineage.last().and_then(|pid| self.processes.get(pid)) {
            let parent = known.process.parent.tgid;
            if lineage.contains(&parent) {
                break;
            }
            lineage.push(parent);
        }
        lineage.reverse();
        lineage
    }

    /// Makes a process known that is seen for the first time, or what an act says of it.
    fn know(&mut self, pid: u32, act: &ScenarioAct) {
        let parent = act.parent.unwrap_or(INIT);
        if parent != pid && !self.processes.contains_key(&parent) {
            self.know(parent, &ScenarioAct::default());
        }
        let known = self.processes.entry(pid).or_insert_with(|| {
            let parent = if pid == INIT { key(0) } else { key(parent) };
            let process = Process { key: key(pid), parent, ..Process::default() };
            KnownProcess { process, comm: String::new(), is_new: true, is_unfollowed: true }
        });
        if let Some(uid) = act.uid {
            known.process.uid = uid;
        }
        if let Some(gid) = act.gid {
            known.process.gid = gid;
        }
        if let Some(cgroup) = &act.cgroup {
            known.process.cgroup = cgroup.clone().into();
            (known.is_new, known.is_unfollowed) = (true, true);
        }
        if let Some(comm) = &act.comm {
            known.comm.clone_from(comm);
        }
    }

    /// An exec as the kernel makes it: the file is opened, checked, and committed to.
    fn exec(&mut self, pid: u32, path: &str, act: &ScenarioAct) -> Result<Vec<Step>, String> {
        let (argv, flags) = (argv(path, act), flags(act)?);
        let checked =
            Exec { file: file(path), path: path.to_owned().into(), flags, ..Exec::default() };
        let committed = Exec { argv: argv.clone(), ..checked.clone() };
        let open = FileOpen {
            file: file(path),
            path: path.to_owned().into(),
            flags: EXECUTABLE.0,
            mode: EXECUTABLE.1,
            ..FileOpen::default()
        };
        let open = self.step(pid, Body::FileOpen(open));
        let check = self.step(pid, Body::BprmCheckSecurity(checked));
        let mut commit = self.step(pid, Body::BprmCommittedCreds(committed));
        let name = path.rsplit('/').next().unwrap_or(path);
        let comm = act.comm.clone().unwrap_or_else(|| name.chars().take(15).collect());
        commit.event.meta.comm = comm.into();
        Ok(vec![open, check, commit])
    }

    /// A process that ran already. Its file is not known, as no event told of it.
    fn running(
        &mut self,
        pid: u32,
        path: &str,
        act: &ScenarioAct,
    ) -> Result<Box<Running<'static>>, String> {
        let flags = flags(act)?;
        let to = act.connections.iter().flatten().map(|to| connect(to, None));
        let connections = to.collect::<Result<Vec<Connect>, _>>()?;
        let Some(known) = self.processes.get_mut(&pid) else { return Ok(Box::default()) };
        known.process.exe = path.to_owned().into();
        known.process.argv = argv(path, act);
        (known.is_new, known.is_unfollowed) = (false, true);
        let process = known.process.clone();
        Ok(Box::new(Running { process, flags, connections, connections_cut: false }))
    }

    /// Learns that an exec was committed to: the process is another one now.
    pub(super) fn committed(&mut self, event: &Event<'static>) {
        let Body::BprmCommittedCreds(exec) = &event.body else { return };
        if let Some(known) = self.processes.get_mut(&event.meta.process.tgid) {
            known.process.exe = exec.path.clone();
            known.process.argv = exec.argv.clone();
            known.process.file = exec.file;
            known.comm = event.meta.comm.clone().into_owned();
            (known.is_new, known.is_unfollowed) = (true, true);
        }
    }

    fn connect(&self, pid: u32, to: &str, protocol: Option<&str>) -> Result<Step, String> {
        Ok(self.step(pid, Body::SocketConnect(connect(to, protocol)?)))
    }

    fn step(&self, pid: u32, body: Body<'static>) -> Step {
        let known = self.processes.get(&pid);
        let process = known.map(|known| &known.process);
        let meta = Meta {
            boot_ns: self.boot_ns,
            process: key(pid),
            tid: pid,
            uid: process.map_or(0, |process| process.uid),
            gid: process.map_or(0, |process| process.gid),
            cgroup_id: cgroup_id(process.map_or("", |process| &process.cgroup)),
            comm: known.map(|known| known.comm.clone()).unwrap_or_default().into(),
            verdict: Verdict::None,
            ..Meta::default()
        };
        Step { event: Event { meta, body } }
    }
}

/// A connection to `ADDRESS:PORT`.
fn connect(to: &str, protocol: Option<&str>) -> Result<Connect, String> {
    let address: SocketAddr = to.parse().map_err(|_| format!("{to:?} is no ADDRESS:PORT"))?;
    let (protocol, kind) = match protocol {
        None | Some("tcp") => (6, 1),
        Some("udp") => (17, 2),
        Some(other) => return Err(format!("protocol {other:?} is neither tcp nor udp")),
    };
    let family = if address.is_ipv6() { 10 } else { 2 };
    let (port, ip) = (address.port(), Some(address.ip()));
    Ok(Connect { address: ip, port, family, protocol, kind })
}

/// Arguments of an act; its path alone unless said.
fn argv(path: &str, act: &ScenarioAct) -> Argv<'static> {
    let argv = act.argv.clone().unwrap_or_else(|| vec![path.to_owned()]);
    let argc = u32::try_from(argv.len()).unwrap_or(u32::MAX);
    let mut joined = argv.join("\0");
    joined.push('\0');
    Argv { joined: joined.into(), argc, truncated: false }
}

/// Kind of an executable.
fn flags(act: &ScenarioAct) -> Result<ExecFlags, String> {
    match act.kind.as_deref() {
        None => Ok(ExecFlags(0)),
        Some("memfd") => Ok(ExecFlags(ExecFlags::MEMFD | ExecFlags::DELETED)),
        Some("deleted") => Ok(ExecFlags(ExecFlags::DELETED)),
        Some(other) => Err(format!("kind {other:?} is neither memfd nor deleted")),
    }
}

fn text(text: &str) -> Value<'static> {
    Value::Text(Text { text: text.to_owned().into(), ..Text::default() })
}

/// A call of a hook with some of its fields; the others could not be read.
fn call(name: &str, fields: &BTreeMap<String, GivenValue>) -> Result<Call<'static>, String> {
    let hook = Hook::from_name(name).filter(|hook| hook.is_call());
    let hook =
        hook.ok_or_else(|| format!("call {name:?} is no hook of docs/hooks.md with fields"))?;
    if let Some(unknown) =
        fields.keys().find(|name| !hook.fields().iter().any(|row| row.name == **name))
    {
        let known: Vec<&str> = hook.fields().iter().map(|row| row.name).collect();
        return Err(format!(
            "{} has no field {unknown:?}; it has {}",
            hook.name(),
            known.join(", ")
        ));
    }
    let value = |row: &krsi_plugin_schema::latest::FieldRow| match fields.get(row.name) {
        None => Ok(Value::Absent(Why::Unreadable)),
        Some(given) => value(row.kind, given)
            .ok_or_else(|| format!("field {:?} of {} is a {:?}", row.name, hook.name(), row.kind)),
    };
    let values = hook.fields().iter().map(value).collect::<Result<_, String>>()?;
    Ok(Call { hook, values })
}

fn value(kind: Kind, given: &GivenValue) -> Option<Value<'static>> {
    match (kind, given) {
        (Kind::Number, GivenValue::Number(number)) => {
            u64::try_from(*number).ok().map(Value::Number)
        }
        (Kind::Signed, GivenValue::Number(number)) => Some(Value::Signed(*number)),
        (Kind::Text, GivenValue::Text(given)) => Some(text(given)),
        (Kind::Bytes, GivenValue::Text(given)) => {
            Some(Value::Bytes(given.clone().into_bytes().into()))
        }
        (Kind::File, GivenValue::Text(given)) => Some(Value::File(file(given))),
        (Kind::Address, GivenValue::Text(given)) => {
            let address = match given.parse::<SocketAddr>() {
                Ok(to) => Address {
                    family: if to.is_ipv6() { 10 } else { 2 },
                    ip: Some(to.ip()),
                    port: to.port(),
                    ..Address::default()
                },
                Err(_) => Address { family: 1, path: given.clone().into(), ..Address::default() },
            };
            Some(Value::Address(address))
        }
        _ => None,
    }
}
