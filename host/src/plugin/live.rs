//! One version of a plugin while it runs: its instance, its last checkpoint, the answers it waits for.

use std::sync::Arc;
use std::time::{Duration, Instant};

use krsi_plugin_schema::frame::Frames;
use krsi_plugin_schema::latest::{Lost, RecordRef, Tick};

use super::candidate::{Checkpoint, Start, StartRefusal, describe, start};
use super::compile::PluginPre;
use super::shadow::Shadow;
use super::taped::Taped;
use super::worker::{About, ActionSink};
use super::world::{CallError, World};
use crate::record::TapeCause;
use crate::route::batch::{self, fit};
use crate::route::queue::Batch;

/// Time between two checkpoints of a plugin that is given something.
const CHECKPOINT: Duration = Duration::from_secs(1);
/// Answered actions after which one is made at once: fewer than the tokens that the SDK leaves out
/// after a restore.
const CHECKPOINT_ACTIONS: usize = 1 << 14;

pub(super) struct RunningVersion {
    pub(super) about: Arc<About>,
    pre: Arc<PluginPre>,
    world: Taped,
    start: Start,
    pub(super) sink: Box<dyn ActionSink>,
    /// Actions of `init`, for when it comes back.
    first: Vec<u8>,
    /// Framed answers that it has not seen yet.
    outcomes: Vec<u8>,
    checkpoint: Option<Checkpoint>,
    checked: Instant,
    /// Actions that were answered since the checkpoint.
    answered: usize,
    pub(super) shadow: Option<Shadow>,
}

/// What came of the first call of a version.
pub(super) struct Begun {
    /// Actions of `init`.
    pub(super) first: Vec<u8>,
    /// Framed answers to them.
    pub(super) outcomes: Vec<u8>,
}

impl RunningVersion {
    pub(super) fn new(
        about: Arc<About>,
        pre: Arc<PluginPre>,
        world: Taped,
        start: Start,
        sink: Box<dyn ActionSink>,
        begun: Begun,
    ) -> Self {
        let Begun { first, outcomes } = begun;
        Self {
            about,
            pre,
            world,
            start,
            sink,
            first,
            outcomes,
            checkpoint: None,
            checked: Instant::now(),
            answered: 0,
            shadow: None,
        }
    }

    /// Lines of its log that were dropped.
    pub(super) fn log_dropped(&self) -> u64 {
        self.world.log_dropped()
    }

    /// Its state now; the last checkpoint if that cannot be had.
    pub(super) fn state(&mut self, alive: bool) -> (Option<Checkpoint>, Option<CallError>) {
        if !alive {
            return (self.checkpoint.clone(), None);
        }
        match self.world.snapshot() {
            Ok(state) => {
                (Some(Checkpoint { version: self.about.manifest.version.clone(), state }), None)
            }
            Err(error) => (self.checkpoint.clone(), Some(error)),
        }
    }

    /// Hands over a batch of events.
    pub(super) fn batch(&mut self, batch: &Arc<Batch>, lost: &[Lost]) -> Result<(), CallError> {
        self.reports(lost)?;
        self.handle(batch)?;
        self.reports(&[])?;
        self.check()
    }

    /// Tells it that time has passed.
    pub(super) fn tick(&mut self, lost: &[Lost]) -> Result<(), CallError> {
        let mut batch = self.private();
        // A tick is an empty body.
        let _fits = RecordRef::Tick(Tick {}).push(&mut batch);
        self.handle(&Arc::new(Batch::private(batch)))?;
        self.reports(lost)?;
        self.check()
    }

    /// Describes all processes, for an instance that has not followed the stream.
    pub(super) fn introduce(&mut self) -> Result<(), CallError> {
        for batch in self.introductions() {
            self.handle(&Arc::new(Batch::private(batch)))?;
        }
        Ok(())
    }

    /// Batches that describe all processes.
    pub(super) fn introductions(&self) -> Vec<Vec<u8>> {
        let headed = |mut described: Vec<u8>| {
            let mut batch = self.private();
            batch.append(&mut described);
            batch
        };
        self.sink.processes().into_iter().map(headed).collect()
    }

