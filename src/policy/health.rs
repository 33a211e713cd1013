//! The health of a session: a product of factors, so that one dead factor pulls it down, each with its reason.

use std::time::Duration;

use crate::model::heartbeat::HealthFactor;
use crate::model::outcome::closed_list;
use crate::model::session::SelfTestResult;

/// Visits over which success is measured.
pub const SUCCESS_WINDOW: usize = 200;

/// Nothing for this long with work due is no progress at all.
pub const STALL: Duration = Duration::from_secs(300);

/// Below this score a session is degraded.
pub const DEGRADED_BELOW: f64 = 0.7;

/// Below this score a session is unhealthy.
pub const UNHEALTHY_BELOW: f64 = 0.4;

/// A level is left upwards only this far above the score at which it was entered.
pub const HYSTERESIS: f64 = 0.1;

/// Hosts that are gone are the hosts' trouble: the breakers alone never make a session unhealthy below this.
const BREAKERS_FLOOR: f64 = 0.2;

/// With a sandbox that was asked for and is not in force: below the bar of what is healthy.
const UNSANDBOXED: f64 = 0.6;
/// With a browser that no address rule holds for: seen at a glance, and no alarm by itself.
const ATTACHED: f64 = 0.9;

closed_list! {
    /// What a score means, worst last.
    HealthLevel {
        /// All is well.
        Healthy = "healthy",
        /// Something is wrong; the crawl goes on.
        Degraded = "degraded",
        /// Somebody should look.
        Unhealthy = "unhealthy",
    }
}

/// What the score is made from. `None`, and counts of nothing, say that there is nothing to judge: factor 1.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct HealthInputs {
    /// Fetched among the last `SUCCESS_WINDOW` visits; a 404 is fetched.
    pub fetched: u64,
    /// Failed among them.
    pub failed: u64,
    /// Something could be visited now: waits for politeness, pauses and an empty queue excuse a standstill.
    pub work_due: bool,
    /// Pages per second over the last `STALL`, or since the start when that is less; excused waits left out.
    pub recent_rate: f64,
    /// Pages per second over the last 15 minutes, excused waits left out.
    pub mean_rate: f64,
    /// Time since a URL last ended with work due (excused waits left out).
    pub idle: Duration,
    /// Age of the oldest visit in flight.
    pub oldest_visit: Option<Duration>,
    /// A visit's deadline.
    pub visit_deadline: Duration,
    /// Browser restarts in the last hour.
    pub browser_restarts: u32,
    /// What was seen of the first browser once a page had come through it.
    pub self_test: Option<SelfTestResult>,
    /// Share of queued URLs behind open breakers, 0..1.
    pub breakers_share: f64,
    /// The browser's own breaker is not closed, and the session needs a browser: all of them are behind it.
    pub browser_out: bool,
    /// The session's browser is somebody else's.
    pub attached: bool,
    /// Free share of the memory that may be used (cgroup, then system), 0..1.
    pub memory_headroom: Option<f64>,
    /// Free bytes on the state directory's file system.
    pub disk_free: Option<u64>,
    /// Bytes below which crawling pauses.
    pub disk_reserve: u64,
    /// 99th percentile of recent commits.
    pub commit_p99: Option<Duration>,
}

/// A judged score.
#[derive(Debug, Clone, PartialEq)]
pub struct Health {
    /// 0..1, the product of the factors.
    pub score: f64,
    /// The factors, always all eight, in the order of the table in the manual; a ninth where the browser is
    /// somebody else's.
    pub factors: Vec<HealthFactor>,
    /// What the score means, given what it meant before.
    pub level: HealthLevel,
}

/// Judges a session whose level was `before`.
pub fn judge(inputs: &HealthInputs, before: HealthLevel) -> Health {
    let mut factors = vec![
        success(inputs),
        progress(inputs),
        oldest_visit(inputs),
        browser(inputs),
        breakers(inputs),
        memory(inputs),
        disk(inputs),
        commit_latency(inputs),
    ];
    factors.extend(inputs.attached.then(attached));
    let product: f64 = factors.iter().map(|factor| factor.value).product();
    // Without the noise of the multiplication, 0.5 × 0.8 lies on the bar of 0.4 and not below it.
    let score = (product * 1e9).round() / 1e9;
    Health { score, factors, level: level(score, before) }
}

/// The level of a score, given the level before.
pub fn level(score: f64, before: HealthLevel) -> HealthLevel {
    let bar = |threshold: f64, at_or_below: bool| threshold + if at_or_below { HYSTERESIS } else { 0.0 };
    if score < bar(UNHEALTHY_BELOW, before == HealthLevel::Unhealthy) {
        HealthLevel::Unhealthy
    } else if score < bar(DEGRADED_BELOW, before != HealthLevel::Healthy) {
        HealthLevel::Degraded
    } else {
        HealthLevel::Healthy
    }
}

