//! From what a visit brought to what the store commits: outcome, retry, links, record. Pure.

use std::collections::HashSet;
use std::time::Duration;

use crate::crawl::links::{LinkRules, sort_links};
use crate::model::ids::Epoch;
use crate::model::lease::{Lease, Links, RedirectTarget, UrlKind, VisitEnd};
use crate::model::outcome::{FailureClass, FetchReason, FetchedWith, Outcome, OutcomeKind, SkipReason};
use crate::model::record::PageRecord;
use crate::model::time::Timestamp;
use crate::model::url::CanonicalUrl;
use crate::model::visit::{PageAnswer, VisitFailure, VisitResult};
use crate::policy::retry::{self, Retry, SuspectVerdict};

/// Longest error text kept in a record, in characters.
const ERROR_MAX: usize = 500;

/// A URL that found no browser waits this long; the sessions are held within one sample of the machine.
const NO_BROWSER_WAIT: Duration = Duration::from_secs(2);

/// A visit as the worker hands it over.
#[derive(Debug, Clone, PartialEq)]
pub struct Visited {
    /// The lease to be given back.
    pub lease: Lease,
    /// How it ended.
    pub result: VisitResult,
    /// The renderer, the browser or the worker itself crashed with the visit in it.
    pub crashed: bool,
    /// When it started.
    pub started_at: Timestamp,
    /// How long it took.
    pub took: Duration,
    /// What it was fetched with, and why so; `None` where nothing was asked for.
    pub way: Option<(FetchedWith, FetchReason)>,
}

/// A visit without what it brought.
struct Visit {
    lease: Lease,
    started_at: Timestamp,
    took: Duration,
    way: Option<(FetchedWith, FetchReason)>,
}

/// What the judgement needs besides the visit.
#[derive(Debug, Clone, Copy)]
pub struct Judge<'a> {
    /// Scope and traps.
    pub rules: &'a LinkRules,
    /// Attempts per URL.
    pub attempts: u32,
    /// This lifetime.
    pub epoch: Epoch,
    /// The host is behind its open breaker: a failure that is the host's costs the URL no attempt.
    pub host_down: bool,
    /// Now.
    pub now: Timestamp,
    /// 0..1, for jitter.
    pub random: f64,
}

