//! Kinds of evidence, what each weighs, and how an exec or a connect shows it.
//!
//! What says that somebody mines is told from mere circumstances: those never reach the threshold by
//! themselves, however many there are.

use krsi_plugin::{Argv, Connect, Exec, ExecFlags, Running, Whose};
use serde::{Deserialize, Serialize};

use crate::argument::{self, Told};
use crate::config::Config;

/// A set of kinds of evidence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Evidence {
    kinds: u32,
    /// Port of the server that the arguments name; 0 for none.
    port: u16,
}

/// One bit for each kind of evidence.
pub(crate) mod kind {
    pub(crate) const NAME: u32 = 1 << 0;
    pub(crate) const OPTION: u32 = 1 << 1;
    pub(crate) const OPTIONS: u32 = 1 << 2;
    pub(crate) const URL: u32 = 1 << 3;
    pub(crate) const HOST: u32 = 1 << 4;
    pub(crate) const ALGORITHM: u32 = 1 << 5;
    pub(crate) const WALLET: u32 = 1 << 6;
    pub(crate) const ENDPOINT: u32 = 1 << 7;
    pub(crate) const LOGIN: u32 = 1 << 8;
    pub(crate) const CONNECTED: u32 = 1 << 9;
    pub(crate) const NETWORK: u32 = 1 << 10;
    pub(crate) const TOLD: u32 = 1 << 11;
    pub(crate) const TOLD_MORE: u32 = 1 << 12;
    pub(crate) const COIN_WALLET: u32 = 1 << 13;
    pub(crate) const RANDOMX: u32 = 1 << 14;
    pub(crate) const MEMFD: u32 = 1 << 16;
    pub(crate) const DELETED: u32 = 1 << 17;
    pub(crate) const WRITABLE: u32 = 1 << 18;
    pub(crate) const PORT: u32 = 1 << 19;
    pub(crate) const URL_LOCAL: u32 = 1 << 20;
    pub(crate) const HUGE: u32 = 1 << 21;
    pub(crate) const TUNED: u32 = 1 << 22;
    pub(crate) const CUT: u32 = 1 << 23;
    pub(crate) const WORK: u32 = 1 << 24;
    pub(crate) const MEMORY: u32 = 1 << 25;
    pub(crate) const WORDS: u32 = 1 << 26;
    /// Kinds that are no evidence of mining.
    pub(crate) const CIRCUMSTANCES: u32 = ENDPOINT
        | LOGIN
        | CONNECTED
        | MEMFD
        | DELETED
        | WRITABLE
        | PORT
        | URL_LOCAL
        | HUGE
        | TUNED
        | CUT
        | WORK
        | MEMORY;
    /// Those that say what is computed or by what, not only for whom.
    pub(crate) const COMPUTES: u32 =
        NAME | OPTION | OPTIONS | URL | HOST | ALGORITHM | RANDOMX | WORDS;
}

/// Kind, weight, and words for the alert. The default threshold is 100.
const KINDS: &[(u32, u32, &str)] = &[
    (kind::NAME, 60, "a miner's name"),
    (kind::OPTION, 60, "an option that only miners have"),
    (kind::OPTIONS, 40, "several of them"),
    (kind::URL, 80, "a mining protocol's URL"),
    (kind::HOST, 60, "a pool's host in its arguments"),
    (kind::ALGORITHM, 60, "a mining algorithm"),
    (kind::WALLET, 60, "a wallet's address"),
    (kind::ENDPOINT, 30, "a server to work for"),
    (kind::LOGIN, 20, "a login to it"),
    (kind::CONNECTED, 30, "a connection to the port that its arguments name"),
    (kind::NETWORK, 100, "a connection to a pool's network"),
    (kind::WORDS, 100, "the first words of a pool's protocol"),
    (kind::TOLD, 60, "a program of the system is told of mining"),
    (kind::TOLD_MORE, 20, "in several ways"),
    (kind::COIN_WALLET, 40, "the address of a coin's wallet"),
    (kind::RANDOMX, 60, "the processor set up as RandomX wants it, and huge pages"),
    (kind::MEMFD, 30, "an executable in memory only"),
    (kind::DELETED, 30, "a deleted executable"),
    (kind::WRITABLE, 30, "an executable where anybody may write"),
    (kind::PORT, 30, "a connection to a port that pools use"),
    (kind::URL_LOCAL, 30, "a mining protocol's URL on this machine"),
    (kind::HUGE, 5, "memory of huge pages"),
    (kind::TUNED, 5, "a setting of the processor"),
    (kind::CUT, 20, "more arguments than could be read"),
    (kind::WORK, 20, "work without a break, and a connection that stays"),
    (kind::MEMORY, 10, "huge pages, and code made at run time"),
];
/// What such work weighs beside evidence of what is computed.
const WORK_OF_MINING: u32 = 40;

