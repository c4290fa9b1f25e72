//! The system calls and their numbers, under each of the ways in which the kernels that are supported can be called.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use crate::ir::Abi;

/// The numbers under x86-64, i386 and arm64.
type Numbers = [Option<u32>; 3];

static TABLE: LazyLock<BTreeMap<&'static str, Numbers>> = LazyLock::new(|| {
    let lines = include_str!("syscalls.txt").lines().filter(|line| !line.starts_with('#'));
    lines
        .filter_map(|line| {
            let mut words = line.split(' ');
            let name = words.next()?;
            let mut number = || words.next().and_then(|word| word.parse().ok());
            Some((name, [number(), number(), number()]))
        })
        .collect()
});

/// The number of system call `name` (`openat`) under `abi`.
#[must_use]
pub fn syscall_number(abi: Abi, name: &str) -> Option<u32> {
    let [x64, i386, arm64] = TABLE.get(name)?;
    match abi {
        Abi::X64 => *x64,
        Abi::I386 => *i386,
        Abi::Arm64 => *arm64,
    }
}

/// The name of system call `number` under `abi`.
#[must_use]
pub fn numbered(abi: Abi, number: u32) -> Option<&'static str> {
    TABLE.keys().copied().find(|name| syscall_number(abi, name) == Some(number))
}

/// Whether some kernel that is supported has the system call, and whether all have it when they are called in their own way
/// (64 bits).
#[must_use]
pub fn same_everywhere(name: &str) -> Option<bool> {
    let [x64, _, arm64] = TABLE.get(name)?;
    Some(x64.is_some() && arm64.is_some())
}

/// All names.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    TABLE.keys().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_differ_between_abis() {
        assert_eq!(syscall_number(Abi::X64, "openat"), Some(257));
        assert_eq!(syscall_number(Abi::I386, "openat"), Some(295));
        assert_eq!(syscall_number(Abi::Arm64, "openat"), Some(56));
        assert_eq!(syscall_number(Abi::Arm64, "open"), None);
        assert_eq!(syscall_number(Abi::X64, "opened"), None);
        assert_eq!(numbered(Abi::Arm64, 56), Some("openat"));
        assert_eq!(
            (same_everywhere("openat"), same_everywhere("open"), same_everywhere("x")),
            (Some(true), Some(false), None)
        );
    }

    #[test]
    fn no_two_calls_have_one_number() {
        for abi in [Abi::X64, Abi::I386, Abi::Arm64] {
            let mut numbers: Vec<u32> = names().filter_map(|name| syscall_number(abi, name)).collect();
            let count = numbers.len();
            numbers.sort_unstable();
            numbers.dedup();
            assert_eq!(numbers.len(), count, "{abi:?}");
            assert!(count > 300);
        }
    }
}
