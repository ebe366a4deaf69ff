//! Crypto-mining by behaviour: evidence is gathered along a process's lineage and scored.
//!
//! Names can be changed; what a miner is told on its command line says more. Running from where anybody can
//! write, from memory or from a file that is gone, and talking to a port that pools use are hints: they
//! add to evidence of mining, and are none by themselves. Samples tell of work without a break, of arguments that a
//! record had no room for, and whose files a process sees. What ran before the plugin did is judged as what starts later.

mod argument;
mod config;
mod evidence;
mod lineage;
mod response;
mod wallet;
mod work;

use krsi_plugin::{
    Connect, Ctx, Exec, ExecFlags, Hook, LabelExec, LabelFull, Manifest, Meta, Outcome, Plugin,
    ProcessKey, Running, Sample, SampleState, Value, Watch,
};

use config::{Config, Mode};
use evidence::{Evidence, is_own, kind};
use lineage::{Lineages, Pool};
use response::Responses;
use work::{Measured, Works};

/// What the plugin watches, in this order: mappings of huge pages (`MAP_HUGETLB`), and opens of the processors' registers.
const WATCHES: [&str; 2] = [
    "mmap_file: flags if any(flags, 0x40000)",
    "file_open: file, file.f_flags as flags if file.startsWith(\"/dev/cpu/\")",
];
/// Index of the first of the two watches on [`WORDS`].
const FIRST_WORDS: u16 = WATCHES.len() as u16;
/// First words of the protocols of pools: a login of JSON-RPC as miners of CryptoNight and RandomX send it, calls of
/// Stratum v1 (`mining.subscribe` and the like, with any id of one digit, with blanks or without), and a login of
/// Ethereum's proxies.
const WORDS: &str = concat!(
    r#"content.startsWith('{"id":1,"jsonrpc":"2.0","method":"login","params":{"login":"') || "#,
    r#"content.startsWith('{"method":"login","params":{"login":"') || "#,
    r#"content.startsWith('{"id":') && content[18] == 0x6d && content[19] == 0x69 && "#,
    r#"content[23] == 0x67 && content[24] == 0x2e || "#,
    r#"content.startsWith('{"id": ') && content[21] == 0x6d && content[22] == 0x69 && content[27] == 0x2e || "#,
    r#"content.startsWith('{"method":"mining.') || content.startsWith('{"method": "mining.') || "#,
    r#"content.startsWith('{"id":1,"method":"eth_submitLogin"')"#,
);
/// The label of processes whose first words to a pool the kernel refuses by itself.
const SUSPECT: &str = "suspect";
/// `O_WRONLY | O_RDWR`.
const WRITES: u64 = 3;

/// Detects miners of cryptocurrency by the evidence in each process tree.
pub struct Miner {
    config: Config,
    lineages: Lineages,
    responses: Responses,
    works: Works,
}

impl Plugin for Miner {
    fn manifest() -> Manifest {
        let manifest = Manifest::new("miner", env!("CARGO_PKG_VERSION"))
            .hook(Hook::BprmCommittedCreds)
            .hook(Hook::SocketConnect)
            .running()
            .samples()
            .label(SUSPECT, LabelExec::Keep, LabelFull::Count)
            .deny_by_file()
            .deny_by_lineage()
            .deny_by_process()
            .deny_by_network()
            .deny_hook(Hook::BprmCheckSecurity)
            .deny_hook(Hook::SocketConnect)
            .deny_hook(Hook::SocketSendmsg);
        let words = format!("socket_sendmsg: peer if {WORDS}");
        let refused =
            format!("socket_sendmsg: peer if label(\"{SUSPECT}\") && ({WORDS}) deny EPERM");
        WATCHES.into_iter().fold(manifest, Manifest::watch).watch(&words).watch(&refused)
    }

    fn init(config: &[u8], _seed: u64, _ctx: &mut Ctx) -> Result<Self, String> {
        Ok(Self {
            config: Config::parse(config)?,
            lineages: Lineages::default(),
            responses: Responses::default(),
            works: Works::default(),
        })
    }

    fn exec(&mut self, meta: &Meta, exec: &Exec, ctx: &mut Ctx) {
        if !self.lineages.of(meta.process).is_none() {
            self.lineages.renew(meta.process);
            self.note(self.lineages.case(meta.process, ctx).evidence, meta.process, ctx);
        }
        self.works.end(meta.process, ctx);
        let evidence = Evidence::of_exec(&self.config, exec);
        self.add_evidence(meta.process, evidence, None, ctx);
        if evidence.is_cut() && !self.config.protects(&exec.path) {
            self.works.read_arguments(meta.process, ctx);
        } else if evidence.is_told() {
            // Of another root, it is no program of the system.
            self.works.look(meta.process, ctx);
        }
    }

    fn connect(&mut self, meta: &Meta, connect: &Connect, ctx: &mut Ctx) {
        self.add_connection(meta.process, connect, ctx);
    }

    fn running(&mut self, running: &Running, ctx: &mut Ctx) {
        let key = running.process.key;
        self.add_evidence(key, Evidence::of_running(&self.config, running), None, ctx);
        for connection in &running.connections {
            self.add_connection(key, connection, ctx);
        }
    }

