//! `stockade status`: what the cluster does about its policies.

mod fetch;
mod table;
mod text;
mod view;

use std::io::{self, Write as _};

use anyhow::Context as _;
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use crate::Outcome;
use crate::args::{StatusArgs, StatusFormat};
use view::PolicyView;

/// Asks the cluster, prints.
pub(crate) fn run(args: &StatusArgs) -> anyhow::Result<Outcome> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting")?;
    let policies = runtime.block_on(fetch::policies(args))?;
    let mut out = io::stdout().lock();
    if policies.is_empty()
        && let Some(name) = &args.policy
    {
        anstream::eprintln!("error: there is no policy {name}{}", fetch::where_looked(args));
        return Ok(Outcome::Refused);
    }
    match args.output {
        Some(StatusFormat::Json) => writeln!(out, "{:#}", to_json(&policies))?,
        Some(StatusFormat::Yaml) => write!(out, "{}", serde_saphyr::to_string(&to_json(&policies))?)?,
        Some(StatusFormat::Name) => {
            for policy in &policies {
                writeln!(out, "{}", policy.resource())?;
            }
        }
        None | Some(StatusFormat::Wide) => {
            let wide = args.output.is_some();
            let now = Timestamp::now();
            if args.policy.is_none() {
                write!(out, "{}", text::overview(&policies, wide, now))?;
            } else {
                let parts: Vec<_> = policies.iter().map(|policy| text::detail(policy, wide, now)).collect();
                write!(out, "{}", parts.join("\n"))?;
            }
        }
    }
    Ok(Outcome::Fine)
}

fn to_json(policies: &[PolicyView]) -> Value {
    let ready = policies.iter().filter(|p| p.is_ready()).count();
    json!({
        "version": 1,
        "policies": policies.iter().map(PolicyView::to_json).collect::<Vec<_>>(),
        "summary": { "policies": policies.len(), "ready": ready },
    })
}
