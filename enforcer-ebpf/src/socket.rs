//! Sockets and socket addresses.

use crate::read::{at, pointer, value};
use crate::rodata::kernel;
use aya_ebpf::helpers::generated::{bpf_probe_read_kernel, bpf_probe_read_user};
use stockade_enforcer_common::event::SocketData;

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

/// An IPv4 address, mapped.
#[inline(always)]
fn mapped(address: [u8; 4]) -> [u8; 16] {
    let [a, b, c, d] = address;
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d]
}

/// A `struct sock`, or the one of a `struct socket`.
#[inline(always)]
pub(crate) fn of_sock(raw: u64, is_socket: bool, data: &mut SocketData) -> Option<()> {
    let sock = if is_socket { pointer(at(raw, kernel!(socket_sk)))? } else { raw };
    *data = SocketData::default();
    data.family = value(at(sock, kernel!(sock_family)))?;
    data.protocol = value(at(sock, kernel!(sock_protocol)))?;
    data.kind = value(at(sock, kernel!(sock_type)))?;
    data.state = u16::from(value::<u8>(at(sock, kernel!(sock_state)))?);
    if data.family == AF_INET {
        data.source = mapped(value(at(sock, kernel!(sock_rcv_saddr)))?);
        data.destination = mapped(value(at(sock, kernel!(sock_daddr)))?);
    } else if data.family == AF_INET6 {
        data.source = value(at(sock, kernel!(sock_v6_rcv_saddr)))?;
        data.destination = value(at(sock, kernel!(sock_v6_daddr)))?;
    } else {
        return Some(());
    }
    data.source_port = value(at(sock, kernel!(sock_number)))?;
    data.destination_port = u16::from_be(value(at(sock, kernel!(sock_dport)))?);
    Some(())
}

/// `struct sockaddr_in6`, of which `sockaddr_in` is a shorter relative.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Address {
    family: u16,
    port: u16,
    /// IPv4's address, or IPv6's flow.
    four: [u8; 4],
    six: [u8; 16],
}

/// A `struct sockaddr`: what it names is the destination.
#[inline(always)]
pub(crate) fn of_sockaddr(raw: u64, user: bool, data: &mut SocketData) -> Option<()> {
    *data = SocketData::default();
    let mut address = Address::default();
    data.family = read(raw, user, &mut address, 2)?;
    if data.family == AF_INET {
        read(raw, user, &mut address, 8)?;
        data.destination = mapped(address.four);
    } else if data.family == AF_INET6 {
        read(raw, user, &mut address, 24)?;
        data.destination = address.six;
    } else {
        return Some(());
    }
    data.destination_port = u16::from_be(address.port);
    Some(())
}

/// Reads the first bytes, not more: a `sockaddr_in` may lie at the end of what can be read. Returns the family.
#[inline(always)]
fn read(raw: u64, user: bool, address: &mut Address, bytes: u32) -> Option<u16> {
    let to = core::ptr::from_mut(address).cast();
    // SAFETY: `bytes` is at most the size of an address.
    let error = unsafe {
        if user {
            bpf_probe_read_user(to, bytes, raw as *const _)
        } else {
            bpf_probe_read_kernel(to, bytes, raw as *const _)
        }
    };
    (error == 0).then_some(address.family)
}
