//! Gives labels, and makes rules that ask for them, as its configuration says: one line for each.
//!
//! ```text
//! label NAME HOOK OBJECT              give whoever makes a call of the hook the label
//! deny ERRNO HOOK OBJECT [if NAME | unless NAME …]
//! ```
//! An object is `every`, `port N`, or a path: then the rule is on the file, and made when the file is first opened.
//! Labels are `keep`, `drop`, `few` and `count`: the first two say what an exec does to them, the others what
//! happens without room.

use std::net::Ipv4Addr;
use std::time::Duration;

use krsi_plugin::{
    Ctx, Errno, FileKey, FileOpen, Hook, LabelExec, LabelFull, Manifest, Meta, Plugin, RuleBuilder,
    Severity,
};

/// Labels that a configuration can name.
const LABELS: [&str; 4] = ["keep", "drop", "few", "count"];

/// Action that a line asks for.
#[derive(Clone)]
enum Verb {
    Label(&'static str),
    Deny { errno: u16, has: Vec<&'static str>, lacks: Vec<&'static str> },
}

/// A line of the configuration.
#[derive(Clone)]
struct Line {
    verb: Verb,
    hook: Hook,
    object: String,
}

struct Labeller {
    /// Lines whose file was not opened yet.
    waiting: Vec<Line>,
}

impl Plugin for Labeller {
    fn manifest() -> Manifest {
        Manifest::new("labeller", "0.1.0")
            .hook(Hook::FileOpen)
            .deny_by_file()
            .deny_by_network()
            .deny_by_hook()
            .deny_hook(Hook::FileOpen)
            .deny_hook(Hook::BprmCheckSecurity)
            .deny_hook(Hook::PathUnlink)
            .deny_hook(Hook::SocketConnect)
            .deny_hook(Hook::SocketSendmsg)
            .label("keep", LabelExec::Keep, LabelFull::Count)
            .label("drop", LabelExec::Drop, LabelFull::Count)
            .label("few", LabelExec::Keep, LabelFull::Refuse)
            .label("count", LabelExec::Keep, LabelFull::Count)
    }

    fn init(config: &[u8], _seed: u64, ctx: &mut Ctx) -> Result<Self, String> {
        let text = std::str::from_utf8(config).map_err(|error| error.to_string())?;
        let mut waiting = Vec::new();
        for text in text.lines() {
            let line = line(text).ok_or_else(|| format!("{text:?} is no line"))?;
            if line.object.starts_with('/') {
                waiting.push(line);
            } else {
                rule(&line, None, ctx).ok_or_else(|| format!("{text:?} has no object"))?;
            }
        }
        Ok(Self { waiting })
    }

    fn file_open(&mut self, meta: &Meta, open: &FileOpen, ctx: &mut Ctx) {
        let is_it = |line: &mut Line| line.object == open.path;
        for line in self.waiting.extract_if(.., is_it) {
            let made = rule(&line, Some(open.file), ctx);
            let told = if made.is_some() { "a rule on" } else { "no rule on" };
            ctx.alert("T1083", Severity::Info, meta.process, format!("{told} {}", line.object));
        }
        if open.path.ends_with("/label-me") {
            ctx.label_lineage(meta.process, "keep");
            ctx.alert("T1083", Severity::Info, meta.process, "labelled");
        }
        if open.path.ends_with("/tell-labels") {
            let (had, gave) = (meta.has_label("keep"), meta.gave_label("keep"));
            ctx.alert("T1083", Severity::Info, meta.process, format!("had {had}, gave {gave}"));
        }
        if meta.gave_label("keep") {
            let had = meta.has_label("keep");
            ctx.alert("T1083", Severity::Info, meta.process, format!("{}: had {had}", open.path));
        }
        if open.path.ends_with("/unlabel-me") {
            ctx.unlabel_lineage(meta.process, "keep");
            ctx.alert("T1083", Severity::Info, meta.process, "no label");
        }
    }
}

fn label(name: &str) -> Option<&'static str> {
    LABELS.into_iter().find(|label| *label == name)
}

fn line(text: &str) -> Option<Line> {
    let mut words = text.split_whitespace();
    let verb = words.next()?;
    let first = words.next()?;
    let hook = Hook::from_name(words.next()?)?;
    let object = words.next()?;
    let object =
        if object == "port" { format!("port {}", words.next()?) } else { object.to_owned() };
    let verb = match verb {
        "label" => Verb::Label(label(first)?),
        "deny" => {
            let (mut has, mut lacks) = (Vec::new(), Vec::new());
            while let Some(word) = words.next() {
                let label = label(words.next()?)?;
                if word == "if" { has.push(label) } else { lacks.push(label) }
            }
            Verb::Deny { errno: first.parse().ok()?, has, lacks }
        }
        _ => return None,
    };
    Some(Line { verb, hook, object })
}

fn rule(line: &Line, file: Option<FileKey>, ctx: &mut Ctx) -> Option<()> {
    let any = (Ipv4Addr::UNSPECIFIED.into(), 0);
    let port = line.object.strip_prefix("port ").map(str::parse).transpose().ok()?;
    let rule = match (&line.verb, port, file) {
        (Verb::Label(label), Some(port), _) => ctx.label_by_network(label, any, port),
        (Verb::Label(label), None, Some(file)) => ctx.label_by_file(label, file),
        (Verb::Label(label), None, None) => ctx.label_by_hook(label),
        (Verb::Deny { .. }, Some(port), _) => ctx.deny_network(any.0, any.1, port),
        (Verb::Deny { .. }, None, Some(file)) => ctx.deny_file(file),
        (Verb::Deny { .. }, None, None) => ctx.deny_hook(),
    };
    let rule = rule.hook(line.hook).ttl(Duration::from_secs(3600));
    let rule = match &line.verb {
        Verb::Label(_) => rule,
        Verb::Deny { errno, has, lacks } => {
            let rule = has.iter().fold(rule, |rule, label| RuleBuilder::if_label(rule, label));
            let rule = lacks.iter().fold(rule, |rule, label| rule.unless_label(label));
            rule.errno(Errno(*errno))
        }
    };
    rule.because(format!("labeller: {}", line.object));
    Some(())
}

krsi_plugin::export!(Labeller);
