//! A plugin as its author makes it: `krsi-host plugin new`, its scenarios, `build`, `inspect` and `check`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const HOST: &str = env!("CARGO_BIN_EXE_krsi-host");

/// A folder of its own, empty.
fn folder(name: &str) -> io::Result<PathBuf> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// A command as its author would run it: nothing is known of the flags of this run.
fn command(program: impl AsRef<OsStr>, folder: &Path) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        let is_of_this_run =
            text.starts_with("CARGO_TARGET_") || text.starts_with("CARGO_PROFILE_");
        if is_of_this_run
            || matches!(&*text, "RUSTFLAGS" | "CARGO_ENCODED_RUSTFLAGS" | "RUSTUP_TOOLCHAIN")
        {
            command.env_remove(&name);
        }
    }
    command.current_dir(folder);
    command
}

/// `krsi-host plugin` with some words, in a folder.
fn plugin(folder: &Path, words: &[&str]) -> io::Result<Output> {
    command(HOST, folder).arg("plugin").args(words).output()
}

fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

/// The author's own `cargo test`.
fn scenarios(folder: &Path) -> io::Result<Output> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    command(cargo, folder).arg("test").output()
}

/// Of a plugin that was built: its scenarios pass, and what is wrong with others is told.
fn scenarios_are_played_as_wasm(own: &Path) {
    // Its scenarios pass, and each change of the attack is noticed.
    let words = ["test", ".", "--no-native", "--as-root", "--junit", "junit.xml"];
    let tested = plugin(own, &words).unwrap();
    let text = said(&tested);
    assert!(tested.status.success(), "{text}");
    assert!(
        text.contains("3 scenarios, 0 failed") && text.contains("mutation score 100 %"),
        "{text}"
    );
    let xml = fs::read_to_string(own.join("junit.xml")).unwrap();
    assert!(xml.contains("tests=\"3\" failures=\"0\""), "{xml}");
    // A plugin that finds the twin too, and one that finds nothing, fail, each by name.
    let scenarios = own.join("scenarios/shared_memory.toml");
    let acts = fs::read_to_string(&scenarios).unwrap();
    let module = ["test", ".", "--no-native", "--plugin", "no-shm.wasm", "--github"];
    for (now, told) in [
        (acts.replace("/usr/bin/x", "/dev/shm/y"), "an alert T1059 that is not expected"),
        (acts.replace("/dev/shm/x\", argv", "/opt/x\", argv"), "no alert T1059: it raised none"),
        (acts.replace("[[baseline]]", "[[benign]]"), "untested: no [[baseline]]"),
    ] {
        fs::write(&scenarios, now).unwrap();
        let failed = plugin(own, &module).unwrap();
        let text = said(&failed);
        assert_eq!(failed.status.code(), Some(5), "{text}");
        assert!(text.contains(told) && text.contains("::error"), "no {told} in {text}");
    }
    // A change that is not noticed is a survivor.
    let irrelevant = acts.replacen("argv = [\"x\"] }", "argv = [\"y\"] }", 1);
    fs::write(&scenarios, irrelevant).unwrap();
    let text = said(&plugin(own, &module).unwrap());
    assert!(text.contains("survives: `argv` of act 1 is the twin's"), "{text}");
    fs::write(&scenarios, acts).unwrap();
}

/// Scenarios of the new plugin that say less than they seem to.
fn what_was_not_played_counts_for_nothing(own: &Path) {
    let scenarios = own.join("scenarios/shared_memory.toml");
    let acts = fs::read_to_string(&scenarios).unwrap();
    let module = ["test", ".", "--no-native", "--plugin", "no-shm.wasm"];
    // The only act, and the one that must be refused, cannot be left out; `exec` alone is the twin's.
    let one = r#"
[[attack]]
name = "a"
alerts = ["T1059"]
acts = [{ exec = "/dev/shm/x" }]
[[benign]]
name = "b"
twin_of = "a"
acts = [{ open = "/dev/shm/x" }]
[[baseline]]
name = "c"
acts = [{ exec = "/bin/ls" }]
"#;
    fs::write(&scenarios, one).unwrap();
    let text = said(&plugin(own, &module).unwrap());
    assert!(text.contains("    0 of 0 changes are noticed"), "{text}");
    assert!(!text.contains("mutation score"), "{text}");
    // Two attacks that name each other have no twin.
    let mutual = r#"
[[attack]]
name = "a"
variant_of = "b"
alerts = ["T1059"]
acts = [{ exec = "/dev/shm/x" }]
[[attack]]
name = "b"
variant_of = "a"
alerts = ["T1059"]
acts = [{ exec = "/dev/shm/y" }]
[[baseline]]
name = "c"
acts = [{ exec = "/bin/ls" }]
"#;
    fs::write(&scenarios, mutual).unwrap();
    let failed = plugin(own, &module).unwrap();
    assert_eq!(failed.status.code(), Some(5), "{}", said(&failed));
    assert!(said(&failed).contains("\"a\" is named by `variant_of`"), "{}", said(&failed));
    fs::write(&scenarios, acts).unwrap();
}

