//! The other end: typed calls over the socket of a state directory, each with a deadline.

pub mod watch;

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::api::listener::SOCKET_NAME;
use crate::api::problem::ProblemBody;
use crate::api::{ExportBody, ImportBody, OrderBody, RecoverBody, SessionPage, ShutdownBody, SubmitBody};
use crate::daemon::answers::{
    CleanupReport, Done, OwnerHealth, RecoveryReport, SessionDetail, SessionSummary, StatsReport, Submitted,
};
use crate::daemon::command::{
    ASK_DEADLINE, CleanupRequest, ORDER_DEADLINE, OperatorError, RecoverRequest, SessionOrder, StopLevel, WORK_DEADLINE,
};
use crate::model::ids::SessionId;

/// The daemon's own deadline passes first; this much later we stop listening.
const GRACE: Duration = Duration::from_secs(5);
/// Connecting to a socket on this machine.
const CONNECT: Duration = Duration::from_secs(2);
/// Where the owner says how it is, and with which status when it is not well.
const HEALTH: &str = "/health";
const UNHEALTHY: reqwest::StatusCode = reqwest::StatusCode::SERVICE_UNAVAILABLE;
/// `sockaddr_un` holds 108 bytes with the final zero.
const PATH_MAX: usize = 107;

/// A hold on the owner of a state directory.
#[derive(Debug)]
pub struct Client {
    http: reqwest::Client,
    // Keeps the short path below `/proc/self/fd` alive.
    _directory: Option<File>,
}

impl Client {
    /// Finds the owner of a state directory; `None` when nobody listens there.
    ///
    /// # Errors
    /// The socket cannot be reached for another reason: permissions, for one.
    pub async fn find(state_dir: &Path) -> io::Result<Option<Client>> {
        let (path, directory) = match socket_path(state_dir) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        match tokio::time::timeout(CONNECT, tokio::net::UnixStream::connect(&path)).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => {
                return match error.kind() {
                    io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused | io::ErrorKind::NotADirectory => {
                        Ok(None)
                    }
                    _ => Err(error),
                };
            }
            Err(_) => return Err(io::Error::new(io::ErrorKind::TimedOut, "nobody takes the connection")),
        }
        // The socket needs no TLS, and an empty set of roots spares reading the system's certificates.
        let http = reqwest::Client::builder()
            .unix_socket(path)
            .no_proxy()
            .tls_backend_preconfigured(no_tls())
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT)
            .build()
            .map_err(io::Error::other)?;
        Ok(Some(Client { http, _directory: directory }))
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
        deadline: Duration,
    ) -> Result<T, OperatorError> {
        let mut request = self.http.request(method, format!("http://crawld/api/v1{path}")).timeout(deadline + GRACE);
        if let Some(body) = body {
            request = request.json(body);
        }
        let gone = |error: reqwest::Error| {
            let what = if error.is_timeout() { "did not answer in time" } else { "broke the connection" };
            OperatorError::Gone(format!("crawld {what} (it may be stopping)"))
        };
        let response = request.send().await.map_err(gone)?;
        // An unhealthy owner says so with this status, and how with its body.
        let good = response.status().is_success() || (path == HEALTH && response.status() == UNHEALTHY);
        let bytes = response.bytes().await.map_err(gone)?;
        let strange = |error: serde_json::Error| {
            OperatorError::Gone(format!("crawld answered something else ({error}): is it of another version?"))
        };
        if good {
            serde_json::from_slice(&bytes).map_err(strange)
        } else {
            Err(serde_json::from_slice::<ProblemBody>(&bytes).map_err(strange)?.into())
        }
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, OperatorError> {
        self.call(Method::GET, path, None::<&()>, ASK_DEADLINE).await
    }

    /// Whether the owner's loop answers.
    pub async fn health(&self) -> Result<OwnerHealth, OperatorError> {
        self.get(HEALTH).await
    }

    /// Every session known, newest first.
    pub async fn sessions(&self) -> Result<Vec<SessionSummary>, OperatorError> {
        let mut all: Vec<SessionSummary> = Vec::new();
        let mut path = "/sessions?limit=1000".to_owned();
        loop {
            let page: SessionPage = self.get(&path).await?;
            all.extend(page.sessions);
            match page.next {
                Some(next) => path = format!("/sessions?limit=1000&cursor={next}"),
                None => return Ok(all),
            }
        }
    }

    /// One session in full.
    pub async fn status(&self, session: &SessionId) -> Result<SessionDetail, OperatorError> {
        self.get(&format!("/sessions/{session}")).await
    }

    /// Daily statistics.
    pub async fn stats(&self) -> Result<StatsReport, OperatorError> {
        self.get("/stats").await
    }

    /// Crawls a task, or joins the unfinished session of it.
    pub async fn submit(&self, body: &SubmitBody) -> Result<Submitted, OperatorError> {
        self.call(Method::POST, "/sessions", Some(body), ORDER_DEADLINE).await
    }

    /// Gives an order about one session.
    pub async fn order(&self, session: &SessionId, order: SessionOrder) -> Result<Done, OperatorError> {
        let body = match order {
            SessionOrder::Resume { extend } => OrderBody { extend, ..OrderBody::default() },
            SessionOrder::RetryFailed { quarantined } => OrderBody { quarantined, ..OrderBody::default() },
            _ => OrderBody::default(),
        };
        let path = format!("/sessions/{session}/{}", order.name());
        self.call(Method::POST, &path, Some(&body), ORDER_DEADLINE).await
    }

    /// Looks at sessions that nobody runs, decides, acts.
    pub async fn recover(&self, request: &RecoverRequest) -> Result<RecoveryReport, OperatorError> {
        self.call(Method::POST, "/recover", Some(&RecoverBody::from(request)), WORK_DEADLINE).await
    }

    /// Removes what is old.
    pub async fn cleanup(&self, request: &CleanupRequest) -> Result<CleanupReport, OperatorError> {
        self.call(Method::POST, "/cleanup", Some(request), WORK_DEADLINE).await
    }

    /// Packs a session into a file.
    pub async fn export(&self, body: &ExportBody) -> Result<Done, OperatorError> {
        self.call(Method::POST, "/export", Some(body), WORK_DEADLINE).await
    }

    /// Unpacks a session from a file and continues it.
    pub async fn import(&self, body: &ImportBody) -> Result<Submitted, OperatorError> {
        self.call(Method::POST, "/import", Some(body), WORK_DEADLINE).await
    }

    /// Stops the owner.
    pub async fn shutdown(&self, level: StopLevel) -> Result<(), OperatorError> {
        let body = ShutdownBody { level };
        self.call::<serde_json::Value>(Method::POST, "/shutdown", Some(&body), ASK_DEADLINE).await.map(drop)
    }
}

/// A path to the socket that fits a socket address, also for a deep directory: then it holds as long as the file.
fn socket_path(state_dir: &Path) -> io::Result<(PathBuf, Option<File>)> {
    let path = state_dir.join(SOCKET_NAME);
    if path.as_os_str().len() <= PATH_MAX {
        return Ok((path, None));
    }
    let directory = File::open(state_dir)?;
    Ok((PathBuf::from(format!("/proc/self/fd/{}/{SOCKET_NAME}", directory.as_raw_fd())), Some(directory)))
}

fn no_tls() -> rustls::ClientConfig {
    // Twice is no error: another part of the process may have chosen the same provider already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    rustls::ClientConfig::builder().with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth()
}
