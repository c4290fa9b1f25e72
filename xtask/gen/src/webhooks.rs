//! The manifests that belong to the admission server, as templates of its chart.

use std::path::PathBuf;

use stockade_webhooks::manifests::manifests;

use crate::Output;

pub(crate) fn outputs() -> Vec<Output> {
    let templates = PathBuf::from("charts/stockade/templates");
    manifests().into_iter().map(|(name, text)| Output { path: templates.join(name), text }).collect()
}
