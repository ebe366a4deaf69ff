//! Reload against a model: files of plugins are put, torn, moved, linked and removed at random, the host is killed,
//! and the plugin of a name is never absent while a good version of it lies there.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use anyhow::{Context, ensure};
use rustix::process::Signal;
use serde_json::Value;

use super::{Boot, Test};
use crate::harness::{Guest, Host, repeats, wait_for};
use crate::reload::{census, put};

pub(crate) const TESTS: &[Test] = &[("reload_by_a_model", Boot::Default, by_a_model)];

/// Bursts of acts, usually and in a soak.
const BURSTS: [usize; 2] = [6, 600];
/// Acts of a burst.
const ACTS: usize = 4;
/// Names that files have.
const NAMES: [&str; 4] = ["census.wasm", "census-2.wasm", "a.wasm", "b.wasm"];
/// Versions that they hold: each is compiled once.
const VERSIONS: [&str; 3] = ["1.0.000", "1.0.001", "1.0.002"];
/// After this long without an act, everything that was done is dealt with.
const CALM: Duration = Duration::from_secs(60);

/// What lies under a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lies {
    /// A whole plugin, of this version.
    Good(&'static str),
    Torn,
}

/// Numbers that follow from a seed (`splitmix64`).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % (bound.max(1) as u64)) as usize
    }
}

/// The folder as it is, and what is known of the plugin.
struct Model {
    folder: PathBuf,
    versions: Vec<Vec<u8>>,
    files: BTreeMap<&'static str, Lies>,
    numbers: Numbers,
    /// Whether a good version has lain there without a pause since the plugin was last seen to run.
    is_held: bool,
    acts: Vec<String>,
}

impl Model {
    fn has_good(&self) -> bool {
        self.files.values().any(|lies| matches!(lies, Lies::Good(_)))
    }

    /// Whether what runs is what lies where its status says that it came from; a file that is torn may keep what ran.
    fn is_as_its_file(&self, status: &Value) -> bool {
        let file = status["file"].as_str().and_then(|file| file.rsplit('/').next());
        match file.and_then(|name| self.files.get(name)) {
            Some(Lies::Good(version)) => status["version"] == *version,
            Some(Lies::Torn) => true,
            None => false,
        }
    }

    fn name(&mut self) -> &'static str {
        NAMES[self.numbers.below(NAMES.len())]
    }

    /// A name that something lies under, if anything does.
    fn taken(&mut self) -> Option<&'static str> {
        let names: Vec<&'static str> = self.files.keys().copied().collect();
        let at = self.numbers.below(names.len());
        names.get(at).copied()
    }

    fn act(&mut self, host: &Host) -> anyhow::Result<()> {
        let version = self.numbers.below(VERSIONS.len());
        let (bytes, name, kind) =
            (self.versions[version].clone(), self.name(), self.numbers.below(9));
        let (path, good) = (self.folder.join(name), Lies::Good(VERSIONS[version]));
        self.acts.push(format!("{kind} {name} {}", VERSIONS[version]));
        match (kind, self.taken()) {
            (0 | 1, _) => {
                put(&path, &bytes)?;
                self.files.insert(name, good);
            }
            // Written where it lies, with a pause: a link is written through.
            (2, _) => {
                fs::write(&path, &bytes[..bytes.len() / 2])?;
                self.lies_elsewhere(name, Lies::Torn)?;
                std::thread::sleep(Duration::from_millis(self.numbers.below(400) as u64));
                fs::write(&path, &bytes)?;
                self.lies_elsewhere(name, good)?;
            }
            (3, _) => {
                put(&path, &bytes[..bytes.len() / 3])?;
                self.files.insert(name, Lies::Torn);
            }
            (4, Some(from)) if from != name => {
                fs::rename(self.folder.join(from), &path)?;
                let lies = self.files[from];
                self.files.insert(name, lies);
                // Of two names of one file, rename(2) leaves both.
                if fs::symlink_metadata(self.folder.join(from)).is_err() {
                    self.files.remove(from);
                }
            }
            (5, Some(from)) if from != name && !self.files.contains_key(name) => {
                fs::hard_link(self.folder.join(from), &path)?;
                let lies = self.files[from];
                self.files.insert(name, lies);
            }
            (6, _) => {
                // A link to a file elsewhere, put in place at once.
                let target = self.folder.join(format!("version-{version}"));
                put(&target, &bytes)?;
                let new = self.folder.join("next");
                symlink(&target, &new)?;
                fs::rename(new, &path)?;
                self.files.insert(name, good);
            }
            (7, Some(gone)) => {
                fs::remove_file(self.folder.join(gone))?;
                self.files.remove(gone);
            }
            (8, _) => host.signal(Signal::HUP)?,
            _ => {}
        }
        self.is_held &= self.has_good();
        Ok(())
    }

    /// What a write through a name changes: every name of the same file.
    fn lies_elsewhere(&mut self, name: &'static str, lies: Lies) -> anyhow::Result<()> {
        use std::os::unix::fs::MetadataExt;
        self.files.insert(name, lies);
        let id =
            |name: &str| fs::metadata(self.folder.join(name)).map(|meta| (meta.dev(), meta.ino()));
        let own = id(name).context("the file that was written")?;
        let same: Vec<&'static str> = self
            .files
            .keys()
            .copied()
            .filter(|other| id(other).is_ok_and(|id| id == own))
            .collect();
        for other in same {
            self.files.insert(other, lies);
        }
        // What ran from there runs on, but that no good version lay there for a moment is so.
        self.is_held &= self.has_good();
        Ok(())
    }
}