impl Evidence {
    /// Evidence of an exec.
    pub(crate) fn of_exec(config: &Config, exec: &Exec<'_>) -> Self {
        Self::of_program(config, (&exec.path, false), &exec.argv, exec.flags)
    }

    /// What a process shows that ran already, but for its connections.
    pub(crate) fn of_running(config: &Config, running: &Running<'_>) -> Self {
        let process = &running.process;
        let program = (&*process.exe, is_own(process.root, process.mounts));
        Self::of_program(config, program, &process.argv, running.flags)
    }

    /// Evidence of a program's path and arguments; `is_own` for one whose files are not the machine's.
    pub(crate) fn of_program(
        config: &Config,
        (path, is_own): (&str, bool),
        argv: &Argv<'_>,
        flags: ExecFlags,
    ) -> Self {
        let name = |path: &str| {
            let last = path.rsplit('/').next().unwrap_or(path);
            config.names.iter().any(|name| name == last)
        };
        let Told { mut kinds, mut port } = argument::read(config, argv.iter().skip(1));
        if argv.truncated {
            kinds |= kind::CUT;
        }
        // A system tool that is asked about miners, such as grep, is not one.
        if config.protects(path) && !is_own {
            port = port.filter(|_| kinds & kind::URL != 0);
            kinds = match (kinds & !kind::CIRCUMSTANCES).count_ones() {
                0 => 0,
                1 => kind::TOLD,
                _ => kind::TOLD | kind::TOLD_MORE,
            };
        }
        if name(path) || argv.iter().next().is_some_and(name) {
            kinds |= kind::NAME;
        }
        if flags.memfd() {
            kinds |= kind::MEMFD;
        } else if flags.deleted() {
            kinds |= kind::DELETED;
        } else if config.world_writable.iter().any(|place| path.starts_with(place.as_str())) {
            kinds |= kind::WRITABLE;
        }
        Self { kinds, port: port.unwrap_or(0) }
    }

    /// What a connect shows of a process that showed `before`. Loopback is no pool, but where arguments
    /// name it.
    pub(crate) fn of_connect(config: &Config, connect: &Connect, before: Self) -> Self {
        let Some(address) = connect.address else { return Self::default() };
        let mut kinds = 0;
        if !address.to_canonical().is_loopback() && config.pool_ports.contains(&connect.port) {
            kinds |= kind::PORT;
        }
        if config.pool_networks.iter().any(|network| network.contains(address)) {
            kinds |= kind::NETWORK;
        }
        if before.port != 0 && before.port == connect.port {
            kinds |= kind::CONNECTED;
        }
        Self { kinds, port: 0 }
    }

    /// What a mapping of huge pages shows, or a setting of the processor. Programs of the system do both for others.
    pub(crate) fn of_memory(config: &Config, exe: &str, what: u32, before: Self) -> Self {
        if config.protects(exe) {
            return Self::default();
        }
        let both = kind::HUGE | kind::TUNED;
        let is_both = (before.kinds | what) & both == both;
        Self { kinds: if is_both { what | kind::RANDOMX } else { what }, port: 0 }
    }

    /// Whether it is evidence of what is computed, or by what.
    pub(crate) const fn computes(self) -> bool {
        self.kinds & kind::COMPUTES != 0
    }

    /// Whether a program of the system is told of mining.
    pub(crate) const fn is_told(self) -> bool {
        self.kinds & kind::TOLD != 0
    }

    /// Whether there were more arguments than could be read.
    pub(crate) const fn is_cut(self) -> bool {
        self.kinds & kind::CUT != 0
    }

    /// The same without what another reading of the arguments says better: that a program of the system is told them,
    /// or that some are missing.
    pub(crate) const fn read_anew(self) -> Self {
        Self { kinds: self.kinds & !(kind::TOLD | kind::TOLD_MORE | kind::CUT), port: self.port }
    }

