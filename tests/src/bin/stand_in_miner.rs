//! Stands in for a miner: takes a miner's arguments, connects to its "pools", and says what came of it.
//!
//! `stand-in-miner [--donate-level N] [--repeat N] [--every MS] -o [stratum+tcp://]HOST:PORT…`
//! prints one line a connection: `connect 127.0.0.1:3333: ok`, or the name of the errno.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, bail};

fn main() -> anyhow::Result<()> {
    let mut pools: Vec<SocketAddr> = Vec::new();
    let (mut repeat, mut every) = (1u32, 200u64);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().with_context(|| format!("{argument} needs a value"));
        match argument.as_str() {
            "--donate-level" => drop(value()?),
            "--repeat" => repeat = value()?.parse().context("--repeat")?,
            "--every" => every = value()?.parse().context("--every")?,
            "-o" => pools.push(pool(&value()?)?),
            other => bail!("unknown argument {other}"),
        }
    }
    for round in 0..repeat {
        if round > 0 {
            std::thread::sleep(Duration::from_millis(every));
        }
        for pool in &pools {
            let outcome = match TcpStream::connect_timeout(pool, Duration::from_secs(5)) {
                Ok(_) => "ok".to_owned(),
                Err(error) => errno(&error),
            };
            let mut out = std::io::stdout().lock();
            writeln!(out, "connect {pool}: {outcome}")?;
            out.flush()?;
        }
    }
    Ok(())
}

fn pool(text: &str) -> anyhow::Result<SocketAddr> {
    let address = text.strip_prefix("stratum+tcp://").unwrap_or(text);
    address.parse().with_context(|| format!("{text} is not HOST:PORT"))
}

fn errno(error: &std::io::Error) -> String {
    match error.raw_os_error() {
        Some(1) => "EPERM".into(),
        Some(13) => "EACCES".into(),
        Some(111) => "ECONNREFUSED".into(),
        _ => error.to_string(),
    }
}
