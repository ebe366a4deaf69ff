//! The driver of the kernel bench, in the guest: prices acts with nothing, a baseline and ours attached.
//!
//! The guest's clock must count instructions (`-icount shift=0`): a nanosecond is one. Everything is
//! priced in one boot, and what is compared is what a program adds.
//!
//! `kernel-bench` prints the rows, `kernel-bench verified` what the verifier went through.

mod act;
mod baseline;
mod ours;
mod row;
mod rule;
mod table;
mod worker;

use std::collections::HashMap;

use anyhow::{bail, ensure};
use krsi_host::facade::KernelTypes;

use act::Act;
use baseline::{Baselines, Work};
use ours::{Absent, Ours, Setting};
use row::Against;
use table::Table;
use worker::Worker;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => bench(),
        ["worker"] => act::work(),
        ["verified"] => {
            for (program, instructions) in ours::verified()? {
                println!("{program} {instructions}");
            }
            Ok(())
        }
        other => bail!("unknown arguments {other:?}"),
    }
}

fn bench() -> anyhow::Result<()> {
    let types = KernelTypes::running()?;
    let plan = ours::plan(&types);
    let mut baselines = Baselines::load(&types, &plan.offsets)?;
    let mut ours = Ours::load(&types, &plan)?;
    let mut bench =
        Bench { worker: Worker::start()?, table: Table::default(), bytes: HashMap::new() };
    for act in Act::ALL {
        let nothing = bench.worker.price(act, |_| Ok(()))?;
        bench.table.nothing(act, nothing);
        for work in Work::ALL {
            bench.baseline(&mut baselines, act, work)?;
        }
    }
    for settings in row::settings().chunk_by(|a, b| row::fills(*a) == row::fills(*b)) {
        for act in Act::ALL {
            bench.ours(&types, &mut ours, act, settings)?;
        }
    }
    for act in Act::ALL {
        let nothing = bench.worker.price(act, |_| Ok(()))?;
        bench.table.nothing(act, nothing);
    }
    bench.table.print();
    Ok(())
}

/// A bench under way.
struct Bench {
    worker: Worker,
    table: Table,
    /// Length of an act's record, as the baseline writes it.
    bytes: HashMap<Act, usize>,
}

impl Bench {
    fn baseline(&mut self, object: &mut Baselines, act: Act, work: Work) -> anyhow::Result<()> {
        if !object.attach(act, work)? {
            return Ok(());
        }
        let mut length = 0;
        let price = self.worker.price(act, |calls| {
            let (records, bytes) = object.drain();
            length = bytes;
            let expected = if work == Work::Record { calls } else { 0 };
            ensure!(records == expected, "{records} records of {calls} {act} with {work:?}");
            Ok(())
        })?;
        object.detach(act, work)?;
        if work == Work::Record {
            self.bytes.insert(act, length);
        }
        self.table.price(act, Against::Baseline(work), Ok(price));
        Ok(())
    }

    fn ours(
        &mut self,
        types: &KernelTypes,
        ours: &mut Ours,
        act: Act,
        settings: &[Setting],
    ) -> anyhow::Result<()> {
        let attached = ours.attach(types, act)?;
        for &setting in settings {
            let price = match &attached {
                Ok(()) => self.setting(ours, act, setting)?,
                Err(absent) => Err(absent.clone()),
            };
            self.table.price(act, Against::Ours(setting), price);
        }
        if attached.is_ok() {
            ours.detach(act)?;
        }
        Ok(())
    }

    fn setting(
        &mut self,
        ours: &mut Ours,
        act: Act,
        setting: Setting,
    ) -> anyhow::Result<Result<f64, Absent>> {
        if let Err(absent) = ours.put(act, setting)? {
            ours.clear(act)?;
            return Ok(Err(absent));
        }
        let (mut length, mut done) = (0, 0);
        let before = ours.counts(act)?;
        let price = self.worker.price(act, |calls| {
            done += u64::from(calls);
            let (records, bytes) = ours.drain();
            length = bytes;
            let expected = if setting == Setting::Forward { calls } else { 0 };
            ensure!(records == expected, "{records} records of {calls} {act} with {setting:?}");
            Ok(())
        })?;
        let after = ours.counts(act)?;
        ours.clear(act)?;
        let seen = if setting == Setting::Clear { 0 } else { done };
        ensure!(after.seen - before.seen == seen, "{act} {setting:?}: {before:?}, then {after:?}");
        ensure!(after.lost == before.lost, "{act} {setting:?}: {before:?}, then {after:?}");
        match self.bytes.get(&act) {
            Some(bytes) if setting == Setting::Forward && *bytes != length => {
                Ok(Err(Absent(format!("ours writes {length} bytes, the baseline {bytes}"))))
            }
            _ => Ok(Ok(price)),
        }
    }
}
