//! A fixed piece of work, by whose time the tests' time is told on any machine.
//!
//! It does what most of a test's time is: a processor's work on memory that fits its caches. It never changes,
//! or the budgets lose their meaning.

use std::hint::black_box;
use std::time::{Duration, Instant};

/// Numbers that are worked on.
const WORDS: usize = 4096;
/// How often; an emulated guest needs some fifty milliseconds.
const ROUNDS: usize = 3000;

/// Runs the loop once.
pub(crate) fn run() -> Duration {
    let start = Instant::now();
    let mut words = vec![0x9e37_79b9_7f4a_7c15_u64; WORDS];
    for _ in 0..ROUNDS {
        let mut last = 1;
        for word in &mut words {
            last = (*word ^ last).rotate_left(13).wrapping_mul(0xff51_afd7_ed55_8ccd);
            *word = last;
        }
        black_box(&mut words);
    }
    start.elapsed()
}
