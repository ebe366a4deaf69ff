//! What can be wrong with a plugin's bytes, in words; the compiler's child tells its parent in these.

use serde::{Deserialize, Serialize};

/// The reason why bytes are not a plugin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// No Wasm at all.
    #[error("not Wasm (it does not start with \\0asm)")]
    NotWasm,
    /// Built for WASI.
    #[error("built for WASI, which plugins do not have")]
    Wasi,
    /// A core module that no SDK prepared.
    #[error("a Wasm module without a component-type section, so it implements no contract")]
    NoContract,
    /// A contract or version that this host does not serve.
    #[error("implements {found}, this host serves {served}")]
    WrongContract {
        /// The contract that the plugin implements.
        found: String,
        served: String,
    },
    /// A function of the contract is missing.
    #[error("does not export `{function}`, which {contract} requires")]
    MissingExport { function: String, contract: String },
    /// An import that no host offers.
    #[error("imports `{import}`, which no host offers")]
    UnknownImport { import: String },
    /// The bytes are not valid.
    #[error("not a valid component: {reason}")]
    Invalid {
        /// Error of the parser or compiler, in words.
        reason: String,
    },
    /// The module could not be made a component.
    #[error("cannot be made a component: {reason}")]
    Encode {
        /// Error of the encoder, in words.
        reason: String,
    },
    /// Compiling it took more than it may.
    #[error("compiling it takes more than {limit}")]
    TooCostly {
        /// The limit that was met, with its unit.
        limit: String,
    },
    /// The host ends before it is compiled.
    #[error("not compiled, as the host ends")]
    Stopped,
    /// The compiling process went wrong.
    #[error("the compiler failed: {reason}")]
    Compiler { reason: String },
}

impl Fault {
    /// Tells the user what to do about the error.
    #[must_use]
    pub const fn fix(&self) -> &'static str {
        match self {
            Fault::NotWasm => "give a file that was built for wasm32-unknown-unknown",
            Fault::Wasi => {
                "build it for wasm32-unknown-unknown instead of wasm32-wasip1 or wasm32-wasip2"
            }
            Fault::NoContract => {
                "name the plugin with krsi_plugin::export!(YourPlugin) and build it again"
            }
            Fault::WrongContract { .. } | Fault::MissingExport { .. } => {
                "build it again with the krsi-plugin SDK of version 0.1"
            }
            Fault::UnknownImport { .. } => "remove what needs it: plugins import nothing but log",
            Fault::Invalid { .. } | Fault::Encode { .. } => {
                "build it again; the file may be damaged"
            }
            Fault::TooCostly { .. } => {
                "do not trust this file; if you do, raise compile-memory-mib or compile-seconds"
            }
            Fault::Stopped => "it is compiled at the next start",
            Fault::Compiler { .. } => "please report this with the plugin",
        }
    }

    /// Text of a foreign tool: cut, one line.
    pub(super) fn words(error: &dyn std::fmt::Display) -> String {
        let text = format!("{error:#}");
        text.lines().next().unwrap_or_default().chars().take(512).collect()
    }
}
