//! Where what is in a document now has been in the document that was read: elements of lists move when others go.

use std::collections::{BTreeMap, BTreeSet};

use stockade_policy::convert::{Edit, Step};

/// Everything that has gone, round by round.
#[derive(Debug, Default)]
pub(super) struct Moves {
    /// Of each round and list: the elements that went, each counted without those that went before it.
    rounds: Vec<BTreeMap<Vec<Step>, Vec<usize>>>,
}

impl Moves {
    pub(super) fn note(&mut self, edits: &[Edit]) {
        let mut gone: BTreeMap<Vec<Step>, BTreeSet<usize>> = BTreeMap::new();
        for edit in edits {
            if let Edit::Remove { at } = edit
                && let Some((Step::Element(index), list)) = at.split_last()
            {
                gone.entry(list.to_vec()).or_default().insert(*index);
            }
        }
        let counted =
            |set: BTreeSet<usize>| set.into_iter().zip(0..).map(|(index, before): (usize, usize)| index - before);
        self.rounds.push(gone.into_iter().map(|(list, set)| (list, counted(set).collect())).collect());
    }

    /// Where `at` was in the document that was read.
    pub(super) fn before(&self, mut at: Vec<Step>) -> Vec<Step> {
        for round in self.rounds.iter().rev().filter(|round| !round.is_empty()) {
            for depth in 0..at.len() {
                let gone = at.get(..depth).and_then(|list| round.get(list));
                if let (Some(gone), Some(Step::Element(index))) = (gone, at.get_mut(depth)) {
                    *index += gone.partition_point(|counted| *counted <= *index);
                }
            }
        }
        at
    }
}

/// The steps as a field path.
pub(super) fn path(at: &[Step]) -> String {
    let mut text = String::new();
    let mut named = false;
    for step in at {
        match step {
            Step::Element(index) => text += &format!("[{index}]"),
            Step::Field(name) if named => text += &format!("[{name}]"),
            Step::Field(name) if text.is_empty() => text += name,
            Step::Field(name) => text += &format!(".{name}"),
        }
        // What authors name themselves is in brackets.
        named = matches!(step, Step::Field(name) if name == "selectorsMacros" || name == "matchLabels") && !named;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(list: &str, index: usize) -> Vec<Step> {
        vec![Step::Field(list.into()), Step::Element(index)]
    }

    #[test]
    fn what_has_moved_up_is_found_where_it_was() {
        let mut moves = Moves::default();
        moves.note(&[Edit::Remove { at: at("l", 3) }, Edit::Remove { at: at("l", 0) }]);
        moves.note(&[Edit::Remove { at: at("l", 1) }]);
        // 0 1 2 3 4 5 without 0 and 3 is 1 2 4 5, and without its second 1 4 5.
        for (now, before) in [(0, 1), (1, 4), (2, 5)] {
            assert_eq!(moves.before(at("l", now)), at("l", before));
        }
        assert_eq!(moves.before(at("m", 1)), at("m", 1));
    }

    #[test]
    fn a_path_is_written_as_faults_write_it() {
        let field = |name: &str| Step::Field(name.into());
        let steps = [field("spec"), field("selectorsMacros"), field("a.b"), field("matchPIDs"), Step::Element(0)];
        assert_eq!(path(&steps), "spec.selectorsMacros[a.b].matchPIDs[0]");
    }
}