/// 0 at `zero`, 1 at `one`, linear between, whichever is larger; what is not a number is judged as the worst.
fn linear(value: f64, zero: f64, one: f64) -> f64 {
    let share = (value - zero) / (one - zero);
    if share.is_nan() { 0.0 } else { share.clamp(0.0, 1.0) }
}

fn factor(name: &str, value: f64, reason: String) -> HealthFactor {
    HealthFactor { name: name.to_owned(), value, reason }
}

fn nothing_known(name: &str, reason: &str) -> HealthFactor {
    factor(name, 1.0, reason.to_owned())
}

fn success(inputs: &HealthInputs) -> HealthFactor {
    let all = inputs.fetched.saturating_add(inputs.failed);
    if all == 0 {
        return nothing_known("success", "no visit has ended yet");
    }
    let share = inputs.fetched as f64 / all as f64;
    let reason = format!("{} of the last {all} visits were answered ({:.0} %)", inputs.fetched, share * 100.0);
    factor("success", linear(share, 0.20, 0.95), reason)
}

fn progress(inputs: &HealthInputs) -> HealthFactor {
    if !inputs.work_due {
        return nothing_known("progress", "nothing is due");
    }
    let idle = inputs.idle.as_secs_f64();
    if inputs.idle >= STALL {
        return factor("progress", 0.0, format!("nothing for {idle:.0} s with work due"));
    }
    // Without a mean to compare with (just started) only the standstill counts.
    if inputs.mean_rate <= 0.0 {
        let value = linear(idle, STALL.as_secs_f64(), 0.0);
        return factor("progress", value, format!("no page yet, for {idle:.0} s"));
    }
    let share = inputs.recent_rate / inputs.mean_rate;
    let reason = format!(
        "{:.2} pages/s in the last 5 minutes, {:.2} pages/s in the last 15",
        inputs.recent_rate, inputs.mean_rate
    );
    factor("progress", linear(share, 0.0, 0.5), reason)
}

fn oldest_visit(inputs: &HealthInputs) -> HealthFactor {
    let Some(age) = inputs.oldest_visit else {
        return nothing_known("oldest_visit", "no visit in flight");
    };
    let deadline = inputs.visit_deadline.max(Duration::from_millis(1)).as_secs_f64();
    let reason = format!("the oldest visit has run for {:.0} s of {deadline:.0} s", age.as_secs_f64());
    factor("oldest_visit", linear(age.as_secs_f64() / deadline, 3.0, 1.0), reason)
}

fn browser(inputs: &HealthInputs) -> HealthFactor {
    let (held, seen) = match inputs.self_test {
        None => (1.0, ""),
        Some(SelfTestResult::Sandboxed) => (1.0, "; self-test: pages come through, the sandbox is on"),
        Some(SelfTestResult::SandboxOff) => (1.0, "; self-test: pages come through, the sandbox is off as configured"),
        Some(SelfTestResult::Attached) => (1.0, "; self-test: pages come through, a sandbox cannot be seen from here"),
        Some(SelfTestResult::NotInForce) => {
            (UNSANDBOXED, "; self-test: the sandbox is not in force, `crawld doctor` says what to do")
        }
    };
    let reason = format!("{} browser restarts in the last hour{seen}", inputs.browser_restarts);
    factor("browser", linear(f64::from(inputs.browser_restarts), 10.0, 1.0) * held, reason)
}

fn breakers(inputs: &HealthInputs) -> HealthFactor {
    if inputs.browser_out {
        return factor(
            "breakers",
            BREAKERS_FLOOR,
            "the browser's breaker is open: no browser can be started".to_owned(),
        );
    }
    let reason = format!("{:.0} % of queued URLs are behind open breakers", inputs.breakers_share * 100.0);
    factor("breakers", linear(inputs.breakers_share, 1.0, 0.05).max(BREAKERS_FLOOR), reason)
}

fn attached() -> HealthFactor {
    let reason = "the browser is attached (cdp_url): address rules do not hold for what its pages ask for";
    factor("attached_browser", ATTACHED, reason.to_owned())
}

fn memory(inputs: &HealthInputs) -> HealthFactor {
    let Some(headroom) = inputs.memory_headroom else {
        return nothing_known("memory", "not measured");
    };
    factor("memory", linear(headroom, 0.02, 0.20), format!("{:.0} % of memory is free", headroom * 100.0))
}

