//! Which files are found, by what was done to them.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::*;
use crate::seeded::SeededNumbers;

/// A folder of its own, and a clock that stands until it is moved on.
struct Folder {
    path: PathBuf,
    files: PluginFiles,
    now: Instant,
}

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("krsi-files-{name}-{}", std::process::id()));
        let _absent = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self { path, files: PluginFiles::default(), now: Instant::now() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Puts a file in place of another at once.
    fn put(&self, name: &str, text: &str) {
        fs::write(self.path("new"), text).unwrap();
        fs::rename(self.path("new"), self.path(name)).unwrap();
    }

    /// What a look finds `seconds` after the one before, of the folder alone.
    fn look(&mut self, seconds: u64, told: &[&str]) -> Vec<(String, bool, bool)> {
        self.now += Duration::from_secs(seconds);
        let told = told.iter().map(|name| self.path(name)).collect();
        let mut places = vec![PluginPlace::beside(self.path("named.wasm"))];
        let others = [self.path("named.wasm")];
        let listed = self.files.in_folders(std::slice::from_ref(&self.path), &others, self.now);
        places.extend(listed.into_iter().map(PluginPlace::beside));
        let found = self.files.look(&places, &told, self.now).into_iter();
        let name = |file: PathBuf| file.file_name().unwrap().to_string_lossy().into_owned();
        found.map(|found| (name(found.file), found.is_gone, found.is_configured_anew)).collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.path).unwrap();
    }
}

fn came(name: &str) -> Vec<(String, bool, bool)> {
    vec![(name.to_owned(), false, false)]
}

#[test]
fn what_is_told_is_found_at_once_and_the_rest_when_it_is_calm() {
    let mut folder = Folder::new("told");
    assert_eq!(folder.look(0, &[]), []);
    folder.put("a.wasm", "1");
    assert_eq!(folder.look(0, &["a.wasm"]), came("a.wasm"));
    assert_eq!(folder.look(0, &["a.wasm"]), [], "found once");
    // Half of it, then the rest: neither is found before it is calm.
    fs::write(folder.path("a.wasm"), "half").unwrap();
    assert_eq!(folder.look(1, &[]), []);
    fs::write(folder.path("a.wasm"), "all of it").unwrap();
    assert_eq!(folder.look(1, &[]), []);
    assert_eq!(folder.look(1, &[]), []);
    assert_eq!(folder.look(1, &[]), came("a.wasm"));
}

#[test]
fn a_signature_and_a_configuration_that_come_later_bring_their_file_again() {
    let mut folder = Folder::new("later");
    folder.put("a.wasm", "1");
    assert_eq!(folder.look(0, &["a.wasm"]), came("a.wasm"));
    folder.put("a.wasm.minisig", "s");
    assert_eq!(folder.look(0, &["a.wasm.minisig"]), came("a.wasm"));
    folder.put("a.toml", "t");
    assert_eq!(folder.look(0, &["a.toml"]), [("a.wasm".to_owned(), false, true)]);
}

#[test]
fn links_are_followed_wherever_they_lead() {
    let mut folder = Folder::new("links");
    for (version, text) in [("..v1", "1"), ("..v2", "22")] {
        fs::create_dir(folder.path(version)).unwrap();
        folder.put(&format!("{version}/a.wasm"), text);
    }
    symlink("..v1", folder.path("..data")).unwrap();
    symlink("..data/a.wasm", folder.path("a.wasm")).unwrap();
    fs::hard_link(folder.path("..v1/a.wasm"), folder.path("b.wasm")).unwrap();
    assert_eq!(folder.look(0, &[]), []);
    let both = [came("a.wasm"), came("b.wasm")].concat();
    assert_eq!(folder.look(2, &[]), both);
    symlink("..v2", folder.path("..new")).unwrap();
    fs::rename(folder.path("..new"), folder.path("..data")).unwrap();
    assert_eq!(folder.look(1, &["..data"]), []);
    assert_eq!(folder.look(2, &[]), came("a.wasm"));
}

#[test]
fn a_file_that_is_gone_for_a_moment_is_not_gone() {
    let mut folder = Folder::new("gone");
    folder.put("named.wasm", "1");
    assert_eq!(folder.look(0, &["named.wasm"]), came("named.wasm"));
    fs::remove_file(folder.path("named.wasm")).unwrap();
    assert_eq!(folder.look(1, &["named.wasm"]), []);
    folder.put("named.wasm", "2");
    assert_eq!(folder.look(0, &["named.wasm"]), came("named.wasm"));
    fs::remove_file(folder.path("named.wasm")).unwrap();
    assert_eq!(folder.look(1, &["named.wasm"]), []);
    assert_eq!(folder.look(2, &[]), [("named.wasm".to_owned(), true, false)]);
    assert_eq!(folder.look(9, &[]), []);
}

