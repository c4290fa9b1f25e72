//! The compiled eBPF object: what maps it asks for, and loading one program of it over maps that exist.

use std::collections::{BTreeMap, HashMap};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use aya::programs::{Program, ProgramError};
use aya::{Ebpf, EbpfError, EbpfLoader};
use sha2::{Digest, Sha256};
use stockade_enforcer_common::name::global;

use crate::sys::Shape;

/// Why a program could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The object is not what this agent expects.
    #[error("the eBPF object cannot be used: {0}")]
    Object(String),
    /// Its maps or type information were refused.
    #[error("the kernel refused the object: {0}")]
    Refused(#[from] EbpfError),
    /// The verifier refused the program, or its hook does not exist.
    #[error("the kernel refused program `{program}`: {source}")]
    Program {
        /// Its name in the object.
        program: String,
        /// Why; the verifier's log is in it.
        source: ProgramError,
    },
    /// A descriptor could not be duplicated.
    #[error("{0}")]
    Io(#[from] std::io::Error),
}

/// A map as the object asks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MapPattern {
    /// The map.
    pub shape: Shape,
    /// For a map of maps: what it holds.
    pub inner: Option<Shape>,
}

/// What a program is loaded for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// An LSM hook.
    Lsm(String),
    /// A kprobe (attached to any function).
    Kprobe,
    /// The return of this function.
    Fexit(String),
    /// A perf tracepoint.
    Tracepoint,
    /// A raw tracepoint.
    RawTracepoint,
    /// A BTF iterator over tasks.
    TaskIterator,
}

/// The object, read once.
pub struct Object {
    bytes: Vec<u8>,
    digest: [u8; 32],
    maps: BTreeMap<String, MapPattern>,
    btf: aya::Btf,
}

impl std::fmt::Debug for Object {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Object").field("maps", &self.maps.keys()).finish_non_exhaustive()
    }
}

fn shape(map: &aya_obj::Map) -> Shape {
    Shape {
        kind: map.map_type(),
        key: map.key_size(),
        value: map.value_size(),
        entries: map.max_entries(),
        flags: map.map_flags(),
    }
}

impl Object {
    /// Parses the object and the kernel's BTF.
    pub fn parse(bytes: &[u8]) -> Result<Self, LoadError> {
        let digest = Sha256::digest(bytes).into();
        let bytes = &without_line_info(bytes)?;
        let object = aya_obj::Object::parse(bytes).map_err(|error| LoadError::Object(error.to_string()))?;
        let btf = aya::Btf::from_sys_fs().map_err(|error| LoadError::Object(error.to_string()))?;
        let maps = object
            .maps
            .iter()
            .map(|(name, map)| (name.clone(), MapPattern { shape: shape(map), inner: map.inner().as_ref().map(shape) }))
            .collect();
        Ok(Self { bytes: bytes.to_vec(), digest, maps, btf })
    }

    /// SHA-256 of the object.
    #[must_use]
    pub fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    /// The map of this name, as the object asks for it.
    #[must_use]
    pub fn map(&self, name: &str) -> Option<MapPattern> {
        self.maps.get(name).copied()
    }

    /// Loads `program` with the read-only globals `globals`, over the maps pinned at `pins` (by name). Maps that are not
    /// named there are made for this program alone.
    pub fn load(
        &self,
        program: &str,
        target: &Target,
        globals: &BTreeMap<&'static str, Vec<u8>>,
        pins: &HashMap<String, PathBuf>,
    ) -> Result<OwnedFd, LoadError> {
        let mut loaded = self.prepare(globals, pins)?;
        self.load_one(&mut loaded, program, target)
    }

