//! Errors as `application/problem+json` (RFC 9457), and back.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use crate::daemon::command::{OperatorError, Problem};

/// The body of every answer that is not a success.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProblemBody {
    /// `crawld:` and the code.
    #[serde(rename = "type")]
    pub kind: String,
    /// HTTP status.
    pub status: u16,
    /// In words.
    pub detail: String,
    /// Stable word: unknown_session, other_task, not_now, in_use, ended, completed, cancelled, invalid, io, gone, request.
    pub code: String,
    /// What it is about: a session id, or the sentence without its frame.
    #[serde(default)]
    pub subject: String,
    /// What to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Each bad place, for `invalid`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<Problem>,
}

impl ProblemBody {
    /// The request itself is wrong: not JSON, too large, no such path.
    pub fn request(status: StatusCode, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        ProblemBody {
            kind: "crawld:request".to_owned(),
            status: status.as_u16(),
            subject: detail.clone(),
            detail,
            code: "request".to_owned(),
            hint: None,
            problems: Vec::new(),
        }
    }
}

impl From<OperatorError> for ProblemBody {
    fn from(error: OperatorError) -> Self {
        let (subject, problems) = match &error {
            OperatorError::UnknownSession(text)
            | OperatorError::OtherTask(text)
            | OperatorError::NotNow(text)
            | OperatorError::InUse(text)
            | OperatorError::NoBrowser(text)
            | OperatorError::Completed(text)
            | OperatorError::Ended(text)
            | OperatorError::Cancelled(text)
            | OperatorError::Io(text)
            | OperatorError::Gone(text) => (text.clone(), Vec::new()),
            OperatorError::Invalid(problems) => (String::new(), problems.clone()),
        };
        ProblemBody {
            kind: format!("crawld:{}", error.code()),
            status: error.http_status(),
            detail: error.to_string(),
            code: error.code().to_owned(),
            subject,
            hint: error.hint().map(str::to_owned),
            problems,
        }
    }
}

impl From<ProblemBody> for OperatorError {
    fn from(body: ProblemBody) -> Self {
        match body.code.as_str() {
            "unknown_session" => OperatorError::UnknownSession(body.subject),
            "other_task" => OperatorError::OtherTask(body.subject),
            "ended" => OperatorError::Ended(body.subject),
            "cancelled" => OperatorError::Cancelled(body.subject),
            "not_now" => OperatorError::NotNow(body.subject),
            "in_use" => OperatorError::InUse(body.subject),
            "no_browser" => OperatorError::NoBrowser(body.subject),
            "completed" => OperatorError::Completed(body.subject),
            "io" => OperatorError::Io(body.subject),
            "gone" => OperatorError::Gone(body.subject),
            "invalid" => OperatorError::Invalid(body.problems),
            _ => OperatorError::Invalid(vec![Problem::new("request", body.detail)]),
        }
    }
}

/// A problem as a handler returns it: boxed, being large and rare.
pub(super) struct Refused(Box<ProblemBody>);

impl From<ProblemBody> for Refused {
    fn from(body: ProblemBody) -> Self {
        Refused(Box::new(body))
    }
}

impl From<OperatorError> for Refused {
    fn from(error: OperatorError) -> Self {
        ProblemBody::from(error).into()
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        self.0.into_response()
    }
}

impl IntoResponse for ProblemBody {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, axum::Json(self)).into_response();
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_survive_the_wire() {
        for error in [
            OperatorError::UnknownSession("a".into()),
            OperatorError::OtherTask("a is of b".into()),
            OperatorError::NotNow("paused".into()),
            OperatorError::InUse("locked".into()),
            OperatorError::NoBrowser("no Chromium found".into()),
            OperatorError::Completed("s1".into()),
            OperatorError::Ended("a".into()),
            OperatorError::Invalid(vec![Problem::new("seeds", "is empty")]),
            OperatorError::Io("disk".into()),
            OperatorError::Gone("x".into()),
        ] {
            let text = serde_json::to_string(&ProblemBody::from(error.clone())).unwrap();
            assert_eq!(OperatorError::from(serde_json::from_str::<ProblemBody>(&text).unwrap()), error);
        }
    }
}
