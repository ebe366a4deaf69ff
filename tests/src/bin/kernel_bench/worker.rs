//! The worker as the driver sees it: an order goes in, a price comes out.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, ensure};

use crate::act::Act;
use crate::baseline::Ballast;

/// Batches of a round; records are taken between rounds, so that only the first batch wakes a reader.
const BATCHES: u32 = 40;
/// Pairs of open and close until a kernel has settled: allocators, dentries, its own statistics.
const WARM_UP: u32 = 180_000;

/// A running worker; killed when dropped.
pub struct Worker {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
    ballast: Ballast,
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It may have ended already.
        let _ended = self.child.kill().and_then(|()| self.child.wait());
    }
}

impl Worker {
    /// Starts one and has it warm up.
    pub fn start() -> anyhow::Result<Self> {
        let mut command = Command::new("/proc/self/exe");
        command.arg("worker").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().context("the worker")?;
        let orders = child.stdin.take().context("its input")?;
        let answers = BufReader::new(child.stdout.take().context("its output")?);
        let mut worker = Self { child, orders, answers, ballast: Ballast::default() };
        worker.batch(Act::Open, WARM_UP)?;
        for act in Act::ALL {
            worker.price(act, |_| Ok(()))?;
        }
        Ok(worker)
    }

    /// Instructions of one call of an act. After each round `between` is called with its calls.
    ///
    /// The mean of the cheaper third of a round's batches: a batch is shorter than a tick of the timer, which
    /// costs as much as a dozen calls, so more than that third has none. An open, a connect or an
    /// mprotect then agree to an instruction; an execution moves by what its memory costs, which differs
    /// from round to round: the cheapest round counts.
    pub fn price(
        &mut self,
        act: Act,
        mut between: impl FnMut(u32) -> anyhow::Result<()>,
    ) -> anyhow::Result<f64> {
        let calls = act.batch();
        let mut cheapest = f64::INFINITY;
        for _ in 0..act.rounds() {
            let mut batches = Vec::new();
            for _ in 0..BATCHES {
                batches.push(self.batch(act, calls)?);
            }
            between(BATCHES * calls)?;
            self.ballast.more()?;
            batches.sort_unstable();
            batches.truncate(batches.len() / 3);
            let sum: i64 = batches.iter().sum();
            cheapest = cheapest.min(sum as f64 / batches.len() as f64 / f64::from(calls));
        }
        self.ballast.none();
        Ok(cheapest)
    }

    fn batch(&mut self, act: Act, calls: u32) -> anyhow::Result<i64> {
        writeln!(self.orders, "{act} {calls}")?;
        let mut line = String::new();
        let read = self.answers.read_line(&mut line)?;
        ensure!(read > 0, "the worker ended while it did {act}");
        line.trim().parse().context(line)
    }
}
