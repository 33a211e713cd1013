//! The process: startup order, supervisor, recovery, janitor, shutdown.
