//! What the tabs show now, for whoever looks: titles, and pictures where frames are drawn. While nobody looks, nothing
//! is asked of a browser for it.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use chromiumoxide::cdp::browser_protocol::page::{CaptureScreenshotFormat, CaptureScreenshotParams};
use chromiumoxide::cdp::browser_protocol::target::GetTargetsParams;
use chromiumoxide::{Browser, Page};
use tokio::time::{Instant, sleep_until, timeout};

use super::report::{TabSeen, TabState};
use crate::lock::lock;
use crate::model::ids::SessionId;
use crate::policy::tab_kind::TabKind;

/// Pictures of all tabs together are at least so far apart: eight a second.
const APART: Duration = Duration::from_millis(125);
/// Whoever waits for a turn, or for a picture, waits no longer.
const WITHIN: Duration = Duration::from_secs(3);
/// A picture is shown to everybody who asks within this time.
const FRESH: Duration = Duration::from_millis(800);
/// A tab that gave no picture is not asked again for so long.
const SILENT: Duration = Duration::from_secs(10);
/// The browser tells all titles in this time, or there are none.
const TITLES_WITHIN: Duration = Duration::from_secs(1);
/// Of 100: small, and good enough to see what is going on.
const QUALITY: i64 = 45;
/// Characters of a title or a URL.
const TEXT_MAX: usize = 2_048;
/// Tabs that are told at most.
const TABS_MAX: usize = 64;
/// What a tab shows that waits for its next visit.
const BLANK: &str = "about:blank";

/// The open tabs of a pool, in all its browsers.
#[derive(Debug, Clone, Default)]
pub(super) struct Sights(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    tabs: Mutex<Board>,
    /// When the next picture may be taken.
    turn: Mutex<Instant>,
}

impl Default for Inner {
    fn default() -> Self {
        Inner { tabs: Mutex::default(), turn: Mutex::new(Instant::now()) }
    }
}

#[derive(Debug, Default)]
struct Board {
    last: u64,
    tabs: BTreeMap<u64, Entry>,
}

#[derive(Debug)]
struct Entry {
    session: SessionId,
    kind: TabKind,
    page: Page,
    browser: Arc<Browser>,
    url: String,
    state: TabState,
    since: Instant,
    film: Arc<tokio::sync::Mutex<Film>>,
}

/// The last picture of a tab. Locked while one is taken: a tab is asked for one at a time.
#[derive(Debug, Default)]
struct Film {
    last: Option<(Instant, Arc<[u8]>)>,
    silent_until: Option<Instant>,
}

/// A tab's place among them; gone when dropped.
#[derive(Debug)]
pub(super) struct Sight {
    sights: Sights,
    n: u64,
}

impl Drop for Sight {
    fn drop(&mut self) {
        lock(&self.sights.0.tabs).tabs.remove(&self.n);
    }
}

impl Sight {
    /// It visits this page now.
    pub(super) fn visits(&self, url: &str) {
        self.change(TabState::Visiting, Some(url));
    }

    /// Its visit is over.
    pub(super) fn rests(&self) {
        self.change(TabState::Resting, None);
    }

    fn change(&self, state: TabState, url: Option<&str>) {
        if let Some(entry) = lock(&self.sights.0.tabs).tabs.get_mut(&self.n) {
            (entry.state, entry.since) = (state, Instant::now());
            if let Some(url) = url {
                url.clone_into(&mut entry.url);
            }
        }
    }
}

impl Sights {
    /// A tab that was opened.
    pub(super) fn open(&self, session: &SessionId, kind: TabKind, page: Page, browser: Arc<Browser>) -> Sight {
        let mut board = lock(&self.0.tabs);
        board.last += 1;
        let n = board.last;
        let (url, state, since) = (BLANK.to_owned(), TabState::Resting, Instant::now());
        let entry = Entry { session: session.clone(), kind, page, browser, url, state, since, film: Arc::default() };
        board.tabs.insert(n, entry);
        Sight { sights: self.clone(), n }
    }

