//! Compiled rows against the reference model: whatever policies say and whatever happens, readable or not, the decision
//! that the kernel runs is the one of `stockade_policy::model`.

use stockade_enforcer_common::dimension;
use stockade_enforcer_common::process::{Inherited, MarkRow};
use stockade_policy::ir::{LabelOperator, LabelRequirement, LabelSelector, Namespace, NamespaceFilter, PodScope};
use stockade_policy::model::{self, Ancestor, Argument, Place, Process, Socket, Verdict};

use super::*;
use crate::compile::marks_of;
use crate::scope::{Classes, Container, Pod, ScopeSnapshot, assign};

/// What cannot be read.
#[derive(Debug, Clone, Copy)]
struct Unread {
    binary: bool,
    namespaces: bool,
    args: [bool; 3],
}

/// What happens: `happening.class` is the cgroup, its pid and binary those of the process.
#[derive(Debug, Clone)]
struct Scene {
    happening: Happening,
    own_pid: u32,
    inode: u32,
    /// Ids and binaries of parent, grandparent…; `None`: it could not be read.
    ancestors: Vec<(u32, Option<String>)>,
    unread: Unread,
}

/// The event as the kernel's program sees it.
struct Sees<'a> {
    plain: Seen<'a>,
    scene: &'a Scene,
    class: u32,
    inherited: Inherited,
}

fn unless<T>(unread: bool, value: T) -> Result<T, Unreadable> {
    if unread { Err(Unreadable) } else { Ok(value) }
}

impl<'a> Event for Sees<'a> {
    type Text = &'a str;

    fn kind(&self, arg: u32) -> u32 {
        self.plain.kind(arg)
    }
    fn class(&self) -> u32 {
        self.class
    }
    fn inherited(&mut self) -> Result<Inherited, Unreadable> {
        Ok(self.inherited)
    }
    fn binary(&mut self, _: u64, _: u32) -> Result<BinaryIds, Unreadable> {
        unless(self.scene.unread.binary, self.plain.ids)
    }
    fn pid(&mut self) -> u32 {
        self.plain.pid()
    }
    fn own_pid(&mut self) -> Result<u32, Unreadable> {
        unless(self.scene.unread.namespaces, self.scene.own_pid)
    }
    fn namespace(&mut self, _: u32) -> Result<u32, Unreadable> {
        unless(self.scene.unread.namespaces, self.scene.inode)
    }
    fn capabilities(&mut self, set: u32) -> Result<u64, Unreadable> {
        self.plain.capabilities(set)
    }
    fn number(&mut self, arg: u32) -> Result<u64, Unreadable> {
        unless(self.scene.unread.args[arg as usize], self.plain.happening.number)
    }
    fn socket(&mut self, arg: u32) -> Result<&SocketData, Unreadable> {
        unless(self.scene.unread.args[arg as usize], &self.plain.happening.socket)
    }
    fn text(&mut self, arg: u32) -> Result<&'a str, Unreadable> {
        unless(self.scene.unread.args[arg as usize], self.plain.happening.path.as_str())
    }
}

const HOST_INODE: u32 = 2;
/// Cgroups: 0 is the host's, 1 where unknown pods are, then two pods, each with two containers; the second is not named.
const PODS: [(&str, &str, u64); 2] = [("shop", "web", 10), ("other", "db", 20)];
const CGROUPS: [u64; 8] = [0, 1, 10, 11, 12, 20, 21, 22];

fn snapshot() -> ScopeSnapshot {
    let pod = |(namespace, app, cgroup): (&str, &str, u64)| Pod {
        namespace: namespace.into(),
        labels: BTreeMap::from([("app".into(), app.into())]),
        cgroups: vec![cgroup],
        containers: vec![
            Container { name: "main".into(), repo: "r".into(), cgroups: vec![cgroup + 1], ..Container::default() },
            Container { cgroups: vec![cgroup + 2], ..Container::default() },
        ],
        ..Pod::default()
    };
    ScopeSnapshot { pods: PODS.map(pod).to_vec(), pod_roots: vec![1] }
}

fn place_of(cgroup: u64) -> Place {
    let pod = |(namespace, app, first): (&str, &str, u64)| Place::Pod {
        namespace: namespace.into(),
        labels: BTreeMap::from([("app".into(), app.into())]),
        container: (cgroup == first + 1).then(|| ("main".into(), "r".into())),
    };
    match cgroup {
        0 => Place::Host,
        1 => Place::UnknownPod,
        10..20 => pod(PODS[0]),
        _ => pod(PODS[1]),
    }
}

