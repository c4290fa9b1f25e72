//! The known name that a misspelt one is nearest to.

/// The name that needs the fewest changes to become `wrong`, if that is few enough to be what was meant.
#[must_use]
pub fn nearest<'n>(wrong: &str, known: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    all_nearest(wrong, known).into_iter().next()
}

/// All names that need the same, fewest changes, if those are few enough.
pub(crate) fn all_nearest<'n>(wrong: &str, known: impl IntoIterator<Item = &'n str>) -> Vec<&'n str> {
    let letters: Vec<char> = wrong.chars().take(64).flat_map(char::to_lowercase).collect();
    let mut near: Vec<(usize, &str)> = known
        .into_iter()
        .map(|name| (distance(&letters, &name.chars().flat_map(char::to_lowercase).collect::<Vec<_>>()), name))
        .filter(|(distance, name)| *distance <= 1 + name.len() / 4)
        .collect();
    let least = near.iter().map(|(distance, _)| *distance).min();
    near.retain(|(distance, _)| Some(*distance) == least);
    near.into_iter().map(|(_, name)| name).collect()
}

/// How many bytes a list of names may have to be shown.
const SHOWN: usize = 195;

/// What to write instead of `wrong`: the nearest of all `known` names, or, if the list is short, one of `usable`.
pub(super) fn suggestion(wrong: &str, known: &[&str], usable: &[&str]) -> String {
    if let Some(name) = nearest(wrong, known.iter().copied()) {
        return format!("did you mean {name}?");
    }
    let names = usable.join(", ");
    if names.len() <= SHOWN { format!("write one of {names}") } else { "remove it".into() }
}

/// How many characters must be inserted, removed, replaced or swapped with their neighbour.
fn distance(left: &[char], right: &[char]) -> usize {
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=right.len()).collect();
    let mut previous_left = None;
    for (row, &a) in left.iter().enumerate() {
        let mut current = vec![row + 1];
        let mut previous_right = None;
        for (column, &b) in right.iter().enumerate() {
            let at = |line: &[usize], index: usize| line.get(index).copied().unwrap_or(usize::MAX / 2);
            let mut cost =
                (at(&last, column) + usize::from(a != b)).min(at(&last, column + 1) + 1).min(at(&current, column) + 1);
            if previous_left == Some(b) && previous_right == Some(a) && column > 0 {
                cost = cost.min(at(&before_last, column - 1) + 1);
            }
            current.push(cost);
            previous_right = Some(b);
        }
        previous_left = Some(a);
        before_last = std::mem::replace(&mut last, current);
    }
    last.last().copied().unwrap_or(left.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_is_recognised() {
        let known = ["matchPIDs", "matchArgs", "matchBinaries", "call"];
        assert_eq!(nearest("matchPID", known), Some("matchPIDs"));
        assert_eq!(nearest("matchpids", known), Some("matchPIDs"));
        assert_eq!(nearest("matchAgrs", known), Some("matchArgs"));
        assert_eq!(nearest("matchBinarys", known), Some("matchBinaries"));
        assert_eq!(nearest("something", known), None);
        assert_eq!(nearest("", known), None);
    }
}
