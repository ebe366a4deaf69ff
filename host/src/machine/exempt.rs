//! Whom no rule refuses, said to the kernel: executables by what they are, and processes that run already.
//!
//! Who is forked, executes or ends later is followed in the kernel (`ebpf/prog/src/exempt.rs`).

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File, Metadata};
use std::io::Read;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use krsi_host_abi::deny::{FileKey, ProcessKey as AbiProcessKey, exempt};
use krsi_plugin_schema::latest::Process;
use rustix::fs::{Mode, OFlags};

use crate::attach::proof::KeyOf;
use crate::config::RuleSettings;
use crate::enrich::{self, CgroupNames};
use crate::kernel::map::exempt::ExemptMaps;
use crate::kernel::map::file::key_of_stat;
use crate::kernel::map::namespace;

/// What the kernel appends to the path of a file that has no name any more.
const DELETED: &[u8] = b" (deleted)";
/// What is refused to PID 1 is refused to everybody in the end.
const INIT: u32 = 1;
/// Looks at `/proc` until one finds nothing new: what is forked while one looks is found by the next.
const PASSES: usize = 8;

/// An executable whose processes are exempt.
struct Executable {
    /// Path as written in `exempt-executables`.
    path: PathBuf,
    /// Bits of [`exempt`].
    why: u64,
    /// The file that lies at the path now.
    held: Option<HeldFile>,
    /// Device and number of what was there before: what runs of it stays exempt, wherever it was moved.
    former: HashSet<(u64, u64)>,
}

/// A file, held so that no other gets its number.
struct HeldFile {
    file: File,
    /// Where the name leads to, through links.
    resolved: PathBuf,
    metadata: Metadata,
    key: FileKey,
}

/// Whom the operator and the host exempt, and what the kernel was told of it.
pub(crate) struct ExemptProcesses {
    kernel: ExemptMaps,
    settings: RuleSettings,
    executables: Vec<Executable>,
    /// Exempt files that the kernel was told of, with the reasons as bits of [`exempt`].
    files: BTreeMap<FileKey, u64>,
}

impl ExemptProcesses {
    /// Who the operator and the host itself are; the kernel is told of no executable yet.
    pub(crate) fn new(kernel: ExemptMaps, settings: &RuleSettings) -> Self {
        let named =
            |path: PathBuf, why| Executable { path, why, held: None, former: HashSet::new() };
        // The image that runs, and what an upgrade put in its place.
        let own = fs::read_link("/proc/self/exe").ok().map(|path| named(path, exempt::HOST));
        let image = named("/proc/self/exe".into(), exempt::HOST);
        let others = settings.exempt_executables.iter();
        let others = others.map(|path| named(path.clone(), exempt::EXECUTABLE));
        let executables = others.chain([image]).chain(own).collect();
        Self { kernel, settings: settings.clone(), executables, files: BTreeMap::new() }
    }

    /// Says for whom executables count. What is wrong, in words.
    pub(crate) fn count(&mut self) -> Vec<String> {
        let mut told = Vec::new();
        for uid in self.settings.exempt_uids.clone() {
            let kept = self.kernel.count_uid(uid);
            told.extend(kept.err().map(|why| format!("exempt-uids: {uid}: {why}")));
        }
        told.extend(self.settings.exempt_tgids.iter().map(|tgid| who_is(*tgid)));
        for path in self.settings.exempt_cgroups.clone() {
            let name = path.display().to_string();
            let kept = match (namespace::cgroups(), CgroupNames::id_of(&path)) {
                (Err(why), _) => Err(why.to_string()),
                (_, Err(why)) => Err(why.to_string()),
                (_, Ok(id)) => self.kernel.count_cgroup(id).map_err(|why| why.to_string()),
            };
            told.extend(
                kept.err().map(|why| format!("exempt-cgroups: {name}: {why}; it exempts nobody")),
            );
        }
        told
    }

    /// Whether the file behind a name is another one than before.
    pub(crate) fn is_stale(&self) -> bool {
        self.executables.iter().any(Executable::is_stale)
    }

