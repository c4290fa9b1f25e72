//! Every filter and type of argument in a guest: of two operations that differ in one thing, the rule fires for the one it
//! is about. All rules are in force at once, as they are on a node.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test that fails says where")]

mod guest;

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::rc::Rc;

use guest::*;
use rustix::fs::{CWD, Mode, SeekFrom, mkdirat, seek};
use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};
use serde_json::{Value as Json, json};
use stockade_enforcer_kernel::Engine;
use stockade_enforcer_kernel::event::Event;
use stockade_enforcer_kernel::scope::Container;
use stockade_policy::ir::ValidatedPolicy;

const FILES: &str = "/tmp/filters";

/// A rule, what it is about, and what it is not about.
struct Case {
    name: &'static str,
    policy: ValidatedPolicy,
    matching: Box<dyn Fn()>,
    other: Box<dyn Fn()>,
}

fn case(name: &'static str, spec: &Json, matching: impl Fn() + 'static, other: impl Fn() + 'static) -> Case {
    let document = json!({
        "apiVersion": "cilium.io/v1alpha1", "kind": "TracingPolicy", "metadata": {"name": name, "generation": 1}, "spec": spec,
    });
    Case { name, policy: policy(&document), matching: Box::new(matching), other: Box::new(other) }
}

/// Offsets in a file: numbers with a sign, and bits.
fn numbers() -> Vec<Case> {
    let file = Rc::new(std::fs::File::create(format!("{FILES}/numbers")).unwrap());
    let fd = file.as_raw_fd().to_string();
    let to = |offset: i64| {
        let file = Rc::clone(&file);
        move || {
            let from = u64::try_from(offset).map_or(SeekFrom::Current(offset), SeekFrom::Start);
            // Whether it gets there does not matter.
            seek(&*file, from).ok();
        }
    };
    let spec = |filters: &[(&str, &[&str])]| {
        let own = json!({"index": 0, "operator": "Equal", "values": [fd]});
        let offset = |(operator, values): &(&str, &[&str])| json!({"index": 1, "operator": operator, "values": values});
        let filters: Vec<Json> = [own].into_iter().chain(filters.iter().map(offset)).collect();
        json!({"kprobes": [{
            "call": "sys_lseek", "syscall": true,
            "args": [{"index": 0, "type": "int"}, {"index": 1, "type": "int64"}], "selectors": [{"matchArgs": filters}],
        }]})
    };
    let write = |bytes: usize| {
        let file = Rc::clone(&file);
        move || assert_eq!(rustix::io::write(&*file, &vec![0; bytes]).unwrap(), bytes)
    };
    let size = json!({"kprobes": [{
        "call": "sys_write", "syscall": true, "args": [{"index": 0, "type": "int"}, {"index": 2, "type": "size_t"}],
        "selectors": [{"matchArgs": [
            {"index": 0, "operator": "Equal", "values": [fd]}, {"index": 2, "operator": "Equal", "values": ["4242"]},
        ]}],
    }]});
    vec![
        case("equal", &spec(&[("Equal", &["7", "70"])]), to(70), to(71)),
        case("not-equal", &spec(&[("NotEqual", &["7", "70"])]), to(71), to(70)),
        case("greater", &spec(&[("GT", &["1000"])]), to(1001), to(1000)),
        case("less", &spec(&[("LT", &["-2"])]), to(-3), to(-2)),
        case("less-than-most", &spec(&[("LT", &["4294967296"])]), to(-1), to(1 << 32)),
        case("in-range", &spec(&[("InRange", &["-100:9999"])]), to(9999), to(10000)),
        case("not-in-range", &spec(&[("NotInRange", &["0:1000000"])]), to(1_000_001), to(1_000_000)),
        case("mask", &spec(&[("Mask", &["0x4000", "0x100000000"])]), to(0x1_0000_0001), to(0x3fff)),
        case("masks", &spec(&[("Mask", &["1"]), ("Mask", &["0x4000"])]), to(0x4001), to(0x4000)),
        case("size", &size, write(4242), write(4241)),
    ]
}

