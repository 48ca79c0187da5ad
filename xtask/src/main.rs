//! `cargo xtask`: what builds, checks and shows vipd.
fn main() {}
