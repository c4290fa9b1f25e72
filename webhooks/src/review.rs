//! What the API server asks: an `AdmissionReview`, read leniently, so that an answer can name the request it belongs to.
//!
//! Of the stored object, which may be as large as the new one, only the metadata is read; the new one when it is judged.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::weight;

/// A request to judge one object.
#[derive(Debug, Clone)]
pub struct Request {
    /// What the answer must carry back.
    pub uid: String,
    /// Group of the object's kind.
    pub group: String,
    /// Kind of the object.
    pub kind: String,
    /// Name of the object; what it is to be generated from if it has none yet.
    pub name: String,
    /// CREATE, UPDATE, DELETE or CONNECT.
    pub operation: String,
    /// The metadata of the object as it would be stored.
    pub metadata: Metadata,
    /// That of the one that is stored now.
    pub old_metadata: Metadata,
    /// The object as it would be stored; `None`: there is none.
    object: Option<Box<RawValue>>,
}

/// What of an object's metadata decides whether it is judged.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Metadata {
    /// `generation`.
    pub generation: Option<i64>,
    /// It has a `deletionTimestamp`.
    pub deleting: bool,
    name: String,
    generate_name: String,
}

/// A body that asks nothing that can be answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed {
    /// The uid, where one could be read.
    pub uid: Option<String>,
    /// What is wrong with the body.
    pub why: String,
}

/// An object whose fields are not read yet. The last of several of one name counts, as everywhere.
type Fields<'a> = BTreeMap<String, &'a RawValue>;

impl Request {
    /// Reads the body of a review.
    pub fn parse(body: &[u8]) -> Result<Self, Malformed> {
        let bad = |uid: Option<&str>, why: String| Malformed { uid: uid.map(str::to_owned), why };
        let review: &RawValue =
            serde_json::from_slice(body).map_err(|error| bad(None, format!("the body is not JSON: {error}")))?;
        let review: Fields<'_> = read(review).unwrap_or_default();
        let request: Option<Fields<'_>> = review.get("request").and_then(|request| read(request));
        // Read before anything else is looked at: without it the API server can only say that the webhook is broken.
        let uid = request.as_ref().and_then(|request| text(request, "uid")).filter(|uid| !uid.is_empty());
        let uid = uid.as_deref();
        let kind = text(&review, "kind");
        if kind.as_deref() != Some("AdmissionReview") {
            return Err(bad(uid, format!("kind is {}; it must be AdmissionReview", shown(kind.as_deref()))));
        }
        let version = text(&review, "apiVersion");
        if version.as_deref() != Some("admission.k8s.io/v1") {
            return Err(bad(
                uid,
                format!("apiVersion is {}; it must be admission.k8s.io/v1", shown(version.as_deref())),
            ));
        }
        let Some(request) = request else {
            return Err(bad(uid, "there is no request".to_owned()));
        };
        let Some(uid) = uid else {
            return Err(bad(None, "request.uid is missing".to_owned()));
        };
        let operation = text(&request, "operation").unwrap_or_default();
        if operation.is_empty() {
            return Err(bad(Some(uid), "request.operation is missing".to_owned()));
        }
        let of_kind: Fields<'_> = request.get("kind").and_then(|kind| read(kind)).unwrap_or_default();
        let object = request.get("object").copied().filter(|object| object.get() != "null");
        let metadata = object.map(metadata).unwrap_or_default();
        let names = [text(&request, "name").unwrap_or_default(), metadata.name.clone(), metadata.generate_name.clone()];
        Ok(Self {
            uid: uid.to_owned(),
            group: text(&of_kind, "group").unwrap_or_default(),
            kind: text(&of_kind, "kind").unwrap_or_default(),
            name: names.into_iter().find(|name| !name.is_empty()).unwrap_or_default(),
            operation,
            metadata,
            old_metadata: request.get("oldObject").map(|old| self::metadata(old)).unwrap_or_default(),
            object: object.map(ToOwned::to_owned),
        })
    }

