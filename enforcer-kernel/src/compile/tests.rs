//! Compiled rows against what the filters say: the decision that the kernel runs, over rows made here, compared with a
//! plain reading of the selectors.

mod documents;
mod limits;
mod model;

use std::collections::BTreeMap;
use std::net::Ipv6Addr;

use proptest::prelude::*;
use stockade_enforcer_common::bits::{MAX_RULES, Vector};
use stockade_enforcer_common::decide::{Event, Tables, Unreadable, Work, decide};
use stockade_enforcer_common::event::SocketData;
use stockade_enforcer_common::head::RuleRow;
use stockade_enforcer_common::key::{LpmNetKey, LpmStrKey, NumKey, StrKey64, StrKey256};
use stockade_enforcer_common::name::{hook_map, shared_map};
use stockade_enforcer_common::plan::kind;
use stockade_enforcer_common::process::{BinaryIds, Inherited};
use stockade_policy::ir::{
    Actions, Arg, ArgFilter, ArgTest, ArgType, BinaryFilter, Cidr, HookPoint, NumberRange, OnFault, PidFilter,
    PolicyId, PolicyKind, PortRange, Scope, Selector, StringCompare,
};
use zerocopy::{FromBytes, IntoBytes};

use super::*;
use crate::place::Part;
use crate::rows::Table;
use crate::scope::policy_key;

/// Tables as the kernel has them, searched as it does.
struct HostTables<'a> {
    tables: &'a BTreeMap<&'static str, Table>,
    vectors: Vec<Vector>,
}

fn number(bytes: &[u8]) -> Option<u32> {
    u32::read_from_bytes(bytes).ok()
}

/// The longest key whose bits after the length word are the first of `wanted`'s.
fn longest<'t>(table: &'t Table, wanted: &[u8]) -> Option<&'t Vec<u8>> {
    let bits = |key: &[u8]| number(&key[..4]).unwrap();
    let same =
        |a: &[u8], b: &[u8], bits: u32| (0..bits as usize).all(|at| (a[at / 8] ^ b[at / 8]) >> (7 - at % 8) & 1 == 0);
    let limit = bits(wanted);
    let covers = |key: &&Vec<u8>| bits(key) <= limit && same(&key[4..], &wanted[4..], bits(key));
    table.keys().filter(covers).max_by_key(|key| bits(key)).and_then(|key| table.get(key))
}

impl<'a> HostTables<'a> {
    fn new(tables: &'a BTreeMap<&'static str, Table>) -> Self {
        let rows = &tables[hook_map::VEC];
        let vector = |number: u32| Vector::read_from_bytes(&rows[&number.to_ne_bytes()[..]]).unwrap();
        Self { tables, vectors: (0..).take(rows.len()).map(vector).collect() }
    }

    fn exact(&self, table: &str, key: &[u8]) -> Option<u32> {
        number(self.tables[table].get(key)?)
    }

    fn longest(&self, table: &str, key: &[u8]) -> Option<u32> {
        number(longest(&self.tables[table], key)?)
    }
}

