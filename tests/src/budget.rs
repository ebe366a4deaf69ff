//! What the tests of a boot may take, in runs of a loop that the same guest makes between them.
//!
//! Seconds differ from machine to machine and with what else runs there; how often a fixed piece of work
//! would have been done in the same time differs less. The loop is run before each test, so that its mean
//! is of the same minutes as the tests.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context;

/// Where the budgets lie, below this crate.
pub const FILE: &str = "budgets.toml";
/// How much more than its budget a boot may take.
pub const GROWTH_PERCENT: u64 = 25;

/// First lines of the file of budgets.
const HEAD: &str = "\
# What the tests of a boot take, in runs of the calibrating loop of tests/vm/calibrate.rs, by kernel and boot.
# Growth over 25 % fails `cargo xtask test`. Written by `cargo xtask test --bless-budgets`, on a machine that does
# nothing else; a budget is raised only with the reason in the commit.
";

/// Measured times of a boot.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measured {
    /// Time of all tests together.
    pub tests: Duration,
    /// Average time of the calibrating loop.
    pub run: Duration,
}

impl Measured {
    /// Sums up what each test took and the loop before it; nothing without tests.
    pub fn of(tests: impl Iterator<Item = (Duration, Duration)>) -> Option<Self> {
        let (mut sum, mut count) = ((Duration::ZERO, Duration::ZERO), 0);
        for (test, run) in tests {
            sum = (sum.0 + test, sum.1 + run);
            count += 1;
        }
        let run = sum.1.checked_div(count).filter(|run| !run.is_zero())?;
        Some(Self { tests: sum.0, run })
    }

    /// The tests' time in runs of the loop.
    #[must_use]
    pub fn runs(&self) -> u64 {
        // Neither is longer than some hours.
        (self.tests.as_micros() / self.run.as_micros().max(1)) as u64
    }
}

/// Budgets by kernel and boot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Budgets(BTreeMap<String, BTreeMap<String, u64>>);

impl Budgets {
    /// Reads `tests/budgets.toml`.
    ///
    /// # Errors
    /// When it is not of that form.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        toml::from_str(text).map(Self).context("the budgets")
    }

    /// The budget of a boot, if it has one.
    #[must_use]
    pub fn of(&self, kernel: &str, boot: &str) -> Option<u64> {
        self.0.get(kernel).and_then(|boots| boots.get(boot)).copied()
    }

    /// Sets the budget of a boot.
    pub fn set(&mut self, kernel: &str, boot: &str, runs: u64) {
        self.0.entry(kernel.to_owned()).or_default().insert(boot.to_owned(), runs);
    }

    /// The text of the file.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = HEAD.to_owned();
        for (kernel, boots) in &self.0 {
            let boots = boots.iter().map(|(boot, runs)| format!("{boot} = {runs}"));
            let boots = boots.collect::<Vec<_>>().join(", ");
            text += &format!("\"{kernel}\" = {{ {boots} }}\n");
        }
        text
    }

    /// What is wrong with what was measured of a boot, in words.
    #[must_use]
    pub fn exceeded(&self, kernel: &str, boot: &str, measured: &Measured) -> Option<String> {
        let runs = measured.runs();
        let seconds = measured.tests.as_secs();
        let Some(budget) = self.of(kernel, boot) else {
            return Some(format!(
                "no budget in tests/budgets.toml; its tests took {seconds} s, {runs} runs of the loop: \
                 `cargo xtask test --bless-budgets`, on a machine that does nothing else"
            ));
        };
        (runs * 100 > budget * (100 + GROWTH_PERCENT)).then(|| {
            format!(
                "its tests took {seconds} s, {runs} runs of the loop, over {GROWTH_PERCENT} % more than \
                 the budget of {budget}: make them cheaper, or raise it in tests/budgets.toml with the \
                 reason in the commit (`cargo xtask test --bless-budgets` writes all)"
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_slow_machine_is_no_growth_and_more_work_is() {
        let mut budgets = Budgets::default();
        let check = |budgets: &Budgets, tests: u32, run: u32| {
            let measured = Measured { tests: tests * SECOND, run: run * SECOND / 1000 };
            budgets.exceeded("6.12", "Default", &measured)
        };
        assert!(check(&budgets, 100, 50).is_some_and(|words| words.starts_with("no budget")));
        budgets.set("6.12", "Default", 2000);
        assert_eq!(check(&budgets, 100, 50), None);
        assert_eq!(check(&budgets, 125, 50), None);
        assert_eq!(check(&budgets, 300, 150), None);
        let grown = check(&budgets, 126, 50).unwrap_or_default();
        assert!(grown.contains("2520 runs") && grown.contains("budget of 2000"), "{grown}");
    }

    #[test]
    fn the_loop_is_averaged_over_all_tests() {
        let rows = [(10 * SECOND, SECOND / 10), (20 * SECOND, 3 * SECOND / 10)];
        let measured = Measured::of(rows.into_iter()).unwrap();
        assert_eq!(measured, Measured { tests: 30 * SECOND, run: SECOND / 5 });
        assert_eq!(measured.runs(), 150);
        assert_eq!(Measured::of(std::iter::empty()), None);
    }

    #[test]
    fn what_is_written_is_read() {
        let mut budgets = Budgets::default();
        budgets.set("6.12", "Default", 7);
        budgets.set("6.12", "WithoutBpf", 5);
        let text = budgets.text();
        assert!(text.ends_with("\n\"6.12\" = { Default = 7, WithoutBpf = 5 }\n"), "{text}");
        assert_eq!(Budgets::parse(&text).unwrap(), budgets);
        assert_eq!(budgets.of("6.12", "WithoutBpf"), Some(5));
        assert!(Budgets::parse("\"6.12\" = 3").is_err());
    }

    #[test]
    fn the_checked_in_budgets_can_be_read() {
        Budgets::parse(include_str!("../budgets.toml")).unwrap();
    }
}
