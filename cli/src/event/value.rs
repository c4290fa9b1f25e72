//! Values of arguments: as they are written ↔ as the model takes them.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use serde_json::{Map, Value, json};
use stockade_policy::ir::{Abi, ArgTest, ArgType, Class};
use stockade_policy::language::{self, CAPABILITIES, FAMILIES, FILE_TYPES, PROTOCOLS, TCP_STATES};
use stockade_policy::model::{Argument, Socket};

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

/// An argument, and the parts of it of which nothing is said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) argument: Argument,
    pub(crate) unsaid: BTreeSet<&'static str>,
}

impl From<Argument> for Known {
    fn from(argument: Argument) -> Self {
        Self { argument, unsaid: BTreeSet::new() }
    }
}

/// What `value` is as an argument of type `ty`; otherwise what can be written.
pub(crate) fn read(ty: ArgType, value: &Value) -> Result<Known, String> {
    if *value == json!({"unreadable": true}) {
        return Ok(Argument::Unreadable.into());
    }
    match ty.class() {
        Class::Number { .. } => number(ty, value).ok_or_else(|| in_bounds(ty)),
        Class::Capability => capability(value).map(|bit| Argument::Number(bit).into()).ok_or_else(|| in_bounds(ty)),
        Class::Capabilities => capabilities(value).map(|bits| Argument::Number(bits).into()),
        Class::Syscall => syscall(value)
            .map(Into::into)
            .ok_or_else(|| "write a system call's name, as openat or i386/openat, or its number on x86-64".to_owned()),
        Class::Text | Class::UnixAddress => {
            text(value).map(Into::into).ok_or_else(|| "write a string, in quotes".to_owned())
        }
        Class::Path { .. } => path(value)
            .map(Into::into)
            .ok_or_else(|| "write a path, or {path: /etc/passwd, type: regular} where its type matters".to_owned()),
        Class::Socket { .. } => socket(value, ["saddr", "daddr", "sport", "dport"]),
        Class::Address => socket(value, ["", "addr", "", "port"]),
        Class::Opaque => Ok(Argument::Unreadable.into()),
        Class::Unstated => number(ArgType::Int64, value)
            .or_else(|| text(value).map(Into::into))
            .ok_or_else(|| "write a number or a string".to_owned()),
    }
}

fn in_bounds(ty: ArgType) -> String {
    let (first, last) = ty.bounds().unwrap_or_default();
    format!("write a number from {first} to {last}")
}

/// As it is, or as a string in any of the ways in which policies write numbers.
pub(crate) fn whole(value: &Value) -> Option<i128> {
    match value {
        Value::Number(number) => number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from)),
        Value::String(text) => {
            let (sign, digits) = text.strip_prefix('-').map_or((1, text.as_str()), |digits| (-1, digits));
            let (radix, digits) = [("0x", 16), ("0o", 8), ("0b", 2)]
                .iter()
                .find_map(|(prefix, radix)| Some((*radix, digits.strip_prefix(prefix)?)))
                .unwrap_or((10, digits));
            let plain = digits.bytes().all(|byte| byte.is_ascii_alphanumeric());
            i128::from_str_radix(digits, radix).ok().filter(|_| plain).map(|number| sign * number)
        }
        _ => None,
    }
}

fn number(ty: ArgType, value: &Value) -> Option<Known> {
    let (first, last) = ty.bounds()?;
    let number = whole(value).filter(|number| (first..=last).contains(number))?;
    let stored = u64::try_from(number).ok().or_else(|| i64::try_from(number).ok().map(i64::cast_unsigned))?;
    Some(Argument::Number(stored).into())
}

/// The number of a capability.
fn capability(value: &Value) -> Option<u64> {
    let named = value.as_str().and_then(|name| CAPABILITIES.iter().position(|known| *known == name));
    let number = named.and_then(|at| u64::try_from(at).ok()).or_else(|| u64::try_from(whole(value)?).ok())?;
    (number <= language::LAST_CAPABILITY.into()).then_some(number)
}

