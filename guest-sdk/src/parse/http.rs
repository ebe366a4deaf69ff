//! An HTTP/1 request → its method, its path and its host.

use httparse::{EMPTY_HEADER, Error, Request, Status};

use super::Parsed;

/// Headers that are looked at.
const HEADERS_MAX: usize = 128;
/// Bytes that are looked at.
const BYTES_MAX: usize = 64 << 10;

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpRequest {
    /// Method, such as `GET`.
    pub method: String,
    /// What is asked for, as it was written: `/path?query`, or an address after `CONNECT` and towards proxies.
    pub path: String,
    /// The header `Host`, in lower case: a name or an address, perhaps with a port.
    pub host: Parsed<String>,
}

/// A request with its first line; the host may lie behind what is there, or behind what no server reads.
///
/// ```
/// use krsi_plugin::parse::{Parsed, http_request};
/// let request = http_request(b"GET /a?b HTTP/1.1\r\nHost: Example.org\r\nAcc").found().unwrap();
/// assert_eq!((request.path.as_str(), request.host), ("/a?b", Parsed::Found("example.org".into())));
/// let request = http_request(b"GET /a HTTP/1.1\r\nHost: Exam").found().unwrap();
/// assert_eq!(request.host, Parsed::Unknown);
/// ```
#[must_use]
pub fn http_request(stream: &[u8]) -> Parsed<HttpRequest> {
    let stream = stream.get(..BYTES_MAX).unwrap_or(stream);
    let status = status(stream);
    // What lies behind the last whole line is left out: a name may go on there.
    let lines = stream.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let whole = [stream.get(..lines).unwrap_or_default(), b"\r\n"].concat();
    let mut headers = [EMPTY_HEADER; HEADERS_MAX];
    let mut request = Request::new(&mut headers);
    let parsed = request.parse(&whole);
    let (Some(method), Some(path), Some(_)) = (request.method, request.path, request.version)
    else {
        return if status.is_err() { Parsed::Absent } else { Parsed::Unknown };
    };
    let host = match parsed {
        Ok(Status::Complete(_)) => {
            let is_host = |header: &&httparse::Header<'_>| header.name.eq_ignore_ascii_case("host");
            request.headers.iter().find(is_host).map(|header| header.value)
        }
        _ => None,
    };
    let host = match host {
        Some(host) => text(host).map_or(Parsed::Absent, Parsed::Found),
        None if status == Ok(Status::Partial) || status.is_err() => Parsed::Unknown,
        None => Parsed::Absent,
    };
    Parsed::Found(HttpRequest { method: method.to_owned(), path: path.to_owned(), host })
}

fn status(stream: &[u8]) -> Result<Status<usize>, Error> {
    let mut headers = [EMPTY_HEADER; HEADERS_MAX];
    Request::new(&mut headers).parse(stream)
}

/// A host's text, if it is one.
fn text(host: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(host).ok()?.trim();
    let is_one = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    is_one.then(|| text.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::super::tests::mutate;
    use super::*;

    fn host(stream: &[u8]) -> Parsed<String> {
        http_request(stream).found().map_or(Parsed::Absent, |request| request.host)
    }

    #[test]
    fn a_request_is_read_and_what_is_cut_of_it_is_unknown() {
        let whole = b"POST /api?x=1 HTTP/1.1\r\nAccept: */*\r\nhOST:  Pool.Example.org:8080 \r\nX: y\r\n\r\nbody\nmore";
        let (mut is_found, mut has_host) = (false, false);
        for end in 0..=whole.len() {
            match http_request(&whole[..end]) {
                Parsed::Unknown => assert!(!is_found, "cut at {end}"),
                Parsed::Absent => panic!("cut at {end}: said not to be there"),
                Parsed::Found(request) => {
                    is_found = true;
                    assert_eq!((&*request.method, &*request.path), ("POST", "/api?x=1"));
                    match request.host {
                        Parsed::Found(host) => {
                            has_host = true;
                            assert_eq!(host, "pool.example.org:8080");
                        }
                        Parsed::Unknown => assert!(!has_host, "cut at {end}"),
                        Parsed::Absent => panic!("cut at {end}: no host"),
                    }
                }
            }
        }
        assert!(has_host);
        mutate(whole, http_request);
    }

    #[test]
    fn a_request_without_a_host_and_what_is_no_request_are_told_apart() {
        assert_eq!(host(b"GET / HTTP/1.0\r\n\r\n"), Parsed::Absent);
        assert_eq!(host(b"GET / HTTP/1.1\r\nhost: \xff\r\n\r\n"), Parsed::Absent);
        assert_eq!(host(b"GET / HTTP/1.0\r\nA: b\r\n"), Parsed::Unknown);
        let connect = http_request(b"CONNECT pool.example:443 HTTP/1.1\r\n\r\n").found().unwrap();
        assert_eq!(connect.path, "pool.example:443");
        let many = ["GET / HTTP/1.1\r\n", &"a: b\r\n".repeat(HEADERS_MAX + 1), "host: x\r\n\r\n"];
        assert_eq!(host(many.concat().as_bytes()), Parsed::Unknown);
        for other in [
            &b"HTTP/1.1 200 OK\r\n\r\n"[..],
            b"SSH-2.0-x\r\n\r\n",
            b"\0\0\0",
            b"GET /\x01 HTTP/1.1\r\n",
        ] {
            assert_eq!(http_request(other), Parsed::Absent, "{other:?}");
        }
    }
}