/// Names and modes of folders.
fn texts() -> Vec<Case> {
    let make = |name: &str, mode: u32| {
        let path = format!("{FILES}/{name}");
        move || {
            mkdirat(CWD, &path, Mode::from_raw_mode(mode)).unwrap();
            std::fs::remove_dir(&path).unwrap();
        }
    };
    let spec = |filters: &[(u32, &str, &str)]| {
        let filter = |(index, operator, value): &(u32, &str, &str)| {
            let value =
                if *index == 1 && !operator.contains("Post") { format!("{FILES}/{value}") } else { (*value).into() };
            json!({"index": index, "operator": operator, "values": [value]})
        };
        let filters: Vec<Json> = filters.iter().map(filter).collect();
        json!({"kprobes": [{
            "call": "sys_mkdirat", "syscall": true,
            "args": [{"index": 1, "type": "string"}, {"index": 2, "type": "uint32"}], "selectors": [{"matchArgs": filters}],
        }]})
    };
    let folder = json!({"lsmhooks": [{"hook": "path_mkdir", "args": [{"index": 0, "type": "path"}], "selectors": [
        {"matchArgs": [{"index": 0, "operator": "Equal", "values": [format!("{FILES}/inside")]}]},
    ]}]});
    std::fs::create_dir_all(format!("{FILES}/inside")).unwrap();
    vec![
        case(
            "text-not-equal",
            &spec(&[(1, "Prefix", "a-"), (1, "NotEqual", "a-1")]),
            make("a-2", 0o700),
            make("a-1", 0o700),
        ),
        case(
            "text-not-prefix",
            &spec(&[(1, "Postfix", "-b"), (1, "NotPrefix", "no")]),
            make("yes-b", 0o700),
            make("no-b", 0o700),
        ),
        case(
            "text-not-postfix",
            &spec(&[(1, "Prefix", "c-"), (1, "NotPostfix", "-no")]),
            make("c-yes", 0o700),
            make("c-no", 0o700),
        ),
        case("mode", &spec(&[(1, "Prefix", "mode"), (2, "Mask", "0o22")]), make("mode", 0o702), make("mode", 0o755)),
        case("path", &folder, make("inside/one", 0o700), make("outside", 0o700)),
    ]
}

