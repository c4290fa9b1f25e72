//! Files of the node that uprobes are in: which file a path means, and where in it a symbol is.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};

use object::read::elf::{ElfFile64, FileHeader, ProgramHeader, Sym};
use object::{Endianness, ReadRef, elf};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::io::Errno;
use sha2::{Digest, Sha256};
use stockade_policy::ir::BinaryPlaces;

use crate::rows::hex;

/// The root of the node as the agent sees it: that of its first process. An agent in a container shares the node's process
/// ids (`hostPID`); to one outside it is `/`.
const NODE_ROOT: &str = "/proc/1/root";
/// Times that a path is looked up which changes meanwhile.
const TRIES: usize = 8;
/// The largest file whose symbols are read: all of it is in memory for a moment.
const MAX_FILE: u64 = 192 << 20;

/// What this machine's programs are for.
#[cfg(target_arch = "x86_64")]
const MACHINE: u16 = elf::EM_X86_64;
#[cfg(target_arch = "aarch64")]
const MACHINE: u16 = elf::EM_AARCH64;

type Elf<'a, R> = ElfFile64<'a, Endianness, R>;

/// A file, opened.
#[derive(Debug)]
pub(crate) struct ProgramFile {
    file: File,
    size: u64,
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
        let root = openat(CWD, NODE_ROOT, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
        let root: OwnedFd = root.map_err(|error| {
            io::Error::new(error.kind(), format!("{NODE_ROOT} needs CAP_SYS_PTRACE and hostPID: {error}"))
        })?;
        let inside = path.trim_start_matches('/');
        let look_up = || openat2(&root, inside, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), ResolveFlags::IN_ROOT);
        // A rename anywhere on the node can make the kernel ask to be asked again.
        let found = (0..TRIES).map(|_| look_up()).find(|found| !matches!(found, Err(Errno::AGAIN)));
        let found = File::from(found.unwrap_or(Err(Errno::AGAIN))?);
        // Opening another kind of file may wait for somebody, or do something.
        if !found.metadata()?.is_file() {
            return Err(io::Error::other("it is not a file"));
        }
        let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path_of(&found))?;
        let about = file.metadata()?;
        let (changed, nanoseconds) = (about.mtime().cast_unsigned(), about.mtime_nsec().cast_unsigned());
        let mut hash = Sha256::new();
        for number in [about.dev(), about.ino(), about.size(), changed, nanoseconds] {
            hash.update(number.to_le_bytes());
        }
        Ok(Self { file, size: about.size(), stamp: hex(&hash.finalize(), 8) })
    }

    /// Whether another file is at `path`, or none. That it cannot be looked at now says neither.
    pub(crate) fn is_replaced(path: &str, stamp: &str) -> bool {
        match Self::open(path) {
            Ok(file) => file.stamp != stamp,
            Err(error) if error.kind() == io::ErrorKind::NotFound => true,
            Err(error) => {
                tracing::warn!(path, %error, "whether a probed file is still the same cannot be told");
                false
            }
        }
    }

    /// A path by which the kernel finds this very file, while it is open.
    pub(crate) fn path(&self) -> String {
        path_of(&self.file)
    }

    /// Where the places that a policy names are. `Err`: what is not there.
    pub(crate) fn find(&self, places: &BinaryPlaces) -> Result<Vec<Place>, String> {
        match places {
            BinaryPlaces::Offsets(offsets) => {
                let bytes = object::ReadCache::new(&self.file);
                let program = Program::parse(&bytes)?;
                let place = |(offset, counter): &(u64, Option<u64>)| program.at_offset(*offset, counter.unwrap_or(0));
                offsets.iter().map(place).collect()
            }
            BinaryPlaces::Addresses(addresses) => {
                let bytes = object::ReadCache::new(&self.file);
                let program = Program::parse(&bytes)?;
                addresses.iter().map(|address| program.at_address(format!("{address:#x}"), *address, 0)).collect()
            }
            BinaryPlaces::Symbols(symbols) => {
                let bytes = self.read()?;
                let program = Program::parse(bytes.as_slice())?;
                // Once for all names: a library has thousands.
                let known = program.symbols();
                let place = |(name, after, counter): &(String, u64, Option<u64>)| {
                    let address = program.address_of(name, &known)?.wrapping_add(*after);
                    let name = if *after == 0 { name.clone() } else { format!("{name}+{after:#x}") };
                    program.at_address(name, address, counter.unwrap_or(0))
                };
                symbols.iter().map(place).collect()
            }
        }
    }

    fn read(&self) -> Result<Vec<u8>, String> {
        if self.size > MAX_FILE {
            let mebibytes = MAX_FILE >> 20;
            return Err(format!("is larger than {mebibytes} MiB, so its symbols are not read: write offsets"));
        }
        let mut bytes = Vec::new();
        let read = (&self.file).take(MAX_FILE).read_to_end(&mut bytes);
        read.map_err(|error| format!("cannot be read: {error}"))?;
        Ok(bytes)
    }
}

