//! YAML with the place of every key and value, so that a fault's field path leads back to what was written.

use std::collections::HashSet;
use std::fmt;
use std::ops::Range;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_saphyr::Spanned;

/// A value as it was written.
#[derive(Debug)]
pub(crate) struct Tree {
    kind: Kind,
    /// Bytes of the document's text; empty where the parser does not say.
    place: Range<usize>,
}

#[derive(Debug)]
enum Kind {
    Scalar(Value),
    List(Vec<Tree>),
    /// In written order, repeated keys included.
    Fields(Vec<(Key, Tree)>),
}

#[derive(Debug)]
struct Key {
    name: String,
    place: Range<usize>,
}

impl Tree {
    /// The value alone; of a repeated key the last one, which is what other readers take.
    pub(crate) fn to_value(&self) -> Value {
        match &self.kind {
            Kind::Scalar(value) => value.clone(),
            Kind::List(items) => items.iter().map(Self::to_value).collect(),
            Kind::Fields(fields) => {
                fields.iter().map(|(key, tree)| (key.name.clone(), tree.to_value())).collect::<Map<_, _>>().into()
            }
        }
    }

    /// The element of a field that is a list: for `kind: List`.
    pub(crate) fn elements_of(&self, field: &str) -> &[Tree] {
        match self.field(field).map(|(_, tree)| &tree.kind) {
            Some(Kind::List(items)) => items,
            _ => &[],
        }
    }

    /// Every key that is written twice in one object: the later one's path and place.
    pub(crate) fn repeated_keys(&self) -> Vec<(String, Range<usize>)> {
        let mut found = Vec::new();
        self.collect_repeated("", &mut found);
        found
    }

    fn collect_repeated(&self, path: &str, found: &mut Vec<(String, Range<usize>)>) {
        match &self.kind {
            Kind::Scalar(_) => {}
            Kind::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    item.collect_repeated(&format!("{path}[{index}]"), found);
                }
            }
            Kind::Fields(fields) => {
                let mut seen = HashSet::new();
                for (key, tree) in fields {
                    let below = if path.is_empty() { key.name.clone() } else { format!("{path}.{}", key.name) };
                    if !seen.insert(key.name.as_str()) {
                        found.push((below.clone(), key.place.clone()));
                    }
                    tree.collect_repeated(&below, found);
                }
            }
        }
    }

    /// Where `path` (`spec.kprobes[0].call`) is written; if it is not, the innermost thing around it that is. A scalar is
    /// its own place; what has parts is shown at its key.
    pub(crate) fn place_of(&self, path: &str) -> Range<usize> {
        self.find(path, false).unwrap_or_else(|| self.beginning())
    }

    /// The same, but a field is always shown at its key: for what is wrong with the field, whatever its value.
    pub(crate) fn key_place_of(&self, path: &str) -> Range<usize> {
        self.find(path, true).unwrap_or_else(|| self.beginning())
    }

    fn find(&self, path: &str, at_key: bool) -> Option<Range<usize>> {
        if path.is_empty() {
            return None;
        }
        match &self.kind {
            Kind::Scalar(_) => None,
            Kind::List(items) => {
                let (index, rest) = path.strip_prefix('[')?.split_once(']')?;
                let item = items.get(index.parse::<usize>().ok()?)?;
                let rest = rest.strip_prefix('.').unwrap_or(rest);
                Some(item.find(rest, at_key).unwrap_or_else(|| item.beginning()))
            }
            Kind::Fields(fields) => {
                // Keys may contain dots and brackets: the longest that fits is meant. Of equal ones, the last counts.
                let fitting = fields.iter().filter_map(|(key, tree)| Some((key, tree, below(path, &key.name)?)));
                let (key, tree, rest) = fitting.max_by_key(|(key, ..)| key.name.len())?;
                Some(tree.find(rest, at_key).unwrap_or_else(|| match &tree.kind {
                    Kind::Scalar(_) if !at_key && rest.is_empty() && !tree.place.is_empty() => tree.place.clone(),
                    _ => key.place.clone(),
                }))
            }
        }
    }

    /// Where it begins to say something.
    fn beginning(&self) -> Range<usize> {
        match &self.kind {
            Kind::Scalar(_) => self.place.clone(),
            Kind::List(items) => items.first().map_or_else(|| self.place.clone(), Self::beginning),
            Kind::Fields(fields) => fields.first().map_or_else(|| self.place.clone(), |(key, _)| key.place.clone()),
        }
    }

    fn field(&self, name: &str) -> Option<&(Key, Tree)> {
        match &self.kind {
            Kind::Fields(fields) => fields.iter().rfind(|(key, _)| key.name == name),
            _ => None,
        }
    }
}

