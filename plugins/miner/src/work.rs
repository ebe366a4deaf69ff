//! Processes whose samples are looked at: work that never stops beside one connection that stays, files that are not the
//! machine's, arguments that a record had no room for.

use std::collections::BTreeMap;
use std::time::Duration;

use krsi_plugin::{Connect, Ctx, ProcessKey, Sample, SampleState, Token};
use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::lineage::Pool;

/// Processes that are watched at a time: as many as a host grants asks, with room for others.
const WATCHED_MAX: usize = 32;
/// Asks of one sample that wait for it.
const LOOKS_MAX: usize = 24;
/// Samples of the time that work must last.
const SAMPLES: u32 = 4;
/// How many of such times a process is watched.
const TIMES: u32 = 30;
/// Connections of a process that are compared.
const CONNECTIONS_MAX: usize = 16;
/// Protocol of connections that stay.
const TCP: u16 = 6;
/// Huge pages from which on memory is as a miner's: the smaller mode of `RandomX` needs as much.
const HUGE_BYTES: u64 = 256 << 20;

/// Processes that are read.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Works {
    watched: BTreeMap<ProcessKey, Watched>,
    /// Processes of which one sample is waited for, by token.
    looks: BTreeMap<u32, ProcessKey>,
}

/// A process whose work is measured.
#[derive(Debug, Serialize, Deserialize)]
struct Watched {
    token: u32,
    /// Time and processor time of the sample before.
    before: Option<(u64, u64)>,
    run: Option<Run>,
}

/// Samples in a row between which it worked all the time.
#[derive(Debug, Serialize, Deserialize)]
struct Run {
    since_boot_ns: u64,
    /// Connections that were there in each of them.
    kept: Vec<Pool>,
}

/// What a sample of a watched process shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Measured {
    /// The connection that stayed while it worked for long enough.
    pub(crate) works_for: Option<Pool>,
    /// Whether it has the memory of a miner: huge pages, and code made at run time.
    pub(crate) has_memory: bool,
}

impl Works {
    /// Has a process measured, if it is not, and there is room.
    pub(crate) fn watch(&mut self, process: ProcessKey, config: &Config, ctx: &mut Ctx) {
        let is_off = config.work_seconds == 0;
        if is_off || self.watched.contains_key(&process) || self.watched.len() >= WATCHED_MAX {
            return;
        }
        let every =
            Duration::from_millis(u64::from(config.work_seconds) * 1000 / u64::from(SAMPLES));
        let every = every.max(Duration::from_secs(1));
        let token = ctx.sample(process, every, SAMPLES * TIMES).0;
        self.watched.insert(process, Watched { token, before: None, run: None });
    }

    /// Has a process read once: what it is.
    pub(crate) fn look(&mut self, process: ProcessKey, ctx: &mut Ctx) {
        if self.looks.len() < LOOKS_MAX {
            let token = ctx.sample(process, Duration::ZERO, 1).0;
            self.looks.insert(token, process);
        }
    }

    /// Has all arguments of a process read.
    pub(crate) fn read_arguments(&mut self, process: ProcessKey, ctx: &mut Ctx) {
        if self.looks.len() < LOOKS_MAX {
            let token = ctx.arguments(process).0;
            self.looks.insert(token, process);
        }
    }

    /// Whether a sample is one that was asked for by itself; it is not waited for any more.
    pub(crate) fn is_look(&mut self, sample: &Sample<'_>) -> bool {
        self.looks.remove(&sample.token) == Some(sample.process)
    }

    /// What a sample of a watched process shows.
    pub(crate) fn measure(
        &mut self,
        sample: &Sample<'_>,
        config: &Config,
        ctx: &mut Ctx,
    ) -> Measured {
        let Some(watched) = self.watched.get_mut(&sample.process) else {
            return Measured::default();
        };
        if watched.token != sample.token {
            return Measured::default();
        }
        let works_for = match sample.state {
            SampleState::Read => watched.add(sample, config),
            SampleState::Ended | SampleState::Unread => None,
        };
        if works_for.is_some() || sample.is_last {
            let token = watched.token;
            self.watched.remove(&sample.process);
            if !sample.is_last {
                ctx.revoke(Token(token));
            }
        }
        let has_memory = sample.huge_bytes >= HUGE_BYTES && sample.executable_bytes > 0;
        Measured { works_for, has_memory }
    }

    /// Ends what is asked about a process.
    pub(crate) fn end(&mut self, process: ProcessKey, ctx: &mut Ctx) {
        if let Some(watched) = self.watched.remove(&process) {
            ctx.revoke(Token(watched.token));
        }
    }

    /// An ask was refused: it can be made again.
    pub(crate) fn refused(&mut self, token: u32) {
        self.watched.retain(|_, watched| watched.token != token);
        self.looks.remove(&token);
    }

    /// Forgets a process.
    pub(crate) fn forget(&mut self, process: ProcessKey) {
        self.watched.remove(&process);
        self.looks.retain(|_, other| *other != process);
    }
}

impl Watched {
    /// Adds a sample; the connection that stayed, once it has worked for long enough.
    fn add(&mut self, sample: &Sample<'_>, config: &Config) -> Option<Pool> {
        let (now, cpu) = (sample.boot_ns, sample.cpu_ns);
        let before = self.before.replace((now, cpu));
        let (then, spent) = before?;
        let (passed, worked) = (now.saturating_sub(then), cpu.saturating_sub(spent));
        let is_busy = worked as f64 >= passed as f64 * config.work_cores;
        let there = far(&sample.connections);
        if !is_busy || there.is_empty() {
            self.run = None;
            return None;
        }
        let run = self.run.get_or_insert_with(|| Run { since_boot_ns: then, kept: there.clone() });
        run.kept.retain(|kept| there.contains(kept));
        if run.kept.is_empty() {
            *run = Run { since_boot_ns: now, kept: there };
        }
        let lasts = now.saturating_sub(run.since_boot_ns) / 1_000_000_000;
        let kept = run.kept.first().copied();
        kept.filter(|_| lasts >= u64::from(config.work_seconds))
    }
}

/// Connections that may be a pool's: over TCP, and not to this machine itself.
fn far(connections: &[Connect]) -> Vec<Pool> {
    let to = |connect: &Connect| {
        let address = connect.address?.to_canonical();
        let is_far = connect.protocol == TCP && !address.is_loopback() && !address.is_unspecified();
        is_far.then_some((address, connect.port))
    };
    connections.iter().filter_map(to).take(CONNECTIONS_MAX).collect()
}
