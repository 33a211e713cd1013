//! Visits as they end.

use super::*;
use crate::crawl::gate::Learned;
use crate::model::host::HostState;
use crate::model::task::RobotsPolicy;

impl Controller {
    pub(super) fn visit_ended(&mut self, ended: Result<(Id, Done), JoinError>) {
        let id = match &ended {
            Ok((id, _)) => *id,
            Err(error) => error.id(),
        };
        let Some(visit) = self.by_task.remove(&id) else { return };
        self.free_slots.push(visit.slot);
        self.frontier.released(visit.lease.host, self.shop.clock.now());
        let (mut trouble, mut known) = (None, None);
        let end = match ended {
            Ok((_, done)) => {
                trouble.clone_from(&done.trouble);
                self.trouble = done.trouble;
                self.stats.visit(answered(&done.end), done.took);
                // Other visits may have taught the host's memory more since this one ended.
                let state = self.governor.snapshot(&done.host.host_key).unwrap_or(done.host.state);
                known = Some(state);
                self.batch.hosts.push(HostUpdate { state, ..done.host });
                self.learn_sitemaps(visit.lease.url.host_key(), &done.learned);
                self.batch.robots.extend(done.learned.fresh);
                done.end
            }
            Err(error) if error.is_panic() => {
                error!(url = %visit.lease.url, "a visit panicked: its URL is a suspect");
                panicked(visit.lease, self.shop.clock.now())
            }
            Err(_) => VisitEnd::Released { lease: visit.lease },
        };
        self.note(|| decision(&end, trouble, known));
        if matches!(end, VisitEnd::Ended { .. }) {
            self.waiting.ends += 1;
        }
        if fetched(&end) {
            self.waiting.fetched += 1;
            self.uncommitted_fetches += 1;
        }
        self.batch.ends.push(end);
        self.ask_again();
        if self.phase.stopping().is_none() && self.shop.login.failure().is_some() {
            self.phase.stop(StopReason::LoginFailed, true);
            self.abandon();
        }
    }

    /// Pages that ended by plain HTTP before it was seen that their like needs the browser.
    fn ask_again(&mut self) {
        let under_way = |no| self.by_task.values().any(|visit| visit.lease.no == no);
        let urls = self.shop.auto.take_again(under_way);
        if !urls.is_empty() {
            self.batch.ops.push(StoreOp::AskAgain { urls });
        }
    }

    /// Sitemaps that the robots.txt of a seed's host names become URLs, once per lifetime; known ones stay known.
    /// Where it names none, or is not asked for, the usual place is tried if the task wants that.
    pub(super) fn learn_sitemaps(&mut self, host_key: &str, learned: &Learned) {
        let shop = &self.shop;
        let read = learned.asked || shop.robots.policy == RobotsPolicy::Ignore;
        let probes = shop.probe_sitemaps && read && learned.sitemaps.is_empty();
        let terms = shop.in_force.now();
        if (learned.sitemaps.is_empty() && !probes) || !terms.sitemap_hosts.contains(host_key) {
            return;
        }
        if self.sitemaps_read.insert(host_key.to_owned()) {
            let named = learned.sitemaps.iter().filter_map(|text| CanonicalUrl::parse(text).ok());
            let probed = probes.then(|| CanonicalUrl::from_parts(host_key, "/sitemap.xml"));
            let urls = named.chain(probed).map(|url| terms.rules.named(url, UrlKind::Sitemap));
            self.batch.seeds.extend(urls);
        }
    }

    pub(super) fn partial_links(&mut self, partial: PartialLinks) {
        self.batch.links.push((partial.lease, partial.links));
        self.waiting.partial.push(partial.done);
    }

    /// Aborts the visits in flight; each comes back as a released lease.
    pub(super) fn abandon(&mut self) {
        for visit in self.by_task.values() {
            visit.abort.abort();
        }
    }
}

/// What was decided about a URL whose visit ended.
fn decision(end: &VisitEnd, trouble: Option<String>, host: Option<HostState>) -> Decision {
    match end {
        VisitEnd::Ended { lease, outcome, links, .. } => Decision::End {
            n: lease.no,
            outcome: outcome.kind(),
            detail: Decision::detail(*outcome),
            links: links.accepted.len() as u64,
            host,
        },
        VisitEnd::Retry { lease, not_before, charged, suspect, .. } => Decision::Retry {
            n: lease.no,
            not_before: *not_before,
            charged: *charged,
            suspect: *suspect || lease.suspect,
            trouble,
            host,
        },
        VisitEnd::Released { lease } => Decision::Release { n: lease.no },
    }
}

/// Whether a visit speaks for the host (`Some(true)`), against it, or says nothing: a skip is our own decision.
fn answered(end: &VisitEnd) -> Option<bool> {
    match end {
        end if fetched(end) => Some(true),
        VisitEnd::Ended { outcome: Outcome::Failed(_), .. } | VisitEnd::Retry { .. } => Some(false),
        VisitEnd::Ended { .. } | VisitEnd::Released { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crawl::committer::tests::{at, ended};
    use crate::model::outcome::{FailureClass, SkipReason};

    fn lease() -> Lease {
        Lease {
            no: 1,
            host: 1,
            url: CanonicalUrl::parse("http://h.example/").unwrap(),
            kind: UrlKind::Page,
            depth: 0,
            hops: 0,
            via: None,
            attempt: 1,
            epoch: 1,
            suspect: false,
            crashes: (0, 0),
            supersedes: None,
        }
    }

    #[test]
    fn only_answers_speak_for_a_host() {
        let end = |outcome| ended(&lease(), outcome, &[]);
        assert_eq!(answered(&end(Outcome::Fetched)), Some(true));
        assert_eq!(answered(&end(Outcome::Failed(FailureClass::ServerError))), Some(false));
        assert_eq!(answered(&end(Outcome::Skipped(SkipReason::Robots))), None);
        let again =
            VisitEnd::Retry { lease: lease(), not_before: at(0), charged: true, suspect: false, crash_alone: None };
        assert_eq!(answered(&again), Some(false));
        assert_eq!(answered(&VisitEnd::Released { lease: lease() }), None);
    }
}
