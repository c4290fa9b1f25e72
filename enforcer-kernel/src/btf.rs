//! What the running kernel's BTF says: hooks and their parameters, and where the fields of structures are.

use std::collections::BTreeMap;
use std::path::Path;

use btf_rs::{Btf, BtfType, Type};
use stockade_policy::facts::BtfParam;

/// Where the kernel shows its BTF.
pub const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

/// What LSM programs attach to is called so in BTF.
const LSM_PREFIX: &str = "bpf_lsm_";

/// Why something could not be learnt from BTF.
#[derive(Debug, thiserror::Error)]
pub enum BtfError {
    /// There is none, or it cannot be read.
    #[error("the kernel's type information cannot be read: {0}")]
    Unreadable(#[from] btf_rs::Error),
    /// This kernel has no such structure or field.
    #[error("this kernel has no field `{field}` in `struct {structure}`")]
    NoField {
        /// The structure asked for.
        structure: String,
        /// The field, or path of fields, asked for.
        field: String,
    },
}

/// The running kernel's types.
pub struct KernelBtf {
    btf: Btf,
}

impl std::fmt::Debug for KernelBtf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KernelBtf")
    }
}

/// A parameter's name without the mark by which newer kernels tell the verifier that it may be null.
fn unmarked(name: &str) -> &str {
    name.strip_suffix("__nullable").unwrap_or(name)
}

/// The compiler's name of an integer as people write it.
fn plain(name: &str) -> &str {
    match name {
        "long unsigned int" => "unsigned long",
        "long int" => "long",
        "long long unsigned int" => "unsigned long long",
        "long long int" => "long long",
        "short unsigned int" => "unsigned short",
        "short int" => "short",
        "_Bool" => "bool",
        other => other,
    }
}

/// Where a field is and how large.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    /// Bits from the beginning of the structure.
    pub bit_offset: u32,
    /// Bytes of the field's type (of a bit field: of the type it is declared with).
    pub size: u32,
}

impl Field {
    /// Bytes from the beginning of the structure.
    #[must_use]
    pub fn offset(self) -> u32 {
        self.bit_offset / 8
    }
}

impl KernelBtf {
    /// Reads the BTF of the running kernel.
    pub fn read() -> Result<Self, BtfError> {
        Self::from_file(Path::new(VMLINUX))
    }

    /// Reads BTF from a file.
    pub fn from_file(path: &Path) -> Result<Self, BtfError> {
        // In memory first: the library would read a buffer anew for each of thousands of strings, which takes four times as long.
        let bytes = std::fs::read(path).map_err(btf_rs::Error::from)?;
        Ok(Self { btf: Btf::from_bytes(&bytes)? })
    }

    /// Every LSM hook, without the prefix, with its parameters.
    pub fn lsm_hooks(&self) -> Result<BTreeMap<String, Vec<BtfParam>>, BtfError> {
        use fallible_iterator::FallibleIterator;
        let mut hooks = BTreeMap::new();
        let mut types = self.btf.type_iter();
        while let Some(ty) = types.next()? {
            if let Type::Func(function) = &ty
                && let Ok(name) = self.btf.resolve_name(function)
                && let Some(hook) = name.strip_prefix(LSM_PREFIX)
                && let Some(parameters) = self.parameters_of(function)
            {
                hooks.insert(hook.to_owned(), parameters);
            }
        }
        Ok(hooks)
    }

    /// The parameters of a function, if BTF has it.
    #[must_use]
    pub fn function(&self, name: &str) -> Option<Vec<BtfParam>> {
        self.functions(name).next().map(|(parameters, _)| parameters)
    }

    /// Whether a function returns nothing.
    #[must_use]
    pub fn returns_void(&self, name: &str) -> Option<bool> {
        self.functions(name).next().map(|(_, void)| void)
    }