/// A list of names, or the bits as a number.
pub(crate) fn capabilities(value: &Value) -> Result<u64, String> {
    let wrong = || "write a list such as [CAP_NET_RAW], or the set as one number".to_owned();
    let Some(names) = value.as_array() else {
        return whole(value).and_then(|bits| u64::try_from(bits).ok()).ok_or_else(wrong);
    };
    names.iter().try_fold(0, |bits, name| Ok(bits | 1 << capability(name).ok_or_else(wrong)?))
}

fn syscall(value: &Value) -> Option<Argument> {
    let Some(text) = value.as_str() else {
        let number = u32::try_from(whole(value)?).ok()?;
        return Some(Argument::Syscall { abi: Abi::X64, number });
    };
    let (abi, name) = text.split_once('/').unwrap_or(("x64", text));
    let abi = match abi {
        "x64" => Abi::X64,
        "i386" => Abi::I386,
        "arm64" => Abi::Arm64,
        _ => return None,
    };
    let name = name.strip_prefix("sys_").unwrap_or(name);
    let number = language::syscall_number(abi, name).or_else(|| name.parse().ok())?;
    Some(Argument::Syscall { abi, number })
}

fn text(value: &Value) -> Option<Argument> {
    value.as_str().map(|text| Argument::Text(text.as_bytes().to_vec()))
}

fn path(value: &Value) -> Option<Argument> {
    let Some(fields) = value.as_object() else { return text(value) };
    if fields.keys().any(|key| key != "path" && key != "type") {
        return None;
    }
    let path = fields.get("path")?.as_str()?.as_bytes().to_vec();
    let Some(kind) = fields.get("type") else { return Some(Argument::Text(path)) };
    let (_, kind) = FILE_TYPES.iter().find(|(name, _)| Some(*name) == kind.as_str())?;
    Some(Argument::File { path, kind: *kind })
}

fn socket(value: &Value, [saddr, daddr, sport, dport]: [&'static str; 4]) -> Result<Known, String> {
    let ours = [saddr, daddr, sport, dport, "family", "protocol", "state", "type"];
    let names = ours.iter().filter(|name| !name.is_empty() && **name != "type").copied().collect::<Vec<_>>().join(", ");
    let wrong = || format!("write the remote address and port, as \"10.0.0.5:443\", or an object of {names}");
    let fields = match value {
        Value::String(text) => remote(text, daddr, dport).ok_or_else(wrong)?,
        Value::Object(fields) => fields.clone(),
        _ => return Err(wrong()),
    };
    if fields.keys().any(|key| !ours.contains(&key.as_str())) {
        return Err(wrong());
    }
    let mut unsaid = BTreeSet::new();
    let mut one = |name: &'static str, read: &dyn Fn(&Value) -> Option<u128>, default: u128| match fields.get(name) {
        Some(value) => read(value).ok_or_else(|| format!("{name} cannot be {value}; {}", wrong())),
        None => {
            unsaid.insert(name);
            Ok(default)
        }
    };
    let plain = |value: &Value| u128::try_from(whole(value)?).ok().filter(|number| *number <= u16::MAX.into());
    let named = |names: &'static [(&'static str, u16)]| {
        move |value: &Value| {
            let named =
                names.iter().find(|(name, _)| Some(*name) == value.as_str()).map(|(_, number)| (*number).into());
            named.or_else(|| plain(value))
        }
    };
    let source = one(saddr, &address, 0)?;
    let destination = one(daddr, &address, 0)?;
    let is_ipv4 = Ipv6Addr::from(source.max(destination)).to_ipv4_mapped().is_some();
    let said = [saddr, daddr].iter().any(|name| fields.contains_key(*name));
    let family = one("family", &named(&FAMILIES), if is_ipv4 { AF_INET } else { AF_INET6 }.into())?;
    let small = |number: u128| u16::try_from(number).unwrap_or_default();
    let socket = Socket {
        family: small(family),
        protocol: small(one("protocol", &named(&PROTOCOLS), 0)?),
        source: source.into(),
        destination: destination.into(),
        source_port: small(one(sport, &plain, 0)?),
        destination_port: small(one(dport, &plain, 0)?),
        state: small(one("state", &named(&TCP_STATES), 0)?),
    };
    if said {
        // The address says it.
        unsaid.remove("family");
    }
    Ok(Known { argument: Argument::Socket(socket), unsaid })
}

