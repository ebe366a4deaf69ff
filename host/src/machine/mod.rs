//! This machine's own: whom no rule refuses, and the files and processes without which nobody comes in.

mod exempt;
mod vital;

pub(crate) use self::exempt::ExemptProcesses;
pub(crate) use self::vital::{NoCgroups, check_manifest, machine, told_of_loader};
