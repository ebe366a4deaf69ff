//! Files without which nobody comes into this machine, and processes that hold it up: looked at once, at the start.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use krsi_host_abi::deny::{Digest, FileKey, ProcessKey};
use krsi_plugin_schema::latest::{Condition, KeyKind};
use sha2::{Digest as _, Sha256};

use crate::attach::proof::KeyOf;
use crate::config::Settings;
use crate::enrich::{self, CgroupNames, Stat};
use crate::kernel::map::file::{has_generations, key_of_stat};
use crate::kernel::map::namespace::{self, CgroupError};
use crate::plugin::Manifest;
use crate::policy::Machine;
use crate::policy::broad::{VitalDigests, VitalFile};
use crate::route::scope::Scope;

/// What a plugin asks for, or is granted, is said by cgroups, which tell nobody apart here.
#[derive(Debug, thiserror::Error)]
#[error("{plugin}: {what} by cgroup is not available: {why}")]
pub struct NoCgroups {
    /// Name of the plugin.
    plugin: String,
    /// What is said by cgroup: a scope or a filter.
    what: &'static str,
    /// Why cgroups tell nobody apart.
    why: CgroupError,
}

/// What the host's own file is called: root's execution of it is never refused, so its digest is not taken.
const OWN: &str = "krsi-host";
/// Longest file that is hashed.
const HASHED_MAX: u64 = 64 << 20;
/// Most of `/etc/passwd` and of PID 1's list of mappings that is read.
const TEXT_MAX: u64 = 1 << 20;

/// Where files are found that nobody comes in without.
const KNOWN: [(&str, &[&str]); 10] = [
    (
        "sshd",
        &[
            "/usr/sbin/sshd",
            "/usr/lib/openssh/sshd-auth",
            "/usr/lib/openssh/sshd-session",
            "/usr/lib/ssh/sshd-auth",
            "/usr/lib/ssh/sshd-session",
            "/usr/libexec/openssh/sshd-auth",
            "/usr/libexec/openssh/sshd-session",
        ],
    ),
    ("login", &["/bin/login", "/usr/bin/login"]),
    ("agetty", &["/sbin/agetty", "/usr/sbin/agetty", "/usr/bin/agetty"]),
    ("sudo", &["/usr/bin/sudo"]),
    ("su", &["/bin/su", "/usr/bin/su"]),
    (
        "what PID 1 starts services with",
        &["/lib/systemd/systemd-executor", "/usr/lib/systemd/systemd-executor"],
    ),
    (
        "the check of passwords",
        &[
            "/sbin/unix_chkpwd",
            "/usr/sbin/unix_chkpwd",
            "/lib/x86_64-linux-gnu/libpam.so.0",
            "/lib/aarch64-linux-gnu/libpam.so.0",
            "/lib64/libpam.so.0",
            "/lib/libpam.so.0",
            "/etc/pam.d/common-auth",
            "/etc/pam.d/login",
            "/etc/pam.d/other",
            "/etc/pam.d/sshd",
            "/etc/pam.d/sudo",
            "/etc/pam.d/system-auth",
        ],
    ),
    ("the list of users", &["/etc/passwd"]),
    (
        "the dynamic loader",
        &[
            "/lib64/ld-linux-x86-64.so.2",
            "/lib/ld-linux.so.2",
            "/lib/ld-linux-aarch64.so.1",
            "/lib/ld-musl-x86_64.so.1",
            "/lib/ld-musl-aarch64.so.1",
        ],
    ),
    (
        "libc",
        &[
            "/lib/x86_64-linux-gnu/libc.so.6",
            "/lib/aarch64-linux-gnu/libc.so.6",
            "/lib64/libc.so.6",
            "/lib/libc.so.6",
        ],
    ),
];

/// Files that nearly every program opens.
const COMMON: [&str; 13] = [
    "/dev/null",
    "/dev/tty",
    "/dev/urandom",
    "/dev/zero",
    "/etc/group",
    "/etc/hosts",
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/etc/nsswitch.conf",
    "/etc/passwd",
    "/etc/resolv.conf",
    "/usr/lib/locale/C.utf8/LC_CTYPE",
    "/usr/lib/locale/locale-archive",
];

