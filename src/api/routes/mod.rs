//! Every route in one table: where it is, who may use it, how long it may take, what goes in and out. The router and
//! the OpenAPI document are made of it.

pub(super) mod amend;
pub(super) mod cleanup;
pub(super) mod daemon;
pub(super) mod epochs;
pub(super) mod files;
pub(super) mod health;
pub(super) mod hosts;
pub(super) mod listing;
pub(super) mod login;
pub(super) mod orders;
pub(super) mod outputs;
pub(super) mod pages;
pub(super) mod recovery;
pub(super) mod remove;
pub(super) mod sessions;
pub(super) mod stats;
pub(super) mod tasks;

use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::MethodRouter;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::DeserializeOwned;

use crate::api::access::Access;
use crate::api::dashboard;
use crate::api::events;
use crate::api::guard::{Caller, admit};
use crate::api::problem::{ProblemBody, Refused};
use crate::api::server::Shared;
use crate::daemon::command::{ASK_DEADLINE, ORDER_DEADLINE, WORK_DEADLINE};

/// What is not at the root lies below this.
pub(super) const PREFIX: &str = "/api/v1";
/// The operator's own deadlines pass first, with a better word.
const GRACE: Duration = Duration::from_secs(5);

/// Every route, by noun.
pub(super) const TABLE: &[&[Route]] = &[
    health::ROUTES,
    login::ROUTES,
    listing::ROUTES,
    sessions::ROUTES,
    orders::ROUTES,
    amend::ROUTES,
    pages::ROUTES,
    hosts::ROUTES,
    files::ROUTES,
    epochs::ROUTES,
    outputs::ROUTES,
    remove::ROUTES,
    recovery::ROUTES,
    cleanup::ROUTES,
    stats::ROUTES,
    tasks::ROUTES,
    daemon::ROUTES,
    events::ROUTES,
    dashboard::ROUTES,
    dashboard::TABS,
];

/// What a handler returns.
pub(super) type Answer<T> = Result<axum::Json<T>, Refused>;

/// The JSON Schema of a type.
pub(super) type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// How long a route may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Within {
    /// Answered from memory or a short look at files.
    Ask,
    /// Waits for a commit and a checkpoint.
    Order,
    /// Reads and moves files.
    Work,
}

impl Within {
    const fn deadline(self) -> Duration {
        match self {
            Within::Ask => ASK_DEADLINE,
            Within::Order => ORDER_DEADLINE,
            Within::Work => WORK_DEADLINE,
        }
    }
}

/// What comes out of a route that went well.
#[derive(Clone, Copy)]
pub(super) enum Gives {
    /// Nothing: 204.
    Nothing,
    /// JSON of this shape.
    Json(SchemaOf),
    /// Something else, of this media type.
    Bytes(&'static str),
    /// 101: a WebSocket.
    Upgrade,
}

/// One route.
#[derive(Clone, Copy)]
pub(super) struct Route {
    pub(super) method: &'static str,
    /// As axum and OpenAPI write it, `{id}` for a parameter; below [`PREFIX`] unless `at_root`.
    pub(super) path: &'static str,
    pub(super) at_root: bool,
    pub(super) access: Access,
    /// One line for the document.
    pub(super) summary: &'static str,
    pub(super) within: Within,
    pub(super) query: Option<SchemaOf>,
    pub(super) takes: Option<SchemaOf>,
    pub(super) gives: Gives,
    handler: fn() -> MethodRouter<Shared>,
}

fn schema_of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

type Handler = fn() -> MethodRouter<Shared>;

impl Route {
    const fn new(
        method: &'static str,
        path: &'static str,
        access: Access,
        summary: &'static str,
        handler: Handler,
    ) -> Self {
        let (query, takes, gives) = (None, None, Gives::Nothing);
        Route { method, path, at_root: false, access, summary, within: Within::Ask, query, takes, gives, handler }
    }