    /// Loads several with the same globals and maps, in this order. Reading the object takes longer than loading most programs.
    pub fn load_all<const N: usize>(
        &self,
        programs: &[(&str, Target); N],
        globals: &BTreeMap<&'static str, Vec<u8>>,
        pins: &HashMap<String, PathBuf>,
    ) -> Result<[OwnedFd; N], LoadError> {
        let mut loaded = self.prepare(globals, pins)?;
        let mut descriptors = Vec::with_capacity(N);
        for (program, target) in programs {
            descriptors.push(self.load_one(&mut loaded, program, target)?);
        }
        descriptors.try_into().map_err(|_| LoadError::Object("a program was left out".into()))
    }

    fn prepare(
        &self,
        globals: &BTreeMap<&'static str, Vec<u8>>,
        pins: &HashMap<String, PathBuf>,
    ) -> Result<Ebpf, LoadError> {
        let mut loader = EbpfLoader::new();
        loader.btf(Some(&self.btf));
        for (name, value) in globals {
            loader.override_global(name, value.as_slice(), true);
        }
        for (name, path) in pins {
            if self.maps.contains_key(name) {
                loader.map_pin_path(name, path.as_path());
            }
        }
        Ok(loader.load(&self.bytes)?)
    }

    fn load_one(&self, loaded: &mut Ebpf, program: &str, target: &Target) -> Result<OwnedFd, LoadError> {
        let missing = || LoadError::Object(format!("it has no program `{program}` of the expected kind"));
        let found = loaded.program_mut(program).ok_or_else(missing)?;
        self.load_program(found, target).map_err(|error| {
            error.map_or_else(missing, |source| LoadError::Program { program: program.into(), source })
        })?;
        Ok(found
            .fd()
            .map_err(|source| LoadError::Program { program: program.into(), source })?
            .as_fd()
            .try_clone_to_owned()?)
    }

    /// `Err(None)`: the program is of another kind than the target.
    fn load_program(&self, program: &mut Program, target: &Target) -> Result<(), Option<ProgramError>> {
        match (target, program) {
            (Target::Lsm(hook), Program::Lsm(program)) => program.load(hook, &self.btf).map_err(Some),
            (Target::Kprobe, Program::KProbe(program)) => program.load().map_err(Some),
            (Target::Fexit(function), Program::FExit(program)) => program.load(function, &self.btf).map_err(Some),
            (Target::Tracepoint, Program::TracePoint(program)) => program.load().map_err(Some),
            (Target::RawTracepoint, Program::RawTracePoint(program)) => program.load().map_err(Some),
            (Target::TaskIterator, Program::Iter(program)) => program.load("task", &self.btf).map_err(Some),
            _ => Err(None),
        }
    }
}

/// The object without line information: the length of it in `.BTF.ext` is set to zero.
///
/// The linker leaves two lines at one instruction where it has merged code, which the kernel refuses ("Invalid line_info").
/// The rest of the section is needed: functions that are verified on their own are known by their types.
fn without_line_info(bytes: &[u8]) -> Result<Vec<u8>, LoadError> {
    use object::{Object as _, ObjectSection as _};
    // Of `struct btf_ext_header`.
    const LINE_INFO_LENGTH: usize = 20;
    let file = object::File::parse(bytes).map_err(|error| LoadError::Object(error.to_string()))?;
    let section = file.section_by_name(".BTF.ext").and_then(|section| section.file_range());
    let mut bytes = bytes.to_vec();
    if let Some((start, _)) = section
        && let Ok(start) = usize::try_from(start)
        && let Some(length) = bytes.get_mut(start + LINE_INFO_LENGTH..start + LINE_INFO_LENGTH + 4)
    {
        length.fill(0);
    }
    Ok(bytes)
}

/// The globals of a load.
#[must_use]
pub fn globals(kernel: &[u8], plan: Option<&[u8]>) -> BTreeMap<&'static str, Vec<u8>> {
    let mut globals = BTreeMap::from([(global::KERNEL, kernel.to_vec())]);
    if let Some(plan) = plan {
        globals.insert(global::PLAN, plan.to_vec());
    }
    globals
}
