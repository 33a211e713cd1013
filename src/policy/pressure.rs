//! How many visits at once the machine bears: up by one while it is at ease, down by a quarter under load, and no
//! new visit at all when memory runs out.

use std::time::Duration;

use crate::model::outcome::closed_list;
use crate::model::task::FetchMode;

/// Free share of memory below which no visit starts and browsers are recycled, unless configured otherwise.
pub const MEMORY_RESERVE: f64 = 0.10;

/// Visits start again with this much above the reserve.
const MEMORY_RESUME: f64 = 0.05;

/// Below this multiple of the reserve concurrency shrinks: before the reserve is reached.
const MEMORY_TIGHT: f64 = 1.5;

/// Above this multiple of the reserve it may grow.
const MEMORY_AMPLE: f64 = 2.5;

/// Share of time in which some task waited for memory, in percent over 10 s (PSI "some avg10"), at which the kernel
/// is already reclaiming in earnest.
const PSI_MEMORY_HIGH: f64 = 20.0;

/// CPU of the machine above which slow pages are our own doing.
const CPU_HIGH: f64 = 0.95;

/// CPU of the machine below which it may grow.
const CPU_EASY: f64 = 0.75;

/// Page latency, as a multiple of its own best, that shows overload.
const LATENCY_HIGH: f64 = 3.0;

/// Page latency, as a multiple of its own best, up to which it may grow.
const LATENCY_EASY: f64 = 1.5;

/// Memory of a tab with an ordinary page in it, its share of the browser included.
const TAB_BYTES: u64 = 300 << 20;

/// Memory of a plain HTTP visit: a body at its default limit streams through, its text and links stay.
const HTTP_BYTES: u64 = 8 << 20;

/// What the machine looks like. `None` is not measured and neither helps nor hinders.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct LoadSample {
    /// Busy share of all cores, 0..1.
    pub cpu_busy: Option<f64>,
    /// CPU of our process tree in percent of one core; shown, not judged.
    pub tree_cpu_percent: Option<f64>,
    /// Free share of the memory that may be used, 0..1.
    pub memory_headroom: Option<f64>,
    /// PSI memory "some avg10", in percent.
    pub psi_memory: Option<f64>,
    /// Recent median time of a visit.
    pub latency: Option<Duration>,
    /// The best such median of this lifetime.
    pub best_latency: Option<Duration>,
}

/// Where concurrency stands.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Concurrency {
    /// Visits allowed at once now.
    pub allowed: u32,
    /// Visits in flight.
    pub in_use: u32,
    /// Never below; at least 1.
    pub least: u32,
    /// Never above.
    pub most: u32,
    /// Whether the last verdict was `Stop`.
    pub stopped: bool,
    /// Free share of memory to keep, 0..1: `MEMORY_RESERVE` or as configured.
    pub memory_reserve: f64,
}

closed_list! {
    /// Which way concurrency goes.
    Step {
        /// One more.
        Up = "up",
        /// As it is.
        Hold = "hold",
        /// A quarter less.
        Down = "down",
        /// No new visit starts; tabs and browsers are recycled to give memory back.
        Stop = "stop",
    }
}

closed_list! {
    /// Why concurrency goes that way.
    PressureReason {
        /// Memory below its reserve.
        MemoryReserve = "memory_reserve",
        /// Memory close to its reserve.
        MemoryTight = "memory_tight",
        /// The kernel reports stalls for memory.
        MemoryStalls = "memory_stalls",
        /// All cores busy and pages much slower than they can be.
        CpuSaturated = "cpu_saturated",
        /// Not at ease, not in need.
        Settled = "settled",
        /// What is allowed is not used.
        Unused = "unused",
        /// At its bound.
        AtBound = "at_bound",
        /// Everything is at ease.
        AtEase = "at_ease",
    }
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// Which way.
    pub step: Step,
    /// Visits allowed at once from now on (with `Stop`: once it is over).
    pub allowed: u32,
    /// Close idle tabs and replace browsers as they become free.
    pub recycle: bool,
    /// Why.
    pub reason: PressureReason,
}

