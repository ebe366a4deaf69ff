//! The thread of one plugin's name: whichever version holds it, in turn.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use krsi_plugin_schema::latest::{Lost, LostOf, LostWhere};

use super::candidate::{Candidate, start};
use super::lifecycle::{Input, Life, Next, State};
use super::live::{Begun, RunningVersion};
use super::shadow::{Shadow, ShadowSink};
use super::taped::Taped;
use super::worker::{About, Desk, Successor, Swapped, WorkerOrder, since};
use super::world::{CallError, StartError};
use crate::record::TapeCause;
use crate::route::queue::{Batch, Delivery, Pause};
use crate::thread;

/// The state of a plugin's thread.
pub(super) struct PluginThread {
    desk: Arc<Desk>,
    life: Life,
    live: RunningVersion,
    /// The version before, while the new one is in probation.
    predecessor: Option<RunningVersion>,
    restart_at: Option<Instant>,
    /// Time of the last tick that the plugin got.
    ticked: Instant,
}

/// Input of a version's calls: ticks, batches, and the end.
enum VersionInput {
    Tick,
    Batch(Arc<Batch>),
    /// The end, before which the plugin is told outcomes and losses that are left.
    End,
}

impl VersionInput {
    fn records(&self) -> u64 {
        match self {
            VersionInput::Tick | VersionInput::End => 0,
            VersionInput::Batch(batch) => u64::from(batch.records()),
        }
    }

    /// What a version that failed in it has to be told.
    fn lost(&self) -> impl Iterator<Item = Lost> {
        let own = Lost { place: LostWhere::Plugin, records: self.records(), of: LostOf::Any };
        let told: &[Lost] = match self {
            VersionInput::Tick | VersionInput::End => &[],
            VersionInput::Batch(batch) => batch.lost(),
        };
        told.iter().copied().chain([own])
    }
}

impl PluginThread {
    pub(super) fn new(desk: Arc<Desk>, mut life: Life, live: RunningVersion) -> Self {
        life.after(Input::Started);
        desk.stats.set_state(life.state());
        Self { desk, life, live, predecessor: None, restart_at: None, ticked: Instant::now() }
    }

    /// Runs until the stop command arrives.
    pub(super) fn run(&mut self) {
        loop {
            thread::turn();
            match self.life.state() {
                State::Running => match self.desk.queue.pop(self.tick_at()) {
                    Delivery::Order => self.orders(),
                    Delivery::Tick => {
                        self.ticked = Instant::now();
                        self.step(&VersionInput::Tick);
                    }
                    Delivery::Batch(batch) => self.step(&VersionInput::Batch(batch)),
                    Delivery::Stop => {
                        self.step(&VersionInput::End);
                        break;
                    }
                },
                State::Waiting => match self.desk.queue.pause(self.restart_at) {
                    Pause::Over => self.restart(),
                    Pause::Order => self.orders(),
                    Pause::Stop => break,
                },
                State::Loaded | State::Quarantined | State::Stopped => {
                    match self.desk.queue.pause(None) {
                        Pause::Order => self.orders(),
                        Pause::Stop | Pause::Over => break,
                    }
                }
            }
        }
        // What nobody handles any more is counted, so that nothing is lost silently.
        self.desk.queue.discard();
        if self.life.state() != State::Quarantined {
            self.input(Input::Stop);
        }
    }

    fn tick_at(&self) -> Option<Instant> {
        self.live.about.manifest.tick.map(|period| self.ticked + period)
    }

    fn input(&mut self, input: Input) -> Next {
        let next = self.life.after(input);
        self.desk.stats.set_state(self.life.state());
        next
    }

    fn step(&mut self, step: &VersionInput) {
        let lost = self.desk.queue.take_owed();
        let result = match step {
            VersionInput::Tick => self.live.tick(&lost),
            VersionInput::Batch(batch) => self.live.batch(batch, &lost),
            VersionInput::End => self.live.reports(&lost),
        };
        let stats = &self.desk.stats;
        stats.log_dropped.store(self.live.log_dropped(), Ordering::Relaxed);
        match result {
            Ok(()) => {
                stats.records.fetch_add(step.records(), Ordering::Relaxed);
                if self.input(Input::Handled) == Next::EndProbation {
                    self.predecessor = None;
                    self.live.sink.probation_ended();
                }
            }
            Err(error) => {
                self.desk.queue.owe(lost);
                self.fault(&error, Some(step));
            }
        }
    }

