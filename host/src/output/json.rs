//! Reports as JSON lines.

use std::io::{self, Write};

use super::{Output, Report};

/// Output of reports as JSON, one object on each line.
pub(crate) struct Json;

impl Output for Json {
    fn write(&mut self, report: &Report, out: &mut dyn Write) -> io::Result<()> {
        serde_json::to_writer(&mut *out, report).map_err(io::Error::other)?;
        out.write_all(b"\n")
    }
}
