//! A plugin's life as a pure state machine: what may follow what, and what is to be done then.
//!
//! ```text
//! loaded ─► running ─fault─► waiting ─time─► running        restarted from its checkpoint
//!              │ ▲               └─new version─► running    faults forgotten
//!              │ └─fault in probation: the predecessor runs on
//!              └─one fault too many─► quarantined ─new version─► running
//! any ─stop─► stopped
//! ```

use std::time::Duration;

/// The stage of a plugin's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// Compiled and described, without a rule or an event.
    Loaded,
    /// The plugin's first rules are in force; events come.
    Running,
    /// The plugin failed and is restarted when its time has come; events wait.
    Waiting,
    /// The plugin failed too often and gets nothing any more, until a new version comes.
    Quarantined,
    /// The plugin was told to stop.
    Stopped,
}

impl State {
    /// Every state, in the order of its numbers.
    pub const ALL: [State; 5] =
        [State::Loaded, State::Running, State::Waiting, State::Quarantined, State::Stopped];

    /// In the words of status and summary.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            State::Loaded => "loaded",
            State::Running => "running",
            State::Waiting => "waiting",
            State::Quarantined => "quarantined",
            State::Stopped => "stopped",
        }
    }
}

/// Something that happened to a plugin: an input of the state machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Input {
    /// `init` succeeded, for the first time or after a fault.
    Started,
    /// A batch was handled.
    Handled,
    /// A call failed.
    Fault {
        /// Time of the fault, nanoseconds of `CLOCK_BOOTTIME`.
        boot_ns: u64,
    },
    /// A new version took over.
    Replaced {
        /// Whether the old one can come back.
        revocable: bool,
    },
    /// The host ends it.
    Stop,
}

/// What a plugin's thread has to do after an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Go on as before.
    Go,
    /// The new version has proven itself: the old one can go.
    EndProbation,
    /// The old version takes over again.
    FallBack,
    /// Restart it, not before this time.
    RestartAt {
        /// Nanoseconds of `CLOCK_BOOTTIME`.
        boot_ns: u64,
    },
    /// Give the plugin up.
    Quarantine,
}

/// When faults are forgiven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestartPolicy {
    /// Faults after which a plugin is given up; the first few are forgiven.
    pub faults_max: u32,
    /// Time without a fault after which earlier ones are forgotten.
    pub calm: Duration,
    /// Wait before the second restart; the first is at once, each later one waits twice as long.
    pub wait: Duration,
    /// Longest wait before a restart.
    pub wait_max: Duration,
    /// Batches that a new version must handle before the old one is let go.
    pub probation_batches: u32,
}

impl Default for RestartPolicy {
    fn default() -> Self {
        Self {
            faults_max: 5,
            calm: Duration::from_secs(60),
            wait: Duration::from_millis(100),
            wait_max: Duration::from_secs(30),
            probation_batches: 16,
        }
    }
}

/// A plugin's life so far.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Life {
    policy: RestartPolicy,
    state: State,
    faults: u32,
    last_fault_boot_ns: u64,
    /// Batches of probation that are left.
    probation: u32,
}

impl Life {
    /// A plugin that has not started.
    #[must_use]
    pub(crate) const fn new(policy: RestartPolicy) -> Self {
        Self { policy, state: State::Loaded, faults: 0, last_fault_boot_ns: 0, probation: 0 }
    }

    /// Returns the current stage.
    #[must_use]
    pub(crate) const fn state(&self) -> State {
        self.state
    }

    /// Whether a new version has to prove itself before the old one is let go.
    #[must_use]
    pub(crate) const fn tries_versions(&self) -> bool {
        self.policy.probation_batches > 0
    }

    #[cfg(test)]
    const fn faults(&self) -> u32 {
        self.faults
    }

