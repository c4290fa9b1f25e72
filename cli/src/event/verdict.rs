//! Verdicts as people and programs read them: in the words of the events that an enforcer writes.

use serde::Serialize;
use stockade_policy::model::Verdict;

/// Every word that says what was done, the strongest first.
pub(crate) const WORDS: [&str; 6] = ["denied", "signalled", "fault", "would_deny", "observed", "nothing"];

/// A verdict, as it is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Shown {
    pub(crate) verdict: &'static str,
    /// Which of the hook's selectors decided.
    pub(crate) selector: Option<usize>,
    /// Negative, as in `argError`.
    pub(crate) error: Option<i32>,
    pub(crate) signal: Option<u8>,
    /// Whether an event is posted.
    pub(crate) post: bool,
}

impl From<Verdict> for Shown {
    fn from(judged: Verdict) -> Self {
        let Verdict { selector, post, deny, signal, would_deny, fault } = judged;
        let verdict = match judged {
            _ if fault => "fault",
            _ if deny.is_some() => "denied",
            _ if signal.is_some() => "signalled",
            _ if would_deny => "would_deny",
            _ if post => "observed",
            _ => "nothing",
        };
        Self { verdict, selector, error: deny.map(|errno| -i32::from(errno)), signal, post }
    }
}

impl Shown {
    /// How strong it is: 0 is the strongest.
    pub(crate) fn rank(&self) -> usize {
        WORDS.iter().position(|word| *word == self.verdict).unwrap_or(WORDS.len())
    }

    /// `denied by selectors[0]: error -1, signal 9, event posted`.
    pub(crate) fn sentence(&self) -> String {
        let Self { verdict, selector, error, signal, post } = self;
        let by = selector.map_or_else(String::new, |at| format!(" by selectors[{at}]"));
        let mut parts = Vec::new();
        parts.extend(error.map(|error| format!("error {error}")));
        parts.extend(signal.map(|signal| format!("signal {signal}")));
        if selector.is_some() {
            parts.push(if *post { "event posted".into() } else { "no event".into() });
        }
        let details = if parts.is_empty() { String::new() } else { format!(": {}", parts.join(", ")) };
        format!("{verdict}{by}{details}")
    }
}
