//! `zerok`: a device at the terminal.

fn main() {}