fn remote(text: &str, daddr: &str, dport: &str) -> Option<Map<String, Value>> {
    let fields = match text.parse::<SocketAddr>() {
        Ok(address) => json!({daddr: address.ip().to_string(), dport: address.port()}),
        Err(_) => json!({daddr: text.parse::<IpAddr>().ok()?.to_string()}),
    };
    fields.as_object().cloned()
}

/// An address as the model has it; the empty one is none, as in events.
fn address(value: &Value) -> Option<u128> {
    let address = match value.as_str()? {
        "" => Ipv6Addr::UNSPECIFIED,
        text => match text.parse().ok()? {
            IpAddr::V4(address) => address.to_ipv6_mapped(),
            IpAddr::V6(address) => address,
        },
    };
    Some(address.into())
}

/// Which part of a socket a test looks at.
pub(crate) fn part_of(test: &ArgTest, ty: ArgType) -> Option<&'static str> {
    let named = ty.class() == Class::Address;
    Some(match test {
        ArgTest::SourceAddress(_) | ArgTest::DestinationAddress(_) if named => "addr",
        ArgTest::SourcePort(_) | ArgTest::DestinationPort(_) if named => "port",
        ArgTest::SourceAddress(_) => "saddr",
        ArgTest::DestinationAddress(_) => "daddr",
        ArgTest::SourcePort(_) => "sport",
        ArgTest::DestinationPort(_) => "dport",
        ArgTest::Family(_) => "family",
        ArgTest::Protocol(_) => "protocol",
        ArgTest::State(_) => "state",
        _ => return None,
    })
}

/// How an argument is written, so that [`read`] reads it again.
pub(crate) fn written(ty: ArgType, known: &Known) -> Value {
    match &known.argument {
        Argument::Unreadable => json!({"unreadable": true}),
        Argument::Text(text) => String::from_utf8_lossy(text).into(),
        Argument::File { path, kind } => {
            let name = FILE_TYPES.iter().rfind(|(_, known)| known == kind).map_or("", |(name, _)| *name);
            json!({"path": String::from_utf8_lossy(path), "type": name})
        }
        Argument::Number(stored) => of_number(ty, *stored),
        Argument::Syscall { abi, number } => {
            let name = language::numbered(*abi, *number).map_or_else(|| number.to_string(), str::to_owned);
            match abi {
                Abi::X64 => name.into(),
                Abi::I386 => format!("i386/{name}").into(),
                Abi::Arm64 => format!("arm64/{name}").into(),
            }
        }
        Argument::Socket(socket) => of_socket(ty, socket, &known.unsaid),
    }
}

fn of_number(ty: ArgType, stored: u64) -> Value {
    match ty.class() {
        Class::Capability => capability_name(stored).map_or_else(|| json!(stored), |name| json!(name)),
        Class::Capabilities => capability_names(stored),
        _ => {
            let number = ty.number(stored);
            i64::try_from(number).map_or_else(|_| json!(u64::try_from(number).unwrap_or_default()), |n| json!(n))
        }
    }
}

fn capability_name(bit: u64) -> Option<&'static str> {
    usize::try_from(bit).ok().and_then(|bit| CAPABILITIES.get(bit)).copied()
}

