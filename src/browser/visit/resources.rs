//! What a page asks for itself: refused by kind, given its headers, counted against the page's budgets.

use chromiumoxide::cdp::browser_protocol::fetch::{
    ContinueRequestParams, EventRequestPaused, HeaderEntry, RequestPattern, RequestStage,
};
use chromiumoxide::cdp::browser_protocol::network::{ErrorReason, ResourceType};
use chromiumoxide::cdp::browser_protocol::page::StopLoadingParams;
use tokio::time::Instant;

use super::Visit;
use super::documents::is_reading;
use crate::browser::read;
use crate::model::conduct::{BlockType, Conduct, HeaderPlace, PageCut};

/// What a page has used of its budgets.
#[derive(Debug, Default)]
pub(super) struct Spent {
    requests: u32,
    bytes: u64,
    /// The bound that it has reached.
    pub cut: Option<PageCut>,
}

/// Which requests wait for a decision, besides documents.
pub(in crate::browser) fn patterns(conduct: &Conduct) -> Vec<RequestPattern> {
    let pattern = |url: Option<String>, kind: Option<ResourceType>| RequestPattern {
        url_pattern: url,
        resource_type: kind,
        request_stage: Some(RequestStage::Request),
    };
    if conduct.page.max_requests.is_some() || conduct.page.max_bytes.is_some() || conduct.page.behaves() {
        return vec![pattern(None, None)];
    }
    let kinds = conduct.page.block_types.iter().flat_map(|kind| kinds(*kind));
    let blocked = kinds.map(|kind| pattern(None, Some(kind.clone())));
    let places = conduct.headers.places().flat_map(urls).map(|url| pattern(Some(url), None));
    blocked.chain(places).collect()
}

/// The URLs of a place, as Chromium matches them.
fn urls(place: &HeaderPlace) -> Vec<String> {
    let port = place.port.map(|port| format!(":{port}")).unwrap_or_default();
    let schemes = ["http", "https"].into_iter().filter(|one| place.scheme.as_deref().is_none_or(|own| own == *one));
    schemes.map(|scheme| format!("{scheme}://{}{port}/*", place.host)).collect()
}

fn kinds(kind: BlockType) -> &'static [ResourceType] {
    match kind {
        BlockType::Image => &[ResourceType::Image],
        BlockType::Font => &[ResourceType::Font],
        BlockType::Media => &[ResourceType::Media],
        BlockType::Stylesheet => &[ResourceType::Stylesheet],
        BlockType::Script => &[ResourceType::Script],
        BlockType::Fetch => &[ResourceType::Xhr, ResourceType::Fetch, ResourceType::EventSource],
        BlockType::Other => &[
            ResourceType::TextTrack,
            ResourceType::Manifest,
            ResourceType::Ping,
            ResourceType::Prefetch,
            ResourceType::Other,
        ],
    }
}

/// The request's headers with the task's own for its host; none where it has none.
pub(in crate::browser) fn with_own_headers(conduct: &Conduct, paused: &EventRequestPaused) -> Option<Vec<HeaderEntry>> {
    if conduct.headers.is_empty() {
        return None;
    }
    let url = url::Url::parse(&paused.request.url).ok()?;
    let own = conduct.headers.of(&url);
    if own.is_empty() {
        return None;
    }
    let stays = |name: &String| !own.iter().any(|(own, _)| own.eq_ignore_ascii_case(name));
    let sent = paused.request.headers.inner().as_object();
    let sent = sent.into_iter().flatten().filter(|(name, _)| stays(name));
    let sent = sent.filter_map(|(name, value)| Some(HeaderEntry::new(name.clone(), value.as_str()?)));
    Some(sent.chain(own.iter().map(|(name, value)| HeaderEntry::new(*name, *value))).collect())
}

impl Visit<'_> {
    /// Judges a request of the page for something else than a document.
    pub(super) async fn on_resource(&mut self, paused: &EventRequestPaused) {
        let blocked = &self.req.conduct.page.block_types;
        let refused = blocked.iter().any(|kind| kinds(*kind).contains(&paused.resource_type));
        // A click that would send something: whatever it is, it is not ours to send.
        let sends = self.acting.is_now() && !is_reading(&paused.request.method);
        if !self.asked || refused || sends || !self.affords() {
            self.fail(paused, ErrorReason::BlockedByClient).await;
        } else {
            self.let_through(paused).await;
        }
    }

    /// Counts a request; false when the page has made all that it may.
    pub(super) fn affords(&mut self) -> bool {
        if self.spent.cut.is_some() {
            return false;
        }
        if self.req.conduct.page.max_requests.is_some_and(|most| self.spent.requests >= most) {
            self.spent.cut = Some(PageCut::Requests);
            return false;
        }
        self.spent.requests += 1;
        true
    }

    /// Counts bytes received. A page that has got all it may is read as it is.
    pub(super) async fn on_bytes(&mut self, bytes: u64) {
        self.spent.bytes = self.spent.bytes.saturating_add(bytes);
        let over = self.req.conduct.page.max_bytes.is_some_and(|most| self.spent.bytes > most);
        if !over || self.spent.cut.is_some() {
            return;
        }
        self.spent.cut = Some(PageCut::Bytes);
        self.clean = false;
        self.small(StopLoadingParams::default()).await;
        self.ready_at = self.ready_at.or_else(|| Some(Instant::now()));
        self.loaded = true;
        if self.document.is_some() && self.reading.is_none() && self.held.is_none() {
            self.start_reading(read::FORCED_WITHIN);
        }
    }

    pub(super) async fn let_through(&mut self, paused: &EventRequestPaused) {
        let mut go_on = ContinueRequestParams::new(paused.request_id.clone());
        let at_response = paused.response_status_code.is_some() || paused.response_error_reason.is_some();
        if !at_response {
            go_on.headers = with_own_headers(&self.req.conduct, paused);
        }
        self.small(go_on).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_must_wait_waits() {
        let mut conduct = Conduct::default();
        assert!(patterns(&conduct).is_empty());
        conduct.page.block_types = vec![BlockType::Image, BlockType::Fetch];
        assert_eq!(patterns(&conduct).len(), 4);
        conduct.headers.add(HeaderPlace::parse("a.example:81").unwrap(), Vec::new());
        let urls: Vec<_> = patterns(&conduct).into_iter().filter_map(|pattern| pattern.url_pattern).collect();
        assert_eq!(urls, ["http://a.example:81/*", "https://a.example:81/*"]);
        conduct.page.max_bytes = Some(1);
        assert_eq!(patterns(&conduct).len(), 1, "everything waits where everything is counted");
    }
}
