//! What is told of a watch's text before its parser sees it: numbers that say two things, and signs and words of
//! other languages.

use super::PredicateError;

/// Signs that CEL, or what there is of it here, does not have.
const SIGNS: &[(&str, &str)] = &[
    ("=", "compares nothing; write =="),
    (
        "&",
        "is no test of bits; write any(x, MASK), or bits(x, MASK) == VALUE, and && between tests",
    ),
    ("|", "joins nothing; write || between tests, and A + B for a mask of both"),
    ("<<", "shifts nothing; write the number, as in 0x40"),
    (">>", "shifts nothing; write bits(x, MASK) == VALUE"),
    ("^", "is no sign of CEL; there are ==, !=, any(x, MASK) and bits(x, MASK)"),
    (
        "~",
        "is no sign of CEL; there are startsWith and endsWith for texts, bits(x, MASK) for numbers",
    ),
];

/// Words that CEL does not have.
const WORDS: &[(&str, &str)] = &[
    ("and", "is no word of CEL; write &&"),
    ("or", "is no word of CEL; write ||"),
    ("not", "is no word of CEL; write !, as in !(a == 1)"),
    ("is", "is no word of CEL; write =="),
    ("like", "is no word of CEL; write x.startsWith(\"a\") or x.endsWith(\"a\")"),
];

/// What to write instead of a function that there is not, or that is written otherwise.
pub(super) fn function(name: &str) -> &'static str {
    match name.to_lowercase().replace('_', "").as_str() {
        "ip" | "addr" | "address" | "cidr" | "host" | "inet" | "net" | "iprange" => ADDRESSES,
        "any" => "write any(x, MASK)",
        "label" | "haslabel" | "labels" | "labelled" => {
            "write label(\"plugin.name\") or !label(\"plugin.name\"), by itself"
        }
        "bits" | "bit" | "mask" | "and" | "hasbits" | "bitand" => {
            "write bits(x, MASK) == VALUE, or any(x, MASK)"
        }
        "present" | "exists" | "isset" | "defined" | "has" => "write present(x)",
        "family" | "port" | "ino" | "dev" | "generation" => {
            "takes one field and is compared with a number, as in port(address) == 443"
        }
        "state" => "takes content and is compared with a word, as in state(content) == \"unread\"",
        "startswith" | "hasprefix" | "prefix" => "write x.startsWith(\"a\")",
        "endswith" | "hassuffix" | "suffix" => "write x.endsWith(\"a\")",
        "contains" | "matches" | "match" | "size" | "len" | "length" | "glob" | "regex"
        | "lower" => {
            "a text is compared as a whole, by its start or by its end: ==, !=, in, startsWith, endsWith"
        }
        _ => {
            "is no function here; there are any, bits, present, label, family, port, ino, dev, \
             generation, state, startsWith and endsWith"
        }
    }
}

const ADDRESSES: &str = "tests nothing: there are family(address) and port(address), and a plugin's rules \
                         deny by IP address";

/// Every byte of a text, and whether it stands outside of strings.
pub(crate) fn outside_strings(text: &str) -> impl Iterator<Item = (usize, u8, bool)> {
    let mut quote = None;
    let mut escaped = false;
    text.bytes().enumerate().map(move |(at, byte)| {
        let inside = quote.is_some();
        match quote {
            Some(_) if escaped => escaped = false,
            Some(_) if byte == b'\\' => escaped = true,
            Some(open) if byte == open => quote = None,
            None if matches!(byte, b'"' | b'\'') => quote = Some(byte),
            _ => {}
        }
        (at, byte, !inside && quote.is_none())
    })
}

/// The text with a blank for each letter of its strings, so that what is left is as long in bytes.
fn plain(text: &str) -> String {
    let bytes = outside_strings(text).map(|(_, byte, outside)| if outside { byte } else { b' ' });
    String::from_utf8_lossy(&bytes.collect::<Vec<u8>>()).into_owned()
}

