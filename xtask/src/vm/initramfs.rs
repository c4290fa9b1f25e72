//! The guest's only file system: an archive (cpio, "newc") made without root and without unpacking anything.

use std::{
    collections::BTreeSet,
    fs,
    io::Read,
    os::unix::fs::PermissionsExt,
    path::{Component, Path, PathBuf},
};

use anyhow::{Context, Result, bail};

use crate::process::Run;

const FOLDER: u32 = 0o040_755;
const LINK: u32 = 0o120_777;
const FILE: u32 = 0o100_000;

/// An archive in the making. Every folder that a path needs is added with it.
#[derive(Debug, Default)]
pub(crate) struct Archive {
    bytes: Vec<u8>,
    entries: u32,
    known: BTreeSet<String>,
}

impl Archive {
    /// Adds a folder.
    pub(crate) fn folder(&mut self, path: &str) {
        let path = path.trim_matches('/');
        if path.is_empty() || self.known.contains(path) {
            return;
        }
        if let Some((parent, _)) = path.rsplit_once('/') {
            self.folder(parent);
        }
        self.entry(path, FOLDER, &[]);
    }

    /// Adds a file with these permission bits.
    pub(crate) fn file(&mut self, path: &str, mode: u32, contents: &[u8]) {
        self.with_parents(path, FILE | (mode & 0o7777), contents);
    }

    /// Adds a symbolic link.
    pub(crate) fn link(&mut self, path: &str, target: &str) {
        self.with_parents(path, LINK, target.as_bytes());
    }

    /// Adds a file of this machine and, if it is a dynamic program, the libraries that it names. A file that is there stays.
    pub(crate) fn host_file(&mut self, from: &Path, to: &str) -> Result<()> {
        let contents = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
        let mode = fs::metadata(from)?.permissions().mode();
        self.file(to, mode, &contents);
        if contents.starts_with(b"\x7fELF") {
            for library in libraries(from)? {
                let path = library.display().to_string();
                if !self.known.contains(path.trim_matches('/')) {
                    let contents = fs::read(&library).with_context(|| format!("cannot read {path}"))?;
                    self.file(&path, 0o755, &contents);
                }
            }
        }
        Ok(())
    }

    /// Adds a file, or a folder with all that is below it.
    pub(crate) fn host_tree(&mut self, from: &Path, to: &str) -> Result<()> {
        if !from.is_dir() {
            return self.host_file(from, to);
        }
        self.folder(to);
        let entries = fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))?;
        for entry in entries {
            let entry = entry?;
            self.host_tree(&entry.path(), &format!("{to}/{}", entry.file_name().to_string_lossy()))?;
        }
        Ok(())
    }

    /// The finished archive.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, &[]);
        self.bytes
    }

    fn with_parents(&mut self, path: &str, mode: u32, contents: &[u8]) {
        let path = path.trim_matches('/');
        if self.known.contains(path) {
            return;
        }
        if let Some((parent, _)) = path.rsplit_once('/') {
            self.folder(parent);
        }
        self.entry(path, mode, contents);
    }

    fn entry(&mut self, path: &str, mode: u32, contents: &[u8]) {
        self.entries += 1;
        let size = u32::try_from(contents.len()).unwrap_or(u32::MAX);
        let name = u32::try_from(path.len() + 1).unwrap_or(u32::MAX);
        // inode, mode, uid, gid, links, time, size, device and special device (major, minor), name's length, checksum
        let fields = [self.entries, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, name, 0];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(path.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(contents);
        self.pad();
        self.known.insert(path.to_owned());
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

/// The shared libraries of a program, its loader included; none for a static one.
pub(crate) fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let mut header = [0_u8; 18];
    fs::File::open(program)?.read_exact(&mut header).context("not a program")?;
    // Relocatable objects, such as eBPF ones, have type 1 and nothing that ldd could read.
    if header.get(16) == Some(&1) {
        return Ok(Vec::new());
    }
    let listed = Run::new("ldd").arg(program).output();
    let Ok(listed) = listed else { return Ok(Vec::new()) };
    parse_libraries(&listed)
}

fn parse_libraries(listed: &str) -> Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for line in listed.lines() {
        if let Some((name, "not found")) = line.trim().split_once(" => ") {
            bail!("a program needs the library {name}, which is not here");
        }
        let path =
            line.split_whitespace().map(Path::new).find(|word| word.components().next() == Some(Component::RootDir));
        paths.extend(path.map(Path::to_path_buf));
    }
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_read_from_what_ldd_says() {
        let listed = "\tlinux-vdso.so.1 (0x00007ffd)\n\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x7f)\n\
                      \t/lib64/ld-linux-x86-64.so.2 (0x7f)\n";
        let paths = parse_libraries(listed).unwrap();
        assert_eq!(paths, ["/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"].map(PathBuf::from));
        assert!(parse_libraries("\tstatically linked\n").unwrap().is_empty());
        assert!(parse_libraries("\tlibz.so.1 => not found\n").is_err());
    }

    #[test]
    fn an_archive_has_each_folder_once_and_is_aligned() {
        let mut archive = Archive::default();
        archive.file("/a/b/c", 0o644, b"12345");
        archive.file("a/b/d", 0o755, b"");
        archive.link("a/l", "b/c");
        let entries = archive.entries;
        archive.folder("a/b");
        archive.file("a/b/c", 0o644, b"again");
        assert_eq!(archive.entries, entries, "what is known is not added again");
        let bytes = archive.finish();
        assert_eq!(bytes.len() % 4, 0);
        let text = String::from_utf8(bytes).unwrap();
        assert_eq!(text.matches("070701").count(), 6, "a, a/b, a/b/c, a/b/d, a/l and the trailer");
        assert!(text.contains("a/b/c\0") && text.contains("12345"));
    }
}