/// Looks at this machine.
pub(crate) fn machine(key_of: KeyOf<'_>) -> Machine {
    let mut common = FilesByKey { key_of, found: BTreeMap::new() };
    COMMON.into_iter().for_each(|path| common.add(path, path.into()));
    let mut files = FilesByKey { key_of, found: BTreeMap::new() };
    files.add(OWN, "/proc/self/exe".into());
    files.add("what PID 1 runs", "/proc/1/exe".into());
    for shell in shells(&text("/etc/passwd")) {
        files.add("root's shell", shell);
    }
    for (what, paths) in KNOWN {
        paths.iter().for_each(|path| files.add(what, (*path).into()));
    }
    for (what, path) in libraries(&text("/proc/1/maps")) {
        files.add(what, path);
    }
    let without_cgroups = namespace::cgroups().err();
    Machine {
        files: files.found.into_values().collect(),
        common: common.found.into_values().collect(),
        roots: roots(),
        cgroups: if without_cgroups.is_none() { cgroups() } else { Vec::new() },
        without_cgroups,
        hash: Some(hash),
        has_generations: Some(has_generations),
        ..Machine::default()
    }
}

/// That what a plugin asks for, and is granted, by cgroup is to be had here; and what its rules on digests
/// are to be compared with, before anybody waits for it.
pub(crate) fn check_manifest(
    machine: &Machine,
    manifest: &Manifest,
    settings: &Settings,
) -> Result<(), NoCgroups> {
    if let Some(why) = machine.without_cgroups {
        let by_cgroup = |condition: &Condition| matches!(condition, Condition::Cgroup(_));
        let filters = manifest.filters.iter().flat_map(|filter| &filter.conditions);
        let what = match settings.grant.scope {
            Scope::Cgroup(_) => Some("a scope"),
            _ => filters.into_iter().any(by_cgroup).then_some("a filter"),
        };
        if let Some(what) = what {
            return Err(NoCgroups { plugin: manifest.name.clone(), what, why });
        }
    }
    if manifest.deny_keys.contains(KeyKind::Digest) {
        machine.take_digests();
    }
    Ok(())
}

/// Files by what they are to programs.
struct FilesByKey<'a> {
    key_of: KeyOf<'a>,
    found: BTreeMap<FileKey, VitalFile>,
}

impl FilesByKey<'_> {
    /// Adds a file under the name that it was looked for, and the one that it is found by.
    fn add(&mut self, what: &'static str, path: PathBuf) {
        let Ok(metadata) = fs::metadata(&path) else { return };
        if !metadata.is_file() && !metadata.file_type().is_char_device() {
            return;
        }
        let key = (self.key_of)(&path).unwrap_or_else(|| key_of_stat(&metadata));
        let file = VitalFile { what, paths: Vec::new(), key };
        let paths = &mut self.found.entry(key).or_insert(file).paths;
        let resolved = fs::canonicalize(&path).or_else(|_| fs::read_link(&path)).ok();
        // A link of the kernel's is no name of the file.
        let named = (!path.starts_with("/proc")).then_some(path);
        for name in named.into_iter().chain(resolved) {
            if !paths.contains(&name) {
                paths.push(name);
            }
        }
    }
}

/// Root's shells by the lines of `/etc/passwd`; the usual one without any.
fn shells(passwd: &str) -> Vec<PathBuf> {
    let of_root = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let of_root = of_root.filter(|fields| fields.get(2) == Some(&"0"));
    let shells = of_root.filter_map(|fields| fields.get(6).map(PathBuf::from));
    shells.filter(|shell| shell.is_absolute()).chain(["/bin/sh".into()]).collect()
}