    /// A call failed: the predecessor comes back and is given the same step, or this version is
    /// started again without it, or given up.
    fn fault(&mut self, error: &CallError, step: Option<&VersionInput>) {
        self.desk.stats.faults.fetch_add(1, Ordering::Relaxed);
        let (boot_ns, _) = self.live.sink.now();
        let mut next = self.input(Input::Fault { boot_ns });
        if next == Next::FallBack {
            match self.predecessor.take() {
                Some(predecessor) => {
                    self.live.sink.failed(error, next);
                    return self.fall_back(predecessor, step);
                }
                None => next = self.input(Input::Fault { boot_ns }),
            }
        }
        self.desk.stats.lost.fetch_add(step.map_or(0, VersionInput::records), Ordering::Relaxed);
        self.desk.queue.owe(step.into_iter().flat_map(VersionInput::lost));
        self.live.sink.failed(error, next);
        self.live.shadow = None;
        match next {
            Next::RestartAt { boot_ns: at } if at > boot_ns => {
                self.restart_at = Some(Instant::now() + Duration::from_nanos(at - boot_ns));
            }
            Next::RestartAt { .. } => self.restart(),
            Next::Quarantine => self.desk.queue.discard(),
            Next::Go | Next::EndProbation | Next::FallBack => {}
        }
    }

    fn restart(&mut self) {
        let began = Instant::now();
        match self.live.restart() {
            Ok(()) => {
                let took = u64::try_from(since(began).as_micros()).unwrap_or(u64::MAX);
                self.desk.stats.restart_us.store(took, Ordering::Relaxed);
                self.desk.stats.restarts.fetch_add(1, Ordering::Relaxed);
                self.input(Input::Started);
            }
            Err(error) => self.fault(&error, None),
        }
    }

    fn fall_back(&mut self, predecessor: RunningVersion, step: Option<&VersionInput>) {
        self.live = predecessor;
        self.desk.set_about(Arc::clone(&self.live.about));
        match self.live.resume() {
            Ok(()) => {
                if let Some(step) = step {
                    self.step(step);
                }
            }
            Err(error) => self.fault(&error, step),
        }
    }

    fn orders(&mut self) {
        for order in self.desk.orders() {
            match order {
                WorkerOrder::Swap(successor) => self.swap(*successor),
                WorkerOrder::Shadow(successor, sink) => self.shadow(*successor, sink),
                WorkerOrder::Record => {
                    if let Err(error) = self.live.record() {
                        self.fault(&error, None);
                    }
                }
            }
        }
    }

    fn swap(&mut self, successor: Successor) {
        let began = Instant::now();
        let Successor { candidate, start: begin, sink, reply } = successor;
        let Some(mut sink) = sink else { return };
        let Candidate { manifest, pre, world } = candidate;
        let identity = pre.identity().clone();
        let mut world = Taped::new(world, &begin.recorder, &manifest, &pre, TapeCause::TookOver);
        let alive = self.life.state() == State::Running;
        let (state, failed) = self.live.state(alive);
        let from = self.live.about.manifest.version.clone();
        let state_bytes = state.as_ref().map_or(0, |checkpoint| checkpoint.state.len());
        match start(&mut world, &begin, state.as_ref()) {
            Ok(first) => {
                let outcomes = sink.begin(&first);
                let about = Arc::new(About { manifest, identity });
                let begun = Begun { first, outcomes };
                let mut live =
                    RunningVersion::new(Arc::clone(&about), pre, world, begin, sink, begun);
                live.keep(state);
                let predecessor = std::mem::replace(&mut self.live, live);
                let revocable = alive && failed.is_none() && self.life.tries_versions();
                let before = revocable.then(|| predecessor.sink.version());
                self.predecessor = revocable.then_some(predecessor);
                self.restart_at = None;
                self.input(Input::Replaced { revocable });
                self.desk.set_about(about);
                self.desk.stats.swaps.fetch_add(1, Ordering::Relaxed);
                let introduced = self.live.introduce();
                let swapped = Swapped { from, state_bytes, pause: since(began), before };
                // Whoever asked may be gone.
                let _told = reply.send(Ok(swapped));
                if let Err(error) = introduced {
                    self.fault(&error, None);
                }
            }
            Err(why) => {
                let _told = reply.send(Err(why.of(&identity)));
                if let Some(error) = failed {
                    self.fault(&error, None);
                }
            }
        }
    }

    fn shadow(&mut self, successor: Successor, sink: Box<dyn ShadowSink>) {
        let began = Instant::now();
        let Successor { candidate, start, reply, .. } = successor;
        let identity = candidate.identity().clone();
        if self.life.state() != State::Running {
            let _told = reply.send(Err(StartError::Stopping { file: identity.file }));
            return;
        }
        let (state, failed) = self.live.state(true);
        let from = self.live.about.manifest.version.clone();
        let state_bytes = state.as_ref().map_or(0, |checkpoint| checkpoint.state.len());
        let introductions = self.live.introductions();
        let (schema, stats) = (self.live.about.manifest.schema, Arc::clone(&self.desk.stats));
        let shadow =
            Shadow::start(candidate, &start, state.as_ref(), introductions, (schema, stats), sink);
        match shadow {
            Ok(shadow) => {
                self.live.shadow = Some(shadow);
                let pause = since(began);
                let _told = reply.send(Ok(Swapped { from, state_bytes, pause, before: None }));
            }
            Err(error) => {
                let _told = reply.send(Err(error));
            }
        }
        if let Some(error) = failed {
            self.fault(&error, None);
        }
    }
}
