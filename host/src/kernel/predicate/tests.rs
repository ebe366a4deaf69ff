//! Predicates against a direct evaluation: each is lowered, and its atoms and terms are evaluated as
//! the kernel does it, on random values and with captures that cannot be read.

use krsi_host_abi::spec::{Atom, Compare};

use super::super::field_path::FieldKind;
use super::*;

/// A number generator that needs no crate: splitmix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    fn of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }
}

/// What a row holds; `None` could not be read.
#[derive(Clone, Debug)]
enum Held {
    Number(u64),
    Text(Vec<u8>),
}

type Call = Vec<Option<Held>>;

/// The fields that tests use, with their rows.
fn fields() -> Vec<Field> {
    let mut row = 0;
    let mut field = |name: &str, kind: FieldKind, rows: usize| {
        let made = Field {
            name: name.into(),
            path: name.into(),
            kind,
            type_name: String::new(),
            row,
            is_pointer: false,
            shown: true,
        };
        row += rows;
        made
    };
    vec![
        field("u", FieldKind::Unsigned(32), 1),
        field("s", FieldKind::Signed(32), 1),
        field("big", FieldKind::Unsigned(64), 1),
        field("deep", FieldKind::Signed(64), 1),
        field("yes", FieldKind::Unsigned(1), 1),
        field("t", FieldKind::Text(256), 1),
        field("p", FieldKind::Path, 1),
        field("a", FieldKind::Address, 2),
        field("i", FieldKind::Inode, 2),
        field("raw", FieldKind::Bytes(16), 1),
        field("names", FieldKind::Names, 1),
        field("short", FieldKind::Text(8), 1),
        field("vma.vm_mm.owner.tgid", FieldKind::Signed(32), 1),
        field("bprm.buf[0]", FieldKind::Unsigned(8), 1),
    ]
}

fn lowered(text: &str) -> Result<Lowered, PredicateError> {
    let fields = fields();
    Predicate::parse("", text)?.lower(&mut |path| {
        let found = fields.iter().find(|field| field.name == path.text());
        found.cloned().ok_or_else(|| FieldError::Malformed { path: path.text(), why: "is unknown" })
    })
}

/// One atom, as `ebpf/abi/src/spec.rs` defines it.
fn holds(atom: &Atom, strings: &[[u8; 64]], call: &Call) -> bool {
    let Some(held) = call.get(usize::from(atom.capture)).cloned().flatten() else { return false };
    if atom.compare == Compare::Present as u8 {
        return true;
    }
    match held {
        Held::Number(value) => match atom.compare {
            c if c == Compare::Equal as u8 => value & atom.mask == atom.number,
            c if c == Compare::Below as u8 => value & atom.mask < atom.number,
            c if c == Compare::BelowSigned as u8 => (value as i64) < atom.number as i64,
            c if c == Compare::AnyBit as u8 => value & atom.mask != 0,
            other => panic!("test {other} on a number"),
        },
        Held::Text(text) => {
            let string = &strings[usize::try_from(atom.number).unwrap()][..usize::from(atom.len)];
            match atom.compare {
                c if c == Compare::TextEqual as u8 => text == string,
                c if c == Compare::TextPrefix as u8 => text.starts_with(string),
                c if c == Compare::TextSuffix as u8 => text.ends_with(string),
                other => panic!("test {other} on a text"),
            }
        }
    }
}

/// The predicate as the kernel evaluates it.
fn evaluated(lowered: &Lowered, call: &Call) -> bool {
    let mut word = 0u32;
    for (at, atom) in lowered.atoms.iter().enumerate() {
        word |= u32::from(holds(atom, &lowered.strings, call)) << at;
    }
    lowered.terms.iter().any(|term| word & term.care == term.value)
}

