//! First bytes of connections, as plugins parse them: an answer, whatever they are, and the same for more of the same.

use std::time::Duration;

use krsi_plugin::parse::{
    Parsed, dns_question, dns_question_over_tcp, http_request, json_rpc_method, tls_server_name,
};

use crate::fuzz::engine::{FuzzOutcome, FuzzTarget, outcome};

pub(crate) const TARGET: FuzzTarget = FuzzTarget {
    name: "first bytes of connections",
    seeds: || {
        let hello = b"\x16\x03\x01\0\x3c\x01\0\0\x38\x03\x03\
            00000000000000000000000000000000\0\0\x02\x13\x01\x01\0\0\x0d\0\0\0\x09\0\x07\0\0\x04a.bc";
        let query = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x07example\x03org\0\0\x01\0\x01";
        let http = b"GET /a HTTP/1.1\r\nhost: a.bc\r\nx: y\r\n\r\n";
        let call = br#"{"id":1,"params":[{"a":"b"}],"method":"login"}"#;
        [&hello[..], query, http, call].map(<[u8]>::to_vec).to_vec()
    },
    words: &[
        "\"method\":",
        "{",
        "[",
        "]",
        "\\u0000",
        "Host: ",
        "\r\n",
        "\r\n\r\n",
        " HTTP/1.1",
        "CONNECT ",
        "\x16\x03\x01",
        "\0\0",
        "\x01\0",
        "\x3f",
    ],
    run,
    slow: Duration::from_secs(2),
    longest: 4096,
};

fn run(input: &[u8]) -> FuzzOutcome {
    let same = |parse: &dyn Fn(&[u8]) -> Option<String>| {
        let found = parse(input);
        // What was found is there whatever follows.
        let more = [input, b"\0x"].concat();
        assert!(found.is_none() || parse(&more) == found, "{found:?} {:?}", parse(&more));
        found.is_some()
    };
    let dns = |parse: fn(&[u8]) -> Parsed<_>| {
        move |bytes: &[u8]| {
            parse(bytes).found().map(|question: krsi_plugin::parse::DnsQuestion| question.name)
        }
    };
    let found = [
        same(&dns(dns_question)),
        same(&dns(dns_question_over_tcp)),
        same(&|bytes| http_request(bytes).found().map(|request| request.method + &request.path)),
        same(&|bytes| tls_server_name(bytes).found()),
        same(&|bytes| json_rpc_method(bytes).found()),
    ];
    let unknown = [
        dns_question(input) == Parsed::Unknown,
        tls_server_name(input) == Parsed::Unknown,
        json_rpc_method(input) == Parsed::Unknown,
    ];
    outcome((found, unknown))
}
