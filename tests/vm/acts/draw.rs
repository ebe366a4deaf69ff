//! Names, ports, wallets and hosts by a seed: nothing may be recognised by a constant of ours.

use super::{AT, MinerAct};

const LOWER: &str = "abcdefghijkmnopqrstuvwxyz";
const HEX: &str = "0123456789abcdef";
const BASE58: &str = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
/// Ports of pools that are drawn; those of the configuration stand in acts.
const PORTS: (u64, u64) = (20_000, 30_000);

/// Random numbers (xorshift64).
pub(super) struct Draw {
    state: u64,
    ports: Vec<u64>,
}

impl Draw {
    pub(super) fn new(seed: u64) -> Self {
        // Zero would stay zero.
        Self { state: seed | 1, ports: Vec::new() }
    }

    pub(super) fn below(&mut self, end: usize) -> usize {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        usize::try_from(self.state >> 16).unwrap_or_default() % end.max(1)
    }

    fn word(&mut self, of: &str, len: usize) -> String {
        let all: Vec<char> = of.chars().collect();
        (0..len).filter_map(|_| all.get(self.below(all.len())).copied()).collect()
    }

    /// A port that no other act has.
    fn port(&mut self) -> u64 {
        loop {
            let port = PORTS.0 + self.below(usize::try_from(PORTS.1 - PORTS.0).unwrap_or(1)) as u64;
            if !self.ports.contains(&port) {
                self.ports.push(port);
                return port;
            }
        }
    }

    /// An act with all that stands in braces.
    pub(super) fn act(&mut self, act: MinerAct) -> MinerAct {
        let (port, ethereum) = (self.port(), self.word(HEX, 40));
        let host = format!("{}.{}.example", self.word(LOWER, 4), self.word(LOWER, 7));
        let padding = self.word(LOWER, 6000);
        let mut words = vec![
            ("{port}", port.to_string()),
            ("{at}", AT.to_owned()),
            ("{host}", host),
            ("{monero}", format!("4{}", self.word(BASE58, 94))),
            ("{ethereum}", format!("0x{ethereum}")),
            ("{bitcoin}", format!("1aB{}", self.word(BASE58, 31))),
            ("{padding}", padding),
        ];
        for name in ["{a}", "{b}", "{c}"] {
            let len = 5 + self.below(6);
            words.push((name, self.word(LOWER, len)));
        }
        let pool = format!("{AT}:{port}");
        let says_pool = act.argv.iter().any(|word| word.contains("{pool}"));
        words.push(("{pool}", pool.clone()));
        let fill = |text: &String| {
            words.iter().fold(text.clone(), |text, (name, word)| text.replace(name, word))
        };
        let to = act.to.as_ref().map(fill).or_else(|| says_pool.then_some(pool));
        MinerAct {
            program: fill(&act.program),
            argv: act.argv.iter().map(fill).collect(),
            says: act.says.as_ref().map(fill),
            to,
            ..act
        }
    }
}
