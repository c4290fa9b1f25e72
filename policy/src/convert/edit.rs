//! Changes of a document, as data.

use std::collections::BTreeMap;

use serde_json::Value;

use super::path::{Step, get_mut};

/// A change at one place.
#[derive(Debug, Clone, PartialEq)]
pub enum Edit {
    /// What is there becomes `value`; a field that is not there is added.
    Set {
        /// Where.
        at: Vec<Step>,
        /// What is written there.
        value: Value,
    },
    /// A field or an element goes away. The last one of a list or object stays: without it, the rest would say something else.
    Remove {
        /// Which.
        at: Vec<Step>,
    },
    /// A field gets another name.
    Rename {
        /// The field.
        at: Vec<Step>,
        /// Its new name, which no field beside it has.
        name: String,
    },
    /// A list gets one element more, as its last.
    Append {
        /// The list.
        at: Vec<Step>,
        /// The element.
        value: Value,
    },
}

impl Edit {
    /// Where it changes something.
    #[must_use]
    pub fn at(&self) -> &[Step] {
        match self {
            Self::Set { at, .. } | Self::Remove { at } | Self::Rename { at, .. } | Self::Append { at, .. } => at,
        }
    }

    /// The same edit of a document that is at `prefix` of another.
    #[must_use]
    pub fn below(&self, prefix: &[Step]) -> Self {
        let below = |at: &[Step]| prefix.iter().chain(at).cloned().collect();
        match self {
            Self::Set { at, value } => Self::Set { at: below(at), value: value.clone() },
            Self::Remove { at } => Self::Remove { at: below(at) },
            Self::Rename { at, name } => Self::Rename { at: below(at), name: name.clone() },
            Self::Append { at, value } => Self::Append { at: below(at), value: value.clone() },
        }
    }

    pub(super) fn set(at: Vec<Step>, value: impl Into<Value>) -> Self {
        Self::Set { at, value: value.into() }
    }
}

/// Carries `edits` out, which must be [`compatible`]; `None` when one of them cannot be.
#[must_use]
pub fn apply(object: &Value, edits: &[Edit]) -> Option<Value> {
    let mut object = object.clone();
    let mut ordered: Vec<&Edit> = edits.iter().collect();
    // What is removed or renamed last does not move what is still to be changed; nor do later elements move earlier ones.
    ordered.sort_by(|left, right| rank(left).cmp(&rank(right)).then_with(|| right.at().cmp(left.at())));
    for edit in ordered {
        carry_out(&mut object, edit)?;
    }
    Some(object)
}

const fn rank(edit: &Edit) -> u8 {
    match edit {
        Edit::Set { .. } | Edit::Append { .. } => 0,
        Edit::Rename { .. } => 1,
        Edit::Remove { .. } => 2,
    }
}

fn carry_out(object: &mut Value, edit: &Edit) -> Option<()> {
    let (last, parent) = edit.at().split_last()?;
    if let Edit::Append { at, value } = edit {
        get_mut(object, at)?.as_array_mut()?.push(value.clone());
        return Some(());
    }
    match (get_mut(object, parent)?, last, edit) {
        (Value::Object(map), Step::Field(name), Edit::Set { value, .. }) => {
            map.insert(name.clone(), value.clone());
        }
        (Value::Array(list), Step::Element(index), Edit::Set { value, .. }) => {
            *list.get_mut(*index)? = value.clone();
        }
        (Value::Object(map), Step::Field(name), Edit::Remove { .. }) if map.len() > 1 => {
            map.remove(name)?;
        }
        (Value::Array(list), Step::Element(index), Edit::Remove { .. }) if list.len() > 1 && *index < list.len() => {
            list.remove(*index);
        }
        (Value::Object(map), Step::Field(old), Edit::Rename { name, .. }) if !map.contains_key(name) => {
            let value = map.remove(old)?;
            map.insert(name.clone(), value);
        }
        _ => return None,
    }
    Some(())
}