/// A random predicate: its text, and what it means. `None` is a test of what cannot be read.
#[derive(Clone, Debug)]
enum Meaning {
    Constant(bool),
    Not(Box<Meaning>),
    And(Box<Meaning>, Box<Meaning>),
    Or(Box<Meaning>, Box<Meaning>),
    Number(usize, Means, i128),
    Among(usize, Vec<i128>),
    Any(usize, u64),
    Masked(usize, u64, Means, u64),
    Part(usize, u32, u64, Means, u64),
    Text(usize, &'static str, &'static str),
    Texts(usize, Vec<&'static str>),
    Truth(usize),
    Present(usize),
}

#[derive(Clone, Copy, Debug)]
enum Means {
    Equal,
    Unequal,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
}

const ORDERS: [(&str, Means); 6] = [
    ("==", Means::Equal),
    ("!=", Means::Unequal),
    ("<", Means::Less),
    ("<=", Means::LessEqual),
    (">", Means::Greater),
    (">=", Means::GreaterEqual),
];

impl Means {
    fn is<T: PartialOrd>(self, left: &T, right: &T) -> bool {
        match self {
            Self::Equal => left == right,
            Self::Unequal => left != right,
            Self::Less => left < right,
            Self::LessEqual => left <= right,
            Self::Greater => left > right,
            Self::GreaterEqual => left >= right,
        }
    }
}

const WORDS: [&str; 6] = ["", "a", "ab", "abc", "/usr/bin/", "b"];

impl Meaning {
    fn random(random: &mut Random, depth: usize) -> (String, Self) {
        if depth > 0 && random.below(4) > 0 {
            let (left, left_means) = Self::random(random, depth - 1);
            if random.below(4) == 0 {
                return (format!("!({left})"), Self::Not(Box::new(left_means)));
            }
            let (right, right_means) = Self::random(random, depth - 1);
            let (left_means, right_means) = (Box::new(left_means), Box::new(right_means));
            return if random.below(2) == 0 {
                (format!("({left}) && ({right})"), Self::And(left_means, right_means))
            } else {
                (format!("({left} || {right})"), Self::Or(left_means, right_means))
            };
        }
        Self::test(random)
    }

    fn test(random: &mut Random) -> (String, Self) {
        let numbers = [("u", 0), ("s", 1), ("big", 2), ("deep", 3)];
        let (name, row) = *random.of(&numbers);
        let (operator, means) = *random.of(&ORDERS);
        let constant = random.number(row);
        let mask = [1u64, 4, 6, 0xff][random.below(4)];
        let word = *random.of(&WORDS);
        let (text_name, text_row) = [("t", 5), ("p", 6)][random.below(2)];
        match random.below(10) {
            0..=2 => (
                format!("{name} {operator} {}", written(constant)),
                Self::Number(row, means, constant),
            ),
            3 => {
                let list: Vec<i128> =
                    (0..random.below(4) + 1).map(|_| random.number(row)).collect();
                let text: Vec<String> = list.iter().map(|number| written(*number)).collect();
                (format!("{name} in [{}]", text.join(", ")), Self::Among(row, list))
            }
            4 => (format!("any({name}, {mask:#x})"), Self::Any(row, mask)),
            5 => {
                let within = mask & random.next();
                (
                    format!("bits({name}, {mask}) {operator} {within}"),
                    Self::Masked(row, mask, means, within),
                )
            }
            6 => {
                let verb = *random.of(&["startsWith", "endsWith"]);
                (format!("{text_name}.{verb}('{word}')"), Self::Text(text_row, verb, word))
            }
            7 if random.below(2) == 0 => {
                let words = vec![word, *random.of(&WORDS)];
                (format!("{text_name} in {words:?}"), Self::Texts(text_row, words))
            }
            7 => (format!("{text_name} == {word:?}"), Self::Text(text_row, "==", word)),
            8 => match random.below(4) {
                0 => ("yes".into(), Self::Truth(4)),
                1 => ("yes == false".into(), Self::Not(Box::new(Self::Truth(4)))),
                2 => ("has(x.y) || true".replace("has(x.y)", "present(u)"), Self::Constant(true)),
                _ => (format!("present({name})"), Self::Present(row)),
            },
            _ => {
                let port = [0u64, 22, 443, 0xffff][random.below(4)];
                let (name, row, shift, mask) = [
                    ("port(a)", 8, 16, 0xffff),
                    ("family(a)", 8, 0, 0xffff),
                    ("ino(i)", 9, 0, u64::MAX),
                    ("dev(i)", 10, 0, 0xffff_ffff),
                    ("generation(i)", 10, 32, 0xffff_ffff),
                ][random.below(5)];
                (format!("{port} {operator} {name}"), Self::Part(row, shift, mask, means, port))
            }
        }
    }

