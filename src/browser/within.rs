//! Reads the frames of other origins within a page, which its own document cannot look into.
//!
//! Those that share the page's process are reached by the page's own session; those with a process of their own are
//! targets of the browser, found by who their parents are. All are asked at once, within a moment: a frame that does
//! not answer costs the page that moment and nothing else.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use chromiumoxide::cdp::browser_protocol::page::FrameId;
use chromiumoxide::cdp::browser_protocol::target::{AttachToTargetParams, DetachFromTargetParams, SessionId, TargetId};
use chromiumoxide::types::{Command, Method, MethodId};
use chromiumoxide::{Browser, Page};
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout, timeout_at};

use super::extract::Extracted;
use super::read::{self, ReadError};
use super::traffic;

/// All frames of a page together.
const WITHIN: Duration = Duration::from_secs(2);
/// Left of a reading's time for the page itself to be handed over.
const MARGIN: Duration = Duration::from_millis(200);
/// Frames of a page that are read.
const MOST: usize = 40;
/// For a word to the browser that nobody waits for.
const FAREWELL: Duration = Duration::from_millis(500);

/// What a page is asked for, and its frames.
pub(super) struct Questions {
    /// The page.
    pub page: String,
    /// Each of its frames, by whether the hook of the page is in it too.
    pub frame: Box<dyn Fn(bool) -> String + Send + Sync>,
    /// The frames are not asked any more then.
    pub until: Instant,
}

/// Reads a page, and then its frames of other origins where it has some.
pub(super) async fn page(page: Page, browser: Arc<Browser>, ask: Questions) -> Result<Extracted, ReadError> {
    let mut read = read::page(page.clone(), ask.page).await?;
    if read.foreign_frames {
        let until = (Instant::now() + WITHIN).min(ask.until - MARGIN);
        (read.within, read.frames_lost) = frames(&page, browser, &*ask.frame, until).await;
        read.demand |= read.within.iter().fold(0, |all, frame| all | frame.demand);
    }
    Ok(read)
}

type Reading = BoxFuture<'static, Vec<Extracted>>;

/// What they hold, and whether one of them did not answer in time.
async fn frames(
    page: &Page,
    browser: Arc<Browser>,
    question: &(dyn Fn(bool) -> String + Send + Sync),
    until: Instant,
) -> (Vec<Extracted>, bool) {
    // A frame of the page's own origin is a page of its own, whose links are found there.
    let hooked = question(true);
    let foreign =
        format!("(async () => {{ try {{ if (top.document) return ''; }} catch {{ return await ({hooked}); }} }})()");
    let mut readings = FuturesUnordered::<Reading>::new();
    let main = page.target_id().as_ref();
    if let Ok(Ok(ids)) = timeout_at(until, page.frames()).await {
        for id in ids.into_iter().filter(|id| id.as_ref() != main).take(MOST) {
            readings.push(Box::pin(in_process(page.clone(), id, foreign.clone())));
        }
    }
    if let Ok(targets) = timeout_at(until, own_processes(&browser, main)).await {
        for target in targets {
            readings.push(Box::pin(own_process(Arc::clone(&browser), target, question(false), until)));
        }
    }
    let mut found = Vec::new();
    loop {
        match timeout_at(until, readings.next()).await {
            Ok(Some(read)) => found.extend(read),
            Ok(None) => return (found, false),
            Err(_) => return (found, true),
        }
    }
}

async fn in_process(page: Page, frame: FrameId, question: String) -> Vec<Extracted> {
    let Ok(Some(context)) = page.frame_secondary_execution_context(frame).await else { return Vec::new() };
    read::ask_in(&page, context, question, read::WITHIN).await.into_iter().collect()
}

/// Targets of the frames within a page that have processes of their own, however deep.
async fn own_processes(browser: &Browser, page: &str) -> Vec<String> {
    let Ok(listed) = browser.execute(ListFrames::default()).await else { return Vec::new() };
    let all: Vec<Listed> = listed.result.target_infos;
    let mut known: HashSet<String> = HashSet::from([page.to_owned()]);
    let mut found = Vec::new();
    // Parents need not come before their children.
    while found.len() < MOST {
        let next = all.iter().find(|target| {
            !known.contains(&target.target_id) && target.parent().is_some_and(|parent| known.contains(parent))
        });
        let Some(next) = next else { break };
        known.insert(next.target_id.clone());
        found.push(next.target_id.clone());
    }
    found
}

