//! For the verifier's sake: values of which the compiler knows nothing, so that the check before a use stays a check of what
//! is used. They are as wide as registers: a check of half a register says nothing of the whole. On the host they are what
//! they are.

/// The same value.
#[cfg(not(target_arch = "bpf"))]
#[inline(always)]
#[must_use]
pub const fn opaque(value: u64) -> u64 {
    value
}

/// The same value.
#[cfg(target_arch = "bpf")]
#[inline(always)]
#[must_use]
#[allow(unsafe_code, reason = "no instructions")]
pub fn opaque(mut value: u64) -> u64 {
    // SAFETY: no instructions.
    unsafe { core::arch::asm!("/* {0} */", inout(reg) value, options(nomem, nostack, preserves_flags)) };
    value
}