    /// Starts a fresh instance from the last checkpoint. One that refuses its own checkpoint starts
    /// without.
    pub(super) fn restart(&mut self) -> Result<(), CallError> {
        match self.fresh(true) {
            Ok(()) => self.introduce(),
            Err(StartRefusal::Call(error)) => Err(error),
            Err(StartRefusal::State(reason) | StartRefusal::Config(reason)) => {
                self.sink.note(&format!("starts without its state: {reason}"));
                match self.fresh(false) {
                    Ok(()) => self.introduce(),
                    Err(StartRefusal::Call(error)) => Err(error),
                    Err(StartRefusal::State(text) | StartRefusal::Config(text)) => {
                        Err(CallError::Trap { call: "init", text, backtrace: Vec::new() })
                    }
                }
            }
        }
    }

    fn fresh(&mut self, with_state: bool) -> Result<(), StartRefusal> {
        let described = describe(&self.pre)?;
        let (manifest, world) =
            described.map_err(|error| StartRefusal::Config(error.to_string()))?;
        let recorder = &self.start.recorder;
        let mut world = Taped::new(world, recorder, &manifest, &self.pre, TapeCause::Restarted);
        let state = self.checkpoint.as_ref().filter(|_| with_state);
        self.first = start(&mut world, &self.start, state)?;
        self.world = world;
        // Answers to what the failed instance wanted have no reader.
        self.outcomes = self.sink.begin(&self.first);
        self.answered = 0;
        Ok(())
    }

    /// Has its calls recorded from here on: the tape begins with its state and all processes, as calls that are
    /// made when it is played.
    pub(super) fn record(&mut self) -> Result<(), CallError> {
        if self.start.recorder.get().is_none() {
            return Ok(());
        }
        let state = self.world.snapshot()?;
        let version = self.about.manifest.version.clone();
        let introductions = self.introductions();
        let (start, pre) = (&self.start, &self.pre);
        self.world.join(start, &self.about.manifest, pre, (&version, &state));
        introductions.iter().for_each(|batch| self.world.introduced(batch));
        self.checkpoint = Some(Checkpoint { version, state });
        Ok(())
    }

    /// Comes back after a successor: its first rules stand again, and it learns what it missed.
    pub(super) fn resume(&mut self) -> Result<(), CallError> {
        self.sink.back();
        self.outcomes = self.sink.begin(&self.first);
        self.introduce()
    }

    /// Hands over answers and losses, if there are any. Answers to what that causes wait for the
    /// next round, or two plugins' worth of talk could go on for ever.
    pub(super) fn reports(&mut self, lost: &[Lost]) -> Result<(), CallError> {
        self.outcomes.append(&mut self.sink.told());
        if self.outcomes.is_empty() && lost.is_empty() {
            return Ok(());
        }
        let mut batch = self.private();
        batch.append(&mut self.outcomes);
        for lost in lost {
            // A loss is a few bytes.
            let _fits = RecordRef::Lost(*lost).push(&mut batch);
        }
        self.handle(&Arc::new(Batch::private(batch)))
    }

    fn private(&self) -> Vec<u8> {
        batch::private(self.sink.now())
    }

    fn handle(&mut self, batch: &Arc<Batch>) -> Result<(), CallError> {
        let schema = self.about.manifest.schema;
        self.sink.note_files(batch);
        let actions = self.world.handle(&fit(batch, schema))?;
        if !actions.is_empty() {
            let outcomes = self.sink.apply(&actions);
            self.answered += Frames::new(&outcomes).count();
            self.outcomes.extend_from_slice(&outcomes);
        }
        if let Some(shadow) = &mut self.shadow {
            shadow.feed(batch, actions);
        }
        Ok(())
    }

    fn check(&mut self) -> Result<(), CallError> {
        if self.answered < CHECKPOINT_ACTIONS && self.checked.elapsed() < CHECKPOINT {
            return Ok(());
        }
        let version = self.about.manifest.version.clone();
        self.checkpoint = Some(Checkpoint { version, state: self.world.snapshot()? });
        (self.checked, self.answered) = (Instant::now(), 0);
        Ok(())
    }

    /// Keeps a state as its last checkpoint.
    pub(super) fn keep(&mut self, state: Option<Checkpoint>) {
        self.checkpoint = state;
    }
}
