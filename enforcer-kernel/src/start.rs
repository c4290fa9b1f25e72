//! The start of the engine: one agent a node, shared maps and process tracking made or adopted, hook instances found.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use stockade_enforcer_common::name::{hook_map, program, shared_map};
use stockade_enforcer_common::process::Shared;
use zerocopy::{FromBytes, IntoBytes};

use crate::attach;
use crate::btf::KernelBtf;
use crate::facts;
use crate::kernel::{Kernel, make_maps};
use crate::map::{Map, c_path, possible_cpus};
use crate::object::{LoadError, Object, Target, globals};
use crate::offsets;
use crate::ops::OpError;
use crate::pins::{self, Kind, Pins};
use crate::progress::Progress;
use crate::ring::Ring;
use crate::rows::hex;
use crate::sys;

/// How the engine is set up.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where things are pinned.
    pub pin_root: PathBuf,
    /// Where the legend of what is in force is kept.
    pub state_dir: PathBuf,
    /// The compiled eBPF object.
    pub object: Vec<u8>,
    /// Processes that can be tracked at a time. More are counted as lost, and judged as processes of which nothing is known.
    pub processes: u32,
    /// Bytes of the event ring: a power of two, a multiple of the page size.
    pub ring_bytes: u32,
    /// Told at each step.
    pub progress: Progress,
}

impl Options {
    /// The defaults, for this object.
    #[must_use]
    pub fn new(object: Vec<u8>) -> Self {
        Self {
            pin_root: PathBuf::from(pins::DEFAULT_ROOT),
            state_dir: PathBuf::from("/var/lib/stockade"),
            object,
            processes: processes_for(possible_cpus().unwrap_or(1)),
            ring_bytes: 1 << 20,
            progress: Progress::default(),
        }
    }
}

/// Room for processes by default: a quarter of a kilobyte each, so larger nodes get more.
fn processes_for(cpus: usize) -> u32 {
    u32::try_from(cpus).unwrap_or(u32::MAX).saturating_mul(2_048).clamp(4_096, 65_536)
}

