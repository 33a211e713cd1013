//! The project's numbers.

fn main() {}
