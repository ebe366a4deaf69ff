//! The engine: inputs from a corpus, mutated, and kept when they lead to something that was not seen before.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use crate::seeded::SeededNumbers;

/// Inputs that are kept.
const KEPT_MAX: usize = 4096;
/// Changes of one input.
const CHANGES_MAX: usize = 6;

/// Something that reads foreign bytes.
pub(crate) struct FuzzTarget {
    /// Name of the target.
    pub(crate) name: &'static str,
    /// Inputs to begin with.
    pub(crate) seeds: fn() -> Vec<Vec<u8>>,
    /// What stands in such inputs, to be put into others.
    pub(crate) words: &'static [&'static str],
    /// Runs it on an input and says what it came to; a finding is a panic.
    pub(crate) run: fn(&[u8]) -> FuzzOutcome,
    /// An input that takes longer is a finding.
    pub(crate) slow: Duration,
    /// Longest input, bytes: longer ones would only be fewer.
    pub(crate) longest: usize,
}

/// What an input came to: two that are told apart are worth keeping both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct FuzzOutcome(u64);

/// An outcome by whatever tells it from others.
pub(crate) fn outcome(of: impl Hash) -> FuzzOutcome {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    FuzzOutcome(hasher.finish())
}

/// An outcome by the words of an error, without what they quote and count.
pub(crate) fn words(text: &str) -> FuzzOutcome {
    let mut is_quoted = false;
    let kept = text.chars().filter(|letter| {
        is_quoted ^= matches!(letter, '"' | '`');
        !is_quoted && !letter.is_numeric()
    });
    outcome(kept.take(64).collect::<String>())
}

fn set(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Runs a target for its time.
pub(crate) fn fuzz(target: &FuzzTarget) {
    if let Some(file) = set("KRSI_FUZZ_INPUT") {
        let input = std::fs::read(&file).unwrap();
        println!("fuzz {}: {file} came to {:?}", target.name, (target.run)(&input));
        return;
    }
    let seconds = set("KRSI_FUZZ_SECONDS").map_or(5.0, |text| text.parse().unwrap());
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
    let seed = set("KRSI_FUZZ_SEED").map_or(now, |text| text.parse().unwrap());
    let (mut numbers, began) = (SeededNumbers::new(seed), Instant::now());
    let mut kept = (target.seeds)();
    let mut seen = HashSet::new();
    // Seeds are inputs too.
    for input in &kept {
        seen.insert(run(target, input, seed));
    }
    let (mut executions, mut slowest) = (0u64, Duration::ZERO);
    while began.elapsed().as_secs_f64() < seconds {
        let mut input = mutated(&kept, target.words, &mut numbers);
        input.truncate(target.longest);
        let one = Instant::now();
        let outcome = run(target, &input, seed);
        slowest = slowest.max(one.elapsed());
        executions += 1;
        if seen.insert(outcome) && kept.len() < KEPT_MAX {
            kept.push(input);
        }
    }
    println!(
        "fuzz {}: {executions} executions in {:.1} s from seed {seed}: {} outcomes, the slowest took {slowest:?}",
        target.name,
        began.elapsed().as_secs_f64(),
        seen.len(),
    );
    assert!(executions > 0, "nothing was tried but the seeds");
}

/// Runs an input; one that is a finding is left in a file.
fn run(target: &FuzzTarget, input: &[u8], seed: u64) -> FuzzOutcome {
    let began = Instant::now();
    let result = catch_unwind(AssertUnwindSafe(|| (target.run)(input)));
    let took = began.elapsed();
    if took > target.slow {
        let file = left(target, input);
        panic!("{}: an input took {took:?}: {} (seed {seed})", target.name, file.display());
    }
    result.unwrap_or_else(|panic| {
        let file = left(target, input);
        println!("fuzz {}: a finding in {} (seed {seed})", target.name, file.display());
        resume_unwind(panic)
    })
}

fn left(target: &FuzzTarget, input: &[u8]) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/fuzz/findings");
    std::fs::create_dir_all(&folder).unwrap();
    let name = target.name.replace(' ', "-");
    let file = folder.join(format!("{name}-{:016x}", outcome(input).0));
    std::fs::write(&file, input).unwrap();
    file
}

/// Numbers at the edges of what fields hold.
const EDGES: [u64; 12] =
    [0, 1, 7, 0x7f, 0x80, 0xff, 0x7fff, 0xffff, 0x7fff_ffff, 0xffff_ffff, u64::MAX >> 1, u64::MAX];

fn mutated(kept: &[Vec<u8>], words: &[&str], numbers: &mut SeededNumbers) -> Vec<u8> {
    if kept.is_empty() || numbers.below(64) == 0 {
        let len = numbers.below(512);
        return numbers.bytes(len);
    }
    let mut input = kept[numbers.below(kept.len())].clone();
    for _ in 0..=numbers.below(CHANGES_MAX) {
        let at = numbers.below(input.len() + 1);
        match numbers.below(10) {
            0 if !input.is_empty() => {
                let at = at % input.len();
                input[at] ^= 1 << numbers.below(8);
            }
            1 if !input.is_empty() => {
                let at = at % input.len();
                input[at] = numbers.next() as u8;
            }
            2 => {
                let len = numbers.below(16);
                let bytes = numbers.bytes(len);
                input.splice(at..at, bytes);
            }
            3 => {
                let len = numbers.below((input.len() - at + 1).min(64));
                input.drain(at..at + len);
            }
            4 => {
                let len = numbers.below((input.len() - at + 1).min(128));
                let again = input[at..at + len].to_vec();
                let to = numbers.below(input.len() + 1);
                input.splice(to..to, again);
            }
            5 => {
                let other = &kept[numbers.below(kept.len())];
                let from = numbers.below(other.len() + 1);
                let len = numbers.below(other.len() - from + 1);
                input.splice(at.., other[from..from + len].iter().copied());
            }
            6 | 7 if !words.is_empty() => {
                let word = words[numbers.below(words.len())].bytes();
                input.splice(at..at, word);
            }
            8 => {
                let edge = EDGES[numbers.below(EDGES.len())].to_le_bytes();
                let len = [1, 2, 4, 8][numbers.below(4)].min(input.len() - at);
                input[at..at + len].copy_from_slice(&edge[..len]);
            }
            _ => input.truncate(at),
        }
    }
    input
}