    fn watch(&mut self, meta: &Meta, watch: &Watch, ctx: &mut Ctx) {
        if watch.index >= FIRST_WORDS {
            let to = match watch.values.first() {
                Some(Value::Address(to)) => to.ip.map(|address| (address, to.port)),
                _ => None,
            };
            return self.add_words(meta.process, to, ctx);
        }
        let is_tuning = match watch.values.as_slice() {
            [Value::Text(path), Value::Number(flags), ..] => {
                flags & WRITES != 0 && path.text.ends_with("/msr")
            }
            _ => false,
        };
        let what = match watch.index {
            0 => kind::HUGE,
            1 if is_tuning => kind::TUNED,
            _ => return,
        };
        let exe = ctx.process(meta.process).map(|process| process.exe.clone()).unwrap_or_default();
        let before = self.lineages.of(meta.process);
        let evidence = Evidence::of_memory(&self.config, &exe, what, before);
        self.add_evidence(meta.process, evidence, None, ctx);
    }

    fn sample(&mut self, sample: &Sample, ctx: &mut Ctx) {
        if self.works.is_look(sample) {
            return self.look(sample, ctx);
        }
        let Measured { works_for, has_memory } = self.works.measure(sample, &self.config, ctx);
        if has_memory {
            self.add_evidence(sample.process, Evidence::of_large_memory(), None, ctx);
        }
        if let Some(pool) = works_for {
            self.add_evidence(sample.process, Evidence::of_work(), Some(pool), ctx);
        }
    }

    fn outcome(&mut self, outcome: &Outcome, ctx: &mut Ctx) {
        if outcome.refusal.is_some() {
            self.works.refused(outcome.token);
        }
        self.responses.outcome(outcome, &self.config, ctx);
    }

    fn gone(&mut self, process: ProcessKey, ctx: &mut Ctx) {
        self.lineages.forget(process);
        self.works.forget(process);
        self.responses.forget(process, ctx.now_boot_ns());
    }

    fn snapshot(&self) -> Vec<u8> {
        // A state that cannot be written is started anew.
        postcard::to_allocvec(&(&self.lineages, &self.responses, &self.works)).unwrap_or_default()
    }

    fn restore(&mut self, from: &str, state: &[u8]) -> Result<(), String> {
        // Those wrote another state: what runs already tells most of it again.
        if from.starts_with("0.1.") {
            return Ok(());
        }
        let wrong = |error| format!("state: {error}");
        (self.lineages, self.responses, self.works) = postcard::from_bytes(state).map_err(wrong)?;
        Ok(())
    }
}

impl Miner {
    fn add_connection(&mut self, process: ProcessKey, connect: &Connect, ctx: &mut Ctx) {
        let before = self.lineages.of(process);
        let evidence = Evidence::of_connect(&self.config, connect, before);
        let pool = connect.address.filter(|_| evidence.is_of_pool());
        self.add_evidence(process, evidence, pool.map(|address| (address, connect.port)), ctx);
    }

    /// A process has sent, or was refused to send, the first words of a pool's protocol. A pool on this machine is a
    /// developer's own.
    fn add_words(&mut self, process: ProcessKey, to: Option<Pool>, ctx: &mut Ctx) {
        if to.is_none_or(|(address, _)| !address.to_canonical().is_loopback()) {
            self.add_evidence(process, Evidence::of_words(), to, ctx);
        }
    }

    /// Looks at a process anew, with what one sample tells: whose files it sees, or all its arguments.
    fn look(&mut self, sample: &Sample<'_>, ctx: &mut Ctx) {
        let Some(process) = ctx.process(sample.process) else { return };
        // What it executes since then is told by itself. An event tells the path within the process's own root, a sample
        // the one that the host sees.
        let is_same = !process.exe.is_empty() && sample.exe.ends_with(&*process.exe);
        if sample.state != SampleState::Read || !is_same {
            return;
        }
        let is_own = is_own(sample.root, sample.mounts);
        let argv = sample.argv.as_ref().unwrap_or(&process.argv);
        let program = (&*process.exe, is_own);
        let evidence = Evidence::of_program(&self.config, program, argv, ExecFlags::default());
        self.lineages.read_anew(sample.process);
        self.add_evidence(sample.process, evidence, None, ctx);
    }

    /// Adds evidence to a process; answers when its lineage's score reaches the threshold.
    fn add_evidence(
        &mut self,
        process: ProcessKey,
        evidence: Evidence,
        pool: Option<Pool>,
        ctx: &mut Ctx,
    ) {
        if evidence.is_none() {
            return;
        }
        let was_suspect = self.lineages.of(process).is_suspect();
        self.lineages.add(process, evidence, pool);
        let case = self.lineages.case(process, ctx);
        self.note(case.evidence, process, ctx);
        let score = |evidence: Evidence| evidence.score(self.config.hints_max);
        if score(case.evidence) >= self.config.threshold {
            self.works.end(process, ctx);
            return self.responses.answer(&case, &self.config, ctx);
        }
        if evidence.is_suspect() && !was_suspect && self.config.mode == Mode::Refuse {
            // Its first words to a pool are refused in the call itself.
            ctx.label(process, SUSPECT);
        }
        // Only where it would decide.
        let with_work = case.evidence.with(Evidence::of_work());
        if evidence.computes() && score(with_work) >= self.config.threshold {
            self.works.watch(process, &self.config, ctx);
        }
    }

    /// Notes what is held against a process, for its alert and for `krsi-host replay --explain`.
    fn note(&self, evidence: Evidence, process: ProcessKey, ctx: &mut Ctx) {
        for (words, weight) in evidence.pieces(self.config.hints_max) {
            ctx.evidence(process, words, weight, self.config.threshold);
        }
    }
}

krsi_plugin::export!(Miner);

#[cfg(test)]
mod tests;
