//! What a redacted recording keeps of names and texts: tokens that are equal where they were equal.
//!
//! A token is made by HMAC-SHA-256 under a key that lives as long as the recorder and is never written. Each
//! component of a path is a token of its own, so that common prefixes survive; substrings and lengths do not. Names
//! of folders that every system has stay. Contents, configurations, states, reasons, alerts' texts and logs are left
//! out.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::fmt::Write;
use std::fs::File;
use std::io::{self, Read};

use hmac::{Hmac, Mac};
use krsi_plugin_schema::frame::Frames;
use krsi_plugin_schema::latest::{
    Action, Argv, Body, Exec, Process, Record, RecordRef, RuleKey, SCHEMA, Value,
};
use krsi_plugin_schema::{Schema, lower};
use sha2::Sha256;

use super::entry::{Opened, RecordEntry, Streamed, TapedAct, TapedAnswer, TapedCall};

/// Names of folders that say nothing about whoever has them.
const PLAIN: &str = "bin boot cache data dev etc games home include lib lib32 lib64 libexec local log media memfd: mnt \
    opt proc root run sbin self share shm snap spool srv state sys tmp user usr var";

/// Tapes whose schemas are remembered: more than run at a time, with those that took over from each other.
const TAPES_MAX: usize = 4096;

/// Replaces what is secret.
pub(super) struct Redactor {
    key: Hmac<Sha256>,
    /// Schemas of the latest tapes, the newest first.
    schemas: VecDeque<(u32, Schema)>,
}

impl Redactor {
    /// A redactor with a key of its own.
    pub(super) fn new() -> io::Result<Self> {
        let mut key = [0; 32];
        File::open("/dev/urandom")?.read_exact(&mut key)?;
        let key = Hmac::new_from_slice(&key).map_err(|_| io::Error::other("a key of 32 bytes"))?;
        Ok(Self { key, schemas: VecDeque::new() })
    }

    /// An encoded entry without what is secret; a call of a tape in the newest schema, as it is for reading only.
    pub(super) fn entry(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        // The recorder wrote it.
        let Ok((entry, _)) = RecordEntry::take(bytes) else { return out };
        let redacted = match entry {
            RecordEntry::Opened(opened) => {
                let schema = Schema::from_number(opened.schema).unwrap_or(SCHEMA);
                self.schemas.push_front((opened.tape, schema));
                self.schemas.truncate(TAPES_MAX);
                RecordEntry::Opened(Opened { schema: SCHEMA.number(), ..opened })
            }
            RecordEntry::Call(call) => RecordEntry::Call(self.call(call)),
            RecordEntry::Streamed(batch) => {
                let frames = self.batch(&batch.batch, SCHEMA).into();
                RecordEntry::Streamed(Streamed { batch: frames, ..batch })
            }
            entry @ (RecordEntry::Head(_)
            | RecordEntry::Gap(_)
            | RecordEntry::Closing(_)
            | RecordEntry::Unknown(_)) => entry,
        };
        redacted.push(&mut out);
        out
    }

