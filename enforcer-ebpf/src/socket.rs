//! Sockets and socket addresses.

use crate::read::{at, pointer, value};
use crate::rodata::kernel;
use aya_ebpf::helpers::generated::{bpf_probe_read_kernel, bpf_probe_read_user};
use core::mem::MaybeUninit;
use core::ptr::write_volatile;
use stockade_enforcer_common::event::SocketData;

pub(crate) const AF_INET: u16 = 2;
pub(crate) const AF_INET6: u16 = 10;

/// Writes an IPv4 address, mapped. By words: the compiler's way with bytes is a call.
#[inline(always)]
pub(crate) fn put_mapped(to: &mut [u8; 16], address: u32) {
    put(to, [0, 0xffff_0000 | u64::from(address) << 32]);
}

#[inline(always)]
pub(crate) fn put(to: &mut [u8; 16], words: [u64; 2]) {
    let to = core::ptr::from_mut(to).cast::<u64>();
    let [low, high] = words;
    // SAFETY: addresses are aligned to 8 bytes in `SocketData`, and the event's data is aligned as well.
    unsafe {
        write_volatile(to, low);
        write_volatile(to.add(1), high);
    }
}

#[inline(always)]
pub(crate) fn clear(data: &mut SocketData) {
    let words = core::ptr::from_mut(data).cast::<u64>();
    for word in 0..size_of::<SocketData>() / 8 {
        // SAFETY: inside the data.
        unsafe { write_volatile(words.add(word), 0) }
    }
}

/// A `struct sock`, or the one of a `struct socket`.
#[inline(always)]
pub(crate) fn of_sock(raw: u64, is_socket: bool, data: &mut SocketData) -> Option<()> {
    let sock = if is_socket { pointer(at(raw, kernel!(socket_sk)))? } else { raw };
    clear(data);
    data.family = value(at(sock, kernel!(sock_family)))?;
    data.protocol = value(at(sock, kernel!(sock_protocol)))?;
    data.kind = value(at(sock, kernel!(sock_type)))?;
    data.state = u16::from(value::<u8>(at(sock, kernel!(sock_state)))?);
    if data.family == AF_INET {
        put_mapped(&mut data.source, value(at(sock, kernel!(sock_rcv_saddr)))?);
        put_mapped(&mut data.destination, value(at(sock, kernel!(sock_daddr)))?);
    } else if data.family == AF_INET6 {
        put(&mut data.source, value(at(sock, kernel!(sock_v6_rcv_saddr)))?);
        put(&mut data.destination, value(at(sock, kernel!(sock_v6_daddr)))?);
    } else {
        return Some(());
    }
    data.source_port = value(at(sock, kernel!(sock_number)))?;
    data.destination_port = u16::from_be(value(at(sock, kernel!(sock_dport)))?);
    Some(())
}

/// `struct sockaddr_in6`, of which `sockaddr_in` is a shorter relative.
#[repr(C)]
#[derive(Clone, Copy)]
struct Address {
    family: u16,
    port: u16,
    /// IPv4's address, or IPv6's flow.
    four: u32,
    six: [u64; 2],
}

/// A `struct sockaddr`: what it names is the destination.
#[inline(always)]
pub(crate) fn of_sockaddr(raw: u64, user: bool, data: &mut SocketData) -> Option<()> {
    clear(data);
    data.family = read(raw, user, 2)?.family;
    let address;
    if data.family == AF_INET {
        address = read(raw, user, 8)?;
        put_mapped(&mut data.destination, address.four);
    } else if data.family == AF_INET6 {
        address = read(raw, user, 24)?;
        put(&mut data.destination, address.six);
    } else {
        return Some(());
    }
    data.destination_port = u16::from_be(address.port);
    Some(())
}

/// Reads the first bytes, not more: a `sockaddr_in` may lie at the end of what can be read. The others mean nothing.
#[inline(always)]
fn read(raw: u64, user: bool, bytes: u32) -> Option<Address> {
    let mut address = MaybeUninit::<Address>::uninit();
    let to = address.as_mut_ptr().cast();
    // SAFETY: `bytes` is at most the size of an address, which is made of integers.
    unsafe {
        let error = if user {
            bpf_probe_read_user(to, bytes, raw as *const _)
        } else {
            bpf_probe_read_kernel(to, bytes, raw as *const _)
        };
        (error == 0).then_some(address.assume_init())
    }
}
