//! Small files: paths, atomic replacement, locks, checkpoint and heartbeat.
