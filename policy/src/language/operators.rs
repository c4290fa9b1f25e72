//! The operators of filters on arguments.

use crate::ir::{Class, StringCompare};

/// An operator as a document writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Operator {
    /// Its name.
    pub name: &'static str,
    /// What it compares.
    pub subject: Subject,
    /// It is the negation of the operator with the same subject that is not.
    pub negated: bool,
    /// What it asks, in a few words.
    pub asks: &'static str,
}

/// What an operator compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// The value with a list.
    Value,
    /// A number with another: whether it is greater.
    Above,
    /// A number with another: whether it is smaller.
    Below,
    /// A number with ranges.
    Range,
    /// A number with a long list of numbers and ranges, or with a named list.
    Map,
    /// The bits that are set.
    Mask,
    /// A part of a string.
    Part(StringCompare),
    /// Any part of a string.
    Substring {
        /// Letters of ASCII are the same in both cases.
        ignore_case: bool,
    },
    /// An address.
    Address(Side),
    /// A port.
    Port(Side),
    /// Whether a port is below 1024.
    Privileged(Side),
    /// The family of a socket.
    Family,
    /// Its protocol.
    Protocol,
    /// Its TCP state.
    State,
    /// The kind of a file.
    FileType,
    /// Two sets of capabilities.
    Gained,
    /// Whatever an expression says.
    Expression,
}

/// One of the two ends of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The local one.
    Source,
    /// The remote one.
    Destination,
}

impl Subject {
    /// Whether the operator has a meaning on a value of this class.
    #[must_use]
    pub const fn is_about(self, class: Class) -> bool {
        match self {
            Self::Value => matches!(
                class,
                Class::Number { .. }
                    | Class::Text
                    | Class::Path { .. }
                    | Class::UnixAddress
                    | Class::Capability
                    | Class::Capabilities
                    | Class::Syscall
            ),
            Self::Above | Self::Below => matches!(class, Class::Number { .. }),
            Self::Range | Self::Map => matches!(class, Class::Number { .. } | Class::Capability | Class::Syscall),
            Self::Mask => matches!(class, Class::Number { .. } | Class::Capabilities),
            Self::Part(_) | Self::Substring { .. } => {
                matches!(class, Class::Text | Class::Path { .. } | Class::UnixAddress)
            }
            Self::Address(_) | Self::Port(_) | Self::Privileged(_) => {
                matches!(class, Class::Socket { .. } | Class::Address)
            }
            Self::Family => matches!(class, Class::Socket { .. } | Class::Address),
            Self::Protocol => matches!(class, Class::Socket { .. }),
            Self::State => matches!(class, Class::Socket { state: true }),
            Self::FileType => matches!(class, Class::Path { inode: true }),
            Self::Gained => matches!(class, Class::Capabilities),
            // It is about numbers, which the expression itself names.
            Self::Expression => true,
        }
    }
}

const fn plain(name: &'static str, subject: Subject, asks: &'static str) -> Operator {
    Operator { name, subject, negated: false, asks }
}

const fn negation(name: &'static str, subject: Subject, asks: &'static str) -> Operator {
    Operator { name, subject, negated: true, asks }
}

const SOURCE: Side = Side::Source;
const DESTINATION: Side = Side::Destination;
const PREFIX: Subject = Subject::Part(StringCompare::Prefix);
const POSTFIX: Subject = Subject::Part(StringCompare::Postfix);

/// All of them.
pub const OPERATORS: [Operator; 36] = [
    plain("Equal", Subject::Value, "it is one of the values"),
    negation("NotEqual", Subject::Value, "it is none of the values"),
    plain("GT", Subject::Above, "it is greater than the one value"),
    plain("GreaterThan", Subject::Above, "the same as `GT`"),
    plain("LT", Subject::Below, "it is less than the one value"),
    plain("LessThan", Subject::Below, "the same as `LT`"),
    plain("InRange", Subject::Range, "it is in one of the ranges `first:last`, both ends included"),
    negation("NotInRange", Subject::Range, "it is in none of the ranges"),
    plain("InMap", Subject::Map, "it is one of the values, in one of the ranges, or in the `list:NAME`"),
    negation("NotInMap", Subject::Map, "it is none of them"),
    plain("Mask", Subject::Mask, "one of the bits is set"),
    plain("Prefix", PREFIX, "it begins with one of the values"),
    negation("NotPrefix", PREFIX, "it begins with none of the values"),
    plain("Postfix", POSTFIX, "it ends with one of the values"),
    negation("NotPostfix", POSTFIX, "it ends with none of the values"),
    plain("SubString", Subject::Substring { ignore_case: false }, "one of the values is in it"),
    plain(
        "SubStringIgnCase",
        Subject::Substring { ignore_case: true },
        "the same, whatever the case of letters a to z",
    ),
    plain("SAddr", Subject::Address(SOURCE), "the local address is one of the addresses, or in one of the ranges"),
    negation("NotSAddr", Subject::Address(SOURCE), "it is in none of them"),
    plain("DAddr", Subject::Address(DESTINATION), "the same of the remote address"),
    negation("NotDAddr", Subject::Address(DESTINATION), "it is in none of them"),
    plain("SPort", Subject::Port(SOURCE), "the local port is one of the ports, or in one of the ranges"),
    negation("NotSPort", Subject::Port(SOURCE), "it is in none of them"),
    plain("DPort", Subject::Port(DESTINATION), "the same of the remote port"),
    negation("NotDPort", Subject::Port(DESTINATION), "it is in none of them"),
    plain("SPortPriv", Subject::Privileged(SOURCE), "the local port is below 1024"),
    negation("NotSportPriv", Subject::Privileged(SOURCE), "it is not"),
    plain("DPortPriv", Subject::Privileged(DESTINATION), "the remote port is below 1024"),
    negation("NotDPortPriv", Subject::Privileged(DESTINATION), "it is not"),
    plain("Family", Subject::Family, "the address family is one of these: `AF_INET`, or its number"),
    plain("Protocol", Subject::Protocol, "the protocol is one of these: `IPPROTO_TCP`, or its number"),
    plain("State", Subject::State, "the TCP state is one of these: `TCP_LISTEN`, or its number"),
    plain("FileType", Subject::FileType, "the file is a `reg`, `dir`, `lnk`, `chr`, `blk`, `fifo` or `sock`"),
    negation("NotFileType", Subject::FileType, "it is none of these"),
    plain("CapabilitiesGained", Subject::Gained, "of the two `args`, the second has a capability that the first lacks"),
    plain("CelExpr", Subject::Expression, "the expression is true; `argN` is the Nth of `args`, from 0"),
];

/// The operator of that name.
#[must_use]
pub fn operator(name: &str) -> Option<Operator> {
    OPERATORS.iter().copied().find(|operator| operator.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operator_of_the_api_is_known() {
        let names: Vec<_> = OPERATORS.iter().map(|operator| operator.name).collect();
        for name in stockade_crds::spec::selectors::ARG_OPERATORS {
            assert!(names.contains(name), "{name}");
        }
        assert_eq!(names.len(), stockade_crds::spec::selectors::ARG_OPERATORS.len());
    }

    #[test]
    fn every_negation_has_what_it_negates() {
        for negated in OPERATORS.iter().filter(|operator| operator.negated) {
            assert!(
                OPERATORS.iter().any(|other| !other.negated && other.subject == negated.subject),
                "{}",
                negated.name
            );
        }
    }
}
