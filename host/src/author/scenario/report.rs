//! Results of scenarios, for people, for JUnit's readers, and for GitHub's.

use std::fmt::Write;

use super::mutate::WANTED_PERCENT;
use super::run::{Case, TestResults};
use crate::text::{Escaped, Quoted};

/// What became of scenarios, in lines for people.
#[must_use]
pub(crate) fn text(tested: &TestResults) -> String {
    let mut out = String::new();
    for case in &tested.cases {
        let (kind, name) = (case.kind.name(), Quoted(&case.name));
        let word = if case.failures.is_empty() { "ok" } else { "FAILED" };
        // Writing to a String cannot fail, here and below.
        let _ok = writeln!(out, "{kind:<9} {name}: {word}");
        for failure in &case.failures {
            let _ok = writeln!(out, "    {}", Escaped(failure));
        }
        details(&mut out, case);
    }
    for untested in &tested.untested {
        let _ok = writeln!(out, "untested: {}", Escaped(untested));
    }
    let failed = tested.cases.iter().filter(|case| !case.failures.is_empty()).count();
    let _ok = writeln!(out, "{} scenarios, {failed} failed", tested.cases.len());
    let (killed, tried) = tested.score();
    if let Some(percent) = (killed * 100).checked_div(tried) {
        let _ok =
            write!(out, "mutation score {percent} %: {killed} of {tried} changes are noticed");
        out.push_str(if percent < WANTED_PERCENT {
            ", too few: see the survivors\n"
        } else {
            "\n"
        });
    }
    out
}

fn details(out: &mut String, case: &Case) {
    let Some(mutations) = &case.mutations else { return };
    let (killed, tried) = (mutations.killed, mutations.tried());
    let _ok =
        writeln!(out, "    {killed} of {tried} changes are noticed, {} variants", case.variants);
    if !mutations.needless.is_empty() {
        let acts: Vec<String> = mutations.needless.iter().map(ToString::to_string).collect();
        let _ok = writeln!(out, "    found without acts {}", acts.join(", "));
    }
    for survivor in &mutations.survivors {
        let _ok = writeln!(out, "    survives: {}", Escaped(survivor));
    }
}

/// A JUnit file, one case for each scenario and for what is untested.
#[must_use]
pub(crate) fn junit(plugin: &str, tested: &TestResults) -> String {
    let failures = tested.cases.iter().filter(|case| !case.failures.is_empty()).count();
    let (count, failures) =
        (tested.cases.len() + tested.untested.len(), failures + tested.untested.len());
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let name = Xml(plugin);
    let _ok = writeln!(
        out,
        "<testsuites name=\"{name}\" tests=\"{count}\" failures=\"{failures}\" errors=\"0\">\n\
         <testsuite name=\"{name}\" tests=\"{count}\" failures=\"{failures}\" errors=\"0\" disabled=\"0\">"
    );
    for case in &tested.cases {
        let seconds = case.took.as_secs_f64();
        let (kind, name) = (case.kind.name(), Xml(&case.name));
        let _ok =
            write!(out, "<testcase classname=\"{kind}\" name=\"{name}\" time=\"{seconds:.3}\"");
        ended(&mut out, &case.failures.join("\n"));
    }
    for untested in &tested.untested {
        let _ok = write!(
            out,
            "<testcase classname=\"untested\" name=\"{}\" time=\"0.000\"",
            Xml(untested)
        );
        ended(&mut out, untested);
    }
    out.push_str("</testsuite>\n</testsuites>\n");
    out
}

fn ended(out: &mut String, failure: &str) {
    if failure.is_empty() {
        out.push_str("/>\n");
    } else {
        let first = failure.lines().next().unwrap_or_default();
        let _ok = writeln!(
            out,
            ">\n<failure message=\"{}\">{}</failure>\n</testcase>",
            Xml(first),
            Xml(failure)
        );
    }
}

/// A text within XML: what XML 1.0 has no place for is shown as what it is not.
struct Xml<'a>(&'a str);

