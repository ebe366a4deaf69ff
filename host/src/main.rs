//! krsi-host: parse, run, exit; everything else is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    krsi_host::main()
}
