//! Arguments that several verbs have.

use std::path::PathBuf;

use clap::ValueEnum;

use crate::record::{FlightOptions, Options};

/// Where compiled plugins are kept unless said otherwise.
pub(super) const CACHE: &str = "/var/cache/krsi-host";

/// How something is recorded.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(super) struct RecordArgs {
    /// Records pseudonyms instead of names and arguments. Leaves out contents, configurations, states, reasons, and the texts of alerts and logs. Given at the host's start, it also holds for the flight recorder.
    #[arg(long = "record-redacted")]
    redacted: bool,
    /// Size at which a recording ends, in MiB.
    #[arg(long = "record-mib", value_name = "MIB", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=1_048_576))]
    mib: u32,
}

impl RecordArgs {
    /// Options of a recording to a file.
    pub(super) fn to(self, file: PathBuf) -> Options {
        let bytes_max = u64::from(self.mib) << 20;
        Options { file: absolute(file), bytes_max, redacted: self.redacted }
    }

    /// Options of a flight recorder with so many MiB of memory; `None` for 0.
    pub(super) fn flight(self, mib: u16) -> Option<FlightOptions> {
        let bytes_max = usize::from(mib) << 20;
        (mib > 0).then_some(FlightOptions { bytes_max, redacted: self.redacted })
    }
}

/// Format of what is printed.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum OutputArg {
    /// Text in aligned lines.
    Text,
    /// One JSON object a line.
    Json,
}

/// A path from the root on, without `.`: the same whatever it is named by. Links stay, as they may be changed.
pub(super) fn absolute(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}
