//! First bytes of a connection or a datagram → what they ask for: a name, a server, a path, a method.
//!
//! What is sent may be cut before it is read, and may be anything: each parser answers what it found, that it is not
//! there, or that the bytes end too early to say. Of a message that was read whole, the last is the same as not there.
//! None of them trusts a length, and none is longer at work than the bytes are long.

mod cursor;
mod dns;
mod http;
mod json_rpc;
mod tls;

pub use dns::{DnsQuestion, dns_question, dns_question_over_tcp};
pub use http::{HttpRequest, http_request};
pub use json_rpc::json_rpc_method;
pub use tls::tls_server_name;

/// What a parser found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parsed<T> {
    /// The bytes have what the parser looks for.
    Found(T),
    /// What the parser looks for is not there, or the bytes are of something else.
    Absent,
    /// The bytes end before it, or before that could be said.
    Unknown,
}

impl<T> Parsed<T> {
    /// Returns what the parser found.
    pub fn found(self) -> Option<T> {
        match self {
            Parsed::Found(found) => Some(found),
            Parsed::Absent | Parsed::Unknown => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Debug;

    use super::*;

    /// That a message is read, that each of its beginnings is unknown until it is found, and that it then stays so.
    pub(super) fn cut_everywhere<T: PartialEq + Debug>(
        message: &[u8],
        parse: impl Fn(&[u8]) -> Parsed<T>,
        expected: &T,
    ) {
        let mut is_found = false;
        for end in 0..=message.len() {
            match parse(&message[..end]) {
                Parsed::Found(found) => {
                    assert_eq!(&found, expected, "cut at {end}");
                    is_found = true;
                }
                Parsed::Unknown => assert!(!is_found, "cut at {end}: found before"),
                Parsed::Absent => panic!("cut at {end}: said not to be there"),
            }
        }
        assert!(is_found);
    }

    /// Gives a parser a message with random bytes changed, left out or doubled: it may answer what it likes, and returns.
    pub(super) fn mutate<T>(message: &[u8], parse: impl Fn(&[u8]) -> Parsed<T>) {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut below = |end: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            usize::try_from(state >> 20).unwrap() % end.max(1)
        };
        for _ in 0..20_000 {
            let mut bytes = message.to_vec();
            for _ in 0..=below(4) {
                let at = below(bytes.len());
                match below(4) {
                    0 if !bytes.is_empty() => bytes[at] = u8::try_from(below(256)).unwrap(),
                    1 if !bytes.is_empty() => drop(bytes.remove(at)),
                    2 => bytes.truncate(at),
                    _ => bytes.extend_from_within(at..),
                }
            }
            parse(&bytes);
        }
    }

    #[test]
    fn what_is_of_another_protocol_is_absent() {
        let http = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n".as_slice();
        let json = b"{\"id\":1,\"method\":\"login\"}\n".as_slice();
        for other in [json, b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00"] {
            assert_eq!(http_request(other), Parsed::Absent);
        }
        for other in [http, json] {
            assert_eq!(tls_server_name(other), Parsed::Absent);
        }
        assert_eq!(json_rpc_method(http), Parsed::Absent);
        for parsed in [
            tls_server_name(b""),
            json_rpc_method(b""),
            http_request(b"")
                .found()
                .map_or(Parsed::Unknown, |request| Parsed::Found(request.path)),
        ] {
            assert_eq!(parsed, Parsed::Unknown);
        }
    }
}
