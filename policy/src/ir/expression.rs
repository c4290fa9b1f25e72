//! The expressions of `CelExpr`: numbers and truth over the arguments of a hook.

use serde::Serialize;

/// The type of a number in an expression: arithmetic wraps around in it.
pub type Width = (u32, bool);

/// A part of an expression, or all of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Expression {
    /// `true` or `false`.
    Truth(bool),
    /// A number.
    Number(i128),
    /// An argument: position in [`super::Hook::args`].
    Arg(usize),
    /// `!a`
    Not(Box<Expression>),
    /// `a && b`
    Both(Box<Expression>, Box<Expression>),
    /// `a || b`
    Either(Box<Expression>, Box<Expression>),
    /// `a == b` and its like, on numbers.
    Compare(Compare, Box<Expression>, Box<Expression>),
    /// `a == b` on truth values.
    Same(Box<Expression>, Box<Expression>),
    /// `a + b`, `and(a, b)` and their like.
    Calculate(Operation, Width, Box<Expression>, Box<Expression>),
    /// `int32(a)`, `uint32(a)`.
    Cast(Width, Box<Expression>),
}

/// How numbers are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[allow(missing_docs, reason = "they are what they are called")]
pub enum Compare {
    Equal,
    Less,
    LessOrEqual,
}

/// How two numbers make a third.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[allow(missing_docs, reason = "they are what they are called")]
pub enum Operation {
    Plus,
    Minus,
    And,
    Or,
    Xor,
}

/// A number in a type: what is beyond its bits is lost.
#[must_use]
pub fn wrap((bits, signed): Width, number: i128) -> i128 {
    let size = 1_i128 << bits;
    let rest = number.rem_euclid(size);
    if signed && rest >= size / 2 { rest - size } else { rest }
}

impl Expression {
    /// Whether it is true, when the arguments have these values; `None`: one that matters cannot be read.
    pub fn holds(&self, arg: &dyn Fn(usize) -> Option<i128>) -> Option<bool> {
        match self {
            Self::Truth(truth) => Some(*truth),
            Self::Not(of) => of.holds(arg).map(|truth| !truth),
            Self::Both(left, right) => match (left.holds(arg), right.holds(arg)) {
                (Some(false), _) | (_, Some(false)) => Some(false),
                (Some(true), Some(true)) => Some(true),
                _ => None,
            },
            Self::Either(left, right) => match (left.holds(arg), right.holds(arg)) {
                (Some(true), _) | (_, Some(true)) => Some(true),
                (Some(false), Some(false)) => Some(false),
                _ => None,
            },
            Self::Same(left, right) => Some(left.holds(arg)? == right.holds(arg)?),
            Self::Compare(compare, left, right) => {
                let (left, right) = (left.number(arg)?, right.number(arg)?);
                Some(match compare {
                    Compare::Equal => left == right,
                    Compare::Less => left < right,
                    Compare::LessOrEqual => left <= right,
                })
            }
            // A number is no truth; the validator lets no such expression through.
            Self::Number(_) | Self::Arg(_) | Self::Calculate(..) | Self::Cast(..) => None,
        }
    }

    fn number(&self, arg: &dyn Fn(usize) -> Option<i128>) -> Option<i128> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Arg(at) => arg(*at),
            Self::Cast(width, of) => Some(wrap(*width, of.number(arg)?)),
            Self::Calculate(operation, width, left, right) => {
                let (left, right) = (left.number(arg)?, right.number(arg)?);
                let result = match operation {
                    Operation::Plus => left + right,
                    Operation::Minus => left - right,
                    Operation::And => left & right,
                    Operation::Or => left | right,
                    Operation::Xor => left ^ right,
                };
                Some(wrap(*width, result))
            }
            Self::Truth(_) | Self::Not(_) | Self::Both(..) | Self::Either(..) | Self::Compare(..) | Self::Same(..) => {
                None
            }
        }
    }

    /// The arguments in it.
    #[must_use]
    pub fn args(&self) -> std::collections::BTreeSet<usize> {
        match self {
            Self::Truth(_) | Self::Number(_) => std::collections::BTreeSet::new(),
            Self::Arg(at) => [*at].into(),
            Self::Not(of) | Self::Cast(_, of) => of.args(),
            Self::Both(left, right)
            | Self::Either(left, right)
            | Self::Same(left, right)
            | Self::Compare(_, left, right)
            | Self::Calculate(_, _, left, right) => &left.args() | &right.args(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_wrap_around_in_their_type() {
        assert_eq!(wrap((32, true), 1 << 31), i128::from(i32::MIN));
        assert_eq!(wrap((32, false), -1), u32::MAX.into());
        assert_eq!(wrap((64, true), -1), -1);
        assert_eq!(wrap((64, false), 1 << 64), 0);
    }

    #[test]
    fn what_cannot_be_read_matters_only_where_it_decides() {
        let unreadable = |_| None;
        let asks = || {
            Box::new(Expression::Compare(Compare::Equal, Box::new(Expression::Arg(0)), Box::new(Expression::Number(1))))
        };
        let truth = |truth| Box::new(Expression::Truth(truth));
        assert_eq!(Expression::Both(asks(), truth(false)).holds(&unreadable), Some(false));
        assert_eq!(Expression::Both(asks(), truth(true)).holds(&unreadable), None);
        assert_eq!(Expression::Either(truth(true), asks()).holds(&unreadable), Some(true));
        assert_eq!(Expression::Not(asks()).holds(&unreadable), None);
    }
}
