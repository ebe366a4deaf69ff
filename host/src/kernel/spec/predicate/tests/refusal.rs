//! How a predicate is read, and what is said of one that cannot be.

use super::*;

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