/// The loader and the libc among the files that a process has mapped (`/proc/PID/maps`).
fn libraries(maps: &str) -> Vec<(&'static str, PathBuf)> {
    let mut found: Vec<(&'static str, PathBuf)> = Vec::new();
    for path in maps.lines().filter_map(|line| line.find('/').and_then(|at| line.get(at..))) {
        let path = Path::new(path);
        let name = path.file_name().unwrap_or_default().as_bytes();
        let what = if name.starts_with(b"ld-") || name.starts_with(b"ld.so") {
            "the dynamic loader"
        } else if name.starts_with(b"libc.so") || name.starts_with(b"libc-") {
            "libc"
        } else {
            continue;
        };
        if found.last().is_none_or(|(_, last)| last != path) {
            found.push((what, path.into()));
        }
    }
    found
}

/// What is to be told of a host that is linked dynamically, by what it has mapped.
pub(crate) fn told_of_loader() -> Option<String> {
    loader_of(&text("/proc/self/maps"))
}

fn loader_of(maps: &str) -> Option<String> {
    let (_, loader) = libraries(maps).into_iter().next()?;
    Some(format!(
        "krsi-host is linked dynamically: where a rule denies opening {}, root's `krsi-host status` and `reload` cannot start \
         (the README links it statically)",
        loader.display()
    ))
}

/// PID 1, the host and its ancestors, with their starts in ticks.
fn roots() -> Vec<ProcessKey> {
    let of = |tgid| enrich::stat_of("/proc".as_ref(), tgid);
    let key = |tgid, stat: Stat| ProcessKey { start_boot_ns: stat.start_ticks, tgid, pad: 0 };
    let mut roots = Vec::new();
    let mut next = std::process::id();
    // A chain of parents is as long as processes are deep; a loop there is not.
    while next != 0
        && roots.len() < 4096
        && let Some(stat) = of(next)
    {
        roots.push(key(next, stat));
        next = stat.ppid;
    }
    roots.extend(of(1).map(|stat| key(1, stat)));
    roots
}

/// Cgroups of PID 1 and of the host.
fn cgroups() -> Vec<u64> {
    let id = |of: &str| {
        let text = text(of);
        let path = text.lines().find_map(|line| line.strip_prefix("0::"))?;
        CgroupNames::id_of(Path::new(path)).ok()
    };
    ["/proc/1/cgroup", "/proc/self/cgroup"].into_iter().filter_map(id).collect()
}

fn hash(files: &[VitalFile]) -> VitalDigests {
    let others = files.iter().filter(|file| file.what != OWN);
    let digest = |file: &VitalFile| {
        file.paths.iter().find_map(|path| digest(path).ok()).map(|digest| (digest, file.what))
    };
    others.filter_map(digest).collect()
}

fn digest(path: &Path) -> io::Result<Digest> {
    let mut file = File::open(path)?;
    if file.metadata()?.size() > HASHED_MAX {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    let mut hasher = Sha256::new();
    io::copy(&mut (&mut file).take(HASHED_MAX), &mut hasher)?;
    Ok(hasher.finalize().into())
}

/// The beginning of a text file; empty when it cannot be read.
fn text(path: &str) -> String {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(TEXT_MAX).read_to_end(&mut bytes));
    read.map(|_| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use krsi_plugin_schema::Schema;
    use krsi_plugin_schema::latest::{Hook, HookSet, KeyKinds, OnStop, ToldRunning};

    use super::*;
    use crate::kernel::map::namespace::CgroupError;
    use crate::plugin::Filter;

    #[test]
    fn roots_shells_are_those_of_every_user_0() {
        let passwd = "root:x:0:0:root:/root:/bin/bash\ntoor:x:0:0::/:/usr/bin/zsh\n\
                      nobody:x:65534:65534::/:/bin/false\nodd:x:0:0::/:nologin\nshort:x:0\n";
        let paths = |names: &[&str]| names.iter().map(PathBuf::from).collect::<Vec<_>>();
        assert_eq!(shells(passwd), paths(&["/bin/bash", "/usr/bin/zsh", "/bin/sh"]));
        assert_eq!(shells(""), paths(&["/bin/sh"]));
    }

    #[test]
    fn loader_and_libc_are_found_among_what_is_mapped() {
        let line = |path: &str| format!("7f-80 r-xp 00000000 fe:00 12 {path}\n");
        let paths =
            ["/usr/lib/libc.so.6", "/usr/lib/libc.so.6", "/usr/lib/libcap.so.2", "/lib/ld-2.31.so"];
        let maps: String = paths.iter().map(|path| line(path)).collect();
        let expected = [
            ("libc", PathBuf::from("/usr/lib/libc.so.6")),
            ("the dynamic loader", "/lib/ld-2.31.so".into()),
        ];
        assert_eq!(libraries(&(maps.clone() + "7f-80 rw-p 0 00:00 0 [stack]\n")), expected);
        assert!(loader_of(&maps).unwrap().contains("/usr/lib/libc.so.6"));
        assert_eq!(loader_of(&line("/usr/bin/krsi-host")), None);
    }

    #[test]
    fn a_file_is_one_by_all_its_names() {
        let folder = std::env::temp_dir().join(format!("vital-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let (file, link) = (folder.join("shell"), folder.join("link"));
        fs::write(&file, "content").unwrap();
        symlink(&file, &link).unwrap();
        let mut files = FilesByKey { key_of: &|_| None, found: BTreeMap::new() };
        files.add("root's shell", link.clone());
        files.add("login", file.clone());
        files.add("sudo", folder.join("absent"));
        files.add("sudo", folder.clone());
        let found: Vec<VitalFile> = files.found.into_values().collect();
        let key = key_of_stat(&fs::metadata(&file).unwrap());
        let paths = vec![link, fs::canonicalize(&file).unwrap()];
        assert_eq!(found, [VitalFile { what: "root's shell", paths, key }]);
        let digests = hash(&found);
        let expected: Digest = Sha256::digest(b"content").into();
        assert_eq!(digests, VitalDigests::from([(expected, "root's shell")]));
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn what_is_said_by_cgroups_is_refused_where_they_tell_nobody_apart() {
        let manifest = |conditions: &[Condition]| Manifest {
            name: "some".into(),
            version: "1".into(),
            schema: Schema::V0_2,
            hooks: HookSet::default().with(Hook::FileOpen),
            watches: Vec::new(),
            filters: vec![Filter { hook: Hook::FileOpen, conditions: conditions.to_vec() }],
            deny_hooks: HookSet::default(),
            deny_keys: KeyKinds::default(),
            labels: Vec::new(),
            running: ToldRunning::Never,
            samples: false,
            kill: false,
            tick: None,
            on_stop: OnStop::Keep,
        };
        let without = Machine { without_cgroups: Some(CgroupError::Unused), ..Machine::default() };
        let (by_user, by_group) = (Condition::Uid(7), Condition::Cgroup(8));
        let mut settings = Settings::default();
        let refused = |manifest: &Manifest, settings: &Settings| {
            assert!(check_manifest(&Machine::default(), manifest, settings).is_ok());
            check_manifest(&without, manifest, settings).err().map(|error| error.to_string())
        };
        assert_eq!(refused(&manifest(std::slice::from_ref(&by_user)), &settings), None);
        let words = refused(&manifest(&[by_user, by_group]), &settings).unwrap();
        assert!(words.starts_with("some: a filter by cgroup is not available: "), "{words}");
        settings.grant.scope = Scope::Cgroup("/a".into());
        let words = refused(&manifest(&[]), &settings).unwrap();
        assert!(words.starts_with("some: a scope by cgroup"), "{words}");
    }

    #[test]
    fn this_machine_has_a_shell_and_somebody_who_started_this() {
        let machine = machine(&|_| None);
        let has = |what: &str| machine.files.iter().any(|file| file.what == what);
        assert!(has(OWN), "{:?}", machine.files);
        let own = machine.roots.first().map(|root| root.tgid);
        assert_eq!(own, Some(std::process::id()));
        assert!(machine.roots.len() >= 2, "{:?}", machine.roots);
    }
}
