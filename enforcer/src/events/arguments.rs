//! Arguments of a hook as upstream's JSON spells them.

mod objects;

use std::net::Ipv6Addr;

use base64::Engine;
use serde_json::{Value as Json, json};
use stockade_enforcer_common::event::{CredentialsData, SocketData, UserNamespaceData};
use stockade_enforcer_kernel::event::{Arg, Value};
use stockade_enforcer_kernel::legend::RuleArg;
use stockade_policy::language::CAPABILITIES;

use super::directory::insert;

/// The arguments that a rule's document asks for, in its order.
#[must_use]
pub fn describe(wanted: &[RuleArg], read: &[Arg]) -> Vec<Json> {
    wanted.iter().map(|wanted| argument(wanted, read)).collect()
}

/// One of them, or what a function returned.
pub fn argument(wanted: &RuleArg, read: &[Arg]) -> Json {
    let value = read.iter().find(|arg| arg.position == wanted.position).map(|arg| &arg.value);
    let mut described = match value {
        None | Some(Value::NotRead) => json!({"error_arg": {"message": "not needed for the decision and not read"}}),
        Some(Value::Unreadable) => json!({"error_arg": {"message": "could not be read"}}),
        Some(Value::Int(number)) if wanted.ty == "int64" => json!({"long_arg": number.to_string()}),
        Some(Value::Int(number)) if wanted.ty == "capability" => {
            json!({"capability_arg": {"value": number, "name": capability(*number)}})
        }
        Some(Value::Int(number)) => json!({"int_arg": number}),
        // As protojson writes 64 bits: a JSON number loses digits in JavaScript.
        Some(Value::Unsigned(number)) if wanted.ty == "size_t" => json!({"size_arg": number.to_string()}),
        Some(Value::Unsigned(number)) if CAPABILITY_SETS.contains(&wanted.ty.as_str()) => {
            json!({format!("{}_arg", wanted.ty): format!("{number:016x}")})
        }
        Some(Value::Unsigned(number)) => json!({"uint_arg": number}),
        Some(Value::Text { bytes, cut }) => text(&wanted.ty, bytes, *cut),
        Some(Value::Socket(socket)) if wanted.ty == "sockaddr" => json!({"sockaddr_arg": {
            "family": family(socket.family),
            "addr": address(socket.destination),
            "port": socket.destination_port,
        }}),
        Some(Value::Credentials(credentials)) => json!({"process_credentials_arg": described_credentials(credentials)}),
        Some(Value::Object(kind, object)) => objects::described(*kind, object),
        Some(Value::UserNamespace(namespace)) => json!({"user_ns_arg": described_namespace(namespace)}),
        Some(Value::Socket(socket)) if wanted.ty == "skb" => json!({"skb_arg": {
            "family": family(socket.family),
            "protocol": protocol(socket.protocol),
            "proto": socket.protocol,
            "saddr": address(socket.source),
            "daddr": address(socket.destination),
            "sport": socket.source_port,
            "dport": socket.destination_port,
            "len": socket.length,
        }}),
        Some(Value::Socket(socket)) => json!({"sock_arg": {
            "family": family(socket.family),
            "type": socket_type(socket.kind),
            "protocol": protocol(socket.protocol),
            "saddr": address(socket.source),
            "daddr": address(socket.destination),
            "sport": socket.source_port,
            "dport": socket.destination_port,
            "state": tcp_state(socket),
        }}),
    };
    if !wanted.label.is_empty() {
        insert(&mut described, "label", json!(wanted.label));
    }
    described
}

fn described_credentials(credentials: &CredentialsData) -> Json {
    const SECURE_BITS: [&str; 8] = [
        "SecBitNoRoot",
        "SecBitNoRootLocked",
        "SecBitNoSetUidFixup",
        "SecBitNoSetUidFixupLocked",
        "SecBitKeepCaps",
        "SecBitKeepCapsLocked",
        "SecBitNoCapAmbientRaise",
        "SecBitNoCapAmbientRaiseLocked",
    ];
    let CredentialsData { ids, secure_bits, capabilities, user_namespace, reserved: _ } = credentials;
    let [uid, gid, suid, sgid, euid, egid, fsuid, fsgid] = ids;
    let [effective, inheritable, permitted] = capabilities;
    json!({
        "uid": uid, "gid": gid, "suid": suid, "sgid": sgid, "euid": euid, "egid": egid, "fsuid": fsuid, "fsgid": fsgid,
        "securebits": names(u64::from(*secure_bits), &SECURE_BITS),
        "caps": {
            "effective": names(*effective, &CAPABILITIES),
            "inheritable": names(*inheritable, &CAPABILITIES),
            "permitted": names(*permitted, &CAPABILITIES),
        },
        "user_ns": described_namespace(user_namespace),
    })
}