impl Judge<'_> {
    /// Turns a visit into its end.
    pub fn end(&self, visited: Visited) -> VisitEnd {
        let Visited { lease, result, crashed, started_at, took, way } = visited;
        let visit = Visit { lease, started_at, took, way };
        if crashed {
            return self.crashed(visit);
        }
        match result {
            VisitResult::Answer(answer) => self.answered(visit, *answer),
            VisitResult::Download(answer) => self.downloaded(&visit, *answer),
            VisitResult::Refused { hops, reason } => self.refused(visit, &hops, reason),
            VisitResult::Failed(failure) => self.failed(visit, failure),
        }
    }

    /// A redirect that was not followed, by what robots.txt says of its target or for its host's sake, is a redirect
    /// all the same: a target inside the scope is a URL of its own, with a turn and an end of its own.
    fn refused(&self, visit: Visit, hops: &[CanonicalUrl], reason: SkipReason) -> VisitEnd {
        let stopped = matches!(reason, SkipReason::Robots | SkipReason::Redirect);
        let target = hops.last().filter(|_| stopped);
        let outcome = Outcome::Skipped(if target.is_some() { SkipReason::Redirect } else { reason });
        let accepted = target.and_then(|url| self.rules.redirect(url, &visit.lease));
        let links = Links { accepted: accepted.into_iter().collect(), ..Links::default() };
        let final_url = hops.last().map(|url| url.as_str().to_owned());
        let record = PageRecord { final_url, ..self.record(&visit, outcome) };
        ended(visit.lease, outcome, record, links, None)
    }

    /// A crash is never charged an attempt; alone, it counts towards poison.
    fn crashed(&self, visit: Visit) -> VisitEnd {
        let lease = visit.lease.clone();
        let alone = lease.suspect;
        let explained = lease.crashes.0 + u32::from(alone);
        if retry::suspect_verdict(explained, lease.crashes.1) == SuspectVerdict::Poison {
            let mut record = self.record(&visit, Outcome::Skipped(SkipReason::Poison));
            record.error = Some(format!("crashed its browser {explained} times while alone in it"));
            return ended(lease, Outcome::Skipped(SkipReason::Poison), record, Links::default(), None);
        }
        VisitEnd::Retry {
            lease,
            not_before: self.now,
            charged: false,
            suspect: true,
            crash_alone: alone.then_some(true),
        }
    }

    fn answered(&self, visit: Visit, answer: PageAnswer) -> VisitEnd {
        let has_retry_after = answer.retry_after.is_some();
        if let Some(class) = retry::classify_status(answer.http_status, has_retry_after) {
            let failure = VisitFailure {
                class,
                message: format!("the server answered {}", answer.http_status),
                http_status: Some(answer.http_status),
                retry_after: answer.retry_after,
                ttfb: answer.ttfb,
                hops: answer.hops,
            };
            return self.failed(visit, failure);
        }
        let landed = answer.hops.last().filter(|url| **url != visit.lease.url).cloned();
        let Some(target) = landed else {
            let links = self.links(&visit.lease, visit.lease.hops, &answer);
            let record = fill(self.record(&visit, Outcome::Fetched), answer, &links);
            return ended(visit.lease, Outcome::Fetched, record, links, None);
        };
        self.redirected(visit, target, answer)
    }

    /// The source ends as skipped(redirect); a target inside the scope ends as fetched beside it.
    fn redirected(&self, visit: Visit, target: CanonicalUrl, answer: PageAnswer) -> VisitEnd {
        let reason = Outcome::Skipped(SkipReason::Redirect);
        let mut source = self.record(&visit, reason);
        source.final_url = Some(target.as_str().to_owned());
        let accepted = self.rules.redirect(&target, &visit.lease);
        let target = accepted.map(|url| {
            let links = self.links(&visit.lease, url.hops, &answer);
            let mut record = self.record(&visit, Outcome::Fetched);
            record.url = target.as_str().to_owned();
            record.via = Some(visit.lease.no);
            let record = fill(record, answer, &links);
            Box::new(RedirectTarget { url, record, links })
        });
        ended(visit.lease, reason, source, Links::default(), target)
    }

    fn downloaded(&self, visit: &Visit, answer: PageAnswer) -> VisitEnd {
        let outcome = Outcome::Skipped(SkipReason::Download);
        let final_url = answer.hops.last().map(|url| url.as_str().to_owned());
        let record = PageRecord { final_url, ..fill(self.record(visit, outcome), answer, &Links::default()) };
        ended(visit.lease.clone(), outcome, record, Links::default(), None)
    }

    fn failed(&self, visit: Visit, failure: VisitFailure) -> VisitEnd {
        let attempt = visit.lease.attempt;
        let charged = retry::charges_attempt(failure.class, self.host_down);
        let allowed = if charged { self.attempts } else { u32::MAX };
        let verdict = retry::decide(failure.class, attempt, allowed, self.now, failure.retry_after, self.random);
        if let Retry::At(not_before) = verdict {
            // Without a browser a visit returns at once: not to turn in circles until the session is held.
            let wait = if failure.class == FailureClass::BrowserLost { NO_BROWSER_WAIT } else { Duration::ZERO };
            let not_before = not_before.max(self.now + wait);
            let lease = visit.lease;
            return VisitEnd::Retry { lease, not_before, charged, suspect: false, crash_alone: None };
        }
        let outcome = Outcome::Failed(failure.class);
        let record = PageRecord {
            http_status: failure.http_status,
            ttfb_ms: failure.ttfb.map(millis),
            final_url: failure.hops.last().map(|url| url.as_str().to_owned()),
            error: Some(in_words(failure.message)),
            ..self.record(&visit, outcome)
        };
        ended(visit.lease, outcome, record, Links::default(), None)
    }

    fn links(&self, lease: &Lease, hops: u32, answer: &PageAnswer) -> Links {
        if answer.nofollow {
            return Links { seen: answer.links.len() as u64, ..Links::default() };
        }
        sort_links(self.rules, answer.links.iter().map(|link| link.href.as_str()), lease.depth + 1, hops)
    }

    /// The record of a visit; what an answer knows is filled in by [`fill`].
    fn record(&self, visit: &Visit, outcome: Outcome) -> PageRecord {
        PageRecord {
            duration_ms: millis(visit.took),
            fetched_with: visit.way.map(|(with, _)| with),
            fetch_reason: visit.way.map(|(_, reason)| reason),
            ..frame(&visit.lease, self.epoch, visit.started_at, outcome)
        }
    }
}

