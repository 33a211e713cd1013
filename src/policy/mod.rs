//! Decisions: pure, synchronous, total. `now` and randomness are arguments.
