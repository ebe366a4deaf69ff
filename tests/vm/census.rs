//! Processes of which no record tells: those that ran before the host, whose end was lost, and for whom there is
//! no room.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, ensure};
use rustix::process::Signal;
use serde_json::Value;

use super::{Boot, Test};
use crate::harness::{Guest, Host, run, wait_for};

pub(crate) const TESTS: &[Test] = &[
    ("rule_holds_at_once_for_who_ran_before", Boot::Default, ran_before),
    ("process_table_that_is_full_is_told", Boot::Default, full),
];

/// What a family does: a child of its head and the head itself each wait for a word and read a file; another
/// child executes things all the while, by a process of its own in between, so that no event is of the head or
/// names it. The status tells who could not read: 1 the head, 2 its child.
const FAMILY: &str = r#"exec 3<&0
"$2" sh -c '(while [ -e "$0" ] && /bin/busybox usleep 50000; do :; done); true' "$3" &
(read go <&3 && read line < "$1") & s=$!
read go; b=1; read line < "$1" && b=0
a=0; wait $s || a=2
exit $((a + b))"#;

struct Family(Child);

impl Family {
    fn start(head: &Path, [file, middle, while_there]: [&Path; 3]) -> anyhow::Result<Self> {
        let mut command = Command::new(head);
        command.args(["sh", "-c", FAMILY, "sh"]).args([file, middle, while_there]);
        Ok(Self(command.stdin(Stdio::piped()).stderr(Stdio::null()).spawn()?))
    }

    /// Says the word to both.
    fn read(&mut self) -> anyhow::Result<Option<i32>> {
        self.0.stdin.take().context("its input")?.write_all(b"go\ngo\n")?;
        Ok(self.0.wait()?.code())
    }
}

/// Rules on a process and on a lineage that are older than the host hold for the first call, and for no
/// neighbour's; then a process ends whose record is lost, and its rule with it.
fn ran_before(guest: &mut Guest) -> anyhow::Result<()> {
    let (file, while_there) = (guest.path("secret"), guest.file("while-there")?);
    fs::write(&file, "content\n")?;
    let middle = guest.executable("busybox-middle")?;
    let heads: Vec<PathBuf> = ["busybox-one", "busybox-clan", "busybox-free", "busybox-ghost"]
        .into_iter()
        .map(|name| guest.executable(name))
        .collect::<Result<_, _>>()?;
    let mut families: Vec<Family> = heads[..3]
        .iter()
        .map(|head| Family::start(head, [&file, &middle, &while_there]))
        .collect::<Result<_, _>>()?;
    let [one, clan, _, ghost] = [0, 1, 2, 3].map(|at| heads[at].display().to_string());
    let rules =
        format!("forebear {one} 600000 13\nclan {clan} 600000 13\nprocess {ghost} 600000 1");
    let host = guest.sentry(&rules, &["--ring-bytes", "32768"])?;
    rules_are(&host, 2)?;
    for (family, expected) in families.iter_mut().zip([1, 3, 0]) {
        let came_to = family.read()?;
        ensure!(came_to == Some(expected), "{came_to:?}, not {expected}: {:#?}", host.reports());
    }
    for tgid in [&families[0], &families[1]].map(|family| u64::from(family.0.id())) {
        wait_for("a record of the denial", || {
            let is_it = |report: &Value| report["kind"] == "verdict" && report["tgid"] == tgid;
            Ok(host.reports()?.into_iter().find(is_it))
        })?;
    }
    fs::remove_file(&while_there)?;
    // The head of the first family is gone, and its rule.
    rules_are(&host, 1)?;
    let mut ghost = Command::new(&heads[3]).args(["sleep", "1000"]).spawn()?;
    rules_are(&host, 2)?;
    host.signal(Signal::STOP)?;
    let flood = (0..3000).try_for_each(|_| File::open(&file).map(drop));
    // What is left of the ring is too little for an open's record, and is taken by those of other ends.
    let ends = (0..20).try_for_each(|_| run("/bin/true".as_ref(), &[]));
    let killed = ghost.kill().and_then(|()| ghost.wait());
    host.signal(Signal::CONT)?;
    flood.and(ends)?;
    killed?;
    rules_are(&host, 1)?;
    let summary = host.stop(Signal::INT)?;
    let processes = &summary["processes"];
    ensure!(processes["ghosts"].as_u64() > Some(0) && processes["outside"] == 0, "{processes}");
    Ok(())
}

fn rules_are(host: &Host, count: usize) -> anyhow::Result<()> {
    let status = || host.status("sentry");
    wait_for(&format!("{count} rules"), || Ok((status()?["rules"] == count).then_some(())))
        .with_context(|| format!("{:#?}", host.reports()))
}

/// A table that the first processes of the machine fill keeps those, says that others run outside it, and that
/// a rule on a lineage may miss them.
fn full(guest: &mut Guest) -> anyhow::Result<()> {
    let root = guest.executable("busybox-root")?;
    let config = guest.path("krsi.toml");
    fs::write(&config, "[rules.capacity]\nprocesses = 8\n")?;
    let rule = format!("lineage {} 60000 1", root.display());
    let config = config.display().to_string();
    let host = guest.host_with(&[("sentry", &rule)], &["--config", &config])?;
    host.note(&["the process table is full", "raise `processes`"])?;
    let mut child = Command::new(&root).args(["sleep", "1000"]).spawn()?;
    host.note(&["sentry: rule", "may miss descendants"])?;
    let (answered, said) = host.ask(&["status"])?;
    ensure!(answered && said.contains("running outside it"), "{said}");
    child.kill()?;
    child.wait()?;
    let summary = host.stop(Signal::INT)?;
    let processes = &summary["processes"];
    ensure!(
        processes["dropped"].as_u64() > Some(0) && processes["outside"].as_u64() > Some(0),
        "{processes}"
    );
    Ok(())
}