impl<'a> Tables for &'a HostTables<'a> {
    type Text = &'a str;

    fn number(&self, dimension: u32, value: u64) -> Option<u32> {
        self.exact(hook_map::NUM, NumKey::new(dimension, value).as_bytes())
    }
    fn whole(&self, dimension: u32, text: &str) -> Option<u32> {
        match StrKey64::new(dimension, text.as_bytes()) {
            Some(key) => self.exact(hook_map::STR64, key.as_bytes()),
            None => self.exact(hook_map::STR256, StrKey256::new(dimension, text.as_bytes())?.as_bytes()),
        }
    }
    fn prefix(&self, dimension: u32, text: &str) -> Option<u32> {
        self.longest(hook_map::LPM_STR, LpmStrKey::prefix(dimension, text.as_bytes())?.as_bytes())
    }
    fn postfix(&self, dimension: u32, text: &str) -> Option<u32> {
        self.longest(hook_map::LPM_STR, LpmStrKey::postfix(dimension, text.as_bytes())?.as_bytes())
    }
    fn address(&self, dimension: u32, address: &[u8; 16]) -> Option<u32> {
        self.longest(hook_map::LPM_NET, LpmNetKey::address(dimension, *address, 128)?.as_bytes())
    }
    fn range(&self, dimension: u32, value: u64) -> Option<u32> {
        self.longest(hook_map::LPM_NET, LpmNetKey::number(dimension, value, 64)?.as_bytes())
    }
    fn port(&self, dimension: u32, port: u16) -> Option<u32> {
        self.longest(hook_map::LPM_NET, LpmNetKey::port(dimension, port, 16)?.as_bytes())
    }
    fn vector(&self, number: u32) -> Option<&Vector> {
        self.vectors.get(number as usize)
    }
    fn rule(&self, rule: u32) -> Option<RuleRow> {
        RuleRow::read_from_bytes(self.tables[hook_map::RULES].get(rule.as_bytes())?).ok()
    }
}

/// What happens: a process with a binary and marks does something with a number, a path and a socket.
#[derive(Debug, Clone)]
struct Happening {
    class: u32,
    pid: u32,
    binary: String,
    number: u64,
    path: String,
    socket: SocketData,
}

/// The event as the kernel's program sees it: the binary as ids that were looked up at its exec.
struct Seen<'a> {
    happening: &'a Happening,
    ids: BinaryIds,
    kinds: [u32; 5],
}

impl<'a> Event for Seen<'a> {
    type Text = &'a str;

    fn kind(&self, arg: u32) -> u32 {
        self.kinds[arg as usize]
    }
    fn class(&self) -> u32 {
        // Those of probes are in between.
        if self.happening.class < 2 { self.happening.class } else { self.happening.class + 10 }
    }
    fn inherited(&mut self) -> Result<Inherited, Unreadable> {
        Ok(Inherited::default())
    }
    fn binary(&mut self, _: u64, _: u32) -> Result<BinaryIds, Unreadable> {
        Ok(self.ids)
    }
    fn pid(&mut self) -> u32 {
        self.happening.pid
    }
    fn own_pid(&mut self) -> Result<u32, Unreadable> {
        Ok(self.happening.pid)
    }
    fn namespace(&mut self, _: u32) -> Result<u32, Unreadable> {
        Ok(1)
    }
    fn capabilities(&mut self, _: u32) -> Result<u64, Unreadable> {
        Err(Unreadable)
    }
    fn number(&mut self, _: u32) -> Result<u64, Unreadable> {
        Ok(self.happening.number)
    }
    fn socket(&mut self, _: u32) -> Result<&SocketData, Unreadable> {
        Ok(&self.happening.socket)
    }
    fn text(&mut self, _: u32) -> Result<&'a str, Unreadable> {
        Ok(&self.happening.path)
    }
}

/// Looks the binary up as an exec does.
fn binary_ids(binaries: &Binaries, path: &str) -> BinaryIds {
    use stockade_enforcer_common::dimension::{BINARY_POSTFIX, BINARY_PREFIX};
    use stockade_enforcer_common::process::WHOLE_BINARY;
    let tables = binaries.tables();
    let id = |found: Option<&Vec<u8>>| found.map_or(0, |bytes| u64::read_from_bytes(bytes).unwrap());
    let exact = StrKey64::new(WHOLE_BINARY, path.as_bytes()).unwrap();
    let lpm = &tables[shared_map::BINARY_LPM];
    BinaryIds {
        generation: 1,
        exact: id(tables[shared_map::BINARY_STR64].get(exact.as_bytes())),
        prefix: id(longest(lpm, LpmStrKey::prefix(BINARY_PREFIX, path.as_bytes()).unwrap().as_bytes())),
        postfix: id(longest(lpm, LpmStrKey::postfix(BINARY_POSTFIX, path.as_bytes()).unwrap().as_bytes())),
    }
}

