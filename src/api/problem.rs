//! Errors as `application/problem+json` (RFC 9457), and back.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::daemon::command::{OperatorError, Problem};

/// The media type of problems.
pub(super) const MEDIA_TYPE: &str = "application/problem+json";

/// The body of every answer that is not a success.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProblemBody {
    /// `crawld:` and the code: stable, for machines.
    #[serde(rename = "type")]
    pub kind: String,
    /// The status in words.
    #[serde(default)]
    pub title: String,
    /// HTTP status.
    pub status: u16,
    /// In words.
    pub detail: String,
    /// Stable word: unknown_session, other_task, not_now, in_use, no_browser, ended, completed, cancelled, invalid, io,
    /// gone; and of requests: unauthorised, forbidden, not_found, body, query, too_large, timeout, busy, range, request.
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
    /// The request itself is wrong: not HTTP as it should be, no such path.
    pub fn request(status: StatusCode, detail: impl Into<String>) -> Self {
        let code = match status {
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => "not_found",
            StatusCode::PAYLOAD_TOO_LARGE => "too_large",
            StatusCode::REQUEST_TIMEOUT | StatusCode::GATEWAY_TIMEOUT => "timeout",
            StatusCode::FORBIDDEN | StatusCode::MISDIRECTED_REQUEST => "forbidden",
            StatusCode::UNAUTHORIZED => "unauthorised",
            _ => "request",
        };
        ProblemBody::coded(code, status, detail)
    }

    /// With a code of its own.
    pub(super) fn coded(code: &str, status: StatusCode, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        ProblemBody {
            kind: format!("crawld:{code}"),
            title: title(status),
            status: status.as_u16(),
            subject: detail.clone(),
            detail,
            code: code.to_owned(),
            hint: None,
            problems: Vec::new(),
        }
    }

    /// A field of the request is at fault.
    pub(super) fn field(code: &str, place: impl Into<String>, message: impl Into<String>) -> Self {
        let problem = Problem::new(place, message);
        let detail = problem.to_string();
        ProblemBody { problems: vec![problem], ..ProblemBody::coded(code, StatusCode::BAD_REQUEST, detail) }
    }
}

fn title(status: StatusCode) -> String {
    status.canonical_reason().unwrap_or_default().to_owned()
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
        let status = StatusCode::from_u16(error.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        ProblemBody {
            kind: format!("crawld:{}", error.code()),
            title: title(status),
            status: status.as_u16(),
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
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"crawld\""));
        }
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
