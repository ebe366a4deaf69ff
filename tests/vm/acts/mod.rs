//! The acts of plugins/miner/acts, run in a guest: ways to mine that must be seen, and what must be left alone.
//!
//! One host sees them all, some at a time. Names, ports, wallets and hosts are drawn anew in each run, by a seed that
//! is told: `KRSI_SEED=N cargo xtask test 6.12::miner_acts` draws them again. On other kernels it is a tenth of them.

mod draw;
mod play;

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use rustix::process::Signal;
use serde::Deserialize;
use serde_json::Value;

use self::draw::Draw;
use self::play::{Playing, pools};
use crate::harness::{Guest, Host, kernel, wait_at_most};
use crate::run::TOLD;
use crate::{Boot, Test};

pub(crate) const TESTS: &[Test] = &[("miner_acts", Boot::Default, acts)];

const MINERS: &str = include_str!("../../../plugins/miner/acts/miners.toml");
const INNOCENTS: &str = include_str!("../../../plugins/miner/acts/innocents.toml");
/// An address of the guest that is not its loopback's.
const AT: &str = "198.51.100.7";
/// Acts that run at a time.
const AT_A_TIME: usize = 12;
/// How long a miner is looked for: an emulated guest on a busy machine is slow.
const PATIENCE: Duration = Duration::from_secs(110);
/// Time between two looks.
const LOOK: Duration = Duration::from_millis(200);
/// How long what is not found, or must not be, is looked at, and how long if it works all the while.
const WHILE: Duration = Duration::from_secs(3);
const WORK_WHILE: Duration = Duration::from_secs(8);
/// Those that run at a time of those that work: each is to have a processor for some of the time.
const WORK_AT_A_TIME: usize = 4;
/// The plugin's configuration: work is judged sooner, and by less of it than by default.
const CONFIG: &str = include_str!("../../../plugins/miner/config.toml");
/// Of how many acts one runs on kernels other than this one.
const SOME: usize = 10;
const ALL_ON: &str = "6.12";

/// A file of acts.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Acts {
    act: Vec<MinerAct>,
}

/// What a program is, is told, and does.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct MinerAct {
    name: String,
    /// Where it lies; of one in memory, its name.
    program: String,
    /// Arguments of the program, first the name that it gives itself.
    argv: Vec<String>,
    #[serde(default)]
    how: How,
    /// Where it connects to; where {pool} stands among its arguments, unless it says so.
    to: Option<String>,
    /// What it sends first; a pair of brackets unless it says so.
    says: Option<String>,
    /// Whether it keeps a processor busy all the while.
    #[serde(default)]
    work: bool,
    /// Whether it is the guest's own program, not a stand-in.
    #[serde(default)]
    real: bool,
    /// Why it is not found yet.
    unseen: Option<String>,
}

/// How it gets to run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum How {
    #[default]
    Plain,
    /// From a file in memory.
    Memfd,
    /// From a file that is removed before.
    Deleted,
    /// Before the host starts.
    Before,
    /// An execution from a file in memory.
    BeforeMemfd,
    /// In a root of its own.
    Chroot,
    /// Again and again, by a shell.
    Loop,
    /// By `env`, which executes it.
    Env,
}

impl How {
    const fn is_before(self) -> bool {
        matches!(self, How::Before | How::BeforeMemfd)
    }
}

/// What became of the acts of a file.
#[derive(Default)]
struct Tally {
    /// Acts with an alert or a refusal.
    hit: BTreeSet<String>,
    all: Vec<MinerAct>,
    /// Acts that did not do what they are to do.
    idle: BTreeSet<String>,
    /// What each told last.
    last: BTreeMap<String, String>,
}

