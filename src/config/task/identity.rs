//! What makes two tasks the same: the hash over the content, and the id.

use std::collections::BTreeMap;

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::config::task::draft::reference;
use crate::model::ids::TaskId;
use crate::model::task::TaskSpec;

/// Keys that say how a task is handled, not what is crawled.
const NOT_CONTENT: &[&str] = &["id", "rerun", "rerun_after", "resume_with_new_scope", "record"];

/// The hash over a normalised task's content: `sha256:` and hex.
///
/// Only values that differ from the built-in defaults count, so a key that a later version adds
/// does not make every old task look changed.
pub fn task_hash(spec: &TaskSpec) -> String {
    let mut hash = Sha256::new();
    hash.update(b"crawld task 1\n");
    let reference = reference();
    if let Ok(Value::Object(content)) = serde_json::to_value(spec) {
        for (path, value) in leaves(&content, &reference) {
            hash.update(format!("{path}={value}\n").as_bytes());
        }
    }
    let hex: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

fn leaves(
    content: &serde_json::Map<String, Value>,
    reference: &serde_json::Map<String, Value>,
) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for (name, value) in content.iter().filter(|(name, _)| !NOT_CONTENT.contains(&name.as_str())) {
        let default = reference.get(name);
        match (value, default) {
            (Value::Object(table), Some(Value::Object(defaults))) => {
                for (key, value) in table.iter().filter(|(key, value)| defaults.get(*key) != Some(*value)) {
                    found.insert(format!("{name}.{key}"), value.to_string());
                }
            }
            _ if default == Some(value) => {}
            _ => {
                found.insert(name.clone(), value.to_string());
            }
        }
    }
    found
}

/// The id of a task without one: the file's name, or the first seed's host and a short hash.
pub fn derive_id(file_stem: Option<&str>, spec: &TaskSpec, hash: &str) -> TaskId {
    if let Some(id) = file_stem.map(|stem| plain(stem, 64)).and_then(|stem| stem.parse().ok()) {
        return id;
    }
    let host = spec.seeds.first().and_then(|seed| url::Url::parse(seed).ok());
    let host = host.as_ref().and_then(url::Url::host_str).map(|host| plain(host, 50)).unwrap_or_default();
    let short = hash.trim_start_matches("sha256:").get(..8).unwrap_or("00000000");
    let host = if host.is_empty() { "task".to_owned() } else { host };
    format!("{host}-{short}").parse().expect("lower-case letters, digits, dots and dashes make a task id")
}

/// Lower case, everything else a dash, starting with a letter or digit.
fn plain(text: &str, max: usize) -> String {
    let mapped: String = text
        .chars()
        .map(|c| c.to_ascii_lowercase())
        .map(|c| if c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_' | '-') { c } else { '-' })
        .collect();
    let trimmed = mapped.trim_matches(['.', '_', '-']);
    trimmed.chars().take(max).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(seed: &str) -> TaskSpec {
        serde_json::from_value(serde_json::json!({"seeds": [seed]})).unwrap()
    }

    #[test]
    fn an_id_comes_from_the_file_or_from_host_and_hash() {
        let hash = "sha256:0123456789abcdef";
        for (stem, seed, id) in [
            (Some("docs"), "http://a/", "docs"),
            (Some("My Docs 2"), "http://a/", "my-docs-2"),
            (Some("..."), "http://a/", "a-01234567"),
            (None, "https://Docs.Example.org/x", "docs.example.org-01234567"),
            (None, "http://[::1]:8080/", "1-01234567"),
            (None, "http://bücher.example/", "xn--bcher-kva.example-01234567"),
        ] {
            assert_eq!(derive_id(stem, &spec(seed), hash).as_str(), id);
        }
    }

    #[test]
    fn only_content_that_differs_from_the_defaults_counts() {
        let plain = spec("http://a/");
        let mut handled = plain.clone();
        handled.id = "x".parse().ok();
        handled.rerun = true;
        handled.rerun_after = crate::model::duration::Span::secs(60);
        handled.resume_with_new_scope = true;
        handled.record = true;
        assert_eq!(task_hash(&plain), task_hash(&handled));
        let mut other = plain.clone();
        other.scope.max_depth = Some(3);
        assert_ne!(task_hash(&plain), task_hash(&other));
        // Stored by earlier versions: must never change.
        assert_eq!(task_hash(&plain), "sha256:bb66f596815f842fbf6a22a423c1865b63763d14fceb54926647b015c68af188");
    }
}
