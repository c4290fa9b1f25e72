//! Changes of a document, as data.

use std::collections::{BTreeMap, BTreeSet};

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
    let mut removed: BTreeMap<&[Step], BTreeSet<&Step>> = BTreeMap::new();
    let mut renamed: BTreeMap<&[Step], &str> = BTreeMap::new();
    for edit in edits {
        match edit {
            Edit::Set { at, value } => set(&mut object, at, value)?,
            Edit::Append { at, value } => get_mut(&mut object, at)?.as_array_mut()?.push(value.clone()),
            Edit::Rename { at, name } => drop(renamed.insert(at, name)),
            Edit::Remove { at } => {
                let (last, parent) = at.split_last()?;
                removed.entry(parent).or_default().insert(last);
            }
        }
    }
    // What moves or vanishes does so last, the deepest first, so that every place is still what it was.
    renamed.into_iter().rev().try_for_each(|(at, name)| rename(&mut object, at, name))?;
    removed.into_iter().rev().try_for_each(|(parent, parts)| remove(&mut object, parent, &parts))?;
    Some(object)
}

fn set(object: &mut Value, at: &[Step], value: &Value) -> Option<()> {
    let (last, parent) = at.split_last()?;
    match (get_mut(object, parent)?, last) {
        (Value::Object(map), Step::Field(name)) => drop(map.insert(name.clone(), value.clone())),
        (Value::Array(list), Step::Element(index)) => *list.get_mut(*index)? = value.clone(),
        _ => return None,
    }
    Some(())
}

fn rename(object: &mut Value, at: &[Step], name: &str) -> Option<()> {
    let (Step::Field(old), parent) = at.split_last()? else { return None };
    let map = get_mut(object, parent)?.as_object_mut().filter(|map| !map.contains_key(name))?;
    let value = map.remove(old)?;
    map.insert(name.to_owned(), value);
    Some(())
}

/// Not all that is there.
fn remove(object: &mut Value, parent: &[Step], parts: &BTreeSet<&Step>) -> Option<()> {
    match get_mut(object, parent)? {
        Value::Object(map) if parts.len() < map.len() => parts.iter().try_for_each(|part| match part {
            Step::Field(name) => map.remove(name).map(drop),
            Step::Element(_) => None,
        }),
        Value::Array(list) if parts.len() < list.len() => {
            let mut index = 0;
            let mut kept = Vec::with_capacity(list.len() - parts.len());
            for value in std::mem::take(list) {
                if !parts.contains(&Step::Element(index)) {
                    kept.push(value);
                }
                index += 1;
            }
            let all_there = kept.len() + parts.len() == index;
            *list = kept;
            all_there.then_some(())
        }
        _ => None,
    }
}

/// Of `groups`, each of which is carried out whole or not at all, those that do not get in each other's way: the earlier
/// ones win.
#[must_use]
pub fn compatible<'g>(object: &Value, groups: impl IntoIterator<Item = &'g [Edit]>) -> Vec<usize> {
    let mut taken = Taken::default();
    let mut chosen = Vec::new();
    for (index, group) in groups.into_iter().enumerate() {
        let mut new = Vec::new();
        let whole = group.iter().all(|edit| {
            let room = taken.has_room_for(object, edit);
            if room && taken.take(edit) {
                new.push(edit);
            }
            room
        });
        if whole {
            chosen.push(index);
        } else {
            new.into_iter().for_each(|edit| taken.put_back(edit));
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

    /// Whether it was not there before.
    fn take(&mut self, edit: &'e Edit) -> bool {
        let new = self.by_place.insert(edit.at(), edit).is_none();
        if let (true, Edit::Remove { .. }, Some((_, parent))) = (new, edit, edit.at().split_last()) {
            *self.removed.entry(parent).or_default() += 1;
        }
        new
    }

    fn put_back(&mut self, edit: &'e Edit) {
        self.by_place.remove(edit.at());
        if let (Edit::Remove { .. }, Some((_, parent))) = (edit, edit.at().split_last())
            && let Some(count) = self.removed.get_mut(parent)
        {
            *count = count.saturating_sub(1);
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
