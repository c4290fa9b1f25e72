//! Where the converted texts go: to standard output whole or as differences, or into their files.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use anyhow::{Context as _, bail};
use similar::TextDiff;

use super::Text;
use crate::args::ConvertArgs;
use crate::source::BYTE_ORDER_MARK;

pub(super) fn put_out(texts: &[Text], args: &ConvertArgs) -> anyhow::Result<()> {
    if args.write && texts.iter().any(|text| text.source.path.is_none()) {
        bail!("--write: standard input is no file");
    }
    let mut out = io::stdout().lock();
    if args.diff {
        for text in texts.iter().filter(|text| text.changed()) {
            out.write_all(text.difference().as_bytes())?;
        }
    } else if !args.write {
        out.write_all(joined(texts).as_bytes())?;
    }
    out.flush()?;
    if args.write {
        for text in texts.iter().filter(|text| text.changed()) {
            text.write()?;
        }
    }
    Ok(())
}

impl Text {
    pub(super) fn changed(&self) -> bool {
        self.text != self.source.text
    }

    fn difference(&self) -> String {
        let name = &self.source.name;
        TextDiff::from_lines(&self.source.text, &self.text).unified_diff().header(name, name).to_string()
    }

    /// Everything as it was read, so that nothing but what was rewritten differs.
    fn bytes(&self) -> Vec<u8> {
        let mark = if self.source.marked { String::from(BYTE_ORDER_MARK) } else { String::new() };
        (mark + &self.text).into_bytes()
    }

    fn write(&self) -> anyhow::Result<()> {
        let Some(path) = &self.source.path else { return Ok(()) };
        replace(path, &self.bytes()).with_context(|| format!("{} cannot be written", self.source.name))
    }
}

/// Puts a new file in the place of the old one, so that whoever reads it sees the one or the other. A link stays a link.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let path = fs::canonicalize(path)?;
    let folder = path.parent().unwrap_or_else(|| Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().set_permissions(fs::metadata(&path)?.permissions())?;
    file.as_file().sync_all()?;
    file.persist(&path).map_err(|error| error.error)?;
    Ok(())
}

/// One stream of documents: between two files a line `---`, unless there is one.
fn joined(texts: &[Text]) -> String {
    let mut all = String::new();
    for text in texts {
        if !all.is_empty() {
            if !all.ends_with('\n') {
                all.push('\n');
            }
            if !text.text.starts_with("---") {
                all += "---\n";
            }
        } else if text.source.marked && texts.len() == 1 {
            all.push(BYTE_ORDER_MARK);
        }
        all += &text.text;
    }
    all
}
