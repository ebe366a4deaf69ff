//! The socket: who may ask, bounded lines in, one line out.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream as Probe;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::ControlError;
use super::protocol::{Answer, QUERY_MAX, Query};

/// Questions that wait; beyond, askers wait.
const WAITING_MAX: usize = 16;
/// How long a connection may take to ask.
const PATIENCE: Duration = Duration::from_secs(5);

/// The socket of a running host; removed when dropped.
pub(crate) struct Server {
    path: PathBuf,
    /// Device and inode of the socket.
    id: (u64, u64),
    questions: mpsc::Receiver<(Query, oneshot::Sender<Answer>)>,
}

impl Server {
    /// Listens at a path, in place of a host that is gone. To be called within the runtime.
    ///
    /// # Errors
    /// When the path is taken or cannot be made.
    pub(crate) fn bind(path: &Path) -> Result<Self, ControlError> {
        let failed = |source| ControlError::Bind { path: path.into(), source };
        Self::vacant(path)?;
        if let Some(folder) = path.parent() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
        }
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            // Of a host that is gone.
            _ => {}
        }
        let listener = UnixListener::bind(path).map_err(failed)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(failed)?;
        let id = id(path).map_err(failed)?;
        let (sender, questions) = mpsc::channel(WAITING_MAX);
        tokio::spawn(async move {
            loop {
                match listener.accept().await {
                    Ok((stream, _)) => {
                        tokio::spawn(converse(stream, sender.clone()));
                    }
                    // Out of descriptors, say: the next one may find some.
                    Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
                }
            }
        });
        Ok(Self { path: path.into(), id, questions })
    }

    /// Looks whether a socket can be made at a path: nothing lies there, or what a host that is gone left.
    ///
    /// # Errors
    /// When a host listens there, or something else lies there.
    pub(crate) fn vacant(path: &Path) -> Result<(), ControlError> {
        match fs::symlink_metadata(path) {
            Ok(meta) if !meta.file_type().is_socket() => {
                Err(ControlError::NoSocket { path: path.into() })
            }
            Ok(_) if Probe::connect(path).is_ok() => Err(ControlError::Taken { path: path.into() }),
            // Of a host that is gone.
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(source) => Err(ControlError::Bind { path: path.into(), source }),
        }
    }

    /// The next question, and where its answer goes.
    pub(crate) async fn next(&mut self) -> (Query, oneshot::Sender<Answer>) {
        match self.questions.recv().await {
            Some(question) => question,
            None => std::future::pending().await,
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Another host may have made its own there. A socket that stays is replaced by the next host.
        if id(&self.path).is_ok_and(|id| id == self.id) {
            let _removed = fs::remove_file(&self.path);
        }
    }
}

fn id(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|meta| (meta.dev(), meta.ino()))
}

async fn converse(
    mut stream: UnixStream,
    questions: mpsc::Sender<(Query, oneshot::Sender<Answer>)>,
) {
    let own = rustix::process::geteuid().as_raw();
    let allowed = stream.peer_cred().is_ok_and(|peer| peer.uid() == 0 || peer.uid() == own);
    if !allowed {
        return;
    }
    let asked = timeout(PATIENCE, line(&mut stream)).await;
    let answer = match asked {
        Ok(Ok(query)) => {
            let (sender, answer) = oneshot::channel();
            if questions.send((query, sender)).await.is_err() {
                return;
            }
            answer.await.unwrap_or_else(|_| Answer::Refused("the host is ending".into()))
        }
        Ok(Err(error)) => Answer::Refused(error.to_string()),
        Err(_) => Answer::Refused("no line within 5 s".into()),
    };
    let Ok(mut text) = serde_json::to_vec(&answer) else { return };
    text.push(b'\n');
    // Whoever asked may be gone.
    let _written = timeout(PATIENCE, stream.write_all(&text)).await;
}

/// Why a line is no question.
#[derive(Debug, thiserror::Error)]
enum QueryError {
    /// The question cannot be read.
    #[error(transparent)]
    Read(#[from] io::Error),
    /// The question does not end in time, or is too long.
    #[error("a question is one line of at most {QUERY_MAX} bytes")]
    Endless,
    /// The question is none that this host knows.
    #[error(transparent)]
    Unknown(#[from] serde_json::Error),
}

async fn line(stream: &mut UnixStream) -> Result<Query, QueryError> {
    let mut text = Vec::new();
    let mut chunk = [0; 512];
    loop {
        let read = stream.read(&mut chunk).await?;
        text.extend_from_slice(chunk.get(..read).unwrap_or_default());
        if let Some(end) = text.iter().position(|byte| *byte == b'\n') {
            let line = text.get(..end).unwrap_or_default();
            return Ok(serde_json::from_slice(line)?);
        }
        if read == 0 || text.len() > QUERY_MAX {
            return Err(QueryError::Endless);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener as Listener;

    use super::*;

    #[test]
    fn a_path_that_is_taken_is_refused_and_what_lies_there_stays() {
        let folder = std::env::temp_dir().join(format!("krsi-control-{}", std::process::id()));
        fs::create_dir_all(folder.join("folder")).unwrap();
        let [file, link, socket] = ["file", "link", "socket"].map(|name| folder.join(name));
        fs::write(&file, "precious").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
        let bind = |path: &Path| runtime.block_on(async { Server::bind(path) });
        for taken in [&file, &link, &folder.join("folder")] {
            let refused = bind(taken).map(drop).unwrap_err();
            assert!(matches!(refused, ControlError::NoSocket { .. }), "{refused}");
        }
        assert_eq!(fs::read(&link).unwrap(), b"precious");
        // A socket where nobody listens any more is replaced; one where somebody does is not.
        drop(Listener::bind(&socket).unwrap());
        let server = bind(&socket).unwrap();
        fs::remove_file(&socket).unwrap();
        let other = Listener::bind(&socket).unwrap();
        assert!(matches!(bind(&socket), Err(ControlError::Taken { .. })));
        drop(server);
        assert!(socket.exists(), "that of another host was removed");
        drop(other);
        fs::remove_dir_all(&folder).unwrap();
    }
}