fn disk(inputs: &HealthInputs) -> HealthFactor {
    let Some(free) = inputs.disk_free else {
        return nothing_known("disk", "not measured");
    };
    let reserve = inputs.disk_reserve.max(1);
    let reason = format!("{} MiB free, {} MiB are kept in reserve", free >> 20, inputs.disk_reserve >> 20);
    factor("disk", linear(free as f64 / reserve as f64, 1.0, 2.0), reason)
}

fn commit_latency(inputs: &HealthInputs) -> HealthFactor {
    let Some(p99) = inputs.commit_p99 else {
        return nothing_known("commit_latency", "no commit yet");
    };
    let ms = p99.as_secs_f64() * 1000.0;
    factor("commit_latency", linear(ms, 10_000.0, 250.0), format!("99 % of commits take at most {ms:.0} ms"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const S: fn(u64) -> Duration = Duration::from_secs;

    fn well() -> HealthInputs {
        HealthInputs {
            fetched: 200,
            work_due: true,
            recent_rate: 2.0,
            mean_rate: 2.0,
            oldest_visit: Some(S(10)),
            visit_deadline: S(90),
            memory_headroom: Some(0.5),
            disk_free: Some(100 << 30),
            disk_reserve: 2 << 30,
            commit_p99: Some(Duration::from_millis(20)),
            ..HealthInputs::default()
        }
    }

    #[test]
    fn every_factor_has_its_two_ends() {
        #[track_caller]
        fn check(name: &str, expected: f64, change: impl FnOnce(&mut HealthInputs)) {
            let mut inputs = well();
            change(&mut inputs);
            let health = judge(&inputs, HealthLevel::Healthy);
            let factor = health.factors.iter().find(|factor| factor.name == name).unwrap();
            assert!((factor.value - expected).abs() < 1e-9, "{name}: {} ({})", factor.value, factor.reason);
            assert!((health.score - expected).abs() < 1e-9, "the others are 1: {health:?}");
        }
        check("success", 1.0, |i| (i.fetched, i.failed) = (190, 10));
        check("success", 0.5, |i| (i.fetched, i.failed) = (115, 85));
        check("success", 0.0, |i| (i.fetched, i.failed) = (40, 160));
        check("success", 0.0, |i| (i.fetched, i.failed) = (0, 1));
        check("success", 1.0, |i| (i.fetched, i.failed) = (0, 0));
        check("progress", 1.0, |i| i.recent_rate = 1.0);
        check("progress", 0.5, |i| i.recent_rate = 0.5);
        check("progress", 0.0, |i| i.recent_rate = 0.0);
        check("progress", 0.0, |i| i.idle = S(300));
        check("progress", 1.0, |i| (i.idle, i.work_due) = (S(3000), false));
        check("progress", 0.8, |i| (i.mean_rate, i.recent_rate, i.idle) = (0.0, 0.0, S(60)));
        check("oldest_visit", 1.0, |i| i.oldest_visit = Some(S(90)));
        check("oldest_visit", 0.5, |i| i.oldest_visit = Some(S(180)));
        check("oldest_visit", 0.0, |i| i.oldest_visit = Some(S(270)));
        check("oldest_visit", 1.0, |i| i.oldest_visit = None);
        check("browser", 1.0, |i| i.browser_restarts = 1);
        check("browser", 5.0 / 9.0, |i| i.browser_restarts = 5);
        check("browser", 0.0, |i| i.browser_restarts = 10);
        check("browser", 1.0, |i| i.self_test = Some(SelfTestResult::Sandboxed));
        check("browser", 1.0, |i| i.self_test = Some(SelfTestResult::SandboxOff));
        check("browser", 0.6, |i| i.self_test = Some(SelfTestResult::NotInForce));
        check("breakers", 1.0, |i| i.breakers_share = 0.05);
        check("breakers", 0.5, |i| i.breakers_share = 0.525);
        check("breakers", 0.2, |i| i.breakers_share = 1.0);
        check("breakers", 0.2, |i| i.browser_out = true);
        check("attached_browser", 0.9, |i| i.attached = true);
        check("memory", 1.0, |i| i.memory_headroom = Some(0.20));
        check("memory", 0.5, |i| i.memory_headroom = Some(0.11));
        check("memory", 0.0, |i| i.memory_headroom = Some(0.02));
        check("memory", 1.0, |i| i.memory_headroom = None);
        check("disk", 1.0, |i| i.disk_free = Some(4 << 30));
        check("disk", 0.5, |i| i.disk_free = Some(3 << 30));
        check("disk", 0.0, |i| i.disk_free = Some(2 << 30));
        check("disk", 1.0, |i| i.disk_free = None);
        check("commit_latency", 1.0, |i| i.commit_p99 = Some(Duration::from_millis(250)));
        check("commit_latency", 0.5, |i| i.commit_p99 = Some(Duration::from_millis(5125)));
        check("commit_latency", 0.0, |i| i.commit_p99 = Some(S(10)));
        check("commit_latency", 1.0, |i| i.commit_p99 = None);
    }

    #[test]
    fn a_session_that_has_just_begun_is_healthy() {
        let health = judge(&HealthInputs::default(), HealthLevel::Healthy);
        assert_eq!((health.score, health.level), (1.0, HealthLevel::Healthy));
        assert_eq!(health.factors.len(), 8);
        assert!(health.factors.iter().all(|factor| !factor.reason.is_empty()));
    }

    #[test]
    fn levels_are_left_later_than_they_are_entered() {
        use HealthLevel::{Degraded, Healthy, Unhealthy};
        #[track_caller]
        fn check(score: f64, before: HealthLevel, expected: HealthLevel) {
            assert_eq!(level(score, before), expected, "{score} after {before}");
        }
        check(1.0, Healthy, Healthy);
        check(0.70, Healthy, Healthy);
        check(0.69, Healthy, Degraded);
        check(0.39, Healthy, Unhealthy);
        check(0.75, Degraded, Degraded);
        check(0.81, Degraded, Healthy);
        check(0.40, Degraded, Degraded);
        check(0.39, Degraded, Unhealthy);
        check(0.45, Unhealthy, Unhealthy);
        check(0.51, Unhealthy, Degraded);
        check(0.75, Unhealthy, Degraded);
        check(0.81, Unhealthy, Healthy);
    }

    fn any_inputs() -> impl Strategy<Value = HealthInputs> {
        let share = prop_oneof![any::<f64>(), 0.0f64..1.0];
        (
            (0u64..=200, 0u64..=200, any::<bool>(), any::<f64>(), any::<f64>(), 0u64..1000),
            (0u64..1000, 0u64..200, 0u32..20, share.clone(), share, any::<u64>(), any::<u64>(), 0u64..20_000),
        )
            .prop_map(|(a, b)| HealthInputs {
                fetched: a.0,
                failed: a.1,
                work_due: a.2,
                recent_rate: a.3,
                mean_rate: a.4,
                idle: S(a.5),
                oldest_visit: Some(S(b.0)),
                visit_deadline: S(b.1),
                browser_restarts: b.2,
                self_test: None,
                breakers_share: b.3,
                browser_out: false,
                attached: false,
                memory_headroom: Some(b.4),
                disk_free: Some(b.5),
                disk_reserve: b.6,
                commit_p99: Some(Duration::from_millis(b.7)),
            })
    }

    proptest! {
        #[test]
        fn the_score_is_always_a_number_within_0_and_1(inputs in any_inputs()) {
            let health = judge(&inputs, HealthLevel::Healthy);
            for value in health.factors.iter().map(|f| f.value).chain([health.score]) {
                prop_assert!((0.0..=1.0).contains(&value), "{health:?}");
            }
        }

        #[test]
        fn worse_inputs_never_score_better(inputs in any_inputs(), more in 1u32..1000) {
            let (by, part) = (u64::from(more), f64::from(more) / 100.0);
            let worse: [HealthInputs; 9] = [
                HealthInputs { failed: inputs.failed + by, fetched: inputs.fetched.max(1), ..inputs },
                HealthInputs { recent_rate: inputs.recent_rate - part, ..inputs },
                HealthInputs { idle: inputs.idle + S(by), ..inputs },
                HealthInputs { oldest_visit: inputs.oldest_visit.map(|age| age + S(by)), ..inputs },
                HealthInputs { browser_restarts: inputs.browser_restarts + more, ..inputs },
                HealthInputs { breakers_share: inputs.breakers_share + part, ..inputs },
                HealthInputs { memory_headroom: inputs.memory_headroom.map(|share| share - part), ..inputs },
                HealthInputs { disk_free: inputs.disk_free.map(|free| free.saturating_sub(by << 20)), ..inputs },
                HealthInputs { commit_p99: inputs.commit_p99.map(|p99| p99 + S(by)), ..inputs },
            ];
            let base = HealthInputs { fetched: inputs.fetched.max(1), ..inputs };
            let score = judge(&base, HealthLevel::Healthy).score;
            for (i, worse) in worse.into_iter().enumerate() {
                let worse = HealthInputs { fetched: inputs.fetched.max(1), ..worse };
                prop_assert!(judge(&worse, HealthLevel::Healthy).score <= score + 1e-12, "input {i}");
            }
        }
    }
}
