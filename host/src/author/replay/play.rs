//! One tape, played: each of its calls is made again and held against what came back then.

use krsi_plugin_schema::Schema;
use krsi_plugin_schema::frame::Frames;
use krsi_plugin_schema::lower;

use super::told::{LogLevel, Score, What};
use crate::plugin::{CallError, Stepped, differences, failing, words};
use crate::record::{Act, Answer, Call, Cause, Failing, LogLine, Opened};

/// A tape that is played.
pub(super) struct Play {
    stepped: Stepped,
    /// The very file that was recorded.
    exact: bool,
    /// Whether it ran already when the recording began: it gives other tokens to its actions when it is played, as
    /// after every restore.
    joined: bool,
    /// Schema of the recorded actions.
    recorded: Option<Schema>,
    /// Whether what was recorded cannot be held against anything.
    redacted: bool,
    next: u64,
    /// Why no more calls are made, once something ends it.
    ended: bool,
    score: Score,
}

/// What came back of a call that was made again.
struct Made {
    answer: Answer,
    output: Vec<u8>,
    text: String,
    failing: Failing,
    log: Vec<LogLine>,
    log_more: u64,
}

impl Play {
    pub(super) fn new(
        stepped: Stepped,
        opened: &Opened,
        (recorded, redacted): (Option<Schema>, bool),
    ) -> Self {
        let exact = stepped.identity().sha256 == opened.sha256;
        Self {
            stepped,
            exact,
            joined: opened.cause == Cause::Joined,
            recorded,
            redacted,
            next: 0,
            ended: false,
            score: Score::default(),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.stepped.manifest().name
    }

    pub(super) fn version(&self) -> &str {
        &self.stepped.manifest().version
    }

    pub(super) const fn is_exact(&self) -> bool {
        self.exact
    }

    pub(super) const fn score(&self) -> Score {
        self.score
    }

    /// Makes a call of the tape, and tells what comes of it.
    pub(super) fn call(&mut self, call: &Call<'_>, tell: &mut dyn FnMut(What)) {
        if self.ended {
            self.score.unplayed += 1;
            return;
        }
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
        let Some(made) = self.make(call) else {
            tell(What::Ends { call: call.number, why: "a call of a later version".to_owned() });
            return self.end();
        };
        self.score.calls += 1;
        self.show(&made, call.act, tell);
        if made.failing == Failing::Machine {
            tell(What::Ends {
                call: call.number,
                why: format!("not to be repeated here: {}", made.text),
            });
            return self.end();
        }
        if call.answer != Answer::Unmade && !self.redacted {
            self.compare(call, &made, tell);
        }
        // A failed instance is spent; the tape goes on with another one.
        self.ended |= made.answer == Answer::Failed;
    }

    fn end(&mut self) {
        self.ended = true;
        self.score.unplayed += 1;
    }

    fn make(&mut self, call: &Call<'_>) -> Option<Made> {
        let done = match call.act {
            Act::Init => self.stepped.init(&call.input, call.seed),
            Act::Restore => {
                let restored = self.stepped.restore(&call.from, &call.input);
                restored.map(|restored| restored.map(|()| Vec::new()))
            }
            Act::Handle => self.stepped.handle(&call.input).map(Ok),
            Act::Snapshot => self.stepped.snapshot().map(Ok),
            Act::Other => return None,
        };
        Some(self.made(done))
    }

    fn made(&mut self, done: Result<Result<Vec<u8>, String>, CallError>) -> Made {
        let log = self.stepped.take_log();
        let made = Made {
            answer: Answer::Returned,
            output: Vec::new(),
            text: String::new(),
            failing: Failing::Nothing,
            log: log.lines,
            log_more: log.more,
        };
        match done {
            Ok(Ok(output)) => Made { output, ..made },
            Ok(Err(text)) => Made { answer: Answer::Refused, text, ..made },
            Err(error) => Made {
                answer: Answer::Failed,
                text: error.to_string(),
                failing: failing(&error),
                ..made
            },
        }
    }

    /// Tells what the plugin wants, logs, or fails with.
    fn show(&mut self, made: &Made, act: Act, tell: &mut dyn FnMut(What)) {
        for line in &made.log {
            tell(What::Log { level: LogLevel::of(line.level), text: line.text.clone() });
        }
        if matches!(act, Act::Init | Act::Handle) {
            let schema = self.stepped.manifest().schema;
            for frame in Frames::new(&made.output) {
                let action = frame
                    .and_then(|frame| lower::action(&frame, schema).map(|action| words(&action)));
                self.score.actions += 1;
                tell(What::Action { text: action.unwrap_or_else(|error| error.to_string()) });
            }
        }
        match made.answer {
            Answer::Refused => tell(What::Refused { text: made.text.clone() }),
            Answer::Failed => tell(What::Failed { text: made.text.clone() }),
            Answer::Returned | Answer::Unmade | Answer::Other => {}
        }
    }

    /// Holds a call against the tape. Of the recorded file every byte must be the same; of another one, and of one
    /// that ran already, only what it wants is compared, as its state and its tokens are its own.
    fn compare(&mut self, call: &Call<'_>, made: &Made, tell: &mut dyn FnMut(What)) {
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

    fn loosely(&self, call: &Call<'_>, made: &Made) -> Vec<String> {
        if made.answer != call.answer {
            return vec![answers(call, made)];
        }
        match (call.act, self.recorded) {
            (Act::Init | Act::Handle, Some(recorded)) => {
                let own = self.stepped.manifest().schema;
                differences((&call.output, recorded), (&made.output, own))
            }
            _ => Vec::new(),
        }
    }
}

fn exactly(call: &Call<'_>, made: &Made) -> Vec<String> {
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

fn answers(call: &Call<'_>, made: &Made) -> String {
    let words = |answer: Answer, text: &str| match answer {
        Answer::Returned => "it returned".to_owned(),
        Answer::Refused => format!("it refused ({text})"),
        Answer::Failed => format!("it failed ({text})"),
        Answer::Unmade | Answer::Other => "it did something else".to_owned(),
    };
    format!("{} then, {} now", words(call.answer, &call.text), words(made.answer, &made.text))
}

const fn act_name(act: Act) -> &'static str {
    match act {
        Act::Init => "init",
        Act::Restore => "restore",
        Act::Handle => "handle",
        Act::Snapshot => "snapshot",
        Act::Other => "another call",
    }
}
