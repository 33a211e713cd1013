//! Waiting for a condition, with a deadline.

use std::time::{Duration, Instant};

/// Asks again and again until there is an answer or the deadline has passed.
pub fn until<T>(deadline: Duration, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + deadline;
    loop {
        if let Some(answer) = ask() {
            return Some(answer);
        }
        if Instant::now() >= end {
            return None;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Like [`until`]; the test fails, naming what was waited for, when the deadline passes.
#[track_caller]
pub fn expect<T>(what: &str, deadline: Duration, ask: impl FnMut() -> Option<T>) -> T {
    until(deadline, ask).unwrap_or_else(|| panic!("waited {deadline:?} in vain for: {what}"))
}
