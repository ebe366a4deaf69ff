//! Why a run, or a change of it, did not happen; and what to do about each.

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;

use super::left_out::LeftOut;
use crate::config::{ConfigError, PinError};
use crate::control::ControlError;
use crate::kernel::btf::BtfError;
use crate::kernel::map::MapError;
use crate::kernel::namespace::{CgroupError, PidsError};
use crate::kernel::object::ObjectError;
use crate::kernel::probe::ProbeError;
use crate::kernel::proof::CanaryError;
use crate::kernel::store::StoreError;
use crate::plugin::{CacheError, EngineError, LoadError, SignatureError, StartError};
use crate::read::ring::ReadError;

/// Why a plugin was not replaced.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// No plugin of that name runs.
    #[error("no plugin {name:?} runs")]
    Unknown {
        /// The name.
        name: String,
    },
    /// The file of a running plugin became a plugin of another name.
    #[error("{}: runs as {name:?}, and its new version calls itself {named:?}", file.display())]
    Renamed {
        /// The file.
        file: PathBuf,
        /// The name that the file's plugin runs by.
        name: String,
        /// The name that the new version gives itself.
        named: String,
    },
    /// A version that should run beside a plugin that does not run.
    #[error("--shadow {}: no plugin {name:?} runs that it could run beside", file.display())]
    Alone {
        /// The file.
        file: PathBuf,
        /// The name it gives itself.
        name: String,
    },
    /// It asks for more than the version before.
    #[error("{}: {name} asks for more than before: to {}", file.display(), more.join(", to "))]
    Wider {
        /// The file.
        file: PathBuf,
        /// Name of the plugin.
        name: String,
        /// What, in words.
        more: Vec<String>,
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
    /// The kernel's types cannot be read.
    #[error(transparent)]
    Btf(#[from] BtfError),
    /// The object cannot be used.
    #[error(transparent)]
    Load(#[from] ObjectError),
    /// A hook that cannot be left alone.
    #[error("--without {hook}: there is no such hook, or processes are followed by it")]
    Without {
        /// As it was given.
        hook: String,
    },
    /// A watch of the command line.
    #[error("--watch {watch:?}: {why}")]
    Watch {
        /// As it was given.
        watch: String,
        /// What is wrong.
        why: Arc<LeftOut>,
    },
    /// No hook that a plugin wants can be attached.
    #[error("no hook could be attached; {hook}: {why}")]
    NoHook {
        /// The first of them.
        hook: String,
        /// Why that hook was left out.
        why: Arc<LeftOut>,
    },
    /// Attached hooks do not fire.
    #[error("the BPF LSM is not active")]
    Canary(#[from] CanaryError),
    /// A map is unusable.
    #[error(transparent)]
    Map(#[from] MapError),
    /// The operator's word on rules cannot be put in force.
    #[error(transparent)]
    Standing(StoreError),
    /// The Wasm engine cannot be set up.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A file is no plugin.
    #[error(transparent)]
    Plugin(#[from] LoadError),
    /// A plugin could not be started.
    #[error(transparent)]
    Start(#[from] StartError),
    /// Two plugins with one name.
    #[error("{}: its name {name:?} is taken by {}", file.display(), taken_by.display())]
    SameName {
        /// The later file.
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
    #[error("{plugin}: {what} by cgroup is not to be had: {why}")]
    Cgroups {
        /// Name of the plugin.
        plugin: String,
        /// What is said by cgroup: a scope or a filter.
        what: &'static str,
        /// Why cgroups tell nobody apart.
        why: CgroupError,
    },
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
    /// Signals cannot be waited for.
    #[error("the control plane cannot be set up")]
    Runtime(#[source] std::io::Error),
    /// Something lies where the ready file is to be.
    #[error("--ready-file {}: lies there already and is no ready file, which would be empty", file.display())]
    ReadyFileTaken {
        /// The file.
        file: PathBuf,
    },
    /// The ready file cannot be created.
    #[error("{}: cannot be created", file.display())]
    ReadyFile {
        /// The file.
        file: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

const ENABLE_BPF_LSM: &str = "enable it: add bpf to the lsm= parameter of the kernel's command line, \
for example in /etc/default/grub\n    GRUB_CMDLINE_LINUX=\"lsm=landlock,lockdown,yama,integrity,apparmor,bpf\"\n\
then run update-grub and reboot; without a reboot, `cargo xtask demo` shows krsi-host in a VM";

impl RunError {
    /// What to do about it; empty where only a report helps.
    #[must_use]
    pub const fn fix(&self) -> &'static str {
        match self {
            RunError::Config(error) => of_config(error),
            RunError::Probe(ProbeError::NotRoot) => "run it as root, for example with sudo",
            RunError::Probe(ProbeError::Pids(PidsError::Namespace)) => {
                "run it in the machine's PID namespace: --pid=host, hostPID: true, or outside of `unshare --pid`"
            }
            RunError::Probe(ProbeError::Pids(PidsError::Proc)) => {
                "mount the /proc of the machine's PID namespace"
            }
            RunError::Cgroups { .. } => {
                "boot with systemd.unified_cgroup_hierarchy=1, or mount a cgroup2 hierarchy"
            }
            RunError::Probe(ProbeError::NoBpfLsm { .. })
            | RunError::Canary(CanaryError::Silent { .. }) => ENABLE_BPF_LSM,
            RunError::Probe(ProbeError::NoBtf) | RunError::Btf(BtfError::Missing { .. }) => {
                "use a kernel built with CONFIG_DEBUG_INFO_BTF=y"
            }
            RunError::Btf(BtfError::Invalid { .. })
            | RunError::Load(_)
            | RunError::NoHook { .. } => "please report this with the output of `uname -a`",
            RunError::Without { .. } => "docs/hooks.md lists the hooks",
            RunError::Watch { .. } => {
                "docs/watches.md has the language; `krsi-host hooks` lists the hooks"
            }
            RunError::Plugin(error) => error.fix(),
            RunError::Start(error) => error.fix(),
            RunError::SameName { .. } => {
                "state, rules and grants belong to a plugin's name: give each plugin its own, or take the other file away to let this one follow it"
            }
            RunError::Pin(error) => error.fix(),
            RunError::Reload(ReloadError::Renamed { .. }) => {
                "the old version runs on; give the other plugin a file of its own"
            }
            RunError::Reload(ReloadError::Unknown { .. }) => "`krsi-host status` lists the plugins",
            RunError::Reload(ReloadError::Alone { .. }) => {
                "it will once one does: give its --plugin, or the --plugin-dir where it lies"
            }
            RunError::Reload(ReloadError::Wider { .. }) => {
                "the old version runs on; `krsi-host reload NAME --accept` grants it, or the configuration file"
            }
            RunError::Cache(_) => "give --cache-dir a folder that only its owner may enter",
            RunError::Key(_) => {
                "give --require-signed the public key file that `minisign -G` wrote"
            }
            RunError::Control(error) => error.fix(),
            RunError::ReadyFileTaken { .. } => "give another path; krsi-host left the file alone",
            RunError::Map(_)
            | RunError::Standing(_)
            | RunError::Read(_)
            | RunError::Thread(_)
            | RunError::Runtime(_)
            | RunError::Engine(_)
            | RunError::ReadyFile { .. } => "",
        }
    }

    /// The error and what caused it, on one line.
    #[must_use]
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut source = self.source();
        while let Some(cause) = source {
            let words = cause.to_string();
            if !text.ends_with(&words) {
                text.push_str(": ");
                text.push_str(&words);
            }
            source = cause.source();
        }
        text
    }

    /// The same with what to do about it.
    #[must_use]
    pub fn line(&self) -> String {
        match self.fix() {
            "" => self.chain(),
            fix => format!("{} ({fix})", self.chain()),
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
