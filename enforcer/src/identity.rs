//! Who the agent is: the node of its own service account token. So it needs no right to read nodes.

use std::path::Path;

use k8s_openapi::jiff::Timestamp;
use serde::Deserialize;

/// Where Kubernetes mounts a pod's token.
pub const TOKEN_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

/// The node that a token is bound to.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct NodeIdentity {
    /// The node's name.
    pub name: String,
    /// The node's uid; absent on clusters that do not put it into tokens.
    #[serde(default)]
    pub uid: Option<String>,
}

#[derive(Deserialize)]
struct Claims {
    #[serde(rename = "kubernetes.io")]
    kubernetes: Option<KubernetesClaims>,
    exp: Option<i64>,
}

#[derive(Deserialize)]
struct KubernetesClaims {
    node: Option<NodeIdentity>,
}

/// Why a token does not say which node it belongs to.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// It cannot be read.
    #[error("the service account token {path} cannot be read: {source}")]
    Unreadable {
        /// Where it was looked for.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// It is no JSON web token.
    #[error("the service account token is no JSON web token")]
    Malformed,
    /// It is not bound to a node.
    #[error("the service account token names no node: Kubernetes 1.33 or newer puts it there for pods")]
    NoNode,
    /// It ran out.
    #[error("the service account token ran out at {0}")]
    Expired(Timestamp),
}

/// Reads the node from the token at `path`. The API server verifies the token; here it is only read.
pub fn node_of_token(path: &Path) -> Result<NodeIdentity, IdentityError> {
    let token = std::fs::read_to_string(path)
        .map_err(|source| IdentityError::Unreadable { path: path.display().to_string(), source })?;
    node_of_claims(&token, Timestamp::now())
}

fn node_of_claims(token: &str, now: Timestamp) -> Result<NodeIdentity, IdentityError> {
    let payload = token.trim().split('.').nth(1).and_then(base64url).ok_or(IdentityError::Malformed)?;
    let claims: Claims = serde_json::from_slice(&payload).map_err(|_| IdentityError::Malformed)?;
    if let Some(end) = claims.exp.and_then(|exp| Timestamp::from_second(exp).ok())
        && end < now
    {
        return Err(IdentityError::Expired(end));
    }
    claims.kubernetes.and_then(|k| k.node).ok_or(IdentityError::NoNode)
}

fn base64url(text: &str) -> Option<Vec<u8>> {
    use base64::Engine;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text).ok()
}

#[cfg(test)]
mod tests {
    use base64::Engine;

    use super::*;

    fn token(claims: &serde_json::Value) -> String {
        let part = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(claims.to_string());
        format!("e30.{part}.sig\n")
    }

    #[test]
    fn a_bound_token_names_its_node() {
        let claims = serde_json::json!({"exp": 100, "kubernetes.io": {"node": {"name": "n1", "uid": "u1"}}});
        let now = Timestamp::from_second(50).unwrap();
        let node = node_of_claims(&token(&claims), now).unwrap();
        assert_eq!(node, NodeIdentity { name: "n1".into(), uid: Some("u1".into()) });
        let late = Timestamp::from_second(101).unwrap();
        assert!(matches!(node_of_claims(&token(&claims), late), Err(IdentityError::Expired(_))));
    }

    #[test]
    fn a_token_without_a_node_says_so() {
        let now = Timestamp::from_second(0).unwrap();
        assert!(matches!(node_of_claims(&token(&serde_json::json!({})), now), Err(IdentityError::NoNode)));
        assert!(matches!(node_of_claims("nonsense", now), Err(IdentityError::Malformed)));
    }
}
