//! The Kubernetes API types of Stockade: TracingPolicy, TracingPolicyNamespaced, NodePolicyState.
