//! A session's ways to the network: both hold to the same address rules, and go through the same proxy of the task's.

use std::sync::Arc;

use crate::clock::Clock;
use crate::crawl::secrets;
use crate::crawl::session::SessionError;
use crate::egress::{Egress, Limits};
use crate::fetch::{Cookies, HttpClient};
use crate::model::conduct::Conduct;
use crate::model::login::Login;
use crate::model::proxy::ProxyNames;
use crate::model::task::StoredTask;
use crate::policy::address::AddressPolicy;
use crate::policy::hosts::HostSet;
use crate::state::paths::SessionPaths;

/// What a session connects with.
pub(super) struct Net {
    /// Plain HTTP; knows which addresses may be reached.
    pub client: Arc<HttpClient>,
    /// The browser's proxy; `None` where no browser is used, or somebody else's.
    pub egress: Option<Arc<Egress>>,
    /// How pages are gone about; holds the task's secrets.
    pub conduct: Arc<Conduct>,
    /// How it logs in.
    pub login: Option<Login>,
}

impl Net {
    /// Opens what the task needs; `attached` says of the browser, where one is used, whether it is somebody else's.
    ///
    /// # Errors
    /// The task's addresses or headers are not usable, or there is no port for the proxy.
    pub(super) async fn open(
        task: &StoredTask,
        paths: &SessionPaths,
        clock: &Clock,
        attached: Option<bool>,
    ) -> Result<Net, SessionError> {
        let session = || task.session_id.to_string();
        let wrong = |why| SessionError::Task { session: session(), why };
        let spec = task.spec.clone();
        let read = move || Ok((secrets::headers(&spec.fetch)?, secrets::proxy(&spec.fetch)?, secrets::login(&spec)?));
        let secrets = tokio::task::spawn_blocking(read).await;
        let (headers, proxy, login) = secrets.unwrap_or_else(|error| Err(error.to_string())).map_err(wrong)?;
        if attached == Some(true)
            && let Some(key) = kept_by_proxy(task)
        {
            let why =
                format!("{key} is kept by crawld's proxy, and an attached browser (cdp_url) does not go through it");
            return Err(wrong(why));
        }
        let logged_out = login.as_ref().and_then(|login| login.logged_out.clone());
        let conduct = Conduct { page: task.spec.page.clone(), headers, logged_out };
        let client = http_client(task, clock).map_err(wrong)?.with_host_headers(conduct.headers.clone());
        let client = client.with_cookies(Cookies::new(paths.cookies(), clock.clone()));
        let client = client.names_by(proxy.as_ref().map_or(ProxyNames::Here, |proxy| proxy.names));
        let open = async |blocked: HostSet| {
            let limits = Limits::of(&task.spec.fetch);
            let opened = Egress::by(client.resolver(), blocked, proxy.clone(), limits).await;
            opened.map(Arc::new).map_err(|error| SessionError::Prepare {
                session: session(),
                why: format!("no port on 127.0.0.1 for the session's proxy: {error}"),
            })
        };
        let egress = match attached {
            Some(false) => Some(open(HostSet::new(task.spec.page.block_hosts.iter().map(String::as_str))).await?),
            _ => None,
        };
        let plain = if proxy.is_some() { Some(open(HostSet::default()).await?) } else { None };
        let client = match plain {
            Some(plain) => client.through(plain, &task.spec.fetch).map_err(|error| wrong(error.to_string()))?,
            None => client,
        };
        Ok(Net { client: Arc::new(client), egress, conduct: Arc::new(conduct), login })
    }
}

/// What a task asks for that nothing but the proxy between browser and network can do.
fn kept_by_proxy(task: &StoredTask) -> Option<&'static str> {
    let blocks = !task.spec.page.block_hosts.is_empty();
    blocks.then_some("page.block_hosts").or_else(|| task.spec.fetch.proxy.is_some().then_some("fetch.proxy"))
}

fn http_client(task: &StoredTask, clock: &Clock) -> Result<HttpClient, String> {
    let addresses = AddressPolicy::new(&task.spec.allow_private_networks, &task.named_private);
    let addresses = addresses.map_err(|error| error.to_string())?;
    HttpClient::new(Arc::new(addresses), &task.spec.fetch, clock.clone()).map_err(|error| error.to_string())
}
