//! The text of a predicate → its tests, joined by and, or and not: CEL, less what cannot be lowered.
//!
//! The crate `cel` makes the syntax tree; which fields there are is not known here.

use cel::common::ast::{CallExpr, Expr, IdedExpr, LiteralValue, SourceInfo, operators};
use cel::parser::Parser;

use super::super::field_path::{FieldPath, PathStep};
use super::PredicateError;
use super::label::is_label;
use super::token::{self, outside_strings};

/// Brackets in brackets.
const MAX_NESTED: usize = 16;
/// Nodes in nodes of the syntax tree.
const MAX_DEPTH: usize = 64;
/// Recursion of the CEL parser.
const PARSER_DEPTH: u16 = 24;

/// A predicate, or a part of one.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Node {
    /// A truth value, `true` or `false`.
    Constant(bool),
    /// `!a`.
    Not(Box<Node>),
    /// `a && b`.
    And(Box<Node>, Box<Node>),
    /// `a || b`.
    Or(Box<Node>, Box<Node>),
    /// One test of one field; the text is for messages.
    Test(Subject, Test, String),
    /// `label("plugin.name")`.
    Label {
        /// The label, as it is written.
        name: String,
        /// Number of the label, once it is known.
        number: Option<u8>,
    },
}

/// The field that a test looks at, and the part of it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Subject {
    /// Path of the field.
    pub(crate) path: FieldPath,
    pub(crate) view: TestedPart,
}

/// Part of a field that is tested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TestedPart {
    Whole,
    /// `bits(x, MASK)`.
    Bits(i128),
    /// `family(address)`.
    Family,
    /// `port(address)`.
    Port,
    /// `ino(inode)`.
    Ino,
    /// `dev(inode)`.
    Dev,
    /// `generation(inode)`.
    Generation,
    /// `state(content)`.
    State,
}

/// Test of a field or of a part of it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Test {
    /// `x`, a truth value.
    Truth,
    /// `has(x)`.
    Present,
    /// `x OP constant`.
    Compare(Comparison, Constant),
    /// `x in [a, b]`.
    Among(Vec<Constant>),
    /// `any(x, MASK)`.
    Any(i128),
    /// `x.startsWith("a")`.
    Prefix(String),
    /// `x.endsWith("a")`.
    Suffix(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Comparison {
    /// `==`.
    Equal,
    /// `!=`.
    Unequal,
    /// `<`.
    Less,
    /// `<=`.
    LessEqual,
    /// `>`.
    Greater,
    /// `>=`.
    GreaterEqual,
}

impl Comparison {
    fn of(operator: &str) -> Option<Self> {
        Some(match operator {
            operators::EQUALS => Self::Equal,
            operators::NOT_EQUALS => Self::Unequal,
            operators::LESS => Self::Less,
            operators::LESS_EQUALS => Self::LessEqual,
            operators::GREATER => Self::Greater,
            operators::GREATER_EQUALS => Self::GreaterEqual,
            _ => return None,
        })
    }

    /// The comparison with its sides exchanged.
    fn mirrored(self) -> Self {
        match self {
            Self::Less => Self::Greater,
            Self::LessEqual => Self::GreaterEqual,
            Self::Greater => Self::Less,
            Self::GreaterEqual => Self::LessEqual,
            same => same,
        }
    }
}

/// A constant of a test.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Constant {
    Number(i128),
    Text(String),
    /// A truth value, `true` or `false`.
    Truth(bool),
}

/// Parses a predicate that stands behind `before` in its watch: columns count from the start of that.
pub(crate) fn parse(before: &str, text: &str) -> Result<Node, PredicateError> {
    let written = " ".repeat(before.chars().count()) + text;
    let numbers = token::numbers(&written)?;
    nested(&written)?;
    if let Some(error) = token::sign(&written) {
        return Err(error);
    }
    let parsed = with_dots(&numbers);
    let parser = Parser::new().max_recursion_depth(PARSER_DEPTH).error_recovery_limit(4);
    match parser.parse_with_source_info(&parsed) {
        // Messages show it as it was written, which has as many letters.
        Ok((tree, source)) => PredicateReader { text: &written, source }.node(&tree, 0),
        Err(errors) => {
            if let Some(error) = token::word(&written) {
                return Err(error);
            }
            let first = errors.errors.first();
            let column = first.map(|error| {
                let line = usize::try_from(error.pos.0).unwrap_or(1).saturating_sub(1);
                let before =
                    written.split_inclusive('\n').take(line).map(|line| line.chars().count());
                before.sum::<usize>() + usize::try_from(error.pos.1).unwrap_or(1)
            });
            // The parser lists every token that it would have liked.
            let message = first.and_then(|error| error.msg.split(" expecting {").next());
            let message = message.map_or_else(String::new, clipped);
            Err(PredicateError::Syntax { column: column.unwrap_or(1), message })
        }
    }
}

