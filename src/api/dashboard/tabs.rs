//! What the browser's tabs show now. Asked of the pool only while somebody asks here.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::access::Access;
use crate::api::problem::{ProblemBody, Refused};
use crate::api::routes::sessions::id;
use crate::api::routes::{Answer, Route};
use crate::api::server::Shared;
use crate::browser::TabSeen;

pub(in crate::api) const ROUTES: &[Route] = &[
    Route::get("/sessions/{id}/tabs", Access::Read, "What the browser's tabs of a session show now", || get(tabs))
        .answers::<TabsSeen>(),
    Route::get(
        "/sessions/{id}/tabs/{name}",
        Access::Read,
        "A picture of one: its number and `.jpeg`; 204 where it has none to give now",
        || get(picture),
    )
    .serves("image/jpeg"),
];

/// What the tabs of a session show.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TabsSeen {
    /// The tabs that show a page, by number; none for a session that runs no browser.
    pub tabs: Vec<TabSeen>,
}

async fn tabs(State(shared): State<Shared>, Path(session): Path<String>) -> Answer<TabsSeen> {
    let id = id(&shared, &session).await?;
    let tabs = match shared.operator.browsers().await? {
        Some(browsers) => browsers.tabs_of(&id).await,
        None => Vec::new(),
    };
    Ok(Json(TabsSeen { tabs }))
}

async fn picture(
    State(shared): State<Shared>,
    Path((session, name)): Path<(String, String)>,
) -> Result<Response, Refused> {
    let number = name.strip_suffix(".jpeg").and_then(|number| number.parse().ok());
    let number: u64 = number.ok_or_else(|| {
        ProblemBody::request(StatusCode::NOT_FOUND, "a picture is named by a tab's number and `.jpeg`")
    })?;
    let id = id(&shared, &session).await?;
    let taken = match shared.operator.browsers().await? {
        Some(browsers) => browsers.picture_of(&id, number).await,
        None => None,
    };
    Ok(match taken {
        Some(picture) => ([(header::CONTENT_TYPE, "image/jpeg")], picture.to_vec()).into_response(),
        // It has gone, or drawn nothing yet: no fault of whoever looks.
        None => StatusCode::NO_CONTENT.into_response(),
    })
}