/// Judges a sample; asked every few seconds.
pub fn judge(load: &LoadSample, at: &Concurrency) -> Verdict {
    let least = at.least.max(1);
    let most = at.most.max(least);
    let allowed = at.allowed.clamp(least, most);
    let down = |reason| {
        let fewer = (allowed - (allowed / 4).max(1).min(allowed)).max(least);
        let step = if fewer < allowed { Step::Down } else { Step::Hold };
        Verdict { step, allowed: fewer, recycle: false, reason }
    };
    let hold = |reason| Verdict { step: Step::Hold, allowed, recycle: false, reason };
    // What is not a number was not measured.
    let measured = |value: Option<f64>| value.filter(|value| value.is_finite());

    let free = measured(load.memory_headroom);
    let reserve = at.memory_reserve;
    let stop_below = if at.stopped { reserve + MEMORY_RESUME } else { reserve };
    if free.is_some_and(|free| free < stop_below) {
        let allowed = if at.stopped { allowed } else { down(PressureReason::MemoryReserve).allowed };
        return Verdict { step: Step::Stop, allowed, recycle: true, reason: PressureReason::MemoryReserve };
    }
    if free.is_some_and(|free| free < MEMORY_TIGHT * reserve) {
        return down(PressureReason::MemoryTight);
    }
    if measured(load.psi_memory).is_some_and(|stalled| stalled > PSI_MEMORY_HIGH) {
        return down(PressureReason::MemoryStalls);
    }
    let busy = measured(load.cpu_busy);
    let slowdown = slowdown(load);
    if busy.is_some_and(|busy| busy > CPU_HIGH) && slowdown.is_some_and(|times| times > LATENCY_HIGH) {
        return down(PressureReason::CpuSaturated);
    }
    let at_ease = busy.is_none_or(|busy| busy < CPU_EASY)
        && free.is_none_or(|free| free > MEMORY_AMPLE * reserve)
        && slowdown.is_none_or(|times| times <= LATENCY_EASY);
    match (at_ease, at.in_use < allowed, allowed >= most) {
        (false, ..) => hold(PressureReason::Settled),
        (true, true, _) => hold(PressureReason::Unused),
        (true, false, true) => hold(PressureReason::AtBound),
        (true, false, false) => {
            Verdict { step: Step::Up, allowed: allowed + 1, recycle: false, reason: PressureReason::AtEase }
        }
    }
}

fn slowdown(load: &LoadSample) -> Option<f64> {
    let (latency, best) = (load.latency?, load.best_latency?);
    (!best.is_zero()).then(|| latency.as_secs_f64() / best.as_secs_f64())
}

/// Visits at once to begin with: 2 tabs or 8 plain visits per core, within half the memory. A page waits for its
/// server and for its own timers between two bursts of work: with one tab a core a third of the machine idles.
pub fn initial_tabs(cores: u32, memory_bytes: u64, mode: FetchMode) -> u32 {
    let wanted = match mode {
        FetchMode::Browser => cores.max(1).saturating_mul(2),
        FetchMode::Http | FetchMode::Auto => cores.max(1).saturating_mul(8),
    };
    wanted.min(max_tabs(cores, memory_bytes, mode))
}