/// The same file, opened by different processes.
fn processes(pod: &TestPod) -> Vec<Case> {
    std::fs::create_dir_all(format!("{FILES}/bin")).unwrap();
    for tool in ["first-tool", "second-tool"] {
        std::fs::copy("/bin/busybox", format!("{FILES}/bin/{tool}")).unwrap();
    }
    let opening = |file: &str| format!("/bin/busybox cat {FILES}/{file}");
    let by = |tool: &str, file: &str| {
        let (tool, file) = (format!("{FILES}/bin/{tool}"), format!("{FILES}/{file}"));
        move || assert!(Command::new(&tool).arg0("cat").arg(&file).status().unwrap().success())
    };
    let host = |before: &str, file: &str| {
        let script = format!("{before} {}", opening(file));
        move || assert_allowed(&run_on_host(&script))
    };
    let spec = |file: &str, key: &str, filter: Json| {
        std::fs::write(format!("{FILES}/{file}"), "").unwrap();
        json!({"kprobes": [{
            "call": "security_file_open", "syscall": false, "args": [{"index": 0, "type": "file"}],
            "selectors": [{"matchArgs": [{"index": 0, "operator": "Equal", "values": [format!("{FILES}/{file}")]}], key: [filter]}],
        }]})
    };
    let binary = |name: &'static str, operator: &str, value: &str, matching: &str, other: &str| {
        let spec = spec(name, "matchBinaries", json!({"operator": operator, "values": [value]}));
        case(name, &spec, by(matching, name), by(other, name))
    };
    let namespace = |name: &'static str, filter: Json, before: &str| {
        case(name, &spec(name, "matchNamespaces", filter), host(before, name), host("", name))
    };
    let elsewhere = |namespace: &str| json!({"namespace": namespace, "operator": "NotIn", "values": ["host_ns"]});
    let own_pid = json!({"operator": "In", "isNamespacePID": true, "followForks": false, "values": [1]});
    let first = format!("{FILES}/bin/first");
    let (main, side) = (pod.container(), pod.directory.join("side"));
    let in_container = |cgroup: std::path::PathBuf| {
        let script = opening("container");
        move || assert_allowed(&run_in(&cgroup, &script))
    };
    let mut container = spec("container", "matchActions", json!({"action": "Post"}));
    container["containerSelector"] = json!({"matchLabels": {"name": "side"}});
    vec![
        binary("binary-in", "In", &format!("{first}-tool"), "first-tool", "second-tool"),
        binary("binary-not-in", "NotIn", &format!("{first}-tool"), "second-tool", "first-tool"),
        binary("binary-prefix", "Prefix", &first, "first-tool", "second-tool"),
        binary("binary-not-prefix", "NotPrefix", &first, "second-tool", "first-tool"),
        binary("binary-postfix", "Postfix", "/first-tool", "first-tool", "second-tool"),
        binary("binary-not-postfix", "NotPostfix", "/first-tool", "second-tool", "first-tool"),
        namespace("uts", elsewhere("Uts"), "/bin/busybox unshare -u"),
        namespace("net", elsewhere("Net"), "/bin/busybox unshare -n"),
        namespace("ipc", elsewhere("Ipc"), "/bin/busybox unshare -i"),
        namespace("mnt", elsewhere("Mnt"), "/bin/busybox unshare -m"),
        namespace("pid", elsewhere("Pid"), "/bin/busybox unshare -p -f"),
        case(
            "own-pid",
            &spec("own-pid", "matchPIDs", own_pid),
            host("/bin/busybox unshare -p -f", "own-pid"),
            host("", "own-pid"),
        ),
        case("container", &container, in_container(side), in_container(main)),
    ]
}

/// Connections: which address and port, of which family and protocol.
fn sockets() -> Vec<Case> {
    let one = Ipv4Addr::LOCALHOST;
    let [two, nine] = [2, 9].map(|last| Ipv4Addr::new(127, 0, 0, last));
    let listen = |at: SocketAddr| Rc::new(TcpListener::bind(at).unwrap());
    let listeners = [(one, 0), (two, 0), (one, 900)].map(|at| listen(at.into()));
    let [at_one, at_two, privileged] = listeners.clone().map(|listener| listener.local_addr().unwrap());
    let sixth = listen((Ipv6Addr::LOCALHOST, 0).into());
    let at_six = sixth.local_addr().unwrap();
    let keep = Rc::new((listeners, sixth));
    let connect = |to: SocketAddr| {
        let keep = Rc::clone(&keep);
        move || {
            let _open = &keep;
            TcpStream::connect(to).unwrap();
        }
    };
    let connect_from = |from: SocketAddr| {
        move || {
            let socket =
                rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::STREAM, None).unwrap();
            rustix::net::bind(&socket, &from).unwrap();
            rustix::net::connect(&socket, &at_one).unwrap();
        }
    };
    let spec = |operator: &str, value: &str| {
        let values = if value.is_empty() { json!([]) } else { json!([value]) };
        json!({"kprobes": [{
            "call": "tcp_connect", "syscall": false, "args": [{"index": 0, "type": "sock"}],
            "selectors": [{"matchArgs": [{"index": 0, "operator": operator, "values": values}]}],
        }]})
    };
    let datagram = json!({"kprobes": [{
        "call": "security_socket_connect", "syscall": false, "args": [{"index": 0, "type": "socket"}],
        "selectors": [{"matchArgs": [{"index": 0, "operator": "Protocol", "values": ["IPPROTO_UDP"]}]}],
    }]});
    let send = move || UdpSocket::bind((one, 0)).unwrap().connect(at_two).unwrap();
    let port = at_one.port().to_string();
    vec![
        case("saddr", &spec("SAddr", "127.0.0.9"), connect_from((nine, 0).into()), connect(at_one)),
        case("not-saddr", &spec("NotSAddr", "127.0.0.1"), connect_from((nine, 0).into()), connect(at_one)),
        case("daddr", &spec("DAddr", "127.0.0.2/31"), connect(at_two), connect(at_one)),
        case("not-daddr", &spec("NotDAddr", "127.0.0.1"), connect(at_two), connect(at_one)),
        case(
            "sport",
            &spec("SPort", "20000:20099"),
            connect_from((nine, 20_042).into()),
            connect_from((nine, 20_100).into()),
        ),
        case("dport", &spec("DPort", &port), connect(at_one), connect(at_two)),
        case("not-dport", &spec("NotDPort", &port), connect(at_two), connect(at_one)),
        case("dport-privileged", &spec("DPortPriv", ""), connect(privileged), connect(at_one)),
        case("family", &spec("Family", "AF_INET6"), connect(at_six), connect(at_one)),
        case("protocol", &datagram, send, connect(at_one)),
    ]
}

