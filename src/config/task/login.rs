//! The rules for a task's login.

use super::conduct::{SCRIPT_MAX, SECRET, is_reference, is_script_file};
use crate::config::Problem;
use crate::model::duration::Span;
use crate::model::login::LoginStep;
use crate::model::task::{FetchMode, TaskSpec};
use crate::model::text::escape_control;
use crate::model::url::CanonicalUrl;

/// Steps of a login.
const STEPS_MAX: usize = 50;

/// Every rule that the task's login breaks.
pub(super) fn check(spec: &TaskSpec, say: &mut impl FnMut(&str, String)) {
    let Some(login) = &spec.login else { return };
    let mut say = |message: String| say("login", message);
    if spec.fetch.mode != FetchMode::Browser {
        say(format!("needs `fetch.mode = \"browser\"` (is `{}`): only a browser fills in a form", spec.fetch.mode));
    }
    if CanonicalUrl::parse(login.url.trim()).is_err() {
        say(format!("`url`: `{}` is not an http or https URL", escape_control(&login.url)));
    }
    match (&login.script, login.steps.len()) {
        (None, 0) => say("needs `steps` or a `script`".to_owned()),
        (Some(_), 1..) => say("has either `steps` or a `script`".to_owned()),
        (_, many) if many > STEPS_MAX => say(format!("at most {STEPS_MAX} steps are taken (are {many})")),
        _ => {}
    }
    for step in &login.steps {
        let (selector, value) = match step {
            LoginStep::Fill { fill, value } => (fill, Some(value)),
            LoginStep::Click { click: selector } | LoginStep::Wait { wait: selector } => (selector, None),
        };
        if selector.trim().is_empty() {
            say("a step names nothing: write a CSS selector".to_owned());
        }
        match value.map(|value| is_reference(value)) {
            Some(Some(false)) => say("`value`: `file:` needs an absolute path, `env:` a name".to_owned()),
            Some(None)
                if SECRET.iter().chain(&["pass", "pw"]).any(|word| selector.to_ascii_lowercase().contains(word)) =>
            {
                let selector = escape_control(selector);
                say(format!("the value for `{selector}` is named instead of written: env:NAME or file:/PATH"));
            }
            _ => {}
        }
    }
    if login.secrets.values().any(|value| is_reference(value) != Some(true)) {
        say("`secrets` names them: write env:NAME or file:/PATH".to_owned());
    }
    if let Some(script) = &login.script
        && (script.len() > SCRIPT_MAX || script.trim().is_empty() || is_script_file(script))
    {
        say(format!(
            "`script` must be the script itself, at most {SCRIPT_MAX} bytes (files are read in task files only)"
        ));
    }
    if login.success.is_none() && login.logged_out.is_none() {
        say("needs `success` or `logged_out`: a CSS selector by which it can be told whether it worked".to_owned());
    }
    if login.timeout < Span::secs(1) || login.timeout > Span::secs(600) {
        say(format!("`timeout` must be 1s to 10m (is {})", login.timeout));
    }
    if !(1..=100).contains(&login.max_logins) {
        say(format!("`max_logins` must be 1 to 100 (is {})", login.max_logins));
    }
}

/// What an API body may not say.
pub(super) fn check_origin(spec: &TaskSpec) -> Option<Problem> {
    let message = "a login is described in task files only, not by the API";
    spec.login.is_some().then(|| Problem::new("login", message))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn what_cannot_be_done_is_said() {
        #[track_caller]
        fn check_one(login: Value, mode: &str, expected: &[&str]) {
            let task = json!({"seeds": ["http://a/"], "fetch": {"mode": mode}, "login": login});
            let spec: TaskSpec = serde_json::from_value(task).unwrap();
            let mut said = Vec::new();
            check(&spec, &mut |place, message| said.push(format!("{place}: {message}")));
            let fits =
                said.len() == expected.len() && said.iter().zip(expected).all(|(said, part)| said.contains(part));
            assert!(fits, "{login}: {said:#?}");
        }
        let steps = json!([{"fill": "#user", "value": "me"}, {"fill": "#password", "value": "env:PW"}, {"click": "b"}]);
        check_one(json!({"url": "http://a/login", "steps": steps, "success": "#out"}), "browser", &[]);
        check_one(json!({"url": "http://a/", "steps": steps, "logged_out": "form"}), "http", &["fetch.mode"]);
        check_one(json!({"url": "nowhere", "success": "x"}), "browser", &["not an http", "`steps` or a `script`"]);
        let plain = json!([{"fill": "#password", "value": "secret"}, {"fill": "", "value": "file:x"}]);
        check_one(
            json!({"url": "http://a/", "steps": plain, "success": "x"}),
            "browser",
            &["instead of written", "names nothing", "absolute path"],
        );
        check_one(
            json!({"url": "http://a/", "script": "login.js", "secrets": {"pw": "plain"}, "timeout": "1h", "max_logins": 0}),
            "browser",
            &["names them", "the script itself", "`success` or", "10m", "1 to 100"],
        );
    }
}
