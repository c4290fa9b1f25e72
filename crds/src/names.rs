//! Groups, kinds, plurals, labels, annotations and field managers: every name that two components must spell alike.

use kube::core::{ApiResource, GroupVersionKind};

/// The API group of the policies, shared with the tool whose API this is.
pub const POLICY_GROUP: &str = "cilium.io";
/// The API group of what Stockade adds.
pub const STOCKADE_GROUP: &str = "stockade.dev";
/// The one version of all kinds.
pub const VERSION: &str = "v1alpha1";
/// `apiVersion` of the policies.
pub const POLICY_API_VERSION: &str = "cilium.io/v1alpha1";
/// `apiVersion` of `NodePolicyState`.
pub const STOCKADE_API_VERSION: &str = "stockade.dev/v1alpha1";

/// Kind, plural and short name of the node states.
pub const NODE_POLICY_STATE_KIND: &str = "NodePolicyState";
/// See [`NODE_POLICY_STATE_KIND`].
pub const NODE_POLICY_STATE_PLURAL: &str = "nodepolicystates";
/// See [`NODE_POLICY_STATE_KIND`].
pub const NODE_POLICY_STATE_SHORT: &str = "nps";

/// Field manager of everything the operator applies, on every replica.
pub const OPERATOR_MANAGER: &str = "stockade-operator";
/// Field manager of everything an enforcer applies.
pub const ENFORCER_MANAGER: &str = "stockade-enforcer";

/// On a policy: `"true"` puts it into monitor mode at once, without being judged.
pub const SUSPEND_ANNOTATION: &str = "stockade.dev/suspend";
/// Taint that keeps pods off a node until its enforcer is ready.
pub const NOT_READY_TAINT: &str = "stockade.dev/agent-not-ready";
/// Label on the policy CRDs by which operators of this API find out who is newer.
pub const SCHEMA_VERSION_LABEL: &str = "cilium.io.k8s.crd.schema.version";
/// Higher than any version of the tool whose API this is, whose operator otherwise overwrites the CRDs at its start.
pub const SCHEMA_VERSION: &str = "1001.0.0";

/// The two kinds of policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PolicyKind {
    /// `TracingPolicy`, cluster scoped.
    Cluster,
    /// `TracingPolicyNamespaced`.
    Namespaced,
}

impl PolicyKind {
    /// Both, cluster scoped first.
    pub const ALL: [Self; 2] = [Self::Cluster, Self::Namespaced];

    /// `TracingPolicy` or `TracingPolicyNamespaced`.
    #[must_use]
    pub const fn kind(self) -> &'static str {
        match self {
            Self::Cluster => "TracingPolicy",
            Self::Namespaced => "TracingPolicyNamespaced",
        }
    }

    /// `tracingpolicies` or `tracingpoliciesnamespaced`.
    #[must_use]
    pub const fn plural(self) -> &'static str {
        match self {
            Self::Cluster => "tracingpolicies",
            Self::Namespaced => "tracingpoliciesnamespaced",
        }
    }

    /// `tracingpolicy` or `tracingpolicynamespaced`.
    #[must_use]
    pub const fn singular(self) -> &'static str {
        match self {
            Self::Cluster => "tracingpolicy",
            Self::Namespaced => "tracingpolicynamespaced",
        }
    }

    /// `tgtp` or `tgtpn`.
    #[must_use]
    pub const fn short_name(self) -> &'static str {
        match self {
            Self::Cluster => "tgtp",
            Self::Namespaced => "tgtpn",
        }
    }

    /// Name of the CRD object.
    #[must_use]
    pub const fn crd_name(self) -> &'static str {
        match self {
            Self::Cluster => "tracingpolicies.cilium.io",
            Self::Namespaced => "tracingpoliciesnamespaced.cilium.io",
        }
    }

    /// For dynamic clients: `Api::all_with(client, &kind.api_resource())`.
    #[must_use]
    pub fn api_resource(self) -> ApiResource {
        let gvk = GroupVersionKind::gvk(POLICY_GROUP, VERSION, self.kind());
        ApiResource::from_gvk_with_plural(&gvk, self.plural())
    }

    /// The kind of this name.
    #[must_use]
    pub fn from_kind(kind: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|k| k.kind() == kind)
    }
}

impl std::fmt::Display for PolicyKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.kind())
    }
}