/// Of `groups`, each of which is carried out whole or not at all, those that do not get in each other's way: the earlier
/// ones win.
#[must_use]
pub fn compatible<'g>(object: &Value, groups: impl IntoIterator<Item = &'g [Edit]>) -> Vec<usize> {
    let mut taken = Taken::default();
    let mut chosen = Vec::new();
    for (index, group) in groups.into_iter().enumerate() {
        if group.iter().all(|edit| taken.has_room_for(object, edit)) {
            group.iter().for_each(|edit| taken.take(edit));
            chosen.push(index);
        }
    }
    chosen
}

/// The edits that have been decided on, by place.
#[derive(Default)]
struct Taken<'e> {
    by_place: BTreeMap<&'e [Step], &'e Edit>,
    /// How many parts of a list or object go away.
    removed: BTreeMap<&'e [Step], usize>,
}

impl<'e> Taken<'e> {
    fn has_room_for(&self, object: &Value, edit: &Edit) -> bool {
        if let Some(same) = self.by_place.get(edit.at()) {
            return *same == edit;
        }
        // Nothing can be changed in what goes away or is replaced as a whole.
        let above = (1..edit.at().len()).filter_map(|length| edit.at().get(..length));
        if { above }.any(|place| matches!(self.by_place.get(place), Some(Edit::Remove { .. } | Edit::Set { .. }))) {
            return false;
        }
        if matches!(edit, Edit::Remove { .. } | Edit::Set { .. }) {
            let first_below = self.by_place.range(edit.at()..).next();
            if first_below.is_some_and(|(place, _)| place.starts_with(edit.at())) {
                return false;
            }
        }
        let Edit::Remove { at } = edit else { return true };
        let Some((_, parent)) = at.split_last() else { return false };
        let size = match super::path::get(object, parent) {
            Some(Value::Array(list)) => list.len(),
            Some(Value::Object(map)) => map.len(),
            _ => 0,
        };
        self.removed.get(parent).copied().unwrap_or(0) + 1 < size
    }

    fn take(&mut self, edit: &'e Edit) {
        let known = self.by_place.insert(edit.at(), edit).is_some();
        if let (false, Edit::Remove { at }, Some((_, parent))) = (known, edit, edit.at().split_last()) {
            debug_assert!(!at.is_empty());
            *self.removed.entry(parent).or_default() += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::path::steps;
    use super::*;

    fn remove(object: &Value, path: &str) -> Edit {
        Edit::Remove { at: steps(object, path) }
    }

    #[test]
    fn edits_are_carried_out_whatever_their_order() {
        let object = json!({"list": [1, 2, 3], "old": 1, "flag": true});
        let edits = [
            remove(&object, "list[0]"),
            remove(&object, "list[2]"),
            Edit::set(steps(&object, "list[1]"), 5),
            Edit::Rename { at: steps(&object, "old"), name: "new".into() },
            Edit::set(steps(&object, "added"), "x"),
            Edit::Append { at: steps(&object, "list"), value: json!(9) },
        ];
        let expected = json!({"list": [5, 9], "new": 1, "flag": true, "added": "x"});
        assert_eq!(apply(&object, &edits), Some(expected.clone()));
        let reversed: Vec<Edit> = edits.iter().rev().cloned().collect();
        assert_eq!(apply(&object, &reversed), Some(expected));
    }

    #[test]
    fn what_would_leave_nothing_or_touch_what_goes_away_is_left_for_later() {
        let object = json!({"list": [1, 2], "map": {"a": {"b": 1}, "c": 2}});
        let groups = [
            vec![remove(&object, "list[0]")],
            vec![remove(&object, "list[1]")],
            vec![remove(&object, "map.a")],
            vec![Edit::set(steps(&object, "map.a.b"), 2)],
            vec![remove(&object, "list[0]")],
        ];
        assert_eq!(compatible(&object, groups.iter().map(Vec::as_slice)), [0, 2, 4]);
    }
}
