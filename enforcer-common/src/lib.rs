//! The ABI between Stockade's eBPF programs and user space, and the decision function both run.
#![cfg_attr(not(test), no_std)]