    /// Work without a break.
    pub(crate) const fn of_work() -> Self {
        Self { kinds: kind::WORK, port: 0 }
    }

    /// The first words of a pool's protocol.
    pub(crate) const fn of_words() -> Self {
        Self { kinds: kind::WORDS, port: 0 }
    }

    /// Whether it makes somebody suspect: miners have it more often than others, and it comes before their first words. A
    /// program where anybody may write is most often a developer's, who may speak to a pool of his own on this machine.
    pub(crate) const fn is_suspect(self) -> bool {
        let circumstances = kind::MEMFD | kind::DELETED | kind::HUGE | kind::TUNED | kind::MEMORY;
        self.kinds & circumstances != 0
    }

    /// Memory as a miner has it.
    pub(crate) const fn of_large_memory() -> Self {
        Self { kinds: kind::MEMORY, port: 0 }
    }

    /// Whether it says that the connection it is of goes to a pool.
    pub(crate) const fn is_of_pool(self) -> bool {
        self.kinds & (kind::CONNECTED | kind::NETWORK | kind::PORT | kind::WORDS) != 0
    }

    /// What of it says that somebody mines: circumstances are those of an image, and end with it.
    pub(crate) const fn of_mining(self) -> Self {
        Self { kinds: self.kinds & !kind::CIRCUMSTANCES, port: self.port }
    }

    /// Whether the executable is nobody's to keep: in memory only, deleted, or where anybody may write. Another may be a
    /// program that others need, started with a miner's words to have it refused to them.
    pub(crate) const fn is_of_disposable_file(self) -> bool {
        self.kinds & (kind::MEMFD | kind::DELETED | kind::WRITABLE) != 0
    }

    /// Whether there is none.
    pub(crate) const fn is_none(self) -> bool {
        self.kinds == 0
    }

    /// Whether some of it says that somebody mines.
    pub(crate) const fn is_of_mining(self) -> bool {
        self.kinds & !kind::CIRCUMSTANCES != 0
    }

    /// As much of it as counts for descendants: what a system program is told is about itself. A shell that
    /// searches for miners starts other things too.
    pub(crate) const fn of_descendants(self) -> Self {
        Self { kinds: self.kinds & !(kind::TOLD | kind::TOLD_MORE), port: self.port }
    }

    /// The evidence of both together.
    pub(crate) const fn with(self, other: Self) -> Self {
        let port = if other.port == 0 { self.port } else { other.port };
        Self { kinds: self.kinds | other.kinds, port }
    }

    /// The sum of the weights, circumstances up to `hints_max`.
    pub(crate) fn score(self, hints_max: u32) -> u32 {
        self.pieces(hints_max).map(|(_, weight)| weight).sum()
    }

    /// Every kind in words, and what it adds to the score: nothing for one that was not seen, or for a circumstance
    /// beyond the `hints_max` that they weigh together.
    pub(crate) fn pieces(self, hints_max: u32) -> impl Iterator<Item = (&'static str, u32)> {
        let hints =
            if self.computes() { kind::CIRCUMSTANCES & !kind::WORK } else { kind::CIRCUMSTANCES };
        let mut room = hints_max;
        KINDS.iter().map(move |&(kind, weight, words)| {
            let mut adds = if self.kinds & kind == 0 { 0 } else { self.weight(kind, weight) };
            if kind & hints != 0 {
                adds = adds.min(room);
                room -= adds;
            }
            (words, adds)
        })
    }

    /// What a kind weighs beside the others.
    const fn weight(self, kind: u32, weight: u32) -> u32 {
        if kind == kind::WORK && self.computes() { WORK_OF_MINING } else { weight }
    }

    /// The kinds, in words, each with what it adds to the score.
    pub(crate) fn words(self, hints_max: u32) -> String {
        let seen =
            KINDS.iter().zip(self.pieces(hints_max)).filter(|(row, _)| self.kinds & row.0 != 0);
        let words = seen.map(|(_, (words, adds))| format!("{words} ({adds})"));
        words.collect::<Vec<_>>().join(", ")
    }
}

/// Whether a process's files are not the machine's: its `/usr/bin` is another one.
pub(crate) const fn is_own(root: Whose, mounts: Whose) -> bool {
    matches!(root, Whose::Own) || matches!(mounts, Whose::Own)
}