impl std::fmt::Display for Xml<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.chars().try_for_each(|letter| match letter {
            '<' => f.write_str("&lt;"),
            '>' => f.write_str("&gt;"),
            '&' => f.write_str("&amp;"),
            '"' => f.write_str("&quot;"),
            '\n' => f.write_str("&#10;"),
            letter if letter.is_control() || matches!(letter, '\u{fffe}' | '\u{ffff}') => {
                f.write_char('\u{fffd}')
            }
            letter => f.write_char(letter),
        })
    }
}

/// Annotations of GitHub's workflows, a line each.
#[must_use]
pub(crate) fn github(tested: &TestResults) -> String {
    let mut out = String::new();
    for case in &tested.cases {
        let file = WorkflowText(&case.file.to_string_lossy()).to_string();
        for failure in &case.failures {
            let (name, failure) = (WorkflowText(&case.name), WorkflowText(failure));
            let _ok = writeln!(out, "::error file={file},title={name}::{failure}");
        }
        let survivors = case.mutations.iter().flat_map(|mutations| &mutations.survivors);
        for survivor in survivors {
            let (name, survivor) = (WorkflowText(&case.name), WorkflowText(survivor));
            let _ok = writeln!(out, "::warning file={file},title={name}::survives: {survivor}");
        }
    }
    for untested in &tested.untested {
        let _ok = writeln!(out, "::error title=untested::{}", WorkflowText(untested));
    }
    out
}

/// A text within a command of GitHub's workflows.
struct WorkflowText<'a>(&'a str);

impl std::fmt::Display for WorkflowText<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.chars().try_for_each(|letter| match letter {
            '%' => f.write_str("%25"),
            '\n' => f.write_str("%0A"),
            '\r' => f.write_str("%0D"),
            ':' => f.write_str("%3A"),
            ',' => f.write_str("%2C"),
            letter => f.write_char(letter),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::file::Kind;
    use super::super::mutate::Mutations;
    use super::*;

    fn tested() -> TestResults {
        let case = |name: &str, failures: &[&str], mutations| Case {
            file: "scenarios/a.toml".into(),
            kind: Kind::Attack,
            name: name.into(),
            failures: failures.iter().map(|text| (*text).to_owned()).collect(),
            took: Duration::from_millis(12),
            mutations,
            variants: 1,
        };
        let survivors = vec!["act 1 is left out".to_owned()];
        let mutations = Mutations { killed: 1, survivors, needless: vec![2] };
        TestResults {
            cases: vec![
                case("a \"<b>\"", &[], Some(mutations)),
                case("c", &["x: y\nz\u{1b}"], None),
            ],
            untested: vec!["no [[baseline]]".to_owned()],
        }
    }

    #[test]
    fn every_reader_gets_one_line_or_element_for_each() {
        let shown = text(&tested());
        for line in [
            "attack    \"a \\\"<b>\\\"\": ok",
            "    1 of 2 changes are noticed, 1 variants",
            "    found without acts 2",
            "    survives: act 1 is left out",
            "    x: y\\nz\\u{1b}",
            "untested: no [[baseline]]",
            "2 scenarios, 1 failed",
            "mutation score 50 %: 1 of 2 changes are noticed, too few: see the survivors",
        ] {
            assert!(shown.lines().any(|shown| shown == line), "no {line} in\n{shown}");
        }
        let xml = junit("p", &tested());
        assert!(xml.contains("tests=\"3\" failures=\"2\""), "{xml}");
        assert!(xml.contains("name=\"a &quot;&lt;b&gt;&quot;\" time=\"0.012\"/>"), "{xml}");
        assert!(xml.contains("<failure message=\"x: y\">x: y&#10;z\u{fffd}</failure>"), "{xml}");
        let lines = github(&tested());
        assert!(
            lines.contains("::error file=scenarios/a.toml,title=c::x%3A y%0Az\u{1b}\n"),
            "{lines}"
        );
        assert!(lines.contains("::warning file=scenarios/a.toml"), "{lines}");
    }
}
