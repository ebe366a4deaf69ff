//! The programs, one file per family.

mod exec;
mod file;
mod socket;
mod task;