    /// The tabs of a session that show a page.
    pub(super) async fn of(&self, session: &SessionId) -> Vec<TabSeen> {
        let found: Vec<(TabSeen, String, Arc<Browser>)> = {
            let board = lock(&self.0.tabs);
            let own = board.tabs.iter().filter(|(_, entry)| entry.session == *session).take(TABS_MAX);
            own.map(|(n, entry)| (entry.seen(*n), entry.page.target_id().as_ref().to_owned(), entry.browser.clone()))
                .collect()
        };
        let mut browsers: HashMap<usize, HashMap<String, (String, String)>> = HashMap::new();
        let mut tabs = Vec::with_capacity(found.len());
        for (mut seen, target, browser) in found {
            let key = Arc::as_ptr(&browser).addr();
            if let std::collections::hash_map::Entry::Vacant(place) = browsers.entry(key) {
                place.insert(titles(&browser).await);
            }
            // The browser itself knows them: no page is asked, and none can hang.
            if let Some((title, url)) = browsers.get_mut(&key).and_then(|titles| titles.remove(&target)) {
                seen.title = Some(title).filter(|title| !title.is_empty());
                if url == BLANK && seen.state == TabState::Resting {
                    continue;
                }
                if url != BLANK {
                    seen.url = url;
                }
            }
            if seen.url != BLANK {
                tabs.push(seen);
            }
        }
        tabs
    }

    /// A picture (JPEG) of what a tab of the session shows; none where it has none to give now.
    pub(super) async fn picture(&self, session: &SessionId, n: u64) -> Option<Arc<[u8]>> {
        let (page, film) = {
            let board = lock(&self.0.tabs);
            let entry = board.tabs.get(&n).filter(|entry| entry.session == *session && entry.draws())?;
            (entry.page.clone(), entry.film.clone())
        };
        let mut film = timeout(WITHIN, film.lock()).await.ok()?;
        if let Some((_, picture)) = film.last.as_ref().filter(|(taken, _)| taken.elapsed() < FRESH) {
            return Some(picture.clone());
        }
        if film.silent_until.is_some_and(|until| Instant::now() < until) {
            return None;
        }
        let turn = next_turn(&mut lock(&self.0.turn), Instant::now())?;
        sleep_until(turn).await;
        let params = CaptureScreenshotParams::builder()
            .format(CaptureScreenshotFormat::Jpeg)
            .quality(QUALITY)
            .optimize_for_speed(true)
            .build();
        let taken = match timeout(WITHIN, page.execute(params)).await {
            Ok(Ok(taken)) => BASE64.decode::<&[u8]>(taken.result.data.as_ref()).ok(),
            Ok(Err(_)) | Err(_) => None,
        };
        let Some(taken) = taken else {
            film.silent_until = Some(Instant::now() + SILENT);
            return None;
        };
        let picture: Arc<[u8]> = taken.into();
        film.last = Some((Instant::now(), picture.clone()));
        Some(picture)
    }
}

impl Entry {
    fn draws(&self) -> bool {
        self.kind == TabKind::Ordinary
    }

    fn seen(&self, n: u64) -> TabSeen {
        TabSeen {
            n,
            url: self.url.clone(),
            title: None,
            kind: self.kind,
            state: self.state,
            seconds: self.since.elapsed().as_secs(),
            picture: self.draws(),
        }
    }
}

/// When the one who asks now may take a picture; none where too many wait already.
fn next_turn(turn: &mut Instant, now: Instant) -> Option<Instant> {
    let mine = (*turn).max(now);
    if mine > now + WITHIN {
        return None;
    }
    *turn = mine + APART;
    Some(mine)
}

/// Title and URL of every target of a browser, by its id.
async fn titles(browser: &Browser) -> HashMap<String, (String, String)> {
    let told = timeout(TITLES_WITHIN, browser.execute(GetTargetsParams::default())).await;
    let Ok(Ok(told)) = told else { return HashMap::new() };
    let cut = |text: String| text.chars().take(TEXT_MAX).collect::<String>();
    let targets = told.result.target_infos.into_iter();
    targets.map(|target| (target.target_id.as_ref().to_owned(), (cut(target.title), cut(target.url)))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_come_one_after_the_other_and_whoever_would_wait_too_long_gets_none() {
        let now = Instant::now();
        let mut turn = now;
        let turns: Vec<_> = std::iter::from_fn(|| next_turn(&mut turn, now)).take(1_000).collect();
        assert_eq!(turns.first(), Some(&now));
        assert!(turns.windows(2).all(|pair| pair[1] - pair[0] == APART));
        assert_eq!(turns.last(), Some(&(now + WITHIN)), "{} waited", turns.len());
        let later = now + Duration::from_secs(60);
        assert_eq!(next_turn(&mut turn, later), Some(later));
    }
}
