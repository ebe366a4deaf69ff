//! A plugin as its author makes it: `krsi-host plugin new`, its scenarios, `build`, `inspect` and `check`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

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

/// `krsi-host plugin` with some words, in a folder.
fn plugin(folder: &Path, words: &[&str]) -> io::Result<Output> {
    Command::new(HOST).current_dir(folder).arg("plugin").args(words).output()
}

fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

/// The author's own `cargo test`, which knows nothing of the flags of this one.
fn scenarios(folder: &Path) -> io::Result<Output> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        let is_of_this_run =
            text.starts_with("CARGO_TARGET_") || text.starts_with("CARGO_PROFILE_");
        if is_of_this_run
            || matches!(&*text, "RUSTFLAGS" | "CARGO_ENCODED_RUSTFLAGS" | "RUSTUP_TOOLCHAIN")
        {
            cargo.env_remove(&name);
        }
    }
    cargo.current_dir(folder).arg("test").output()
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

#[test]
fn a_new_plugin_passes_its_scenarios_and_is_built() {
    let parent = folder("authoring").unwrap();
    let made = plugin(&parent, &["new", "no-shm"]).unwrap();
    assert!(made.status.success(), "{}", said(&made));
    assert!(said(&made).contains("krsi-host plugin build"), "{}", said(&made));
    let own = parent.join("no-shm");

    let passed = scenarios(&own).unwrap();
    let text = said(&passed);
    assert!(
        passed.status.success() && text.contains("its_benign_twin_is_left_alone ... ok"),
        "{text}"
    );
    // What it must find is no longer found: its scenario says so.
    let source = own.join("src/lib.rs");
    let right = fs::read_to_string(&source).unwrap();
    fs::write(&source, right.replace("/dev/shm/", "/dev/other/")).unwrap();
    let failed = scenarios(&own).unwrap();
    assert!(!failed.status.success() && said(&failed).contains("the_act_is_found_and_refused"));
    fs::write(&source, &right).unwrap();

    let built = plugin(&own, &["build", "--as-root"]).unwrap();
    let text = said(&built);
    assert!(built.status.success(), "{text}");
    for words in
        ["no-shm 0.1.0", "bprm_committed_creds", "may refuse calls of", "bprm_check_security"]
    {
        assert!(text.contains(words), "no {words} in {text}");
    }
    let file = own.join("no-shm.wasm");
    assert!(fs::metadata(&file).unwrap().len() < 256 << 10);

    scenarios_are_played_as_wasm(&own);

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

/// The plugin of this project's own stands up to its scenarios, and to changes of them.
#[test]
fn the_miner_is_found_by_what_makes_it_one() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let packages = ["krsi-plugin-miner".to_owned()];
    let built = krsi_toolchain::build_plugins(root, &root.join("target/wasm"), &packages).unwrap();
    let module = built.join("miner.wasm");
    let folder = root.join("plugins/miner");
    let words = ["test", ".", "--no-native", "--plugin", module.to_str().unwrap()];
    let tested = plugin(&folder, &words).unwrap();
    let text = said(&tested);
    assert!(tested.status.success(), "{text}");
    assert!(text.contains("mutation score 100 %"), "{text}");
}
