//! Field paths as steps from the root of a document.

use serde_json::Value;

/// One step down.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// Into a field of an object.
    Field(String),
    /// To an element of a list, from 0.
    Element(usize),
}

/// The steps of a fault's path. Keys may contain dots and brackets: of those that are in the object, the longest that fits
/// is meant.
#[must_use]
pub fn steps(object: &Value, path: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let (mut rest, mut value) = (path, Some(object));
    while !rest.is_empty() {
        let (step, after) = next(value, rest);
        value = value.and_then(|value| down(value, &step));
        steps.push(step);
        rest = after.strip_prefix('.').unwrap_or(after);
    }
    steps
}

fn next<'p>(value: Option<&Value>, path: &'p str) -> (Step, &'p str) {
    let known = value.and_then(Value::as_object).into_iter().flatten();
    let fitting = known.filter_map(|(key, _)| Some((key, after_key(path, key)?)));
    if let Some((key, after)) = fitting.max_by_key(|(key, _)| key.len()) {
        return (Step::Field(key.clone()), after);
    }
    if let Some((inner, after)) = path.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        let step = match inner.parse() {
            Ok(index) => Step::Element(index),
            Err(_) => Step::Field(inner.to_owned()),
        };
        return (step, after);
    }
    let end = path.char_indices().skip(1).find(|(_, c)| ['.', '['].contains(c)).map_or(path.len(), |(at, _)| at);
    let (name, after) = path.split_at(end);
    (Step::Field(name.to_owned()), after)
}

/// What of `path` is left behind `key` or `[key]`.
fn after_key<'p>(path: &'p str, key: &str) -> Option<&'p str> {
    let named = path.strip_prefix('[').and_then(|rest| rest.strip_prefix(key)).and_then(|rest| rest.strip_prefix(']'));
    let rest = named.or_else(|| path.strip_prefix(key).filter(|_| !key.is_empty()))?;
    (rest.is_empty() || rest.starts_with(['.', '['])).then_some(rest)
}

pub(super) fn down<'v>(value: &'v Value, step: &Step) -> Option<&'v Value> {
    match step {
        Step::Field(name) => value.get(name),
        Step::Element(index) => value.get(index),
    }
}

pub(super) fn get<'v>(value: &'v Value, steps: &[Step]) -> Option<&'v Value> {
    steps.iter().try_fold(value, down)
}

pub(super) fn get_mut<'v>(value: &'v mut Value, steps: &[Step]) -> Option<&'v mut Value> {
    steps.iter().try_fold(value, |value, step| match step {
        Step::Field(name) => value.get_mut(name),
        Step::Element(index) => value.get_mut(index),
    })
}

/// `at` and one step more.
pub(super) fn below(at: &[Step], name: &str) -> Vec<Step> {
    at.iter().cloned().chain([Step::Field(name.to_owned())]).collect()
}

/// `at` and the step to an element.
pub(super) fn element(at: &[Step], index: usize) -> Vec<Step> {
    at.iter().cloned().chain([Step::Element(index)]).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_path_is_read_by_the_keys_that_are_there() {
        let object = json!({"spec": {"list": [[1]], "macros": {"a].b[0": {"x": 1}}, "labels": {"x.y/z": "v"}}});
        let field = |name: &str| Step::Field(name.to_owned());
        assert_eq!(
            steps(&object, "spec.list[0][0]"),
            [field("spec"), field("list"), Step::Element(0), Step::Element(0)]
        );
        assert_eq!(
            steps(&object, "spec.macros[a].b[0].x"),
            [field("spec"), field("macros"), field("a].b[0"), field("x")]
        );
        assert_eq!(steps(&object, "spec.labels[x.y/z]"), [field("spec"), field("labels"), field("x.y/z")]);
        assert_eq!(
            steps(&object, "spec.absent[3].more"),
            [field("spec"), field("absent"), Step::Element(3), field("more")]
        );
        assert_eq!(steps(&object, ""), []);
    }
}
