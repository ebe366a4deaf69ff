//! Predicates against a direct evaluation: each is lowered, and its atoms and terms are evaluated as
//! the kernel does it, on random values and with captures that cannot be read.

mod refusal;

use krsi_host_abi::spec::{Atom, Compare};

use super::super::field_path::FieldKind;
use super::*;
use crate::seeded::SeededNumbers;

/// What a row holds; `None` could not be read.
#[derive(Clone, Debug)]
enum CapturedValue {
    Number(u64),
    Text(Vec<u8>),
}

type CapturedCall = Vec<Option<CapturedValue>>;

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

/// Whether an atom holds for a call, as `ebpf/abi/src/spec.rs` defines it.
fn holds(atom: &Atom, strings: &[[u8; 64]], call: &CapturedCall) -> bool {
    let Some(held) = call.get(usize::from(atom.capture)).cloned().flatten() else { return false };
    if atom.compare == Compare::Present as u8 {
        return true;
    }
    match held {
        CapturedValue::Number(value) => match atom.compare {
            c if c == Compare::Equal as u8 => value & atom.mask == atom.number,
            c if c == Compare::Below as u8 => value & atom.mask < atom.number,
            c if c == Compare::BelowSigned as u8 => (value as i64) < atom.number as i64,
            c if c == Compare::AnyBit as u8 => value & atom.mask != 0,
            other => panic!("test {other} on a number"),
        },
        CapturedValue::Text(text) => {
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
fn evaluated(lowered: &Lowered, call: &CapturedCall) -> bool {
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
    fn random(random: &mut SeededNumbers, depth: usize) -> (String, Self) {
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

    fn test(random: &mut SeededNumbers) -> (String, Self) {
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
    fn is(&self, call: &CapturedCall, wanted: bool) -> bool {
        let test = |row: usize, found: &dyn Fn(&CapturedValue) -> bool| {
            call[row].as_ref().is_some_and(|held| found(held) == wanted)
        };
        let number = |held: &CapturedValue| match held {
            CapturedValue::Number(number) => *number,
            CapturedValue::Text(_) => panic!("a text where a number should be"),
        };
        let text = |held: &CapturedValue| match held {
            CapturedValue::Text(text) => text.clone(),
            CapturedValue::Number(_) => panic!("a number where a text should be"),
        };
        let value = |row: usize, held: &CapturedValue| match row {
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

impl SeededNumbers {
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

    fn call(&mut self) -> CapturedCall {
        let mut call: CapturedCall = Vec::new();
        for row in 0..11 {
            let held = match row {
                0..=3 => CapturedValue::Number(self.number(row).rem_euclid(1 << 64) as u64),
                4 => CapturedValue::Number(self.next() & 1),
                5 | 6 => CapturedValue::Text(self.of(&WORDS).as_bytes().to_vec()),
                8 => CapturedValue::Number(
                    [22 << 16 | 2, 443 << 16 | 10, 2, 0xffff_ffff][self.below(4)],
                ),
                10 => CapturedValue::Number([22, 443 << 32 | 22, 22 << 32][self.below(3)]),
                _ => CapturedValue::Number([0, 22, 443, 0xffff][self.below(4)]),
            };
            call.push((self.below(8) > 0).then_some(held));
        }
        call
    }
}

#[test]
fn atoms_and_terms_mean_what_the_text_says() {
    let mut random = SeededNumbers::new(20);
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
    let mut random = SeededNumbers::new(4);
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
        let call: CapturedCall = std::iter::repeat_with(|| random.call())
            .find(|call| call.iter().all(Option::is_some))
            .unwrap();
        let mut context = cel::Context::default();
        for (row, name) in
            [(0, "u"), (1, "s"), (2, "big"), (3, "deep"), (4, "yes"), (5, "t"), (6, "p")]
        {
            match call[row].clone().unwrap() {
                CapturedValue::Number(number) if row == 4 => {
                    context.add_variable_from_value(name, cel::Value::Bool(number == 1));
                }
                CapturedValue::Number(number) if row == 2 => {
                    context.add_variable_from_value(name, cel::Value::UInt(number));
                }
                CapturedValue::Number(number) => {
                    context.add_variable_from_value(name, cel::Value::Int(number as i64));
                }
                CapturedValue::Text(text) => {
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
    let nothing: CapturedCall = vec![None; 16];
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
