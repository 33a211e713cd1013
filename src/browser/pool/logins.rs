//! Logging a session in, in a tab of its own context.

use std::sync::atomic::Ordering;

use tokio::time::timeout;

use super::loads::AtWork;
use super::{Browsers, GRACE};
use crate::browser::config::BrowserError;
use crate::browser::login;
use crate::browser::report::LoginError;
use crate::model::login::Login;
use crate::model::visit::VisitRequest;
use crate::policy::tab_kind::TabKind;

impl Browsers {
    /// Logs the session of `req` in: what its sites set as cookies stays in its jar. Ends within `login.within` and a
    /// few seconds, once it has a tab.
    ///
    /// # Errors
    /// See [`LoginError`]; no value that was filled in is said.
    pub async fn log_in(&self, req: &VisitRequest, login: &Login) -> Result<(), LoginError> {
        let inner = &self.inner;
        let no_browser = |why: &str| LoginError::NoBrowser(why.to_owned());
        let stopping = || no_browser("the daemon is stopping");
        let patience = login.within + GRACE;
        let turn = tokio::select! {
            turn = timeout(patience, inner.turn()) => turn,
            () = inner.closing.cancelled() => return Err(stopping()),
        };
        let Ok(_turn) = turn else { return Err(no_browser("no tab became free in time")) };
        let shared = match timeout(patience, inner.browser()).await {
            Ok(shared) => shared.map_err(|error| no_browser(&error.to_string()))?,
            Err(_) => return Err(no_browser("no browser came up in time")),
        };
        let opening = shared.take_tab(req, TabKind::Ordinary, inner.config.pages_per_tab);
        let opened = timeout(inner.config.reply_timeout, opening).await.unwrap_or_else(|_| {
            Err(BrowserError::Command { step: "opening a tab", reason: "not done in time".to_owned() })
        });
        let tab = opened.map_err(|error| no_browser(&error.to_string()))?;
        let mut tab = AtWork::new(&shared, &inner.tasks, tab);
        let done = tokio::select! {
            biased;
            () = shared.instance.lost.cancelled() => Err(no_browser("the browser ended meanwhile")),
            () = inner.closing.cancelled() => Err(stopping()),
            done = login::log_in(tab.get(), req, login) => done,
        };
        if done.is_ok() && !shared.retired.load(Ordering::Acquire) {
            shared.instance.keep_cookies(&req.session, true).await;
        }
        shared.give_back(tab.done(), &req.session, false).await;
        done
    }
}
