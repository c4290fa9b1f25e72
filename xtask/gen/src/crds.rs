//! CRDs: beside the types for `kubectl apply --server-side -f crds/`, and in their chart.

use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use stockade_crds::Crd;

use crate::{Output, yaml};

pub(crate) fn outputs() -> Result<Vec<Output>> {
    let mut outputs = Vec::new();
    for crd in Crd::ALL {
        let manifest = crd.manifest();
        let path = PathBuf::from("crds").join(crd.file_name());
        outputs.push(Output { path, text: yaml::text(&manifest)? });
        let path = PathBuf::from("charts/stockade-crds/templates").join(crd.file_name());
        outputs.push(Output { path, text: yaml::text(&kept(manifest)?)? });
    }
    Ok(outputs)
}

/// Helm must not delete it on uninstall: every policy would go with it.
fn kept(mut manifest: Value) -> Result<Value> {
    let metadata = manifest.get_mut("metadata").and_then(Value::as_object_mut).context("a CRD without metadata")?;
    metadata.insert("annotations".into(), json!({ "helm.sh/resource-policy": "keep" }));
    Ok(manifest)
}