    /// Looks what is behind each name and tells the kernel; what the operator must know, in words.
    pub(crate) fn hold(&mut self, key_of: KeyOf<'_>) -> Vec<String> {
        let mut told = Vec::new();
        for executable in self.executables.iter_mut().filter(|one| one.is_stale()) {
            let is_named = executable.why == exempt::EXECUTABLE;
            match HeldFile::open(&executable.path, key_of) {
                Ok(held) => {
                    told.extend(is_named.then(|| executable.words(&held)).flatten());
                    let before = executable.held.replace(held);
                    let before = before.map(|held| (held.metadata.dev(), held.metadata.ino()));
                    executable.former.extend(before);
                }
                Err(why) if is_named && executable.held.is_none() => told.push(format!(
                    "exempt-executables: {}: {why}; it exempts nobody until the file is there",
                    executable.path.display()
                )),
                // What runs of it still is what it was.
                Err(_) => {}
            }
        }
        let mut files: BTreeMap<FileKey, u64> = BTreeMap::new();
        for executable in &self.executables {
            if let Some(held) = &executable.held {
                *files.entry(held.key).or_default() |= executable.why;
            }
        }
        for (file, why) in &files {
            if self.files.get(file) != Some(why)
                && let Err(error) = self.kernel.exempt_file(*file, *why)
            {
                told.push(format!("exempt-executables: {error}"));
            }
        }
        for file in self.files.keys().filter(|file| !files.contains_key(*file)) {
            if let Err(error) = self.kernel.unexempt_file(*file) {
                told.push(format!("exempt-executables: {error}"));
            }
        }
        self.files = files;
        told
    }

    /// Exempts what runs already. To be called once the kernel follows forks and execs.
    pub(crate) fn mark_running(&mut self) {
        let mut marked: HashSet<AbiProcessKey> = HashSet::new();
        for _ in 0..PASSES {
            let Ok(processes) = enrich::scan("/proc".as_ref()) else { return };
            let mut new = false;
            for process in &processes {
                let key = abi(process);
                let why = self.why(process);
                if why == 0 || !marked.insert(key) {
                    continue;
                }
                new = true;
                if let Err(error) = self.kernel.exempt(key, why) {
                    tracing::warn!(tgid = key.tgid, %error, "a process is not exempt");
                }
                // It executed something meanwhile, which the kernel had nothing to forget for.
                if self.why(process) != why {
                    let _told = self.kernel.unexempt(key);
                }
            }
            if !new {
                return;
            }
        }
    }

    /// Ends exemptions that the kernel did not: those of processes that have executed something else, or ended,
    /// while it skipped the program that follows them.
    pub(crate) fn recheck(&mut self) {
        let processes = match self.kernel.processes() {
            Ok(processes) => processes,
            Err(error) => {
                tracing::warn!(%error, "exemptions are not looked at again");
                return;
            }
        };
        for (in_ticks, before) in processes {
            if self.kept(in_ticks, before) == before {
                continue;
            }
            let key = in_ticks.from_ticks();
            let mut done = self.kernel.unexempt(key);
            // What it still is, or has executed meanwhile.
            let after = self.kept(in_ticks, before);
            if after != 0 {
                done = done.and_then(|()| self.kernel.exempt(key, after));
            }
            if let Err(error) = done {
                tracing::warn!(tgid = key.tgid, %error, "an exemption is left over");
            }
        }
    }

    /// What is left of the reasons for which a process is exempt: whose executable made it exempt does not
    /// change while it runs it.
    fn kept(&self, in_ticks: AbiProcessKey, why: u64) -> u64 {
        let tgid = in_ticks.tgid;
        let running =
            self.executables.iter().filter(|one| one.is_run_by(tgid) || one.was_run_by(tgid));
        let kept = running.fold(exempt::NAMED, |kept, one| kept | one.why);
        match enrich::stat_of("/proc".as_ref(), tgid) {
            Some(stat) if stat.start_ticks == in_ticks.start_boot_ns => why & kept,
            _ => 0,
        }
    }

    /// Why a process that runs is exempt.
    fn why(&self, process: &Process<'_>) -> u64 {
        let tgid = process.key.tgid;
        let is_named = tgid == INIT || self.settings.exempt_tgids.contains(&tgid);
        let mut why = if is_named { exempt::NAMED } else { 0 };
        let counts = self.settings.exempt_uids.contains(&process.uid)
            || self.settings.exempt_cgroups.iter().any(|path| path == Path::new(&*process.cgroup));
        let allowed = if counts { exempt::EXECUTABLE } else { 0 }
            | if process.uid == 0 { exempt::HOST } else { 0 };
        if allowed != 0 {
            let running = self.executables.iter().filter(|one| one.is_run_by(tgid));
            why |= running.fold(0, |why, one| why | one.why) & allowed;
        }
        why
    }
}

