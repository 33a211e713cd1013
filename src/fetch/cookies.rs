//! The cookies of a session's plain requests, scoped as RFC 6265 says: in the file that its browser's are kept in.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use cookie_store::{Cookie, CookieDomain, CookieExpiration, CookieStore};
use http::header::{HeaderMap, HeaderValue, SET_COOKIE};
use url::Url;

use crate::browser::{JAR_EVERY, load_jar, save_jar};
use crate::clock::Clock;
use crate::lock::lock;
use crate::model::cookie::StoredCookie;

/// Bytes of a cookie's name and value, and cookies of a session, as browsers bound them.
const COOKIE_MAX: usize = 4 << 10;
const COOKIES_MAX: usize = 3_000;
/// Bytes of the cookies sent with a request.
const SENT_MAX: usize = 16 << 10;

/// The cookies of one session. Read from their file at the first use.
pub struct Cookies {
    path: PathBuf,
    clock: Clock,
    state: Mutex<Option<State>>,
}

#[derive(Default)]
struct State {
    store: CookieStore,
    /// Those that count only within the pages of one site: the browser's affair, kept as they are.
    partitioned: Vec<StoredCookie>,
    /// Set by servers since the browser was told: domain, path and name.
    news: Vec<[String; 3]>,
    /// The file does not have all.
    unsaved: bool,
    saved: Option<Instant>,
    looked: Option<Instant>,
    changes: u64,
    /// So many more fit in certainly; counted anew when it is used up.
    room: usize,
}

impl Cookies {
    /// Of the session whose jar is this file.
    pub fn new(path: PathBuf, clock: Clock) -> Cookies {
        Cookies { path, clock, state: Mutex::default() }
    }

    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        let mut state: MutexGuard<'_, Option<State>> = lock(&self.state);
        work(state.get_or_insert_with(|| self.read(load_jar(&self.path))))
    }

    fn read(&self, cookies: Vec<StoredCookie>) -> State {
        let mut state = State::default();
        for cookie in cookies {
            if cookie.partition_key.is_some() {
                state.partitioned.push(cookie);
            } else {
                // What cannot be a cookie of its place is none.
                let _ = self.put_back(&mut state.store, &cookie);
            }
        }
        state
    }

    fn put_back(&self, store: &mut CookieStore, cookie: &StoredCookie) -> Option<()> {
        let path = cookie.path.as_deref().unwrap_or("/");
        let scheme = if cookie.secure == Some(true) { "https" } else { "http" };
        let (url, domain) = match (&cookie.domain, &cookie.url) {
            (Some(domain), _) => {
                let host = domain.trim_start_matches('.');
                (Url::parse(&format!("{scheme}://{host}/")).ok()?, format!("; Domain={host}"))
            }
            (None, Some(url)) => (Url::parse(url).ok()?, String::new()),
            (None, None) => return None,
        };
        let mut text = format!("{}={}{domain}; Path={path}", cookie.name, cookie.value);
        if let Some(expires) = cookie.expires {
            let now = self.clock.now().millis() as f64 / 1000.0;
            text.push_str(&format!("; Max-Age={}", (expires - now).max(0.0) as u64));
        }
        text.push_str(if cookie.secure == Some(true) { "; Secure" } else { "" });
        text.push_str(if cookie.http_only == Some(true) { "; HttpOnly" } else { "" });
        store.parse(&text, &url).ok().map(drop)
    }

    /// What is sent with a request to this URL, longer paths first.
    pub(super) fn header(&self, url: &Url) -> Option<HeaderValue> {
        let text = self.with(|state| {
            let mut cookies = state.store.matches(url);
            cookies.sort_by_key(|cookie| std::cmp::Reverse(cookie.path.len()));
            let pairs = cookies.iter().map(|cookie| format!("{}={}", cookie.name(), cookie.value()));
            pairs.reduce(|text, pair| if text.len() + pair.len() < SENT_MAX { text + "; " + &pair } else { text })
        })?;
        let mut value = HeaderValue::from_str(&text).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    /// Takes up what an answer from this URL sets.
    pub(super) fn note(&self, url: &Url, headers: &HeaderMap) {
        for value in headers.get_all(SET_COOKIE) {
            let Some(cookie) = value.to_str().ok().and_then(|text| acceptable(text, url)) else { continue };
            self.with(|state| {
                if state.room == 0 {
                    state.room = COOKIES_MAX.saturating_sub(state.store.iter_any().count());
                }
                if state.room == 0 {
                    return;
                }
                let key = [String::from(&cookie.domain), String::from(&cookie.path), cookie.name().to_owned()];
                let before = state.store.get(&key[0], &key[1], &key[2]).cloned();
                let same = before.is_some_and(|before| {
                    before.value() == cookie.value() && before.is_expired() == cookie.is_expired()
                });
                if state.store.insert(cookie, url).is_err() {
                    return;
                }
                state.room -= 1;
                state.unsaved = true;
                state.changes += u64::from(!same);
                if !state.news.contains(&key) {
                    state.news.push(key);
                }
            });
        }
    }

    /// Grows with every change: the same request may get another answer then.
    pub(super) fn changes(&self) -> u64 {
        self.with(|state| state.changes)
    }

    /// What servers have set since the last call, for the browser; what has ended lies in the past.
    pub(super) fn take_news(&self) -> Vec<StoredCookie> {
        self.with(|state| {
            let news = std::mem::take(&mut state.news);
            let told = news.iter().filter_map(|[domain, path, name]| state.store.get_any(domain, path, name));
            told.filter_map(kept).collect()
        })
    }

    /// Whether it is time to look at the browser's cookies.
    pub(super) fn look_is_due(&self) -> bool {
        self.with(|state| {
            let due = state.looked.is_none_or(|at| at.elapsed() >= JAR_EVERY);
            if due {
                state.looked = Some(Instant::now());
            }
            due
        })
    }

    /// The browser's cookies take the place of those known; what servers set meanwhile stays.
    pub(super) fn take_over(&self, all: Vec<StoredCookie>) {
        let mut fresh = self.read(all);
        self.with(|state| {
            for [domain, path, name] in &state.news {
                if let Some(cookie) = state.store.get_any(domain, path, name).and_then(kept) {
                    // As above.
                    let _ = self.put_back(&mut fresh.store, &cookie);
                }
            }
            state.store = fresh.store;
            state.room = 0;
            state.partitioned = fresh.partitioned;
            state.changes += 1;
        });
    }

    /// Writes the file when it lacks something: at most every few seconds, or `now`.
    pub(super) async fn save(self: &Arc<Self>, now: bool) {
        let all = self.with(|state| {
            let due = now || state.saved.is_none_or(|at| at.elapsed() >= JAR_EVERY);
            (state.unsaved && due).then(|| {
                (state.unsaved, state.saved) = (false, Some(Instant::now()));
                let own = state.store.iter_unexpired().filter_map(kept);
                own.chain(state.partitioned.iter().cloned()).collect::<Vec<_>>()
            })
        });
        let Some(all) = all else { return };
        let own = Arc::clone(self);
        let saved = tokio::task::spawn_blocking(move || save_jar(&own.path, &all)).await;
        if let Ok(Err(error)) = saved {
            tracing::warn!(path = %self.path.display(), %error, "cookies not kept");
            self.with(|state| state.unsaved = true);
        }
    }
}