/// CEL knows no arrow: `a->b` becomes `a. b`, which keeps the columns.
fn with_dots(text: &str) -> String {
    let plain: Vec<bool> = outside_strings(text).map(|(_, _, outside)| outside).collect();
    let mut shown = String::with_capacity(text.len());
    let mut letters = text.char_indices().peekable();
    while let Some((at, letter)) = letters.next() {
        let arrow = letter == '-' && letters.peek().is_some_and(|(_, next)| *next == '>');
        if arrow && plain.get(at) == Some(&true) {
            letters.next();
            shown.push_str(". ");
        } else {
            shown.push(letter);
        }
    }
    shown
}

fn nested(text: &str) -> Result<(), PredicateError> {
    let mut depth = 0usize;
    for (_, byte, outside) in outside_strings(text) {
        match byte {
            b'(' | b'[' | b'{' if outside => depth += 1,
            b')' | b']' | b'}' if outside => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MAX_NESTED {
            return Err(PredicateError::Nested);
        }
    }
    Ok(())
}

pub(super) fn clipped(text: &str) -> String {
    let mut shown: String = text.chars().take(160).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}

/// Whether a call's name is that of a function: those of signs have a letter that no name has.
fn is_function(name: &str) -> bool {
    !name.is_empty() && name.starts_with(|first: char| first.is_ascii_alphabetic())
}

fn is_name(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || letter == '_'
}

struct PredicateReader<'a> {
    text: &'a str,
    source: SourceInfo,
}

