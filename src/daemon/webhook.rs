//! Alerts to an address of the operator's choice, besides the log.

use std::time::Duration;

use serde::Serialize;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tracing::warn;

use crate::crawl::session::Raised;
use crate::model::time::Timestamp;

/// Deadline of one delivery; an alert that cannot be delivered is in the log.
const DEADLINE: Duration = Duration::from_secs(10);
/// Alerts that may wait for a slow receiver.
const QUEUE: usize = 32;

/// The body of a delivery.
#[derive(Debug, Serialize)]
struct Body {
    session_id: Option<String>,
    alert: &'static str,
    value: f64,
    threshold: f64,
    timestamp: Timestamp,
}

/// Delivers alerts one after the other.
#[derive(Debug)]
pub struct Webhook {
    queue: mpsc::Sender<(Raised, Timestamp)>,
    task: JoinHandle<()>,
}

impl Webhook {
    /// Starts delivering to `url`.
    pub fn start(url: String) -> Self {
        let (queue, mut inbox) = mpsc::channel::<(Raised, Timestamp)>(QUEUE);
        let task = tokio::spawn(async move {
            let client = reqwest::Client::builder().timeout(DEADLINE).no_proxy().build();
            let Ok(client) = client else { return warn!("the alert webhook cannot be used: no HTTP client") };
            while let Some((raised, at)) = inbox.recv().await {
                if let Err(error) = deliver(&client, &url, &raised, at).await {
                    warn!(%error, "alert not delivered to the webhook");
                }
            }
        });
        Webhook { queue, task }
    }

    /// Queues an alert; a full queue drops it, and says so.
    pub fn send(&self, raised: Raised, at: Timestamp) {
        if self.queue.try_send((raised, at)).is_err() {
            warn!("the alert webhook does not keep up: an alert was not delivered");
        }
    }

    /// Delivers what waits, for one deadline at most.
    pub async fn close(self) {
        drop(self.queue);
        if tokio::time::timeout(DEADLINE, self.task).await.is_err() {
            warn!("the alert webhook did not take the last alerts in time");
        }
    }
}

async fn deliver(client: &reqwest::Client, url: &str, (session, alert): &Raised, at: Timestamp) -> reqwest::Result<()> {
    let body = Body {
        session_id: session.as_ref().map(ToString::to_string),
        alert: alert.kind.as_str(),
        value: alert.value,
        threshold: alert.threshold,
        timestamp: at,
    };
    client.post(url).json(&body).send().await?.error_for_status().map(drop)
}
