//! Keys of a hook's tables. Their value is a vector's number (`u32`) in the hook's vector table.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The longest text that a table can hold, in bytes.
pub const MAX_TEXT: usize = 255;
/// The longest text in the small table of whole texts.
pub const MAX_SHORT_TEXT: usize = 63;
/// Bits before a prefix in an [`LpmStrKey`]: the dimension.
pub const STR_DIMENSION_BITS: u32 = 8;
/// Bits before a prefix in an [`LpmNetKey`]: the dimension and padding.
pub const NET_DIMENSION_BITS: u32 = 32;

/// NUM: a number.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct NumKey {
    /// What the number is of.
    pub dimension: u32,
    /// Zero.
    pub reserved: u32,
    /// The number, sign-extended where it is signed.
    pub value: u64,
}

/// STR64: a whole text of at most [`MAX_SHORT_TEXT`] bytes, zeros after it (no text of the kernel contains one).
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct StrKey64 {
    /// What the text is of.
    pub dimension: u8,
    /// The text, zeros after it.
    pub text: [u8; MAX_SHORT_TEXT],
}

/// STR256: a whole text of more than [`MAX_SHORT_TEXT`] and at most [`MAX_TEXT`] bytes, zeros after it.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct StrKey256 {
    /// What the text is of.
    pub dimension: u8,
    /// The text, zeros after it.
    pub text: [u8; MAX_TEXT],
}

/// LPM_STR: a beginning (or, reversed, an end) of a text.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct LpmStrKey {
    /// In bits, the dimension's included.
    pub prefix_length: u32,
    /// What the text is of.
    pub dimension: u8,
    /// The text, zeros after it.
    pub text: [u8; MAX_TEXT],
}

/// LPM_NET: a prefix of an address (16 bytes, IPv4 mapped) or of a port (the first 2 bytes, big endian).
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct LpmNetKey {
    /// In bits, [`NET_DIMENSION_BITS`] included.
    pub prefix_length: u32,
    /// What the value is of.
    pub dimension: u8,
    /// Zero.
    pub reserved: [u8; 3],
    /// In network order, zeros after the prefix.
    pub value: [u8; 16],
}

const _: () = assert!(size_of::<NumKey>() == 16);
const _: () = assert!(size_of::<StrKey64>() == 64);
const _: () = assert!(size_of::<StrKey256>() == 256);
const _: () = assert!(size_of::<LpmStrKey>() == 260);
const _: () = assert!(size_of::<LpmNetKey>() == 24);

impl NumKey {
    /// The key of `value` in `dimension`.
    #[inline(always)]
    #[must_use]
    pub const fn new(dimension: u32, value: u64) -> Self {
        Self { dimension, reserved: 0, value }
    }
}

impl StrKey64 {
    /// The key of a whole text; `None` when it belongs into the other table (or into none).
    #[must_use]
    pub fn new(dimension: u32, text: &[u8]) -> Option<Self> {
        Some(Self { dimension: u8::try_from(dimension).ok()?, text: padded(text)? })
    }
}

impl StrKey256 {
    /// The key of a whole text; `None` when it is shorter than this table's texts or longer than any.
    #[must_use]
    pub fn new(dimension: u32, text: &[u8]) -> Option<Self> {
        if text.len() <= MAX_SHORT_TEXT {
            return None;
        }
        Some(Self { dimension: u8::try_from(dimension).ok()?, text: padded(text)? })
    }
}

impl LpmStrKey {
    /// The key of a prefix; `None` when it is longer than [`MAX_TEXT`].
    #[must_use]
    pub fn prefix(dimension: u32, text: &[u8]) -> Option<Self> {
        let prefix_length = STR_DIMENSION_BITS + 8 * u32::try_from(text.len()).ok()?;
        Some(Self { prefix_length, dimension: u8::try_from(dimension).ok()?, text: padded(text)? })
    }

    /// Whether this row's prefix is one of `text`, a key of the same table: of several, the longest is the answer.
    #[must_use]
    pub fn covers(&self, text: &Self) -> bool {
        self.prefix_length <= text.prefix_length && covers(self.prefix_length, self.as_bytes(), text.as_bytes())
    }