impl PredicateReader<'_> {
    fn node(&self, tree: &IdedExpr, depth: usize) -> Result<Node, PredicateError> {
        if depth > MAX_DEPTH {
            return Err(PredicateError::Nested);
        }
        match &tree.expr {
            Expr::Literal(LiteralValue::Boolean(value)) => Ok(Node::Constant(*value.inner())),
            Expr::Call(call) => self.call(tree, call, depth),
            Expr::Select(select) if select.test => {
                let mut path = self.path(&select.operand)?;
                path.steps.push(PathStep::Member(select.field.clone()));
                Ok(self.test(tree, Subject { path, view: TestedPart::Whole }, Test::Present))
            }
            Expr::Ident(_) | Expr::Select(_) => {
                let subject = Subject { path: self.path(tree)?, view: TestedPart::Whole };
                Ok(self.test(tree, subject, Test::Truth))
            }
            _ => Err(self.refused(tree, "is no test of a field")),
        }
    }

    fn call(&self, tree: &IdedExpr, call: &CallExpr, depth: usize) -> Result<Node, PredicateError> {
        let inner = |of: &IdedExpr| self.node(of, depth + 1).map(Box::new);
        match (call.func_name.as_str(), call.target.as_deref(), call.args.as_slice()) {
            (operators::LOGICAL_NOT, None, [of]) => Ok(Node::Not(inner(of)?)),
            (operators::LOGICAL_AND, None, [left, right]) => {
                Ok(Node::And(inner(left)?, inner(right)?))
            }
            (operators::LOGICAL_OR, None, [left, right]) => {
                Ok(Node::Or(inner(left)?, inner(right)?))
            }
            (operators::IN, None, [of, list]) => {
                let Expr::List(list) = &list.expr else {
                    return Err(self.refused(list, "`in` wants a list of constants, as in [1, 2]"));
                };
                let list = list.elements.iter().map(|element| self.constant(element));
                Ok(self.test(tree, self.subject(of)?, Test::Among(list.collect::<Result<_, _>>()?)))
            }
            ("any", None, [of, mask]) => {
                Ok(self.test(tree, self.subject(of)?, Test::Any(self.number(mask)?)))
            }
            ("label", None, [name]) => self.label(tree, name),
            ("present", None, [of]) => Ok(self.test(tree, self.subject(of)?, Test::Present)),
            ("startsWith", Some(of), [text]) => {
                Ok(self.test(tree, self.subject(of)?, Test::Prefix(self.string(text)?)))
            }
            ("endsWith", Some(of), [text]) => {
                Ok(self.test(tree, self.subject(of)?, Test::Suffix(self.string(text)?)))
            }
            (operators::INDEX, None, _) => {
                let subject = Subject { path: self.path(tree)?, view: TestedPart::Whole };
                Ok(self.test(tree, subject, Test::Truth))
            }
            (operator, None, [left, right]) if Comparison::of(operator).is_some() => {
                let order = Comparison::of(operator).unwrap_or(Comparison::Equal);
                self.compare(tree, order, left, right)
            }
            (name, ..) if is_function(name) => Err(self.refused(tree, token::function(name))),
            _ => Err(self.refused(
                tree,
                "has no test in the kernel; there is ==, !=, <, <=, >, >=, in, bits, any, present, label, \
                 family, port, ino, dev, startsWith, endsWith, !, && and ||",
            )),
        }
    }

    fn label(&self, tree: &IdedExpr, name: &IdedExpr) -> Result<Node, PredicateError> {
        match self.constant(name) {
            Ok(Constant::Text(name)) if is_label(&name) => Ok(Node::Label { name, number: None }),
            _ => Err(self.refused(tree, token::function("label"))),
        }
    }

    fn compare(
        &self,
        tree: &IdedExpr,
        order: Comparison,
        left: &IdedExpr,
        right: &IdedExpr,
    ) -> Result<Node, PredicateError> {
        let (order, subject, constant) = match (self.is_constant(left), self.is_constant(right)) {
            (false, true) => (order, left, right),
            (true, false) => (order.mirrored(), right, left),
            (true, true) => return Err(self.refused(tree, "compares two constants")),
            (false, false) => {
                let odd = |of: &IdedExpr| matches!(of.expr, Expr::Literal(_) | Expr::List(_));
                return Err(self.refused(
                    tree,
                    if odd(left) || odd(right) {
                        "compares with what is no whole number, string or truth value"
                    } else {
                        "compares two fields; one side must be a constant"
                    },
                ));
            }
        };
        let test = Test::Compare(order, self.constant(constant)?);
        Ok(self.test(tree, self.subject(subject)?, test))
    }

    fn test(&self, tree: &IdedExpr, subject: Subject, test: Test) -> Node {
        Node::Test(subject, test, self.part(tree))
    }

    fn subject(&self, tree: &IdedExpr) -> Result<Subject, PredicateError> {
        let Expr::Call(call) = &tree.expr else {
            return Ok(Subject { path: self.path(tree)?, view: TestedPart::Whole });
        };
        let (of, view) = match (call.func_name.as_str(), call.args.as_slice()) {
            ("bits", [of, mask]) => (of, TestedPart::Bits(self.number(mask)?)),
            ("family", [of]) => (of, TestedPart::Family),
            ("port", [of]) => (of, TestedPart::Port),
            ("ino", [of]) => (of, TestedPart::Ino),
            ("dev", [of]) => (of, TestedPart::Dev),
            ("generation", [of]) => (of, TestedPart::Generation),
            ("state", [of]) => (of, TestedPart::State),
            (name, _) if is_function(name) => return Err(self.refused(tree, token::function(name))),
            _ => (tree, TestedPart::Whole),
        };
        Ok(Subject { path: self.path(of)?, view })
    }

    fn path(&self, tree: &IdedExpr) -> Result<FieldPath, PredicateError> {
        let mut steps = Vec::new();
        let mut here = tree;
        while steps.len() <= MAX_DEPTH {
            match &here.expr {
                Expr::Ident(root) => {
                    steps.reverse();
                    return Ok(FieldPath { root: root.clone(), steps, bound: None });
                }
                Expr::Select(select) if !select.test => {
                    steps.push(PathStep::Member(select.field.clone()));
                    here = &select.operand;
                }
                Expr::Call(CallExpr { func_name, target: None, args })
                    if func_name == operators::INDEX =>
                {
                    let [of, index] = args.as_slice() else { break };
                    steps.push(match self.constant(index)? {
                        Constant::Text(key) => PathStep::Key(key),
                        _ => PathStep::Index(
                            u32::try_from(self.number(index)?)
                                .map_err(|_| self.refused(index, "is no index"))?,
                        ),
                    });
                    here = of;
                }
                _ => break,
            }
        }
        Err(self.refused(tree, "is no field; write a path such as vma.vm_mm.owner.tgid"))
    }

    fn is_constant(&self, tree: &IdedExpr) -> bool {
        self.constant(tree).is_ok()
    }

    fn constant(&self, tree: &IdedExpr) -> Result<Constant, PredicateError> {
        match &tree.expr {
            Expr::Literal(LiteralValue::String(text)) => {
                Ok(Constant::Text(text.inner().to_owned()))
            }
            Expr::Literal(LiteralValue::Boolean(value)) => Ok(Constant::Truth(*value.inner())),
            _ => Ok(Constant::Number(self.number(tree)?)),
        }
    }

    fn string(&self, tree: &IdedExpr) -> Result<String, PredicateError> {
        match self.constant(tree)? {
            Constant::Text(text) => Ok(text),
            _ => Err(self.refused(tree, "is no string")),
        }
    }

    /// A number, or a sum of numbers: masks are often written as one.
    fn number(&self, tree: &IdedExpr) -> Result<i128, PredicateError> {
        self.folded(tree, 0).ok_or_else(|| self.refused(tree, "is no constant number"))
    }

    fn folded(&self, tree: &IdedExpr, depth: usize) -> Option<i128> {
        match &tree.expr {
            Expr::Literal(LiteralValue::Int(number)) => Some(i128::from(*number.inner())),
            Expr::Literal(LiteralValue::UInt(number)) => Some(i128::from(*number.inner())),
            Expr::Call(call) if depth < MAX_DEPTH => {
                let mut numbers = call.args.iter().map(|of| self.folded(of, depth + 1));
                match (call.func_name.as_str(), numbers.next()?, numbers.next()) {
                    (operators::NEGATE, Some(of), None) => of.checked_neg(),
                    (operators::ADD, Some(left), Some(right)) => left.checked_add(right?),
                    (operators::SUBSTRACT, Some(left), Some(right)) => left.checked_sub(right?),
                    (operators::MULTIPLY, Some(left), Some(right)) => left.checked_mul(right?),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    fn refused(&self, tree: &IdedExpr, why: &'static str) -> PredicateError {
        PredicateError::Refused { part: self.part(tree), why }
    }

    /// The text of a node, clipped.
    fn part(&self, tree: &IdedExpr) -> String {
        let (start, stop) = self.span(tree, 0);
        let (mut start, stop) = (start as usize, stop as usize);
        let letters: Vec<char> = self.text.chars().collect();
        // A call's node starts at its bracket, behind the name.
        let at = |at: usize| letters.get(at).copied().unwrap_or_default();
        let in_name = |start: usize| at(start) == '(' || is_name(at(start));
        while start > 0 && in_name(start) && is_name(at(start - 1)) {
            start -= 1;
        }
        let mut part: String =
            letters.iter().skip(start).take(stop.saturating_sub(start) + 1).collect();
        let open = part.matches('(').count().saturating_sub(part.matches(')').count());
        part.push_str(&")".repeat(open.min(MAX_NESTED)));
        clipped(part.trim())
    }

    /// First and last letter: an operator's node knows only where the operator stands.
    fn span(&self, tree: &IdedExpr, depth: usize) -> (u32, u32) {
        let (mut start, mut stop) = self.source.offset_for(tree.id).unwrap_or((0, 0));
        let mut cover = |of: &IdedExpr| {
            if depth < MAX_DEPTH {
                let (first, last) = self.span(of, depth + 1);
                (start, stop) = (start.min(first), stop.max(last));
            }
        };
        match &tree.expr {
            Expr::Call(call) => {
                call.target.iter().for_each(|of| cover(of));
                call.args.iter().for_each(&mut cover);
            }
            Expr::Select(select) => cover(&select.operand),
            Expr::List(list) => list.elements.iter().for_each(&mut cover),
            _ => {}
        }
        (start, stop)
    }
}