/// What a record takes from the lease.
fn frame(lease: &Lease, epoch: Epoch, at: Timestamp, outcome: Outcome) -> PageRecord {
    PageRecord {
        n: lease.no,
        kind: lease.kind,
        depth: lease.depth,
        via: lease.via,
        attempt: lease.attempt,
        epoch,
        supersedes: lease.supersedes,
        ..PageRecord::new(&lease.url, outcome, at)
    }
}

fn in_words(message: String) -> String {
    message.escape_debug().to_string().chars().take(ERROR_MAX).collect()
}

/// Completes a record with what the answer holds.
fn fill(record: PageRecord, answer: PageAnswer, links: &Links) -> PageRecord {
    let final_url = match record.outcome {
        OutcomeKind::Fetched => Some(record.url.clone()),
        OutcomeKind::Failed | OutcomeKind::Skipped => record.final_url.clone(),
    };
    PageRecord {
        final_url,
        http_status: (answer.http_status != 0).then_some(answer.http_status),
        content_type: answer.content_type,
        title: answer.title,
        text: answer.text,
        ttfb_ms: answer.ttfb.map(millis),
        bytes: Some(answer.bytes),
        links_found: links.seen + answer.links_announced,
        digest: answer.digest,
        fields: answer.fields,
        truncated: answer.truncated,
        truncated_by: answer.cut,
        error: answer.trouble.map(in_words),
        ..record
    }
}

