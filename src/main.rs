//! Parses, calls, maps the result to an exit code; nothing else.

fn main() -> std::process::ExitCode {
    crawld::faults::arm_from_environment();
    crawld::cli::main().into()
}
