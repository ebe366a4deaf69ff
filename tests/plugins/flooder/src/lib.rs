//! Goes wrong on command: what it does stands in the name of the program that is run.
//!
//! ```text
//! flood-log       a megabyte of log lines
//! flood-alerts    2000 alerts
//! flood-actions   5000 rules
//! flood-output    two megabytes of actions
//! flood-stack     recurses for ever
//! flood-state     a snapshot beyond every limit, from then on
//! ```

use std::hint::black_box;
use std::time::Duration;

use krsi_plugin::{
    Ctx, Exec, FileKey, Hook, Level, Manifest, Meta, OnStop, Outcome, Plugin, Severity,
};

#[derive(Default)]
struct Flooder {
    state: usize,
    done: u64,
    refused: u64,
    ticks: u64,
}

impl Plugin for Flooder {
    fn manifest() -> Manifest {
        Manifest::new("flooder", "0.1.0")
            .hook(Hook::BprmCommittedCreds)
            .deny_by_file()
            .deny_hook(Hook::FileOpen)
            .on_stop(OnStop::Clear)
            .tick_ms(50)
    }

    fn init(_config: &[u8], _seed: u64, _ctx: &mut Ctx) -> Result<Self, String> {
        Ok(Self::default())
    }

    fn exec(&mut self, meta: &Meta, exec: &Exec, ctx: &mut Ctx) {
        let Some((_, name)) = exec.path.rsplit_once('/') else { return };
        match name {
            "flood-log" => (0..10_000).for_each(|_| ctx.log(Level::Info, "x".repeat(100))),
            "flood-alerts" => {
                (0..2000).for_each(|_| ctx.alert("", Severity::Info, meta.process, "flood"));
            }
            "flood-actions" => (0..5000).for_each(|ino| rule(ctx, ino, "flood")),
            "flood-output" => (0..3000).for_each(|ino| rule(ctx, ino, &"x".repeat(1000))),
            "flood-stack" => {
                black_box(deep(black_box(1)));
            }
            "flood-state" => self.state = 64 << 20,
            "flood-report" => {
                let Self { done, refused, ticks, .. } = self;
                let text = format!("done {done} refused {refused} ticks {ticks}");
                ctx.alert("", Severity::Info, meta.process, text);
            }
            _ => {}
        }
    }

    fn tick(&mut self, _ctx: &mut Ctx) {
        self.ticks += 1;
    }

    fn outcome(&mut self, outcome: &Outcome, _ctx: &mut Ctx) {
        match outcome.refusal {
            Some(_) => self.refused += 1,
            None => self.done += 1,
        }
    }

    fn snapshot(&self) -> Vec<u8> {
        vec![0; self.state]
    }
}

fn rule(ctx: &mut Ctx, ino: u64, reason: &str) {
    // Files that are not there: nobody is harmed.
    let file = FileKey { ino: (1 << 60) + ino, dev: 0xfff, generation: 1 };
    ctx.deny_file(file).open().ttl(Duration::from_secs(3600)).because(reason);
}

fn deep(depth: u64) -> u64 {
    let pad = black_box([depth; 64]);
    if depth == 0 { 0 } else { pad.iter().sum::<u64>() + deep(black_box(depth + 1)) }
}

krsi_plugin::export!(Flooder);
