//! Order and undo, against a kernel that only remembers what it was asked.

use super::*;
use stockade_enforcer_common::plan::Plan;

/// Remembers the steps, fails at the one it is told to, and checks after each that something enforces.
#[derive(Default)]
struct Fake {
    steps: Vec<String>,
    fail_at: Option<String>,
    /// By instance: attached, and the marker of the head in force.
    attached: BTreeSet<String>,
    heads: BTreeMap<String, Head>,
    loaded: BTreeSet<String>,
    slots: BTreeMap<(String, u32), [u8; 32]>,
}

impl Fake {
    fn step(&mut self, step: String) -> Result<(), OpError> {
        self.steps.push(step.clone());
        if self.fail_at.as_deref() == Some(step.as_str()) { Err(OpError::Unknown(step)) } else { Ok(()) }
    }

    /// The generations of heads with rules in force on attached instances.
    fn enforcing(&self) -> Vec<u64> {
        let attached = self.heads.iter().filter(|(name, _)| self.attached.contains(*name));
        attached.filter(|(_, head)| head.words > 0).map(|(_, head)| head.generation).collect()
    }
}

impl KernelOps for Fake {
    fn load(&mut self, identity: &Identity, _: &Specification) -> Result<(), OpError> {
        self.step(format!("load {}", identity.name))?;
        self.loaded.insert(identity.name.clone());
        Ok(())
    }
    fn fill(&mut self, identity: &Identity, slot: Slot, rows: &Arc<Rows>) -> Result<(), OpError> {
        let in_force = self.heads.get(&identity.name).filter(|head| head.words > 0);
        assert!(in_force.is_none_or(|head| head.slot != slot.index()), "the slot in force is being edited");
        self.step(format!("fill {} {slot:?}", identity.name))?;
        self.slots.insert((identity.name.clone(), slot.index()), rows.digest());
        Ok(())
    }
    fn flip(&mut self, identity: &Identity, head: &Head) -> Result<(), OpError> {
        let empty = if head.words == 0 { " empty" } else { "" };
        self.step(format!("flip {}{empty}", identity.name))?;
        if head.words > 0 {
            assert!(self.slots.contains_key(&(identity.name.clone(), head.slot)), "flip to an empty slot");
        }
        self.heads.insert(identity.name.clone(), *head);
        Ok(())
    }
    fn attach(&mut self, identity: &Identity) -> Result<(), OpError> {
        self.step(format!("attach {}", identity.name))?;
        self.attached.insert(identity.name.clone());
        Ok(())
    }
    fn clear(&mut self, identity: &Identity, slot: Slot) -> Result<(), OpError> {
        let in_force = self.heads.get(&identity.name).filter(|head| head.words > 0);
        assert!(in_force.is_none_or(|head| head.slot != slot.index()), "the slot in force is being emptied");
        self.step(format!("clear {} {slot:?}", identity.name))?;
        self.slots.remove(&(identity.name.clone(), slot.index()));
        Ok(())
    }
    fn remove(&mut self, identity: &Identity) -> Result<(), OpError> {
        self.step(format!("remove {}", identity.name))?;
        self.loaded.remove(&identity.name);
        self.attached.remove(&identity.name);
        self.heads.remove(&identity.name);
        self.slots.retain(|(name, _), _| *name != identity.name);
        Ok(())
    }
    fn fill_binaries(&mut self, slot: Slot, _: &BinaryTables) -> Result<(), OpError> {
        self.step(format!("fill binaries {slot:?}"))
    }
    fn use_binaries(&mut self, slot: Slot, _: u64) -> Result<(), OpError> {
        self.step(format!("use binaries {slot:?}"))
    }
}

fn hook(name: &str, rules: u64, flags: u32) -> DesiredHook {
    let specification = Specification { attach: Attach::Lsm(name.into()), plan: Plan { flags, ..Plan::default() } };
    let mut identity = specification.identity(b"");
    identity.name = format!("{name}{flags}");
    let mut head = Head { words: 1, ..Head::EMPTY };
    head.deny[0] = rules;
    DesiredHook { identity, specification, rows: Arc::new(Rows { head, tables: BTreeMap::new() }) }
}

fn desired(hooks: &[DesiredHook]) -> Desired {
    Desired { hooks: hooks.to_vec(), binaries: BinaryTables::new() }
}

fn apply(fake: &mut Fake, state: &mut State, hooks: &[DesiredHook]) -> Result<Committed, Vec<Failure>> {
    let prepared = prepare(fake, state, desired(hooks))?;
    Ok(commit(fake, state, prepared))
}

fn run(hooks: &[DesiredHook]) -> (Fake, State) {
    let (mut fake, mut state) = (Fake::default(), State::default());
    let committed = apply(&mut fake, &mut state, hooks).unwrap();
    assert!(committed.failures.is_empty());
    fake.steps.clear();
    (fake, state)
}

