//! The eBPF programs of Stockade.
#![no_std]
#![no_main]
