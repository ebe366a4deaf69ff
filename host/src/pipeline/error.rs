//! Why a run, or a change of it, did not happen; and what to do about each.

use std::path::PathBuf;
use std::sync::Arc;

use crate::attach::{AttachError, LeftOut};
use crate::config::{ConfigError, PinError};
use crate::control::ControlError;
use crate::error_chain::{chain, has_errno, is_not_permitted};
use crate::kernel::btf::BtfError;
use crate::kernel::map::MapError;
use crate::kernel::map::namespace::PidsError;
use crate::kernel::map::store::StoreError;
use crate::kernel::program::proof::CanaryError;
use crate::kernel::survey::probe::ProbeError;
use crate::machine::NoCgroups;
use crate::plugin::{CacheError, EngineError, LoadError, SignatureError, StartError};
use crate::policy::LabelError;
use crate::policy::ledger::LedgerError;
use crate::read::ring::ReadError;
use crate::record::RecordError;
use crate::thread::ThreadEnd;

/// Why a plugin was not replaced.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// No plugin of that name runs.
    #[error("no plugin {name:?} runs")]
    Unknown { name: String },
    /// The file of a running plugin became a plugin of another name.
    #[error("{}: runs as {name:?}, and its new version calls itself {named:?}", file.display())]
    Renamed {
        file: PathBuf,
        /// The name that the file's plugin runs by.
        name: String,
        /// The name that the new version gives itself.
        named: String,
    },
    /// A version that should run beside a plugin that does not run.
    #[error("--shadow {}: no plugin {name:?} runs that it could run beside", file.display())]
    Alone {
        file: PathBuf,
        /// The name it gives itself.
        name: String,
    },
    /// The version asks for more than the one before.
    #[error("{}: {name} asks for more than before: to {}", file.display(), more.join(", to "))]
    Wider {
        file: PathBuf,
        /// Name of the plugin.
        name: String,
        more: Vec<String>,
        /// Whether the version before runs; it may have been unloaded.
        is_running: bool,
    },
}

