//! The recorded stream, cut anew for a plugin: what another plugin, or another version, would have done.
//!
//! It is an open loop: what its rules would have refused happened all the same, and is told as that.

use krsi_plugin_schema::frame::Frames;
use krsi_plugin_schema::latest::{
    Event, Evidence, HookSet, LostOf, ProcessKey, Record, RecordRef, ToldRunning,
};

use super::super::stage::{Happened, Judged, Stage, object};
use super::explain::Explanation;
use super::told::{LogLevel, Score, What};
use crate::plugin::{Manifest, PluginPre};
use crate::record::{Head, Streamed};

use super::super::StageError;

/// A plugin on the stream.
pub(super) struct Streaming {
    stage: Stage,
    hooks: HookSet,
    /// Whether it asks for what ran already.
    running: bool,
    score: Score,
    spent: bool,
    /// Evidence and alerts since they were last asked for.
    noted: Vec<Noted>,
}

/// What a plugin noted about a process.
enum Noted {
    Evidence(Evidence<'static>),
    AlertOn(ProcessKey),
}

/// What of a plugin's wishes a recording does not have, in words.
pub(super) fn lacks(manifest: &Manifest, head: &Head) -> Vec<String> {
    let has = |name: &str| head.hooks.iter().any(|hook| hook == name);
    let hooks = manifest.hooks.iter().map(|hook| hook.name()).filter(|name| !has(name));
    let watches = manifest.watches.iter().map(|watch| format!("watch {watch}"));
    // Who had which label is not recorded yet.
    let labels = manifest.labels.iter().map(|label| format!("label {}", label.name));
    // What is told of it goes to each plugin by itself, and lies on its tape.
    let running = (manifest.running != ToldRunning::Never).then(|| "what ran already".to_owned());
    let samples = manifest.samples.then(|| "samples".to_owned());
    let own = labels.chain(running).chain(samples);
    hooks.map(str::to_owned).chain(watches).chain(own).collect()
}

impl Streaming {
    /// Starts a plugin at the start of a recording.
    pub(super) fn start(
        pre: &PluginPre,
        config: &[u8],
        head: &Head,
        tell: &mut dyn FnMut(What),
    ) -> Result<Self, StageError> {
        let clock = (head.boot_ns, head.unix_offset_ns);
        let (stage, happened) = Stage::start(pre, (config, 0), clock)?;
        let Manifest { hooks, running, .. } = *stage.plugin().manifest();
        let running = running != ToldRunning::Never;
        let mut streaming = Self {
            stage,
            hooks,
            running,
            score: Score::default(),
            spent: false,
            noted: Vec::new(),
        };
        streaming.told(happened, tell);
        Ok(streaming)
    }

    pub(super) const fn score(&self) -> Score {
        self.score
    }

    /// Hands over what the plugin noted about processes since it was last asked, its start included; or forgets it.
    pub(super) fn explain(&mut self, plugin: &str, explanation: Option<&mut Explanation>) {
        let noted = std::mem::take(&mut self.noted);
        let Some(explanation) = explanation else { return };
        for noted in noted {
            match noted {
                Noted::Evidence(evidence) => explanation.note(plugin, &evidence),
                Noted::AlertOn(process) => explanation.alert(plugin, process),
            }
        }
    }

    /// Gives it what it asks for of a batch.
    pub(super) fn batch(&mut self, batch: &Streamed<'_>, tell: &mut dyn FnMut(What)) {
        if self.spent {
            self.score.unplayed += 1;
            return;
        }
        let mut frames = Vec::with_capacity(batch.batch.len());
        for frame in Frames::new(&batch.batch).flatten() {
            let Ok(record) = Record::decode(&frame) else { continue };
            let is_its_own = match &record {
                Record::Process(process) => {
                    self.stage.know(process);
                    true
                }
                Record::Gone(gone) => {
                    self.stage.forget(gone.key);
                    true
                }
                Record::Lost(lost) => match lost.of {
                    LostOf::Hook(_) => lost.of.hook().is_some_and(|hook| self.hooks.contains(hook)),
                    LostOf::Any => true,
                    LostOf::Watch(_) => false,
                },
                Record::Event(event) => {
                    self.refuses(event, tell);
                    event.body.hook().is_some() && self.stage.is_sent(event)
                }
                Record::Running(_) | Record::RunningEnd(_) => self.running,
                Record::BatchStart(_)
                | Record::Sample(_)
                | Record::Outcome(_)
                | Record::Tick(_)
                | Record::Unknown(_) => false,
            };
            if is_its_own && let Some(record) = record.by_ref() {
                // What was a frame is one.
                let _fits = RecordRef::push(record, &mut frames);
            }
        }
        if frames.is_empty() {
            let happened = self.stage.advance(batch.boot_ns);
            return self.told(happened, tell);
        }
        self.score.calls += 1;
        let happened = self.stage.batch(batch.boot_ns, &frames);
        self.told(happened, tell);
    }

    /// Tells of a call that its rules would have refused.
    fn refuses(&mut self, event: &Event<'_>, tell: &mut dyn FnMut(What)) {
        let judged = self.stage.judge(event, &object(event));
        if let (Some(hook), Judged::Refused { errno, .. }) = (event.body.hook(), judged) {
            self.score.refused += 1;
            tell(What::WouldRefuse { hook: hook.name(), tgid: event.meta.process.tgid, errno });
        }
    }

    fn told(&mut self, happened: Happened, tell: &mut dyn FnMut(What)) {
        for line in happened.log.lines {
            tell(What::Log { level: LogLevel::of(line.level), text: line.text });
        }
        self.noted.extend(happened.evidence.into_iter().map(Noted::Evidence));
        self.noted.extend(happened.alerts.iter().map(|alert| Noted::AlertOn(alert.process)));
        self.score.actions += happened.wanted.len() as u64;
        happened.wanted.into_iter().for_each(|text| tell(What::Action { text }));
        happened.refused.into_iter().for_each(|text| tell(What::NotDone { text }));
        if happened.ticks_left_out > 0 {
            self.score.unplayed += 1;
            tell(What::TicksLeftOut { ticks: happened.ticks_left_out });
        }
        if let Some(error) = happened.failed {
            self.spent = true;
            self.score.unplayed += 1;
            tell(What::Failed { text: error.to_string() });
        }
    }
}
