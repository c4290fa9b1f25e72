//! `CelExpr`: a text → an expression over the arguments, with the types of its parts checked.

use super::cases;
use super::report::Report;
use super::schema::quoted;
use crate::fault::codes;
use crate::ir::{Arg, Class, Compare, Expression, Operation, Width};

/// How many bytes an expression can have, and how deep it can nest.
use crate::language::limits::MAX_EXPRESSION_BYTES as MAX_BYTES;
const MAX_DEPTH: usize = 32;

/// What a part of an expression is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Truth,
    Number(Width),
    /// A number that is written out: it is of whatever type the other side is.
    Literal,
}

/// A part, and what it is.
type Part = (Expression, Kind);

/// The expression that `text` is; `None` when it is none, which has been said.
pub(super) fn read(text: &str, path: &str, args: &[Arg], report: &mut Report) -> Option<Expression> {
    if text.len() > MAX_BYTES {
        let what = format!("the expression has {} bytes, and at most {MAX_BYTES} can be read", text.len());
        report.fault(path, codes::VALUE_TOO_LONG, what, "split it into several filters");
        return None;
    }
    let mut parser = Parser { rest: text, args, depth: 0 };
    let parsed = parser.either().and_then(|part| match parser.rest.trim_start() {
        "" => Ok(part),
        rest => Err(format!("{} is left over", quoted(rest))),
    });
    match parsed {
        Ok((expression, Kind::Truth)) => {
            let none = |truth| cases::of(&expression, truth, args).is_some_and(|cases| cases.is_empty());
            let constant = expression.args().is_empty().then(|| expression.holds(&|_| None) == Some(true));
            let (code, what) = match constant {
                Some(true) => (codes::FILTER_ALWAYS, "the expression is always true"),
                None if none(false) => (codes::FILTER_ALWAYS, "the expression is always true"),
                Some(false) => (codes::FILTER_NEVER, "the expression is never true"),
                None if none(true) => (codes::FILTER_NEVER, "the expression is never true"),
                None => return Some(expression),
            };
            let help =
                if constant.is_some() { "compare an argument (arg0, arg1, …)" } else { "remove it, or correct it" };
            report.fault(path, code, what, help);
            None
        }
        Ok(_) => {
            let what = "the expression is a number, and neither true nor false";
            report.fault(path, codes::EXPRESSION_INVALID, what, "compare it, for instance with == 0");
            None
        }
        Err(what) => {
            report.fault(path, codes::EXPRESSION_INVALID, what, "write an expression such as arg0 == 1 && arg1 > 10");
            None
        }
    }
}

struct Parser<'a> {
    rest: &'a str,
    args: &'a [Arg],
    depth: usize,
}

