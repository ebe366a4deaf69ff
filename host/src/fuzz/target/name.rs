//! Paths and names in reports: one record is one line, and of two names never the same word.

use std::time::Duration;

use crate::output::{
    AlertReport, CallObject, Colour, Decider, EvidenceReport, FailureReport, FieldValue, Json,
    Output, RefusalReport, Report, RuleEndReport, RuleReport, Terminal, VerdictReport, WatchReport,
};
use crate::text::{Escaped, Quoted, cut};

use crate::fuzz::engine::{FuzzOutcome, FuzzTarget, outcome};

pub(crate) const TARGET: FuzzTarget = FuzzTarget {
    name: "paths and names",
    seeds: || {
        vec![
            b"/etc/shadow".to_vec(),
            b"x uid=0 name=/etc/shadow".to_vec(),
            "日本 päth".as_bytes().to_vec(),
        ]
    },
    words: &[
        "\n",
        "\r",
        "\u{1b}[2J",
        "\u{202e}",
        "\u{200b}",
        "\u{2028}",
        "\u{85}",
        "\\",
        "\\n",
        "\\u{a}",
        "\"",
        "'",
        " ",
        "=",
        "-",
        "?",
        "\0",
        "\u{e0001}",
        "\u{fe0f}",
        "DENIED",
        "é",
    ],
    run,
    slow: Duration::from_secs(10),
    longest: 512,
};

/// What an escaped text was.
fn meant(text: &str) -> String {
    let (mut out, mut letters) = (String::new(), text.chars());
    while let Some(letter) = letters.next() {
        if letter != '\\' {
            out.push(letter);
            continue;
        }
        out.push(match letters.next().unwrap() {
            'n' => '\n',
            't' => '\t',
            'r' => '\r',
            'u' => {
                let digits: String = letters.by_ref().skip(1).take_while(|at| *at != '}').collect();
                char::from_u32(u32::from_str_radix(&digits, 16).unwrap()).unwrap()
            }
            same @ ('\\' | '"') => same,
            other => panic!("\\{other} in {text:?}"),
        });
    }
    out
}

fn reports(name: &str, other: &str) -> Vec<Report> {
    let (a, b) = (|| name.to_owned(), || other.to_owned());
    vec![
        Report::Alert(AlertReport {
            unix_ns: 0,
            plugin: a(),
            technique: b(),
            severity: "low",
            tgid: 1,
            exe: a(),
            text: b(),
            evidence: vec![EvidenceReport { what: a(), weight: 1 }],
        }),
        Report::Verdict(VerdictReport {
            unix_ns: i64::MAX,
            verdict: "denied",
            hook: "file_open".into(),
            errno: "EPERM".into(),
            object: CallObject::Name(a()),
            tgid: 1,
            uid: 0,
            comm: b(),
            exe: a(),
            cgroup: b(),
            labels: vec![a()],
            rule_id: u64::MAX,
            plugin: a(),
            reason: b(),
            until_unix_ns: Some(i64::MIN),
            decided_by: Decider::Rule,
            ending: a(),
        }),
        watch(name, other),
        Report::Rule(RuleReport { unix_ns: 0, rule_id: 1, plugin: a(), text: b(), reason: a() }),
        Report::RuleEnd(RuleEndReport {
            unix_ns: 0,
            rule_id: 1,
            plugin: a(),
            text: b(),
            reason: a(),
            ending: b(),
            hits: 1,
        }),
        Report::Refusal(RefusalReport { unix_ns: 0, plugin: a(), token: 1, reason: b() }),
        Report::Failure(FailureReport {
            unix_ns: 0,
            plugin: a(),
            reason: b(),
            rules: a(),
            backtrace: vec![b(), a()],
        }),
    ]
}

fn watch(name: &str, other: &str) -> Report {
    let (a, b) = (|| name.to_owned(), || other.to_owned());
    let fields = vec![(a(), FieldValue::Text(b())), (b(), FieldValue::Absent)];
    Report::Watch(WatchReport {
        unix_ns: 0,
        watch: 1,
        hook: a(),
        fields,
        verdict: "",
        tgid: 1,
        uid: 0,
        comm: a(),
        exe: b(),
        labels: vec![a()],
        gave_labels: vec![b()],
    })
}

fn run(input: &[u8]) -> FuzzOutcome {
    let text = String::from_utf8_lossy(input);
    let half = cut(&text, text.len() / 2);
    assert!(text.starts_with(half));
    let (name, other) = text.split_at(half.len());
    for part in [name, other] {
        let escaped = Escaped(part).to_string();
        assert!(!escaped.contains(|letter: char| letter.is_control()), "{escaped:?}");
        assert_eq!(meant(&escaped), part);
        let quoted = Quoted(part).to_string();
        let inside = quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        match inside {
            Some(inside) => assert_eq!(meant(inside), part),
            // One word, and nothing but itself.
            None => assert!(
                quoted == part && !part.is_empty() && !part.contains([' ', '=', '"']),
                "{quoted}"
            ),
        }
    }
    let mut lines = 0;
    let (mut terminal, mut json) = (Terminal::new(Colour::Off), Json);
    for report in reports(name, other) {
        let mut text = Vec::new();
        terminal.write(&report, &mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        let count = text.lines().count();
        assert!(text.is_empty() || text.ends_with('\n'));
        assert!(count <= 1, "{count} lines: {text}");
        assert!(!text.contains(|letter: char| letter.is_control() && letter != '\n'), "{text:?}");
        lines += count;
        let mut text = Vec::new();
        json.write(&report, &mut text).unwrap();
        assert_eq!(text.iter().filter(|byte| **byte == b'\n').count(), 1);
        let value: serde_json::Value = serde_json::from_slice(&text).unwrap();
        assert!(value["kind"].is_string());
    }
    outcome((lines, name.len().min(16), Quoted(name).to_string().len() - name.len().min(64)))
}
