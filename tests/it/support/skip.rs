//! Tests that need something a machine may lack say so by name, once, where the run's log shows it.

/// Reports that the calling test could not be done here, and why.
pub fn because(test: &str, reason: &str) {
    eprintln!("SKIPPED {test}: {reason}");
}

/// Whether the tests run as root.
pub fn root() -> bool {
    rustix::process::geteuid().is_root()
}
