//! Other kernels than this machine's: Debian's, in qemu. The guests run tests of
//! the tiers xdp and netns, as they were built for this machine.
//!
//! It needs qemu and no privileges. `cargo xtask test` fetches the kernels.

mod guest;
mod image;

#[test]
fn linux_6_1_takes_the_program_and_answers() {
    guest::boot("6.1");
}

#[test]
fn linux_6_12_takes_the_program_and_answers() {
    guest::boot("6.12");
}