    fn functions<'a>(&'a self, name: &str) -> impl Iterator<Item = (Vec<BtfParam>, bool)> + use<'a> {
        let types = self.btf.resolve_types_by_name(name).unwrap_or_default();
        types.into_iter().filter_map(|ty| match ty {
            Type::Func(function) => {
                let Ok(Type::FuncProto(proto)) = self.btf.resolve_chained_type(&function) else { return None };
                Some((self.parameters_of(&function)?, proto.return_type_id() == 0))
            }
            _ => None,
        })
    }

    /// The arguments of a raw tracepoint. Every kernel has a type for them; a function with their names, which comes first,
    /// only those whose BTF has inlined functions too.
    #[must_use]
    pub fn raw_tracepoint(&self, event: &str) -> Option<Vec<BtfParam>> {
        let described = || {
            let types = self.btf.resolve_types_by_name(&format!("btf_trace_{event}")).ok()?;
            types.iter().find_map(|ty| {
                let Type::Typedef(typedef) = ty else { return None };
                let Ok(Type::Ptr(pointer)) = self.btf.resolve_chained_type(typedef) else { return None };
                let Ok(Type::FuncProto(proto)) = self.btf.resolve_chained_type(&pointer) else { return None };
                Some(self.parameters_in(&proto))
            })
        };
        let parameters = self.function(&format!("__bpf_trace_{event}")).or_else(described)?;
        // The tracepoint's own data comes before them.
        Some(parameters.get(1..)?.to_vec())
    }

    fn parameters_of(&self, function: &btf_rs::Func) -> Option<Vec<BtfParam>> {
        let Ok(Type::FuncProto(proto)) = self.btf.resolve_chained_type(function) else { return None };
        Some(self.parameters_in(&proto))
    }

    fn parameters_in(&self, proto: &btf_rs::FuncProto) -> Vec<BtfParam> {
        let parameters = proto.parameters.iter().filter(|parameter| !parameter.is_variadic());
        parameters
            .map(|parameter| BtfParam {
                name: unmarked(&self.btf.resolve_name(parameter).unwrap_or_default()).to_owned(),
                ty: parameter.get_type_id().map_or_else(|| "void".into(), |id| self.spelling(id, 0)),
            })
            .collect()
    }

    /// A type as C spells it, without qualifiers.
    fn spelling(&self, id: u32, depth: u8) -> String {
        const DEPTH: u8 = 16;
        let Ok(ty) = self.btf.resolve_type_by_id(id) else { return "?".into() };
        if depth > DEPTH {
            return "?".into();
        }
        let name = |ty: &dyn BtfType| self.btf.resolve_name(ty).unwrap_or_default();
        let inner =
            |ty: &dyn BtfType| ty.get_type_id().map_or_else(|| "void".into(), |id| self.spelling(id, depth + 1));
        match &ty {
            Type::Void => "void".into(),
            Type::Ptr(pointer) => {
                let target = inner(pointer);
                if target.ends_with('*') { format!("{target}*") } else { format!("{target} *") }
            }
            Type::Const(q) | Type::Volatile(q) | Type::Restrict(q) => inner(q),
            Type::TypeTag(tag) => inner(tag),
            Type::Struct(s) => format!("struct {}", name(s)),
            Type::Union(u) => format!("union {}", name(u)),
            Type::Enum(e) => format!("enum {}", name(e)),
            Type::Enum64(e) => format!("enum {}", name(e)),
            Type::Fwd(f) => format!("struct {}", name(f)),
            Type::FuncProto(_) => "function".into(),
            Type::Int(int) => plain(&name(int)).to_owned(),
            Type::Array(a) => format!("{}[{}]", inner(a), a.len()),
            other => other.as_btf_type().map_or_else(|| "?".into(), name),
        }
    }

    /// Where `field` is in `struct structure` (or a union); a path goes through embedded structures: `f_path.dentry`.
    /// Members of anonymous structures are found as C finds them.
    pub fn field(&self, structure: &str, field: &str) -> Result<Field, BtfError> {
        let missing = || BtfError::NoField { structure: structure.into(), field: field.into() };
        let types = self.btf.resolve_types_by_name(structure).map_err(|_| missing())?;
        types
            .iter()
            .filter(|ty| matches!(ty, Type::Struct(_) | Type::Union(_)))
            .find_map(|ty| self.path_in(ty, field))
            .ok_or_else(missing)
    }

    fn path_in(&self, ty: &Type, path: &str) -> Option<Field> {
        let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
        let (offset, id) = self.member(ty, first, 0)?;
        let ty = self.without_names(id)?;
        match rest {
            None => Some(Field { bit_offset: offset, size: self.size_of(&ty) }),
            Some(rest) => {
                let inner = self.path_in(&ty, rest)?;
                Some(Field { bit_offset: offset + inner.bit_offset, ..inner })
            }
        }
    }

    fn member(&self, ty: &Type, wanted: &str, depth: u8) -> Option<(u32, u32)> {
        const DEPTH: u8 = 8;
        let (Type::Struct(structure) | Type::Union(structure)) = ty else { return None };
        structure.members.iter().find_map(|member| {
            let id = member.get_type_id()?;
            let name = self.btf.resolve_name(member).unwrap_or_default();
            if name == wanted {
                return Some((member.bit_offset(), id));
            }
            if !name.is_empty() || depth > DEPTH {
                return None;
            }
            let (offset, id) = self.member(&self.without_names(id)?, wanted, depth + 1)?;
            Some((member.bit_offset() + offset, id))
        })
    }

    /// Through typedefs and qualifiers to what they stand for.
    fn without_names(&self, id: u32) -> Option<Type> {
        let mut ty = self.btf.resolve_type_by_id(id).ok()?;
        while let Type::Typedef(_) | Type::Const(_) | Type::Volatile(_) | Type::Restrict(_) | Type::TypeTag(_) = ty {
            ty = self.btf.resolve_chained_type(ty.as_btf_type()?).ok()?;
        }
        Some(ty)
    }

    fn size_of(&self, ty: &Type) -> u32 {
        let size = match ty {
            Type::Int(int) => int.size(),
            Type::Ptr(_) => 8,
            Type::Struct(s) | Type::Union(s) => s.size(),
            Type::Enum(e) => e.size(),
            Type::Enum64(e) => e.size(),
            Type::Array(array) => {
                let one = array.get_type_id().and_then(|id| self.without_names(id));
                one.map_or(0, |one| self.size_of(&one) as usize * array.len())
            }
            _ => 0,
        };
        u32::try_from(size).unwrap_or(u32::MAX)
    }

    /// Bytes of a structure.
    #[must_use]
    pub fn structure_size(&self, structure: &str) -> Option<u32> {
        let types = self.btf.resolve_types_by_name(structure).ok()?;
        types.iter().find(|ty| matches!(ty, Type::Struct(_))).map(|ty| self.size_of(ty))
    }

    /// The value of an enumerator of a named enumeration.
    #[must_use]
    pub fn enumerator(&self, enumeration: &str, name: &str) -> Option<u32> {
        let types = self.btf.resolve_types_by_name(enumeration).ok()?;
        types.iter().find_map(|ty| {
            let Type::Enum(e) = ty else { return None };
            let member = e.members.iter().find(|member| self.btf.resolve_name(*member).is_ok_and(|n| n == name))?;
            Some(member.val())
        })
    }

    /// The BTF id of a function, to which LSM and fentry programs attach.
    #[must_use]
    pub fn function_id(&self, name: &str) -> Option<u32> {
        let ids = self.btf.resolve_ids_by_name(name).ok()?;
        ids.into_iter().find(|id| matches!(self.btf.resolve_type_by_id(*id), Ok(Type::Func(_))))
    }
}