/// The page that leads an author from nothing to a plugin.
const PAGE: &str = include_str!("../../docs/authoring.md");

/// The commands of each `console` block of the page, each with the lines that it says are printed. Left out are those
/// that need root or an incident.
fn sessions() -> Vec<Vec<(&'static str, Vec<&'static str>)>> {
    let mut sessions = Vec::new();
    for block in PAGE.split("```console\n").skip(1) {
        let text = block.split("```").next().unwrap();
        let mut commands: Vec<(&str, Vec<&str>)> = Vec::new();
        for line in text.lines() {
            match (line.strip_prefix("$ "), commands.last_mut()) {
                (Some(command), _) => commands.push((command, Vec::new())),
                (None, Some((_, printed))) => printed.push(line),
                (None, None) => assert!(line.is_empty(), "{line:?} is printed by no command"),
            }
        }
        let is_left_out =
            |(command, _): &(&str, _)| command.starts_with("sudo") || command.contains(" replay ");
        if !commands.iter().any(is_left_out) {
            sessions.push(commands);
        }
    }
    sessions
}

/// A line with each number and the folder of its author as one sign: they differ from machine to machine.
fn shape(line: &str, parent: &Path) -> String {
    let line = line.replace(&*parent.to_string_lossy(), "/home/you");
    let mut shape = String::new();
    for sign in line.trim_end().chars() {
        match sign {
            '0'..='9' if shape.ends_with('#') => {}
            '0'..='9' => shape.push('#'),
            other => shape.push(other),
        }
    }
    shape
}

/// Does what the page says, word by word, and sees printed what it says is printed.
fn follow_the_page(parent: &Path) {
    let sessions = sessions();
    assert!(sessions.len() >= 3, "{sessions:?}");
    let mut folder = parent.to_path_buf();
    for (command, printed) in sessions.into_iter().flatten() {
        let words: Vec<&str> = command.split_whitespace().collect();
        let output = match words[..] {
            ["cd", name] => {
                folder.push(name);
                continue;
            }
            ["cargo", "test"] => scenarios(&folder),
            // Tests run as root, whom it is refused unless asked for.
            ["krsi-host", "plugin", verb @ ("build" | "test")] => {
                plugin(&folder, &[verb, "--as-root"])
            }
            ["krsi-host", "plugin", ref words @ ..] => plugin(&folder, words),
            _ => Err(io::Error::other(format!("this test cannot run {command:?}"))),
        };
        let output = output.unwrap();
        let text = said(&output);
        assert!(output.status.success(), "{command}: {text}");
        let mut lines = text.lines().map(|line| shape(line, parent));
        for line in printed.into_iter().filter(|line| line.trim() != "…") {
            let wanted = shape(line, parent);
            assert!(lines.any(|line| line == wanted), "{command} prints no {line:?}: {text}");
        }
    }
}

