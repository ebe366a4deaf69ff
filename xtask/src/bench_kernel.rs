//! `cargo xtask bench-kernel`: what ours cost in the kernel, in instructions, beside minimal programs.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use anyhow::{Context, bail, ensure};

use crate::initramfs::Placed;
use crate::{artefact, kernel, setup, verified};

/// Document that holds the table.
const DOCUMENT: &str = "docs/performance.md";
/// The line before it.
const BEGIN: &str = "<!-- cargo xtask bench-kernel --update -->";
/// The line after it.
const END: &str = "<!-- end of cargo xtask bench-kernel -->";
/// Kernels whose clock is steady enough: 6.1 drifts by a third of what a bare program costs.
const KERNELS: [&str; 2] = ["6.12", "7.x"];
/// Seconds until a guest is given up.
const GUEST_SECONDS: &str = "1800";

/// Arguments of `cargo xtask bench-kernel`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only this kernel of tests/kernels.toml.
    #[arg(long)]
    kernel: Option<String>,
    /// Writes the table into docs/performance.md.
    #[arg(long, conflicts_with = "kernel")]
    update: bool,
    /// Measures nothing, and writes what the verifier of each kernel of the matrix goes through into
    /// tests/verified_instructions.toml.
    #[arg(long, conflicts_with_all = ["kernel", "update"])]
    bless: bool,
}

/// Results of one kernel.
struct Measured {
    kernel: String,
    release: String,
    nothing: Vec<Nothing>,
    rows: Vec<Row>,
}

/// An act with nothing attached.
#[derive(Debug, PartialEq)]
struct Nothing {
    hook: String,
    instructions: String,
    moved: String,
}

/// One comparison on one hook.
#[derive(Debug, PartialEq)]
struct Row {
    name: String,
    hook: String,
    target_percent: u32,
    result: Outcome,
}

/// Result of a comparison.
#[derive(Debug, PartialEq)]
enum Outcome {
    /// Instructions that ours added, and the other side.
    Added { ours: f64, against: f64 },
    /// Why nothing was measured.
    NotMeasured(String),
}