fn process_of(scene: &Scene) -> Process {
    let Scene { happening, own_pid, inode, ancestors, unread } = scene;
    let own = Ancestor {
        pid: happening.pid,
        own_pid: (!unread.namespaces).then_some(*own_pid),
        binary: (!unread.binary).then(|| happening.binary.clone()),
    };
    let older = ancestors.iter().map(|(pid, binary)| Ancestor { pid: *pid, own_pid: None, binary: binary.clone() });
    let kinds = [Namespace::Mnt, Namespace::Net].into_iter().filter(|_| !unread.namespaces);
    Process {
        lineage: std::iter::once(own).chain(older).collect(),
        namespaces: kinds.map(|kind| (kind, *inode)).collect(),
        place: place_of(CGROUPS[happening.class as usize]),
        ..Process::default()
    }
}

fn arguments_of(scene: &Scene) -> Vec<Argument> {
    let Happening { number, path, socket, .. } = &scene.happening;
    let values = [
        Argument::Number(*number),
        Argument::Text(path.clone().into_bytes()),
        Argument::Socket(Socket {
            family: socket.family,
            protocol: socket.protocol,
            source: socket.source.into(),
            destination: socket.destination.into(),
            source_port: socket.source_port,
            destination_port: socket.destination_port,
            state: 0,
        }),
    ];
    values.into_iter().zip(scene.unread.args).map(|(value, un)| if un { Argument::Unreadable } else { value }).collect()
}

/// The marks that the lineage has collected, by its executions and its ids, as the kernel's programs set them.
fn inherited(scene: &Scene, context: &Context) -> Inherited {
    let rows = context.binaries.mark_rows(&context.marks);
    let own = (scene.happening.pid, (!scene.unread.binary).then(|| scene.happening.binary.clone()));
    let mut inherited = Inherited::default();
    let marks = &mut inherited.marks;
    for (pid, binary) in std::iter::once(&own).chain(&scene.ancestors) {
        inherited.unknown |= binary.is_none();
        let ids = binary.as_ref().map(|binary| binary_ids(&context.binaries, binary)).unwrap_or_default();
        for (dimension, id) in [
            (dimension::BINARY_EXACT, ids.exact),
            (dimension::BINARY_PREFIX, ids.prefix),
            (dimension::BINARY_POSTFIX, ids.postfix),
            (dimension::PID_HOST, u64::from(*pid)),
        ] {
            if let Some(row) = rows.get(NumKey::new(dimension, id).as_bytes()) {
                let row = MarkRow::read_from_bytes(row).unwrap();
                *marks = [marks[0] | row.marks[0], marks[1] | row.marks[1]];
            }
        }
    }
    inherited
}

fn scene() -> impl Strategy<Value = Scene> {
    let rarely = || prop::bool::weighted(0.15);
    let binary = (rarely(), text()).prop_map(|(unread, binary)| (!unread).then_some(binary));
    let ancestors = prop::collection::vec((1_u32..5, binary), 0..3);
    let unread = (rarely(), rarely(), [rarely(), rarely(), rarely()]).prop_map(|(binary, namespaces, args)| Unread {
        binary,
        namespaces,
        args,
    });
    (happening(), 0_u32..8, 1_u32..5, 1_u32..4, ancestors, unread).prop_map(
        |(happening, cgroup, own_pid, inode, ancestors, unread)| Scene {
            happening: Happening { class: cgroup, ..happening },
            own_pid,
            inode,
            ancestors,
            unread,
        },
    )
}

fn full_selector() -> impl Strategy<Value = Selector> {
    let kind = prop_oneof![Just(Namespace::Mnt), Just(Namespace::Net)];
    let namespace = (kind, any::<bool>(), prop::collection::btree_set(1_u32..4, 0..2), any::<bool>());
    let namespaces = prop::collection::vec(namespace, 0..2);
    (selector(), namespaces, any::<[bool; 3]>(), prop::option::of(Just(9_u8))).prop_map(
        |(mut selector, namespaces, [own, forks, children], signal)| {
            for filter in &mut selector.pids {
                (filter.namespace_pid, filter.follow_forks) = (own && !forks, forks);
            }
            selector.binaries.iter_mut().for_each(|filter| filter.follow_children = children);
            let filter = |(namespace, negated, inodes, host)| NamespaceFilter { namespace, negated, inodes, host };
            selector.namespaces = namespaces.into_iter().map(filter).collect();
            selector.actions.signal = signal;
            selector
        },
    )
}

fn scope() -> impl Strategy<Value = Scope> {
    let select = |key: &str, values: &[&str]| LabelSelector {
        requirements: BTreeSet::from([LabelRequirement {
            key: key.into(),
            operator: LabelOperator::In,
            values: values.iter().map(|value| (*value).to_owned()).collect(),
        }]),
    };
    let namespace = prop::option::of(Just("shop".to_owned()));
    let pods = prop_oneof![Just(LabelSelector::default()), Just(select("app", &["db"]))];
    let containers = prop_oneof![Just(LabelSelector::default()), Just(select("name", &["side"]))];
    let pods = (namespace, pods, containers).prop_map(|(namespace, pods, containers)| PodScope {
        namespace,
        pods,
        containers,
    });
    prop_oneof![
        2 => Just(Scope::Everything),
        3 => (any::<bool>(), prop::option::of(pods)).prop_map(|(host, pods)| Scope::Some { host, pods }),
    ]
}

