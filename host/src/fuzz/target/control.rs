//! Messages of the control socket: whatever a peer sends, it is answered in one line, and the server lives on.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

use crate::control::{Answer, LabelledProcesses, Query, Server};

use crate::fuzz::engine::{FuzzOutcome, FuzzTarget, outcome};

pub(crate) const TARGET: FuzzTarget = FuzzTarget {
    name: "control messages",
    seeds,
    words: &[
        "{\"ask\":\"status\"}\n",
        "\"reload\"",
        "\"accept\":true",
        "null",
        "\\u0000",
        "\n",
        "[[[[",
        "1e999",
    ],
    run,
    slow: Duration::from_secs(10),
    longest: 8 << 10,
};

fn seeds() -> Vec<Vec<u8>> {
    let status = crate::output::Status::default();
    let answers = [
        Answer::Status(Box::new(status)),
        Answer::Reloaded(vec![Ok("a".into()), Err("b".into())]),
        Answer::Recording("to c".into()),
        Answer::Labels(LabelledProcesses::default()),
        Answer::Cleared(vec!["d.e".into()]),
        Answer::Refused("c".into()),
    ];
    let questions = [
        &b"{\"ask\":\"status\"}\n"[..],
        b"{\"ask\":\"reload\",\"plugin\":\"miner\",\"accept\":true}\n",
        b"{\"ask\":\"record\",\"file\":\"/a\",\"bytes_max\":7,\"redacted\":true}\n",
        b"{\"ask\":\"clear-labels\",\"tgid\":7}\n{\"ask\":\"labels\"}\n",
        b"{\"ask\":\"dump\",\"file\":\"/a\"}\n{\"ask\":\"end-recording\"}\n",
        b"{\"ask\":\"reload\",\"plugin\":null,\"accept\":false}\n{\"ask\":\"status\"}\n",
    ];
    let answers = answers.iter().map(|answer| serde_json::to_vec(answer).unwrap());
    questions.map(<[u8]>::to_vec).into_iter().chain(answers).collect()
}

/// A server that says of every question what it was taken for.
static SERVER: LazyLock<PathBuf> = LazyLock::new(|| {
    let path = std::env::temp_dir().join(format!("krsi-fuzz-{}.sock", std::process::id()));
    let (ready, listening) = std::sync::mpsc::channel();
    let at = path.clone();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut server = Server::bind(&at).unwrap();
            ready.send(()).unwrap();
            loop {
                let (query, reply) = server.next().await;
                // Whoever asked may be gone.
                let _told = reply.send(Answer::Refused(format!("taken for {query:?}")));
            }
        })
    });
    listening.recv().unwrap();
    path
});

fn run(input: &[u8]) -> FuzzOutcome {
    let mut stream = UnixStream::connect(&*SERVER).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(8))).unwrap();
    // It may have been answered before it was read to its end.
    let _sent = stream.write_all(input).and_then(|()| stream.shutdown(Shutdown::Write));
    let mut text = Vec::new();
    let read = stream.read_to_end(&mut text);
    let line = input.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let expected = serde_json::from_slice::<Query>(line).ok();
    // What is left unread when the server is done resets the connection, and may take the answer along.
    let is_cut = read.is_err() && input.len() > line.len() + 1;
    let kind = match serde_json::from_slice::<Answer>(&text) {
        Ok(Answer::Refused(reason)) => {
            assert!(
                text.ends_with(b"\n") && text.iter().filter(|byte| **byte == b'\n').count() == 1
            );
            if let Some(query) = &expected
                && input.contains(&b'\n')
                && line.len() < 4000
            {
                assert_eq!(reason, format!("taken for {query:?}"));
                let again = serde_json::to_vec(query).unwrap();
                assert_eq!(serde_json::from_slice::<Query>(&again).unwrap(), *query);
            }
            reason.chars().take_while(|letter| !letter.is_numeric()).take(24).collect()
        }
        Ok(other) => panic!("{other:?}"),
        Err(error) => {
            assert!(is_cut, "no answer: {error} in {text:?}, {read:?}");
            String::new()
        }
    };
    // What a server could send to the verbs.
    let answered = serde_json::from_slice::<Answer>(line).map(|answer| {
        let again = serde_json::to_vec(&answer).unwrap();
        let read: Answer = serde_json::from_slice(&again).unwrap();
        assert_eq!(serde_json::to_vec(&read).unwrap(), again);
    });
    outcome((kind, answered.is_ok()))
}