fn acts(guest: &mut Guest) -> anyhow::Result<()> {
    let seed = std::env::var("KRSI_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = match seed {
        Some(seed) => seed,
        None => u64::from_ne_bytes(std::fs::read("/proc/sys/kernel/random/uuid")?[..8].try_into()?),
    };
    let mut draw = Draw::new(seed);
    let mut drawn = |text: &str| -> anyhow::Result<Vec<MinerAct>> {
        let all = toml::from_str::<Acts>(text)?.act;
        let step = if kernel() == ALL_ON { 1 } else { SOME };
        let first = draw.below(step.min(all.len()));
        Ok(all.into_iter().skip(first).step_by(step).map(|act| draw.act(act)).collect())
    };
    let (miners, innocents) = (drawn(MINERS)?, drawn(INNOCENTS)?);
    let address = ["addr", "add", &format!("{AT}/32"), "dev", "lo"];
    ensure!(Command::new("/bin/ip").args(address).status()?.success(), "ip addr");
    pools(miners.iter().chain(&innocents))?;
    let both: Vec<(bool, &MinerAct)> = [(true, &miners), (false, &innocents)]
        .into_iter()
        .flat_map(|(mines, acts)| acts.iter().map(move |act| (mines, act)))
        .collect();
    let (before, after): (Vec<_>, Vec<_>) =
        both.into_iter().partition(|(_, act)| act.how.is_before());

    let first = before.iter().map(|(mines, act)| Ok((*mines, Playing::start(guest, act)?)));
    let first = first.collect::<anyhow::Result<Vec<_>>>()?;
    for (_, playing) in &first {
        playing.wait_until_it_runs()?;
    }
    let config = CONFIG.replace("work_seconds = 60", "work_seconds = 2");
    let config = config.replace("work_cores = 0.8", "work_cores = 0.2");
    let host = guest.host("miner", &config)?;
    let (mut seen, mut harmed) = (Tally::default(), Tally::default());
    tally(&host, first, (&mut seen, &mut harmed))?;
    let (works, rests): (Vec<_>, Vec<_>) = after.into_iter().partition(|(_, act)| act.work);
    for some in rests.chunks(AT_A_TIME).chain(works.chunks(WORK_AT_A_TIME)) {
        let some = some.iter().map(|(mines, act)| Ok((*mines, Playing::start(guest, act)?)));
        tally(&host, some.collect::<anyhow::Result<Vec<_>>>()?, (&mut seen, &mut harmed))?;
    }
    let said = say(seed, &seen, &harmed);
    host.stop(Signal::INT).with_context(|| said.clone())?;
    let wrong = wrong(&seen, &harmed);
    ensure!(wrong.is_empty(), "{said}\n{}", wrong.join("\n"));
    Ok(())
}

/// What became of acts that should not have.
fn wrong(seen: &Tally, harmed: &Tally) -> Vec<String> {
    let missed = seen.all.iter().filter(|act| !seen.hit.contains(&act.name));
    missed
        .filter(|act| act.unseen.is_none())
        .map(|act| format!("not seen: {act:?}: {:?}", seen.last.get(&act.name)))
        .chain(
            harmed
                .all
                .iter()
                .filter(|act| harmed.hit.contains(&act.name))
                .map(|act| format!("harmed: {act:?}")),
        )
        .chain(
            harmed
                .idle
                .iter()
                .map(|name| format!("did not act: {name}: {:?}", harmed.last.get(name))),
        )
        .chain(
            seen.all
                .iter()
                .filter(|act| act.unseen.is_some() && seen.hit.contains(&act.name))
                .map(|act| format!("seen, and said not to be: {act:?}")),
        )
        .collect()
}

/// Looks at acts that run until each miner is found and everybody else has done what he does, or for a while.
fn tally(
    host: &Host,
    acts: Vec<(bool, Playing)>,
    (seen, harmed): (&mut Tally, &mut Tally),
) -> anyhow::Result<()> {
    // An alert comes before the refusals that it leads to.
    let is_alert = |reports: &[Value], playing: &Playing| {
        reports.iter().any(|report| report["kind"] == "alert" && playing.is_about(report))
    };
    let is_over = |(mines, playing): &(bool, Playing)| match (mines, &playing.act.unseen) {
        (true, None) => playing.is_refused(),
        // Left alone is who has done what it does.
        _ => playing.has_acted(),
    };
    let all = || -> anyhow::Result<bool> {
        std::thread::sleep(LOOK);
        acts.iter().try_fold(true, |all, one| Ok(all && is_over(one)?))
    };
    // What was not found is told at the end, with all others.
    let _in_time = wait_at_most(PATIENCE, "all miners", || Ok(all()?.then_some(())));
    let works = acts.iter().any(|(_, playing)| playing.act.work);
    std::thread::sleep(if works { WORK_WHILE } else { WHILE });
    let reports = host.reports()?;
    for (mines, playing) in acts {
        let alert = is_alert(&reports, &playing);
        let tally = if mines { &mut *seen } else { &mut *harmed };
        let hit =
            if mines { alert && playing.is_refused()? } else { alert || playing.is_refused()? };
        if hit {
            tally.hit.insert(playing.act.name.clone());
        }
        if !mines && !playing.has_acted()? {
            tally.idle.insert(playing.act.name.clone());
        }
        tally.last.insert(playing.act.name.clone(), format!("alert {alert}, {}", playing.last()));
        tally.all.push(playing.act.clone());
    }
    Ok(())
}

/// Tells precision and recall to whoever runs the tests.
fn say(seed: u64, seen: &Tally, harmed: &Tally) -> String {
    let (miners, found) = (seen.all.len(), seen.hit.len());
    let (innocents, wrong) = (harmed.all.len(), harmed.hit.len());
    let percent = |part: usize, whole: usize| 100.0 * part as f64 / whole.max(1) as f64;
    let text = format!(
        "miner acts on {}: {found} of {miners} miners seen and refused, {wrong} of {innocents} innocents harmed; \
         precision {:.1} %, recall {:.1} %; KRSI_SEED={seed}",
        kernel(),
        percent(found, found + wrong),
        percent(found, miners)
    );
    println!("\n{TOLD}{text}");
    text
}