/// Visits at once at most, where the task does not say: 4 tabs or 32 plain visits per core, within half the memory,
/// and never more than 64 tabs or 512 plain visits (each lease outstanding is a page to fetch again after a crash).
pub fn max_tabs(cores: u32, memory_bytes: u64, mode: FetchMode) -> u32 {
    let (per_core, bytes, most) = match mode {
        FetchMode::Browser => (4, TAB_BYTES, 64),
        FetchMode::Http | FetchMode::Auto => (32, HTTP_BYTES, 512),
    };
    let fitting = u32::try_from(memory_bytes / 2 / bytes).unwrap_or(u32::MAX);
    cores.max(1).saturating_mul(per_core).min(fitting).clamp(1, most)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const AT: Concurrency =
        Concurrency { allowed: 8, in_use: 8, least: 1, most: 16, stopped: false, memory_reserve: MEMORY_RESERVE };

    fn easy() -> LoadSample {
        LoadSample {
            cpu_busy: Some(0.3),
            tree_cpu_percent: Some(60.0),
            memory_headroom: Some(0.6),
            psi_memory: Some(0.0),
            latency: Some(Duration::from_millis(1000)),
            best_latency: Some(Duration::from_millis(900)),
        }
    }

    #[test]
    fn every_rule_has_its_row() {
        #[track_caller]
        fn check(name: &str, load: LoadSample, at: Concurrency, step: Step, allowed: u32, reason: PressureReason) {
            let verdict = judge(&load, &at);
            assert_eq!((verdict.step, verdict.allowed, verdict.reason), (step, allowed, reason), "{name}");
            assert_eq!(verdict.recycle, step == Step::Stop, "{name}");
        }
        use PressureReason::{
            AtBound, AtEase, CpuSaturated, MemoryReserve, MemoryStalls, MemoryTight, Settled, Unused,
        };
        let memory = |free| LoadSample { memory_headroom: Some(free), ..easy() };
        let stopped = Concurrency { stopped: true, ..AT };
        check("below the reserve", memory(0.09), AT, Step::Stop, 6, MemoryReserve);
        check("still near it", memory(0.12), stopped, Step::Stop, 8, MemoryReserve);
        check("clear of it", memory(0.30), stopped, Step::Up, 9, AtEase);
        check("at the reserve", memory(0.10), AT, Step::Down, 6, MemoryTight);
        check("tight", memory(0.14), AT, Step::Down, 6, MemoryTight);
        check("neither tight nor ample", memory(0.20), AT, Step::Hold, 8, Settled);
        let one = Concurrency { allowed: 1, in_use: 1, ..AT };
        check("tight, at the least", memory(0.14), one, Step::Hold, 1, MemoryTight);
        check("two to one", memory(0.14), Concurrency { allowed: 2, ..AT }, Step::Down, 1, MemoryTight);
        check("stalls", LoadSample { psi_memory: Some(21.0), ..easy() }, AT, Step::Down, 6, MemoryStalls);
        let saturated = LoadSample { cpu_busy: Some(0.97), latency: Some(Duration::from_secs(3)), ..easy() };
        check("saturated", saturated, AT, Step::Down, 6, CpuSaturated);
        check("busy but fast", LoadSample { cpu_busy: Some(0.97), ..easy() }, AT, Step::Hold, 8, Settled);
        let slow = LoadSample { latency: Some(Duration::from_secs(9)), ..easy() };
        check("slow for another reason", slow, AT, Step::Hold, 8, Settled);
        check("at ease", easy(), AT, Step::Up, 9, AtEase);
        check("not used", easy(), Concurrency { in_use: 3, ..AT }, Step::Hold, 8, Unused);
        check("at its bound", easy(), Concurrency { most: 8, ..AT }, Step::Hold, 8, AtBound);
        check("above its bound", easy(), Concurrency { most: 4, ..AT }, Step::Hold, 4, AtBound);
        check("nothing measured", LoadSample::default(), AT, Step::Up, 9, AtEase);
        check("not a number", memory(f64::NAN), AT, Step::Up, 9, AtEase);
    }

    #[test]
    fn beginnings_and_bounds_by_cores_and_memory() {
        #[track_caller]
        fn check(name: &str, cores: u32, memory_gib: u64, mode: FetchMode, initial: u32, most: u32) {
            let bytes = memory_gib << 30;
            assert_eq!((initial_tabs(cores, bytes, mode), max_tabs(cores, bytes, mode)), (initial, most), "{name}");
        }
        check("one core", 1, 4, FetchMode::Browser, 2, 4);
        check("two cores", 2, 8, FetchMode::Browser, 4, 8);
        check("two cores, little memory", 2, 1, FetchMode::Browser, 1, 1);
        check("16 cores", 16, 64, FetchMode::Browser, 32, 64);
        check("128 cores", 128, 512, FetchMode::Browser, 64, 64);
        check("no cores known", 0, 8, FetchMode::Browser, 2, 4);
        check("no memory known", 2, 0, FetchMode::Browser, 1, 1);
        check("plain, two cores", 2, 8, FetchMode::Http, 16, 64);
        check("plain, one core", 1, 1, FetchMode::Http, 8, 32);
        check("plain, 64 cores", 64, 256, FetchMode::Http, 512, 512);
    }

    proptest! {
        #[test]
        fn bounds_hold_whatever_is_measured(
            busy in proptest::option::of(any::<f64>()), free in proptest::option::of(any::<f64>()),
            psi in proptest::option::of(any::<f64>()), allowed in 0u32..100, in_use in 0u32..100,
            least in 0u32..20, most in 0u32..100, stopped in any::<bool>(),
        ) {
            let load = LoadSample { cpu_busy: busy, memory_headroom: free, psi_memory: psi, ..LoadSample::default() };
            let verdict = judge(&load, &Concurrency { allowed, in_use, least, most, stopped, memory_reserve: 0.1 });
            prop_assert!(verdict.allowed >= least.max(1) && verdict.allowed <= most.max(least.max(1)));
        }
    }
}
