//! One tape, played: each of its calls is made again and held against what came back then.

use krsi_plugin_schema::Schema;
use krsi_plugin_schema::frame::Frames;
use krsi_plugin_schema::lower;

use super::explain::Explanation;
use super::told::{LogLevel, Score, What};
use crate::plugin::{Stepped, differences, failing, words};
use crate::record::{Failing, Opened, TapeCause, TapedAct, TapedAnswer, TapedCall, TapedLine};

/// A tape that is played.
pub(super) struct Play {
    name: String,
    version: String,
    /// Schema of its own batches and actions.
    own: Schema,
    /// The instance, until something ends the tape.
    stepped: Option<Stepped>,
    /// When its last call was made, counted in calls of all tapes.
    pub(super) last: u64,
    /// The very file that was recorded.
    exact: bool,
    /// Whether it ran already when the recording began: it gives other tokens to its actions when it is played, as
    /// after every restore.
    joined: bool,
    /// Schema of the recorded actions.
    recorded: Option<Schema>,
    next: u64,
    /// Whether it was let go of before something ended it.
    let_go: bool,
    score: Score,
}

/// What came back of a call that was made again.
struct Made {
    answer: TapedAnswer,
    output: Vec<u8>,
    text: String,
    failing: Failing,
    log: Vec<TapedLine>,
    log_more: u64,
}