/// Column of a byte, in letters from 1.
pub(super) fn column(text: &str, at: usize) -> usize {
    text.char_indices().take_while(|(before, _)| *before < at).count() + 1
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Words and numbers, with their places.
fn words(plain: &str) -> impl Iterator<Item = (usize, &str)> {
    let runs = plain.as_bytes().chunk_by(|left, right| is_word(*left) == is_word(*right));
    let placed = runs.scan(0, |next, run| {
        let at = *next;
        *next += run.len();
        Some((at, run.len()))
    });
    let text = placed.filter_map(|(at, len)| plain.get(at..at + len).map(|word| (at, word)));
    text.filter(|(_, word)| word.bytes().all(is_word))
}

/// Rewrites octal numbers as CEL can read them, as many letters long.
///
/// # Errors
/// When a number starts with a zero, which means eight to some and nothing to others, or has a digit that is
/// none of its base.
pub(crate) fn numbers(text: &str) -> Result<String, PredicateError> {
    let plain = plain(text);
    let mut rewritten = text.to_owned();
    for (at, word) in words(&plain).filter(|(_, word)| word.starts_with('0') && word.len() > 1) {
        let number = word.trim_end_matches(['u', 'U']);
        let octal = number.strip_prefix("0o").or_else(|| number.strip_prefix("0O"));
        let is_octal = |digits: &str| {
            !digits.is_empty() && digits.bytes().all(|digit| (b'0'..=b'7').contains(&digit))
        };
        match octal {
            Some(digits) if is_octal(digits) => {
                let value = u128::from_str_radix(digits, 8).unwrap_or(u128::MAX);
                let width = digits.len();
                rewritten.replace_range(at..at + number.len(), &format!("0x{value:0width$x}"));
            }
            Some(_) => {
                let (column, number) = (column(text, at), super::syntax::clipped(word));
                return Err(PredicateError::Octal { column, number });
            }
            None if number.len() > 1 && number.bytes().all(|digit| digit.is_ascii_digit()) => {
                let digits = number.trim_start_matches('0');
                let digits = if digits.is_empty() { "0" } else { digits };
                let octal =
                    if is_octal(digits) { format!("0o{digits}, or ") } else { String::new() };
                let instead = super::syntax::clipped(&format!("{octal}{digits}"));
                let (column, number) = (column(text, at), super::syntax::clipped(number));
                return Err(PredicateError::Zeros { column, number, instead });
            }
            None => {}
        }
    }
    Ok(rewritten)
}

/// A sign that the text has and CEL has not.
pub(super) fn sign(text: &str) -> Option<PredicateError> {
    let plain = plain(text);
    let is_sign = |byte: &u8| b"=&|<>!^~".contains(byte);
    let runs = plain.as_bytes().chunk_by(|left, right| is_sign(left) == is_sign(right));
    let mut at = 0;
    for run in runs {
        // `!` may stand before anything.
        let sign = String::from_utf8_lossy(run);
        let sign = sign.strip_suffix('!').filter(|sign| !sign.is_empty()).unwrap_or(&sign);
        if let Some((sign, why)) = SIGNS.iter().find(|(known, _)| *known == sign) {
            let column = column(text, at);
            return Some(PredicateError::Sign { column, sign: (*sign).to_owned(), why });
        }
        at += run.len();
    }
    None
}

/// A word of another language, in a text that does not parse.
pub(super) fn word(text: &str) -> Option<PredicateError> {
    let plain = plain(text);
    words(&plain).find_map(|(at, word)| {
        let lower = word.to_lowercase();
        let known = WORDS.iter().find(|(known, _)| *known == lower).map(|(_, why)| *why);
        let called = plain.get(at + word.len()..).is_some_and(|rest| rest.starts_with('('));
        let address = called && function(word) == ADDRESSES;
        let why = known.or(address.then_some(ADDRESSES))?;
        Some(PredicateError::Sign { column: column(text, at), sign: word.to_owned(), why })
    })
}
