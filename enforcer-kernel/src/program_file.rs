//! Files of the node that uprobes are in: which file a path means, and where in it a symbol is.

use std::fmt::Write as _;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;

use object::read::elf::{ElfFile64, ProgramHeader};
use object::{Endianness, Object, ObjectSymbol};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};
use sha2::{Digest, Sha256};
use stockade_policy::ir::BinaryPlaces;

/// The root of the node as the agent sees it: that of its first process. An agent in a container shares the node's process
/// ids (`hostPID`); to one outside it is `/`.
const NODE_ROOT: &str = "/proc/1/root";

/// A file, opened.
#[derive(Debug)]
pub(crate) struct ProgramFile {
    file: File,
    /// What tells it from another at the same path: device, inode, size and time of the last change.
    pub(crate) stamp: String,
}

/// A place in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// As a document would name it: `readline`, `main+0x1f`, `+0x30f30`.
    pub(crate) name: String,
    /// Where in the file.
    pub(crate) offset: u64,
    /// Where in the file the counter is that the program looks at; 0: there is none.
    pub(crate) counter: u64,
}

impl ProgramFile {
    /// Opens the file that `path` is on the node. Links are followed as the node's processes would.
    pub(crate) fn open(path: &str) -> io::Result<Self> {
        let root: OwnedFd = openat(CWD, NODE_ROOT, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let inside = path.trim_start_matches('/');
        let file = openat2(root, inside, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty(), ResolveFlags::IN_ROOT)?;
        let file = File::from(file);
        let about = file.metadata()?;
        if !about.is_file() {
            return Err(io::Error::other("it is not a file"));
        }
        let all =
            [about.dev(), about.ino(), about.size(), about.mtime().cast_unsigned(), about.mtime_nsec().cast_unsigned()];
        let mut hash = Sha256::new();
        all.iter().for_each(|number| hash.update(number.to_le_bytes()));
        let mut stamp = String::new();
        for byte in hash.finalize().iter().take(8) {
            // Writing to a string does not fail.
            write!(stamp, "{byte:02x}").ok();
        }
        Ok(Self { file, stamp })
    }

    /// A path by which the kernel finds this very file, while it is open.
    pub(crate) fn path(&self) -> String {
        format!("/proc/self/fd/{}", self.file.as_raw_fd())
    }

    /// Where the places that a policy names are. `Err`: what is not there.
    pub(crate) fn find(&self, places: &BinaryPlaces) -> Result<Vec<Place>, String> {
        if let BinaryPlaces::Offsets(offsets) = places {
            let place = |(offset, counter): &(u64, Option<u64>)| Place {
                name: format!("+{offset:#x}"),
                offset: *offset,
                counter: counter.unwrap_or_default(),
            };
            return Ok(offsets.iter().map(place).collect());
        }
        let bytes = object::ReadCache::new(&self.file);
        let elf = ElfFile64::<Endianness, _>::parse(&bytes).map_err(|error| format!("is no program: {error}"))?;
        match places {
            BinaryPlaces::Symbols(symbols) => symbols
                .iter()
                .map(|(name, after, counter)| {
                    let address = address_of(&elf, name).ok_or_else(|| format!("has no symbol `{name}`"))?;
                    let name = if *after == 0 { name.clone() } else { format!("{name}+{after:#x}") };
                    place(&elf, name, address.wrapping_add(*after), counter.unwrap_or_default())
                })
                .collect(),
            BinaryPlaces::Addresses(addresses) => {
                addresses.iter().map(|address| place(&elf, format!("{address:#x}"), *address, 0)).collect()
            }
            BinaryPlaces::Offsets(_) => Ok(Vec::new()),
        }
    }
}

/// The address of a function: in the table that `strip` removes, or in the one that the loader uses.
fn address_of<'a>(elf: &impl Object<'a>, name: &str) -> Option<u64> {
    fn find<'a, S: ObjectSymbol<'a>>(mut symbols: impl Iterator<Item = S>, name: &str) -> Option<u64> {
        let found = symbols.find(|symbol| symbol.is_definition() && symbol.name() == Ok(name));
        found.map(|symbol| symbol.address())
    }
    find(elf.symbols(), name).or_else(|| find(elf.dynamic_symbols(), name))
}

fn place<'a, R: object::ReadRef<'a>>(
    elf: &ElfFile64<'a, Endianness, R>,
    name: String,
    address: u64,
    counter: u64,
) -> Result<Place, String> {
    let endian = elf.endian();
    let segment = elf.elf_program_headers().iter().find_map(|header| {
        let loaded = header.p_type(endian) == object::elf::PT_LOAD;
        let (begin, size) = (header.p_vaddr(endian), header.p_filesz(endian));
        let inside = loaded && address >= begin && address - begin < size;
        inside.then(|| address - begin + header.p_offset(endian))
    });
    let offset = segment.ok_or_else(|| format!("has nothing at address {address:#x}, where `{name}` would be"))?;
    Ok(Place { name, offset, counter })
}