fn described_namespace(namespace: &UserNamespaceData) -> Json {
    let UserNamespaceData { level, inode, owner: [uid, gid] } = namespace;
    json!({"level": level, "uid": uid, "gid": gid, "ns": {"inum": inode, "is_host": *level == 0}})
}

/// The names of the bits that are set; one without a name is its number.
fn names(bits: u64, names: &[&str]) -> Vec<String> {
    let set = (0..64_usize).filter(|bit| bits >> bit & 1 == 1);
    set.map(|bit| names.get(bit).map_or_else(|| bit.to_string(), |name| (*name).to_owned())).collect()
}

/// The types that are a set of capabilities.
const CAPABILITY_SETS: [&str; 4] = ["kernel_cap_t", "cap_inheritable", "cap_permitted", "cap_effective"];

/// The name of a capability, if it has one in this release.
fn capability(number: i64) -> &'static str {
    usize::try_from(number).ok().and_then(|at| CAPABILITIES.get(at)).copied().unwrap_or_default()
}

fn text(ty: &str, bytes: &[u8], cut: bool) -> Json {
    let text = String::from_utf8_lossy(bytes);
    let mut described = match ty {
        "file" => json!({"file_arg": {"path": text}}),
        "kiocb" => json!({"file_arg": {"path": text}}),
        "net_device" => json!({"net_dev_arg": {"name": text}}),
        // As protojson writes bytes.
        "char_buf" => return buffer(bytes, cut),
        "path" | "dentry" => json!({"path_arg": {"path": text}}),
        "linux_binprm" => json!({"linux_binprm_arg": {"path": text}}),
        _ => json!({"string_arg": text}),
    };
    if cut {
        insert(&mut described, "truncated", json!(true));
    }
    described
}

/// The bytes of a buffer; with how many it has, where only its beginning is there.
fn buffer(bytes: &[u8], cut: bool) -> Json {
    let text = base64::engine::general_purpose::STANDARD.encode(bytes);
    if cut { json!({"truncated_bytes_arg": {"bytes_arg": text}}) } else { json!({"bytes_arg": text}) }
}

/// IPv4, also mapped, in dotted form; empty for none.
fn address(bytes: [u8; 16]) -> String {
    let address = Ipv6Addr::from(bytes);
    match address.to_ipv4_mapped() {
        Some(ipv4) => ipv4.to_string(),
        None if address.is_unspecified() => String::new(),
        None => address.to_string(),
    }
}

fn named(number: u16, names: &[(u16, &str)]) -> String {
    let name = names.iter().find(|(known, _)| *known == number).map(|(_, name)| (*name).to_owned());
    name.unwrap_or_else(|| number.to_string())
}

fn family(number: u16) -> String {
    named(
        number,
        &[(0, "AF_UNSPEC"), (1, "AF_UNIX"), (2, "AF_INET"), (10, "AF_INET6"), (16, "AF_NETLINK"), (17, "AF_PACKET")],
    )
}

fn socket_type(number: u16) -> String {
    named(number, &[(1, "SOCK_STREAM"), (2, "SOCK_DGRAM"), (3, "SOCK_RAW"), (5, "SOCK_SEQPACKET")])
}

fn protocol(number: u16) -> String {
    const NAMES: [(u16, &str); 6] = [
        (0, "IPPROTO_IP"),
        (1, "IPPROTO_ICMP"),
        (6, "IPPROTO_TCP"),
        (17, "IPPROTO_UDP"),
        (58, "IPPROTO_ICMPV6"),
        (132, "IPPROTO_SCTP"),
    ];
    named(number, &NAMES)
}

