//! Events a second through the whole path on one core: ring → decode → enrich → encode → plugin.
//!
//! `ring` only reads, the limit; `native` runs the plugin's logic as a function of the host, the
//! baseline; `wasm` is the host as it is, with 1, 4 and 16 plugins. Root and BPF are needed.

mod feed;

use std::hint::black_box;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};
use feed::{BURST, Feeder, NO_WAKEUP};
use gauge::Gauge;
use krsi_host::facade::{
    BenchPipeline, CallLayouts, Delivery, PluginSlot, ProcessChange, ProcessTable, Queue,
    RawRecord, Router, Scope, Subscription, decode,
};
use krsi_plugin::{Hook, Instance};
use krsi_plugin_schema::Schema;
use krsi_plugin_schema::latest::HookSet;

/// Records of one iteration.
const RECORDS: u64 = 1 << 18;
/// Bytes of a ring that holds all records of an iteration.
const RING_BYTES: u32 = 1 << 26;
/// Mask of the 64 processes they come from.
const PROCESSES: u64 = 63;

fn fill(feeder: &mut Feeder) -> anyhow::Result<()> {
    feeder.order(BURST, PROCESSES, NO_WAKEUP)?;
    (0..RECORDS / BURST).for_each(|_| feeder.fire());
    Ok(())
}

fn ring() -> anyhow::Result<impl FnMut() -> anyhow::Result<Duration>> {
    let mut feeder = Feeder::start(RING_BYTES)?;
    let mut ring = feeder.ring()?;
    Ok(move || {
        fill(&mut feeder)?;
        let (start, mut seen) = (Instant::now(), 0);
        while let Some(item) = ring.next() {
            black_box(item.first());
            seen += 1;
        }
        let took = start.elapsed();
        anyhow::ensure!(seen == RECORDS, "{seen} of {RECORDS}");
        Ok(took)
    })
}

fn native() -> anyhow::Result<impl FnMut() -> anyhow::Result<Duration>> {
    let mut feeder = Feeder::start(RING_BYTES)?;
    let mut ring = feeder.ring()?;
    let mut gauge = Instance::<Gauge>::new();
    gauge.init(b"", 1).map_err(anyhow::Error::msg)?;
    let (mut router, mut processes) = (Router::default(), ProcessTable::default());
    let queue = std::sync::Arc::new(Queue::new(1 << 20));
    let hooks = HookSet::default().with(Hook::FileOpen);
    let (slot, scope, layouts) = (PluginSlot(0), Scope::System, CallLayouts::default());
    router.subscribe(&Subscription {
        slot,
        schema: Schema::V0_2,
        hooks,
        denied: HookSet(0),
        scope,
        filters: std::sync::Arc::default(),
        queue: queue.clone(),
    });
    Ok(move || {
        fill(&mut feeder)?;
        let (start, mut seen) = (Instant::now(), 0);
        loop {
            let mut drained = 0;
            while drained < 512
                && let Some(item) = ring.next()
            {
                let decoded = decode(&RawRecord::parse(&item)?, &layouts)?;
                let change = ProcessChange::of(&decoded.event);
                let meta = &decoded.event.meta;
                processes.observe(meta, decoded.parent, change, &mut |_| String::new());
                router.route(&decoded.event, None, &processes)?;
                router.follow(change);
                drained += 1;
            }
            if drained == 0 {
                break;
            }
            seen += drained;
            router.flush(1, 0);
            if let Delivery::Batch(batch) = queue.pop(None) {
                black_box(gauge.handle(batch.bytes()));
            }
        }
        let took = start.elapsed();
        anyhow::ensure!(seen == RECORDS, "{seen} of {RECORDS}");
        Ok(took)
    })
}

fn wasm(plugins: usize) -> anyhow::Result<impl FnMut() -> anyhow::Result<Duration>> {
    let mut feeder = Feeder::start(RING_BYTES)?;
    feed::pin(0)?;
    let config = feed::config(feed::gauges(plugins, "")?)?;
    let mut pipeline = BenchPipeline::start(&config, feed::program()?, feeder.ring()?)?;
    pipeline.go()?;
    // The pipeline stays on its core; who measures does not disturb it.
    feed::pin(1)?;
    let mut done = 0;
    Ok(move || {
        fill(&mut feeder)?;
        let start = Instant::now();
        feeder.order(1, PROCESSES, 2)?;
        feeder.fire();
        done += RECORDS + 1;
        while pipeline.plugins().iter().any(|plugin| plugin.records < done) {
            std::thread::sleep(Duration::from_micros(200));
            anyhow::ensure!(start.elapsed() < Duration::from_secs(60), "{:?}", pipeline.plugins());
        }
        Ok(start.elapsed())
    })
}

fn measure(
    criterion: &mut Criterion,
    name: &str,
    run: anyhow::Result<impl FnMut() -> anyhow::Result<Duration>>,
) -> anyhow::Result<()> {
    let mut run = run?;
    run()?;
    let mut group = criterion.benchmark_group("path");
    group.throughput(Throughput::Elements(RECORDS)).sample_size(10);
    let mut failed = None;
    group.bench_function(name, |bencher| {
        bencher.iter_custom(|iterations| {
            (0..iterations)
                .map(|_| {
                    run().unwrap_or_else(|error| {
                        failed.get_or_insert(error);
                        Duration::from_secs(1)
                    })
                })
                .sum()
        });
    });
    group.finish();
    failed.map_or(Ok(()), Err)
}

fn main() -> anyhow::Result<ExitCode> {
    if let Some(code) = feed::as_child() {
        return Ok(code);
    }
    let mut criterion = Criterion::default().configure_from_args();
    feed::pin(0)?;
    measure(&mut criterion, "ring", ring())?;
    measure(&mut criterion, "native", native())?;
    for plugins in [1, 4, 16] {
        measure(&mut criterion, &format!("wasm-{plugins}"), wasm(plugins))?;
    }
    Ok(ExitCode::SUCCESS)
}
