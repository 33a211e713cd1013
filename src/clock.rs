//! The only reader of the clocks. Everything else takes `now` as an argument or holds a `Clock`.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::model::time::Timestamp;

/// Wall-clock source; a test can shift it.
#[derive(Debug, Clone, Default)]
pub struct Clock {
    shift_ms: Arc<AtomicI64>,
}

impl Clock {
    /// The system's clock.
    pub fn system() -> Self {
        Clock::default()
    }

    /// The present instant.
    pub fn now(&self) -> Timestamp {
        let unix_ms = match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
            Err(before) => -i64::try_from(before.duration().as_millis()).unwrap_or(i64::MAX),
        };
        Timestamp::from_millis(unix_ms.saturating_add(self.shift_ms.load(Ordering::Relaxed)))
    }

    /// Moves this clock and its clones by `ms` milliseconds: for tests of clock jumps.
    pub fn shift(&self, ms: i64) {
        self.shift_ms.fetch_add(ms, Ordering::Relaxed);
    }
}

/// Time since boot as an instant: for intervals within this process, which no setting of the clock may stretch.
pub fn uptime() -> Timestamp {
    Timestamp::from_millis(i64::try_from(boottime_ms()).unwrap_or(i64::MAX))
}

/// Milliseconds since boot, suspend included; never jumps within one boot.
pub fn boottime_ms() -> u64 {
    let t = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    (t.tv_sec as u64) * 1000 + (t.tv_nsec as u64) / 1_000_000
}
