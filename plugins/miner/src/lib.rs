//! Crypto-mining by behaviour: evidence is gathered along a process's lineage and scored.
//!
//! Names can be changed; what a miner is told on its command line says more. Running from where anybody can
//! write, from memory or from a file that is gone, and talking to a port that pools use are circumstances: they
//! add to evidence of mining, and are none by themselves.

mod argument;
mod config;
mod evidence;
mod lineage;
mod response;

use krsi_plugin::{Connect, Ctx, Exec, Hook, Manifest, Meta, Plugin, ProcessKey};

use config::Config;
use evidence::Evidence;
use lineage::Lineages;
use response::Responses;

/// Detects miners of cryptocurrency by the evidence in each process tree.
pub struct Miner {
    config: Config,
    lineages: Lineages,
    responses: Responses,
}

impl Plugin for Miner {
    fn manifest() -> Manifest {
        Manifest::new("miner", env!("CARGO_PKG_VERSION"))
            .hook(Hook::BprmCommittedCreds)
            .hook(Hook::SocketConnect)
            .deny_by_file()
            .deny_by_lineage()
            .deny_hook(Hook::BprmCheckSecurity)
            .deny_hook(Hook::SocketConnect)
            .deny_hook(Hook::SocketSendmsg)
    }

    fn init(config: &[u8], _seed: u64, _ctx: &mut Ctx) -> Result<Self, String> {
        Ok(Self {
            config: Config::parse(config)?,
            lineages: Lineages::default(),
            responses: Responses::default(),
        })
    }

    fn exec(&mut self, meta: &Meta, exec: &Exec, ctx: &mut Ctx) {
        let evidence = Evidence::of_exec(&self.config, exec);
        self.add_evidence(meta.process, evidence, ctx);
    }

    fn connect(&mut self, meta: &Meta, connect: &Connect, ctx: &mut Ctx) {
        let before = self.lineages.of(meta.process);
        let evidence = Evidence::of_connect(&self.config, connect, before);
        self.add_evidence(meta.process, evidence, ctx);
    }

    fn gone(&mut self, process: ProcessKey, ctx: &mut Ctx) {
        self.lineages.forget(process);
        self.responses.forget(process, ctx.now_boot_ns());
    }

    fn snapshot(&self) -> Vec<u8> {
        // A state that cannot be written is started anew.
        postcard::to_allocvec(&(&self.lineages, &self.responses)).unwrap_or_default()
    }

    fn restore(&mut self, _from: &str, state: &[u8]) -> Result<(), String> {
        (self.lineages, self.responses) =
            postcard::from_bytes(state).map_err(|error| format!("state: {error}"))?;
        Ok(())
    }
}

impl Miner {
    /// Adds evidence to a process; answers when its lineage's score reaches the threshold.
    fn add_evidence(&mut self, process: ProcessKey, evidence: Evidence, ctx: &mut Ctx) {
        if evidence.is_none() {
            return;
        }
        self.lineages.add(process, evidence);
        let case = self.lineages.case(process, ctx);
        if case.evidence.score() >= self.config.threshold {
            self.responses.answer(&case, &self.config, ctx);
        }
    }
}

krsi_plugin::export!(Miner);

#[cfg(test)]
mod tests;