impl<'a> Parser<'a> {
    fn take(&mut self, token: &str) -> bool {
        let trimmed = self.rest.trim_start();
        match trimmed.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn either(&mut self) -> Result<Part, String> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(format!("it nests deeper than {MAX_DEPTH} levels"));
        }
        let mut left = self.both()?;
        while self.take("||") {
            let right = self.both()?;
            left = (Expression::Either(Box::new(truth(left)?), Box::new(truth(right)?)), Kind::Truth);
        }
        self.depth -= 1;
        Ok(left)
    }

    fn both(&mut self) -> Result<Part, String> {
        let mut left = self.compared()?;
        while self.take("&&") {
            let right = self.compared()?;
            left = (Expression::Both(Box::new(truth(left)?), Box::new(truth(right)?)), Kind::Truth);
        }
        Ok(left)
    }

    fn compared(&mut self) -> Result<Part, String> {
        let left = self.sum()?;
        let operators = ["==", "!=", "<=", ">=", "<", ">"];
        let Some(operator) = operators.into_iter().find(|operator| self.take(operator)) else { return Ok(left) };
        let right = self.sum()?;
        if left.1 == Kind::Truth || right.1 == Kind::Truth {
            let (left, right) = (Box::new(truth(left)?), Box::new(truth(right)?));
            return match operator {
                "==" => Ok((Expression::Same(left, right), Kind::Truth)),
                "!=" => Ok((Expression::Not(Box::new(Expression::Same(left, right))), Kind::Truth)),
                other => Err(format!("{other} compares numbers, not truths")),
            };
        }
        let (left, right, _) = same_type(left, right)?;
        let (left, right) = (Box::new(left), Box::new(right));
        let not = |expression| Expression::Not(Box::new(expression));
        let expression = match operator {
            "==" => Expression::Compare(Compare::Equal, left, right),
            "!=" => not(Expression::Compare(Compare::Equal, left, right)),
            "<" => Expression::Compare(Compare::Less, left, right),
            "<=" => Expression::Compare(Compare::LessOrEqual, left, right),
            ">" => Expression::Compare(Compare::Less, right, left),
            _ => Expression::Compare(Compare::LessOrEqual, right, left),
        };
        Ok((expression, Kind::Truth))
    }

    fn sum(&mut self) -> Result<Part, String> {
        let mut left = self.single()?;
        loop {
            let operation = if self.take("+") {
                Operation::Plus
            } else if self.take("-") {
                Operation::Minus
            } else {
                return Ok(left);
            };
            let right = self.single()?;
            left = calculated(operation, left, right)?;
        }
    }

    fn single(&mut self) -> Result<Part, String> {
        // `!=` is taken where comparisons are, so what is here is a negation.
        let mut negations = 0;
        while self.take("!") {
            negations += 1;
        }
        let mut part = self.primary()?;
        for _ in 0..negations % 2 {
            part = (Expression::Not(Box::new(truth(part)?)), Kind::Truth);
        }
        if negations > 0 { Ok((truth(part)?, Kind::Truth)) } else { Ok(part) }
    }

    fn primary(&mut self) -> Result<Part, String> {
        if self.take("(") {
            let inner = self.either()?;
            return if self.take(")") { Ok(inner) } else { Err("a ( is not closed".into()) };
        }
        let text = self.rest.trim_start();
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let end = text.strip_prefix('-').map_or(0, |_| 1);
        let length = text.get(end..).map_or(0, |rest| rest.find(|c| !word(c)).unwrap_or(rest.len()));
        let (token, rest) = text.split_at_checked(end + length).unwrap_or((text, ""));
        self.rest = rest;
        match token {
            "" | "-" => Err(match text.chars().next() {
                None => "something is missing at the end".into(),
                Some(_) => format!("{} is not expected here", quoted(text)),
            }),
            "true" => Ok((Expression::Truth(true), Kind::Truth)),
            "false" => Ok((Expression::Truth(false), Kind::Truth)),
            "int32" | "uint32" | "and" | "or" | "xor" | "not" => self.call(token),
            _ if token.starts_with(|c: char| c == '-' || c.is_ascii_digit()) => literal(token),
            _ => self.arg(token),
        }
    }

    fn call(&mut self, name: &str) -> Result<Part, String> {
        let mut given = Vec::new();
        if !self.take("(") {
            return Err(format!("{name} is not followed by ("));
        }
        loop {
            given.push(self.either()?);
            if self.take(")") {
                break;
            }
            if !self.take(",") {
                return Err(format!("{name}( is not closed"));
            }
        }
        let mut given = given.into_iter();
        match (name, given.next(), given.next(), given.next()) {
            ("int32", Some(of), None, None) => cast((32, true), of),
            ("uint32", Some(of), None, None) => cast((32, false), of),
            ("not", Some(of), None, None) => {
                let Kind::Number(width) = of.1 else { return Err("not() is about an argument's bits".into()) };
                let ones = Expression::Number(crate::ir::wrap(width, -1));
                Ok((Expression::Calculate(Operation::Xor, width, Box::new(of.0), Box::new(ones)), of.1))
            }
            ("and", Some(left), Some(right), None) => calculated(Operation::And, left, right),
            ("or", Some(left), Some(right), None) => calculated(Operation::Or, left, right),
            ("xor", Some(left), Some(right), None) => calculated(Operation::Xor, left, right),
            _ => Err(format!("{name}() has another number of arguments")),
        }
    }

    fn arg(&self, token: &str) -> Result<Part, String> {
        let number: Option<usize> = token.strip_prefix("arg").and_then(|digits| digits.parse().ok());
        let Some(at) = number else { return Err(format!("{} means nothing in an expression", quoted(token))) };
        let Some(arg) = self.args.get(at) else {
            return Err(format!("{token} is not there: {} are listed in args", self.args.len()));
        };
        match arg.ty.class() {
            Class::Number { bits, signed } => Ok((Expression::Arg(at), Kind::Number((bits.max(32), signed)))),
            _ => Err(format!("{token} is of type {}, and expressions are about numbers", arg.ty.name())),
        }
    }
}

fn literal(token: &str) -> Result<Part, String> {
    let wrong = || format!("{} is not a number", quoted(token));
    let digits = token.strip_suffix(['u', 'U']).unwrap_or(token);
    let number = super::numbers::parse(digits).ok_or_else(wrong)?;
    let fits = (i128::from(i64::MIN)..=i128::from(u64::MAX)).contains(&number);
    if fits { Ok((Expression::Number(number), Kind::Literal)) } else { Err(wrong()) }
}

