//! A TLS ClientHello → the server's name in it (RFC 8446, 4.1.2; RFC 6066, 3).

use super::Parsed;
use super::cursor::{Cursor, Stop};

/// Type of a record with handshake messages, and the first byte of every version since SSL 3.
const HANDSHAKE: u8 = 22;
const MAJOR: u8 = 3;
/// Type of the message.
const CLIENT_HELLO: u8 = 1;
/// Type of the extension, and of a name in it that is a host's.
const SERVER_NAME: u16 = 0;
const HOST_NAME: u8 = 0;
/// Longest name of a host.
const NAME_MAX: usize = 255;
/// Bytes of the message that are looked at: keys of many groups are a few thousand.
const HELLO_MAX: usize = 64 << 10;

/// Name of the server that a client asks for, in lower case. It is what the client says, not whom it talks to; with an
/// encrypted hello it is the name that stands outside.
///
/// ```
/// use krsi_plugin::parse::{Parsed, tls_server_name};
/// // The first bytes of a hello, cut before its extensions.
/// assert_eq!(tls_server_name(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"), Parsed::Unknown);
/// assert_eq!(tls_server_name(b"GET / HTTP/1.1\r\n"), Parsed::Absent);
/// ```
#[must_use]
pub fn tls_server_name(stream: &[u8]) -> Parsed<String> {
    match records(stream) {
        Err(Stop::End) => Parsed::Absent,
        Err(Stop::Cut) => Parsed::Unknown,
        Ok(hello) => match server_name(Cursor::of(&hello)) {
            Ok(Some(name)) => Parsed::Found(name),
            Ok(None) | Err(Stop::End) => Parsed::Absent,
            Err(Stop::Cut) => Parsed::Unknown,
        },
    }
}

/// The message, put together from the records that it lies in, as far as they are there.
fn records(stream: &[u8]) -> Result<Vec<u8>, Stop> {
    let (mut rest, mut hello) = (Cursor::of(stream), Vec::new());
    let mut record = || -> Result<(Cursor<'_>, usize), Stop> {
        if rest.byte()? != HANDSHAKE || rest.byte()? != MAJOR {
            return Err(Stop::End);
        }
        let (_minor, len) = (rest.byte()?, usize::from(rest.short()?));
        Ok((rest.part(len)?, len))
    };
    let (first, len) = record()?;
    let mut next = Ok((first, len));
    while let Ok((mut part, len)) = next {
        let before = hello.len();
        while let Ok(byte) = part.byte() {
            hello.push(byte);
        }
        let is_cut = hello.len() - before < len;
        if is_cut || is_whole(&hello) || hello.len() > HELLO_MAX || len == 0 {
            break;
        }
        next = record();
    }
    Ok(hello)
}

/// Whether a message is there to its end.
fn is_whole(hello: &[u8]) -> bool {
    matches!(*hello, [_, high, middle, low, ref body @ ..]
        if body.len() >= usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low))
}

fn server_name(mut message: Cursor<'_>) -> Result<Option<String>, Stop> {
    if message.byte()? != CLIENT_HELLO {
        return Err(Stop::End);
    }
    let (high, low) = (usize::from(message.byte()?), usize::from(message.short()?));
    let mut hello = message.part(high << 16 | low)?;
    // Version and random, session, cipher suites, compression.
    hello.take(2 + 32)?;
    let session = usize::from(hello.byte()?);
    hello.take(session)?;
    let ciphers = usize::from(hello.short()?);
    hello.take(ciphers)?;
    let compressions = usize::from(hello.byte()?);
    hello.take(compressions)?;
    if hello.is_empty() {
        return Ok(None);
    }
    let len = usize::from(hello.short()?);
    let mut extensions = hello.part(len)?;
    while !extensions.is_empty() {
        let (kind, len) = (extensions.short()?, usize::from(extensions.short()?));
        if kind == SERVER_NAME {
            return host_name(extensions.part(len)?);
        }
        extensions.take(len)?;
    }
    Ok(None)
}

