//! Where what is in a document now has been in the document that was read: elements of lists move when others go, and fields
//! get other names.

use std::collections::{BTreeMap, BTreeSet};

use stockade_policy::convert::{Edit, Step};

/// Everything that has moved, round by round.
#[derive(Debug, Default)]
pub(super) struct Moves {
    rounds: Vec<Round>,
}

#[derive(Debug, Default)]
struct Round {
    /// Of each list, the elements that went, each counted without those that went before it.
    gone: BTreeMap<Vec<Step>, Vec<usize>>,
    /// The place of each field with its new name, and its old one.
    renamed: BTreeMap<Vec<Step>, String>,
}

impl Moves {
    pub(super) fn note(&mut self, edits: &[Edit]) {
        let mut gone: BTreeMap<Vec<Step>, BTreeSet<usize>> = BTreeMap::new();
        let mut renamed = BTreeMap::new();
        for edit in edits {
            match (edit, edit.at().split_last()) {
                (Edit::Remove { .. }, Some((Step::Element(index), list))) => {
                    gone.entry(list.to_vec()).or_default().insert(*index);
                }
                (Edit::Rename { name, .. }, Some((Step::Field(old), parent))) => {
                    let place = parent.iter().cloned().chain([Step::Field(name.clone())]).collect();
                    renamed.insert(place, old.clone());
                }
                _ => {}
            }
        }
        let counted =
            |set: BTreeSet<usize>| set.into_iter().zip(0..).map(|(index, before): (usize, usize)| index - before);
        let gone = gone.into_iter().map(|(list, set)| (list, counted(set).collect())).collect();
        self.rounds.push(Round { gone, renamed });
    }

    /// Where `at` was in the document that was read.
    pub(super) fn before(&self, mut at: Vec<Step>) -> Vec<Step> {
        for round in self.rounds.iter().rev() {
            for depth in 0..at.len() {
                let gone = at.get(..depth).and_then(|list| round.gone.get(list));
                let old = at.get(..=depth).and_then(|place| round.renamed.get(place));
                match at.get_mut(depth) {
                    Some(Step::Element(index)) => {
                        *index += gone.map_or(0, |gone| gone.partition_point(|counted| *counted <= *index));
                    }
                    Some(Step::Field(name)) => {
                        if let Some(old) = old {
                            name.clone_from(old);
                        }
                    }
                    None => {}
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
    fn what_has_another_name_is_found_under_its_old_one() {
        let mut moves = Moves::default();
        let old = at("old", 1);
        moves.note(&[
            Edit::Rename { at: vec![Step::Field("old".into())], name: "new".into() },
            Edit::Remove { at: at("old", 0) },
        ]);
        assert_eq!(moves.before(at("new", 0)), old);
        assert_eq!(moves.before(at("other", 0)), at("other", 0));
    }

    #[test]
    fn a_path_is_written_as_faults_write_it() {
        let field = |name: &str| Step::Field(name.into());
        let steps = [field("spec"), field("selectorsMacros"), field("a.b"), field("matchPIDs"), Step::Element(0)];
        assert_eq!(path(&steps), "spec.selectorsMacros[a.b].matchPIDs[0]");
    }
}
