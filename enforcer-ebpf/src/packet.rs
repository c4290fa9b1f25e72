//! Packets: the addresses and ports that their headers have.

use crate::read::{at, pointer, value};
use crate::rodata::{kernel, reads};
use crate::scratch::of;
use crate::socket::{AF_INET, AF_INET6, clear, put, put_mapped};
use core::ptr::read_volatile;
use stockade_enforcer_common::event::SocketData;
use stockade_enforcer_common::plan::kind;

const HOP_BY_HOP: u8 = 0;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION: u8 = 60;
const SCTP: u8 = 132;

/// Headers between an IPv6 header and what it carries that are looked at; a packet with more cannot be read.
const MAX_EXTENSIONS: u32 = 7;

/// Reads the packet at [`crate::scratch::Scratch::address`] into `socket`; 0 if it could be read. A function that the verifier looks at
/// once, and whose stack is its own.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn read_packet(space: u64) -> u64 {
    let scratch = of(space);
    if scratch.is_null() || !reads(|kind| kind == kind::PACKET) {
        return 1;
    }
    // SAFETY: the space is this run's alone.
    let (packet, data) = unsafe { (read_volatile(&raw const (*scratch).address), &mut (*scratch).socket) };
    u64::from(of_packet(packet, data).is_none())
}

/// A packet without a header of IP has no family.
#[inline(always)]
fn of_packet(packet: u64, data: &mut SocketData) -> Option<()> {
    clear(data);
    data.length = value(at(packet, kernel!(skb_len)))?;
    let head = pointer(at(packet, kernel!(skb_head)))?;
    let network: u16 = value(at(packet, kernel!(skb_network_header)))?;
    if network == 0 || network == u16::MAX {
        return Some(());
    }
    let header = head + u64::from(network);
    let (protocol, payload) = match value::<u8>(header)? >> 4 {
        4 => four(header, data)?,
        6 => six(header, data)?,
        _ => return Some(()),
    };
    data.protocol = u16::from(protocol);
    if payload != 0 && matches!(protocol, TCP | UDP | SCTP) {
        let ports: u32 = value(payload)?;
        data.source_port = u16::from_be(ports as u16);
        data.destination_port = u16::from_be((ports >> 16) as u16);
    }
    Some(())
}

/// The protocol, and where its header is; 0 if that is in an earlier fragment.
#[inline(always)]
fn four(header: u64, data: &mut SocketData) -> Option<(u8, u64)> {
    let [first, fragment, protocol, source, destination] = value::<[u32; 5]>(header)?;
    data.family = AF_INET;
    put_mapped(&mut data.source, source);
    put_mapped(&mut data.destination, destination);
    let begins = u16::from_be((fragment >> 16) as u16) & 0x1fff == 0;
    let payload = header + u64::from(first & 15) * 4;
    Some(((protocol >> 8) as u8, if begins { payload } else { 0 }))
}

/// The same.
#[inline(always)]
fn six(header: u64, data: &mut SocketData) -> Option<(u8, u64)> {
    let [first, a, b, c, d] = value::<[u64; 5]>(header)?;
    data.family = AF_INET6;
    put(&mut data.source, [a, b]);
    put(&mut data.destination, [c, d]);
    let (mut next, mut payload) = ((first >> 48) as u8, header + 40);
    for _ in 0..=MAX_EXTENSIONS {
        let unit = match next {
            HOP_BY_HOP | ROUTING | DESTINATION => 8,
            AUTHENTICATION => 4,
            FRAGMENT => 0,
            _ => return Some((next, payload)),
        };
        let extension: u32 = value(payload)?;
        next = extension as u8;
        let length = u64::from(extension >> 8 & 0xff);
        if unit == 0 {
            if u16::from_be((extension >> 16) as u16) & 0xfff8 != 0 {
                return Some((next, 0));
            }
            payload += 8;
        } else {
            // Units beyond the first eight bytes.
            payload += 8 + length * unit;
        }
    }
    None
}
