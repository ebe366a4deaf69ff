//! A source file as a list of its tokens, without comments, and the paths that it names: over several lines, in
//! braces and in macros too.

use std::path::Path;

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// One word or sign, and its line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) text: String,
    pub(crate) line: usize,
    /// Modules around it that are written in the same file.
    pub(crate) modules: Vec<String>,
    /// Brackets around it that are no module's.
    pub(crate) depth: usize,
}

/// A path of names as `use` or an expression writes it: `crate::a::b`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) line: usize,
    /// From the crate's root on.
    pub(crate) names: Vec<String>,
}

/// The tokens of a text; none of one that is no Rust, which the compiler finds.
pub(crate) fn tokens(text: &str) -> Vec<Token> {
    let mut found = Vec::new();
    if let Ok(stream) = text.parse::<TokenStream>() {
        flatten(stream, &mut Vec::new(), 0, &mut found);
    }
    found
}

fn flatten(stream: TokenStream, modules: &mut Vec<String>, depth: usize, found: &mut Vec<Token>) {
    let mut before: [Option<String>; 2] = [None, None];
    for tree in stream {
        let line = tree.span().start().line;
        let mut push = |text: String, line: usize, modules: &[String]| {
            found.push(Token { text, line, modules: modules.to_vec(), depth });
        };
        let text = match tree {
            TokenTree::Group(group) => {
                let (open, close) = match group.delimiter() {
                    Delimiter::Brace => ("{", "}"),
                    Delimiter::Parenthesis => ("(", ")"),
                    Delimiter::Bracket => ("[", "]"),
                    Delimiter::None => ("", ""),
                };
                push(open.to_owned(), line, modules);
                let module = match &before {
                    [Some(word), Some(name)] if word == "mod" && open == "{" => Some(name.clone()),
                    _ => None,
                };
                let inside = module.is_some();
                modules.extend(module);
                flatten(group.stream(), modules, depth + usize::from(!inside), found);
                if inside {
                    modules.pop();
                }
                let end = group.span_close().start().line;
                let (text, modules) = (close.to_owned(), modules.clone());
                found.push(Token { text, line: end, modules, depth });
                close.to_owned()
            }
            TokenTree::Ident(ident) => {
                push(ident.to_string(), line, modules);
                ident.to_string()
            }
            TokenTree::Punct(sign) => {
                push(sign.as_char().to_string(), line, modules);
                sign.as_char().to_string()
            }
            TokenTree::Literal(literal) => {
                push(literal.to_string(), line, modules);
                String::new()
            }
        };
        before = [before[1].take(), Some(text)];
    }
}

/// The module that a file of `root` is: with or without `mod.rs`.
pub(crate) fn module(inner: &str) -> Vec<String> {
    let path = Path::new(inner).with_extension("");
    let mut names: Vec<String> =
        path.iter().map(|part| part.to_string_lossy().into_owned()).collect();
    if names.last().is_some_and(|last| matches!(last.as_str(), "mod" | "lib" | "main")) {
        names.pop();
    }
    names
}

/// The paths that start at the crate's root, or at a module above the file's own.
pub(crate) fn paths(tokens: &[Token], file: &[String]) -> Vec<Named> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        let is_start = matches!(token.text.as_str(), "crate" | "super")
            && is_colons(tokens, at + 1)
            // What is after `::` is not the start of a path.
            && !(at >= 2 && is_colons(tokens, at - 2));
        if !is_start {
            at += 1;
            continue;
        }
        let mut names: Vec<String> = Vec::new();
        if token.text == "super" {
            names.extend_from_slice(file);
            names.extend(token.modules.iter().cloned());
            names.pop();
        }
        at = tree(tokens, at + 3, names, &mut found);
    }
    found
}

/// Reads a path from one of its names on, or a group of them in braces; says where it ends.
fn tree(tokens: &[Token], at: usize, mut names: Vec<String>, found: &mut Vec<Named>) -> usize {
    let mut at = at;
    while let Some(token) = tokens.get(at) {
        match token.text.as_str() {
            "{" => {
                at += 1;
                while let Some(token) = tokens.get(at).filter(|token| token.text != "}") {
                    at = match token.text.as_str() {
                        "," => at + 1,
                        // And the name that it has here.
                        "as" => at + 2,
                        _ => tree(tokens, at, names.clone(), found).max(at + 1),
                    };
                }
                return at + 1;
            }
            "super" => {
                names.pop();
            }
            name => names.push(name.to_owned()),
        }
        if !is_colons(tokens, at + 1) {
            found.push(Named { line: token.line, names });
            return at + 1;
        }
        at += 3;
    }
    at
}

pub(crate) fn is_colons(tokens: &[Token], at: usize) -> bool {
    let colon = |at: usize| tokens.get(at).is_some_and(|token| token.text == ":");
    colon(at) && colon(at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(inner: &str, text: &str) -> Vec<String> {
        let found = paths(&tokens(text), &module(inner));
        found
            .into_iter()
            .map(|named| format!("{}:{}", named.line, named.names.join("::")))
            .collect()
    }

    #[test]
    fn paths_are_found_wherever_they_stand() {
        assert_eq!(named("a/b.rs", "use crate::c::d;"), ["1:c::d"]);
        assert_eq!(
            named("a/b.rs", "use crate::{\n    c::D,\n    e::{f, g::H as I},\n};"),
            ["2:c::D", "3:e::f", "3:e::g::H"]
        );
        assert_eq!(named("a/b/mod.rs", "use super::c::D;\n"), ["1:a::c::D"]);
        assert_eq!(named("a/b.rs", "use super::super::c::D;"), ["1:c::D"]);
        assert_eq!(
            named("a/b.rs", "mod tests { use super::*; fn f() { super::super::g(); } }"),
            ["1:a::b::*", "1:a::g"]
        );
        assert_eq!(named("a.rs", "fn f() { x!(\"{}\", crate::c::D); }"), ["1:c::D"]);
        assert_eq!(named("a.rs", "// crate::c\n/// crate::d\nfn f(a: &str) {}"), [""; 0]);
    }
}
