//! How a session logs in before it crawls: as written, and as done.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::duration::Span;
use crate::model::url::CanonicalUrl;

/// A login, as a task describes it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LoginSpec {
    /// The page with the form; need not be in the crawl's scope.
    pub url: String,
    /// What is done there, in this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<LoginStep>,
    /// JavaScript that does it instead; in a task file the name of a `.js` file beside it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub script: Option<String>,
    /// What the script finds in `crawld.secrets`: names with `env:NAME` or `file:PATH`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<String, String>,
    /// CSS selector of something that only a page after the login shows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub success: Option<String>,
    /// CSS selector of something that only a page shows for which nobody is logged in: then it is done again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logged_out: Option<String>,
    /// Deadline of the whole.
    #[serde(default = "within")]
    pub timeout: Span,
    /// Logins in one lifetime of the session at most.
    #[serde(default = "most")]
    pub max_logins: u32,
}

/// Shorter values are no secrets, and parts of many words.
const SECRET_MIN: usize = 4;

fn within() -> Span {
    Span::secs(60)
}

fn most() -> u32 {
    5
}

/// One step of a login. What it names is waited for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, deny_unknown_fields)]
pub enum LoginStep {
    /// Put a value into a field.
    Fill {
        /// CSS selector of the field.
        fill: String,
        /// The value: itself, or `env:NAME` or `file:PATH`.
        value: String,
    },
    /// Click.
    Click {
        /// CSS selector of what is clicked.
        click: String,
    },
    /// Wait until it is there.
    Wait {
        /// CSS selector of what is waited for.
        wait: String,
    },
}

/// A login, ready to be done. Shows no value when printed: some are secrets.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// The page with the form.
    pub url: CanonicalUrl,
    /// What is done there, references resolved.
    pub steps: Vec<LoginStep>,
    /// JavaScript that does it instead, with what it is given.
    pub script: Option<(String, BTreeMap<String, String>)>,
    /// What only a page after the login shows.
    pub success: Option<String>,
    /// What only a page shows for which nobody is logged in.
    pub logged_out: Option<String>,
    /// Deadline of the whole.
    pub within: Duration,
}

impl Login {
    /// A text without anything that is secret here.
    pub fn redact(&self, text: &str) -> String {
        let values = self.steps.iter().filter_map(|step| match step {
            LoginStep::Fill { value, .. } => Some(value),
            LoginStep::Click { .. } | LoginStep::Wait { .. } => None,
        });
        let given = self.script.iter().flat_map(|(_, secrets)| secrets.values());
        let mut all: Vec<&String> = values.chain(given).filter(|value| value.len() >= SECRET_MIN).collect();
        // A value can hold another.
        all.sort_by_key(|value| std::cmp::Reverse(value.len()));
        all.into_iter().fold(text.to_owned(), |text, value| text.replace(value.as_str(), "…"))
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("url", &self.url).field("steps", &self.steps.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_told_apart_and_values_not_shown() {
        let steps: Vec<LoginStep> = serde_json::from_str(
            r##"[{"fill": "#user", "value": "me"}, {"fill": "#pw", "value": "sesame"}, {"click": "button"}, {"wait": "p"}]"##,
        )
        .unwrap();
        assert!(matches!(&steps[2], LoginStep::Click { click } if click == "button"));
        for wrong in [r#"{"fill": "x"}"#, r#"{"click": "x", "wait": "y"}"#, r#"{"press": "x"}"#] {
            assert!(serde_json::from_str::<LoginStep>(wrong).is_err(), "{wrong}");
        }
        let login = Login {
            url: CanonicalUrl::parse("http://h/login").unwrap(),
            steps,
            script: Some((String::new(), BTreeMap::from([("token".to_owned(), "t0ken".to_owned())]))),
            success: None,
            logged_out: None,
            within: Duration::from_secs(1),
        };
        assert!(!format!("{login:?}").contains("sesame"));
        assert_eq!(login.redact("wrong: sesame or t0ken"), "wrong: … or …");
    }
}
