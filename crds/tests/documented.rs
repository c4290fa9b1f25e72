//! Every word that a user can meet in a status is explained in `docs/status.md`.

use std::path::Path;

use stockade_crds::{ConditionType, EntryState, Mode, Reason, Strength};

#[test]
fn every_word_of_the_status_is_in_its_documentation() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/status.md");
    let text = std::fs::read_to_string(path).unwrap();
    let mut words: Vec<&str> = Reason::ALL.iter().map(|w| w.as_str()).collect();
    words.extend(ConditionType::ALL.iter().map(|w| w.as_str()));
    words.extend(EntryState::ALL.iter().map(|w| w.as_str()));
    words.extend(Mode::ALL.iter().map(|w| w.as_str()));
    words.extend(Strength::ALL.iter().map(|w| w.as_str()));
    let missing: Vec<_> = words.into_iter().filter(|word| !text.contains(&format!("`{word}`"))).collect();
    assert_eq!(missing, Vec::<&str>::new());
}