/// Why a run did not happen or ended early. `cli/exit.rs` says what to do about each.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The configuration is refused.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The machine cannot take LSM programs.
    #[error(transparent)]
    Probe(#[from] ProbeError),
    /// Programs could not be attached.
    #[error(transparent)]
    Attach(#[from] AttachError),
    /// Watches of the command line.
    #[error("{}", lines_of(watches).join("; "))]
    Watch {
        /// Each as it was given, with what is wrong with it.
        watches: Vec<(String, Arc<LeftOut>)>,
    },
    /// A map is unusable.
    #[error(transparent)]
    Map(#[from] MapError),
    /// The operator's word on rules cannot be put in force.
    #[error(transparent)]
    OnError(StoreError),
    /// The administrator's labels cannot be put in force.
    #[error("the labels of the configuration's [labels] cannot be had")]
    OwnLabels(#[source] LedgerError),
    /// The Wasm engine cannot be set up.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A file is no plugin.
    #[error(transparent)]
    Plugin(#[from] LoadError),
    /// A plugin could not be started.
    #[error(transparent)]
    Start(#[from] StartError),
    /// A plugin declares more labels than are free.
    #[error("{}: {source}", file.display())]
    Labels {
        file: PathBuf,
        #[source]
        source: LabelError,
    },
    /// Two plugins with one name.
    #[error("{}: its name {name:?} is taken by {}", file.display(), taken_by.display())]
    SameName {
        /// The later plugin's Wasm file.
        file: PathBuf,
        /// The name of both.
        name: String,
        /// The file of the plugin that has the name.
        taken_by: PathBuf,
    },
    /// A plugin is pinned to something else.
    #[error(transparent)]
    Pin(#[from] PinError),
    /// A plugin cannot be reloaded.
    #[error(transparent)]
    Reload(#[from] ReloadError),
    /// What a plugin asks for, or is granted, is said by cgroups.
    #[error(transparent)]
    Cgroups(#[from] NoCgroups),
    /// Plugins cannot run, whatever they are.
    #[error("memory cannot be made executable, so no plugin can run")]
    NoCode(#[source] std::io::Error),
    /// Compiled code cannot be kept.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// The key is no key.
    #[error(transparent)]
    Key(#[from] SignatureError),
    /// The control socket cannot be had.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The rings cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A thread could not be started.
    #[error("a thread could not be started")]
    Thread(#[source] std::io::Error),
    /// A second signal came while the run ended.
    #[error(
        "a second signal ended the run before it had ended in order: reports and the summary are incomplete"
    )]
    EndedTwice,
    /// A thread that no run goes on without has ended.
    #[error("{end}: the run was ended")]
    ThreadEnded {
        /// The thread, and how it ended.
        end: ThreadEnd,
        /// Why, where it said so.
        #[source]
        why: Option<Box<RunError>>,
    },
    /// Signals cannot be waited for.
    #[error("the control plane cannot be set up")]
    Runtime(#[source] std::io::Error),
    /// Something lies where the ready file is to be.
    #[error("--ready-file {}: is already there and is not a ready file, which would be empty", file.display())]
    ReadyFileTaken { file: PathBuf },
    /// The recording cannot be started.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The ready file cannot be created.
    #[error("{}: cannot be created", file.display())]
    ReadyFile {
        file: PathBuf,
        #[source]
        source: std::io::Error,
    },
}

const DESCRIPTORS: &str =
    "raise the limit of open files: LimitNOFILE=65536 in the service, or ulimit -n 65536";

const DOCTOR: &str = "`krsi-host doctor` says what is missing here";

const ENABLE_BPF_LSM: &str = "enable it: add bpf to the lsm= parameter of the kernel's command line, \
for example in /etc/default/grub\n    GRUB_CMDLINE_LINUX=\"lsm=landlock,lockdown,yama,integrity,apparmor,bpf\"\n\
then run update-grub and reboot; without a reboot, `cargo xtask demo` shows krsi-host in a VM";

impl RunError {
    /// What to do about it; empty where only a report helps.
    #[must_use]
    pub fn fix(&self) -> &'static str {
        if has_errno(self, libc::EMFILE) {
            DESCRIPTORS
        } else if self.is_not_permitted() {
            DOCTOR
        } else {
            self.own_fix()
        }
    }

    const fn own_fix(&self) -> &'static str {
        match self {
            RunError::Config(error) => of_config(error),
            RunError::Probe(ProbeError::NotRoot) => "run it as root, for example with sudo",
            RunError::Probe(ProbeError::Pids(PidsError::Namespace)) => {
                "run it in the machine's PID namespace: --pid=host, hostPID: true, or outside of `unshare --pid`"
            }
            RunError::Probe(ProbeError::Pids(PidsError::Proc)) => {
                "mount the /proc of the machine's PID namespace"
            }
            RunError::Cgroups(_) => {
                "boot with systemd.unified_cgroup_hierarchy=1, or mount a cgroup2 hierarchy"
            }
            RunError::Probe(ProbeError::NoBpfLsm { .. })
            | RunError::Attach(AttachError::Canary(CanaryError::Silent { .. })) => ENABLE_BPF_LSM,
            RunError::Probe(ProbeError::NoBtf)
            | RunError::Attach(AttachError::Btf(BtfError::Missing { .. })) => {
                "use a kernel built with CONFIG_DEBUG_INFO_BTF=y"
            }
            RunError::Attach(
                AttachError::Btf(BtfError::Invalid { .. })
                | AttachError::Object(_)
                | AttachError::NoHook { .. },
            ) => "please report this with the output of `uname -a`",
            RunError::Attach(AttachError::Without { .. }) => "docs/hooks.md lists the hooks",
            RunError::Watch { .. } => {
                "docs/watches.md has the language; `krsi-host hooks` lists the hooks"
            }
            RunError::Plugin(error) => error.fix(),
            RunError::Start(error) => error.fix(),
            RunError::Labels { source, .. } => of_labels(source),
            RunError::SameName { .. } => {
                "state, rules and grants belong to a plugin's name: give each plugin its own, or take the other file away to let this one follow it"
            }
            RunError::Pin(error) => error.fix(),
            RunError::Reload(error) => of_reload(error),
            RunError::Probe(ProbeError::NoCapability) => {
                "give the service CAP_BPF, CAP_PERFMON and CAP_SYS_ADMIN: docker --cap-add, AmbientCapabilities="
            }
            RunError::NoCode(_) => {
                "set MemoryDenyWriteExecute=no in the service: the code of plugins is made executable once it is written"
            }
            RunError::Cache(_) => "give --cache-dir a folder that only its owner may enter",
            RunError::Key(_) => {
                "give --require-signed the public key file that `minisign -G` wrote"
            }
            RunError::Control(error) => error.fix(),
            RunError::Record(error) => error.fix(),
            RunError::EndedTwice => "wait for the first signal to end the run",
            RunError::ThreadEnded { .. } => "please report this with what krsi-host said before",
            RunError::ReadyFileTaken { .. } => "give another path; krsi-host left the file alone",
            RunError::Attach(AttachError::Map(_))
            | RunError::Map(_)
            | RunError::OnError(_)
            | RunError::OwnLabels(_)
            | RunError::Read(_)
            | RunError::Thread(_)
            | RunError::Runtime(_)
            | RunError::Engine(_)
            | RunError::ReadyFile { .. } => "",
        }
    }

    /// Whether the kernel refuses what root may do: a capability is missing, or it is locked down.
    fn is_not_permitted(&self) -> bool {
        match self {
            RunError::Attach(AttachError::NoHook { why, .. }) => is_not_permitted(why.as_ref()),
            RunError::Watch { watches } => {
                watches.iter().any(|(_, why)| is_not_permitted(why.as_ref()))
            }
            RunError::Attach(
                AttachError::Object(_) | AttachError::Map(_) | AttachError::Btf(_),
            )
            | RunError::Map(_)
            | RunError::OnError(_)
            | RunError::OwnLabels(_) => is_not_permitted(self),
            _ => false,
        }
    }

    /// What is to be told, a line for each thing that is wrong.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        match self {
            RunError::Watch { watches } => lines_of(watches),
            other => vec![other.chain()],
        }
    }

    /// The error and what caused it, on one line.
    #[must_use]
    pub fn chain(&self) -> String {
        chain(self)
    }

    /// Returns the error, its causes and what to do about it, on one line.
    #[must_use]
    pub fn line(&self) -> String {
        match self.fix() {
            "" => self.chain(),
            fix => format!("{} ({fix})", self.chain()),
        }
    }
}

/// What to do about a plugin that was not reloaded.
const fn of_reload(error: &ReloadError) -> &'static str {
    match error {
        ReloadError::Renamed { .. } => {
            "the old version runs on; give the other plugin a file of its own"
        }
        ReloadError::Unknown { .. } => "`krsi-host status` lists the plugins",
        ReloadError::Alone { .. } => {
            "it will once one does: give its --plugin, or the --plugin-dir where it lies"
        }
        ReloadError::Wider { is_running: false, .. } => {
            "it does not run; `krsi-host reload NAME --accept` grants it, or the configuration file"
        }
        ReloadError::Wider { .. } => {
            "the old version runs on; `krsi-host reload NAME --accept` grants it, or the configuration file"
        }
    }
}

/// What to do about a configuration.
const fn of_config(error: &ConfigError) -> &'static str {
    match error {
        ConfigError::RingBytes { .. } => "give --ring-bytes a power of two, such as 4194304",
        ConfigError::TooManyPlugins { .. } => "run fewer plugins, or several hosts",
        ConfigError::Read { .. } => "check the path and its permissions",
        ConfigError::TooLong { .. } => "shorten the file",
        ConfigError::File { .. } => "correct the configuration file",
        ConfigError::NoPlugin => "give --plugin FILE or --plugin-dir DIR",
        ConfigError::Writable { .. } => {
            "keep it where root alone may write, such as /etc/krsi-host/plugins; --allow-writable runs it all the same"
        }
        ConfigError::NoPluginOf { .. } => {
            "each --plugin-config is that of the --plugin at the same place in the order"
        }
        ConfigError::NoFolder { .. } => "give the folder; --plugin takes a file",
    }
}

const fn of_labels(error: &LabelError) -> &'static str {
    match error {
        LabelError::Host => "give the plugin another name",
        _ => "run fewer plugins with labels: `krsi-host status`",
    }
}

fn lines_of(watches: &[(String, Arc<LeftOut>)]) -> Vec<String> {
    watches.iter().map(|(watch, why)| format!("--watch '{watch}': {}", why.words())).collect()
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::kernel::program::load::HookError;
    use crate::kernel::program::syscall::Refusal;
    use crate::kernel::spec::watch;

    fn refused(errno: i32, log: &str) -> Arc<LeftOut> {
        let source = io::Error::from_raw_os_error(errno);
        Arc::new(LeftOut::Program(HookError::Refused(Refusal { source, log: log.into() })))
    }

    #[test]
    fn a_refusal_by_the_kernel_names_the_doctor() {
        let check = |why: Arc<LeftOut>, fix: &str| {
            let hook = "file_open".to_owned();
            let told = RunError::Attach(AttachError::NoHook { hook, why: Arc::clone(&why) });
            assert_eq!(told.fix(), fix);
            let watches = vec![("file_open".to_owned(), Arc::clone(&why))];
            let told = RunError::Watch { watches };
            assert_eq!(told.fix() == DOCTOR, fix == DOCTOR);
            assert_eq!(why.words().contains("doctor"), fix == DOCTOR, "{}", why.words());
        };
        let report = "please report this with the output of `uname -a`";
        check(refused(libc::EPERM, ""), DOCTOR);
        check(refused(libc::EINVAL, ""), report);
        let attach = HookError::Attach(io::Error::from_raw_os_error(libc::EPERM));
        check(Arc::new(LeftOut::Program(attach)), DOCTOR);
        check(Arc::new(LeftOut::Without), report);
    }

    #[test]
    fn every_watch_is_told_once_with_all_that_caused_it() {
        let text = "file_open if any(mode, 04000)";
        let wrong = Arc::new(LeftOut::Watch(watch::parse(text, |_| None).unwrap_err()));
        let watches = vec![(text.to_owned(), wrong), ("b".into(), refused(libc::EBUSY, "why\n"))];
        let lines = RunError::Watch { watches }.lines();
        let [first, second] = lines.as_slice() else { panic!("{lines:?}") };
        assert!(first.starts_with("--watch 'file_open if any(mode, 04000)': "), "{first}");
        assert_eq!(first.matches("0o4000").count(), 1, "{first}");
        let said = "--watch 'b': the kernel refuses the program: Device or resource busy (os error 16): why";
        assert_eq!(second, said);
        let attach = LeftOut::Program(HookError::Attach(io::Error::from_raw_os_error(libc::EBUSY)));
        let said = "the kernel does not attach the program: Device or resource busy (os error 16)";
        assert_eq!(attach.words(), said);
    }
}