/// Who has a process id that the configuration exempts: another process may have come by it.
fn who_is(tgid: u32) -> String {
    let folder = PathBuf::from(format!("/proc/{tgid}"));
    match fs::metadata(&folder) {
        Ok(metadata) => {
            let exe = fs::read_link(folder.join("exe"));
            let exe =
                exe.map_or("a process without a file".into(), |exe| exe.display().to_string());
            let uid = metadata.uid();
            format!("exempt-tgids: process {tgid} is {exe} of user {uid}, and exempt until it ends")
        }
        Err(_) => format!("exempt-tgids: there is no process {tgid}; it exempts nobody"),
    }
}

impl Executable {
    fn is_stale(&self) -> bool {
        match (fs::metadata(&self.path), &self.held) {
            (Ok(now), Some(held)) => !is_same(&now, &held.metadata),
            (Ok(_), None) => true,
            (Err(_), held) => held.is_none(),
        }
    }

    /// What is to be told of what is behind the name.
    fn words(&self, held: &HeldFile) -> Option<String> {
        let path = self.path.display();
        if held.is_script() {
            return Some(format!(
                "exempt-executables: {path} is a script and exempts nobody: its interpreter is what runs"
            ));
        }
        if self.held.is_some() {
            return Some(format!(
                "exempt-executables: {path} was replaced; the new file is exempt"
            ));
        }
        let resolved = held.resolved.display();
        (held.resolved != self.path)
            .then(|| format!("exempt-executables: {path} leads to {resolved}, which is exempt"))
    }

    /// Whether a process runs what was behind the name since the host started.
    fn was_run_by(&self, tgid: u32) -> bool {
        let running = fs::metadata(format!("/proc/{tgid}/exe"));
        running.is_ok_and(|running| self.former.contains(&(running.dev(), running.ino())))
    }

    /// Whether a process runs it, or what an upgrade has replaced by it.
    fn is_run_by(&self, tgid: u32) -> bool {
        let of = |name: &str| PathBuf::from(format!("/proc/{tgid}/{name}"));
        let Ok(running) = fs::metadata(of("exe")) else { return false };
        if self.held.as_ref().is_some_and(|held| is_same(&running, &held.metadata)) {
            return true;
        }
        let Ok(name) = fs::read_link(of("exe")) else { return false };
        let Some(name) = name.as_os_str().as_bytes().strip_suffix(DELETED) else { return false };
        let resolved = self.held.as_ref().map(|held| &held.resolved);
        let is_named = [Some(&self.path), resolved]
            .into_iter()
            .flatten()
            .any(|path| path.as_os_str().as_bytes() == name);
        // Anybody with a root or mounts of his own may call a file so.
        is_named && running.nlink() == 0 && is_alike(tgid, "ns/mnt") && is_alike(tgid, "root")
    }
}

impl HeldFile {
    fn open(path: &Path, key_of: KeyOf<'_>) -> std::io::Result<Self> {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
        let metadata = file.metadata()?;
        // To open a FIFO would wait for its writer.
        if !metadata.is_file() {
            return Err(std::io::Error::other("it is no regular file"));
        }
        let again = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
        let resolved = fs::read_link(&again)?;
        let key = key_of(&again).unwrap_or_else(|| key_of_stat(&metadata)).held();
        Ok(Self { file, resolved, metadata, key })
    }

    fn is_script(&self) -> bool {
        let mut start = [0; 2];
        let again = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        File::open(again).and_then(|mut file| file.read_exact(&mut start)).is_ok()
            && start == *b"#!"
    }
}

fn is_same(one: &Metadata, other: &Metadata) -> bool {
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

/// Whether a process has the same namespace or root as the host.
fn is_alike(tgid: u32, name: &str) -> bool {
    let of = |who: &str| fs::metadata(format!("/proc/{who}/{name}"));
    match (of(&tgid.to_string()), of("self")) {
        (Ok(theirs), Ok(ours)) => is_same(&theirs, &ours),
        _ => false,
    }
}

fn abi(process: &Process<'_>) -> AbiProcessKey {
    let key = process.key;
    AbiProcessKey { start_boot_ns: key.start_boot_ns, tgid: key.tgid, pad: 0 }
}
