//! Alerts: each once per crossing of its threshold, with the value and the threshold.

use std::time::Duration;

use crate::model::outcome::closed_list;
use crate::model::time::Timestamp;
use crate::policy::health::{DEGRADED_BELOW, HealthLevel, UNHEALTHY_BELOW};

/// Share of failed visits.
pub const ERROR_RATE: f64 = 0.05;
/// CPU of the process tree in percent of one core, where there are more than 2.
pub const CPU_PERCENT: f64 = 200.0;
/// How long the CPU must be above it.
pub const CPU_FOR: Duration = Duration::from_secs(60);
/// Resident bytes of the process tree.
pub const MEMORY_BYTES: u64 = 4 << 30;
/// Share of hosts with an open breaker.
pub const BREAKERS_SHARE: f64 = 0.10;
/// Registry epochs left open by nobody's process.
pub const ORPHAN_EPOCHS: u64 = 5;

/// Visits below which an error rate says nothing.
const ERROR_RATE_VISITS: u64 = 20;
/// Hosts below which a share of them says nothing.
const BREAKERS_HOSTS: u64 = 10;
/// An alert is over when its value has fallen to this share of the threshold: it does not flutter around it.
const CLEARED_AT: f64 = 0.9;

closed_list! {
    /// What can be wrong.
    AlertKind {
        /// The health score fell below 0.7.
        HealthDegraded = "health_degraded",
        /// The health score fell below 0.4.
        HealthUnhealthy = "health_unhealthy",
        /// More than 5 % of the last visits failed.
        ErrorRate = "error_rate",
        /// The process tree took more than 200 % CPU for 60 s on a machine with more than 2 cores.
        Cpu = "cpu",
        /// The process tree holds more than 4 GiB, or more than its limit.
        Memory = "memory",
        /// More than 10 % of the hosts have an open breaker.
        Breakers = "breakers",
        /// More than 5 registry epochs older than 2 h are open without an owner.
        OrphanEpochs = "orphan_epochs",
        /// The browser is somebody else's: address rules do not hold for what its pages ask for.
        AttachedBrowser = "attached_browser",
    }
}

/// One crossing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Alert {
    /// What is wrong.
    pub kind: AlertKind,
    /// The value that crossed.
    pub value: f64,
    /// What it crossed.
    pub threshold: f64,
}

/// What alerts are made from. `None` leaves an alert as it stands.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct AlertInputs {
    /// Health score and level.
    pub health: Option<(f64, HealthLevel)>,
    /// Failed among the last visits, and all of them.
    pub failures: Option<(u64, u64)>,
    /// CPU of the process tree in percent of one core.
    pub cpu_percent: Option<f64>,
    /// Cores of the machine.
    pub cores: u32,
    /// Resident bytes of the process tree.
    pub memory_bytes: Option<u64>,
    /// Bytes the process tree may hold (cgroup), where there is a limit.
    pub memory_limit: Option<u64>,
    /// Hosts with an open breaker, and all hosts.
    pub breakers: Option<(u64, u64)>,
    /// Open registry epochs older than 2 h without an owner.
    pub orphan_epochs: Option<u64>,
    /// Whether the browser is somebody else's.
    pub attached: Option<bool>,
}

/// Which alerts stand.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Alerts {
    standing: Vec<AlertKind>,
    cpu_since: Option<Timestamp>,
}

impl Alerts {
    /// The alerts that stand, in order of their first crossing.
    pub fn standing(&self) -> &[AlertKind] {
        &self.standing
    }

    /// The memory after these inputs, and the alerts that were raised by them.
    #[must_use]
    pub fn evaluate(&self, inputs: &AlertInputs, now: Timestamp) -> (Alerts, Vec<Alert>) {
        let mut next = self.clone();
        let mut raised = Vec::new();
        next.health(inputs, &mut raised);
        if let Some((failed, all)) = inputs.failures {
            next.above(AlertKind::ErrorRate, share(failed, all, ERROR_RATE_VISITS), ERROR_RATE, &mut raised);
        }
        next.cpu(inputs, now, &mut raised);
        if let Some(bytes) = inputs.memory_bytes {
            let threshold = inputs.memory_limit.map_or(MEMORY_BYTES, |limit| limit.min(MEMORY_BYTES));
            next.above(AlertKind::Memory, bytes as f64, threshold as f64, &mut raised);
        }
        if let Some((open, all)) = inputs.breakers {
            next.above(AlertKind::Breakers, share(open, all, BREAKERS_HOSTS), BREAKERS_SHARE, &mut raised);
        }
        if let Some(orphans) = inputs.orphan_epochs {
            next.above(AlertKind::OrphanEpochs, orphans as f64, ORPHAN_EPOCHS as f64, &mut raised);
        }
        if let Some(attached) = inputs.attached {
            next.set(AlertKind::AttachedBrowser, attached, 1.0, 0.0, &mut raised);
        }
        (next, raised)
    }

