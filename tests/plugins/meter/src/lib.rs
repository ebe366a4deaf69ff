//! Asks for samples of each process whose executable's path holds the word of its configuration, and tells what they
//! say; of one with arguments that are cut also for all of them, and of itself for more than it may.

use std::collections::BTreeMap;
use std::time::Duration;

use krsi_plugin::{
    Ctx, Exec, Hook, Manifest, Meta, Outcome, Plugin, ProcessKey, Running, Sample, SampleState,
    Severity,
};

/// Samples of each process.
const TIMES: u32 = 4;

struct Meter {
    word: String,
    /// Processor time of the sample before, of each process.
    before: BTreeMap<ProcessKey, (u64, u64)>,
}

impl Plugin for Meter {
    fn manifest() -> Manifest {
        Manifest::new("meter", "1.0.0").hook(Hook::BprmCommittedCreds).running().samples()
    }

    fn init(config: &[u8], _seed: u64, _ctx: &mut Ctx) -> Result<Self, String> {
        let word = String::from_utf8_lossy(config).trim().to_owned();
        Ok(Self { word, before: BTreeMap::new() })
    }

    fn exec(&mut self, meta: &Meta, exec: &Exec, ctx: &mut Ctx) {
        if exec.path.contains(&self.word) {
            ctx.sample(meta.process, Duration::from_secs(1), TIMES);
            if exec.argv.truncated {
                ctx.arguments(meta.process);
            }
        }
    }

    fn running(&mut self, running: &Running, ctx: &mut Ctx) {
        let process = &running.process;
        if process.exe.contains(&self.word) {
            let text = format!("root {:?} mounts {:?}", process.root, process.mounts);
            ctx.alert("T1057", Severity::Info, process.key, text);
            ctx.sample(process.key, Duration::from_secs(1), TIMES);
            // Refused: too often, and of nobody.
            ctx.sample(process.key, Duration::from_millis(10), TIMES);
            ctx.sample(ProcessKey { start_boot_ns: 1, ..process.key }, Duration::from_secs(1), 1);
        }
    }

    fn sample(&mut self, sample: &Sample, ctx: &mut Ctx) {
        let before = self.before.insert(sample.process, (sample.boot_ns, sample.cpu_ns));
        let text = match (sample.state, &sample.argv) {
            (SampleState::Read, Some(argv)) => {
                format!(
                    "arguments {} of {} bytes, cut {}",
                    argv.argc,
                    argv.joined.len(),
                    argv.truncated
                )
            }
            (SampleState::Read, None) => {
                let percent = before.map_or(0, |(at, cpu)| {
                    let passed = sample.boot_ns.saturating_sub(at).max(1);
                    sample.cpu_ns.saturating_sub(cpu).saturating_mul(100) / passed
                });
                let to: Vec<String> =
                    sample.connections.iter().map(|to| to.port.to_string()).collect();
                format!(
                    "sample {} cpu {percent} threads {} resident {} root {:?} mounts {:?} to {} last {}",
                    sample.number,
                    sample.threads,
                    sample.resident_bytes > 0,
                    sample.root,
                    sample.mounts,
                    to.join(" "),
                    sample.is_last,
                )
            }
            (state, _) => format!("sample {} {state:?} last {}", sample.number, sample.is_last),
        };
        ctx.alert("T1057", Severity::Info, sample.process, text);
    }

    fn outcome(&mut self, outcome: &Outcome, ctx: &mut Ctx) {
        if let Some(refusal) = outcome.refusal {
            let text = format!("refused {refusal:?}: {}", outcome.detail);
            ctx.alert("T1057", Severity::Low, ProcessKey::default(), text);
        }
    }
}

krsi_plugin::export!(Meter);