fn truth((expression, kind): Part) -> Result<Expression, String> {
    if kind == Kind::Truth { Ok(expression) } else { Err("a number is neither true nor false".into()) }
}

fn cast(width: Width, (expression, kind): Part) -> Result<Part, String> {
    if kind == Kind::Truth {
        return Err("a truth is no number".into());
    }
    Ok((Expression::Cast(width, Box::new(expression)), Kind::Number(width)))
}

fn calculated(operation: Operation, left: Part, right: Part) -> Result<Part, String> {
    if left.1 == Kind::Truth || right.1 == Kind::Truth {
        return Err("truths cannot be calculated with".into());
    }
    let (left, right, kind) = same_type(left, right)?;
    let width = match kind {
        Kind::Number(width) => width,
        _ => (64, true),
    };
    Ok((Expression::Calculate(operation, width, Box::new(left), Box::new(right)), Kind::Number(width)))
}

/// Both sides of an operator, which must be of one type: which of two is meant decides what overflows.
fn same_type(left: Part, right: Part) -> Result<(Expression, Expression, Kind), String> {
    let kind = match (left.1, right.1) {
        (Kind::Literal, other) | (other, Kind::Literal) => other,
        (a, b) if a == b => a,
        (a, b) => return Err(format!("{} and {} cannot be compared or combined", describe(a), describe(b))),
    };
    if let Kind::Number(width) = kind {
        for (expression, of) in [&left, &right] {
            if let (Expression::Number(number), Kind::Literal) = (expression, of)
                && crate::ir::wrap(width, *number) != *number
            {
                return Err(format!("{number} is not a number that {} can be", describe(kind)));
            }
        }
    }
    Ok((left.0, right.0, kind))
}

fn describe(kind: Kind) -> String {
    match kind {
        Kind::Truth => "a truth".into(),
        Kind::Literal => "a number".into(),
        Kind::Number((bits, signed)) => {
            format!("{} of {bits} bits", if signed { "a signed number" } else { "an unsigned number" })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::{ArgType, Reading};

    fn args() -> Vec<Arg> {
        [ArgType::Int, ArgType::SizeT, ArgType::String, ArgType::Uint32]
            .into_iter()
            .map(|ty| Arg { index: 0, ty, label: String::new(), reading: Reading::default() })
            .collect()
    }

    fn holds(text: &str, numbers: &[i128]) -> Result<bool, String> {
        let mut report = Report::default();
        match read(text, "", &args(), &mut report) {
            Some(expression) => Ok(expression.holds(&|at| numbers.get(at).copied()).unwrap()),
            None => {
                Err(report.finish().faults.first().map(|fault| format!("{}: {}", fault.code, fault.message)).unwrap())
            }
        }
    }

    #[test]
    fn expressions_mean_what_they_say() {
        for (text, expected) in [
            ("arg0 == 1", true),
            ("arg0 == -1", false),
            ("!(arg0 == 1)", false),
            ("!!(arg0 == 1)", true),
            ("arg0 != 1 || arg1 > 10 && arg1 <= 20", true),
            ("(arg0 != 1 || arg1 > 10) && arg1 < 20", false),
            ("and(arg1, 0x14) == 20", true),
            ("arg0 + 1 == 2", true),
            ("arg3 - 1 == 4294967295", true),
            ("uint32(arg0) == arg3", false),
            ("not(arg3) == 4294967295u", true),
            ("xor(arg0, 3) == 2 && or(arg0, 2) >= 3", true),
            ("(arg0 == 1) == true", true),
        ] {
            assert_eq!(holds(text, &[1, 20, 0, 0]), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_expression_is_refused() {
        for (text, part) in [
            ("", "missing"),
            ("arg0", "neither true nor false"),
            ("arg0 ==", "missing"),
            ("arg0 = 1", "left over"),
            ("arg2 == 1", "expressions are about numbers"),
            ("arg9 == 1", "not there"),
            ("arg0 == arg1", "cannot be compared"),
            ("arg3 == -1", "not a number that"),
            ("1 == 1", "FilterAlways"),
            ("1 > 1", "FilterNever"),
            ("foo(arg0)", "means nothing"),
            ("and(arg0) == 1", "another number of arguments"),
            ("(arg0 == 1", "not closed"),
            ("arg0 == 1 é", "left over"),
            ("arg0 && arg1", "neither true nor false"),
        ] {
            let error = holds(text, &[]).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
        assert!(holds(&"(".repeat(4000), &[]).unwrap_err().contains("deeper"));
        assert!(holds(&"!".repeat(4000), &[]).is_err());
    }
}
