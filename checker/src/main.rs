//! Checks histories.
fn main() {}
