//! Stands in for a miner: takes a miner's arguments, connects to its "pools", and says what came of it.
//!
//! `stand-in-miner [--donate-level N] [--repeat N] [--every MS] -o [stratum+tcp://]HOST:PORT…`
//! prints one line a connection: `connect 127.0.0.1:3333: ok`, or the name of the errno.
//!
//! With `STAND_IN=ADDRESS:PORT` in its environment it takes any arguments, and connects there, or nowhere if that is
//! empty: it then is whatever its name and arguments say. It keeps its first connection and sends on it, which is
//! printed as `send 127.0.0.1:3333: ok`: the text in `STAND_IN_SAYS` if there is one. With `STAND_IN_WORK` too, it keeps a processor busy all the while.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, bail};

/// How long it is what it stands in for: rounds of the time between two.
const ROUNDS: u32 = 1200;
const ROUND: Duration = Duration::from_millis(100);

fn main() -> anyhow::Result<()> {
    if let Ok(to) = std::env::var("STAND_IN") {
        if std::env::var_os("STAND_IN_WORK").is_some() {
            std::thread::spawn(work);
        }
        return stand_in(&to);
    }
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
            say("connect", pool, &connect(pool).map(drop))?;
        }
    }
    Ok(())
}

/// Connects to one address, or to none, for as long as somebody looks.
fn stand_in(to: &str) -> anyhow::Result<()> {
    if to.is_empty() {
        std::thread::sleep(ROUND * 10);
        return Ok(());
    }
    let to = pool(to)?;
    let mut kept = None;
    let says = std::env::var("STAND_IN_SAYS").unwrap_or_else(|_| "{}".to_owned()) + "\n";
    for _ in 0..ROUNDS {
        let connected = connect(&to);
        let refused = connected.is_err();
        say("connect", &to, &connected.as_ref().map(|_| ()).map_err(again))?;
        kept = kept.or(connected.ok());
        if let Some(kept) = &mut kept {
            say("send", &to, &kept.write_all(says.as_bytes()))?;
        }
        // Who is refused asks on, and tells it less often.
        std::thread::sleep(if refused { ROUND * 10 } else { ROUND });
    }
    Ok(())
}

fn work() {
    let mut number = 0u64;
    loop {
        number = std::hint::black_box(number.wrapping_mul(31).wrapping_add(1));
    }
}

fn connect(to: &SocketAddr) -> std::io::Result<TcpStream> {
    TcpStream::connect_timeout(to, Duration::from_secs(5))
}

fn again(error: &std::io::Error) -> std::io::Error {
    error.raw_os_error().map_or_else(|| error.kind().into(), std::io::Error::from_raw_os_error)
}

fn say(what: &str, to: &SocketAddr, result: &std::io::Result<()>) -> anyhow::Result<()> {
    let outcome = match result {
        Ok(()) => "ok".to_owned(),
        Err(error) => errno(error),
    };
    let mut out = std::io::stdout().lock();
    writeln!(out, "{what} {to}: {outcome}")?;
    Ok(out.flush()?)
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