#[test]
fn a_file_is_one_however_its_folder_is_called() {
    let folder = Folder::new("spelt");
    folder.put("a.wasm", "1");
    symlink(&folder.path, folder.path("again")).unwrap();
    fs::create_dir(folder.path("sub")).unwrap();
    let spelt = |name: &str| folder.path(name);
    let files = vec![spelt("a.wasm"), spelt("again/a.wasm"), spelt("sub/../a.wasm")];
    assert_eq!(without_twins(files.clone(), &[]), [spelt("a.wasm")]);
    assert_eq!(without_twins(files, &[spelt("again/a.wasm")]), Vec::<PathBuf>::new());
    assert!(is_same_folder(&folder.path, &spelt("again")));
    assert!(!is_same_folder(&folder.path, Path::new("/")));
    assert!(!is_same_folder(&spelt("absent"), &spelt("none")));
}

#[test]
fn what_is_taken_at_the_start_is_found_only_when_it_changes() {
    let mut folder = Folder::new("taken");
    folder.put("a.wasm", "1");
    let places = [PluginPlace::beside(folder.path("a.wasm"))];
    folder.files.take(&places, folder.now);
    assert_eq!(folder.look(9, &["a.wasm"]), []);
    folder.put("a.wasm", "2");
    assert_eq!(folder.look(0, &["a.wasm"]), came("a.wasm"));
}

#[test]
fn a_folder_that_is_gone_says_nothing_of_its_files() {
    let mut folder = Folder::new("away");
    folder.put("named.wasm", "1");
    assert_eq!(folder.look(0, &["named.wasm"]), came("named.wasm"));
    let away = folder.path.with_extension("away");
    fs::rename(&folder.path, &away).unwrap();
    assert_eq!(folder.look(9, &[]), []);
    assert_eq!(folder.files.unread().len(), 1);
    assert_eq!(folder.look(9, &[]), []);
    assert_eq!(folder.files.unread(), [], "told twice");
    // It comes back without the file.
    fs::create_dir(&folder.path).unwrap();
    assert_eq!(folder.look(0, &[]), []);
    assert_eq!(folder.look(2, &[]), [("named.wasm".to_owned(), true, false)]);
    fs::remove_dir_all(&away).unwrap();
    // Another folder is moved to its place at once: its file is a new version, and none was ever gone.
    folder.put("named.wasm", "2");
    assert_eq!(folder.look(2, &["named.wasm"]), came("named.wasm"));
    let new = folder.path.with_extension("new");
    fs::create_dir(&new).unwrap();
    fs::write(new.join("named.wasm"), "3").unwrap();
    fs::rename(&folder.path, &away).unwrap();
    fs::rename(&new, &folder.path).unwrap();
    let found: Vec<_> = (0..3).flat_map(|_| folder.look(1, &["named.wasm"])).collect();
    assert_eq!(found, came("named.wasm"));
    fs::remove_dir_all(&away).unwrap();
}

#[test]
fn after_random_acts_what_lies_there_was_found_and_is_found_once() {
    const NAMES: [&str; 3] = ["a.wasm", "b.wasm", "named.wasm"];
    let (mut folder, mut numbers) = (Folder::new("random"), SeededNumbers::new(7));
    // Bytes of each file that was found last; none of one that is gone.
    let mut found: HashMap<String, Option<u64>> = HashMap::new();
    let mut look = |folder: &mut Folder, seconds, told: &[&str]| {
        let due = folder.look(seconds, told);
        for (name, is_gone, _) in &due {
            let bytes = fs::metadata(folder.path(name)).ok().map(|about| about.len());
            assert_eq!(*is_gone, bytes.is_none(), "{name}");
            found.insert(name.clone(), bytes);
        }
        (due.len(), found.clone())
    };
    for round in 0..300 {
        for act in 0..=numbers.below(4) {
            let (name, other) = (*numbers.of(&NAMES), *numbers.of(&NAMES));
            // No two have one length: the clock of a file system is coarse.
            let text = "x".repeat(1 + 8 * round + act);
            // What is not there is left alone.
            let _done = match numbers.below(4) {
                0 => {
                    folder.put(name, &text);
                    Ok(())
                }
                1 => fs::write(folder.path(name), &text),
                2 => fs::remove_file(folder.path(name)),
                _ => fs::rename(folder.path(other), folder.path(name)),
            };
            let told = [name].into_iter().filter(|_| numbers.below(2) == 0);
            let told: Vec<&str> = told.collect();
            look(&mut folder, numbers.below(2) as u64, &told);
        }
        for _ in 0..3 {
            look(&mut folder, 1, &[]);
        }
        let (again, found) = look(&mut folder, 1, &[]);
        assert_eq!(again, 0, "round {round}: found twice");
        for name in NAMES {
            let bytes = fs::metadata(folder.path(name)).ok().map(|about| about.len());
            // That a file of a folder is gone is seen in the list of the folder.
            if bytes.is_some() || name == "named.wasm" {
                assert_eq!(found.get(name).copied().flatten(), bytes, "round {round}: {name}");
            }
        }
    }
}