fn compares(compare: StringCompare, text: &str, values: &BTreeSet<String>) -> bool {
    values.iter().any(|value| match compare {
        StringCompare::Equal => text == value,
        StringCompare::Prefix => text.starts_with(value.as_str()),
        StringCompare::Postfix => text.ends_with(value.as_str()),
    })
}

fn inside(cidr: &Cidr, address: [u8; 16]) -> bool {
    let differ = u128::from(cidr.address) ^ u128::from_be_bytes(address);
    cidr.length == 0 || differ >> (128 - u32::from(cidr.length)) == 0
}

/// A plain reading of a selector.
fn matches(selector: &Selector, happening: &Happening) -> bool {
    let pids = selector.pids.iter().all(|filter| filter.negated != filter.pids.contains(&happening.pid));
    let binary = |filter: &BinaryFilter| filter.negated != compares(filter.compare, &happening.binary, &filter.values);
    let socket = &happening.socket;
    let arg = |filter: &ArgFilter| {
        let ports =
            |ranges: &BTreeSet<PortRange>, port| ranges.iter().any(|range| range.first <= port && port <= range.last);
        filter.negated
            != match &filter.test {
                ArgTest::Number(values) => values.contains(&happening.number),
                ArgTest::Range(ranges) => {
                    ranges.iter().any(|range| range.first <= happening.number && happening.number <= range.last)
                }
                ArgTest::Mask(mask) => happening.number & mask != 0,
                ArgTest::String(compare, values) => compares(*compare, &happening.path, values),
                ArgTest::SourceAddress(values) => values.iter().any(|cidr| inside(cidr, socket.source)),
                ArgTest::DestinationAddress(values) => values.iter().any(|cidr| inside(cidr, socket.destination)),
                ArgTest::SourcePort(ranges) => ports(ranges, socket.source_port),
                ArgTest::DestinationPort(ranges) => ports(ranges, socket.destination_port),
                ArgTest::Family(values) => values.contains(&socket.family),
                ArgTest::Protocol(values) => values.contains(&socket.protocol),
                other => unreachable!("{other:?}"),
            }
    };
    pids && selector.binaries.iter().all(binary) && selector.args.iter().all(arg)
}

const ARGS: [ArgType; 3] = [ArgType::Int, ArgType::File, ArgType::Sock];

fn placed() -> Placed {
    let plan = |index, kind| ArgPlan { index, kind, ..ArgPlan::default() };
    Placed {
        attach: Attach::Lsm("x".into()),
        args: vec![plan(0, kind::INT), plan(1, kind::FILE), plan(2, kind::SOCK)],
        strength: Strength::Deny,
        why_weaker: None,
        parameters: 3,
        part: Part::Whole,
        returned: None,
    }
}

fn policy_of(name: usize, scope: Scope, mode: Mode, selectors: Vec<Selector>) -> ValidatedPolicy {
    ValidatedPolicy {
        id: PolicyId { kind: PolicyKind::Cluster, namespace: String::new(), name: format!("p{name}") },
        uid: String::new(),
        generation: 1,
        mode,
        on_fault: OnFault::Allow,
        minimum_strength: None,
        scope,
        node_selector: None,
        hooks: vec![ir::Hook {
            args: ARGS.iter().zip(0..).map(|(ty, index)| Arg::plain(index, *ty)).collect(),
            selectors,
            ..ir::Hook::at(HookPoint::Lsm { hook: "x".into() })
        }],
        enforcers: BTreeSet::new(),
        loader: false,
    }
}

fn text() -> impl Strategy<Value = String> {
    "(/[ab]{1,2}){1,3}"
}

fn texts() -> impl Strategy<Value = BTreeSet<String>> {
    prop::collection::btree_set(text(), 1..4)
}

fn compare() -> impl Strategy<Value = StringCompare> {
    prop_oneof![Just(StringCompare::Equal), Just(StringCompare::Prefix), Just(StringCompare::Postfix)]
}

fn address() -> impl Strategy<Value = u128> {
    // Few enough values that networks nest and meet.
    (0_u128..8, 0_u128..4).prop_map(|(high, low)| 0xffff_0a00_0000 | high << 21 | low)
}

