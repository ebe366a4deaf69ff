//! A plugin's life as a pure state machine: what may follow what.

/// Where a plugin is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Compiled and described, without a rule or an event.
    Loaded,
    /// Its first rules are in force; events come.
    Running,
    /// It failed and gets nothing any more.
    Failed,
    /// It was told to stop.
    Stopped,
}

/// What happens to a plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// `init` succeeded.
    Initialised,
    /// A call failed.
    Fault,
    /// The host ends it.
    Stop,
}

impl State {
    /// The next state. A plugin that has ended stays as it ended.
    #[must_use]
    pub const fn after(self, input: Input) -> State {
        match (self, input) {
            (State::Loaded, Input::Initialised) => State::Running,
            (State::Loaded | State::Running, Input::Fault) => State::Failed,
            (State::Loaded | State::Running, Input::Stop) => State::Stopped,
            (state, _) => state,
        }
    }

    /// In the words of the summary.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            State::Loaded => "loaded",
            State::Running => "running",
            State::Failed => "failed",
            State::Stopped => "stopped",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_life_goes_forward_only() {
        let check = |state: State, input, expected| assert_eq!(state.after(input), expected);
        check(State::Loaded, Input::Initialised, State::Running);
        check(State::Loaded, Input::Fault, State::Failed);
        check(State::Running, Input::Fault, State::Failed);
        check(State::Running, Input::Stop, State::Stopped);
        check(State::Running, Input::Initialised, State::Running);
        check(State::Failed, Input::Stop, State::Failed);
        check(State::Stopped, Input::Fault, State::Stopped);
    }
}
