//! Where the lines of a text begin, so that the place of a finding in it is found at once.

/// The lines of a text.
pub(crate) struct Lines<'a> {
    text: &'a str,
    /// Where each begins.
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    pub(crate) fn of(text: &'a str) -> Self {
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { text, starts }
    }

    /// Line and column of the byte `at`, both from 1, the column in code points. Beyond the end is at the end.
    pub(crate) fn at(&self, at: usize) -> (usize, usize) {
        let at = if self.text.is_char_boundary(at) { at } else { self.text.len() };
        let line = self.starts.partition_point(|start| *start <= at).max(1);
        let start = self.starts.get(line - 1).copied().unwrap_or(0);
        (line, self.text.get(start..at).unwrap_or_default().chars().count() + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_columns_are_counted_from_one_in_code_points() {
        let lines = Lines::of("aé\n\nbc");
        assert_eq!(
            [0, 1, 3, 4, 5, 6, 7, 99].map(|at| lines.at(at)),
            [(1, 1), (1, 2), (1, 3), (2, 1), (3, 1), (3, 2), (3, 3), (3, 3)]
        );
        assert_eq!(Lines::of("").at(0), (1, 1));
    }
}