    /// Whether the object is too large to be worth reading: reading it can take a hundred times the memory of its text.
    #[must_use]
    pub fn is_too_large(&self) -> bool {
        let object: Option<Fields<'_>> = self.object.as_deref().and_then(read);
        object.is_some_and(|object| weight::is_too_large(&object))
    }

    /// The object as it would be stored; `Null` when there is none.
    pub fn document(&self) -> Result<Value, Malformed> {
        let Some(object) = &self.object else { return Ok(Value::Null) };
        serde_json::from_str(object.get()).map_err(|error| Malformed {
            uid: Some(self.uid.clone()),
            why: format!("the object cannot be read: {error}"),
        })
    }
}

fn read<'a, T: Deserialize<'a>>(raw: &'a RawValue) -> Option<T> {
    serde_json::from_str(raw.get()).ok()
}

fn text(fields: &Fields<'_>, name: &str) -> Option<String> {
    fields.get(name).and_then(|raw| read(raw))
}

fn metadata(object: &RawValue) -> Metadata {
    let object: Fields<'_> = read(object).unwrap_or_default();
    let fields: Fields<'_> = object.get("metadata").and_then(|metadata| read(metadata)).unwrap_or_default();
    Metadata {
        generation: fields.get("generation").and_then(|raw| read(raw)),
        deleting: fields.get("deletionTimestamp").is_some_and(|raw| raw.get() != "null"),
        name: text(&fields, "name").unwrap_or_default(),
        generate_name: text(&fields, "generateName").unwrap_or_default(),
    }
}

fn shown(value: Option<&str>) -> String {
    value.map_or_else(|| "missing".to_owned(), |value| format!("{value:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn why(body: &Value) -> Malformed {
        Request::parse(body.to_string().as_bytes()).unwrap_err()
    }

    #[test]
    fn the_uid_is_kept_wherever_it_can_be_read() {
        let uid = Some("u".to_owned());
        assert_eq!(why(&json!({"kind": "AdmissionReview", "request": {"uid": "u"}})).uid, uid);
        assert_eq!(why(&json!({"kind": 7, "request": {"uid": "u"}})).uid, uid);
        let no_operation = json!({
            "kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": {"uid": "u"}
        });
        assert_eq!(why(&no_operation), Malformed { uid, why: "request.operation is missing".into() });
        for body in [json!(null), json!([]), json!({"kind": "AdmissionReview", "request": {"uid": 7}})] {
            assert_eq!(why(&body).uid, None, "{body}");
        }
        assert_eq!(Request::parse(b"\xff\x00").unwrap_err().uid, None);
    }

    #[test]
    fn a_generated_name_is_shown_by_its_stem() {
        let body = json!({
            "kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1",
            "request": {"uid": "u", "operation": "CREATE", "object": {"metadata": {"generateName": "deny-"}}}
        });
        assert_eq!(Request::parse(body.to_string().as_bytes()).unwrap().name, "deny-");
    }

    #[test]
    fn of_the_stored_object_only_the_metadata_is_read() {
        let nested = format!("{}{}", "[".repeat(200), "]".repeat(200));
        let body = format!(
            r#"{{"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": {{"uid": "u",
                "operation": "UPDATE", "oldObject": {{"metadata": {{"generation": 3}}, "spec": {nested}}},
                "object": {{"metadata": {{"generation": 4, "deletionTimestamp": null}}, "spec": {nested}}}}}}}"#
        );
        let request = Request::parse(body.as_bytes()).unwrap();
        assert_eq!((request.old_metadata.generation, request.metadata.generation), (Some(3), Some(4)));
        assert!(!request.metadata.deleting);
        // What is deeper than anybody writes is refused, with the uid that the answer needs.
        assert_eq!(request.document().unwrap_err().uid.as_deref(), Some("u"));
    }
}
