//! What a plugin can ask and do while it handles a record.

use std::borrow::Cow;
use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use krsi_plugin_schema::latest::{
    Action, Alert, AlertEvidence, AskSamples, BatchStart, Evidence, FileKey, Gone, INIT_TOKEN,
    IfUnresolved, Kill, Metric, MetricKind, Process, ProcessKey, Revoke, RuleKey, SetLabel,
    Severity,
};

use crate::Level;
use crate::action::{RuleBuilder, Token};
use crate::process_table::ProcessTable;

/// Time, processes, and the actions collected so far.
#[derive(Debug, Default)]
pub struct Ctx {
    start: BatchStart,
    cause_boot_ns: u64,
    processes: ProcessTable,
    actions: Vec<u8>,
    evidence: HashMap<ProcessKey, Vec<AlertEvidence<'static>>>,
    pub(crate) next_token: u32,
    /// Name of the plugin, before the point of its labels.
    pub(crate) plugin: String,
    log: sink::Log,
}

mod sink {
    use crate::Level;

    /// Where log lines go: the host's import on Wasm, a list in native tests.
    #[derive(Debug, Default)]
    pub(crate) struct Log {
        #[cfg(not(target_arch = "wasm32"))]
        pub(crate) lines: Vec<(Level, String)>,
    }

    impl Log {
        #[cfg(target_arch = "wasm32")]
        pub(crate) fn write(&mut self, level: Level, text: &str) {
            crate::export::glue::log(level.into(), text);
        }

        #[cfg(not(target_arch = "wasm32"))]
        pub(crate) fn write(&mut self, level: Level, text: &str) {
            self.lines.push((level, text.to_owned()));
        }
    }
}

/// Processes whose evidence is kept.
const EVIDENCE_PROCESSES_MAX: usize = 4096;
/// Pieces of evidence that are kept of a process: as many as a host keeps of an alert.
const EVIDENCE_MAX: usize = 16;

fn path(prefix: &str) -> RuleKey {
    RuleKey::Path { prefix: prefix.into(), if_unresolved: IfUnresolved::default() }
}

impl Ctx {
    /// Time of the current batch, nanoseconds of `CLOCK_BOOTTIME`.
    #[must_use]
    pub const fn now_boot_ns(&self) -> u64 {
        self.start.boot_ns
    }

    /// Time of the current batch, nanoseconds since the Unix epoch.
    #[must_use]
    pub const fn unix_ns(&self) -> i64 {
        (self.start.boot_ns as i64).wrapping_add(self.start.unix_offset_ns)
    }

