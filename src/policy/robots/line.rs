//! One decision as a JSON line, for `crawld robots test`.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Robots;

#[derive(Deserialize)]
struct Question {
    id: Value,
    body: String,
    user_agent: String,
    url: String,
}

#[derive(Serialize)]
struct Answer {
    id: Value,
    allowed: bool,
    rule: Option<String>,
}

/// Why a line gets no answer.
#[derive(Debug, thiserror::Error)]
pub enum JudgeError {
    /// Not one JSON object with the four fields.
    #[error("not an object with `id`, `body`, `user_agent` and `url`: {0}")]
    Question(#[source] serde_json::Error),
    /// The answer could not be written.
    #[error("cannot write the answer: {0}")]
    Answer(#[source] serde_json::Error),
}

/// Answers `{"id", "body", "user_agent", "url"}` with `{"id", "allowed", "rule"}` (`rule` is null when no
/// rule matches). `id` may be any JSON value.
pub fn judge_line(json: &str) -> Result<String, JudgeError> {
    let question: Question = serde_json::from_str(json).map_err(JudgeError::Question)?;
    let verdict = Robots::parse(question.body.as_bytes()).allowed(&question.user_agent, &question.url);
    let answer = Answer { id: question.id, allowed: verdict.allowed, rule: verdict.rule };
    serde_json::to_string(&answer).map_err(JudgeError::Answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_answered_by_a_line() {
        let line = r#"{"id":"a","body":"User-agent: *\nDisallow: /x","user_agent":"crawld","url":"http://h/x/y"}"#;
        assert_eq!(judge_line(line).unwrap(), r#"{"id":"a","allowed":false,"rule":"disallow: /x"}"#);
        let line = r#"{"id":7,"body":"","user_agent":"crawld","url":"http://h/"}"#;
        assert_eq!(judge_line(line).unwrap(), r#"{"id":7,"allowed":true,"rule":null}"#);
        for bad in ["", "[]", "{\"id\":1}", "{"] {
            assert!(matches!(judge_line(bad), Err(JudgeError::Question(_))), "{bad}");
        }
    }
}