/// A cookie that this place may set.
fn acceptable(text: &str, url: &Url) -> Option<Cookie<'static>> {
    let mut cookie = Cookie::parse(text.to_owned(), url).ok()?.into_owned();
    if cookie.name().len() + cookie.value().len() > COOKIE_MAX {
        return None;
    }
    if let CookieDomain::Suffix(domain) = &cookie.domain
        && psl::suffix_str(domain).is_some_and(|suffix| suffix == domain)
    {
        // Nobody sets cookies for all of `.example`.
        if url.host_str() != Some(domain.as_str()) {
            return None;
        }
        cookie.domain = CookieDomain::HostOnly(domain.clone());
    }
    Some(cookie)
}

/// As it stands in the file.
fn kept(cookie: &Cookie<'static>) -> Option<StoredCookie> {
    let secure = cookie.secure().unwrap_or(false);
    let path = String::from(&cookie.path);
    let (url, domain) = match &cookie.domain {
        CookieDomain::HostOnly(host) => {
            (Some(format!("{}://{host}{path}", if secure { "https" } else { "http" })), None)
        }
        CookieDomain::Suffix(domain) => (None, Some(format!(".{domain}"))),
        CookieDomain::NotPresent | CookieDomain::Empty => return None,
    };
    let expires = match &cookie.expires {
        CookieExpiration::AtUtc(at) => Some(at.unix_timestamp().max(1) as f64),
        CookieExpiration::SessionEnd => None,
    };
    Some(StoredCookie {
        name: cookie.name().to_owned(),
        value: cookie.value().to_owned(),
        url,
        domain,
        path: Some(path),
        secure: Some(secure),
        http_only: Some(cookie.http_only().unwrap_or(false)),
        same_site: cookie.same_site().map(|same_site| same_site.to_string()),
        expires,
        partition_key: None,
        more: serde_json::Map::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jar(temp: &tempfile::TempDir) -> Arc<Cookies> {
        Arc::new(Cookies::new(temp.path().join("cookies.json"), Clock::system()))
    }

    fn set(jar: &Cookies, url: &str, cookies: &[&str]) {
        let mut headers = HeaderMap::new();
        for text in cookies {
            headers.append(SET_COOKIE, HeaderValue::from_str(text).unwrap());
        }
        jar.note(&Url::parse(url).unwrap(), &headers);
    }

    fn sent(jar: &Cookies, url: &str) -> String {
        let header = jar.header(&Url::parse(url).unwrap());
        header.map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
    }

    #[tokio::test]
    async fn cookies_go_where_they_belong_and_outlive_their_process() {
        let temp = tempfile::tempdir().unwrap();
        let first = jar(&temp);
        set(&first, "http://a.shop.test/x/y", &["own=1", "deep=2; Path=/x/y", "wide=3; Domain=shop.test; Path=/"]);
        set(&first, "https://a.shop.test/", &["tls=4; Secure; Path=/; Max-Age=3600", "gone=5; Max-Age=0"]);
        set(&first, "http://a.shop.test/", &["evil=6; Domain=other.test", "all=7; Domain=test"]);
        set(&first, "http://a.shop.test/", &[&format!("large={}", "x".repeat(5_000))]);
        first.save(true).await;
        let text = std::fs::read_to_string(temp.path().join("cookies.json")).unwrap();
        assert!(text.contains("wide") && !text.contains("evil"), "{text}");
        for jar in [first, jar(&temp)] {
            for (url, expected) in [
                ("http://a.shop.test/x/y", "deep=2; own=1; wide=3"),
                ("http://a.shop.test/x/", "own=1; wide=3"),
                ("http://a.shop.test/", "wide=3"),
                ("http://b.shop.test/x/y", "wide=3"),
                ("https://a.shop.test/", "tls=4; wide=3"),
                ("http://shop.test/", "wide=3"),
                ("http://other.test/", ""),
                ("http://notshop.test/", ""),
            ] {
                let mut pairs: Vec<_> = sent(&jar, url).split("; ").map(str::to_owned).collect();
                if url.starts_with("https") {
                    pairs.sort();
                }
                assert_eq!(pairs.join("; "), expected, "{url}");
            }
        }
    }

    #[test]
    fn what_servers_set_is_told_and_what_the_browser_has_counts() {
        let temp = tempfile::tempdir().unwrap();
        let jar = jar(&temp);
        set(&jar, "http://h.test/", &["a=1", "b=2"]);
        let news = jar.take_news();
        assert_eq!(news.iter().map(|cookie| cookie.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        assert!(jar.take_news().is_empty());
        assert!(!format!("{news:?}").contains("2\""));
        set(&jar, "http://h.test/", &["c=3"]);
        let changes = jar.changes();
        set(&jar, "http://h.test/", &["c=3"]);
        assert_eq!(jar.changes(), changes, "nothing new");
        // Its script has changed `a` and taken `b` away.
        let browser = vec![StoredCookie { value: "9".into(), ..news[0].clone() }];
        jar.take_over(browser);
        let sent = sent(&jar, "http://h.test/");
        let mut pairs: Vec<_> = sent.split("; ").collect();
        pairs.sort_unstable();
        assert_eq!(pairs, ["a=9", "c=3"]);
        set(&jar, "http://h.test/", &["a=; Max-Age=0"]);
        let news = jar.take_news();
        let ended = news.iter().find(|cookie| cookie.name == "a").expect("told that it has ended");
        assert!(ended.expires.is_some_and(|at| at < 1e9));
    }

    #[test]
    fn a_jar_takes_so_many_cookies_and_no_more() {
        let temp = tempfile::tempdir().unwrap();
        let jar = jar(&temp);
        let held = || jar.with(|state| state.store.iter_any().count());
        for n in 0..COOKIES_MAX + 10 {
            set(&jar, "https://example.org/", &[&format!("c{}=1", n / 2), &format!("d{n}=1")]);
        }
        assert_eq!(held(), COOKIES_MAX);
        // The browser has heard of them, and has lost them.
        jar.take_news();
        jar.take_over(Vec::new());
        set(&jar, "https://example.org/", &["again=1"]);
        assert!(sent(&jar, "https://example.org/").contains("again=1"));
        assert!(held() <= COOKIES_MAX);
    }
}