    /// What is known of a process.
    #[must_use]
    pub fn process(&self, key: ProcessKey) -> Option<&Process<'static>> {
        self.processes.get(key)
    }

    /// The known ancestors of a process, parent first, at most 64.
    pub fn ancestors(&self, key: ProcessKey) -> impl Iterator<Item = &Process<'static>> {
        self.processes.ancestors(key)
    }

    /// Denies by file, as an event names it: by whatever name it is reached, and not the next one with its number.
    /// Refused as `Unsupported` where the file system does not tell these apart, such as overlayfs and proc.
    pub fn deny_file(&mut self, file: FileKey) -> RuleBuilder<'_> {
        RuleBuilder::deny(self, RuleKey::File(file))
    }

    /// Denies by process.
    pub fn deny_process(&mut self, process: ProcessKey) -> RuleBuilder<'_> {
        RuleBuilder::deny(self, RuleKey::Process(process))
    }

    /// Denies by process and all its descendants, present and future.
    pub fn deny_lineage(&mut self, root: ProcessKey) -> RuleBuilder<'_> {
        RuleBuilder::deny(self, RuleKey::Lineage(root))
    }

    /// Denies by destination: `prefix` bits of `address` count, a `port` of 0 is every port.
    pub fn deny_network(&mut self, address: IpAddr, prefix: u8, port: u16) -> RuleBuilder<'_> {
        RuleBuilder::deny(self, RuleKey::Network { address, prefix, port })
    }

    /// Denies by cgroup, by its id ([`crate::Meta::cgroup_id`]): what runs in it, not in those below it.
    pub fn deny_cgroup(&mut self, id: u64) -> RuleBuilder<'_> {
        RuleBuilder::deny(self, RuleKey::Cgroup(id))
    }

    /// Denies by path: every file whose path starts so, from a slash on.
    pub fn deny_path(&mut self, prefix: &str) -> RuleBuilder<'_> {
        RuleBuilder::deny(self, path(prefix))
    }

    /// Denies by SHA-256 of the executable, where the kernel hashes files: by IMA, from 5.18 on.
    pub fn deny_digest(&mut self, sha256: [u8; 32]) -> RuleBuilder<'_> {
        RuleBuilder::deny(self, RuleKey::Digest(sha256))
    }

    /// Denies every call of the rule's hooks. Without a lineage as its subject it is broad, and refused
    /// unless the operator grants `broad`; so are other rules that could lock everybody out.
    pub fn deny_hook(&mut self) -> RuleBuilder<'_> {
        RuleBuilder::deny(self, RuleKey::Hook)
    }

    /// Lifts this plugin's own denials that are looked up later than a file's.
    pub fn allow_file(&mut self, file: FileKey) -> RuleBuilder<'_> {
        RuleBuilder::allow(self, RuleKey::File(file))
    }

    /// Lifts this plugin's own denials for a process.
    pub fn allow_process(&mut self, process: ProcessKey) -> RuleBuilder<'_> {
        RuleBuilder::allow(self, RuleKey::Process(process))
    }

    /// Lifts this plugin's own denials for a process and its descendants, but not those by process.
    pub fn allow_lineage(&mut self, root: ProcessKey) -> RuleBuilder<'_> {
        RuleBuilder::allow(self, RuleKey::Lineage(root))
    }

    /// Lifts this plugin's own denials of shorter prefixes that cover this one.
    pub fn allow_network(&mut self, address: IpAddr, prefix: u8, port: u16) -> RuleBuilder<'_> {
        RuleBuilder::allow(self, RuleKey::Network { address, prefix, port })
    }

    /// Lifts this plugin's own denials that are looked up later than a cgroup's.
    pub fn allow_cgroup(&mut self, id: u64) -> RuleBuilder<'_> {
        RuleBuilder::allow(self, RuleKey::Cgroup(id))
    }

    /// Lifts this plugin's own denials of shorter prefixes that cover this one.
    pub fn allow_path(&mut self, prefix: &str) -> RuleBuilder<'_> {
        RuleBuilder::allow(self, path(prefix))
    }

    /// Gives whoever makes a call of the rule's hooks on a file a label that the manifest declares. At
    /// `bprm_check_security` the label is given when the exec has succeeded.
    pub fn label_by_file(&mut self, label: &'static str, file: FileKey) -> RuleBuilder<'_> {
        RuleBuilder::label(self, label, RuleKey::File(file))
    }

    /// Gives whoever makes a call of the rule's hooks on a path that starts so a label.
    pub fn label_by_path(&mut self, label: &'static str, prefix: &str) -> RuleBuilder<'_> {
        RuleBuilder::label(self, label, path(prefix))
    }

    /// Gives whoever makes a call of the rule's hooks towards a destination a label.
    pub fn label_by_network(
        &mut self,
        label: &'static str,
        (address, prefix): (IpAddr, u8),
        port: u16,
    ) -> RuleBuilder<'_> {
        RuleBuilder::label(self, label, RuleKey::Network { address, prefix, port })
    }

    /// Gives whoever makes a call of the rule's hook a label.
    pub fn label_by_hook(&mut self, label: &'static str) -> RuleBuilder<'_> {
        RuleBuilder::label(self, label, RuleKey::Hook)
    }

    /// Gives a process a label; it holds from the outcome on.
    pub fn label(&mut self, process: ProcessKey, label: &'static str) -> Token {
        self.set_label(process, label, (true, false))
    }

    /// Gives a process and its descendants that are alive a label; what they fork has it too.
    pub fn label_lineage(&mut self, root: ProcessKey, label: &'static str) -> Token {
        self.set_label(root, label, (true, true))
    }

    /// Takes a label from a process.
    pub fn unlabel(&mut self, process: ProcessKey, label: &'static str) -> Token {
        self.set_label(process, label, (false, false))
    }

    /// Takes a label from a process and its descendants that are alive.
    pub fn unlabel_lineage(&mut self, root: ProcessKey, label: &'static str) -> Token {
        self.set_label(root, label, (false, true))
    }

    fn set_label(
        &mut self,
        process: ProcessKey,
        label: &'static str,
        (gives, descendants): (bool, bool),
    ) -> Token {
        let token = self.next_token();
        let label = Cow::Borrowed(label);
        let set = SetLabel { token: token.0, process, descendants, label, gives };
        self.issue(&Action::SetLabel(set));
        token
    }

    /// Has a process read now and then `every` so often, so many times, if [`crate::Manifest::samples`] asks for it:
    /// processor time, threads, memory, connections, and whether its files are the machine's. Each is a call of
    /// [`crate::Plugin::sample`] with this token; the last one says so, and comes early if the process ends.
    /// [`Ctx::revoke`] ends it. A second is the shortest interval, an hour the longest.
    pub fn sample(&mut self, process: ProcessKey, every: Duration, times: u32) -> Token {
        let every_ms = u64::try_from(every.as_millis()).unwrap_or(u64::MAX);
        self.ask_samples(AskSamples { process, every_ms, times, usage: true, ..Default::default() })
    }

    /// Has the arguments of a process read, up to 64 KiB: of one whose [`crate::Argv::truncated`] says that some are
    /// missing. The answer is a call of [`crate::Plugin::sample`], as with [`Ctx::sample`].
    pub fn arguments(&mut self, process: ProcessKey) -> Token {
        self.ask_samples(AskSamples { process, times: 1, arguments: true, ..Default::default() })
    }

    fn ask_samples(&mut self, ask: AskSamples) -> Token {
        let token = self.next_token();
        self.issue(&Action::AskSamples(AskSamples { token: token.0, ..ask }));
        token
    }

    /// Withdraws a rule, or ends an ask for samples.
    pub fn revoke(&mut self, rule: Token) {
        self.issue(&Action::Revoke(Revoke { token: rule.0 }));
    }

    /// Kills a process, if the operator granted it.
    pub fn kill(&mut self, process: ProcessKey) -> Token {
        let token = self.next_token();
        self.issue(&Action::Kill(Kill { token: token.0, process }));
        token
    }

    /// Notes evidence about a process: what was seen, how much it counts, and the sum of weights at which this plugin
    /// raises an alert, 0 if it has none. The same words again are the same evidence with another weight; 0 takes it
    /// back, such as when the process executes something else. An [`alert`](Ctx::alert) of that process shows it;
    /// `krsi-host replay --explain` says of each process what was missing. Nothing else comes of it: the plugin counts
    /// by itself, and a version that takes over starts without.
    ///
    /// At most 16 pieces are kept of a process, and those of 4096 processes.
    pub fn evidence(&mut self, process: ProcessKey, what: &str, weight: u32, threshold: u32) {
        let is_new = !self.evidence.contains_key(&process);
        if is_new && (weight == 0 || self.evidence.len() >= EVIDENCE_PROCESSES_MAX) {
            return;
        }
        let pieces = self.evidence.entry(process).or_default();
        let known = pieces.iter().find(|piece| piece.what == what).map_or(0, |piece| piece.weight);
        if known == weight || known == 0 && pieces.len() >= EVIDENCE_MAX {
            return;
        }
        pieces.retain(|piece| piece.what != what);
        if weight > 0 {
            pieces.push(AlertEvidence { what: Cow::Owned(what.to_owned()), weight });
        } else if pieces.is_empty() {
            // Nothing is held against it any more: another process may have its place.
            self.evidence.remove(&process);
        }
        let what = Cow::Borrowed(what);
        self.issue(&Action::Evidence(Evidence { process, what, weight, threshold }));
    }

    /// Raises an alert. `technique` is of MITRE ATT&CK, such as `T1496`, or empty. What was noted as
    /// [`evidence`](Ctx::evidence) about the process goes with it.
    pub fn alert(
        &mut self,
        technique: &str,
        severity: Severity,
        process: ProcessKey,
        text: impl AsRef<str>,
    ) {
        let alert = Alert {
            technique: Cow::Borrowed(technique),
            severity,
            process,
            text: Cow::Borrowed(text.as_ref()),
            cause_boot_ns: self.cause_boot_ns,
            evidence: self.evidence.get(&process).cloned().unwrap_or_default(),
        };
        self.issue(&Action::Alert(alert));
    }

    /// Adds to a counter or sets a gauge; the name is `[a-z0-9_]`.
    pub fn metric(&mut self, name: &str, kind: MetricKind, value: f64) {
        self.issue(&Action::Metric(Metric { name: Cow::Borrowed(name), kind, value }));
    }

    /// Writes a line to the host's log.
    pub fn log(&mut self, level: Level, text: impl AsRef<str>) {
        self.log.write(level, text.as_ref());
    }

    pub(crate) const fn cause_boot_ns(&self) -> u64 {
        self.cause_boot_ns
    }

    /// Tokens of `init` and those of later wrap apart, so that a new version's first rules take the
    /// place of its predecessor's first rules and of no others.
    pub(crate) const fn next_token(&mut self) -> Token {
        let init = self.next_token & INIT_TOKEN;
        self.next_token = init | (self.next_token.wrapping_add(1) % INIT_TOKEN);
        Token(self.next_token)
    }

    pub(crate) fn issue(&mut self, action: &Action<'_>) {
        if let Err(error) = action.push(&mut self.actions) {
            self.log.write(Level::Error, &format!("an action was dropped: {error}"));
        }
    }

    pub(crate) fn begin(&mut self, start: BatchStart) {
        self.start = start;
    }

    pub(crate) const fn caused_by(&mut self, boot_ns: u64) {
        self.cause_boot_ns = boot_ns;
    }

    pub(crate) fn describe(&mut self, process: Process<'_>) {
        self.processes.insert(process.into_owned());
    }

    pub(crate) fn forget(&mut self, gone: Gone) {
        self.processes.remove(gone.key);
        self.evidence.remove(&gone.key);
    }

    pub(crate) fn take_actions(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.actions)
    }

    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn take_log(&mut self) -> Vec<(Level, String)> {
        std::mem::take(&mut self.log.lines)
    }
}