/// Packets: what the headers of one say.
fn packets() -> Vec<Case> {
    let packet = |call: &str, filters: &[(&str, &str)]| {
        let filter = |(operator, value): &(&str, &str)| json!({"index": 2, "operator": operator, "values": [value]});
        json!({"kprobes": [{
            "call": call, "syscall": false, "args": [{"index": 2, "type": "skb"}],
            "selectors": [{"matchArgs": filters.iter().map(filter).collect::<Vec<_>>()}],
        }]})
    };
    let datagram_to = |from: std::net::IpAddr, to: SocketAddr| {
        move || assert_eq!(UdpSocket::bind((from, 0)).unwrap().send_to(b"hello", to).unwrap(), 5)
    };
    let at = |to: std::net::IpAddr, port: u16| SocketAddr::new(to, port);
    let [one, two] = [1, 2].map(|last| std::net::IpAddr::from(Ipv4Addr::new(127, 0, 0, last)));
    let six = Ipv6Addr::LOCALHOST.into();
    let listener = TcpListener::bind(at(two, 0)).unwrap();
    let by_stream = move || drop(TcpStream::connect(listener.local_addr().unwrap()).unwrap());
    vec![
        case(
            "packet-port",
            &packet("ip_output", &[("DPort", "4242")]),
            datagram_to(one, at(one, 4242)),
            datagram_to(one, at(one, 4243)),
        ),
        case(
            "packet-daddr",
            &packet("ip_output", &[("DAddr", "127.0.0.2"), ("Protocol", "IPPROTO_UDP")]),
            datagram_to(one, at(two, 4243)),
            by_stream,
        ),
        case(
            "packet-saddr",
            &packet("ip_output", &[("NotSAddr", "127.0.0.1"), ("DPort", "4244")]),
            datagram_to(two, at(one, 4244)),
            datagram_to(one, at(one, 4244)),
        ),
        case(
            "packet-six",
            &packet("ip6_output", &[("DAddr", "::1"), ("DPort", "4245")]),
            datagram_to(six, at(six, 4245)),
            datagram_to(six, at(six, 4246)),
        ),
    ]
}

/// What a thread does without some capabilities, of which the others' stay what they are.
fn with(
    change: impl Fn(&mut CapabilitySets) + Clone + Send + 'static,
    act: impl Fn() + Clone + Send + 'static,
) -> impl Fn() {
    move || {
        let (change, act) = (change.clone(), act.clone());
        let thread = std::thread::spawn(move || {
            let mut sets = capabilities(None).unwrap();
            let before = sets;
            change(&mut sets);
            if sets != before {
                set_capabilities(None, sets).unwrap();
            }
            act();
        });
        thread.join().unwrap();
    }
}

