//! What is wrong with a document: where, what, and how to fix it.

pub mod codes;

use std::cmp::Ordering;

use serde::Serialize;

/// One thing that is wrong with a document (a fault refuses it) or doubtful about it (a warning does not).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Fault {
    /// Where, as a Kubernetes field path: `spec.kprobes[0].selectors[1].matchPIDs[0].values[2]`.
    pub path: String,
    /// The stable name of the class of fault, in CamelCase: `PidZero`. One of [`codes::ALL`].
    pub code: &'static str,
    /// One sentence: what is ambiguous, contradictory or unknown.
    pub message: String,
    /// One sentence: what to write instead.
    pub help: String,
}

impl Fault {
    /// `CODE: what; fix`, the text that goes behind a field path.
    #[must_use]
    pub fn text(&self) -> String {
        if self.help.is_empty() {
            return format!("{}: {}", self.code, self.message);
        }
        format!("{}: {}; {}", self.code, self.message, self.help)
    }

    /// The order in which a person reads a document: `values[2]` before `values[10]`; then by code.
    #[must_use]
    pub fn reading_order(&self, other: &Self) -> Ordering {
        natural(&self.path, &other.path)
            .then_with(|| self.code.cmp(other.code))
            .then_with(|| self.message.cmp(&other.message))
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.path, self.text())
    }
}

/// Compares text, with runs of digits compared as numbers.
fn natural(left: &str, right: &str) -> Ordering {
    let (mut left, mut right) = (left.as_bytes(), right.as_bytes());
    loop {
        let ((number_left, rest_left), (number_right, rest_right)) = (leading_digits(left), leading_digits(right));
        if !number_left.is_empty() && !number_right.is_empty() {
            let order = number_left.len().cmp(&number_right.len()).then_with(|| number_left.cmp(number_right));
            if order != Ordering::Equal {
                return order;
            }
            (left, right) = (rest_left, rest_right);
            continue;
        }
        match (left.split_first(), right.split_first()) {
            (Some((a, rest_left)), Some((b, rest_right))) if a == b => (left, right) = (rest_left, rest_right),
            (a, b) => return a.map(|(byte, _)| byte).cmp(&b.map(|(byte, _)| byte)),
        }
    }
}

fn leading_digits(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    text.split_at(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_name_of_its_own() {
        let mut names: Vec<_> = codes::ALL.iter().map(|code| code.name).collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    #[test]
    fn faults_are_read_in_the_order_of_the_document() {
        assert_eq!(natural("values[2]", "values[10]"), Ordering::Less);
        assert_eq!(natural("values[10]", "values[10]"), Ordering::Equal);
        assert_eq!(natural("values", "values[0]"), Ordering::Less);
        assert_eq!(natural("b", "a[1]"), Ordering::Greater);
    }
}
