//! How a browser logs in: once, with a token, for a cookie that only pages of ours send.

use std::sync::LazyLock;

use axum::body::Bytes;
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::api::access::Access;
use crate::api::guard::Caller;
use crate::api::problem::ProblemBody;
use crate::api::routes::{Route, body};
use crate::api::server::Shared;
use crate::api::token::login_seconds;

pub(super) const ROUTES: &[Route] = &[
    Route::post("/login", Access::Open, "Exchange a token for a browser's cookie; JSON or a form", || post(login))
        .at_root(),
    Route::post("/logout", Access::Open, "Forget the cookie", || post(logout)).at_root(),
];

const PAGE: &str = include_str!("../assets/login.html");
/// Where the page says what went wrong.
const SAID: &str = "<!--said-->";

/// The page asks for nothing, and only its own style is let in: by its hash.
static POLICY: LazyLock<String> = LazyLock::new(|| {
    let style =
        PAGE.split_once("<style>").and_then(|(_, rest)| rest.split_once("</style>")).map_or("", |(style, _)| style);
    let hash = BASE64.encode(Sha256::digest(style));
    format!(
        "default-src 'none'; style-src 'sha256-{hash}'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    )
});

/// What is posted.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LoginBody {
    /// Either token.
    pub token: String,
}

/// The page that asks for a token, as the answer to whoever has not logged in: 401.
pub(in crate::api) fn page(said: &str) -> Response {
    let said = if said.is_empty() { String::new() } else { format!("<p role=\"alert\">{said}</p>") };
    let headers = [(header::CONTENT_TYPE, "text/html; charset=utf-8"), (header::CONTENT_SECURITY_POLICY, &**POLICY)];
    (StatusCode::UNAUTHORIZED, headers, PAGE.replacen(SAID, &said, 1)).into_response()
}

async fn login(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    bytes: Bytes,
) -> Response {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let form = kind.starts_with("application/x-www-form-urlencoded");
    let token = match (form, kind.starts_with("application/json")) {
        (true, _) => {
            let mut pairs = url::form_urlencoded::parse(&bytes);
            pairs.find_map(|(name, value)| (name == "token").then(|| value.into_owned())).unwrap_or_default()
        }
        (false, true) => match body::<LoginBody>(&bytes) {
            Ok(body) => body.token,
            Err(refused) => return refused.into_response(),
        },
        (false, false) => {
            let detail = "a form or JSON is needed: {\"token\": \"…\"}";
            return ProblemBody::coded("body", StatusCode::UNSUPPORTED_MEDIA_TYPE, detail).into_response();
        }
    };
    let Some(keys) = &shared.keys else {
        let detail = "there are no tokens: the API is served on the Unix socket alone";
        return ProblemBody::coded("not_now", StatusCode::CONFLICT, detail).into_response();
    };
    let Some(grade) = keys.grade_of(token.trim()) else {
        return match form {
            true => page("This is not a token of this crawld."),
            false => {
                ProblemBody::request(StatusCode::UNAUTHORIZED, "this is not a token of this crawld").into_response()
            }
        };
    };
    let value = keys.cookie(grade, shared.clock.now().millis());
    let cookie = cookie(caller, &value, login_seconds());
    match form {
        true => (StatusCode::SEE_OTHER, cookie, [(header::LOCATION, "/")]).into_response(),
        false => (StatusCode::NO_CONTENT, cookie).into_response(),
    }
}

async fn logout(Extension(caller): Extension<Caller>) -> Response {
    (StatusCode::NO_CONTENT, cookie(caller, "", 0)).into_response()
}

/// The header that sets the cookie. No other site sends it, no script reads it.
fn cookie(caller: Caller, value: &str, seconds: i64) -> [(header::HeaderName, HeaderValue); 1] {
    let secure = if caller.secure { "; Secure" } else { "" };
    let text =
        format!("{}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}", caller.cookie_name());
    let value = HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static(""));
    [(header::SET_COOKIE, value)]
}