fn full_policy() -> impl Strategy<Value = ValidatedPolicy> {
    let mode = prop_oneof![Just(Mode::Enforce), Just(Mode::Monitor)];
    let on_fault = prop_oneof![Just(OnFault::Allow), Just(OnFault::Deny)];
    (scope(), mode, on_fault, prop::collection::vec(full_selector(), 0..4)).prop_map(
        |(scope, mode, on_fault, selectors)| ValidatedPolicy { on_fault, ..policy_of(0, scope, mode, selectors) },
    )
}

/// The policies as the model reads them: `host_ns` is the host's inode.
fn resolved(policy: &ValidatedPolicy) -> ValidatedPolicy {
    let mut policy = policy.clone();
    let selectors = policy.hooks.iter_mut().flat_map(|hook| &mut hook.selectors);
    for filter in selectors.flat_map(|selector| &mut selector.namespaces).filter(|filter| filter.host) {
        filter.inodes.insert(HOST_INODE);
    }
    policy
}

type Rules = BTreeSet<(String, u32)>;

fn agree(policies: &[ValidatedPolicy], scenes: &[Scene]) -> Result<(), TestCaseError> {
    let keyed: Vec<(String, &Scope)> = policies.iter().map(|policy| (policy_key(&policy.id), &policy.scope)).collect();
    let assignment = assign(&snapshot(), &keyed, &mut Classes::default());
    let context = Context {
        classes: assignment.classes,
        assigned: assignment.assigned,
        // From the last slot down, so that both words are used.
        marks: marks_of(policies).into_iter().zip((0..64).map(|at| if at % 2 == 0 { at } else { 127 - at })).collect(),
        host_namespaces: BTreeMap::from([(Namespace::Mnt, HOST_INODE), (Namespace::Net, HOST_INODE)]),
        binaries: Binaries::of(policies),
        standing: BTreeMap::new(),
    };
    let hooks: Vec<PlacedHook<'_>> = policies
        .iter()
        .map(|policy| PlacedHook { policy, key: policy_key(&policy.id), hook: &policy.hooks[0], placed: placed() })
        .collect();
    let (compiled, failures) = compile(&Attach::Lsm("x".into()), &hooks, &context);
    prop_assert!(failures.is_empty());
    let Rows { head, tables } = &*compiled.rows;
    let host = HostTables::new(tables);
    let read: Vec<ValidatedPolicy> = policies.iter().map(resolved).collect();
    for scene in scenes {
        let cgroup = CGROUPS[scene.happening.class as usize];
        let mut seen = Sees {
            plain: Seen {
                happening: &scene.happening,
                ids: binary_ids(&context.binaries, &scene.happening.binary),
                kinds: compiled.specification.plan.args.map(|arg| arg.kind),
            },
            scene,
            class: assignment.cgroups.get(&cgroup).copied().unwrap_or_default(),
            inherited: inherited(scene, &context),
        };
        let mut work = Work::default();
        let outcome = decide(head, &&host, &mut seen, &mut work);
        let named = |words| -> Rules {
            let rules = Vector::new(words);
            rules.rules().map(|rule| &compiled.legend[&(rule as u32)]).map(|r| (r.policy.clone(), r.selector)).collect()
        };
        let kernel = outcome.map_or_else(Default::default, |outcome| {
            (named(work.possible), named(work.faulted), outcome.deny, outcome.signal, outcome.would_deny, outcome.post)
        });
        let (process, arguments) = (process_of(scene), arguments_of(scene));
        let mut model: (Rules, Rules, bool, bool, bool, bool) = Default::default();
        for policy in &read {
            let verdict: Verdict = model::decide(policy, &policy.hooks[0], &process, &arguments);
            let Verdict { selector, post, deny, signal, would_deny, fault } = verdict;
            let Some(selector) = selector else { continue };
            let rules = if fault { &mut model.1 } else { &mut model.0 };
            rules.insert((policy.id.name.clone(), selector as u32));
            model.2 |= deny.is_some();
            model.3 |= signal.is_some();
            model.4 |= would_deny;
            model.5 |= post;
        }
        prop_assert_eq!(&kernel, &model, "(fired, faulted, deny, signal, would deny, post) in {:?}", scene);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    /// Ten events a case.
    #[test]
    fn compiled_rows_decide_what_the_reference_model_decides(
        mut policies in prop::collection::vec(full_policy(), 1..6),
        scenes in prop::collection::vec(scene(), 10),
    ) {
        for (at, policy) in policies.iter_mut().enumerate() {
            policy.id.name = format!("p{at}");
        }
        agree(&policies, &scenes)?;
    }
}
