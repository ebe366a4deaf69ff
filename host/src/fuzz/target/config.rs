//! Configuration files: whatever they say, settings or an error that names what is wrong.

use std::io::Write;
use std::os::fd::AsRawFd;
use std::time::Duration;

use crate::config::{Config, Format, ModeArg, Settings, Source};
use crate::error_chain::chain;
use crate::output::Colour;
use crate::plugin::CompileLimits;

use crate::fuzz::engine::{FuzzOutcome, FuzzTarget, outcome, words};

pub(crate) const TARGET: FuzzTarget = FuzzTarget {
    name: "configuration",
    seeds,
    words: &[
        "[defaults]\n",
        "[plugin.a]\n",
        "[rules]\n",
        "[rules.on-error]\n",
        "[rules.capacity]\n",
        "kill = true\n",
        "errnos = [\"EPERM\"]\n",
        "memory-mib = 64\n",
        "scope = \"cgroup:/a\"\n",
        "mode = \"audit\"\n",
        "= 0\n",
        "18446744073709551615",
        "-1",
        "1e9",
        "\"\"\"",
        "[[",
        "]]",
        "\\u0000",
        "inf",
        "broad = true\n",
    ],
    run,
    slow: Duration::from_secs(10),
    longest: 4096,
};

fn seeds() -> Vec<Vec<u8>> {
    [
        "[defaults]\nmemory-mib = 64\n[plugin.miner]\nkill = true\nerrnos = [\"EPERM\", \"EACCES\"]\nmax-ttl-s = 3600\n\
         scope = \"cgroup:/user.slice\"\n",
        "[plugin.a]\nhooks = [\"file_open\"]\ndeny-hooks = [\"file_open\"]\ndeny-keys = [\"file\", \"path\"]\n\
         mode = \"audit\"\nbroad = true\ndeep = true\npermanent = true\n",
        "[plugin.a]\nfile = \"/etc/a.wasm\"\nsha256 = \"0\"\nkey = \"/k\"\nstack-kib = 64\ndeadline-ms = 1\nfaults = 1\n",
        "[rules]\nexempt-executables = [\"/bin/sh\"]\nexempt-uids = [0]\nexempt-cgroups = [\"/a\"]\n\
         exempt-tgids = [1]\ndigest-mib = 256\n[rules.on-error]\nsocket_connect = \"deny EACCES\"\n\
         [rules.capacity]\nfile = 16384\n",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}

/// A file that says so, as from a pipe.
fn source(text: &[u8]) -> Source {
    let (reader, mut writer) = std::io::pipe().unwrap();
    // A pipe holds as much.
    let text = text.get(..text.len().min(60 << 10)).unwrap_or_default();
    writer.write_all(text).unwrap();
    drop(writer);
    Source::open(format!("/proc/self/fd/{}", reader.as_raw_fd()).into()).unwrap()
}

fn run(input: &[u8]) -> FuzzOutcome {
    let config = Config {
        plugins: Vec::new(),
        plugin_dirs: Vec::new(),
        shadows: Vec::new(),
        format: Format::Terminal(Colour::Off),
        ring_bytes: 1 << 20,
        backend: None,
        mode: ModeArg::Enforce,
        watches: Vec::new(),
        without: Vec::new(),
        witness: false,
        base: Settings::default(),
        file: Some(source(input)),
        compile: CompileLimits::default(),
        cache: None,
        require_signed: None,
        allow_writable: false,
        control: None,
        ready_file: None,
        flight: None,
        record: None,
    };
    let policies = match config.policies() {
        Ok(policies) => policies,
        Err(error) => return words(&chain(&error)),
    };
    let names: Vec<String> = policies.named().map(str::to_owned).collect();
    let of = |name: &str| {
        let settings = policies.of(name).map_err(|error| chain(&error))?;
        let limits = settings.limits;
        assert!(limits.memory_bytes > 0 && limits.queue_records > 0, "{limits:?}");
        Ok::<_, String>(settings.grant.kill)
    };
    let kills: Vec<_> = names.iter().map(String::as_str).chain(["a", "miner"]).map(of).collect();
    let exempt = format!("{:?}", policies.rules()).len().min(64);
    outcome((names.len(), kills.len(), kills.into_iter().flatten().any(|kill| kill), exempt))
}
