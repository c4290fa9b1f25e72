//! What the API server asks: an `AdmissionReview`, read leniently, so that an answer can name the request it belongs to.

use serde_json::Value;

/// A request to judge one object.
#[derive(Debug, Clone, PartialEq)]
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
    /// The object as it would be stored.
    pub object: Value,
    /// What is stored now; `Null` on CREATE.
    pub old_object: Value,
}

/// A body that asks nothing that can be answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed {
    /// The uid, where one could be read.
    pub uid: Option<String>,
    /// What is wrong with the body.
    pub why: String,
}

impl Request {
    /// Reads the body of a review.
    pub fn parse(body: &[u8]) -> Result<Self, Malformed> {
        let bad = |uid: Option<&str>, why: String| Malformed { uid: uid.map(str::to_owned), why };
        let review: Value =
            serde_json::from_slice(body).map_err(|error| bad(None, format!("the body is not JSON: {error}")))?;
        // Read before anything else is looked at: without it the API server can only say that the webhook is broken.
        let uid = review.pointer("/request/uid").and_then(Value::as_str).filter(|uid| !uid.is_empty());
        let kind = review.get("kind").and_then(Value::as_str);
        if kind != Some("AdmissionReview") {
            return Err(bad(uid, format!("kind is {}; it must be AdmissionReview", shown(kind))));
        }
        let version = review.get("apiVersion").and_then(Value::as_str);
        if version != Some("admission.k8s.io/v1") {
            return Err(bad(uid, format!("apiVersion is {}; it must be admission.k8s.io/v1", shown(version))));
        }
        let Some(mut request) = review.get("request").filter(|request| request.is_object()).cloned() else {
            return Err(bad(uid, "there is no request".to_owned()));
        };
        let Some(uid) = uid else {
            return Err(bad(None, "request.uid is missing".to_owned()));
        };
        let text = |pointer: &str| request.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (group, kind, operation) = (text("/kind/group"), text("/kind/kind"), text("/operation"));
        let name = ["/name", "/object/metadata/name", "/object/metadata/generateName"]
            .into_iter()
            .map(text)
            .find(|name| !name.is_empty())
            .unwrap_or_default();
        if operation.is_empty() {
            return Err(bad(Some(uid), "request.operation is missing".to_owned()));
        }
        let mut take = |field: &str| request.get_mut(field).map(Value::take).unwrap_or_default();
        let (object, old_object) = (take("object"), take("oldObject"));
        Ok(Self { uid: uid.to_owned(), group, kind, name, operation, object, old_object })
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
}
