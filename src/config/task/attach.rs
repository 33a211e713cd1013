//! Files that a task file names: their content becomes the task's, so that `task.json` alone rebuilds the crawl.

use std::path::Path;

use serde_json::{Map, Value};

use crate::config::layers::read_bounded;
use crate::config::task::conduct::is_script_file;
use crate::policy::hosts::read_list;

/// Puts files' contents in the places of their names; a relative name is one beside the task file.
///
/// # Errors
/// A file that cannot be read: key and message.
pub(super) fn attach(task: &mut Map<String, Value>, file: &Path) -> Result<(), (&'static str, String)> {
    let beside = file.parent().unwrap_or(Path::new("."));
    if let Some(Value::Object(fetch)) = task.get_mut("fetch")
        && let Some(Value::String(cookies)) = fetch.get_mut("cookies_file")
        && let Ok(whole) = std::path::absolute(beside.join(&*cookies))
    {
        *cookies = whole.display().to_string();
    }
    let read = |key: &'static str, name: &str| {
        let path = beside.join(name);
        let failed = |error| (key, format!("`{}` cannot be read ({error})", path.display()));
        read_bounded(&path).map_err(failed)
    };
    if let Some(Value::Object(login)) = task.get_mut("login")
        && let Some(Value::String(script)) = login.get_mut("script")
        && is_script_file(script)
    {
        *script = read("login", script)?;
    }
    let Some(Value::Object(page)) = task.get_mut("page") else { return Ok(()) };
    if let Some(Value::String(script)) = page.get_mut("behavior_script")
        && is_script_file(script)
    {
        *script = read("page.behavior_script", script)?;
    }
    if let Some(Value::Array(hosts)) = page.get_mut("block_hosts") {
        let mut all = Vec::with_capacity(hosts.len());
        for host in std::mem::take(hosts) {
            match host.as_str().and_then(|host| host.strip_prefix("file:")) {
                Some(name) => all.extend(read_list(&read("page.block_hosts", name)?).into_iter().map(Value::String)),
                None => all.push(host),
            }
        }
        *hosts = all;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_content_of_named_files_becomes_the_tasks() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("task.toml");
        std::fs::write(dir.path().join("act.js"), "await crawld.scroll()").unwrap();
        std::fs::write(dir.path().join("ads.txt"), "0.0.0.0 ads.example\n").unwrap();
        let mut named = json!({"fetch": {"cookies_file": "c.txt"}}).as_object().cloned().unwrap();
        attach(&mut named, &file).unwrap();
        assert_eq!(named["fetch"]["cookies_file"], json!(dir.path().join("c.txt")));
        let mut login = json!({"login": {"url": "http://a/", "script": "act.js"}}).as_object().cloned().unwrap();
        attach(&mut login, &file).unwrap();
        assert_eq!(login["login"]["script"], "await crawld.scroll()");
        let task = |page: Value| json!({"page": page}).as_object().cloned().unwrap();
        let mut full = task(json!({"behavior_script": "act.js", "block_hosts": ["x.example", "file:ads.txt"]}));
        attach(&mut full, &file).unwrap();
        assert_eq!(full["page"]["behavior_script"], "await crawld.scroll()");
        assert_eq!(full["page"]["block_hosts"], json!(["x.example", "ads.example"]));
        for (page, key) in [
            (json!({"behavior_script": "none.js"}), "page.behavior_script"),
            (json!({"block_hosts": ["file:none.txt"]}), "page.block_hosts"),
        ] {
            assert_eq!(attach(&mut task(page), &file).unwrap_err().0, key);
        }
    }
}
