//! Fuzzing on stable Rust: what reads foreign bytes is given millions of them, a few seconds in each run of the
//! tests, for longer by `cargo xtask fuzz`.
//!
//! | variable | what |
//! | --- | --- |
//! | `KRSI_FUZZ_SECONDS` | how long each target runs; 5 unless said |
//! | `KRSI_FUZZ_SEED` | where the numbers begin; the time unless said, and printed |
//! | `KRSI_FUZZ_INPUT` | a file with the one input to run, as a finding leaves it |

mod engine;
mod seed;
mod target;

use engine::fuzz;

#[test]
fn ring_records() {
    fuzz(&target::ring::TARGET);
}

#[test]
fn batches_and_actions() {
    fuzz(&target::batch::TARGET);
}

#[test]
fn control_messages() {
    fuzz(&target::control::TARGET);
}

#[test]
fn configuration() {
    fuzz(&target::config::TARGET);
}

#[test]
fn watches() {
    fuzz(&target::watch::TARGET);
}

#[test]
fn btf() {
    fuzz(&target::btf::TARGET);
}

#[test]
fn first_bytes_of_connections() {
    fuzz(&target::parse::TARGET);
}

#[test]
fn recordings() {
    fuzz(&target::recording::TARGET);
}

#[test]
fn plugin_modules() {
    fuzz(&target::module::TARGET);
}

#[test]
fn paths_and_names() {
    fuzz(&target::name::TARGET);
}
