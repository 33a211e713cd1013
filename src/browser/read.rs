//! Asks a page for its content, in the world that page scripts cannot touch.

use std::time::Duration;

use chromiumoxide::Page;
use chromiumoxide::cdp::js_protocol::runtime::{EvaluateParams, ExecutionContextId};
use chromiumoxide::error::CdpError;
use serde::de::DeserializeOwned;
use tokio::time::{sleep, timeout};

use super::extract::Extracted;

/// Deadline of settling and reading together.
pub(super) const WITHIN: Duration = Duration::from_secs(15);
/// Deadline of reading what there is when loading was given up.
pub(super) const FORCED_WITHIN: Duration = Duration::from_secs(4);
/// How often it is looked whether the page's own world is there.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// How many times.
const LOOKS: u32 = 60;

/// Why a page was not read.
#[derive(Debug)]
pub(super) enum ReadError {
    /// The document went away in the meantime.
    Replaced,
    /// Something else, in the browser's words.
    Failed(String),
}

/// Asks; the expression itself waits for the page to settle, within its own bounds.
pub(super) async fn page(page: Page, expression: String) -> Result<Extracted, ReadError> {
    // Whoever asks looks at the clock, and can do something about it.
    ask(page, expression, 2 * WITHIN).await
}

/// Evaluates an expression whose value is JSON.
pub(super) async fn ask<T: DeserializeOwned>(page: Page, expression: String, within: Duration) -> Result<T, ReadError> {
    let Some(context) = own_world(&page).await else { return Err(ReadError::Replaced) };
    ask_in(&page, context, expression, within).await
}

/// As [`ask`], in a world that is known.
pub(super) async fn ask_in<T: DeserializeOwned>(
    page: &Page,
    context: ExecutionContextId,
    expression: String,
    within: Duration,
) -> Result<T, ReadError> {
    let mut evaluate = EvaluateParams::new(expression);
    evaluate.context_id = Some(context);
    evaluate.return_by_value = Some(true);
    evaluate.await_promise = Some(true);
    let answered = match timeout(within, page.execute(evaluate)).await {
        Ok(Ok(answered)) => answered.result,
        Ok(Err(CdpError::Chrome(error))) if is_replaced(&error.message) => return Err(ReadError::Replaced),
        Ok(Err(error)) => return Err(ReadError::Failed(error.to_string())),
        Err(_) => return Err(ReadError::Failed("no reply in time".to_owned())),
    };
    if let Some(exception) = answered.exception_details {
        let thrown = exception.exception.and_then(|thrown| thrown.description).unwrap_or(exception.text);
        return Err(ReadError::Failed(thrown.chars().take(200).collect()));
    }
    let value = answered.result.value;
    let Some(text) = value.as_ref().and_then(|value| value.as_str()) else {
        return Err(ReadError::Failed("no value".to_owned()));
    };
    serde_json::from_str(text).map_err(|error| ReadError::Failed(error.to_string()))
}

/// The isolated world that chromiumoxide makes in every document: page scripts cannot touch it.
/// Its announcement can come a moment after the load event.
async fn own_world(page: &Page) -> Option<ExecutionContextId> {
    for _ in 0..LOOKS {
        match timeout(WITHIN, page.secondary_execution_context()).await {
            Ok(Ok(Some(context))) => return Some(context),
            Ok(Ok(None)) => sleep(LOOK_EVERY).await,
            _ => return None,
        }
    }
    None
}

/// Chromium's words for a document that was replaced while it was asked.
fn is_replaced(message: &str) -> bool {
    ["Cannot find context", "context was destroyed", "Inspected target navigated", "Promise was collected"]
        .iter()
        .any(|words| message.contains(words))
}
