//! The dashboard: pages, style and scripts as they lie in `assets/`, embedded in the binary. Nothing of it comes from
//! another host, and nothing of it is made at run time: all that strangers wrote reaches it as JSON.

mod tabs;

use axum::Json;
use axum::extract::{Extension, Path};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::access::{Access, Standing};
use crate::api::guard::Caller;
use crate::api::problem::ProblemBody;
use crate::api::routes::{Answer, Route, login};

pub(super) use tabs::ROUTES as TABS;

pub(super) const ROUTES: &[Route] = &[
    Route::get("/", Access::Open, "The dashboard, or the page that asks for a token", || get(index))
        .at_root()
        .serves(HTML),
    Route::get("/assets/{name}", Access::Read, "A file of the dashboard", || get(asset)).at_root().serves("text/plain"),
    Route::get("/whoami", Access::Read, "As whom this client is heard", || get(whoami)).answers::<Whoami>(),
];

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// No script and no style but these files, no other host, no frame around it.
const POLICY: &str =
    "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'";

/// A file: its name, its media type, and itself.
type File = (&'static str, &'static str, &'static [u8]);

const INDEX: File = ("index.html", HTML, include_bytes!("assets/index.html"));

/// What `/assets/` serves.
const FILES: &[File] = &[
    ("icon.svg", SVG, include_bytes!("assets/icon.svg")),
    ("base.css", CSS, include_bytes!("assets/base.css")),
    ("parts.css", CSS, include_bytes!("assets/parts.css")),
    ("session.css", CSS, include_bytes!("assets/session.css")),
    ("actions.js", JS, include_bytes!("assets/actions.js")),
    ("api.js", JS, include_bytes!("assets/api.js")),
    ("app.js", JS, include_bytes!("assets/app.js")),
    ("bits.js", JS, include_bytes!("assets/bits.js")),
    ("chart.js", JS, include_bytes!("assets/chart.js")),
    ("dialog.js", JS, include_bytes!("assets/dialog.js")),
    ("dom.js", JS, include_bytes!("assets/dom.js")),
    ("feed.js", JS, include_bytes!("assets/feed.js")),
    ("format.js", JS, include_bytes!("assets/format.js")),
    ("history.js", JS, include_bytes!("assets/history.js")),
    ("list.js", JS, include_bytes!("assets/list.js")),
    ("live.js", JS, include_bytes!("assets/live.js")),
    ("newcrawl.js", JS, include_bytes!("assets/newcrawl.js")),
    ("reconnect.js", JS, include_bytes!("assets/reconnect.js")),
    ("session.js", JS, include_bytes!("assets/session.js")),
    ("tables.js", JS, include_bytes!("assets/tables.js")),
    ("tabs.js", JS, include_bytes!("assets/tabs.js")),
    ("text.js", JS, include_bytes!("assets/text.js")),
    ("timeline.js", JS, include_bytes!("assets/timeline.js")),
];

/// As whom a client is heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Whoami {
    /// Whether it may change anything, or only look.
    pub may_change: bool,
}

fn sent((_, media_type, bytes): File) -> Response {
    ([(header::CONTENT_TYPE, media_type), (header::CONTENT_SECURITY_POLICY, POLICY)], bytes).into_response()
}

async fn index(Extension(caller): Extension<Caller>) -> Response {
    match caller.standing {
        Standing::Nobody => login::page(""),
        _ => sent(INDEX),
    }
}

async fn asset(Path(name): Path<String>) -> Response {
    match FILES.iter().find(|(known, ..)| *known == name) {
        Some(file) => sent(*file),
        None => ProblemBody::request(StatusCode::NOT_FOUND, "the dashboard has no such file").into_response(),
    }
}

async fn whoami(Extension(caller): Extension<Caller>) -> Answer<Whoami> {
    let may_change = !matches!(caller.standing, Standing::ReadOnly | Standing::Nobody);
    Ok(Json(Whoami { may_change }))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn texts() -> impl Iterator<Item = (&'static str, &'static str)> {
        let all = FILES.iter().chain([&INDEX]);
        all.map(|(name, _, bytes)| (*name, std::str::from_utf8(bytes).expect("text")))
    }

    #[test]
    fn every_file_of_the_dashboard_is_embedded_and_named_by_what_uses_it() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/api/dashboard/assets");
        let there: BTreeSet<String> = std::fs::read_dir(folder)
            .expect("the folder")
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
            .collect();
        let embedded: BTreeSet<String> = texts().map(|(name, _)| name.to_owned()).collect();
        assert_eq!(there, embedded);
        for (name, _) in texts().filter(|(name, _)| *name != INDEX.0) {
            let used = texts()
                .any(|(_, text)| text.contains(&format!("./{name}\"")) || text.contains(&format!("/assets/{name}")));
            assert!(used, "{name} is used by nothing");
        }
    }

    #[test]
    fn no_text_becomes_markup_and_no_other_host_is_named() {
        let ways = [
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "createContextualFragment",
            "DOMParser",
            "setHTML",
            "srcdoc",
            "eval(",
            "new Function",
            "javascript:",
            "\"style\"",
            "cssText",
            " style=",
            "<style",
        ];
        for (name, text) in texts() {
            for way in ways {
                assert!(!text.contains(way), "{name} has {way}");
            }
            let hosts = text.match_indices("://").map(|(at, _)| &text[at..]);
            let examples = ["://example.org", "://www.w3.org/2000/svg\""];
            for host in hosts {
                assert!(examples.iter().any(|known| host.starts_with(known)), "{name} names {:.40}", host);
            }
        }
        assert!(!INDEX.2.windows(8).any(|part| part == b"<script>"), "a script in the page would not run");
    }
}