#[test]
fn the_page_leads_to_a_plugin_that_passes_its_scenarios() {
    let parent = folder("authoring").unwrap();
    follow_the_page(&parent);
    let own = parent.join("no-shm");
    let passed = said(&scenarios(&own).unwrap());
    assert!(passed.contains("its_benign_twin_is_left_alone ... ok"), "{passed}");
    // What it must find is no longer found: its scenario says so.
    let source = own.join("src/lib.rs");
    let right = fs::read_to_string(&source).unwrap();
    fs::write(&source, right.replace("/dev/shm/", "/dev/other/")).unwrap();
    let failed = scenarios(&own).unwrap();
    assert!(!failed.status.success() && said(&failed).contains("the_act_is_found_and_refused"));
    fs::write(&source, &right).unwrap();

    let file = own.join("no-shm.wasm");
    assert!(fs::metadata(&file).unwrap().len() < 256 << 10);

    scenarios_are_played_as_wasm(&own);
    what_was_not_played_counts_for_nothing(&own);

    let inspected = plugin(&own, &["inspect", "no-shm.wasm", "--output", "json"]).unwrap();
    let description: serde_json::Value = serde_json::from_slice(&inspected.stdout).unwrap();
    assert_eq!(description["hooks"], serde_json::json!(["bprm_committed_creds"]));
    assert_eq!(description["deny_keys"], serde_json::json!(["file"]));
    assert_eq!(description["signature"], false);

    // A watch that this kernel cannot run is named, whatever the kernel.
    let watch = r#".hook(Hook::BprmCommittedCreds).watch("no_such_hook: x")"#;
    fs::write(&source, right.replace(".hook(Hook::BprmCommittedCreds)", watch)).unwrap();
    let built = plugin(&own, &["build", "--as-root"]).unwrap();
    assert!(built.status.success(), "{}", said(&built));
    let checked = plugin(&own, &["check", "no-shm.wasm"]).unwrap();
    assert_eq!(checked.status.code(), Some(3), "{}", said(&checked));
    assert!(said(&checked).contains("no_such_hook"), "{}", said(&checked));

    // A mistake is the compiler's to tell; the module that was there stays.
    fs::write(&source, "not Rust").unwrap();
    let broken = plugin(&own, &["build", "--as-root"]).unwrap();
    assert_eq!(broken.status.code(), Some(4), "{}", said(&broken));
    assert!(said(&broken).contains("error"), "{}", said(&broken));
    assert!(file.is_file());
}

#[test]
fn what_is_no_plugin_is_refused_by_name() {
    let parent = folder("no-plugin").unwrap();
    fs::write(parent.join("text.wasm"), "text").unwrap();
    // The eight bytes of an empty module.
    fs::write(parent.join("empty.wasm"), b"\0asm\x01\0\0\0").unwrap();
    for (words, code, told) in [
        (&["check", "text.wasm"][..], 4, "text.wasm"),
        (&["check", "empty.wasm"], 4, "empty.wasm"),
        (&["inspect", "none.wasm"], 4, "none.wasm: cannot be read"),
        (&["inspect", "."], 4, "."),
        (&["new", "Not A Name"], 2, "no name for a plugin"),
        (&["build", "nowhere", "--as-root"], 2, "no Cargo.toml"),
    ] {
        let output = plugin(&parent, words).unwrap();
        let text = said(&output);
        assert_eq!(output.status.code(), Some(code), "{words:?}: {text}");
        assert!(text.contains(told) && !text.contains("panicked"), "{words:?}: {text}");
    }
    assert_eq!(fs::read_dir(&parent).unwrap().count(), 2);
}

/// Plugins of this project's own.
const OWN: [&str; 4] = ["keys", "miner", "shadow", "web"];

/// They stand up to their scenarios, and to changes of them.
#[test]
fn own_plugins_are_what_their_scenarios_say() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let packages = OWN.map(|name| format!("krsi-plugin-{name}"));
    let built = krsi_toolchain::build_plugins(root, &root.join("target/wasm"), &packages).unwrap();
    for name in OWN {
        let module = built.join(format!("{name}.wasm"));
        let folder = root.join("plugins").join(name);
        let words = ["test", ".", "--no-native", "--plugin", module.to_str().unwrap()];
        let tested = plugin(&folder, &words).unwrap();
        let text = said(&tested);
        assert!(tested.status.success(), "{name}: {text}");
        assert!(text.contains("mutation score 100 %"), "{name}: {text}");
    }
    let found = fs::read_dir(root.join("plugins")).unwrap();
    let mut found: Vec<_> = found.map(|entry| entry.unwrap().file_name()).collect();
    found.sort();
    assert_eq!(found, OWN);
}

/// The code that docs/labels.md explains is that of the plugins.
#[test]
fn the_page_on_labels_shows_the_plugins() {
    let page = include_str!("../../docs/labels.md");
    for source in [
        include_str!("../../plugins/keys/src/lib.rs"),
        include_str!("../../plugins/shadow/src/lib.rs"),
        include_str!("../../plugins/web/src/lib.rs"),
    ] {
        let code = source.split_once("\n\n").unwrap().1;
        let code = code.split("\nkrsi_plugin::export!").next().unwrap();
        assert!(page.contains(code), "docs/labels.md shows something else than {source}");
    }
}

