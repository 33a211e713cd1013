//! HTTP/JSON `/api/v1`: on the Unix socket of a state directory, and on a TCP address for who has a token; the only
//! importer of axum.
//!
//! Served by whoever owns the directory, spoken by every command. On the socket only the owner's user (and root)
//! gets through: the directory is 0700, the socket 0600, and the peer's user id is checked. The same user's client may
//! speak as the operator, which crawld's commands do; all else is the API, and is granted what the configuration says.

mod access;
pub mod client;
mod dashboard;
mod doors;
mod events;
mod guard;
mod listener;
mod looks;
mod openapi;
mod origin;
pub mod problem;
mod range;
mod routes;
mod server;
mod tcp;
mod token;

pub use doors::Doors;
pub use listener::SOCKET_NAME;
pub use routes::listing::SessionPage;
pub use server::serve;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::daemon::command::{RecoverRequest, StopLevel, Strategy};
use crate::daemon::session_key::SessionKey;
use crate::model::ids::SessionId;
use crate::model::task::TaskOrigin;

/// Body of `POST /sessions`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SubmitBody {
    /// The task as written; `crawld schema task` prints its shape.
    pub task: serde_json::Value,
    /// Who submits; `api` unless said otherwise. Another word counts only from the daemon's own user, by the kernel's
    /// word of who is at the other end.
    #[serde(default = "api_origin")]
    pub origin: TaskOrigin,
    /// The file in the tasks directory that it was read from: absolute path.
    #[serde(default)]
    pub file: Option<String>,
    /// Start another session although one of the same task is unfinished.
    #[serde(default)]
    pub new: bool,
}

fn api_origin() -> TaskOrigin {
    TaskOrigin::Api
}

/// Body of `POST /sessions/{id}/{order}`; every key may be left out.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct OrderBody {
    /// `resume`: also past a reached limit.
    pub extend: bool,
    /// `retry-failed`: poisoned ones as well.
    pub quarantined: bool,
}

/// Body of `POST /recover`; every key may be left out.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RecoverBody {
    /// These only, each by its id or by its id and its task's; empty: all.
    pub sessions: Vec<SessionKey>,
    /// What the operator prefers.
    pub strategy: Strategy,
    /// Say only what would be done.
    pub dry_run: bool,
    /// Repair but do not crawl.
    pub no_run: bool,
    /// Continue sessions that reached a limit; the limits count anew.
    pub extend: bool,
}

impl RecoverBody {
    /// The request about these sessions, which were looked up.
    fn about(self, sessions: Vec<SessionId>) -> RecoverRequest {
        RecoverRequest {
            sessions,
            strategy: self.strategy,
            dry_run: self.dry_run,
            no_run: self.no_run,
            extend: self.extend,
            ..RecoverRequest::default()
        }
    }
}

impl Default for RecoverBody {
    fn default() -> Self {
        RecoverBody::from(&RecoverRequest::default())
    }
}

impl From<&RecoverRequest> for RecoverBody {
    fn from(request: &RecoverRequest) -> Self {
        RecoverBody {
            sessions: request.sessions.iter().cloned().map(SessionKey::from).collect(),
            strategy: request.strategy,
            dry_run: request.dry_run,
            no_run: request.no_run,
            extend: request.extend,
        }
    }
}

/// Body of `POST /export`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExportBody {
    /// The session: its id, or its id and its task's.
    pub session: SessionKey,
    /// Absolute path of the file to write.
    pub file: std::path::PathBuf,
    /// Leave the session as it is at home.
    #[serde(default)]
    pub copy: bool,
}

/// Body of `POST /import`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ImportBody {
    /// Absolute path of the file to read.
    pub file: std::path::PathBuf,
}

/// Body of `POST /shutdown`.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ShutdownBody {
    /// How.
    pub level: StopLevel,
}