impl Play {
    pub(super) fn new(stepped: Stepped, opened: &Opened, last: u64) -> Self {
        let (manifest, identity) = (stepped.manifest(), stepped.identity());
        Self {
            name: manifest.name.clone(),
            version: manifest.version.clone(),
            own: manifest.schema,
            exact: identity.sha256 == opened.sha256,
            stepped: Some(stepped),
            last,
            joined: opened.cause == TapeCause::Joined,
            recorded: Schema::from_number(opened.schema),
            next: 0,
            let_go: false,
            score: Score::default(),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn version(&self) -> &str {
        &self.version
    }

    /// Whether an instance waits for the next call.
    pub(super) const fn is_live(&self) -> bool {
        self.stepped.is_some()
    }

    /// Ends it while nothing else has: a call that comes all the same is not made.
    pub(super) fn let_go(&mut self) {
        (self.stepped, self.let_go) = (None, true);
    }

    pub(super) const fn is_exact(&self) -> bool {
        self.exact
    }

    pub(super) const fn score(&self) -> Score {
        self.score
    }

    /// Makes a call of the tape, and tells what comes of it.
    pub(super) fn call(
        &mut self,
        call: &TapedCall<'_>,
        tell: &mut dyn FnMut(What),
        explanation: Option<&mut Explanation>,
    ) {
        if std::mem::take(&mut self.let_go) {
            tell(What::Ends { call: call.number, why: "too many tapes at a time".to_owned() });
        }
        let Some(mut stepped) = self.stepped.take() else {
            self.score.unplayed += 1;
            return;
        };
        if call.number != self.next {
            // What the plugin was told in between is not known: from here on it would do something else.
            tell(What::Ends {
                call: call.number,
                why: "calls before this one are missing".to_owned(),
            });
            return self.end();
        }
        self.next += 1;
        if call.failing == Failing::Machine {
            tell(What::Ends { call: call.number, why: format!("not repeated: {}", call.text) });
            return self.end();
        }
        let Some(made) = make(&mut stepped, call) else {
            tell(What::Ends { call: call.number, why: "a call of a later version".to_owned() });
            return self.end();
        };
        self.score.calls += 1;
        self.show(&made, call.act, tell);
        if let Some(explanation) = explanation {
            self.explain(call, &made, explanation);
        }
        if made.failing == Failing::Machine {
            tell(What::Ends {
                call: call.number,
                why: format!("not to be repeated here: {}", made.text),
            });
            return self.end();
        }
        if call.answer != TapedAnswer::Unmade {
            self.compare(call, &made, tell);
        }
        // A failed instance is spent; the tape goes on with another one.
        self.stepped = (made.answer != TapedAnswer::Failed).then_some(stepped);
    }

    /// Counts a call that ends the tape.
    fn end(&mut self) {
        self.score.unplayed += 1;
    }

    /// Notes what a call says of processes, and what the plugin makes of it.
    fn explain(&self, call: &TapedCall<'_>, made: &Made, explanation: &mut Explanation) {
        match call.act {
            TapedAct::Handle => {
                let schema = lower::schema_of(&call.input).unwrap_or(self.own);
                explanation.read(&call.input, schema);
            }
            TapedAct::Init => {}
            TapedAct::Restore | TapedAct::Snapshot | TapedAct::Other => return,
        }
        explanation.actions(&self.name, &made.output, self.own);
    }

    /// Tells what the plugin wants, logs, or fails with.
    fn show(&mut self, made: &Made, act: TapedAct, tell: &mut dyn FnMut(What)) {
        for line in &made.log {
            tell(What::Log { level: LogLevel::of(line.level), text: line.text.clone() });
        }
        if matches!(act, TapedAct::Init | TapedAct::Handle) {
            let schema = self.own;
            for frame in Frames::new(&made.output) {
                let action = frame
                    .and_then(|frame| lower::action(&frame, schema).map(|action| words(&action)));
                self.score.actions += 1;
                tell(What::Action { text: action.unwrap_or_else(|error| error.to_string()) });
            }
        }
        match made.answer {
            TapedAnswer::Refused => tell(What::Refused { text: made.text.clone() }),
            TapedAnswer::Failed => tell(What::Failed { text: made.text.clone() }),
            TapedAnswer::Returned | TapedAnswer::Unmade | TapedAnswer::Other => {}
        }
    }

    /// Holds a call against the tape. Of the recorded file every byte must be the same; of another one, and of one
    /// that ran already, only what it wants is compared, as its state and its tokens are its own.
    fn compare(&mut self, call: &TapedCall<'_>, made: &Made, tell: &mut dyn FnMut(What)) {
        let lines =
            if self.exact && !self.joined { exactly(call, made) } else { self.loosely(call, made) };
        if lines.is_empty() {
            self.score.same += 1;
            return;
        }
        self.score.different += 1;
        let first = self.score.different == 1;
        // The file that was recorded does the same or it does not; of another one each difference is of interest.
        if first || !self.exact {
            tell(What::Differs { call: call.number, act: act_name(call.act), lines });
        }
    }

    fn loosely(&self, call: &TapedCall<'_>, made: &Made) -> Vec<String> {
        if made.answer != call.answer {
            return vec![answers(call, made)];
        }
        match (call.act, self.recorded) {
            (TapedAct::Init | TapedAct::Handle, Some(recorded)) => {
                let (then, now) = ((&*call.output, recorded), (&*made.output, self.own));
                differences((then, "the recorded version"), (now, "this version"))
            }
            _ => Vec::new(),
        }
    }
}

/// Makes a call of a tape; `None` of one of a later version.
fn make(stepped: &mut Stepped, call: &TapedCall<'_>) -> Option<Made> {
    let done = match call.act {
        TapedAct::Init => stepped.init(&call.input, call.seed),
        TapedAct::Restore => {
            let restored = stepped.restore(&call.from, &call.input);
            restored.map(|restored| restored.map(|()| Vec::new()))
        }
        TapedAct::Handle => stepped.handle(&call.input).map(Ok),
        TapedAct::Snapshot => stepped.snapshot().map(Ok),
        TapedAct::Other => return None,
    };
    let log = stepped.take_log();
    let made = Made {
        answer: TapedAnswer::Returned,
        output: Vec::new(),
        text: String::new(),
        failing: Failing::Nothing,
        log: log.lines,
        log_more: log.more,
    };
    Some(match done {
        Ok(Ok(output)) => Made { output, ..made },
        Ok(Err(text)) => Made { answer: TapedAnswer::Refused, text, ..made },
        Err(error) => {
            let (text, failing) = (error.to_string(), failing(&error));
            Made { answer: TapedAnswer::Failed, text, failing, ..made }
        }
    })
}

fn exactly(call: &TapedCall<'_>, made: &Made) -> Vec<String> {
    let mut lines = Vec::new();
    let same = made.answer == call.answer && made.failing == call.failing && made.text == call.text;
    if !same {
        lines.push(answers(call, made));
    }
    if made.output != *call.output {
        let at = made.output.iter().zip(call.output.iter()).take_while(|(a, b)| a == b).count();
        let (now, then) = (made.output.len(), call.output.len());
        lines
            .push(format!("it returned {then} bytes then and {now} now, the same up to byte {at}"));
    }
    if (&made.log, made.log_more) != (&call.log, call.log_more) {
        let (now, then) = (made.log.len(), call.log.len());
        lines.push(format!("it logged {then} lines then and {now} now, or other ones"));
    }
    lines
}

fn answers(call: &TapedCall<'_>, made: &Made) -> String {
    let words = |answer: TapedAnswer, text: &str| match answer {
        TapedAnswer::Returned => "it returned".to_owned(),
        TapedAnswer::Refused => format!("it refused ({text})"),
        TapedAnswer::Failed => format!("it failed ({text})"),
        TapedAnswer::Unmade | TapedAnswer::Other => "it did something else".to_owned(),
    };
    format!("{} then, {} now", words(call.answer, &call.text), words(made.answer, &made.text))
}

const fn act_name(act: TapedAct) -> &'static str {
    match act {
        TapedAct::Init => "init",
        TapedAct::Restore => "restore",
        TapedAct::Handle => "handle",
        TapedAct::Snapshot => "snapshot",
        TapedAct::Other => "another call",
    }
}
