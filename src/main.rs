//! Parses, calls, maps the result to an exit code; nothing else.

fn main() {}
