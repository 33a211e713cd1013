//! A session's ways to the network: both hold to the same address rules.

use std::sync::Arc;

use crate::clock::Clock;
use crate::crawl::secrets;
use crate::crawl::session::SessionError;
use crate::egress::{Egress, Limits};
use crate::fetch::HttpClient;
use crate::model::conduct::Conduct;
use crate::model::task::StoredTask;
use crate::policy::address::AddressPolicy;
use crate::policy::hosts::HostSet;

/// What a session connects with.
pub(super) struct Net {
    /// Plain HTTP; knows which addresses may be reached.
    pub client: Arc<HttpClient>,
    /// The browser's proxy; `None` where no browser is used.
    pub egress: Option<Arc<Egress>>,
    /// How pages are gone about; holds the task's secrets.
    pub conduct: Arc<Conduct>,
}

impl Net {
    /// Opens what the task needs.
    ///
    /// # Errors
    /// The task's addresses or headers are not usable, or there is no port for the proxy.
    pub(super) async fn open(task: &StoredTask, clock: &Clock, browser: bool) -> Result<Net, SessionError> {
        let session = || task.session_id.to_string();
        let wrong = |why| SessionError::Task { session: session(), why };
        let fetch = task.spec.fetch.clone();
        let headers = tokio::task::spawn_blocking(move || secrets::headers(&fetch)).await;
        let headers = headers.unwrap_or_else(|error| Err(error.to_string())).map_err(wrong)?;
        let conduct = Conduct { page: task.spec.page.clone(), headers };
        let client = http_client(task, clock).map_err(wrong)?.with_host_headers(conduct.headers.clone());
        let egress = if browser {
            let blocked = HostSet::new(task.spec.page.block_hosts.iter().map(String::as_str));
            let opened = Egress::blocking(client.resolver(), blocked, Limits::of(&task.spec.fetch)).await;
            Some(Arc::new(opened.map_err(|error| SessionError::Prepare {
                session: session(),
                why: format!("no port on 127.0.0.1 for the browser's proxy: {error}"),
            })?))
        } else {
            None
        };
        Ok(Net { client: Arc::new(client), egress, conduct: Arc::new(conduct) })
    }
}

fn http_client(task: &StoredTask, clock: &Clock) -> Result<HttpClient, String> {
    let addresses = AddressPolicy::new(&task.spec.allow_private_networks, &task.named_private);
    let addresses = addresses.map_err(|error| error.to_string())?;
    HttpClient::new(Arc::new(addresses), &task.spec.fetch, clock.clone()).map_err(|error| error.to_string())
}
