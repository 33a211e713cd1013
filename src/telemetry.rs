//! Logs: text or JSON on stderr, journald priorities under systemd, control characters escaped.
