//! The eBPF programs of Stockade.
//!
//! Process tracking (`track`) runs once on a node; a hook's program (`lsm`, `kprobe`, `tracepoint`: shells around `judge`)
//! is loaded once for each hook, specialised by its read-only data. Every verdict comes from
//! [`stockade_enforcer_common::decide`], which the host tests as well.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]
#![allow(unused_unsafe, reason = "macros are used inside unsafe blocks and outside")]
#![allow(unsafe_code, reason = "the kernel's memory and helpers are reached in no other way; the verifier checks it")]

mod argument;
mod cgroup;
mod emit;
mod executable;
mod fexit;
mod identity;
mod judge;
mod kprobe;
mod limit;
mod lsm;
mod map;
mod namespace;
mod object;
mod packet;
mod path;
mod read;
mod report;
mod rodata;
mod scratch;
mod socket;
mod table;
mod tracepoint;
mod track;

#[cfg(not(test))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual BSD/GPL\0";