    /// Something to look at: changes nothing.
    pub(super) const fn get(path: &'static str, access: Access, summary: &'static str, handler: Handler) -> Self {
        Route::new("get", path, access, summary, handler)
    }

    /// Something to do.
    pub(super) const fn post(path: &'static str, access: Access, summary: &'static str, handler: Handler) -> Self {
        Route { within: Within::Order, ..Route::new("post", path, access, summary, handler) }
    }

    /// Something to change.
    pub(super) const fn patch(path: &'static str, access: Access, summary: &'static str, handler: Handler) -> Self {
        Route { within: Within::Order, ..Route::new("patch", path, access, summary, handler) }
    }

    /// Something to remove.
    pub(super) const fn delete(path: &'static str, access: Access, summary: &'static str, handler: Handler) -> Self {
        Route { within: Within::Work, ..Route::new("delete", path, access, summary, handler) }
    }

    /// Not below [`PREFIX`].
    pub(super) const fn at_root(self) -> Self {
        Route { at_root: true, ..self }
    }

    /// Takes longer than its method lets expect.
    pub(super) const fn within(self, within: Within) -> Self {
        Route { within, ..self }
    }

    /// Parameters of the query, read by [`query`].
    pub(super) const fn query<T: JsonSchema>(self) -> Self {
        Route { query: Some(schema_of::<T>), ..self }
    }

    /// JSON in the body, read by [`body`].
    pub(super) const fn takes<T: JsonSchema>(self) -> Self {
        Route { takes: Some(schema_of::<T>), ..self }
    }

    /// JSON in the answer.
    pub(super) const fn answers<T: JsonSchema>(self) -> Self {
        Route { gives: Gives::Json(schema_of::<T>), ..self }
    }

    /// Bytes of this media type in the answer.
    pub(super) const fn serves(self, media_type: &'static str) -> Self {
        Route { gives: Gives::Bytes(media_type), ..self }
    }

    /// A WebSocket. Its handler is asked also for who has no token, whose socket it closes with a code: no browser
    /// tells a page the status of a refused upgrade.
    pub(super) const fn upgrades(self) -> Self {
        Route { gives: Gives::Upgrade, ..self }
    }

    /// The whole path.
    pub(super) fn full_path(&self) -> String {
        if self.at_root { self.path.to_owned() } else { format!("{PREFIX}{}", self.path) }
    }
}

/// Every route of the table.
pub(super) fn all() -> impl Iterator<Item = &'static Route> {
    TABLE.iter().copied().flatten()
}

/// The router of the table. What is not in it is not told to anybody without a token either.
pub(super) fn router(shared: &Shared) -> Router {
    let mut router = Router::new();
    for route in all() {
        let gate = middleware::from_fn_with_state((shared.clone(), *route), gate);
        router = router.route(&route.full_path(), (route.handler)().route_layer(gate));
    }
    router
        .fallback(async |State(shared): State<Shared>, request: Request| {
            nowhere(&shared, &request, StatusCode::NOT_FOUND, "no such path; everything is under /api/v1")
        })
        .method_not_allowed_fallback(async |State(shared): State<Shared>, request: Request| {
            nowhere(&shared, &request, StatusCode::METHOD_NOT_ALLOWED, "no such method on this path")
        })
        .with_state(shared.clone())
}

fn nowhere(shared: &Shared, request: &Request, status: StatusCode, detail: &str) -> Response {
    let Some(caller) = request.extensions().get::<Caller>() else { return status.into_response() };
    match admit(shared, request.headers(), *caller, Access::Read) {
        Ok(()) => ProblemBody::request(status, detail).into_response(),
        Err(refused) => refused.into_response(),
    }
}

