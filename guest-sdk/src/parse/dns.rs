//! A DNS query → its question (RFC 1035, 4.1).

use super::Parsed;
use super::cursor::{Cursor, Stop};

/// Longest name, in bytes of its text.
const NAME_MAX: usize = 255;
/// Longest label; a longer length is a pointer.
const LABEL_MAX: u8 = 63;
/// Bits of the flags that say that it is a response, or no standard query.
const NOT_A_QUERY: u16 = 0xf800;

/// The question of a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsQuestion {
    /// Name that is asked for, without the last dot, in lower case; bytes that are no letter, digit, `-` or `_` as `\DDD`.
    pub name: String,
    /// What is asked for: 1 for A, 16 for TXT, 28 for AAAA (`QTYPE`).
    pub kind: u16,
}

/// The question of a query that is a datagram. Answers are absent.
///
/// ```
/// use krsi_plugin::parse::{DnsQuestion, Parsed, dns_question};
/// let query = b"\x12\x34\x01\x00\x00\x01\0\0\0\0\0\0\x07example\x03org\0\0\x01\0\x01";
/// assert_eq!(dns_question(query), Parsed::Found(DnsQuestion { name: "example.org".into(), kind: 1 }));
/// assert_eq!(dns_question(&query[..20]), Parsed::Unknown);
/// ```
#[must_use]
pub fn dns_question(message: &[u8]) -> Parsed<DnsQuestion> {
    parsed(question(Cursor::of(message)))
}

/// The question of a query over TCP: the length comes first.
#[must_use]
pub fn dns_question_over_tcp(stream: &[u8]) -> Parsed<DnsQuestion> {
    let mut stream = Cursor::of(stream);
    let message = stream.short().and_then(|len| stream.part(usize::from(len)));
    parsed(message.and_then(question))
}

fn parsed(question: Result<DnsQuestion, Stop>) -> Parsed<DnsQuestion> {
    match question {
        Ok(question) => Parsed::Found(question),
        Err(Stop::Cut) => Parsed::Unknown,
        Err(Stop::End) => Parsed::Absent,
    }
}

fn question(mut message: Cursor<'_>) -> Result<DnsQuestion, Stop> {
    let (_id, flags, questions, answers) =
        (message.short()?, message.short()?, message.short()?, message.short()?);
    if flags & NOT_A_QUERY != 0 || questions != 1 || answers != 0 {
        return Err(Stop::End);
    }
    message.take(4)?;
    let (mut name, mut bytes) = (String::new(), 0);
    loop {
        let len = message.byte()?;
        bytes += 1 + usize::from(len);
        // Before the first name there is nothing that could be pointed to.
        if len > LABEL_MAX || bytes > NAME_MAX {
            return Err(Stop::End);
        }
        if len == 0 {
            break;
        }
        if !name.is_empty() {
            name.push('.');
        }
        message.take(usize::from(len))?.iter().for_each(|byte| push(&mut name, *byte));
    }
    let (kind, _class) = (message.short()?, message.short()?);
    Ok(DnsQuestion { name, kind })
}

fn push(name: &mut String, byte: u8) {
    match byte {
        b'-' | b'_' => name.push(char::from(byte)),
        byte if byte.is_ascii_alphanumeric() => name.push(char::from(byte.to_ascii_lowercase())),
        byte => name.push_str(&format!("\\{byte:03}")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{cut_everywhere, mutate};
    use super::*;

    const HEAD: &[u8] = b"\x12\x34\x01\x00\x00\x01\0\0\0\0\0\x01";
    const NAME: &[u8] = b"\x04Pool\x07exa.ple\x03oRg\0\0\x1c\0\x01";

    fn whole() -> Vec<u8> {
        [HEAD, NAME, b"\0\0)\x04\xd0\0\0\0\0\0\0"].concat()
    }

    #[test]
    fn a_question_is_read_over_both_transports_and_unknown_where_it_is_cut() {
        let expected = DnsQuestion { name: "pool.exa\\046ple.org".into(), kind: 28 };
        cut_everywhere(&whole(), dns_question, &expected);
        mutate(&whole(), dns_question);
        let len = u16::try_from(whole().len()).unwrap().to_be_bytes();
        let stream = [&len[..], &whole()].concat();
        cut_everywhere(&stream, dns_question_over_tcp, &expected);
        mutate(&stream, dns_question_over_tcp);
        let root = [HEAD, b"\0\0\x02\0\x01"].concat();
        assert_eq!(
            dns_question(&root),
            Parsed::Found(DnsQuestion { name: String::new(), kind: 2 })
        );
    }

    #[test]
    fn what_is_no_query_is_absent() {
        let with = |at: usize, byte: u8| {
            let mut message = whole();
            message[at] = byte;
            dns_question(&message)
        };
        // A response, an update, no question, two, an answer, a pointer, a label that is too long.
        for (at, byte) in [(2, 0x81), (2, 0x28), (5, 0), (5, 2), (7, 1), (12, 0xc0), (12, 64)] {
            assert_eq!(with(at, byte), Parsed::Absent, "{at} {byte}");
        }
        let long = [
            HEAD,
            &b"\x3f".iter().chain([b'a'; 63].iter()).copied().collect::<Vec<u8>>().repeat(5),
        ]
        .concat();
        assert_eq!(dns_question(&long), Parsed::Absent);
        // The stream says that the message is shorter than its question.
        assert_eq!(dns_question_over_tcp(&[&[0, 20], &whole()[..]].concat()), Parsed::Absent);
    }
}
