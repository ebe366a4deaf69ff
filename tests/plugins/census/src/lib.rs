//! Counts opens of `…/seq-N` and carries the counts from version to version.
//!
//! An exec of `…/report-me` raises an alert with the counts, one of `…/trap-me` traps, an open of
//! `…/deny-me` is denied from then on. Each loss raises an alert with what was lost so far. Its configuration is a destination that `init` denies, or
//! empty. Version and temper are patched into the binary by tests.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::Duration;

use krsi_plugin::{
    Ctx, Errno, Exec, FileOpen, Hook, Lost, Manifest, Meta, MetricKind, Outcome, Plugin,
    ProcessKey, Severity,
};

/// Patched to other versions.
static VERSION: [u8; 7] = *b"1.0.000";
/// Patched to `TRAP-NOW` for a version that fails at its first open, `TRAP-OLD` for one that takes no state,
/// `TRAP-LES` for one that asks for less and fails at its first exec, and `WATCHING` for one with a watch.
static TEMPER: [u8; 8] = *b"TRAP-OFF";

struct Census {
    version: String,
    all: u64,
    opens: u64,
    sum: u64,
    squares: u64,
    by_version: BTreeMap<String, u64>,
    refused: u64,
    /// Whether `deny-me` is denied already; 1 or 0.
    denied: u64,
    /// Records lost since this instance started, by hook and place.
    lost: BTreeMap<String, u64>,
}

impl Plugin for Census {
    fn manifest() -> Manifest {
        let asked = Manifest::new("census", &version()).hook(Hook::BprmCommittedCreds);
        let asked = match black_box(&TEMPER) {
            b"TRAP-LES" => return asked,
            b"WATCHING" => asked.watch("inode_getattr: path"),
            _ => asked,
        };
        asked
            .hook(Hook::FileOpen)
            .deny_by_file()
            .deny_by_network()
            .deny_hook(Hook::FileOpen)
            .deny_hook(Hook::SocketConnect)
    }

    fn init(config: &[u8], _seed: u64, ctx: &mut Ctx) -> Result<Self, String> {
        let text = std::str::from_utf8(config).map_err(|error| error.to_string())?.trim();
        if let Some((address, port)) = text.rsplit_once(':') {
            let address = address.parse().map_err(|_| format!("{address:?} is no address"))?;
            let port = port.parse().map_err(|_| format!("{port:?} is no port"))?;
            let rule = ctx.deny_network(address, 32, port).connect().errno(Errno::EACCES);
            rule.ttl(Duration::from_secs(3600)).because("census: configured");
        }
        Ok(Self {
            version: version(),
            all: 0,
            opens: 0,
            sum: 0,
            squares: 0,
            by_version: BTreeMap::new(),
            refused: 0,
            denied: 0,
            lost: BTreeMap::new(),
        })
    }

    fn exec(&mut self, meta: &Meta, exec: &Exec, ctx: &mut Ctx) {
        if black_box(&TEMPER) == b"TRAP-LES" {
            panic!("told to trap at the first exec");
        }
        self.all += 1;
        if exec.path.ends_with("/trap-me") {
            panic!("told to trap by {}", exec.path);
        }
        if exec.path.ends_with("/report-me") {
            let versions: Vec<String> = self
                .by_version
                .iter()
                .map(|(version, count)| format!("{version}={count}"))
                .collect();
            let known = ctx.process(meta.process).is_some();
            let text = format!(
                "by {} all {} opens {} sum {} squares {} refused {} known {known} versions {}",
                self.version,
                self.all,
                self.opens,
                self.sum,
                self.squares,
                self.refused,
                versions.join(",")
            );
            ctx.metric("reports", MetricKind::Counter, 1.0);
            ctx.metric("opens", MetricKind::Gauge, self.opens as f64);
            ctx.alert("T1083", Severity::Info, meta.process, text);
        }
    }

    fn file_open(&mut self, _meta: &Meta, open: &FileOpen, ctx: &mut Ctx) {
        if black_box(&TEMPER) == b"TRAP-NOW" {
            panic!("told to trap at the first open");
        }
        self.all += 1;
        if self.denied == 0 && open.path.ends_with("/deny-me") {
            self.denied = 1;
            let rule = ctx.deny_file(open.file).open().errno(Errno::EACCES);
            rule.ttl(Duration::from_secs(3600)).because("census: deny-me");
        }
        let Some((_, number)) = open.path.rsplit_once("/seq-") else { return };
        let Ok(number) = number.parse::<u64>() else { return };
        self.opens += 1;
        self.sum += number;
        self.squares = self.squares.wrapping_add(number.wrapping_mul(number));
        *self.by_version.entry(self.version.clone()).or_default() += 1;
    }

    fn outcome(&mut self, outcome: &Outcome, _ctx: &mut Ctx) {
        self.refused += u64::from(outcome.refusal.is_some());
    }

    fn lost(&mut self, lost: &Lost, ctx: &mut Ctx) {
        let what = format!("{} {:?}", lost.of.hook().map_or("any", Hook::name), lost.place);
        let text = format!("lost {what} ");
        let count = self.lost.entry(what).or_default();
        *count += lost.records;
        ctx.alert("", Severity::Info, ProcessKey::default(), format!("{text}{count}"));
    }

    fn snapshot(&self) -> Vec<u8> {
        let numbers = [self.all, self.opens, self.sum, self.squares, self.refused, self.denied];
        let mut text = numbers.map(|number| number.to_string()).join(" ");
        for (version, count) in &self.by_version {
            text.push_str(&format!(" {version}={count}"));
        }
        text.into_bytes()
    }

    fn restore(&mut self, from: &str, state: &[u8]) -> Result<(), String> {
        if black_box(&TEMPER) == b"TRAP-OLD" {
            return Err(format!("a state of {from} is not understood"));
        }
        let wrong = || String::from("not a census");
        let text = std::str::from_utf8(state).map_err(|_| wrong())?;
        let mut words = text.split(' ');
        let mut number =
            || words.next().and_then(|word| word.parse::<u64>().ok()).ok_or_else(wrong);
        (self.all, self.opens, self.sum) = (number()?, number()?, number()?);
        (self.squares, self.refused, self.denied) = (number()?, number()?, number()?);
        for word in words {
            let (version, count) = word.split_once('=').ok_or_else(wrong)?;
            self.by_version.insert(version.into(), count.parse().map_err(|_| wrong())?);
        }
        Ok(())
    }
}

fn version() -> String {
    String::from_utf8_lossy(black_box(&VERSION)).into_owned()
}

krsi_plugin::export!(Census);
