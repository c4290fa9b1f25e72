//! Writes the generated files: CRDs, webhook manifests, RBAC, docs.

fn main() {}
