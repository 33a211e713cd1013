//! robots.txt of every host, asked for once a day by all sessions together.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use http::header::RETRY_AFTER;
use tokio::time::Instant;

use super::body::Body;
use super::client::{Accept, HttpClient};
use super::follow::{Journey, Landed, OpenGate, Stopped};
use super::headers;
use crate::lock::lock;
pub use crate::model::host::StoredRobots;
use crate::model::outcome::{FailureClass, SkipReason};
use crate::model::time::Timestamp;
use crate::model::url::CanonicalUrl;
use crate::model::visit::Refusal;
use crate::policy::robots::{Held, MAX_BYTES, MAX_REDIRECTS, RobotsAccess, from_status};

/// Hosts remembered; the least recently asked about are forgotten first.
const MAX_HOSTS: usize = 10_000;

/// Bytes of robots.txt bodies behind the remembered rules.
const MAX_TOTAL_BYTES: usize = 64 << 20;

/// What an entry costs besides its body.
const ENTRY_BYTES: usize = 512;

/// Deadline of one robots.txt, redirects included.
const DEADLINE: Duration = Duration::from_secs(45);

/// What a robots.txt is asked for as.
const ACCEPT_ROBOTS: &str = "text/plain,*/*;q=0.5";

/// A host's robots.txt as far as it is known.
#[derive(Debug, Clone)]
pub struct RobotsAnswer {
    /// What is in force.
    pub held: Arc<Held>,
    /// Present when the host was asked just now: what the session's store should keep.
    pub fresh: Option<StoredRobots>,
    /// The host, asked just now, wants a pause.
    pub retry_after: Option<Duration>,
}

impl RobotsAnswer {
    /// What is in force.
    pub fn access(&self) -> &RobotsAccess {
        &self.held.access
    }
}

/// The daemon's memory of robots.txt files.
pub struct RobotsCache {
    hosts: Mutex<Hosts>,
    max_hosts: usize,
}

#[derive(Default)]
struct Hosts {
    slots: HashMap<String, Arc<Slot>>,
    bytes: usize,
    uses: u64,
}

/// One host. Whoever holds `entry` asks the host; the others wait for the answer.
#[derive(Default)]
struct Slot {
    entry: tokio::sync::Mutex<Option<Entry>>,
    /// Guarded by the cache's own lock: when it was last used, and what it costs.
    books: Mutex<(u64, usize)>,
}

struct Entry {
    held: Arc<Held>,
    status: Option<u16>,
    body: Option<Vec<u8>>,
}

impl Default for RobotsCache {
    fn default() -> Self {
        Self::new()
    }
}

impl RobotsCache {
    /// Empty.
    pub fn new() -> Self {
        RobotsCache { hosts: Mutex::default(), max_hosts: MAX_HOSTS }
    }

    #[cfg(test)]
    pub(super) fn with_limit(max_hosts: usize) -> Self {
        RobotsCache { hosts: Mutex::default(), max_hosts }
    }

    #[cfg(test)]
    pub(super) fn knows(&self, host_key: &str) -> bool {
        self.hosts().slots.contains_key(host_key)
    }

    /// What the robots.txt of `host_key` says; asks the host with the session's client when nothing
    /// fresh is known. Many may ask at once: one request is sent.
    ///
    /// # Errors
    /// `Skip(AddressForbidden)` when this session may not reach the host at all; not remembered,
    /// because another session may.
    pub async fn access(&self, client: &HttpClient, host_key: &str) -> Result<RobotsAnswer, Refusal> {
        let slot = self.slot(host_key);
        let mut entry = slot.entry.lock().await;
        let now = client.now();
        if let Some(known) = entry.as_ref().filter(|known| !known.held.due(now)) {
            return Ok(RobotsAnswer { held: Arc::clone(&known.held), fresh: None, retry_after: None });
        }
        let Reply { status, body, retry_after } = ask(client, host_key).await?;
        let previous = entry.take();
        let now = client.now();
        let settled = settle(previous, status, body, now);
        let answer = RobotsAnswer { held: Arc::clone(&settled.held), fresh: Some(settled.stored()), retry_after };
        let cost = settled.cost();
        *entry = Some(settled);
        drop(entry);
        self.book(host_key, &slot, cost);
        Ok(answer)
    }

    /// Takes over what a session's store knows, unless something newer is known.
    pub fn restore(&self, host_key: &str, stored: StoredRobots) {
        let slot = self.slot(host_key);
        // Whoever holds the lock is asking the host: that will be newer.
        let Ok(mut entry) = slot.entry.try_lock() else { return };
        if entry.as_ref().is_some_and(|known| known.held.asked_at >= stored.asked_at) {
            return;
        }
        let restored = Entry::from_stored(stored);
        let cost = restored.cost();
        *entry = Some(restored);
        drop(entry);
        self.book(host_key, &slot, cost);
    }

    /// Hosts whose robots.txt is known, for checkpoints.
    pub fn known(&self) -> u64 {
        self.hosts().slots.len() as u64
    }

    fn hosts(&self) -> MutexGuard<'_, Hosts> {
        lock(&self.hosts)
    }

    fn slot(&self, host_key: &str) -> Arc<Slot> {
        let mut hosts = self.hosts();
        hosts.uses += 1;
        let now = hosts.uses;
        let slot = match hosts.slots.get(host_key) {
            Some(slot) => Arc::clone(slot),
            None => {
                let slot = Arc::new(Slot::default());
                hosts.slots.insert(host_key.to_owned(), Arc::clone(&slot));
                hosts.bytes += ENTRY_BYTES;
                slot.books().1 = ENTRY_BYTES;
                slot
            }
        };
        slot.books().0 = now;
        if hosts.slots.len() > self.max_hosts || hosts.bytes > MAX_TOTAL_BYTES {
            hosts.forget_oldest();
        }
        slot
    }

    fn book(&self, host_key: &str, slot: &Arc<Slot>, cost: usize) {
        let mut hosts = self.hosts();
        // Forgotten while it was being asked for: then nothing is counted.
        if hosts.slots.get(host_key).is_some_and(|kept| Arc::ptr_eq(kept, slot)) {
            let before = std::mem::replace(&mut slot.books().1, cost);
            hosts.bytes = hosts.bytes.saturating_sub(before) + cost;
        }
    }
}

