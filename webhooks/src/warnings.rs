//! Warnings as the API server carries them: one line each (a line break makes a warning vanish), short, and few.
//!
//! It carries 4,096 characters for one request, those of other webhooks included. Beyond that it cuts each warning at 256 and
//! then leaves out the rest without a word. Ten of ours are half of that at most.

use stockade_policy::Fault;

/// No warning is longer, in bytes.
pub const MAX_LENGTH: usize = 200;
/// No more warnings than this; the last one says how many were left out.
pub const MAX_COUNT: usize = 10;

/// The warning for something doubtful.
#[must_use]
pub fn of_warning(fault: &Fault) -> String {
    line(&format!("{}: {}: {}", fault.path, fault.code, fault.message), &fault.help)
}

/// The warning for what nodes lack: its class first, because it is about the cluster more than about a field.
#[must_use]
pub fn of_nodes(fault: &Fault) -> String {
    line(&format!("{}: {} ({})", fault.code, fault.message, fault.path), &fault.help)
}

/// The warning for a fault that is tolerated while a cluster is being moved.
#[must_use]
pub fn of_tolerated_fault(fault: &Fault) -> String {
    line(&format!("would be refused: {}: {}: {}", fault.path, fault.code, fault.message), &fault.help)
}

/// What and how to fix it, on one line; the fix is left out when both do not fit.
#[must_use]
pub fn line(what: &str, fix: &str) -> String {
    let both = if fix.is_empty() { what.to_owned() } else { format!("{what}; {fix}") };
    let (what, both) = (flat(what), flat(&both));
    if both.len() <= MAX_LENGTH { both } else { cut(&what, MAX_LENGTH) }
}

/// At most [`MAX_COUNT`] of them, without repetition. `more`: how many there are besides that nobody has told apart.
#[must_use]
pub fn few(warnings: Vec<String>, more: usize) -> Vec<String> {
    let mut kept: Vec<String> = Vec::new();
    for warning in warnings {
        if !kept.contains(&warning) {
            kept.push(warning);
        }
    }
    if kept.len() + more > MAX_COUNT {
        let all = kept.len() + more;
        kept.truncate(MAX_COUNT - 1);
        let left_out = all - kept.len();
        let shows = if more == 0 { "all" } else { "more" };
        kept.push(format!("and {left_out} more warnings; `stockade lint` shows {shows}"));
    }
    kept
}

fn flat(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// At most `max` bytes, cut at a character, with a sign that it was cut.
#[must_use]
pub fn cut(text: &str, max: usize) -> String {
    if text.len() <= max {
        return text.to_owned();
    }
    let room = max.saturating_sub('…'.len_utf8());
    let end = (0..=room).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    format!("{}…", text.get(..end).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_is_one_short_line() {
        let long = line(&"é\n".repeat(300), "do less");
        assert!(long.len() <= MAX_LENGTH && !long.contains('\n') && long.ends_with('…'), "{long}");
        assert_eq!(line("a\nb", "c"), "a b; c");
        let no_room_for_the_fix = line(&"a".repeat(150), &"b".repeat(60));
        assert_eq!(no_room_for_the_fix, "a".repeat(150));
    }

    #[test]
    fn many_warnings_become_ten_and_the_last_says_how_many_more() {
        let many: Vec<String> = (0..25).map(|n| format!("w{n}")).collect();
        let shown = few(many.clone(), 0);
        assert_eq!(shown.len(), MAX_COUNT);
        assert_eq!(shown.last().unwrap(), "and 16 more warnings; `stockade lint` shows all");
        assert_eq!(few(many, 30).last().unwrap(), "and 46 more warnings; `stockade lint` shows more");
    }
}