fn ended(
    lease: Lease,
    outcome: Outcome,
    record: PageRecord,
    links: Links,
    target: Option<Box<RedirectTarget>>,
) -> VisitEnd {
    VisitEnd::Ended { lease, outcome, record: Box::new(record), links, target }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The end of a suspect whose crashes were counted where nobody could end it: at openings after the death of the
/// daemon, or by panics of its own visits. It is not visited once more.
pub fn poisoned(lease: &Lease, epoch: Epoch, now: Timestamp) -> Option<VisitEnd> {
    let (explained, unexplained) = lease.crashes;
    if !lease.suspect || retry::suspect_verdict(explained, unexplained) != SuspectVerdict::Poison {
        return None;
    }
    let outcome = Outcome::Skipped(SkipReason::Poison);
    let error = format!(
        "{explained} crashes pointed at it while it was alone, and {unexplained} deaths without an explanation"
    );
    let record = PageRecord { error: Some(error), ..frame(lease, epoch, now, outcome) };
    Some(ended(lease.clone(), outcome, record, Links::default(), None))
}

/// The end of a URL that was found before its session's scope was changed, and that the new scope leaves out. It is
/// not visited. What the task names now is inside whatever the scope says.
pub fn outside(
    rules: &LinkRules,
    named: &HashSet<CanonicalUrl>,
    lease: &Lease,
    epoch: Epoch,
    now: Timestamp,
) -> Option<VisitEnd> {
    // A sitemap that robots.txt names.
    let by_robots = lease.kind == UrlKind::Sitemap && lease.depth == 0;
    if by_robots || named.contains(&lease.url) || rules.holds(lease) {
        return None;
    }
    let outcome = Outcome::Skipped(SkipReason::OutOfScope);
    let error = Some("the scope was changed after it had been found, and leaves it out".to_owned());
    let record = PageRecord { error, ..frame(lease, epoch, now, outcome) };
    Some(ended(lease.clone(), outcome, record, Links::default(), None))
}

/// The end of a visit whose own task panicked: a crash that points at its URL.
pub fn panicked(lease: Lease, now: Timestamp) -> VisitEnd {
    let alone = lease.suspect;
    VisitEnd::Retry { lease, not_before: now, charged: false, suspect: true, crash_alone: alone.then_some(true) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::task::ScopeSpec;
    use crate::policy::scope::Scope;
    use crate::policy::traps::TrapConfig;

    fn lease(suspect: bool, crashes: (u32, u32)) -> Lease {
        Lease {
            no: 7,
            host: 1,
            url: CanonicalUrl::parse("http://h.example/x").unwrap(),
            kind: UrlKind::Page,
            depth: 1,
            hops: 0,
            via: Some(1),
            attempt: 2,
            epoch: 3,
            suspect,
            crashes,
            supersedes: None,
        }
    }

    #[test]
    fn a_suspect_is_not_visited_once_more_than_it_takes() {
        #[track_caller]
        fn check(name: &str, suspect: bool, crashes: (u32, u32), poison: bool) {
            let end = poisoned(&lease(suspect, crashes), 3, Timestamp::from_millis(5));
            assert_eq!(end.is_some(), poison, "{name}");
            if let Some(VisitEnd::Ended { outcome, record, .. }) = end {
                assert_eq!(outcome, Outcome::Skipped(SkipReason::Poison), "{name}");
                assert_eq!((record.n, record.attempt, record.epoch), (7, 2, 3), "{name}");
                assert!(record.error.is_some_and(|why| why.contains("alone")), "{name}");
            }
        }
        check("no suspect", false, (0, 0), false);
        check("one explained crash to go", true, (2, 9), false);
        check("three explained", true, (3, 0), true);
        check("ten unexplained", true, (0, 10), true);
    }

    #[test]
    fn a_redirect_that_is_not_followed_leaves_its_target_to_itself() {
        #[track_caller]
        fn check(name: &str, hops: &[&str], reason: SkipReason, want: SkipReason, queued: &[&str]) {
            let url = |text: &&str| CanonicalUrl::parse(text).unwrap();
            let scope = Scope::new(&ScopeSpec::default(), &[url(&"http://h.example/")]).unwrap();
            let rules = LinkRules::new(scope, TrapConfig::default(), false);
            let now = Timestamp::from_millis(5);
            let judge = Judge { rules: &rules, attempts: 3, epoch: 3, host_down: false, now, random: 0.5 };
            let result = VisitResult::Refused { hops: hops.iter().map(url).collect(), reason };
            let (lease, took) = (lease(false, (0, 0)), Duration::ZERO);
            let end = judge.end(Visited { lease, result, crashed: false, started_at: now, took, way: None });
            let VisitEnd::Ended { outcome, record, links, target: None, .. } = end else { panic!("{name}: {end:?}") };
            assert_eq!(outcome, Outcome::Skipped(want), "{name}");
            assert_eq!(record.final_url.as_deref(), hops.last().copied(), "{name}");
            let got: Vec<_> = links.accepted.iter().map(|new| (new.url.as_str(), new.depth)).collect();
            assert_eq!(got, queued.iter().map(|url| (*url, 1)).collect::<Vec<_>>(), "{name}");
        }
        let (inside, outside) = ("http://h.example/b", "http://other.example/");
        let (robots, redirect) = (SkipReason::Robots, SkipReason::Redirect);
        check("forbidden itself", &[], robots, robots, &[]);
        check("its target is forbidden", &[inside], robots, redirect, &[inside]);
        check("the last of two", &["http://h.example/a", inside], robots, redirect, &[inside]);
        check("its target's host is to be left alone", &[inside], redirect, redirect, &[inside]);
        check("outside", &[outside], redirect, redirect, &[]);
        check("an address", &[inside], SkipReason::AddressForbidden, SkipReason::AddressForbidden, &[]);
    }
}
