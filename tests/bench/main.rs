//! The project's numbers, each printed with its bar: `make bench`, or a part of it by
//! `cargo bench --bench numbers -- [store] [million] [idle] [http] [browser] [auto] [engine] [slope]`.
//!
//! `store` measures the library, everything else the real binary in a process of its own, from outside.
//! Ends with 1 when a bar is missed.

mod auto;
mod bare;
mod checkpoint;
mod cppreference;
mod daemon;
mod engine;
mod idle;
mod million;
mod report;
mod site;
mod slope;
mod store;
mod tree;

use report::Report;

/// A part of the benchmark: the word that selects it, and what it does.
type Part = (&'static str, fn(&mut Report));

const PARTS: &[Part] = &[
    ("store", store::run),
    ("million", million::run),
    ("idle", idle::run),
    ("http", cppreference::http),
    ("browser", cppreference::browser),
    ("auto", auto::run),
    ("engine", engine::run),
    ("slope", slope::run),
];

fn main() -> std::process::ExitCode {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    if let Some(unknown) = wanted.iter().find(|word| PARTS.iter().all(|(name, _)| name != word)) {
        let names: Vec<&str> = PARTS.iter().map(|(name, _)| *name).collect();
        eprintln!("bench: no part is called `{unknown}`; there are: {}", names.join(", "));
        return std::process::ExitCode::from(2);
    }
    let mut report = Report::default();
    for (name, run) in PARTS {
        if wanted.is_empty() || wanted.iter().any(|word| word == name) {
            eprintln!("bench: {name} …");
            run(&mut report);
        }
    }
    report.print();
    if report.missed() { std::process::ExitCode::FAILURE } else { std::process::ExitCode::SUCCESS }
}