    /// Takes an input. A plugin that was stopped stays so.
    pub(crate) fn after(&mut self, input: Input) -> Next {
        match (self.state, input) {
            (State::Stopped, _) => Next::Go,
            (_, Input::Stop) => self.to(State::Stopped, Next::Go),
            (_, Input::Replaced { revocable }) => {
                self.faults = 0;
                self.probation = if revocable { self.policy.probation_batches } else { 0 };
                self.to(State::Running, Next::Go)
            }
            (State::Loaded | State::Waiting, Input::Started) => self.to(State::Running, Next::Go),
            (State::Running, Input::Handled) if self.probation > 0 => {
                self.probation -= 1;
                if self.probation == 0 { Next::EndProbation } else { Next::Go }
            }
            (State::Running, Input::Fault { .. }) if self.probation > 0 => {
                self.probation = 0;
                Next::FallBack
            }
            (State::Loaded | State::Running | State::Waiting, Input::Fault { boot_ns }) => {
                self.fault(boot_ns)
            }
            _ => Next::Go,
        }
    }

    const fn to(&mut self, state: State, next: Next) -> Next {
        self.state = state;
        next
    }

    fn fault(&mut self, boot_ns: u64) -> Next {
        let ns = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        if boot_ns.saturating_sub(self.last_fault_boot_ns) > ns(self.policy.calm) {
            self.faults = 0;
        }
        self.faults = self.faults.saturating_add(1);
        self.last_fault_boot_ns = boot_ns;
        if self.faults >= self.policy.faults_max {
            return self.to(State::Quarantined, Next::Quarantine);
        }
        let doublings = self.faults.saturating_sub(2).min(31);
        let wait = match self.faults {
            1 => 0,
            _ => ns(self.policy.wait).saturating_mul(1 << doublings).min(ns(self.policy.wait_max)),
        };
        self.to(State::Waiting, Next::RestartAt { boot_ns: boot_ns.saturating_add(wait) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn running() -> Life {
        let mut life = Life::new(RestartPolicy::default());
        assert_eq!(life.after(Input::Started), Next::Go);
        life
    }

    #[test]
    fn faults_wait_longer_and_longer_and_end_in_quarantine() {
        let mut life = running();
        for wait_ms in [0, 100, 200, 400] {
            let next = life.after(Input::Fault { boot_ns: MS });
            assert_eq!(next, Next::RestartAt { boot_ns: MS + wait_ms * MS });
            assert_eq!(life.state(), State::Waiting);
            assert_eq!(life.after(Input::Started), Next::Go);
        }
        assert_eq!(life.after(Input::Fault { boot_ns: MS }), Next::Quarantine);
        assert_eq!(life.after(Input::Started), Next::Go);
        assert_eq!(life.state(), State::Quarantined);
        life.after(Input::Replaced { revocable: false });
        assert_eq!((life.state(), life.faults()), (State::Running, 0));
    }

    #[test]
    fn calm_forgives() {
        let mut life = running();
        for minute in 2..20 {
            let boot_ns = minute * 61_000 * MS;
            assert_eq!(life.after(Input::Fault { boot_ns }), Next::RestartAt { boot_ns });
            life.after(Input::Started);
        }
    }

    #[test]
    fn a_new_version_that_fails_early_gives_way_and_a_proven_one_stays() {
        let mut life = running();
        life.after(Input::Replaced { revocable: true });
        life.after(Input::Handled);
        assert_eq!(life.after(Input::Fault { boot_ns: MS }), Next::FallBack);
        assert_eq!(life.state(), State::Running);
        life.after(Input::Replaced { revocable: true });
        let settled = (1..=16).map(|_| life.after(Input::Handled)).collect::<Vec<_>>();
        assert_eq!(settled.iter().position(|next| *next == Next::EndProbation), Some(15));
        assert_eq!(life.after(Input::Fault { boot_ns: MS }), Next::RestartAt { boot_ns: MS });
    }

    #[test]
    fn what_was_stopped_stays_stopped() {
        let mut life = running();
        life.after(Input::Stop);
        life.after(Input::Replaced { revocable: true });
        assert_eq!(
            (life.after(Input::Fault { boot_ns: 1 }), life.state()),
            (Next::Go, State::Stopped)
        );
    }
}