    /// What the predicate is for a call, with `wanted` false for what stands under a `!`: a test of
    /// what cannot be read is never as wanted.
    fn is(&self, call: &Call, wanted: bool) -> bool {
        let test = |row: usize, found: &dyn Fn(&Held) -> bool| {
            call[row].as_ref().is_some_and(|held| found(held) == wanted)
        };
        let number = |held: &Held| match held {
            Held::Number(number) => *number,
            Held::Text(_) => panic!("a text where a number should be"),
        };
        let text = |held: &Held| match held {
            Held::Text(text) => text.clone(),
            Held::Number(_) => panic!("a number where a text should be"),
        };
        let value = |row: usize, held: &Held| match row {
            1 | 3 => i128::from(number(held) as i64),
            _ => i128::from(number(held)),
        };
        match self {
            Self::Constant(constant) => *constant == wanted,
            Self::Not(inner) => inner.is(call, !wanted),
            Self::And(left, right) if wanted => left.is(call, true) && right.is(call, true),
            Self::And(left, right) => left.is(call, false) || right.is(call, false),
            Self::Or(left, right) if wanted => left.is(call, true) || right.is(call, true),
            Self::Or(left, right) => left.is(call, false) && right.is(call, false),
            Self::Number(row, means, constant) => {
                test(*row, &|held| means.is(&value(*row, held), constant))
            }
            Self::Among(row, list) => test(*row, &|held| list.contains(&value(*row, held))),
            Self::Any(row, mask) => test(*row, &|held| number(held) & mask != 0),
            Self::Masked(row, mask, means, constant) => {
                test(*row, &|held| means.is(&(number(held) & mask), constant))
            }
            Self::Part(row, shift, mask, means, constant) => {
                test(*row, &|held| means.is(constant, &(number(held) >> shift & mask)))
            }
            Self::Text(row, verb, word) => test(*row, &|held| match *verb {
                "startsWith" => text(held).starts_with(word.as_bytes()),
                "endsWith" => text(held).ends_with(word.as_bytes()),
                _ => text(held) == word.as_bytes(),
            }),
            Self::Texts(row, words) => {
                test(*row, &|held| words.iter().any(|word| text(held) == word.as_bytes()))
            }
            Self::Truth(row) => test(*row, &|held| number(held) == 1),
            Self::Present(row) => call[*row].is_some() == wanted,
        }
    }
}

fn written(number: i128) -> String {
    match number {
        _ if number > i128::from(i64::MAX) => format!("{number}u"),
        _ => number.to_string(),
    }
}

impl Random {
    /// A constant that the field of a row can have, often an interesting one.
    fn number(&mut self, row: usize) -> i128 {
        let (low, high): (i128, i128) = match row {
            0 => (0, u32::MAX.into()),
            1 => (i32::MIN.into(), i32::MAX.into()),
            2 => (0, u64::MAX.into()),
            _ => (i128::from(i64::MIN) + 1, i64::MAX.into()),
        };
        let small = i128::from(self.next() % 12) - 4;
        let any = low + i128::from(self.next()) % (high - low + 1);
        *self.of(&[low, high, small.max(low), small.max(low), small.max(low), any])
    }

