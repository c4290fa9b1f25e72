//! The ABI between Stockade's eBPF programs and user space, and the decision function both run.
//!
//! Everything here is plain data without padding, so that what one side writes the other reads byte for byte. The meaning
//! of the tables is in `docs/adr/0002-rules-as-bits.md`.
#![cfg_attr(not(test), no_std)]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]

pub mod bits;
pub mod counter;
pub mod decide;
pub mod dimension;
pub mod event;
pub mod head;
pub mod key;
pub mod limit;
pub mod name;
pub mod offset;
pub mod plan;
pub mod process;
pub mod verifier;