impl Slot {
    fn books(&self) -> MutexGuard<'_, (u64, usize)> {
        lock(&self.books)
    }
}

impl Hosts {
    /// Forgets an eighth of the hosts, least recently used first; those in use stay.
    fn forget_oldest(&mut self) {
        let mut idle: Vec<(u64, String)> = self
            .slots
            .iter()
            .filter(|(_, slot)| Arc::strong_count(slot) == 1)
            .map(|(host, slot)| (slot.books().0, host.clone()))
            .collect();
        idle.sort_unstable();
        idle.truncate(self.slots.len() / 8 + 1);
        for (_, host) in idle {
            if let Some(slot) = self.slots.remove(&host) {
                self.bytes = self.bytes.saturating_sub(slot.books().1);
            }
        }
    }
}

impl Entry {
    fn from_stored(stored: StoredRobots) -> Entry {
        let access = match (stored.status, &stored.body) {
            (Some(status), body) => from_status(status, body.as_deref().unwrap_or_default()),
            (None, _) => RobotsAccess::Unreachable,
        };
        let held = Held { access, asked_at: stored.asked_at, failing_since: stored.failing_since };
        Entry { held: Arc::new(held), status: stored.status, body: stored.body }
    }

    fn stored(&self) -> StoredRobots {
        StoredRobots {
            asked_at: self.held.asked_at,
            failing_since: self.held.failing_since,
            status: self.status,
            body: self.body.clone(),
        }
    }

    fn cost(&self) -> usize {
        // Parsed rules are larger than their text.
        ENTRY_BYTES + 4 * self.body.as_ref().map_or(0, Vec::len)
    }
}

/// Books an answer over what was known; status and body are those of the rules in force.
fn settle(previous: Option<Entry>, status: Option<u16>, body: Option<Vec<u8>>, now: Timestamp) -> Entry {
    let answer = match status {
        Some(status) => from_status(status, body.as_deref().unwrap_or_default()),
        None => RobotsAccess::Unreachable,
    };
    let unreachable = answer == RobotsAccess::Unreachable;
    let (held_before, kept) = match previous {
        Some(entry) => (Some(Held::clone(&entry.held)), (entry.status, entry.body)),
        None => (None, (None, None)),
    };
    let held = Arc::new(Held::settle(held_before, answer, now));
    let (status, body) = if unreachable { kept } else { (status, body) };
    Entry { held, status, body }
}

/// What a host said.
#[derive(Default)]
struct Reply {
    /// `None`: no answer could be had.
    status: Option<u16>,
    body: Option<Vec<u8>>,
    retry_after: Option<Duration>,
}

/// Asks the host.
async fn ask(client: &HttpClient, host_key: &str) -> Result<Reply, Refusal> {
    let Ok(url) = CanonicalUrl::parse(&format!("{host_key}/robots.txt")) else {
        let message = format!("`{}` is not a host", host_key.escape_debug());
        return Err(Refusal::Fail(FailureClass::Protocol, message));
    };
    let by = Instant::now() + DEADLINE;
    let journey =
        Journey { client, gate: &OpenGate, max_redirects: MAX_REDIRECTS, accept: Accept::Types(ACCEPT_ROBOTS), by };
    match journey.follow(&url).await {
        Ok(landed) => Ok(read(client, landed, by).await),
        Err(Stopped { hops, why: Refusal::Skip(SkipReason::AddressForbidden) }) if hops.is_empty() => {
            Err(Refusal::Skip(SkipReason::AddressForbidden))
        }
        // Nothing was learned about the host, and nothing is remembered.
        Err(Stopped { why: Refusal::Fail(FailureClass::Proxy, message), .. }) => {
            Err(Refusal::Fail(FailureClass::Proxy, message))
        }
        // A redirect that is not followed is the final answer, see `from_status`.
        Err(Stopped { why: Refusal::Skip(_) | Refusal::Fail(FailureClass::TooManyRedirects, _), .. }) => {
            Ok(Reply { status: Some(302), ..Reply::default() })
        }
        Err(Stopped { why: Refusal::Fail(class, message), .. }) => {
            tracing::debug!(host = host_key, class = class.as_str(), error = message, "robots.txt cannot be had");
            Ok(Reply::default())
        }
    }
}

async fn read(client: &HttpClient, landed: Landed, by: Instant) -> Reply {
    let status = landed.exchange.response.status();
    if !status.is_success() {
        let asked = landed.exchange.header(RETRY_AFTER);
        let retry_after = asked.and_then(|value| headers::retry_after(value, client.now()));
        return Reply { status: Some(status.as_u16()), body: None, retry_after };
    }
    // One byte more than is used tells the parser that the last line is cut.
    let mut body = Body::new(landed.exchange, client.deadlines(), MAX_BYTES as u64 + 1, by);
    let mut bytes = Vec::new();
    loop {
        match body.next().await {
            Ok(Some(piece)) => bytes.extend_from_slice(&piece),
            Ok(None) => break,
            Err(_) => return Reply::default(),
        }
    }
    Reply { status: Some(status.as_u16()), body: Some(bytes), retry_after: None }
}