fn host_name(mut extension: Cursor<'_>) -> Result<Option<String>, Stop> {
    let len = usize::from(extension.short()?);
    let mut names = extension.part(len)?;
    while !names.is_empty() {
        let (kind, len) = (names.byte()?, usize::from(names.short()?));
        if kind == HOST_NAME && len > NAME_MAX {
            return Ok(None);
        }
        let name = names.take(len)?;
        if kind == HOST_NAME {
            let text = std::str::from_utf8(name).ok();
            let text = text.filter(|text| text.bytes().all(|byte| byte.is_ascii_graphic()));
            return Ok(text.filter(|text| !text.is_empty()).map(str::to_ascii_lowercase));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{cut_everywhere, mutate};
    use super::*;

    fn sized(width: usize, body: &[u8]) -> Vec<u8> {
        let len = u32::try_from(body.len()).unwrap().to_be_bytes();
        [&len[4 - width..], body].concat()
    }

    fn extension(kind: u16, body: &[u8]) -> Vec<u8> {
        [&kind.to_be_bytes()[..], &sized(2, body)].concat()
    }

    fn name(name: &[u8]) -> Vec<u8> {
        extension(0, &sized(2, &[&[0][..], &sized(2, name)].concat()))
    }

    fn message(extensions: Option<&[u8]>) -> Vec<u8> {
        let mut body =
            [&[3, 3][..], &[7; 32], &sized(1, &[5; 32]), &sized(2, &[1; 40]), &sized(1, &[0])]
                .concat();
        body.extend(extensions.map(|all| sized(2, all)).unwrap_or_default());
        [&[1][..], &sized(3, &body)].concat()
    }

    fn in_records(message: &[u8], each: usize) -> Vec<u8> {
        let record = |part: &[u8]| [&[22, 3, 1][..], &sized(2, part)].concat();
        message.chunks(each).flat_map(record).collect()
    }

    #[test]
    fn a_name_is_found_wherever_it_stands_in_however_many_records_and_unknown_where_it_is_cut() {
        // A key share with a post-quantum group before it, and padding behind.
        let all = [extension(51, &[9; 1300]), name(b"Pool.Example.org"), extension(21, &[0; 50])];
        let message = message(Some(&all.concat()));
        let expected = "pool.example.org".to_owned();
        for each in [usize::from(u16::MAX), 700, 100] {
            let stream = in_records(&message, each);
            cut_everywhere(&stream, tls_server_name, &expected);
        }
        mutate(&in_records(&message, 900), tls_server_name);
    }

    #[test]
    fn a_hello_without_a_name_is_told_from_one_that_is_cut() {
        let of = |message: &[u8]| tls_server_name(&in_records(message, 1 << 14));
        assert_eq!(of(&message(None)), Parsed::Absent);
        assert_eq!(of(&message(Some(&[]))), Parsed::Absent);
        let other = message(Some(&extension(43, &[2, 3, 4])));
        assert_eq!(of(&other), Parsed::Absent);
        assert_eq!(tls_server_name(&in_records(&other, 1 << 14)[..other.len()]), Parsed::Unknown);
        for wrong in [&b"a b"[..], b"\xff", b"", &[b'a'; 256]] {
            assert_eq!(of(&message(Some(&name(wrong)))), Parsed::Absent);
        }
        // A server's hello, an alert, lengths that lie.
        assert_eq!(of(&[2, 0, 0, 1, 0]), Parsed::Absent);
        assert_eq!(tls_server_name(b"\x15\x03\x03\x00\x02\x01\x00"), Parsed::Absent);
        let mut lies = message(Some(&name(b"a.example")));
        let at = lies.len() - 11;
        lies[at] = 0xff;
        assert_eq!(of(&lies), Parsed::Absent);
    }
}
