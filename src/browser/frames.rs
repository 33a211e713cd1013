//! Whether this browser can hold back the frames of one tab and draw those of another.

use chromiumoxide::cdp::js_protocol::runtime::EvaluateParams;

use super::config::BrowserError;
use super::instance::Instance;
use crate::model::ids::SessionId;
use crate::policy::tab_kind::TabKind;

/// Frames within the time given: an ordinary tab answers with its first, however busy the machine is.
const TRIAL: &str =
    "new Promise((done) => { requestAnimationFrame(() => done(1)); setTimeout(() => done(0), WITHIN); })";
/// Where no frame is expected, in milliseconds: many times what one takes.
const NONE_WITHIN: &str = "300";
/// Where one is expected.
const ONE_WITHIN: &str = "3000";

/// Tries it out in a context of its own: no frame in a frameless tab, one in an ordinary tab beside it.
///
/// # Errors
/// The browser did not do as told, which says nothing about its frames.
pub(super) async fn can_be_held_back(instance: &Instance) -> Result<bool, BrowserError> {
    let session = SessionId::new(0, 1);
    let tried = async {
        let frameless = frames(instance, &session, TabKind::Frameless, NONE_WITHIN);
        let ordinary = frames(instance, &session, TabKind::Ordinary, ONE_WITHIN);
        let (frameless, ordinary) = tokio::join!(frameless, ordinary);
        Ok(frameless? == Some(0) && ordinary? == Some(1))
    };
    let result = tried.await;
    instance.end_session(&session).await;
    result
}

async fn frames(
    instance: &Instance,
    session: &SessionId,
    kind: TabKind,
    within: &str,
) -> Result<Option<u64>, BrowserError> {
    let page = instance.new_page(session, None, kind).await?;
    let mut trial = EvaluateParams::new(TRIAL.replace("WITHIN", within));
    trial.await_promise = Some(true);
    trial.return_by_value = Some(true);
    let answer = instance.step("Runtime.evaluate", page.execute(trial)).await?;
    Ok(answer.result.result.value.as_ref().and_then(serde_json::Value::as_u64))
}
