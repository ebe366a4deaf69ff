//! Error → message with the fix, and exit code: the one place where users are told what to do.

use std::error::Error;
use std::process::ExitCode;

use crate::config::ConfigError;
use crate::kernel::btf::BtfError;
use crate::kernel::canary::CanaryError;
use crate::kernel::probe::ProbeError;
use crate::pipeline::RunError;
use crate::plugin::{LoadError, StartError};

/// Exit codes. 0 is success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Code {
    /// Something that should not happen, happened.
    Internal = 1,
    /// The command line or a configuration file is wrong.
    Usage = 2,
    /// This machine cannot take the programs.
    Machine = 3,
    /// A plugin cannot be run.
    Plugin = 4,
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> Self {
        ExitCode::from(code as u8)
    }
}

/// Prints an error, its causes and what to do about it; returns the exit code.
pub(super) fn tell(error: &RunError) -> ExitCode {
    let (code, fix) = explain(error);
    eprintln!("krsi-host: {}", chain(error));
    if !fix.is_empty() {
        eprintln!("{fix}");
    }
    code.into()
}

fn chain(error: &RunError) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

const ENABLE_BPF_LSM: &str = "enable it: add bpf to the lsm= parameter of the kernel's command line, \
for example in /etc/default/grub\n    GRUB_CMDLINE_LINUX=\"lsm=landlock,lockdown,yama,integrity,apparmor,bpf\"\n\
then run update-grub and reboot; without a reboot, `cargo xtask demo` shows krsi-host in a VM";

fn explain(error: &RunError) -> (Code, String) {
    let text = |text: &str| text.to_owned();
    match error {
        RunError::Config(error) => (Code::Usage, config_fix(error)),
        RunError::Probe(ProbeError::NotRoot) => {
            (Code::Machine, text("run it as root, for example with sudo"))
        }
        RunError::Probe(ProbeError::NoBpfLsm { .. }) => (Code::Machine, text(ENABLE_BPF_LSM)),
        RunError::Canary(CanaryError::Silent { .. }) => (Code::Machine, text(ENABLE_BPF_LSM)),
        RunError::Probe(ProbeError::NoBtf) | RunError::Btf(BtfError::Missing { .. }) => {
            (Code::Machine, text("use a kernel built with CONFIG_DEBUG_INFO_BTF=y"))
        }
        RunError::Btf(BtfError::Invalid { .. }) | RunError::Load(_) | RunError::NoHook { .. } => {
            (Code::Machine, text("please report this with the output of `uname -a`"))
        }
        RunError::Plugin(error) => (Code::Plugin, plugin_fix(error)),
        RunError::Start(error) => (Code::Plugin, start_fix(error)),
        RunError::SameName { .. } => {
            (Code::Usage, text("rules belong to a plugin's name: give each plugin its own"))
        }
        RunError::Canary(CanaryError::Map(_))
        | RunError::Map(_)
        | RunError::Read(_)
        | RunError::Thread(_)
        | RunError::Runtime(_)
        | RunError::Engine(_)
        | RunError::ReadyFile { .. } => (Code::Internal, String::new()),
    }
}

fn config_fix(error: &ConfigError) -> String {
    match error {
        ConfigError::RingBytes { .. } => "give --ring-bytes a power of two, such as 4194304".into(),
        ConfigError::TooManyPlugins { .. } => "run fewer plugins, or several hosts".into(),
        ConfigError::Read { .. } => "check the path and its permissions".into(),
        ConfigError::TooLong { .. } => "shorten the file".into(),
    }
}

fn plugin_fix(error: &LoadError) -> String {
    error.fix().to_owned()
}

fn start_fix(error: &StartError) -> String {
    error.fix().to_owned()
}
