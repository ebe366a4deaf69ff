//! Latencies, starts, restarts and memory, natively, as a table. Root and BPF are needed.
//!
//! The latency is that from a record's time stamp to the rule it caused being in its map, with real
//! maps; the baseline is a bare thread that is woken by the ring and updates a map.

mod feed;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use feed::Feeder;
use krsi_host::facade::{
    BenchPipeline, EntryKey, KernelMaps, ObjectFile, PluginSpec, RuleStore, RulesObeyed,
};
use krsi_host_abi::deny::{Entry, FileKey};

const SECONDS: u64 = 3;

/// Feeds bursts at an even pace.
fn pace(feeder: &mut Feeder, per_second: u64) -> anyhow::Result<()> {
    let every =
        if per_second >= 10_000 { Duration::from_micros(50) } else { Duration::from_millis(1) };
    let burst = (per_second * u64::try_from(every.as_micros())? / 1_000_000).max(1);
    // The first record of each burst is of process 1000: it causes a rule.
    feeder.order(burst, u64::MAX, 0)?;
    let start = Instant::now();
    let mut next = every;
    while start.elapsed() < Duration::from_secs(SECONDS) {
        feeder.fire();
        while start.elapsed() < next {
            std::hint::spin_loop();
        }
        next += every;
    }
    Ok(())
}

/// From record to rule, through a plugin.
fn through_a_plugin(per_second: u64) -> anyhow::Result<[u64; 3]> {
    let mut feeder = Feeder::start(1 << 26)?;
    feed::pin(0)?;
    let mut pipeline = BenchPipeline::start(
        &feed::config(feed::gauges(1, "deny")?)?,
        feed::program()?,
        feeder.ring()?,
    )?;
    pipeline.go()?;
    feed::pin(1)?;
    pace(&mut feeder, per_second)?;
    let (written, dropped) = feeder.counts()?;
    let delays = [0.5, 0.99, 0.999].map(|quantile| pipeline.delay_ns(quantile));
    let plugins = pipeline.stop()?;
    let plugin = plugins.first().context("a plugin")?;
    ensure!(plugin.records + plugin.lost_queue == written, "{plugin:?}, {written} written");
    ensure!(dropped == 0 && plugin.lost_queue == 0, "{dropped} dropped, {plugin:?}");
    Ok(delays)
}

/// From record to map, by a bare thread.
fn bare(per_second: u64) -> anyhow::Result<[u64; 3]> {
    let mut feeder = Feeder::start(1 << 26)?;
    let mut ring = feeder.ring()?;
    let (_object, mut maps) = ObjectFile::create(&[("TELEMETRY", 1 << 20)])?;
    let mut rules = KernelMaps::take(&mut maps, 1, RulesObeyed::Yes)?.rules;
    feed::pin(0)?;
    let reader = std::thread::spawn(move || -> anyhow::Result<Vec<u64>> {
        let mut delays = Vec::new();
        let end = Instant::now() + Duration::from_secs(SECONDS + 1);
        while Instant::now() < end {
            let timeout = rustix::event::Timespec { tv_sec: 1, tv_nsec: 0 };
            let mut fds = [rustix::event::PollFd::new(&ring, rustix::event::PollFlags::IN)];
            rustix::event::poll(&mut fds, Some(&timeout))?;
            while let Some(item) = ring.next() {
                let word = |at: usize| {
                    let bytes = item.get(at..at + 8).and_then(|bytes| bytes.try_into().ok());
                    u64::from_le_bytes(bytes.unwrap_or_default())
                };
                if word(24) as u32 == 1000 {
                    let boot_ns = word(8);
                    rules.put(
                        EntryKey::File(FileKey { ino: 42, dev: 8, generation: 0 }),
                        &Entry::default(),
                    )?;
                    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
                    let now = now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64;
                    delays.push(now.saturating_sub(boot_ns));
                }
            }
        }
        Ok(delays)
    });
    feed::pin(1)?;
    pace(&mut feeder, per_second)?;
    let mut delays = reader.join().map_err(|_| anyhow::anyhow!("the reader panicked"))??;
    delays.sort_unstable();
    let at = |quantile: f64| {
        let at = ((delays.len() as f64 - 1.0) * quantile) as usize;
        delays.get(at).copied().unwrap_or(0)
    };
    Ok([at(0.5), at(0.99), at(0.999)])
}