/// What of `path` leads on from the field `key`: `key`, `key.rest`, `key[rest]`, or `[key]` for what the author named.
fn below<'a>(path: &'a str, key: &str) -> Option<&'a str> {
    let named = path.strip_prefix('[').and_then(|rest| rest.strip_prefix(key)).and_then(|rest| rest.strip_prefix(']'));
    let rest = named.or_else(|| path.strip_prefix(key))?;
    let ends = rest.is_empty() || rest.starts_with(['.', '[']);
    ends.then(|| rest.strip_prefix('.').unwrap_or(rest))
}

fn place<T>(spanned: &Spanned<T>) -> Range<usize> {
    let span = spanned.referenced.span();
    let start = span.byte_offset().and_then(|at| usize::try_from(at).ok()).unwrap_or(0);
    let len = span.byte_len().and_then(|len| usize::try_from(len).ok()).unwrap_or(0);
    start..start.saturating_add(len)
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Kind>::deserialize(deserializer)?;
        let place = place(&spanned);
        Ok(Self { kind: spanned.value, place })
    }
}

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(KindVisitor)
    }
}

struct KindVisitor;

impl<'de> Visitor<'de> for KindVisitor {
    type Value = Kind;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value that JSON has, too")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Kind, E> {
        Ok(Kind::Scalar(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Kind, E> {
        Ok(Kind::Scalar(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Kind, E> {
        Ok(Kind::Scalar(value.into()))
    }

    fn visit_i128<E: de::Error>(self, value: i128) -> Result<Kind, E> {
        large(value.to_string().parse().ok())
    }

    fn visit_u128<E: de::Error>(self, value: u128) -> Result<Kind, E> {
        large(value.to_string().parse().ok())
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Kind, E> {
        large(Some(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Kind, E> {
        Ok(Kind::Scalar(value.into()))
    }

    fn visit_string<E>(self, value: String) -> Result<Kind, E> {
        Ok(Kind::Scalar(value.into()))
    }

    fn visit_unit<E>(self) -> Result<Kind, E> {
        Ok(Kind::Scalar(Value::Null))
    }

    fn visit_none<E>(self) -> Result<Kind, E> {
        Ok(Kind::Scalar(Value::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Kind, D::Error> {
        Kind::deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Kind, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        items.shrink_to_fit();
        Ok(Kind::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Kind, A::Error> {
        let mut fields = Vec::new();
        while let Some(key) = access.next_key::<Spanned<String>>()? {
            let place = place(&key);
            fields.push((Key { name: key.value, place }, access.next_value()?));
        }
        // Most objects of a large document have one or two fields, and room for four would be made.
        fields.shrink_to_fit();
        Ok(Kind::Fields(fields))
    }
}

/// What JSON numbers can say of a number that is not written as a 64-bit integer. `3.0` is the integer 3, as it is by the
/// time that an API server hands it on.
fn large<E: de::Error>(value: Option<f64>) -> Result<Kind, E> {
    if let Some(whole) = value.and_then(stockade_crds::offline::whole) {
        return Ok(Kind::Scalar(whole.into()));
    }
    let number = value.and_then(Number::from_f64).ok_or_else(|| E::custom("JSON has no such number"))?;
    Ok(Kind::Scalar(Value::Number(number)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str =
        "a: 1\nlabels:\n  x.y/z: one\n  x: two\n  not a key: three\nlist:\n- k: 4\n  l: [5, {m: 6}]\nempty: {}\n";

    fn at(path: &str) -> &'static str {
        let tree: Tree = serde_saphyr::from_str(TEXT).unwrap();
        &TEXT[tree.place_of(path)]
    }

    #[test]
    fn a_path_leads_to_what_is_written_there_or_to_the_innermost_thing_around_it() {
        for (path, expected) in [
            ("a", "1"),
            ("a.b", "a"),
            ("labels", "labels"),
            ("labels.x.y/z", "one"),
            ("labels[x.y/z]", "one"),
            ("labels.x", "two"),
            ("labels[not a key]", "three"),
            ("labels[missing]", "labels"),
            ("list", "list"),
            ("list[0]", "k"),
            ("list[0].k", "4"),
            ("list[0].missing.deeper[3]", "k"),
            ("list[7]", "list"),
            ("list[0].l[0]", "5"),
            ("list[0].l[1].m", "6"),
            ("empty.field", "empty"),
            ("missing", "a"),
            ("", "a"),
        ] {
            assert_eq!(at(path), expected, "{path}");
        }
    }
}
