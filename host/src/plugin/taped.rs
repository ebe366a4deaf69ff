//! An instance whose calls go to a tape while somebody records: the one place where calls are recorded.

use super::candidate::Start;
use super::compile::PluginPre;
use super::stepped::failing;
use super::world::{CallError, KeptLog, Manifest, ManifestError, World};
use crate::record::{Opened, RecorderSlot, Tape, TapeCause, TapedLine, TapedOutcome};

/// An instance, and its tape if there is one.
pub(super) struct Taped {
    world: Box<dyn World>,
    tape: Option<Tape>,
}

impl Taped {
    /// An instance that is recorded from its first call on, if somebody records.
    pub(super) fn new(
        mut world: Box<dyn World>,
        recorder: &RecorderSlot,
        manifest: &Manifest,
        pre: &PluginPre,
        cause: TapeCause,
    ) -> Self {
        let tape = recorder.get().map(|recorder| recorder.tape(opened(manifest, pre, cause)));
        if tape.is_some() {
            let _before = world.take_log();
        }
        Self { world, tape }
    }

    /// Begins a tape with a state of the running instance, for whoever plays it to start from.
    pub(super) fn join(
        &mut self,
        start: &Start,
        manifest: &Manifest,
        pre: &PluginPre,
        (version, state): (&str, &[u8]),
    ) {
        let Some(recorder) = start.recorder.get() else { return };
        let mut tape = recorder.tape(opened(manifest, pre, TapeCause::Joined));
        tape.init(&start.config, start.seed, TapedOutcome::Unmade, no_log());
        tape.restore(version, state, TapedOutcome::Unmade, no_log());
        let _before = self.world.take_log();
        self.tape = Some(tape);
    }

    /// Writes a batch that the running instance knows already and whoever plays the tape does not.
    pub(super) fn introduced(&mut self, batch: &[u8]) {
        if let Some(tape) = &mut self.tape {
            tape.handle(batch, TapedOutcome::Unmade, no_log());
        }
    }

    /// The tape to write to, and what was logged; none once the recording has ended.
    fn tape(&mut self) -> Option<(&mut Tape, (Vec<TapedLine>, u64))> {
        let tape = self.tape.take_if(|tape| tape.is_over());
        drop(tape);
        let tape = self.tape.as_mut()?;
        let KeptLog { lines, more } = self.world.take_log();
        Some((tape, (lines, more)))
    }
}

impl World for Taped {
    fn describe(&mut self) -> Result<Result<Manifest, ManifestError>, CallError> {
        self.world.describe()
    }

    fn init(&mut self, config: &[u8], seed: u64) -> Result<Result<Vec<u8>, String>, CallError> {
        let result = self.world.init(config, seed);
        if let Some((tape, log)) = self.tape() {
            let failed = words(&result);
            tape.init(config, seed, outcome(&result, &failed, Vec::as_slice), log);
        }
        result
    }

    fn handle(&mut self, batch: &[u8]) -> Result<Vec<u8>, CallError> {
        let result = self.world.handle(batch);
        if let Some((tape, log)) = self.tape() {
            let failed = words(&result);
            tape.handle(batch, plain(&result, &failed), log);
        }
        result
    }

    fn snapshot(&mut self) -> Result<Vec<u8>, CallError> {
        let result = self.world.snapshot();
        if let Some((tape, log)) = self.tape() {
            let failed = words(&result);
            tape.snapshot(plain(&result, &failed), log);
        }
        result
    }

    fn restore(
        &mut self,
        from_version: &str,
        state: &[u8],
    ) -> Result<Result<(), String>, CallError> {
        let result = self.world.restore(from_version, state);
        if let Some((tape, log)) = self.tape() {
            let failed = words(&result);
            tape.restore(from_version, state, outcome(&result, &failed, |()| &[]), log);
        }
        result
    }

    fn log_dropped(&self) -> u64 {
        self.world.log_dropped()
    }

    fn set_name(&mut self, name: &str) {
        self.world.set_name(name);
    }

    fn take_log(&mut self) -> KeptLog {
        self.world.take_log()
    }
}

const fn no_log() -> (Vec<TapedLine>, u64) {
    (Vec::new(), 0)
}

/// Reason of a failure; empty without one.
fn words<T>(result: &Result<T, CallError>) -> String {
    result.as_ref().err().map(ToString::to_string).unwrap_or_default()
}

fn plain<'r>(result: &'r Result<Vec<u8>, CallError>, failed: &'r str) -> TapedOutcome<'r> {
    match result {
        Ok(output) => TapedOutcome::Returned(output),
        Err(error) => TapedOutcome::Failed(failing(error), failed),
    }
}

fn outcome<'r, T>(
    result: &'r Result<Result<T, String>, CallError>,
    failed: &'r str,
    bytes: impl Fn(&'r T) -> &'r [u8],
) -> TapedOutcome<'r> {
    match result {
        Ok(Ok(output)) => TapedOutcome::Returned(bytes(output)),
        Ok(Err(reason)) => TapedOutcome::Refused(reason),
        Err(error) => TapedOutcome::Failed(failing(error), failed),
    }
}

fn opened(manifest: &Manifest, pre: &PluginPre, cause: TapeCause) -> Opened {
    let (identity, limits) = (pre.identity(), pre.limits());
    Opened {
        tape: 0,
        plugin: manifest.name.clone(),
        version: manifest.version.clone(),
        sha256: identity.sha256.clone(),
        contract: identity.contract.clone(),
        schema: manifest.schema.number(),
        cause,
        memory_bytes: limits.memory_bytes as u64,
        table_elements: limits.table_elements as u64,
        stack_bytes: limits.stack_bytes as u64,
        output_bytes: limits.output_bytes as u64,
        state_bytes: limits.state_bytes as u64,
        log_line_bytes: limits.log_line_bytes as u64,
    }
}