fn path_of(file: &File) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
}

/// A symbol and its name.
type Symbol = (String, elf::Sym64<Endianness>);

/// A program or library of this machine.
struct Program<'a, R: ReadRef<'a>>(Elf<'a, R>);

impl<'a, R: ReadRef<'a>> Program<'a, R> {
    fn parse(bytes: R) -> Result<Self, String> {
        let parsed = Elf::parse(bytes).map_err(|error| format!("is no program of this machine: {error}"))?;
        if parsed.elf_header().e_machine(parsed.endian()) != MACHINE {
            return Err("is a program of another machine".into());
        }
        Ok(Self(parsed))
    }

    /// The parts that are executed: where they begin in memory and in the file, and their lengths in the file. A probe anywhere else
    /// would never be hit.
    fn code(&self) -> impl Iterator<Item = (u64, u64, u64)> {
        let endian = self.0.endian();
        let headers = self.0.elf_program_headers().iter();
        let code = headers
            .filter(move |header| header.p_type(endian) == elf::PT_LOAD && header.p_flags(endian) & elf::PF_X != 0);
        code.map(move |header| (header.p_vaddr(endian), header.p_offset(endian), header.p_filesz(endian)))
    }

    fn at_offset(&self, offset: u64, counter: u64) -> Result<Place, String> {
        let inside = self.code().any(|(_, begin, length)| offset >= begin && offset - begin < length);
        if inside {
            Ok(Place { name: format!("+{offset:#x}"), offset, counter })
        } else {
            Err(format!("has no code at offset {offset:#x}"))
        }
    }

    fn at_address(&self, name: String, address: u64, counter: u64) -> Result<Place, String> {
        let found = self.code().find(|(begin, _, length)| address >= *begin && address - begin < *length);
        match found {
            Some((begin, offset, _)) => Ok(Place { name, offset: address - begin + offset, counter }),
            None => Err(format!("has no code at address {address:#x} (`{name}`)")),
        }
    }

    /// The address of a function: what others are linked to under this name, or else the only one that is called so.
    fn address_of(&self, name: &str, known: &[Symbol]) -> Result<u64, String> {
        let (mut public, mut local, mut chosen) = (Vec::new(), Vec::new(), false);
        for (found, symbol) in known {
            // With the version that others get, in the table that `strip` removes.
            if found != name && found.strip_prefix(name).is_none_or(|version| !version.starts_with("@@")) {
                continue;
            }
            match symbol.st_type() {
                elf::STT_GNU_IFUNC => chosen = true,
                elf::STT_FUNC | elf::STT_NOTYPE => {
                    let address = symbol.st_value(self.0.endian());
                    if symbol.st_bind() == elf::STB_LOCAL { local.push(address) } else { public.push(address) }
                }
                _ => {}
            }
        }
        let mut found = if public.is_empty() { local } else { public };
        found.sort_unstable();
        found.dedup();
        match found[..] {
            [address] if !chosen => Ok(address),
            _ if chosen => Err(format!(
                "chooses `{name}` among several functions when it starts (IFUNC): name one of those, or write offsets"
            )),
            [] => Err(format!("has no symbol `{name}`")),
            _ => Err(format!("has {} functions called `{name}`: write offsets", found.len())),
        }
    }

    /// Defined symbols of both tables, without those that only programs linked long ago get.
    fn symbols(&self) -> Vec<Symbol> {
        let endian = self.0.endian();
        let sections = self.0.elf_section_table();
        let versions = sections.versions(endian, self.0.data()).ok().flatten();
        let mut all = Vec::new();
        for (table, dynamic) in [(self.0.elf_symbol_table(), false), (self.0.elf_dynamic_symbol_table(), true)] {
            for (index, symbol) in table.enumerate() {
                let old = dynamic
                    && versions.as_ref().is_some_and(|versions| versions.version_index(endian, index).is_hidden());
                let named = table.symbol_name(endian, symbol).ok().and_then(|name| std::str::from_utf8(name).ok());
                if let (false, false, Some(name)) = (old, symbol.is_undefined(endian), named) {
                    all.push((name.to_owned(), *symbol));
                }
            }
        }
        all
    }
}
