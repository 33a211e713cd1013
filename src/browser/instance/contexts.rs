//! The contexts of a browser: one a session, with its cookies, its way out and no downloads.

use std::net::SocketAddr;
use std::time::Instant;

use chromiumoxide::cdp::browser_protocol::browser::{
    BrowserContextId, SetDownloadBehaviorBehavior, SetDownloadBehaviorParams,
};
use chromiumoxide::cdp::browser_protocol::storage::{GetCookiesParams, SetCookiesParams};
use chromiumoxide::cdp::browser_protocol::target::{CreateBrowserContextParams, DisposeBrowserContextParams};

use super::Instance;
use crate::browser::config::BrowserError;
use crate::browser::{flags, jar};
use crate::lock::lock;
use crate::model::cookie::StoredCookie;
use crate::model::ids::SessionId;

impl Instance {
    /// The session's context; created at its first use.
    pub(super) async fn context(
        &self,
        session: &SessionId,
        proxy: Option<SocketAddr>,
    ) -> Result<BrowserContextId, BrowserError> {
        let mut contexts = self.contexts.lock().await;
        if let Some(context) = contexts.get(session) {
            return Ok(context.clone());
        }
        // Somebody else's browser knows no name of ours, and may not even be on this machine.
        let proxy = proxy.filter(|_| self.identity.is_some());
        let create = CreateBrowserContextParams {
            dispose_on_detach: Some(true),
            proxy_server: proxy.map(flags::proxy_server),
            proxy_bypass_list: proxy.map(|_| flags::NO_BYPASS.to_owned()),
            ..Default::default()
        };
        let created = self.step("Target.createBrowserContext", self.browser.execute(create)).await?;
        let context = created.result.browser_context_id;
        self.step("Browser.setDownloadBehavior", self.browser.execute(no_downloads(Some(context.clone())))).await?;
        self.restore_cookies(session, &context).await;
        contexts.insert(session.clone(), context.clone());
        Ok(context)
    }

    /// Gives a new context the cookies that the session had in an earlier one.
    async fn restore_cookies(&self, session: &SessionId, context: &BrowserContextId) {
        let Some(path) = self.jars.as_deref().map(|jars| jar::place(jars, session)) else { return };
        let kept = tokio::task::spawn_blocking(move || jar::load(&path)).await.unwrap_or_default();
        if kept.is_empty() {
            return;
        }
        let set = SetCookiesParams { cookies: jar::params(&kept), browser_context_id: Some(context.clone()) };
        if let Err(error) = self.step("Storage.setCookies", self.browser.execute(set)).await {
            tracing::warn!(session_id = %session.as_str(), error = %error, "cookies not restored");
        }
    }

    /// Writes the session's cookies down: at most every few seconds, or `now`.
    pub(in crate::browser) async fn keep_cookies(&self, session: &SessionId, now: bool) {
        let Some(path) = self.jars.as_deref().map(|jars| jar::place(jars, session)) else { return };
        {
            let mut kept = lock(&self.kept);
            if !now && kept.get(session).is_some_and(|at| at.elapsed() < jar::EVERY) {
                return;
            }
            kept.insert(session.clone(), Instant::now());
        }
        let Some(cookies) = self.cookies(session).await else { return };
        let save = move || match cookies.is_empty() && !path.exists() {
            true => Ok(()),
            false => jar::save(&path, &cookies),
        };
        if let Ok(Err(error)) = tokio::task::spawn_blocking(save).await {
            tracing::warn!(session_id = %session.as_str(), %error, "cookies not kept");
        }
    }

    /// The cookies of the session's context; none where it has no context, or does not say.
    pub(in crate::browser) async fn cookies(&self, session: &SessionId) -> Option<Vec<StoredCookie>> {
        let context = self.contexts.lock().await.get(session).cloned()?;
        let get = GetCookiesParams { browser_context_id: Some(context) };
        let seen = self.step("Storage.getCookies", self.browser.execute(get)).await.ok()?;
        Some(jar::stored(&seen.result.cookies))
    }

    /// Sets cookies in the session's context, where it has one.
    pub(in crate::browser) async fn set_cookies(&self, session: &SessionId, cookies: &[StoredCookie]) {
        let Some(context) = self.contexts.lock().await.get(session).cloned() else { return };
        let set = SetCookiesParams { cookies: jar::params(cookies), browser_context_id: Some(context) };
        if let Err(error) = self.step("Storage.setCookies", self.browser.execute(set)).await {
            tracing::debug!(session_id = %session.as_str(), error = %error, "cookies not set");
        }
    }

    /// Disposes of the session's context with everything in it.
    pub(in crate::browser) async fn end_session(&self, session: &SessionId) {
        self.keep_cookies(session, true).await;
        let Some(context) = self.contexts.lock().await.remove(session) else { return };
        let dispose = self.browser.execute(DisposeBrowserContextParams::new(context));
        if let Err(error) = self.step("Target.disposeBrowserContext", dispose).await {
            tracing::debug!(session_id = %session.as_str(), error = %error, "browser context not disposed of");
        }
    }

    pub(super) async fn end_contexts(&self) {
        let contexts: Vec<_> = self.contexts.lock().await.drain().collect();
        for (_, context) in contexts {
            let _ = self.browser.execute(DisposeBrowserContextParams::new(context)).await;
        }
    }
}

pub(super) fn no_downloads(context: Option<BrowserContextId>) -> SetDownloadBehaviorParams {
    let mut params = SetDownloadBehaviorParams::new(SetDownloadBehaviorBehavior::Deny);
    params.browser_context_id = context;
    params.events_enabled = Some(true);
    params
}