/// A call that sets its caller's capabilities.
fn capset() -> Json {
    json!({"lsmhooks": [{
        "hook": "capset", "args": [{"index": 2, "type": "kernel_cap_t"}],
        "selectors": [{"matchArgs": [{"index": 2, "operator": "Mask", "values": ["CAP_SYS_CHROOT"]}]}],
    }]})
}

/// What processes may do, and what is asked whether they may.
fn privileges() -> Vec<Case> {
    const CHROOT: CapabilitySet = CapabilitySet::SYS_CHROOT;
    let nothing = |_: &mut CapabilitySets| {};
    let not_effective = |sets: &mut CapabilitySets| sets.effective.remove(CHROOT);
    let not_permitted = |sets: &mut CapabilitySets| {
        sets.effective.remove(CHROOT);
        sets.permitted.remove(CHROOT);
    };
    let inheritable = |sets: &mut CapabilitySets| sets.inheritable.insert(CHROOT);
    let not_nice = |sets: &mut CapabilitySets| {
        sets.effective.remove(CapabilitySet::SYS_NICE);
        sets.permitted.remove(CapabilitySet::SYS_NICE);
    };
    let nice_inheritable = |sets: &mut CapabilitySets| sets.inheritable.insert(CapabilitySet::SYS_NICE);
    let opening = |name: &str| {
        let path = format!("{FILES}/{name}");
        move || drop(std::fs::File::open(&path).unwrap())
    };
    let in_root = || rustix::process::chroot("/").unwrap();
    let of_process = |name: &str, filter: Json| {
        std::fs::write(format!("{FILES}/{name}"), "").unwrap();
        json!({"kprobes": [{
            "call": "security_file_open", "syscall": false, "args": [{"index": 0, "type": "file"}],
            "selectors": [{
                "matchArgs": [{"index": 0, "operator": "Equal", "values": [format!("{FILES}/{name}")]}],
                "matchCapabilities": [filter],
            }],
        }]})
    };
    let may = |ty: &str, operator: &str| json!({"type": ty, "operator": operator, "values": ["CAP_SYS_CHROOT"]});
    let own = json!({"operator": "In", "isNamespaceCapability": true, "values": ["CAP_SYS_CHROOT"]});
    let asked = |ty: &str| {
        let mut args = vec![json!({"index": 2, "type": "capability"})];
        let mut filters = vec![json!({"index": 2, "operator": "Equal", "values": ["CAP_SYS_CHROOT"]})];
        if !ty.is_empty() {
            args.push(json!({"index": 0, "type": ty}));
            filters.push(json!({"index": 0, "operator": "Mask", "values": ["CAP_SYS_NICE"]}));
        }
        json!({"kprobes": [{
            "call": "security_capable", "syscall": false, "args": args, "selectors": [{"matchArgs": filters}],
        }]})
    };
    let cat = |before: &str| {
        let script = format!("{before} /bin/busybox cat {FILES}/of-namespace");
        move || assert_allowed(&run_on_host(&script))
    };
    vec![
        case(
            "effective",
            &of_process("effective", may("Effective", "In")),
            with(nothing, opening("effective")),
            with(not_effective, opening("effective")),
        ),
        case(
            "not-effective",
            &of_process("not-effective", may("Effective", "NotIn")),
            with(not_effective, opening("not-effective")),
            with(nothing, opening("not-effective")),
        ),
        case(
            "permitted",
            &of_process("permitted", may("Permitted", "In")),
            with(not_effective, opening("permitted")),
            with(not_permitted, opening("permitted")),
        ),
        case(
            "inheritable",
            &of_process("inheritable", may("Inheritable", "In")),
            with(inheritable, opening("inheritable")),
            with(nothing, opening("inheritable")),
        ),
        case("of-namespace", &of_process("of-namespace", own), cat("/bin/busybox unshare -U -r"), cat("")),
        case("capability", &asked(""), with(nothing, in_root), with(nothing, opening("effective"))),
        case("cap-effective", &asked("cap_effective"), with(nothing, in_root), with(not_nice, in_root)),
        case("cap-permitted", &asked("cap_permitted"), with(nothing, in_root), with(not_nice, in_root)),
        case("cap-inheritable", &asked("cap_inheritable"), with(nice_inheritable, in_root), with(nothing, in_root)),
        case("capset", &capset(), with(inheritable, || {}), with(not_effective, || {})),
    ]
}

