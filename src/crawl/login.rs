//! When a session logs in: before its first page, and again when a page shows that nobody is logged in.

use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tracing::{error, info, warn};

use crate::browser::{Browsers, LoginError};
use crate::lock::lock;
use crate::model::ids::UrlNo;
use crate::model::login::Login;
use crate::model::visit::VisitRequest;

/// Pauses before a login is tried again that said nothing about its credentials.
const PAUSES: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(10)];

/// A session's login.
pub struct LoginDesk {
    login: Option<Login>,
    most: u32,
    state: tokio::sync::Mutex<State>,
    /// The latest login that a page has shown to be over.
    over: AtomicU64,
    /// URLs that were set back for their sign of nobody being logged in.
    met: Mutex<HashSet<UrlNo>>,
    failed: Mutex<Option<String>>,
}

#[derive(Default)]
struct State {
    /// Which login is in force; 0: none yet.
    latest: u64,
    done: u32,
}

/// Why a visit cannot begin.
#[derive(Debug, PartialEq, Eq)]
pub enum NoEntry {
    /// The login has failed: the session stops.
    Failed,
    /// There was no browser to log in with, through no fault of the page.
    NoBrowser(String),
}

impl LoginDesk {
    /// For a session with this login, at most so often; `kept`: its cookies are those of an earlier login.
    pub fn new(login: Option<Login>, most: u32, kept: bool) -> LoginDesk {
        // Without a sign nobody could say that they no longer hold.
        let kept = kept && login.as_ref().is_some_and(|login| login.logged_out.is_some());
        LoginDesk {
            login,
            most,
            state: tokio::sync::Mutex::new(State { latest: u64::from(kept), done: 0 }),
            over: AtomicU64::new(0),
            met: Mutex::default(),
            failed: Mutex::default(),
        }
    }

    /// Logs in where that is due; says which login is in force. One visit does it, the others wait for it.
    ///
    /// # Errors
    /// See [`NoEntry`].
    pub async fn enter(&self, browsers: Option<&Browsers>, req: &VisitRequest) -> Result<u64, NoEntry> {
        let (Some(login), Some(browsers)) = (&self.login, browsers) else { return Ok(0) };
        let mut state = self.state.lock().await;
        if self.failure().is_some() {
            return Err(NoEntry::Failed);
        }
        if state.latest > self.over.load(Ordering::Acquire) {
            return Ok(state.latest);
        }
        if state.done >= self.most {
            let why = format!("nobody is logged in after {} logins (login.max_logins)", state.done);
            return Err(self.fail(login, req, &why));
        }
        state.done += 1;
        for pause in PAUSES.into_iter().map(Some).chain([None]) {
            match browsers.log_in(req, login).await {
                Ok(()) => {
                    state.latest += 1;
                    info!(session_id = %req.session.as_str(), url = %login.url, logins = state.done, "logged in");
                    return Ok(state.latest);
                }
                Err(LoginError::Refused(why)) => return Err(self.fail(login, req, &why)),
                Err(LoginError::NoBrowser(why)) => {
                    state.done -= 1;
                    return Err(NoEntry::NoBrowser(why));
                }
                Err(LoginError::NotLoaded(why)) => match pause {
                    Some(pause) => {
                        warn!(session_id = %req.session.as_str(), url = %login.url, error = %why, "not logged in yet");
                        tokio::time::sleep(pause).await;
                    }
                    None => return Err(self.fail(login, req, &why)),
                },
            }
        }
        Err(NoEntry::Failed)
    }

    fn fail(&self, login: &Login, req: &VisitRequest, why: &str) -> NoEntry {
        error!(session_id = %req.session.as_str(), url = %login.url, error = %why, "the login failed");
        *lock(&self.failed) = Some(format!("the login at {} failed: {why}", login.url));
        NoEntry::Failed
    }

    /// Whether what a visit saw is that of nobody logged in, and the visit is to be made again; `shows`: the page shows
    /// the sign, `last` is where it was sent. A URL that does so under one login after the other is as it is.
    pub fn is_over(&self, no: UrlNo, visited: &str, latest: u64, shows: bool, last: Option<&str>) -> bool {
        let Some(login) = &self.login else { return false };
        let bare = |url: &str| url.split(['?', '#']).next().unwrap_or_default().to_owned();
        let door = bare(login.url.as_str());
        let sent = last.is_some_and(|last| bare(last) == door) && bare(visited) != door;
        if !(shows || sent) || !lock(&self.met).insert(no) {
            return false;
        }
        self.over.fetch_max(latest, Ordering::AcqRel);
        true
    }

    /// Why the session cannot go on.
    pub fn failure(&self) -> Option<String> {
        lock(&self.failed).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::url::CanonicalUrl;

    fn desk(sign: Option<&str>, kept: bool) -> LoginDesk {
        let login = Login {
            url: CanonicalUrl::parse("http://h/login").unwrap(),
            steps: Vec::new(),
            script: None,
            success: Some("#out".to_owned()),
            logged_out: sign.map(str::to_owned),
            within: Duration::from_secs(1),
        };
        LoginDesk::new(Some(login), 2, kept)
    }

    #[test]
    fn a_page_that_shows_nobody_logged_in_is_visited_again_once() {
        let desk = desk(Some("form"), false);
        assert!(!desk.is_over(1, "http://h/a", 1, false, None), "an ordinary page");
        assert!(!desk.is_over(1, "http://h/a", 1, false, Some("http://h/b")), "an ordinary redirect");
        assert!(desk.is_over(1, "http://h/a", 1, true, None));
        assert_eq!(desk.over.load(Ordering::Relaxed), 1);
        assert!(!desk.is_over(1, "http://h/a", 2, true, None), "it always shows that");
        assert_eq!(desk.over.load(Ordering::Relaxed), 1);
        assert!(desk.is_over(2, "http://h/c", 2, false, Some("http://h/login?next=/c")));
        assert!(!desk.is_over(3, "http://h/login?x", 2, false, Some("http://h/login")), "the door itself");
        assert!(!LoginDesk::new(None, 1, false).is_over(1, "http://h/a", 0, true, None));
    }

    #[tokio::test]
    async fn cookies_that_were_kept_hold_where_a_sign_would_say_otherwise() {
        for (sign, kept, latest) in [(Some("form"), true, 1), (Some("form"), false, 0), (None, true, 0)] {
            assert_eq!(desk(sign, kept).state.lock().await.latest, latest, "{sign:?} {kept}");
        }
    }
}
