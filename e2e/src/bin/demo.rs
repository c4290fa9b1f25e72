//! Shows what Stockade does, on the cluster that `cargo xtask demo` has brought up.
//!
//! `stockade-demo [FIRST]` goes on from that step on a cluster that was left up (`cargo xtask demo --keep`), and
//! `stockade-demo trouble [FIRST]` plays what goes wrong: for who changes a step and does not want to wait for the others.

use anyhow::{Context, Result};
use stockade_e2e::{
    demo::{self, Stage},
    trouble,
};

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1).peekable();
    let steps = match args.next_if_eq("trouble") {
        Some(_) => trouble::STEPS.as_slice(),
        None => demo::STEPS.as_slice(),
    };
    let first: usize = args.next().map_or(Ok(1), |first| first.parse()).context("the first step is a number")?;
    let rest = first.checked_sub(1).and_then(|skipped| steps.get(skipped..)).context("there is no such step")?;
    demo::play(&Stage::new()?, rest, first)
}
