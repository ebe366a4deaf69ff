//! Makes the rules that its configuration names, each once: what, of whom or what, TTL in ms, errno.
//!
//! ```text
//! open PATH TTL ERRNO          deny opening a file, once it was opened
//! audit PATH TTL ERRNO         the same, in audit mode
//! exec PATH TTL ERRNO          deny running a file, once it ran
//! process PATH TTL ERRNO       deny connects of a process that runs PATH
//! lineage PATH TTL ERRNO       deny connects of a process that runs PATH, and of its children
//! forebear PATH TTL ERRNO      deny opens of a process that runs PATH, once a descendant executes something
//! clan PATH TTL ERRNO          the same, of its lineage
//! network ADDR/BITS:PORT TTL ERRNO   deny a destination from the start
//! kill PATH 0 0                kill a process that runs PATH
//! ```

use std::net::IpAddr;
use std::time::Duration;

use krsi_plugin::{
    Connect, Ctx, Errno, Exec, FileOpen, Hook, Level, Manifest, Meta, Outcome, Plugin, Severity,
};

struct Line {
    verb: String,
    object: String,
    ttl: Duration,
    errno: Errno,
    done: bool,
}

struct Sentry {
    lines: Vec<Line>,
}

impl Plugin for Sentry {
    fn manifest() -> Manifest {
        let hooks = [Hook::BprmCheckSecurity, Hook::FileOpen, Hook::SocketConnect];
        let manifest = Manifest::new("sentry", "0.1.0")
            .hook(Hook::BprmCommittedCreds)
            .hook(Hook::SchedProcessFork)
            .hook(Hook::SchedProcessExit)
            .deny_by_process()
            .deny_by_lineage()
            .deny_by_file()
            .deny_by_network()
            .kill();
        hooks.into_iter().fold(manifest, |manifest, hook| manifest.hook(hook).deny_hook(hook))
    }

    fn init(config: &[u8], _seed: u64, ctx: &mut Ctx) -> Result<Self, String> {
        let text = std::str::from_utf8(config).map_err(|error| error.to_string())?;
        let lines: Result<Vec<Line>, String> = text.lines().map(Line::parse).collect();
        let lines = lines?;
        for line in lines.iter().filter(|line| line.verb == "network") {
            let (address, prefix, port) = line.destination()?;
            let rule = ctx.deny_network(address, prefix, port).connect();
            rule.ttl(line.ttl).errno(line.errno).because("sentry: network");
        }
        Ok(Self { lines })
    }

    fn exec(&mut self, meta: &Meta, exec: &Exec, ctx: &mut Ctx) {
        for line in self.lines.iter_mut().filter(|line| !line.done) {
            let above = ctx.ancestors(meta.process).find(|process| process.exe == line.object);
            let Some(key) = above.map(|process| process.key) else { continue };
            match line.verb.as_str() {
                "forebear" => line.issue(ctx.deny_process(key).open()),
                "clan" => line.issue(ctx.deny_lineage(key).open()),
                _ => continue,
            }
            line.done = true;
        }
        for line in self.lines.iter_mut().filter(|line| !line.done && line.object == exec.path) {
            match line.verb.as_str() {
                "exec" => line.issue(ctx.deny_file(exec.file).exec()),
                "process" => line.issue(ctx.deny_process(meta.process).connect()),
                "lineage" => line.issue(ctx.deny_lineage(meta.process).connect()),
                "kill" => {
                    ctx.kill(meta.process);
                }
                _ => continue,
            }
            line.done = true;
            ctx.alert(
                "T1059",
                Severity::Low,
                meta.process,
                format!("saw {} {}", line.verb, exec.path),
            );
        }
    }

    fn file_open(&mut self, _meta: &Meta, open: &FileOpen, ctx: &mut Ctx) {
        for line in self.lines.iter_mut().filter(|line| !line.done && line.object == open.path) {
            match line.verb.as_str() {
                "open" => line.issue(ctx.deny_file(open.file).open()),
                "audit" => line.issue(ctx.deny_file(open.file).open().audit()),
                _ => continue,
            }
            line.done = true;
        }
    }

    fn connect(&mut self, _meta: &Meta, _connect: &Connect, _ctx: &mut Ctx) {}

    fn outcome(&mut self, outcome: &Outcome, ctx: &mut Ctx) {
        if let Some(refusal) = outcome.refusal {
            ctx.log(Level::Warn, format!("refused: {refusal:?} {}", outcome.detail));
        }
    }
}

impl Line {
    fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not VERB OBJECT TTL ERRNO");
        let mut words = text.split_whitespace();
        let mut word = || words.next().ok_or_else(wrong);
        let (verb, object) = (word()?.to_owned(), word()?.to_owned());
        let ttl = Duration::from_millis(word()?.parse().map_err(|_| wrong())?);
        let errno = Errno(word()?.parse().map_err(|_| wrong())?);
        Ok(Self { verb, object, ttl, errno, done: false })
    }

    fn destination(&self) -> Result<(IpAddr, u8, u16), String> {
        let wrong = || format!("{:?} is not ADDR/BITS:PORT", self.object);
        let (network, port) = self.object.rsplit_once(':').ok_or_else(wrong)?;
        let (address, prefix) = network.split_once('/').ok_or_else(wrong)?;
        let address = address.parse().map_err(|_| wrong())?;
        Ok((address, prefix.parse().map_err(|_| wrong())?, port.parse().map_err(|_| wrong())?))
    }

    fn issue(&self, rule: krsi_plugin::RuleBuilder<'_>) {
        let ttl = rule.ttl(self.ttl).errno(self.errno);
        ttl.because(format!("sentry: {} {}", self.verb, self.object));
    }
}

krsi_plugin::export!(Sentry);