fn by_a_model(guest: &mut Guest) -> anyhow::Result<()> {
    let seed = SystemTime::UNIX_EPOCH.elapsed()?.as_nanos() as u64;
    let seed = std::env::var("KRSI_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(seed);
    println!("reload_by_a_model: KRSI_SEED={seed}");
    let folder = guest.path("plugins");
    fs::create_dir_all(&folder)?;
    let versions = VERSIONS.map(|version| census(version, "TRAP-OFF"));
    let versions = versions.into_iter().collect::<anyhow::Result<Vec<_>>>()?;
    let mut model = Model {
        folder,
        versions,
        files: BTreeMap::new(),
        numbers: Numbers(seed),
        is_held: false,
        acts: Vec::new(),
    };
    run(guest, &mut model)
        .with_context(|| format!("seed {seed}: {:?}, then {:?}", model.acts, model.files))
}

fn run(guest: &Guest, model: &mut Model) -> anyhow::Result<()> {
    let arguments = ["--plugin-dir", "plugins"].map(str::to_owned);
    let mut host = guest.start(&arguments)?;
    for burst in 0..repeats(BURSTS[0], BURSTS[1]) {
        model.acts.clear();
        for _ in 0..=model.numbers.below(ACTS) {
            model.act(&host)?;
            let pause = model.numbers.below(700) as u64;
            std::thread::sleep(Duration::from_millis(pause));
            let status = host.status("census")?;
            ensure!(!model.is_held || status["state"] == "running", "away: {status}");
        }
        // Killed without a word, and started again: what lies there runs at once.
        if burst % 4 == 3 {
            model.acts.push("kill".into());
            host.signal(Signal::KILL)?;
            wait_for("the host's end", || host.ended())?;
            fs::remove_file(guest.path("ready"))?;
            host = guest.start(&arguments)?;
            model.is_held = model.has_good();
        }
        settle(&host, model)?;
    }
    host.stop(Signal::TERM).map(drop)
}

/// Waits until the plugin is what the folder says, and looks that it stays so.
fn settle(host: &Host, model: &mut Model) -> anyhow::Result<()> {
    let (has_good, is_empty) = (model.has_good(), model.files.is_empty());
    let began = std::time::Instant::now();
    loop {
        let status = host.status("census")?;
        let runs = status["state"] == "running";
        ensure!(!model.is_held || runs, "away: {status}");
        model.is_held |= runs && has_good;
        if has_good && runs && model.is_as_its_file(&status) || is_empty && status.is_null() {
            return Ok(());
        }
        // Files that are torn alone: what ran may run on, and what did not does not.
        if !has_good && !is_empty {
            return Ok(());
        }
        ensure!(began.elapsed() < CALM, "not what the folder says: {status}");
        std::thread::sleep(Duration::from_millis(50));
    }
}