/// Before a route's handler: may this client, is the body what it should be; and no longer than it may take.
async fn gate(State((shared, route)): State<(Shared, Route)>, request: Request, next: Next) -> Response {
    let Some(caller) = request.extensions().get::<Caller>().copied() else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    if let Err(refused) = admit(&shared, request.headers(), caller, route.access)
        && !(matches!(route.gives, Gives::Upgrade) && request.headers().contains_key(header::UPGRADE))
    {
        return refused.into_response();
    }
    // A page of another origin can send forms and plain text without asking first; it cannot send this.
    if route.takes.is_some() && !caller.standing.local() && !is_json(request.method(), request.headers()) {
        let detail = "the body must be JSON and say so: `Content-Type: application/json`";
        return ProblemBody::coded("body", StatusCode::UNSUPPORTED_MEDIA_TYPE, detail).into_response();
    }
    match tokio::time::timeout(route.within.deadline() + GRACE, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            let detail = format!("crawld did not answer within {} s", (route.within.deadline() + GRACE).as_secs());
            ProblemBody::request(StatusCode::GATEWAY_TIMEOUT, detail).into_response()
        }
    }
}

fn is_json(method: &Method, headers: &HeaderMap) -> bool {
    let empty = headers.get(header::CONTENT_LENGTH).is_none_or(|length| length == "0")
        && !headers.contains_key(header::TRANSFER_ENCODING);
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    (empty && kind.is_empty() && *method != Method::PUT) || kind.eq_ignore_ascii_case("application/json")
}

/// Reads a JSON body; an empty one is `{}`.
pub(super) fn body<T: DeserializeOwned>(body: &Bytes) -> Result<T, Refused> {
    let body: &[u8] = if body.is_empty() { b"{}" } else { body };
    let mut reader = serde_json::Deserializer::from_slice(body);
    let read = serde_path_to_error::deserialize(&mut reader);
    let place = |path: String| if path == "." { "body".to_owned() } else { format!("body: {path}") };
    let value = read.map_err(|error| {
        let at = place(error.path().to_string());
        ProblemBody::field("body", at, error.into_inner().to_string())
    })?;
    reader.end().map_err(|error| ProblemBody::field("body", "body", error.to_string()))?;
    Ok(value)
}

/// Reads the parameters of a query.
pub(super) fn query<T: DeserializeOwned>(uri: &Uri) -> Result<T, Refused> {
    axum::extract::Query::<T>::try_from_uri(uri).map(|query| query.0).map_err(|rejection| {
        let message = rejection.body_text();
        let message = message.strip_prefix("Failed to deserialize query string: ").unwrap_or(&message);
        ProblemBody::field("query", "query", message).into()
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_route_is_there_once_and_says_what_it_is() {
        let mut seen = BTreeSet::new();
        for route in all() {
            assert!(seen.insert((route.method, route.full_path())), "{} {} twice", route.method, route.full_path());
            assert!(route.path.starts_with('/') && !route.summary.is_empty() && !route.summary.ends_with('.'));
            assert!(matches!(route.method, "get" | "post" | "delete" | "patch"), "{}", route.path);
            let changes = route.method != "get";
            let open = route.access == Access::Open;
            assert!(open || !changes || matches!(route.access, Access::Full | Access::Local), "{}", route.path);
        }
    }

    #[test]
    fn only_a_body_that_says_it_is_json_is_taken_for_it() {
        #[track_caller]
        fn check(headers: &[(&'static str, &'static str)], expected: bool) {
            let mut map = HeaderMap::new();
            for (name, value) in headers {
                map.insert(*name, value.parse().unwrap());
            }
            assert_eq!(is_json(&Method::POST, &map), expected, "{headers:?}");
        }
        check(&[], true);
        check(&[("content-length", "0")], true);
        check(&[("content-length", "2")], false);
        check(&[("transfer-encoding", "chunked")], false);
        check(&[("content-length", "2"), ("content-type", "application/json")], true);
        check(&[("content-length", "2"), ("content-type", "Application/JSON; charset=utf-8")], true);
        check(&[("content-length", "2"), ("content-type", "text/plain")], false);
        check(&[("content-length", "2"), ("content-type", "application/x-www-form-urlencoded")], false);
        check(&[("content-type", "text/plain")], false);
    }
}
