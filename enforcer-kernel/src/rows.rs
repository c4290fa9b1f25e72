//! The rows of one hook in one generation, as bytes for its tables.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};
use stockade_enforcer_common::head::Head;
use zerocopy::IntoBytes;

/// The rows of one table: key → value. Sorted, so that equal rows are equal bytes.
pub type Table = BTreeMap<Vec<u8>, Vec<u8>>;

/// What a hook needs to decide: its head and its tables, by map name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rows {
    /// The head; `slot` and `generation` are filled in by whoever installs it.
    pub head: Head,
    /// By name of the map.
    pub tables: BTreeMap<&'static str, Table>,
}

impl Rows {
    /// SHA-256 over everything that decides: tables and head, whatever slot and generation they are installed as.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        let head = Head { generation: 0, slot: 0, binary_slot: 0, binary_generation: 0, ..self.head };
        hash.update(head.as_bytes());
        for (name, table) in &self.tables {
            hash.update(name.as_bytes());
            hash.update(table.len().to_le_bytes());
            for (key, value) in table {
                hash.update(key);
                hash.update(value);
            }
        }
        hash.finalize().into()
    }
}

/// Lower-case hexadecimal of the first `bytes` bytes of a digest.
#[must_use]
pub fn hex(digest: &[u8], bytes: usize) -> String {
    use std::fmt::Write;
    digest.iter().take(bytes).fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        write!(text, "{byte:02x}").unwrap_or_default();
        text
    })
}
