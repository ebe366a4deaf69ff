//! Asking a running host.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use super::ControlError;
use super::protocol::{ANSWER_MAX, Answer, Query};

/// A reload compiles; nothing else takes long.
const PATIENCE: Duration = Duration::from_secs(600);

/// Asks the host behind a socket.
///
/// # Errors
/// When nobody answers, or not in this protocol.
pub(crate) fn send_query(path: &Path, query: &Query) -> Result<Answer, ControlError> {
    let connect = |source| ControlError::Connect { path: path.into(), source };
    let read = |source| ControlError::Read { path: path.into(), source };
    let answer = |source| ControlError::Answer { path: path.into(), source };
    let mut stream = UnixStream::connect(path).map_err(connect)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(connect)?;
    let mut line = serde_json::to_vec(query).map_err(answer)?;
    line.push(b'\n');
    stream.write_all(&line).map_err(connect)?;
    let mut text = String::new();
    let mut reader = BufReader::new(stream.take(ANSWER_MAX));
    reader.read_line(&mut text).map_err(read)?;
    serde_json::from_str(&text).map_err(answer)
}