fn tcp_state(socket: &SocketData) -> String {
    const NAMES: [&str; 13] = [
        "",
        "TCP_ESTABLISHED",
        "TCP_SYN_SENT",
        "TCP_SYN_RECV",
        "TCP_FIN_WAIT1",
        "TCP_FIN_WAIT2",
        "TCP_TIME_WAIT",
        "TCP_CLOSE",
        "TCP_CLOSE_WAIT",
        "TCP_LAST_ACK",
        "TCP_LISTEN",
        "TCP_CLOSING",
        "TCP_NEW_SYN_RECV",
    ];
    NAMES.get(usize::from(socket.state)).map_or_else(|| socket.state.to_string(), |name| (*name).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(position: u8, ty: &str) -> RuleArg {
        RuleArg { position, ty: ty.into(), label: String::new() }
    }

    #[test]
    fn arguments_come_in_the_documents_order_and_types() {
        let read = [
            Arg { position: 0, value: Value::Unsigned(7) },
            Arg { position: 1, value: Value::Text { bytes: b"/etc/x".to_vec(), cut: false } },
        ];
        let described = describe(&[wanted(1, "file"), wanted(0, "size_t"), wanted(2, "int")], &read);
        assert_eq!(described[0], json!({"file_arg": {"path": "/etc/x"}}));
        assert_eq!(described[1], json!({"size_arg": "7"}));
        assert!(described[2]["error_arg"].is_object());
    }

    #[test]
    fn a_packet_says_what_its_headers_do_and_how_long_it_is() {
        let socket = SocketData { family: 2, protocol: 17, destination_port: 53, length: 71, ..SocketData::default() };
        let read = [Arg { position: 0, value: Value::Socket(socket) }];
        let described = describe(&[wanted(0, "skb")], &read);
        let packet = &described[0]["skb_arg"];
        assert_eq!(
            (&packet["protocol"], &packet["dport"], &packet["len"]),
            (&json!("IPPROTO_UDP"), &json!(53), &json!(71))
        );
    }

    #[test]
    fn credentials_are_spelled_out() {
        let credentials = CredentialsData {
            ids: [1, 2, 3, 4, 5, 6, 7, 8],
            secure_bits: 0b1_0001,
            capabilities: [1 << 21, 0, 1 << 60],
            user_namespace: UserNamespaceData { level: 1, inode: 99, owner: [1000, 1001] },
            ..CredentialsData::default()
        };
        let read = [Arg { position: 0, value: Value::Credentials(credentials) }];
        let described = &describe(&[wanted(0, "cred")], &read)[0]["process_credentials_arg"];
        assert_eq!((&described["uid"], &described["egid"], &described["fsgid"]), (&json!(1), &json!(6), &json!(8)));
        assert_eq!(described["securebits"], json!(["SecBitNoRoot", "SecBitKeepCaps"]));
        let caps = json!({"effective": ["CAP_SYS_ADMIN"], "inheritable": [], "permitted": ["60"]});
        assert_eq!(described["caps"], caps);
        let namespace = json!({"level": 1, "uid": 1000, "gid": 1001, "ns": {"inum": 99, "is_host": false}});
        assert_eq!(described["user_ns"], namespace);
    }

    #[test]
    fn capabilities_have_names_and_sets_of_them_are_bits() {
        let read = [
            Arg { position: 0, value: Value::Int(21) },
            Arg { position: 1, value: Value::Unsigned(0x1ff) },
            Arg { position: 2, value: Value::Int(63) },
        ];
        let wanted = [wanted(0, "capability"), wanted(1, "cap_effective"), wanted(2, "capability")];
        let described = describe(&wanted, &read);
        assert_eq!(described[0], json!({"capability_arg": {"value": 21, "name": "CAP_SYS_ADMIN"}}));
        assert_eq!(described[1], json!({"cap_effective_arg": "00000000000001ff"}));
        assert_eq!(described[2], json!({"capability_arg": {"value": 63, "name": ""}}), "of a later kernel");
    }

    #[test]
    fn a_mapped_peer_reads_as_the_ipv4_address_it_is() {
        let mut socket = SocketData { family: 10, protocol: 6, destination_port: 443, ..SocketData::default() };
        socket.destination = std::net::Ipv4Addr::new(10, 1, 2, 3).to_ipv6_mapped().octets();
        let read = [Arg { position: 0, value: Value::Socket(socket) }];
        let described = describe(&[wanted(0, "sock")], &read);
        let sock = &described[0]["sock_arg"];
        assert_eq!(
            (&sock["family"], &sock["daddr"], &sock["saddr"]),
            (&json!("AF_INET6"), &json!("10.1.2.3"), &json!(""))
        );
    }
}
