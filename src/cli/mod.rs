//! The command line: parsing, commands, what a person reads.