/// Boots, measures, prints, and writes if asked.
pub(crate) fn run(root: &Path, args: &Args) -> anyhow::Result<ExitCode> {
    setup::tools()?;
    let driver = artefact::kernel_bench(root)?;
    if args.bless {
        return verified::bless(root, &driver);
    }
    let baselines = krsi_toolchain::build_baselines(root, &root.join("target/bench"))?;
    let baselines = Placed { from: baselines, to: "/krsi/kernel-bench.o".into() };
    let names = args.kernel.as_deref().map_or_else(|| KERNELS.to_vec(), |name| vec![name]);
    let mut measured = Vec::new();
    for name in names {
        for kernel in kernel::named(root, name)? {
            let release = kernel::ensure(&kernel, false)?.release;
            let start = Instant::now();
            let lines = boot(&kernel.name, &driver, &baselines)?;
            eprintln!("xtask: kernel {} took {:.0} s", kernel.name, start.elapsed().as_secs_f64());
            measured.push(parse(&kernel.name, &release, &lines)?);
        }
    }
    let text = table(&measured);
    println!("{text}");
    if args.update {
        let path = root.join(DOCUMENT);
        let document = fs::read_to_string(&path).context(DOCUMENT)?;
        fs::write(&path, updated(&document, &text)?)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The driver's lines; whatever else it says goes to standard error as it comes.
fn boot(kernel: &str, driver: &Placed, baselines: &Placed) -> anyhow::Result<Vec<String>> {
    let mut vm = Command::new(std::env::current_exe()?);
    vm.args(["vm", "--count-instructions", "--kernel", kernel, "--timeout", GUEST_SECONDS]);
    for Placed { from, to } in [driver, baselines] {
        vm.arg("--file").arg(format!("{}={to}", from.display()));
    }
    vm.args(["--", &driver.to]).stdout(Stdio::piped());
    let mut child = vm.spawn()?;
    let mut lines = Vec::new();
    for line in BufReader::new(child.stdout.take().context("its output")?).lines() {
        let line = line?;
        if line.starts_with("KRSI-") {
            lines.push(line);
        } else {
            eprintln!("{kernel}: {line}");
        }
    }
    ensure!(child.wait()?.success(), "the bench failed on kernel {kernel}");
    Ok(lines)
}

fn parse(kernel: &str, release: &str, lines: &[String]) -> anyhow::Result<Measured> {
    let mut measured = Measured {
        kernel: kernel.to_owned(),
        release: release.to_owned(),
        nothing: Vec::new(),
        rows: Vec::new(),
    };
    for line in lines {
        let words: Vec<&str> = line.split('\t').collect();
        match words.as_slice() {
            ["KRSI-NOTHING", hook, instructions, moved] => measured.nothing.push(Nothing {
                hook: (*hook).to_owned(),
                instructions: (*instructions).to_owned(),
                moved: (*moved).to_owned(),
            }),
            ["KRSI-ROW", name, hook, target, result @ ..] => measured.rows.push(Row {
                name: (*name).to_owned(),
                hook: (*hook).to_owned(),
                target_percent: target.parse().with_context(|| line.clone())?,
                result: match result {
                    [ours, against] => {
                        Outcome::Added { ours: ours.parse()?, against: against.parse()? }
                    }
                    [why] => Outcome::NotMeasured((*why).to_owned()),
                    _ => bail!("{line:?} is no row"),
                },
            }),
            _ => bail!("{line:?} is no line of the bench"),
        }
    }
    ensure!(!measured.rows.is_empty(), "the bench said nothing on kernel {kernel}");
    Ok(measured)
}

/// The tables of all kernels.
fn table(measured: &[Measured]) -> String {
    let mut text = String::new();
    for kernel in measured {
        // Writing to a string cannot fail.
        let _written = write!(text, "{}", one(kernel));
    }
    text.trim_end().to_owned()
}

fn one(kernel: &Measured) -> String {
    let mut text = format!("### Kernel {} (`{}`)\n\n", kernel.kernel, kernel.release.trim());
    let nothing = kernel.nothing.iter().map(|act| {
        let Nothing { hook, instructions, moved } = act;
        format!("`{hook}` {instructions} (moved by {moved} in the boot)")
    });
    let nothing = nothing.collect::<Vec<_>>().join(", ");
    text += &format!("With nothing attached, instructions of the act: {nothing}.\n\n");
    text += "| in force | hook | ours | compared with | ratio | aim |\n";
    text += "| --- | --- | --- | --- | --- | --- |\n";
    for row in &kernel.rows {
        let target = f64::from(row.target_percent) / 100.0;
        let cells = match &row.result {
            Outcome::Added { ours, against } => {
                let ratio = ours / against;
                let met = if ratio <= target { "met" } else { "**not met**" };
                format!("+{ours:.0} | +{against:.0} | {ratio:.2} | ≤ {target:.1}: {met}")
            }
            Outcome::NotMeasured(why) => format!("| | | ≤ {target:.1}: not measured, {why}"),
        };
        text += &format!("| {} | `{}` | {cells} |\n", row.name, row.hook);
    }
    text + "\n"
}

/// The document with another table between its marks.
fn updated(document: &str, table: &str) -> anyhow::Result<String> {
    let parts = document.split_once(BEGIN).and_then(|(before, rest)| {
        let (_, after) = rest.split_once(END)?;
        Some(format!("{before}{BEGIN}\n\n{table}\n\n{END}{after}"))
    });
    parts.with_context(|| format!("{DOCUMENT} must hold {BEGIN:?} and {END:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn rows_are_judged_by_their_aim() {
        let said = "KRSI-NOTHING\tfile_open\t5825\t0.5\n\
            KRSI-ROW\tnothing wanted\tfile_open\t130\t200.0\t184.0\n\
            KRSI-ROW\ta record\tfile_open\t150\t1600.0\t1000.0\n\
            KRSI-ROW\tfilter\tfile_open\t160\tno filters";
        let measured = parse("6.12", "linux-6.12\n", &lines(said)).unwrap();
        let text = table(&[measured]);
        for expected in [
            "### Kernel 6.12 (`linux-6.12`)",
            "`file_open` 5825 (moved by 0.5 in the boot)",
            "| nothing wanted | `file_open` | +200 | +184 | 1.09 | ≤ 1.3: met |",
            "| a record | `file_open` | +1600 | +1000 | 1.60 | ≤ 1.5: **not met** |",
            "| filter | `file_open` | | | | ≤ 1.6: not measured, no filters |",
        ] {
            assert!(text.contains(expected), "{expected:?} is not in {text}");
        }
    }

    #[test]
    fn what_is_no_line_of_the_bench_is_refused() {
        for said in ["", "KRSI-ROW\ta\tb\tc\t1.0\t2.0", "KRSI-ROW\ta\tb\t130", "KRSI-OTHER\t1"] {
            assert!(parse("6.12", "linux", &lines(said)).is_err(), "{said:?}");
        }
    }

    #[test]
    fn only_what_stands_between_the_marks_is_replaced() {
        let document = format!("before\n{BEGIN}\nold\n{END}\nafter\n");
        let new = updated(&document, "new").unwrap();
        assert_eq!(new, format!("before\n{BEGIN}\n\nnew\n\n{END}\nafter\n"));
        assert_eq!(updated(&new, "new").unwrap(), new);
        assert!(updated("no marks", "new").is_err());
    }
}
