//! Which registers hold a system call, its arguments and its result.

use nix::libc::user_regs_struct;

#[cfg(target_arch = "x86_64")]
pub(crate) fn asked(registers: &user_regs_struct) -> (i64, [u64; 6]) {
    let user_regs_struct { orig_rax, rdi, rsi, rdx, r10, r8, r9, .. } = *registers;
    (orig_rax.cast_signed(), [rdi, rsi, rdx, r10, r8, r9])
}

#[cfg(target_arch = "x86_64")]
pub(crate) fn result(registers: &mut user_regs_struct) -> &mut u64 {
    &mut registers.rax
}

#[cfg(target_arch = "aarch64")]
pub(crate) fn asked(registers: &user_regs_struct) -> (i64, [u64; 6]) {
    let [a, b, c, d, e, f, _, _, number, ..] = registers.regs;
    (number.cast_signed(), [a, b, c, d, e, f])
}

#[cfg(target_arch = "aarch64")]
pub(crate) fn result(registers: &mut user_regs_struct) -> &mut u64 {
    &mut registers.regs[0]
}