/// Why the engine cannot run on this node.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The kernel was built without type information.
    #[error("the kernel has no type information ({VMLINUX}): {0}", VMLINUX = crate::btf::VMLINUX)]
    NoBtf(String),
    /// `bpf` is not among the active security modules.
    #[error("`bpf` is not an active security module (active: {active}); boot with it in `lsm=`")]
    NoBpfLsm {
        /// Those that are.
        active: String,
    },
    /// This process lacks a capability.
    #[error("{0} is missing")]
    MissingCapability(&'static str),
    /// There is no bpffs where things are to be pinned.
    #[error("{path} cannot be used for pins: {source}")]
    NoBpfFs {
        /// The root of the pins.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another enforcer runs on this node.
    #[error("another enforcer runs on this node (it holds the lock of {0})")]
    AlreadyRunning(PathBuf),
    /// The object cannot be used.
    #[error(transparent)]
    Object(#[from] LoadError),
    /// A step failed.
    #[error(transparent)]
    Step(#[from] OpError),
    /// The state directory cannot be used.
    #[error("{path}: {source}")]
    State {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// What was found at the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// Process tracking was running and has been adopted.
    pub adopted_base: bool,
    /// Hook instances that were attached and have been opened.
    pub hooks: usize,
}

/// The kernel, ready for hooks; holds the node's lock for as long as it lives.
#[derive(Debug)]
pub struct Started {
    /// The kernel.
    pub kernel: Kernel,
    /// Its types.
    pub btf: KernelBtf,
    /// What was found.
    pub found: Found,
    /// The lock.
    pub lock: File,
}

/// Starts: refuses with a named reason, or makes or adopts everything that is not a hook's.
pub fn start(options: &Options) -> Result<Started, StartError> {
    check_capabilities()?;
    let btf = KernelBtf::read().map_err(|error| StartError::NoBtf(error.to_string()))?;
    let active = facts::lsm_list();
    if !active.iter().any(|name| name == "bpf") {
        return Err(StartError::NoBpfLsm { active: active.join(",") });
    }
    if !sys::lift_locked_memory_limit() {
        tracing::debug!(
            "the limit of locked memory stays: kernels before 5.11 may refuse maps (CAP_SYS_RESOURCE lifts it)"
        );
    }
    let pins = Pins::open(&options.pin_root)
        .map_err(|source| StartError::NoBpfFs { path: options.pin_root.clone(), source })?;
    let lock = lock(pins.root())?;
    std::fs::create_dir_all(&options.state_dir)
        .map_err(|source| StartError::State { path: options.state_dir.clone(), source })?;

    let object = Object::parse(&options.object)?;
    let offsets = offsets::kernel(&btf).as_bytes().to_vec();
    let cpus = possible_cpus().ok().and_then(|cpus| u32::try_from(cpus).ok()).unwrap_or(1);
    let entries = |name: &str, pattern: u32| match name {
        shared_map::PROCESSES => options.processes,
        shared_map::EVENTS => options.ring_bytes,
        shared_map::SCRATCH => pattern.saturating_mul(cpus),
        _ => pattern,
    };
    let shapes = shapes_digest(&object, entries);
    let mut hash = Sha256::new();
    for part in [object.digest().as_slice(), &offsets, &shapes] {
        hash.update(part);
    }
    let base_digest = hash.finalize().to_vec();
    let base = pins.directory(Kind::Base, &hex(&base_digest, 8));
    let shared_directory = pins.directory(Kind::Maps, &hex(&shapes, 8));

    if !any_complete_base(&pins) {
        // Nobody has followed processes: what there is, is a first start that was killed, or of another boot.
        pins.empty().map_err(OpError::io("removing what an unfinished start has left"))?;
    }
    let shared = shared_maps(&object, &shared_directory, entries)?;
    let ring = Ring::open(&shared_directory.join(shared_map::EVENTS)).map_err(OpError::io("opening the event ring"))?;
    let mut kernel = Kernel {
        pins,
        object,
        offsets,
        base_digest,
        shared_directory,
        shared,
        instances: BTreeMap::new(),
        removed: BTreeMap::new(),
        progress: options.progress.clone(),
        ring,
    };
    let adopted_base = is_complete(&base);
    if !adopted_base {
        make_base(&kernel, &base)?;
    }
    remove_other_bases(&kernel.pins, &base)?;
    let hooks = find_hooks(&mut kernel)?;
    Ok(Started { kernel, btf, found: Found { adopted_base, hooks }, lock })
}

fn check_capabilities() -> Result<(), StartError> {
    let own =
        facts::own_capabilities().map_err(|source| StartError::State { path: "/proc/self/status".into(), source })?;
    let missing = ["CAP_BPF", "CAP_PERFMON"].into_iter().find(|name| !own.contains(name));
    match missing {
        // SYS_ADMIN contains both.
        Some(name) if !own.contains("CAP_SYS_ADMIN") => Err(StartError::MissingCapability(name)),
        _ => Ok(()),
    }
}

/// The lock is of the pins' directory itself, because that is what two enforcers would fight over, wherever they keep
/// their state.
fn lock(root: &Path) -> Result<File, StartError> {
    let failed = |source| StartError::NoBpfFs { path: root.to_owned(), source };
    let directory = File::open(root).map_err(failed)?;
    match sys::lock_exclusively(&directory) {
        Ok(true) => Ok(directory),
        Ok(false) => Err(StartError::AlreadyRunning(root.to_owned())),
        Err(source) => Err(failed(source)),
    }
}

/// A digest of what the shared maps are made of: what runs over maps of other shapes cannot run over these.
fn shapes_digest(object: &Object, entries: impl Fn(&str, u32) -> u32) -> [u8; 32] {
    let mut hash = Sha256::new();
    for name in shared_map::ALL {
        let Some(pattern) = object.map(name) else { continue };
        hash.update(name.as_bytes());
        for shape in [Some(pattern.shape), pattern.inner].into_iter().flatten() {
            for number in [shape.kind, shape.key, shape.value, entries(name, shape.entries), shape.flags] {
                hash.update(number.to_le_bytes());
            }
        }
    }
    hash.finalize().into()
}

fn is_complete(directory: &Path) -> bool {
    directory.join(pins::READY).exists()
}

fn any_complete_base(pins: &Pins) -> bool {
    let bases = pins.list(Kind::Base).unwrap_or_default();
    bases.iter().any(|name| is_complete(&pins.directory(Kind::Base, name)))
}

fn shared_maps(
    object: &Object,
    directory: &Path,
    entries: impl Fn(&str, u32) -> u32,
) -> Result<BTreeMap<&'static str, Map>, OpError> {
    if is_complete(directory) {
        let open = |name: &&'static str| {
            Map::open(&directory.join(name)).map(|map| (*name, map)).map_err(OpError::io(format!("opening map {name}")))
        };
        return shared_map::ALL.iter().filter(|name| object.map(name).is_some()).map(open).collect();
    }
    pins::fresh_directory(directory).map_err(OpError::io("making the directory of shared maps"))?;
    let names: Vec<_> = shared_map::ALL.iter().copied().filter(|name| object.map(name).is_some()).collect();
    let maps = make_maps(object, directory, &names, entries)?;
    if let Some(shared) = maps.get(shared_map::SHARED) {
        let secret = secret().map_err(OpError::io("reading /dev/urandom"))?;
        let row = Shared { scope_epoch: 1, secret, ..Shared::default() };
        shared.set(&0_u32.to_ne_bytes(), row.as_bytes()).map_err(OpError::io("writing the shared row"))?;
        shared.pin(&directory.join(pins::READY)).map_err(OpError::io("finishing the shared maps"))?;
    }
    Ok(maps)
}

/// Made once for all programs, so that windows of limits outlive the agent.
fn secret() -> io::Result<[u64; 2]> {
    let (mut low, mut high) = ([0; 8], [0; 8]);
    let mut random = File::open("/dev/urandom")?;
    random.read_exact(&mut low)?;
    random.read_exact(&mut high)?;
    Ok([u64::from_ne_bytes(low), u64::from_ne_bytes(high)])
}

/// Loads and attaches the programs that track processes, then adds the processes that are older.
fn make_base(kernel: &Kernel, directory: &Path) -> Result<(), OpError> {
    const OWN: &[&str] = &[hook_map::COUNTERS];
    pins::fresh_directory(directory).map_err(OpError::io("making the directory of base programs"))?;
    let maps = make_maps(&kernel.object, directory, OWN, |_, entries| entries)?;
    let pins = kernel.map_pins(directory, OWN);
    let globals = globals(&kernel.offsets, None);
    let [free, creds, committed, alloc] = BASE_PROGRAMS.map(|(name, hook)| (name, Target::Lsm(hook.into())));
    let search = (program::FIND_PROCESSES, Target::TaskIterator);
    let change = (program::CHANGE_MARKS, Target::TaskIterator);
    let loaded = kernel.object.load_all(&[free, creds, committed, alloc, search, change], &globals, &pins)?;
    let [free, creds, committed, alloc, iterator, changes] = loaded;
    for ((name, _), loaded) in BASE_PROGRAMS.iter().zip([free, creds, committed, alloc]) {
        kernel.progress.step();
        let what = || format!("pinning {name}");
        let pin = c_path(&directory.join(format!("{}-{name}", pins::PROGRAM))).map_err(OpError::io(what()))?;
        sys::obj_pin(loaded.as_fd(), &pin).map_err(OpError::io(what()))?;
        attach::attach_lsm(loaded.as_fd(), &directory.join(format!("{}-{name}", pins::LINK)))
            .map_err(OpError::io(format!("attaching {name}")))?;
    }
    let find = || -> io::Result<()> {
        let link = sys::link_create_iter(iterator.as_fd())?;
        let mut output = File::from(sys::iter_create(link.as_fd())?);
        // What it prints means nothing; reading makes it run over every task.
        output.read_to_end(&mut Vec::new()).map(drop)
    };
    find().map_err(OpError::io("finding the processes that are older than the agent"))?;
    let keep =
        || sys::obj_pin(sys::link_create_iter(changes.as_fd())?.as_fd(), &c_path(&directory.join(CHANGE_MARKS))?);
    keep().map_err(OpError::io("pinning the iterator of marks"))?;
    let counters = maps.get(hook_map::COUNTERS).ok_or_else(|| OpError::Unknown("COUNTERS".into()))?;
    counters.pin(&directory.join(pins::READY)).map_err(OpError::io("finishing the base programs"))
}

/// Pin of the iterator that changes marks.
const CHANGE_MARKS: &str = "iterator-change_marks";

/// Runs that iterator over every process.
pub(crate) fn run_change_marks(kernel: &Kernel) -> io::Result<()> {
    let base = kernel.pins.directory(Kind::Base, &hex(&kernel.base_digest, 8));
    let link = sys::obj_get(&c_path(&base.join(CHANGE_MARKS))?)?;
    let mut output = File::from(sys::iter_create(link.as_fd())?);
    output.read_to_end(&mut Vec::new()).map(drop)
}

/// The programs that track processes and their hooks. What removes records comes first, so that none is left over.
const BASE_PROGRAMS: [(&str, &str); 4] = [
    (program::TASK_FREE, "task_free"),
    (program::BPRM_CREDS_FOR_EXEC, "bprm_creds_for_exec"),
    (program::BPRM_COMMITTED_CREDS, "bprm_committed_creds"),
    (program::TASK_ALLOC, "task_alloc"),
];

/// An earlier version's programs go once this one's run.
fn remove_other_bases(pins: &Pins, base: &Path) -> Result<(), OpError> {
    for name in pins.list(Kind::Base).map_err(OpError::io("listing pins"))? {
        let directory = pins.directory(Kind::Base, &name);
        if directory != base {
            pins::remove_directory(&directory).map_err(OpError::io("removing earlier base programs"))?;
        }
    }
    Ok(())
}

/// Opens the hook instances that are attached, and removes those that an agent died over.
fn find_hooks(kernel: &mut Kernel) -> Result<usize, OpError> {
    for name in kernel.pins.list(Kind::Hook).map_err(OpError::io("listing pins"))? {
        kernel.progress.step();
        let directory = kernel.pins.directory(Kind::Hook, &name);
        let attached = attach::attached(&directory).map_err(OpError::io(format!("looking at {name}")))?;
        if attached.is_none() {
            pins::remove_directory(&directory).map_err(OpError::io(format!("removing the unfinished {name}")))?;
        } else if let Err(error) = kernel.open_instance(&name) {
            // It enforces what an earlier agent was told; it stays until what replaces it is in force.
            tracing::warn!(hook = name, %error, "an attached hook instance cannot be adopted");
        }
    }
    Ok(kernel.instances.len())
}

/// The shared row as it is.
pub(crate) fn shared_row(kernel: &Kernel) -> Result<Shared, OpError> {
    let row =
        kernel.shared(shared_map::SHARED)?.get(&0_u32.to_ne_bytes()).map_err(OpError::io("reading the shared row"))?;
    row.and_then(|row| Shared::read_from_bytes(&row).ok()).ok_or_else(|| OpError::Unknown("the shared row".into()))
}

/// Whether process tracking is as it was made: every program's link is there and runs it.
pub(crate) fn check_base(kernel: &Kernel) -> Result<(), String> {
    let base = kernel.pins.directory(Kind::Base, &hex(&kernel.base_digest, 8));
    for (name, _) in BASE_PROGRAMS {
        let open = |prefix: &str| {
            let path = base.join(format!("{prefix}-{name}"));
            c_path(&path).and_then(|path| sys::obj_get(&path))
        };
        let read = || -> io::Result<bool> {
            let program = sys::prog_info(open(pins::PROGRAM)?.as_fd())?;
            Ok(sys::link_info(open(pins::LINK)?.as_fd())?.program == program.id)
        };
        match read() {
            Ok(true) => {}
            Ok(false) => return Err(format!("the link of {name} runs another program")),
            Err(error) => return Err(format!("{name} cannot be read back: {error}")),
        }
    }
    Ok(())
}