/// A set as the list of its names; as a number if it has a bit without a name.
pub(crate) fn capability_names(set: u64) -> Value {
    let names: Option<Vec<_>> = (0..64).filter(|bit| set >> bit & 1 == 1).map(capability_name).collect();
    names.map_or_else(|| json!(set), |names| json!(names))
}

fn of_socket(ty: ArgType, socket: &Socket, unsaid: &BTreeSet<&'static str>) -> Value {
    let Socket { family, protocol, source, destination, source_port, destination_port, state } = socket;
    let name = |names: &[(&'static str, u16)], number: u16| {
        names.iter().find(|(_, known)| *known == number).map_or_else(|| json!(number), |(name, _)| json!(name))
    };
    let address =
        |address: &Ipv6Addr| address.to_ipv4_mapped().map_or_else(|| address.to_string(), |v4| v4.to_string());
    let named = ty.class() == Class::Address;
    let fields = [
        ("saddr", json!(address(source))),
        (if named { "addr" } else { "daddr" }, json!(address(destination))),
        ("sport", json!(source_port)),
        (if named { "port" } else { "dport" }, json!(destination_port)),
        ("family", name(&FAMILIES, *family)),
        ("protocol", name(&PROTOCOLS, *protocol)),
        ("state", name(&TCP_STATES, *state)),
    ];
    let beyond = |field: &str| named && ["saddr", "sport", "protocol", "state"].contains(&field);
    let said = fields.into_iter().filter(|(field, _)| !unsaid.contains(field) && !beyond(field));
    Value::Object(said.map(|(field, value)| (field.to_owned(), value)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn again(ty: ArgType, value: &Value) {
        let known = read(ty, value).unwrap();
        assert_eq!(read(ty, &written(ty, &known)).unwrap(), known, "{value}");
    }

    #[test]
    fn what_is_written_is_read_again() {
        again(ArgType::Int, &json!(-1));
        again(ArgType::SizeT, &json!(u64::MAX));
        again(ArgType::Uint32, &json!("0x10"));
        again(ArgType::File, &json!({"path": "/dev/null", "type": "char"}));
        again(ArgType::Syscall64, &json!("i386/openat"));
        again(ArgType::CapEffective, &json!(["CAP_CHOWN", "CAP_BPF"]));
        again(ArgType::Capability, &json!("CAP_BPF"));
        again(ArgType::Sock, &json!("[fd00::1]:443"));
        again(ArgType::Sock, &json!({"daddr": "10.0.0.1", "state": "TCP_LISTEN", "protocol": "IPPROTO_TCP"}));
        again(ArgType::Sockaddr, &json!("10.0.0.1:80"));
        again(ArgType::String, &json!({"unreadable": true}));
    }

    #[test]
    fn what_cannot_be_read_says_what_can_be_written() {
        for (ty, value, help) in [
            (ArgType::Int, json!(1_u64 << 40), "write a number from -2147483648"),
            (ArgType::File, json!(7), "write a path"),
            (ArgType::Sock, json!("here"), "as \"10.0.0.5:443\""),
            (ArgType::Sock, json!({"dport": 70_000}), "dport cannot be 70000"),
            (ArgType::Sockaddr, json!({"daddr": "10.0.0.1"}), "an object of addr, port, family"),
            (ArgType::CapEffective, json!(["NET_RAW"]), "[CAP_NET_RAW]"),
            (ArgType::Syscall64, json!("no_such_call"), "as openat"),
        ] {
            let said = read(ty, &value).unwrap_err();
            assert!(said.contains(help), "{value}: {said}");
        }
    }

    #[test]
    fn what_is_not_said_of_a_socket_is_known_to_be_unsaid() {
        let known = read(ArgType::Sock, &json!("10.0.0.5:443")).unwrap();
        assert_eq!(known.unsaid, BTreeSet::from(["protocol", "saddr", "sport", "state"]));
        let Argument::Socket(socket) = known.argument else { panic!("a socket") };
        assert_eq!((socket.family, socket.destination_port), (AF_INET, 443));
    }
}