#[test]
fn a_new_hook_is_filled_and_attached_before_its_rules_are_in_force() {
    let (mut fake, mut state) = (Fake::default(), State::default());
    apply(&mut fake, &mut state, &[hook("open", 1, 0)]).unwrap();
    assert_eq!(
        fake.steps,
        [
            "fill binaries A",
            "load open0",
            "fill open0 A",
            "flip open0 empty",
            "attach open0",
            "use binaries A",
            "flip open0",
            "fill binaries B"
        ]
    );
    assert_eq!(fake.enforcing(), [1]);
}

#[test]
fn an_edit_fills_the_free_slot_flips_and_then_empties_the_old_one() {
    let (mut fake, mut state) = run(&[hook("open", 1, 0)]);
    apply(&mut fake, &mut state, &[hook("open", 2, 0)]).unwrap();
    assert_eq!(fake.steps, ["fill open0 B", "flip open0", "clear open0 A"]);
    assert_eq!(fake.enforcing(), [2]);
}

#[test]
fn applying_the_same_again_does_nothing() {
    let (mut fake, mut state) = run(&[hook("open", 1, 0), hook("mkdir", 1, 0)]);
    apply(&mut fake, &mut state, &[hook("open", 1, 0), hook("mkdir", 1, 0)]).unwrap();
    assert_eq!(fake.steps, [""; 0]);
}

#[test]
fn a_replaced_instance_goes_only_when_the_new_one_is_in_force() {
    let (mut fake, mut state) = run(&[hook("open", 1, 0)]);
    apply(&mut fake, &mut state, &[hook("open", 1, 1)]).unwrap();
    let at = |step: &str| fake.steps.iter().position(|s| s == step).unwrap();
    assert!(at("attach open1") < at("flip open1") && at("flip open1") < at("remove open0"), "{:?}", fake.steps);
    assert_eq!(fake.enforcing(), [2]);
}

#[test]
fn a_failure_at_any_step_leaves_the_old_generation_in_force_and_nothing_behind() {
    let before = [hook("open", 1, 0), hook("mkdir", 1, 0)];
    let after = [hook("open", 2, 0), hook("mkdir", 1, 1), hook("unlink", 1, 0)];
    let (mut probe, mut state) = run(&before);
    let prepared = prepare(&mut probe, &state, desired(&after)).unwrap();
    let steps = probe.steps.clone();
    let _ = commit(&mut probe, &mut state, prepared);
    assert!(steps.len() > 6, "{steps:?}");
    for step in steps {
        let (mut fake, state) = run(&before);
        let heads = fake.heads.clone();
        fake.fail_at = Some(step.clone());
        let failures = prepare(&mut fake, &state, desired(&after)).unwrap_err();
        assert_eq!(failures.len(), 1, "{step}");
        assert_eq!(fake.heads, heads, "{step}: heads changed");
        assert_eq!(fake.enforcing(), [1, 1], "{step}");
        assert_eq!(fake.loaded.len(), 2, "{step}: an instance is left");
        assert_eq!(fake.slots.len(), 2, "{step}: a slot is left");
    }
}

#[test]
fn a_flip_that_fails_keeps_what_it_was_to_replace() {
    let (mut fake, mut state) = run(&[hook("open", 1, 0)]);
    fake.fail_at = Some("flip open1".into());
    let committed = apply(&mut fake, &mut state, &[hook("open", 1, 1)]).unwrap();
    assert_eq!(committed.failures.len(), 1);
    assert_eq!(fake.enforcing(), [1], "the old instance still enforces");
    assert!(!fake.steps.iter().any(|step| step == "remove open0"));
}

#[test]
fn changed_binaries_are_flipped_to_by_every_head() {
    let (mut fake, mut state) = run(&[hook("open", 1, 0), hook("mkdir", 1, 0)]);
    let mut wanted = desired(&[hook("open", 1, 0), hook("mkdir", 1, 0)]);
    wanted.binaries.insert("BINARY_STR64", BTreeMap::from([(vec![1], vec![2])]));
    let prepared = prepare(&mut fake, &state, wanted).unwrap();
    let _ = commit(&mut fake, &mut state, prepared);
    assert_eq!(fake.steps, ["fill binaries B", "use binaries B", "flip open0", "flip mkdir0", "fill binaries A"]);
    assert!(
        fake.heads.values().all(|head| head.binary_generation == 2 && head.binary_slot == 1 && head.generation == 1)
    );
}

#[test]
fn without_hooks_everything_goes() {
    let (mut fake, mut state) = run(&[hook("open", 1, 0)]);
    apply(&mut fake, &mut state, &[]).unwrap();
    assert!(fake.loaded.is_empty() && state.hooks.is_empty());
}