    /// The key of a postfix; `None` when it is longer than [`MAX_TEXT`].
    #[must_use]
    pub fn postfix(dimension: u32, text: &[u8]) -> Option<Self> {
        let mut key = Self::prefix(dimension, text)?;
        key.text.get_mut(..text.len())?.reverse();
        Some(key)
    }
}

impl LpmNetKey {
    /// The key of the first `length` bits of an address.
    #[must_use]
    pub fn address(dimension: u32, address: [u8; 16], length: u32) -> Option<Self> {
        if length > 128 {
            return None;
        }
        Some(Self {
            prefix_length: NET_DIMENSION_BITS + length,
            dimension: u8::try_from(dimension).ok()?,
            reserved: [0; 3],
            value: address,
        })
    }

    /// Whether this row's prefix is one of `value`, a key of the same table: of several, the longest is the answer.
    #[must_use]
    pub fn covers(&self, value: &Self) -> bool {
        self.prefix_length <= value.prefix_length && covers(self.prefix_length, self.as_bytes(), value.as_bytes())
    }

    /// The key of the first `length` bits of a number.
    #[must_use]
    pub fn number(dimension: u32, number: u64, length: u32) -> Option<Self> {
        if length > 64 {
            return None;
        }
        Self::address(dimension, (u128::from(number) << 64).to_be_bytes(), length)
    }

    /// The key of the first `length` bits of a port.
    #[must_use]
    pub fn port(dimension: u32, port: u16, length: u32) -> Option<Self> {
        if length > 16 {
            return None;
        }
        let [high, low] = port.to_be_bytes();
        let value = [high, low, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        Self::address(dimension, value, length)
    }
}

/// Whether two keys, their length in the first four bytes, have the same first `bits` bits after it.
fn covers(bits: u32, row: &[u8], key: &[u8]) -> bool {
    let (mut left, mut same) = (bits, true);
    for (ours, theirs) in row.iter().zip(key).skip(4) {
        let here = left.min(8);
        left -= here;
        same &= u32::from(ours ^ theirs) << here <= 0xff;
    }
    same && left == 0
}

/// `text` with zeros after it; `None` when it does not fit or contains a zero itself.
fn padded<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    if text.contains(&0) {
        return None;
    }
    let mut bytes = [0; N];
    bytes.get_mut(..text.len())?.copy_from_slice(text);
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_has_one_place() {
        for length in 0..=256 {
            let text = vec![b'x'; length];
            assert_eq!(StrKey64::new(40, &text).is_some(), length <= 63, "{length}");
            assert_eq!(StrKey256::new(40, &text).is_some(), (64..=255).contains(&length), "{length}");
            assert_eq!(LpmStrKey::prefix(40, &text).is_some(), length <= 255, "{length}");
        }
        assert_eq!(StrKey64::new(40, b"a\0b"), None);
        assert_eq!(StrKey64::new(256, b"a"), None);
    }

    #[test]
    fn a_postfix_is_reversed_and_a_prefix_counts_the_dimension() {
        let key = LpmStrKey::postfix(7, b"abc").unwrap();
        assert_eq!(&key.text[..4], b"cba\0");
        assert_eq!(key.prefix_length, 8 + 24);
        let key = LpmNetKey::port(9, 0x1f90, 16).unwrap();
        assert_eq!(key.prefix_length, 48);
        assert_eq!(key.as_bytes()[4..10], [9, 0, 0, 0, 0x1f, 0x90]);
        let key = LpmNetKey::number(9, 0x0102_0304_0506_0708, 64).unwrap();
        assert_eq!(key.prefix_length, 96);
        assert_eq!(key.as_bytes()[4..18], [9, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0]);
    }

    #[test]
    fn a_prefix_covers_what_begins_with_it() {
        let text = LpmStrKey::prefix(7, b"/etc/passwd").unwrap();
        for (prefix, expected) in [(&b""[..], true), (b"/etc/", true), (b"/etc/passwd", true), (b"/etc/passwd1", false)]
        {
            assert_eq!(LpmStrKey::prefix(7, prefix).unwrap().covers(&text), expected);
            assert!(!LpmStrKey::prefix(8, prefix).unwrap().covers(&text));
        }
        let port = LpmNetKey::port(9, 0b1011, 16).unwrap();
        assert!(LpmNetKey::port(9, 0b1000, 14).unwrap().covers(&port));
        assert!(!LpmNetKey::port(9, 0b1000, 15).unwrap().covers(&port));
    }
}