fn matched(engine: &mut Engine, name: &str) -> u64 {
    engine
        .counters()
        .unwrap()
        .rules
        .iter()
        .filter(|rule| rule.rule.policy == name)
        .map(|rule| rule.counts.matched)
        .sum()
}

/// The policies whose rules have posted events.
fn reported(engine: &mut Engine, names: &mut BTreeSet<String>) {
    for event in engine.poll_events(4096) {
        if let Event::Hook(hook) = event.unwrap() {
            let posted = hook.fired.iter().filter(|fired| fired.rule.post);
            names.extend(posted.map(|fired| fired.rule.policy.clone()));
        }
    }
}

#[test]
fn every_filter_tells_what_it_is_about_from_what_it_is_not() {
    if !in_guest() {
        return;
    }
    std::fs::create_dir_all(FILES).unwrap();
    let mut shop = TestPod::new("shop", "filtered");
    let side = shop.directory.join("side");
    std::fs::create_dir_all(&side).unwrap();
    shop.pod.containers.push(Container {
        id: "side".into(),
        name: "side".into(),
        repo: "busybox".into(),
        cgroups: vec![inode(&side)],
    });
    let mut cases = numbers();
    cases.extend(texts());
    cases.extend(processes(&shop));
    cases.extend(sockets());
    cases.extend(packets());
    cases.extend(privileges());
    let unseen = json!({"kprobes": [{
        "call": "sys_mkdirat", "syscall": true, "args": [{"index": 1, "type": "string"}],
        "selectors": [
            {
                "matchArgs": [{"index": 1, "operator": "Equal", "values": [format!("{FILES}/mode")]}],
                "matchActions": [{"action": "NoPost"}],
            },
            {"matchArgs": [{"index": 1, "operator": "Equal", "values": [format!("{FILES}/never")]}]},
        ],
    }]});
    let mut engine = fresh_engine();
    let unseen = case("unseen", &unseen, || {}, || {}).policy;
    let policies: Vec<ValidatedPolicy> = cases.iter().map(|case| case.policy.clone()).chain([unseen]).collect();
    apply(&mut engine, &policies, &snapshot(&[&shop]));
    let (mut names, mut wrong) = (BTreeSet::new(), Vec::new());
    for case in &cases {
        let before = matched(&mut engine, case.name);
        (case.other)();
        let between = matched(&mut engine, case.name);
        (case.matching)();
        let after = matched(&mut engine, case.name);
        reported(&mut engine, &mut names);
        if (between - before, after - between) != (0, 1) {
            wrong.push((case.name, between - before, after - between));
        }
    }
    assert!(wrong.is_empty(), "(rule, matches of what it is not about, of what it is): {wrong:?}");
    let expected: BTreeSet<String> = cases.iter().map(|case| case.name.to_owned()).collect();
    assert_eq!(names, expected, "each posts, and NoPost does not");
    assert_eq!(matched(&mut engine, "unseen"), 2, "what is not posted is counted");
    let faults: u64 = engine.counters().unwrap().rules.iter().map(|rule| rule.counts.faults).sum();
    assert_eq!(faults, 0, "everything could be read");
    finish(engine);
}