    fn call(&mut self) -> Call {
        let mut call: Call = Vec::new();
        for row in 0..11 {
            let held = match row {
                0..=3 => Held::Number(self.number(row).rem_euclid(1 << 64) as u64),
                4 => Held::Number(self.next() & 1),
                5 | 6 => Held::Text(self.of(&WORDS).as_bytes().to_vec()),
                8 => Held::Number([22 << 16 | 2, 443 << 16 | 10, 2, 0xffff_ffff][self.below(4)]),
                10 => Held::Number([22, 443 << 32 | 22, 22 << 32][self.below(3)]),
                _ => Held::Number([0, 22, 443, 0xffff][self.below(4)]),
            };
            call.push((self.below(8) > 0).then_some(held));
        }
        call
    }
}

#[test]
fn atoms_and_terms_mean_what_the_text_says() {
    let mut random = Random(20);
    let (mut fitting, mut matched) = (0, 0);
    for _ in 0..3000 {
        let (text, meaning) = Meaning::random(&mut random, 4);
        let lowered = match lowered(&text) {
            Ok(lowered) => lowered,
            Err(PredicateError::Atoms { .. } | PredicateError::Terms) => continue,
            Err(error) => panic!("{text}\n{error}"),
        };
        fitting += 1;
        assert!(lowered.atoms.len() <= 16 && lowered.terms.len() <= 16);
        for _ in 0..40 {
            let call = random.call();
            let expected = meaning.is(&call, true);
            matched += usize::from(expected);
            assert_eq!(evaluated(&lowered, &call), expected, "{text}\n{call:?}\n{lowered:?}");
        }
    }
    assert!(fitting > 1500 && matched > 10_000, "{fitting} fitted, {matched} matched");
}

/// The same texts, judged by the interpreter of the crate `cel` where every field can be read.
#[test]
fn cel_itself_agrees() {
    let mut random = Random(4);
    let mut judged = 0;
    while judged < 300 {
        let (text, _) = Meaning::random(&mut random, 3);
        let foreign =
            ["any(", "bits(", "present(", "port(", "family(", "ino(", "dev(", "generation("];
        if foreign.iter().any(|function| text.contains(function))
            || text.contains("u ") && text.contains("0u")
        {
            continue;
        }
        let (Ok(lowered), Ok(program)) = (lowered(&text), cel::Program::compile(&text)) else {
            continue;
        };
        let call: Call = std::iter::repeat_with(|| random.call())
            .find(|call| call.iter().all(Option::is_some))
            .unwrap();
        let mut context = cel::Context::default();
        for (row, name) in
            [(0, "u"), (1, "s"), (2, "big"), (3, "deep"), (4, "yes"), (5, "t"), (6, "p")]
        {
            match call[row].clone().unwrap() {
                Held::Number(number) if row == 4 => {
                    context.add_variable_from_value(name, cel::Value::Bool(number == 1));
                }
                Held::Number(number) if row == 2 => {
                    context.add_variable_from_value(name, cel::Value::UInt(number));
                }
                Held::Number(number) => {
                    context.add_variable_from_value(name, cel::Value::Int(number as i64));
                }
                Held::Text(text) => {
                    let text = String::from_utf8(text).unwrap();
                    context.add_variable_from_value(name, cel::Value::String(text.into()));
                }
            }
        }
        let Ok(cel::Value::Bool(expected)) = program.execute(&context) else { continue };
        assert_eq!(evaluated(&lowered, &call), expected, "{text}\n{call:?}");
        judged += 1;
    }
}

#[test]
fn what_cannot_be_read_is_no_match_negated_or_not() {
    let nothing: Call = vec![None; 16];
    for text in [
        "u == 1",
        "u != 1",
        "!(u == 1)",
        "!(u != 1)",
        "u < 1",
        "!(u < 1)",
        "u >= 0",
        "!(u >= 0)",
        "big <= 18446744073709551615u",
        "!(big <= 18446744073709551615u)",
        "t == 'a'",
        "t != 'a'",
        "!t.startsWith('')",
        "t.startsWith('')",
        "!(u in [1, 2, 3, 4])",
        "!any(u, 1)",
        "yes",
        "!yes",
        "!(u == 1 && s == 1)",
        "!(u == 1 || s == 1)",
        "port(a) != 1",
        "!(ino(i) == 1)",
    ] {
        assert!(!evaluated(&lowered(text).unwrap(), &nothing), "{text}");
    }
    assert!(evaluated(&lowered("!present(u)").unwrap(), &nothing));
    assert!(!evaluated(&lowered("has(vma.vm_mm.owner.tgid)").unwrap(), &nothing));
}

#[test]
fn tests_are_few() {
    let check = |text: &str, atoms: usize, terms: usize, strings: usize| {
        let found = lowered(text).unwrap();
        let counts = (found.atoms.len(), found.terms.len(), found.strings.len());
        assert_eq!(counts, (atoms, terms, strings), "{text}\n{found:?}");
    };
    check("u == 1", 1, 1, 0);
    check("u != 1", 2, 1, 0);
    // What holds was read, so nothing asks for it.
    check("u > 5 && u < 10", 2, 1, 0);
    check("u in [1, 2, 3, 4, 5, 6, 7, 9]", 3, 2, 0);
    check("t in ['a', 'b', 'a']", 2, 2, 2);
    check("t.startsWith('a') && p.endsWith('a')", 2, 1, 1);
    check("u == 1 || u == 1 && s == 2", 1, 1, 0);
    check("(u == 1 && s == 2) || (u == 1 && !(s == 2)) || (u == 1 && !present(s))", 3, 3, 0);
    check("u == 1 || true", 0, 1, 0);
    check("u == 1 && false", 0, 0, 0);
    check("false || u == 0x1F", 1, 1, 0);
    check("any(u, 2 + 4)", 1, 1, 0);
    assert!(lowered("true").unwrap().is_true());
    assert!(lowered("!false || u == 1").unwrap().is_true());
    assert!(!lowered("false").unwrap().is_true());
}

#[test]
fn octal_numbers_are_what_chmod_takes() {
    let check = |text: &str, number: u64| {
        let found = lowered(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        let is_it = |atom: &Atom| match atom.compare {
            compare if compare == Compare::AnyBit as u8 => atom.mask == number,
            compare => compare == Compare::Equal as u8 && atom.number == number,
        };
        assert!(found.atoms.iter().any(is_it), "{text}: {found:?}");
    };
    check("u == 0o644", 0o644);
    check("u == 0O7777u", 0o7777);
    check("u == 0o0", 0);
    check("u == 0", 0);
    check("any(u, 0o4000)", 0o4000);
    check("any(u, 0o4000 + 0o2000)", 0o6000);
    check("big == 0o1777777777777777777777u", u64::MAX);
    check("u in [0o10]", 8);
    // In strings and names there are no numbers.
    check("t != '04000 0o9 = & ip(' && u == 5", 5);
    let kept = lowered("t == '0o17'").unwrap();
    assert!(kept.strings[0].starts_with(b"0o17\0"));
}

#[test]
fn columns_count_letters_from_the_start_of_the_watch() {
    let check = |before: &str, text: &str, column: &str| {
        let error = Predicate::parse(before, text).unwrap_err().to_string();
        assert!(error.starts_with(&format!("watch, column {column}:")), "{text}: {error}");
    };
    check("file_open: file if", " u ==", "24");
    check("é if", " u = 1", "8");
    check("file_open if", " t == 'é' && u & 1", "28");
    check("file_open if", "\n u == 1 &&\n s ==", "30");
    check("file_open if", " u == 017", "19");
}

#[test]
fn paths_are_read_as_they_are_written() {
    for text in [
        "vma.vm_mm.owner.tgid == 1",
        "vma->vm_mm->owner->tgid == 1",
        "1 == vma.vm_mm->owner.tgid",
        "bprm.buf[0] == 127",
        "bprm->buf[0] == 0x7f && t != 'a->b'",
    ] {
        lowered(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    }
    let arrow = lowered("t == 'a->b'").unwrap();
    assert!(arrow.strings[0].starts_with(b"a->b\0"));
}

#[test]
fn signs_and_words_of_other_languages_say_what_works() {
    let check = |text: &str, expected: &str| {
        let error = lowered(text).unwrap_err().to_string();
        assert!(error.contains(expected), "{text}\n found: {error}\nwanted: {expected}");
    };
    check(
        "u & 1 == 1",
        "watch, column 3: & is no test of bits; write any(x, MASK), or bits(x, MASK)",
    );
    check("any(u, 0x1 | 0x2)", "watch, column 12: | joins nothing; write ||");
    check("u = 1", "watch, column 3: = compares nothing; write ==");
    check("t == 'a=b' && u = 1", "watch, column 17: = compares nothing");
    check("any(u, 1 << 3)", "watch, column 10: << shifts nothing; write the number");
    check("t ~ 'a'", "watch, column 3: ~ is no sign of CEL");
    check("u == 1 and s == 1", "watch, column 8: and is no word of CEL; write &&");
    check("not yes", "watch, column 1: not is no word of CEL; write !");
    check("t like 'a%'", "watch, column 3: like is no word of CEL");
    check(
        "ip(a) == '127.0.0.1'",
        "ip(a): tests nothing: there are family(address) and port(address)",
    );
    check("ip(a) == 127.0.0.1", "watch, column 1: ip tests nothing: there are family(address)");
    check("a.ip() == '::1'", "a.ip(): tests nothing: there are family(address)");
    check("size(t) == 1", "size(t): a text is compared as a whole, by its start");
    check("t.starts_with('a')", "write x.startsWith(\"a\")");
    check("startsWith(t, 'a')", "write x.startsWith(\"a\")");
    check("any(u)", "any(u): write any(x, MASK)");
    check("port(a)", "port(a): takes one field and is compared with a number");
    check("exec(u) == 1", "exec(u): is no function here; there are any, bits, present");
    check("any(u, 04000)", "watch, column 8: 04000 starts with a zero; write 0o4000, or 4000");
    check("u == 00", "watch, column 6: 00 starts with a zero; write 0o0, or 0");
    check("u == 0089u", "watch, column 6: 0089 starts with a zero; write 89");
    check("u == 0o8", "watch, column 6: 0o8 is no octal number; write 0o and digits from 0 to 7");
    check("u == 0o", "watch, column 6: 0o is no octal number");
    check("u == 0o40000000000", "u == 0o40000000000: 4294967296 is outside of what u can be");
}

#[test]
fn what_is_refused_says_why() {
    let check = |text: &str, expected: &str| {
        let error = lowered(text).unwrap_err().to_string();
        assert!(error.contains(expected), "{text}\n found: {error}\nwanted: {expected}");
    };
    check("u ==", "watch, column 5");
    check("u == -1", "u == -1: -1 is outside of what u can be, 0 to 4294967295");
    check("u in [1, 4294967296]", "4294967296 is outside");
    check("s < 2147483648", "2147483648 is outside of what s can be, -2147483648 to 2147483647");
    check("bits(u, 6) == 1", "bits(u, 6) == 1: is never true");
    check("any(u, 0)", "0 is outside of what u can be, 1 to 4294967295");
    check("u == s", "compares two fields");
    check("1 == 1", "compares two constants");
    check("u == 'a'", "u is a number; compare it with a number");
    check("u", "u is a number; it is no truth value; compare it, as in x != 0");
    check("t", "t is a text; it is no truth value");
    check("t == 1", "t is a text; compare it with a string");
    check("t < 'a'", "orders strings");
    check("u == true", "it is no truth value");
    check("yes < true", "orders a truth value");
    check("raw == 'a'", "raw is a range of bytes; test one byte");
    check("names == 'a'", "names is a name in a mount; it is put together after the test");
    check("a == 1", "a is an address; test family(x) or port(x)");
    check("port(u) == 1", "u is a number");
    check("port(a) == 65536", "65536 is outside");
    check("i == 1", "i is an inode; test ino(x), dev(x) or generation(x)");
    check("u in []", "not empty");
    check("u in [1, 'a']", "a list of numbers, or one of strings");
    check("u in s", "`in` wants a list of constants");
    check("t.matches('a')", "t.matches('a'): a text is compared as a whole");
    check("t.size() == 1", "t.size(): a text is compared as a whole");
    check("u + 1 == 2", "is no field; write a path");
    check("[1, 2].all(x, x == u)", "is no test of a field");
    check("u == 1 ? true : false", "has no test in the kernel");
    check("nothing == 1", "nothing: the path is unknown");
    check("u == 1.5", "compares with what is no whole number");
    check("t == b'a'", "compares with what is no whole number");
    check("u == null", "compares with what is no whole number");
    check("present(port(a))", "present(port(a)): names the field itself");
    check("t == 'a\\000b'", "has a NUL");
    check(&format!("t == '{}'", "a".repeat(65)), "at most 64 bytes, this one has 65");
    check("short == '12345678'", "short holds at most 7 bytes, the string has 8");
    check(&("(".repeat(40) + "yes" + &")".repeat(40)), "nested more than 16 deep");
    let many = |count: usize, test: &dyn Fn(usize) -> String, with: &str| {
        (0..count).map(test).collect::<Vec<_>>().join(with)
    };
    check(&many(17, &|at| format!("u == {}", at * 2), " || "), "takes 17 tests, at most 16 fit");
    check(&many(9, &|at| format!("t == 'a{at}'"), " || "), "compares with 9 strings, at most 8");
    check(&many(5, &|at| format!("(u == {at}0 || s == {at}0)"), " && "), "");
    check(
        &many(8, &|at| format!("(any(u, {}) || any(s, {}))", 1 << at, 1 << at), " && "),
        "more than 16 alternatives",
    );
}

/// Deep and long texts end in an answer, whatever the parser does with them.
#[test]
fn hostile_texts_are_answered() {
    for text in [
        "!".repeat(4000),
        "u".to_owned() + &"[0]".repeat(1360) + " == 1",
        "u".to_owned() + &".f()".repeat(1000),
        "u ? 1 : ".repeat(500) + "1",
        "-u ".repeat(1300),
        "-".repeat(4000) + "1 == u",
        "1+".repeat(2000) + "1 == u",
        "a.".repeat(2000) + "b == 1",
        "u == 1 && ".repeat(400) + "u == 1",
        "u == 1 || ".repeat(400) + "s == 1",
        "u == 1 ? ".repeat(400),
        "(".repeat(4000),
        "[".repeat(4000),
        "{".repeat(4000),
        "u in [".to_owned() + &"1,".repeat(1900) + "1]",
        "'".repeat(4001),
        "u[".repeat(16) + &"]".repeat(16),
        "a(".repeat(16) + &")".repeat(16),
        "u == ".repeat(800),
        "u < ".repeat(800) + "1",
        "present(u)".repeat(300),
        "\\".repeat(4000),
        "é".repeat(2000),
        "has(".repeat(16) + "u" + &")".repeat(16),
        "u.map(x, x)".repeat(100),
        "u.exists(x, ".repeat(15) + "true" + &")".repeat(15),
        "1e999 == u".to_owned(),
        "99999999999999999999999 == u".to_owned(),
        "-9223372036854775808 == deep".to_owned(),
        "has(u)".to_owned(),
        "any()".to_owned(),
        "bits(u)== 1".to_owned(),
    ] {
        match lowered(&text) {
            Ok(lowered) => assert!(lowered.atoms.len() <= 16),
            Err(error) => assert!(error.to_string().len() < 1000, "{}", error.to_string().len()),
        }
    }
}