/// Many swaps while events flow: each is handled once, by one version or the other.
fn swaps() -> anyhow::Result<()> {
    let mut feeder = Feeder::start(1 << 26)?;
    let spec = feed::gauges(1, "")?.pop().context("a gauge")?;
    let config = feed::config(vec![spec.clone()])?;
    let mut pipeline = BenchPipeline::start(&config, feed::program()?, feeder.ring()?)?;
    pipeline.go()?;
    feeder.order(32, 31, 0)?;
    let stop = std::sync::atomic::AtomicBool::new(false);
    let relaxed = std::sync::atomic::Ordering::Relaxed;
    let pauses = std::thread::scope(|scope| -> anyhow::Result<Vec<Duration>> {
        scope.spawn(|| {
            let start = Instant::now();
            let mut fired = 0;
            while !stop.load(relaxed) {
                feeder.fire();
                fired += 1;
                // A hundred thousand records a second.
                while start.elapsed() < Duration::from_micros(320) * fired {
                    std::hint::spin_loop();
                }
            }
        });
        let pauses = (0..200).map(|_| Ok(pipeline.replace(spec.clone())?.pause)).collect();
        stop.store(true, relaxed);
        pauses
    })?;
    let (written, dropped) = feeder.counts()?;
    let plugins = pipeline.stop()?;
    let plugin = plugins.first().context("a plugin")?;
    ensure!(dropped == 0 && plugin.records == written && plugin.lost_queue == 0, "{plugin:?}");
    println!(
        "200 swaps at 100 000 events/s      {written} records, each handled once; pause {:?}",
        median(pauses)
    );
    Ok(())
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

/// Resident memory of this process, KiB.
fn resident() -> anyhow::Result<u64> {
    let text = std::fs::read_to_string("/proc/self/smaps_rollup")?;
    let line = text.lines().find(|line| line.starts_with("Rss:")).context("Rss")?;
    Ok(line.split_whitespace().nth(1).context("a number")?.parse()?)
}

fn idle() -> anyhow::Result<()> {
    let before = resident()?;
    let mut feeder = Feeder::start(1 << 20)?;
    let config = feed::config(feed::gauges(20, "")?)?;
    let mut pipeline = BenchPipeline::start(&config, feed::program()?, feeder.ring()?)?;
    pipeline.go()?;
    std::thread::sleep(Duration::from_millis(500));
    println!("resident with 20 idle plugins     {} KiB, {before} KiB before", resident()?);
    pipeline.stop()?;
    Ok(())
}

fn starts() -> anyhow::Result<()> {
    let mut feeder = Feeder::start(1 << 20)?;
    let plugins: Vec<PluginSpec> = feed::gauges(40, "")?;
    let warm = feed::config(plugins.clone())?;
    // Compiles what is not in the cache yet.
    BenchPipeline::start(&warm, feed::program()?, feeder.ring()?)?.stop()?;
    let mut feeder = Feeder::start(1 << 20)?;
    let mut pipeline =
        BenchPipeline::start(&feed::config(Vec::new())?, feed::program()?, feeder.ring()?)?;
    pipeline.go()?;
    let mut times = Vec::new();
    for spec in plugins {
        let start = Instant::now();
        pipeline.add(spec.clone())?;
        times.push(start.elapsed());
    }
    println!("cached code to subscribed          {:?}", median(times));
    let spec = feed::gauges(1, "")?.pop().context("a gauge")?;
    let mut pauses = Vec::new();
    for _ in 0..50 {
        pauses.push(pipeline.replace(spec.clone())?.pause);
    }
    println!("pause of a swap                    {:?}", median(pauses));
    pipeline.stop()?;
    Ok(())
}

fn restarts() -> anyhow::Result<()> {
    let mut feeder = Feeder::start(1 << 22)?;
    let mut config = feed::config(feed::gauges(1, "trap")?)?;
    config.base.restart.faults_max = 1000;
    config.base.restart.wait = Duration::ZERO;
    let mut pipeline = BenchPipeline::start(&config, feed::program()?, feeder.ring()?)?;
    pipeline.go()?;
    feeder.order(50, 15, 0)?;
    let mut times = Vec::new();
    for round in 1..=50 {
        (0..20).for_each(|_| feeder.fire());
        let deadline = Instant::now() + Duration::from_secs(5);
        loop {
            let plugins = pipeline.plugins();
            let plugin = plugins.first().context("a plugin")?;
            if plugin.restarts >= round {
                times.push(Duration::from_micros(plugin.restart_us));
                break;
            }
            ensure!(Instant::now() < deadline, "{plugin:?}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    println!("trap to running again              {:?}", median(times));
    pipeline.stop()?;
    Ok(())
}

fn main() -> anyhow::Result<ExitCode> {
    if let Some(code) = feed::as_child() {
        return Ok(code);
    }
    idle()?;
    starts()?;
    restarts()?;
    swaps()?;
    println!("\nrecord to rule, µs           p50     p99   p99.9    ratio of p99");
    for per_second in [1_000, 100_000, 1_000_000] {
        let (bare, plugin) = (bare(per_second)?, through_a_plugin(per_second)?);
        for (name, figures) in [("bare", bare), ("plugin", plugin)] {
            let [a, b, c] = figures.map(|ns| ns as f64 / 1000.0);
            let ratio = figures[1] as f64 / bare[1] as f64;
            println!("{per_second:>9}/s {name:<8} {a:>9.1}{b:>8.1}{c:>8.1}    {ratio:.2}");
        }
    }
    Ok(ExitCode::SUCCESS)
}