/// A fixture, its configuration, and scenarios that it passes.
fn passes(folder: &Path, fixture: &str, config: &str, scenarios: &str) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let packages = [format!("fixture-{fixture}")];
    let built = krsi_toolchain::build_plugins(root, &root.join("target/wasm"), &packages).unwrap();
    let module = built.join(format!("{fixture}.wasm"));
    fs::create_dir_all(folder.join("scenarios")).unwrap();
    fs::write(folder.join("scenarios/config"), config).unwrap();
    fs::write(folder.join("scenarios/a.toml"), format!("config = \"config\"\n{scenarios}"))
        .unwrap();
    let words = ["test", ".", "--no-native", "--plugin", module.to_str().unwrap()];
    let tested = plugin(folder, &words).unwrap();
    assert!(tested.status.success(), "{}", said(&tested));
    assert!(said(&tested).contains("3 scenarios, 0 failed"), "{}", said(&tested));
}

#[test]
fn scenarios_are_judged_as_the_kernel_judges() {
    let folder = folder("judged").unwrap();
    // A descendant is refused from its first call on, whether its ancestors still run or not; and until the rule ends.
    let lineage = r#"
[[attack]]
name = "a tree that connects"
alerts = ["T1059"]
acts = [
    { exec = "/opt/x", pid = 100 },
    { fork = 200, pid = 100 },
    { fork = 300, pid = 200 },
    { exit = 0, pid = 100 },
    { exit = 0, pid = 200 },
    { connect = "10.0.0.1:80", pid = 300, refused = true },
    { connect = "10.0.0.1:80", pid = 301, parent = 300, refused = true },
    { connect = "10.0.0.1:80", pid = 400 },
    { connect = "10.0.0.1:80", pid = 300, after_ms = 60000 },
]
[[benign]]
name = "another tree"
twin_of = "a tree that connects"
acts = [{ exec = "/opt/y", pid = 100 }, { connect = "10.0.0.1:80", pid = 300, parent = 100 }]
[[baseline]]
name = "time goes on for ever"
acts = [
    { exec = "/bin/ls", after_ms = 9223372036854775807 },
    { exec = "/bin/ls", after_ms = 9223372036854775807 },
    { exec = "/bin/ls", after_ms = 9223372036854775807 },
]
"#;
    passes(&folder.join("lineage"), "sentry", "lineage /opt/x 60000 1", lineage);
    // What has read a secret has a label, and hands it on; files are rules from their first opening on.
    let labels = r#"
[[attack]]
name = "a secret is read"
alerts = ["T1083"]
acts = [
    { open = "/secret", pid = 100 },
    { open = "/target", pid = 100 },
    { open = "/secret", pid = 200 },
    { open = "/target", pid = 200, refused = true },
    { fork = 201, pid = 200 },
    { exit = 0, pid = 200 },
    { open = "/target", pid = 201, refused = true },
    { open = "/target", pid = 300 },
]
[[benign]]
name = "another file is read"
twin_of = "a secret is read"
acts = [{ open = "/other", pid = 100 }]
[[baseline]]
name = "a machine at rest"
acts = [{ exec = "/bin/ls" }]
"#;
    let config = "label keep file_open /secret\ndeny 13 file_open /target if keep";
    passes(&folder.join("labels"), "labeller", config, labels);
}

/// A plugin is sent what its filters let pass, as by the kernel: this one alerts of whatever it is sent.
#[test]
fn a_scenario_sends_what_the_plugins_filters_let_pass() {
    let filtered = r#"
[[attack]]
name = "a connection to the port"
alerts = [""]
acts = [{ exec = "/opt/x", pid = 100 }, { connect = "10.0.0.1:4721", pid = 100 }]
[[benign]]
name = "a connection to another port"
twin_of = "a connection to the port"
acts = [{ exec = "/opt/x", pid = 100 }, { connect = "10.0.0.1:4722", pid = 100 }]
[[baseline]]
name = "opens that cut nothing off, by another user"
acts = [{ exec = "/bin/ls", pid = 100 }, { open = "/etc/passwd", pid = 100 }]
"#;
    passes(&folder("filtered").unwrap(), "sieve", "", filtered);
}