/// Reads what one process shows of a page: the frame at its root, and those within that share it.
async fn own_process(browser: Arc<Browser>, target: String, question: String, until: Instant) -> Vec<Extracted> {
    let mut attach = AttachToTargetParams::new(TargetId::new(target));
    attach.flatten = Some(true);
    let Ok(attached) = browser.execute(attach).await else { return Vec::new() };
    let session = attached.result.session_id.clone();
    let mut found = Vec::new();
    // Less than until: what is attached to is left again.
    let _ = timeout_at(until - MARGIN / 2, read_session(&browser, &session, &question, &mut found)).await;
    let detach = DetachFromTargetParams { session_id: Some(session) };
    let _ = timeout(FAREWELL, browser.execute(detach)).await;
    found
}

async fn read_session(browser: &Browser, session: &SessionId, question: &str, found: &mut Vec<Extracted>) {
    let say = |method: &'static str, params: Value| {
        let command = InSession { session: session.clone(), method, params };
        async move { Some(browser.execute(command).await.ok()?.result) }
    };
    let Some(tree) = say("Page.getFrameTree", json!({})).await else { return };
    for frame in frame_ids(&tree["frameTree"]) {
        let world = json!({ "frameId": frame, "worldName": "crawld" });
        let Some(world) = say("Page.createIsolatedWorld", world).await else { return };
        let ask = json!({
            "expression": question, "contextId": world["executionContextId"],
            "returnByValue": true, "awaitPromise": true,
        });
        let Some(answer) = say("Runtime.evaluate", ask).await else { return };
        found.extend(answer["result"]["value"].as_str().and_then(|text| serde_json::from_str(text).ok()));
    }
}

/// The frames of one process, its root first.
fn frame_ids(tree: &Value) -> Vec<String> {
    let mut ids = Vec::new();
    let mut open = vec![tree];
    while let Some(node) = open.pop().filter(|_| ids.len() < MOST) {
        ids.extend(node["frame"]["id"].as_str().map(str::to_owned));
        open.extend(node["childFrames"].as_array().into_iter().flatten());
    }
    ids
}

/// `Target.getTargets` for frames alone, with the parents that chromiumoxide's own has no place for.
#[derive(Debug, Clone, Serialize)]
struct ListFrames {
    filter: Value,
}

impl Default for ListFrames {
    fn default() -> Self {
        ListFrames { filter: json!([{ "type": "iframe" }]) }
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Frames {
    target_infos: Vec<Listed>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    target_id: String,
    parent_id: Option<String>,
    parent_frame_id: Option<String>,
}

impl Listed {
    /// A frame at the root of a process has the id of its target.
    fn parent(&self) -> Option<&String> {
        self.parent_id.as_ref().or(self.parent_frame_id.as_ref())
    }
}

impl Method for ListFrames {
    fn identifier(&self) -> MethodId {
        "Target.getTargets".into()
    }
}

impl Command for ListFrames {
    type Response = Frames;
}

/// A command to a session that chromiumoxide does not know: the bridge puts it there.
#[derive(Debug, Clone, Serialize)]
struct InSession {
    session: SessionId,
    method: &'static str,
    params: Value,
}

impl Method for InSession {
    fn identifier(&self) -> MethodId {
        traffic::IN_SESSION.into()
    }
}

impl Command for InSession {
    type Response = Value;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_one_process_are_found_in_their_tree() {
        let leaf = |id: &str| json!({ "frame": { "id": id } });
        let tree = json!({ "frame": { "id": "a" }, "childFrames": [leaf("b"), { "frame": { "id": "c" }, "childFrames": [leaf("d")] }] });
        let mut ids = frame_ids(&tree);
        assert_eq!(ids[0], "a");
        ids.sort();
        assert_eq!(ids, ["a", "b", "c", "d"]);
        assert!(frame_ids(&Value::Null).is_empty());
    }
}
