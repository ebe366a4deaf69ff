//! Kinds of evidence, what each weighs, and how an exec or a connect shows it.

use krsi_plugin::{Connect, Exec};
use serde::{Deserialize, Serialize};

use crate::config::Config;

/// A set of kinds of evidence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Evidence(u32);

/// Kind, weight, and words for the alert. The default threshold is 100.
const KINDS: &[(u32, u32, &str)] = &[
    (NAME, 60, "a miner's name"),
    (ARGV, 60, "a miner's arguments"),
    (ARGV_MORE, 40, "several of them"),
    (HOST, 40, "a pool's host in its arguments"),
    (MEMFD, 50, "an executable in memory only"),
    (DELETED, 50, "a deleted executable"),
    (WRITABLE, 50, "an executable where anybody may write"),
    (PORT, 50, "a connection to a pool's port"),
    (NETWORK, 100, "a connection to a pool's network"),
];

const NAME: u32 = 1 << 0;
const ARGV: u32 = 1 << 1;
const ARGV_MORE: u32 = 1 << 2;
const HOST: u32 = 1 << 3;
const MEMFD: u32 = 1 << 4;
const DELETED: u32 = 1 << 5;
const WRITABLE: u32 = 1 << 6;
const PORT: u32 = 1 << 7;
const NETWORK: u32 = 1 << 8;

impl Evidence {
    /// What an exec shows.
    pub(crate) fn of_exec(config: &Config, exec: &Exec<'_>) -> Self {
        let mut found = 0;
        let name = |path: &str| {
            let last = path.rsplit('/').next().unwrap_or(path);
            config.names.iter().any(|name| name == last)
        };
        if name(&exec.path) || exec.argv.iter().next().is_some_and(name) {
            found |= NAME;
        }
        let arguments = || exec.argv.iter().skip(1);
        let marker = |argument: &str| {
            config.argv_markers.iter().any(|marker| argument.starts_with(marker.as_str()))
        };
        // A system tool that is asked about miners, such as grep, is not one.
        let system = config.protects(&exec.path);
        match arguments().filter(|argument| marker(argument)).count() {
            0 => {}
            1 => found |= ARGV,
            _ if system => found |= ARGV,
            _ => found |= ARGV | ARGV_MORE,
        }
        let host =
            |argument: &str| config.pool_hosts.iter().any(|host| argument.contains(host.as_str()));
        if found & ARGV == 0 && arguments().any(host) || !system && arguments().any(host) {
            found |= HOST;
        }
        if exec.flags.memfd() {
            found |= MEMFD;
        } else if exec.flags.deleted() {
            found |= DELETED;
        } else if config.world_writable.iter().any(|place| exec.path.starts_with(place.as_str())) {
            found |= WRITABLE;
        }
        Self(found)
    }

    /// What a connect shows.
    pub(crate) fn of_connect(config: &Config, connect: &Connect) -> Self {
        let Some(address) = connect.address else { return Self(0) };
        let mut found = 0;
        if config.pool_ports.contains(&connect.port) {
            found |= PORT;
        }
        if config.pool_networks.iter().any(|network| network.contains(address)) {
            found |= NETWORK;
        }
        Self(found)
    }

    /// Whether there is none.
    pub(crate) const fn is_none(self) -> bool {
        self.0 == 0
    }

    /// Both.
    pub(crate) const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The sum of the weights.
    pub(crate) fn score(self) -> u32 {
        self.kinds().map(|(_, weight, _)| weight).sum()
    }

    /// The kinds, in words.
    pub(crate) fn words(self) -> String {
        self.kinds().map(|(_, _, words)| *words).collect::<Vec<_>>().join(", ")
    }

    fn kinds(self) -> impl Iterator<Item = &'static (u32, u32, &'static str)> {
        KINDS.iter().filter(move |(kind, _, _)| self.0 & kind != 0)
    }
}
