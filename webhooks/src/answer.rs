//! The answer in the API server's terms: what kubectl, Flux and Argo print is made of exactly these fields.

use serde::Serialize;
use serde_json::{Value, json};
use stockade_policy::Fault;

use crate::decide::Decision;
use crate::review::{Malformed, Request};

/// The `AdmissionReview` that goes back.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    api_version: &'static str,
    kind: &'static str,
    response: Response,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
struct Response {
    uid: String,
    allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
}

impl Answer {
    /// The answer to a request that was decided about.
    #[must_use]
    pub fn to(request: &Request, decision: Decision) -> Self {
        let Decision { faults, warnings } = decision;
        let allowed = faults.is_empty();
        let status = (!allowed).then(|| refusal(request, &faults));
        Self::new(Response { uid: request.uid.clone(), allowed, status, warnings })
    }

    /// The answer to a body that asks nothing: denied, because what is not understood is not admitted.
    #[must_use]
    pub fn malformed(malformed: &Malformed) -> Self {
        let status = json!({
            "status": "Failure", "code": 400, "reason": "BadRequest",
            "message": format!("this is not an AdmissionReview that can be answered: {}", malformed.why),
        });
        let uid = malformed.uid.clone().unwrap_or_default();
        Self::new(Response { uid, allowed: false, status: Some(status), warnings: vec![] })
    }

    /// The answer to a review that is larger than any about a document that would be allowed.
    #[must_use]
    pub fn too_large(uid: String) -> Self {
        let status = json!({
            "status": "Failure", "code": 413, "reason": "RequestEntityTooLarge",
            "message": format!("1 fault:\n{}", stockade_policy::validate::too_large()),
        });
        Self::new(Response { uid, allowed: false, status: Some(status), warnings: vec![] })
    }

    /// The answer when there is no room for a review: it is tried again. `uid`: of the request, if it could be read.
    #[must_use]
    pub fn overloaded(uid: Option<String>) -> Self {
        let status = json!({
            "status": "Failure", "code": 429, "reason": "TooManyRequests", "details": {"retryAfterSeconds": 1},
            "message": "more policies are being judged than this replica has room for; try again",
        });
        Self::new(Response { uid: uid.unwrap_or_default(), allowed: false, status: Some(status), warnings: vec![] })
    }

    fn new(response: Response) -> Self {
        Self { api_version: "admission.k8s.io/v1", kind: "AdmissionReview", response }
    }
}

/// kubectl prints the causes alone for one file and the message alone for several; Flux and Argo print the message. So
/// both say everything.
fn refusal(request: &Request, faults: &[Fault]) -> Value {
    let count = match faults.len() {
        1 => "1 fault".to_owned(),
        n => format!("{n} faults"),
    };
    let lines: Vec<String> = faults.iter().map(|fault| format!("\n{fault}")).collect();
    let causes: Vec<Value> = faults
        .iter()
        .map(|fault| json!({"reason": fault.code, "field": fault.path, "message": fault.text()}))
        .collect();
    json!({
        "status": "Failure", "code": 422, "reason": "Invalid",
        "message": format!("{count}:{}", lines.concat()),
        "details": {"group": request.group, "kind": request.kind, "name": request.name, "causes": causes},
    })
}