fn cidr() -> impl Strategy<Value = Cidr> {
    (address(), prop_oneof![Just(0_u8), Just(96), 100_u8..=128]).prop_map(|(address, length)| {
        let mask = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
        Cidr { address: Ipv6Addr::from(address & mask), length }
    })
}

fn port() -> impl Strategy<Value = u16> {
    prop_oneof![0_u16..40, Just(u16::MAX), any::<u16>()]
}

fn range() -> impl Strategy<Value = PortRange> {
    (port(), port()).prop_map(|(a, b)| PortRange { first: a.min(b), last: a.max(b) })
}

fn some_number() -> impl Strategy<Value = u64> {
    prop_oneof![0_u64..8, Just(u64::MAX), Just(1 << 63), any::<u64>()]
}

fn number_range() -> impl Strategy<Value = NumberRange> {
    (some_number(), some_number()).prop_map(|(a, b)| NumberRange { first: a.min(b), last: a.max(b) })
}

fn mask() -> impl Strategy<Value = u64> {
    prop_oneof![1_u64..16, (0_u32..64).prop_map(|bit| 1 << bit), 1..=u64::MAX]
}

fn arg_filter() -> impl Strategy<Value = ArgFilter> {
    let set = |strategy| prop::collection::btree_set(strategy, 1..4);
    let small = || prop::collection::btree_set(0_u16..4, 1..3);
    let test = prop_oneof![
        prop::collection::btree_set(0_u64..5, 1..4).prop_map(|values| (0, ArgTest::Number(values))),
        prop::collection::btree_set(number_range(), 1..4).prop_map(|values| (0, ArgTest::Range(values))),
        mask().prop_map(|mask| (0, ArgTest::Mask(mask))),
        (compare(), texts()).prop_map(|(compare, values)| (1, ArgTest::String(compare, values))),
        prop::collection::btree_set(cidr(), 1..4).prop_map(|values| (2, ArgTest::SourceAddress(values))),
        prop::collection::btree_set(cidr(), 1..4).prop_map(|values| (2, ArgTest::DestinationAddress(values))),
        set(range()).prop_map(|values| (2, ArgTest::SourcePort(values))),
        set(range()).prop_map(|values| (2, ArgTest::DestinationPort(values))),
        small().prop_map(|values| (2, ArgTest::Family(values))),
        small().prop_map(|values| (2, ArgTest::Protocol(values))),
    ];
    (test, any::<bool>()).prop_map(|((arg, test), negated)| ArgFilter { arg, test, negated })
}

fn selector() -> impl Strategy<Value = Selector> {
    let pid = (any::<bool>(), prop::collection::btree_set(1_u32..5, 1..3)).prop_map(|(negated, pids)| PidFilter {
        negated,
        pids,
        follow_forks: false,
        namespace_pid: false,
    });
    let binary = (compare(), any::<bool>(), texts()).prop_map(|(compare, negated, values)| BinaryFilter {
        compare,
        negated,
        values,
        follow_children: false,
    });
    let actions =
        (any::<bool>(), prop::option::of(1_u16..20)).prop_map(|(post, deny)| Actions { post, deny, signal: None });
    (
        prop::collection::vec(pid, 0..2),
        prop::collection::vec(binary, 0..3),
        prop::collection::vec(arg_filter(), 0..4),
        actions,
    )
        .prop_map(|(pids, binaries, args, actions)| Selector {
            pids,
            binaries,
            args,
            actions,
            ..Selector::default()
        })
}

fn happening() -> impl Strategy<Value = Happening> {
    let socket = (0_u16..4, 0_u16..4, port(), port(), address(), address()).prop_map(
        |(family, protocol, source_port, destination_port, source, destination)| SocketData {
            family,
            protocol,
            source_port,
            destination_port,
            source: source.to_be_bytes(),
            destination: destination.to_be_bytes(),
            ..SocketData::default()
        },
    );
    (0_u32..4, 1_u32..5, text(), some_number(), text(), socket)
        .prop_map(|(class, pid, binary, number, path, socket)| Happening { class, pid, binary, number, path, socket })
}

