//! What an agent reads back from the kernel and from its own disk: a record of the ring is decoded or refused, with whatever
//! legend an earlier agent left. The input is a legend's JSON, a line end, and a record.
#![no_main]

use libfuzzer_sys::fuzz_target;
use stockade_enforcer_kernel::event::decode;
use stockade_enforcer_kernel::legend::Memory;

fuzz_target!(|input: &[u8]| {
    let end = input.iter().position(|byte| *byte == b'\n');
    let (memory, record) = end.map_or((&[][..], input), |end| (&input[..end], &input[end + 1..]));
    let mut memory: Memory = serde_json::from_slice(memory).unwrap_or_default();
    memory.know_marks([record.len() as u64, u64::MAX]);
    if let Ok(event) = decode(record, &memory) {
        // What is decoded is never larger than what it was decoded from, by more than a legend's words for each of its rules.
        assert!(format!("{event:?}").len() < 10_000 + 100 * input.len());
    }
});