    /// The level has its own hysteresis. An unhealthy session is not announced as degraded on its way up.
    fn health(&mut self, inputs: &AlertInputs, raised: &mut Vec<Alert>) {
        let Some((score, level)) = inputs.health else { return };
        let unhealthy = level == HealthLevel::Unhealthy;
        let was_unhealthy = self.standing.contains(&AlertKind::HealthUnhealthy);
        self.set(AlertKind::HealthUnhealthy, unhealthy, score, UNHEALTHY_BELOW, raised);
        if unhealthy || (was_unhealthy && level == HealthLevel::Degraded) {
            let mut silent = Vec::new();
            self.set(AlertKind::HealthDegraded, true, score, DEGRADED_BELOW, &mut silent);
        } else {
            self.set(AlertKind::HealthDegraded, level == HealthLevel::Degraded, score, DEGRADED_BELOW, raised);
        }
    }

    fn cpu(&mut self, inputs: &AlertInputs, now: Timestamp, raised: &mut Vec<Alert>) {
        let Some(percent) = inputs.cpu_percent else { return };
        if inputs.cores <= 2 || percent <= CPU_PERCENT {
            self.cpu_since = None;
        } else if self.cpu_since.is_none_or(|since| since > now) {
            self.cpu_since = Some(now);
        }
        let long = self.cpu_since.is_some_and(|since| now.since(since) >= CPU_FOR);
        let stays = self.standing.contains(&AlertKind::Cpu) && percent > CPU_PERCENT * CLEARED_AT && inputs.cores > 2;
        self.set(AlertKind::Cpu, long || stays, percent, CPU_PERCENT, raised);
    }

    fn above(&mut self, kind: AlertKind, value: f64, threshold: f64, raised: &mut Vec<Alert>) {
        let bar = if self.standing.contains(&kind) { threshold * CLEARED_AT } else { threshold };
        self.set(kind, value > bar, value, threshold, raised);
    }

    fn set(&mut self, kind: AlertKind, wrong: bool, value: f64, threshold: f64, raised: &mut Vec<Alert>) {
        let stood = self.standing.contains(&kind);
        if wrong && !stood {
            self.standing.push(kind);
            raised.push(Alert { kind, value, threshold });
        } else if !wrong && stood {
            self.standing.retain(|other| *other != kind);
        }
    }
}