fn policies() -> impl Strategy<Value = Vec<(bool, Mode, Vec<Selector>)>> {
    let mode = prop_oneof![Just(Mode::Enforce), Just(Mode::Monitor)];
    prop::collection::vec((any::<bool>(), mode, prop::collection::vec(selector(), 0..4)), 1..6)
}

/// Class 0 is the host, 1 an unknown pod, 12 a pod of every policy about pods, 13 one that nobody has numbered.
fn context(policies: &[ValidatedPolicy]) -> Context {
    let of = |applies: &dyn Fn(&Scope) -> bool| -> Members {
        policies.iter().filter(|policy| applies(&policy.scope)).map(|policy| policy_key(&policy.id)).collect()
    };
    let everything = of(&|scope| *scope == Scope::Everything);
    let all = of(&|_| true);
    Context {
        classes: BTreeMap::from([(0, everything), (1, all.clone()), (12, all)]),
        binaries: Binaries::of(policies),
        ..Context::default()
    }
}

fn check(policies: &[ValidatedPolicy], happenings: &[Happening]) -> Result<(), TestCaseError> {
    let context = context(policies);
    let hooks: Vec<PlacedHook<'_>> = policies
        .iter()
        .map(|policy| PlacedHook { policy, key: policy_key(&policy.id), hook: &policy.hooks[0], placed: placed() })
        .collect();
    let (compiled, failures) = compile(&Attach::Lsm("x".into()), &hooks, &context);
    prop_assert!(failures.is_empty());
    let Rows { head, tables } = &*compiled.rows;
    let host = HostTables::new(tables);
    let plan = compiled.specification.plan;
    for happening in happenings {
        let mut seen = Seen {
            happening,
            ids: binary_ids(&context.binaries, &happening.binary),
            kinds: plan.args.map(|arg| arg.kind),
        };
        let mut work = Work::default();
        let outcome = decide(head, &&host, &mut seen, &mut work);
        let fired: BTreeSet<(String, u32)> = outcome.map_or_else(BTreeSet::new, |_| {
            let rules = Vector::new(work.possible);
            rules.rules().map(|rule| &compiled.legend[&(rule as u32)]).map(|r| (r.policy.clone(), r.selector)).collect()
        });
        let mut expected = BTreeSet::new();
        let (mut deny, mut would) = (false, false);
        for policy in policies {
            let in_scope = happening.class != 0 || policy.scope == Scope::Everything;
            let selectors = &policy.hooks[0].selectors;
            let first = selectors.iter().position(|selector| matches(selector, happening));
            let first = if selectors.is_empty() { Some(0) } else { first };
            if let (true, Some(first)) = (in_scope, first) {
                expected.insert((policy.id.name.clone(), first as u32));
                let denies = selectors.get(first).is_some_and(|selector| selector.actions.deny.is_some());
                deny |= denies && policy.mode == Mode::Enforce;
                would |= denies && policy.mode == Mode::Monitor;
            }
        }
        prop_assert_eq!(&fired, &expected, "{:?}", happening);
        prop_assert_eq!(outcome.is_some_and(|outcome| outcome.deny), deny);
        prop_assert_eq!(outcome.is_some_and(|outcome| outcome.would_deny), would);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn the_kernels_decision_over_compiled_rows_is_what_the_selectors_say(
        drawn in policies(),
        happenings in prop::collection::vec(happening(), 1..24),
    ) {
        let pods = Scope::Some {
            host: false,
            pods: Some(ir::PodScope {
                namespace: None,
                pods: ir::LabelSelector::default(),
                containers: ir::LabelSelector::default(),
            }),
        };
        let policies: Vec<ValidatedPolicy> = drawn
            .into_iter()
            .enumerate()
            .map(|(at, (everything, mode, selectors))| {
                policy_of(at, if everything { Scope::Everything } else { pods.clone() }, mode, selectors)
            })
            .collect();
        check(&policies, &happenings)?;
    }
}

#[test]
fn the_order_of_policies_changes_nothing() {
    let with = |name| policy_of(name, Scope::Everything, Mode::Enforce, Vec::new());
    let (a, b) = ([with(1), with(2)], [with(2), with(1)]);
    let compile = |policies: &[ValidatedPolicy]| {
        let hooks: Vec<PlacedHook<'_>> = policies
            .iter()
            .map(|policy| PlacedHook { policy, key: policy_key(&policy.id), hook: &policy.hooks[0], placed: placed() })
            .collect();
        let (compiled, _) = super::compile(&Attach::Lsm("x".into()), &hooks, &context(policies));
        (compiled.specification, compiled.rows.digest())
    };
    assert_eq!(compile(&a), compile(&b));
}

#[test]
fn what_does_not_fit_is_named_and_the_rest_stays() {
    let many: Vec<ValidatedPolicy> =
        (0..MAX_RULES + 3).map(|name| policy_of(name, Scope::Everything, Mode::Enforce, Vec::new())).collect();
    let hooks: Vec<PlacedHook<'_>> = many
        .iter()
        .map(|policy| PlacedHook { policy, key: policy_key(&policy.id), hook: &policy.hooks[0], placed: placed() })
        .collect();
    let (compiled, failures) = compile(&Attach::Lsm("x".into()), &hooks, &Context::default());
    assert_eq!(failures.len(), 3);
    assert!(failures[0].1.to_string().contains("1024"), "{}", failures[0].1);
    assert_eq!(compiled.legend.len(), MAX_RULES);
    // The last by name are in force: none of them makes room for one that is not.
    let last = many.iter().rev().take(700).map(|policy| (policy.id.clone(), Standing::InForce)).collect();
    let context = Context { standing: last, ..Context::default() };
    let (_, failures) = compile(&Attach::Lsm("x".into()), &hooks, &context);
    assert_eq!(failures.len(), 3);
    assert!(failures.iter().all(|(at, _)| !context.standing.contains_key(&many[*at].id)), "{failures:?}");
}

#[test]
fn an_argument_has_room_for_so_many_different_masks() {
    let asking = |mask: u64| Selector {
        args: vec![ArgFilter { arg: 0, test: ArgTest::Mask(mask), negated: false }],
        actions: Actions { post: true, deny: None, signal: None },
        ..Selector::default()
    };
    // Every mask is asked about by two policies.
    let masks = (1..=MASKS as u64).flat_map(|mask| [mask, mask]).chain([1 << 40]);
    let policies: Vec<ValidatedPolicy> = masks
        .enumerate()
        .map(|(name, mask)| policy_of(name, Scope::Everything, Mode::Enforce, vec![asking(mask)]))
        .collect();
    let (last, fitting) = policies.split_last().unwrap();
    let happenings: Vec<Happening> = [0, 1, 0b10110, 32, 1 << 40, u64::MAX].into_iter().map(with_number).collect();
    check(fitting, &happenings).unwrap();
    let hooks: Vec<PlacedHook<'_>> = policies
        .iter()
        .map(|policy| PlacedHook { policy, key: policy_key(&policy.id), hook: &policy.hooks[0], placed: placed() })
        .collect();
    let context = Context {
        standing: fitting.iter().map(|policy| (policy.id.clone(), Standing::InForce)).collect(),
        ..context(&policies)
    };
    let (_, failures) = compile(&Attach::Lsm("x".into()), &hooks, &context);
    let [(at, why)] = &failures[..] else { panic!("{failures:?}") };
    assert_eq!(policies[*at].id, last.id);
    assert_eq!(why.to_string(), "the policies on lsm/x compare one number with more than 32 different masks");
}

fn with_number(number: u64) -> Happening {
    Happening { class: 0, pid: 1, binary: "/a".into(), number, path: "/a".into(), socket: SocketData::default() }
}