    fn call(&self, call: TapedCall<'_>) -> TapedCall<'static> {
        // Of a tape whose beginning was lost nobody knows how to read it: nothing of it is kept.
        let schema = self.schemas.iter().find(|(tape, _)| *tape == call.tape);
        let schema = schema.map(|(_, schema)| *schema);
        let input = match (call.act, schema) {
            (TapedAct::Handle, Some(schema)) => self.batch(&call.input, schema),
            _ => Vec::new(),
        };
        let output = match (call.act, call.answer, schema) {
            (TapedAct::Init | TapedAct::Handle, TapedAnswer::Returned, Some(schema)) => {
                self.actions(&call.output, schema)
            }
            _ => Vec::new(),
        };
        let log_more = call.log_more.saturating_add(call.log.len() as u64);
        let TapedCall { tape, number, boot_ns, act, from, seed, answer, failing, .. } = call;
        TapedCall {
            tape,
            number,
            boot_ns,
            act,
            input: Cow::Owned(input),
            from: Cow::Owned(from.into_owned()),
            seed,
            answer,
            output: Cow::Owned(output),
            text: Cow::Borrowed(""),
            failing,
            log: Vec::new(),
            log_more,
        }
    }

    fn batch(&self, batch: &[u8], schema: Schema) -> Vec<u8> {
        let mut out = Vec::with_capacity(batch.len());
        for frame in Frames::new(batch).flatten() {
            let Ok(mut record) = lower::record(&frame, schema) else { continue };
            match &mut record {
                Record::BatchStart(start) => start.schema = SCHEMA.number(),
                Record::Process(process) => self.process(process),
                Record::Outcome(outcome) => outcome.detail = Cow::Borrowed(""),
                Record::Event(event) => {
                    event.meta.comm = self.token(&event.meta.comm).into();
                    self.body(&mut event.body);
                }
                Record::Running(running) => self.process(&mut running.process),
                Record::Sample(sample) => {
                    sample.exe = self.path(&sample.exe).into();
                    sample.argv.iter_mut().for_each(|argv| self.argv(argv));
                }
                Record::Gone(_)
                | Record::Lost(_)
                | Record::Tick(_)
                | Record::RunningEnd(_)
                | Record::Unknown(_) => {}
            }
            // Tokens are short: what was a frame stays one, but for thousands of names of a letter.
            let _fits = record.by_ref().map(|record: RecordRef<'_, '_>| record.push(&mut out));
        }
        out
    }

    fn process(&self, process: &mut Process<'_>) {
        process.exe = self.path(&process.exe).into();
        process.cgroup = self.path(&process.cgroup).into();
        self.argv(&mut process.argv);
    }

    fn body(&self, body: &mut Body<'_>) {
        match body {
            Body::BprmCheckSecurity(exec) | Body::BprmCommittedCreds(exec) => self.exec(exec),
            Body::FileOpen(open) => open.path = self.path(&open.path).into(),
            Body::SocketConnect(_) | Body::SchedProcessFork(_) | Body::SchedProcessExit(_) => {}
            Body::Call(call) => self.values(&mut call.values),
            Body::Watch(watch) => self.values(&mut watch.values),
        }
    }

    fn exec(&self, exec: &mut Exec<'_>) {
        exec.path = self.path(&exec.path).into();
        self.argv(&mut exec.argv);
    }

    fn argv(&self, argv: &mut Argv<'_>) {
        let tokens: Vec<String> = argv.joined.split('\0').map(|one| self.token(one)).collect();
        argv.joined = tokens.join("\0").into();
    }

    fn values(&self, values: &mut [Value<'_>]) {
        for value in values {
            match value {
                Value::Text(text) => text.text = self.path(&text.text).into(),
                Value::Bytes(bytes) => *bytes = Cow::Borrowed(&[]),
                Value::Content(content) => content.bytes = Cow::Borrowed(&[]),
                Value::Address(address) => address.path = self.path(&address.path).into(),
                Value::Absent(_)
                | Value::Number(_)
                | Value::Signed(_)
                | Value::File(_)
                | Value::Unknown(_) => {}
            }
        }
    }

    fn actions(&self, actions: &[u8], schema: Schema) -> Vec<u8> {
        let mut out = Vec::with_capacity(actions.len());
        for frame in Frames::new(actions).flatten() {
            let Ok(mut action) = lower::action(&frame, schema) else { continue };
            match &mut action {
                Action::Deny(deny) => self.rule(&mut deny.rule.key, &mut deny.rule.reason),
                Action::Allow(allow) => self.rule(&mut allow.rule.key, &mut allow.rule.reason),
                Action::LabelRule(label) => self.rule(&mut label.rule.key, &mut label.rule.reason),
                Action::Alert(alert) => {
                    alert.text = Cow::Borrowed("");
                    alert.evidence.iter_mut().for_each(|one| one.what = Cow::Borrowed(""));
                }
                Action::Evidence(evidence) => evidence.what = Cow::Borrowed(""),
                Action::Metric(metric) => metric.name = self.token(&metric.name).into(),
                Action::Revoke(_)
                | Action::Kill(_)
                | Action::SetLabel(_)
                | Action::AskSamples(_)
                | Action::Unknown(_) => {}
            }
            let _fits = action.push(&mut out);
        }
        out
    }

    fn rule(&self, key: &mut RuleKey, reason: &mut Cow<'_, str>) {
        *reason = Cow::Borrowed("");
        if let RuleKey::Path { prefix, .. } = key {
            *prefix = self.path(prefix);
        }
    }

    /// A path with a token for each component that is not of every system; a text without a slash is one token.
    fn path(&self, path: &str) -> String {
        if !path.contains('/') {
            return self.token(path);
        }
        let component = |one: &str| {
            let is_plain = one.is_empty() || PLAIN.split(' ').any(|plain| plain == one);
            if is_plain { one.to_owned() } else { self.token(one) }
        };
        path.split('/').map(component).collect::<Vec<_>>().join("/")
    }

    fn token(&self, text: &str) -> String {
        if text.is_empty() {
            return String::new();
        }
        let tag = self.key.clone().chain_update(text.as_bytes()).finalize().into_bytes();
        let mut token = String::from("~");
        for byte in tag.iter().take(6) {
            // Writing to a String cannot fail.
            let _ok = write!(token, "{byte:02x}");
        }
        token
    }
}

#[cfg(test)]
mod tests {
    use krsi_plugin_schema::latest::{
        Alert, Allow, BatchStart, Call as HookCall, Content, ContentState, Event, Hook, HookSet,
        IfUnresolved, LabelTest, Meta, Metric, Rule, Subject, Text,
    };

    use super::super::entry::TapedLine;
    use super::*;

    #[test]
    fn equal_is_equal_and_prefixes_survive_and_nothing_else_does() {
        let redactor = Redactor::new().unwrap();
        let (one, same, child) = (
            redactor.path("/home/anna/secret"),
            redactor.path("/home/anna/secret"),
            redactor.path("/home/anna/secret/a"),
        );
        assert_eq!(one, same);
        assert!(
            child.starts_with(&format!("{one}/")) && one.starts_with("/home/~"),
            "{one} {child}"
        );
        assert!(!one.contains("anna") && redactor.path("/usr/bin/") == "/usr/bin/");
        assert_ne!(Redactor::new().unwrap().path("/x"), redactor.path("/x"));
    }

    #[test]
    fn no_text_of_a_batch_is_left() {
        let redactor = Redactor::new().unwrap();
        let mut batch = Vec::new();
        let start = BatchStart { schema: SCHEMA.number(), boot_ns: 5, unix_offset_ns: 6 };
        RecordRef::BatchStart(start).push(&mut batch).unwrap();
        let argv = Argv { joined: "a\0--password\0secret\0".into(), argc: 3, truncated: false };
        let exec = Exec { path: "/opt/secret".into(), argv, ..Exec::default() };
        let meta = Meta { comm: "secret".into(), boot_ns: 7, ..Meta::default() };
        let event = Event { meta, body: Body::BprmCommittedCreds(exec) };
        event.push(&mut batch).unwrap();
        let redacted = redactor.batch(&batch, SCHEMA);
        let shown = String::from_utf8_lossy(&redacted);
        assert!(!shown.contains("secret") && !shown.contains("--password"), "{shown}");
        let records: Vec<_> =
            Frames::new(&redacted).map(|frame| Record::decode(&frame.unwrap()).unwrap()).collect();
        assert_eq!(records[0], Record::BatchStart(start));
        let Record::Event(Event { meta, body: Body::BprmCommittedCreds(exec) }) = &records[1]
        else {
            panic!("{records:?}");
        };
        assert_eq!(
            (meta.boot_ns, exec.argv.argc, exec.argv.joined.matches('~').count()),
            (7, 3, 3)
        );
        // The same word is the same token wherever it stands.
        assert!(exec.path.ends_with(&*meta.comm) && exec.argv.joined.contains(&*meta.comm));
    }

    /// Each kind of value that holds something secret.
    fn secrets() -> Vec<Value<'static>> {
        let text = Text { text: "/opt/secret".into(), ..Text::default() };
        let sent = Content { bytes: b"secret".into(), state: ContentState::Whole };
        vec![Value::Text(text), Value::Bytes(b"secret".into()), Value::Content(sent)]
    }

    #[test]
    fn no_text_of_a_call_and_of_its_answer_is_left() {
        let mut redactor = Redactor::new().unwrap();
        let mut input = Vec::new();
        let hook = Hook::PathUnlink;
        let values = secrets();
        let event = Event { meta: Meta::default(), body: Body::Call(HookCall { hook, values }) };
        event.push(&mut input).unwrap();
        let mut output = Vec::new();
        let path =
            RuleKey::Path { prefix: "/opt/secret".into(), if_unresolved: IfUnresolved::Pass };
        let rule = Rule {
            token: 1,
            cause_boot_ns: 0,
            key: path,
            subject: Subject::Any,
            labels: LabelTest::default(),
            hooks: HookSet::default(),
            ttl_ms: 1,
            reason: "secret".into(),
        };
        Action::Allow(Allow { rule }).push(&mut output).unwrap();
        let alert = Alert { text: "secret".into(), ..Alert::default() };
        Action::Alert(alert).push(&mut output).unwrap();
        let metric = Metric { name: "secret".into(), ..Metric::default() };
        Action::Metric(metric).push(&mut output).unwrap();
        let opened = Opened { tape: 4, schema: SCHEMA.number(), ..Opened::default() };
        let mut bytes = Vec::new();
        RecordEntry::Opened(opened).push(&mut bytes);
        let _opened = redactor.entry(&bytes);
        for act in [TapedAct::Init, TapedAct::Restore, TapedAct::Handle, TapedAct::Snapshot] {
            // A configuration and a state are the plugin's own bytes; so is what a snapshot returns.
            let is_of_frames =
                [act == TapedAct::Handle, matches!(act, TapedAct::Init | TapedAct::Handle)];
            let [input, output] = [(&input, is_of_frames[0]), (&output, is_of_frames[1])]
                .map(|(frames, is)| if is { frames.as_slice() } else { &b"secret"[..] });
            let call = TapedCall {
                tape: 4,
                act,
                input: input.into(),
                answer: TapedAnswer::Returned,
                output: output.into(),
                text: "secret".into(),
                log: vec![TapedLine { level: 1, text: "secret".into() }],
                ..TapedCall::default()
            };
            let mut bytes = Vec::new();
            RecordEntry::Call(call).push(&mut bytes);
            assert!(String::from_utf8_lossy(&bytes).contains("secret"));
            let redacted = redactor.entry(&bytes);
            assert!(!String::from_utf8_lossy(&redacted).contains("secret"), "{act:?}");
            let Ok((RecordEntry::Call(call), _)) = RecordEntry::take(&redacted) else {
                panic!("{act:?}");
            };
            // How much there was stays.
            assert_eq!((call.tape, call.act, call.log_more), (4, act, 1));
            let frames = [Frames::new(&call.input).count(), Frames::new(&call.output).count()];
            let expected = match act {
                TapedAct::Handle => [1, 3],
                TapedAct::Init => [0, 3],
                _ => [0, 0],
            };
            assert_eq!(frames, expected, "{act:?}");
        }
    }
}