fn share(part: u64, all: u64, least: u64) -> f64 {
    if all < least { 0.0 } else { part as f64 / all as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_000_000);

    #[test]
    fn each_alert_has_its_threshold() {
        #[track_caller]
        fn check(name: &str, inputs: AlertInputs, expected: Option<(AlertKind, f64, f64)>) {
            let (_, raised) = Alerts::default().evaluate(&inputs, NOW);
            let got: Vec<_> = raised.iter().map(|alert| (alert.kind, alert.value, alert.threshold)).collect();
            assert_eq!(got, expected.into_iter().collect::<Vec<_>>(), "{name}");
        }
        let none = AlertInputs { cores: 4, ..AlertInputs::default() };
        let health = |score, level| AlertInputs { health: Some((score, level)), ..none };
        check("healthy", health(0.9, HealthLevel::Healthy), None);
        let degraded = Some((AlertKind::HealthDegraded, 0.6, 0.7));
        check("degraded", health(0.6, HealthLevel::Degraded), degraded);
        let unhealthy = Some((AlertKind::HealthUnhealthy, 0.3, 0.4));
        check("unhealthy: one alert, not two", health(0.3, HealthLevel::Unhealthy), unhealthy);
        let failures = |failed, all| AlertInputs { failures: Some((failed, all)), ..none };
        check("5 % errors", failures(10, 200), None);
        check("6 % errors", failures(12, 200), Some((AlertKind::ErrorRate, 0.06, 0.05)));
        check("too few visits", failures(5, 19), None);
        let memory = |bytes, limit| AlertInputs { memory_bytes: Some(bytes), memory_limit: limit, ..none };
        check("4 GiB", memory(4 << 30, None), None);
        let five = (5u64 << 30) as f64;
        check("5 GiB", memory(5 << 30, None), Some((AlertKind::Memory, five, (4u64 << 30) as f64)));
        check("its limit", memory(1 << 30, Some(1 << 30)), None);
        let gib = (1u64 << 30) as f64;
        check("over its limit", memory((1 << 30) + 1, Some(1 << 30)), Some((AlertKind::Memory, gib + 1.0, gib)));
        let breakers = |open, all| AlertInputs { breakers: Some((open, all)), ..none };
        check("10 % of hosts", breakers(10, 100), None);
        check("11 % of hosts", breakers(11, 100), Some((AlertKind::Breakers, 0.11, 0.10)));
        check("few hosts", breakers(1, 1), None);
        let orphans = |n| AlertInputs { orphan_epochs: Some(n), ..none };
        check("5 orphans", orphans(5), None);
        check("6 orphans", orphans(6), Some((AlertKind::OrphanEpochs, 6.0, 5.0)));
        let attached = |is| AlertInputs { attached: Some(is), ..none };
        check("a browser of our own", attached(false), None);
        check("somebody else's browser", attached(true), Some((AlertKind::AttachedBrowser, 1.0, 0.0)));
        check("nothing measured", none, None);
    }

    #[test]
    fn once_per_crossing() {
        let inputs = |failed| AlertInputs { failures: Some((failed, 100)), ..AlertInputs::default() };
        let mut alerts = Alerts::default();
        let mut count = |failed| {
            let (next, raised) = alerts.evaluate(&inputs(failed), NOW);
            alerts = next;
            raised.len()
        };
        assert_eq!([count(6), count(7), count(5), count(6)], [1, 0, 0, 0], "flutters, one alert");
        assert_eq!([count(4), count(6)], [0, 1], "over, then again");
    }

    #[test]
    fn health_recovers_without_a_second_alert() {
        use HealthLevel::{Degraded, Healthy, Unhealthy};
        let mut alerts = Alerts::default();
        let mut kinds = Vec::new();
        for (score, level) in [(0.6, Degraded), (0.3, Unhealthy), (0.6, Degraded), (0.9, Healthy), (0.6, Degraded)] {
            let inputs = AlertInputs { health: Some((score, level)), ..AlertInputs::default() };
            let (next, raised) = alerts.evaluate(&inputs, NOW);
            alerts = next;
            kinds.extend(raised.into_iter().map(|alert| alert.kind));
        }
        use AlertKind::{HealthDegraded, HealthUnhealthy};
        assert_eq!(kinds, [HealthDegraded, HealthUnhealthy, HealthDegraded]);
        assert_eq!(alerts.standing(), [HealthDegraded]);
    }

    #[test]
    fn cpu_must_last_a_minute_on_more_than_two_cores() {
        #[track_caller]
        fn check(name: &str, cores: u32, samples: &[(u64, f64)], expected: usize) {
            let mut alerts = Alerts::default();
            let mut count = 0;
            for (second, percent) in samples {
                let inputs = AlertInputs { cpu_percent: Some(*percent), cores, ..AlertInputs::default() };
                let (next, raised) = alerts.evaluate(&inputs, NOW + Duration::from_secs(*second));
                alerts = next;
                count += raised.len();
            }
            assert_eq!(count, expected, "{name}");
        }
        check("a peak", 4, &[(0, 300.0), (59, 300.0), (60, 100.0)], 0);
        check("a minute", 4, &[(0, 300.0), (30, 300.0), (60, 300.0), (90, 300.0)], 1);
        check("begun anew", 4, &[(0, 300.0), (30, 150.0), (40, 300.0), (90, 300.0)], 0);
        check("just under, still standing", 4, &[(0, 300.0), (60, 300.0), (70, 190.0), (130, 300.0)], 1);
        check("two cores", 2, &[(0, 300.0), (60, 300.0)], 0);
    }
}
