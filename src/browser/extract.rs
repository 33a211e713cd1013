//! One question to the page, one bounded answer: title, text, links, fields, digest.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use serde::Deserialize;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::hook::Key;
use crate::model::kept::Source;
use crate::model::task::ExtractSpec;
use crate::model::visit::{PageAnswer, RawLink};
use crate::policy::hints::{script_targets, srcset_targets};

/// A script that was added after the load event, and what is loaded lazily, is waited for this long.
const LOAD_MS: u64 = 2_000;
/// A page counts as quiet when its document did not change for this long.
pub(super) const QUIET_MS: u64 = 25;
/// A document that never stops changing is read after this long.
const QUIET_BOUND_MS: u64 = 1_500;
/// Characters of all fields together.
const FIELDS_MAX: u64 = 1 << 20;

const SCRIPT: &str = include_str!("extract.js");

/// What the page answers.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Extracted {
    ready_state: String,
    base: String,
    title: Option<String>,
    text: Option<String>,
    links: Vec<String>,
    /// Scripts in references and click handlers, which may say where they go.
    #[serde(default)]
    code: Vec<String>,
    /// `srcset` attributes, where resources are wanted.
    #[serde(default)]
    srcsets: Vec<String>,
    /// Where its forms would send something.
    #[serde(default)]
    posts: Vec<String>,
    nofollow: bool,
    fields: BTreeMap<String, Vec<String>>,
    bytes: u64,
    /// The last byte of its document has come.
    #[serde(default)]
    pub arrived: bool,
    /// Elements of its document.
    elements: u64,
    /// Its HTML, where that is wanted, as far as it is.
    source: Option<String>,
    /// Characters of the whole of it.
    source_length: u64,
    /// Its document type asks for standards mode.
    standards: bool,
    content_type: Option<String>,
    truncated: bool,
    /// Its scripts' work came to an end within the bound.
    #[serde(default)]
    pub settled: bool,
    /// What of it needs frames to be drawn, as the hook's bits; 0: nothing.
    #[serde(default)]
    pub demand: u32,
    /// Bytes of its scripts' heap.
    #[serde(default)]
    pub heap: u64,
    /// The hook answered.
    #[serde(default)]
    pub hooked: bool,
    /// Its scripts sent something to a server.
    #[serde(default)]
    pub posted: bool,
    /// It has script modules, whose imports the hook cannot count.
    #[serde(default)]
    pub modules: bool,
    /// It shows the sign that was asked for.
    #[serde(default)]
    signed: bool,
    /// It has frames that it cannot look into.
    #[serde(default)]
    pub foreign_frames: bool,
    /// One of those did not answer.
    #[serde(skip)]
    pub frames_lost: bool,
    /// What those hold.
    #[serde(skip)]
    pub within: Vec<Extracted>,
}

/// How a page is asked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Manner<'a> {
    /// The hook's key.
    pub key: &'a Key,
    /// How long unfinished work is waited for; none: the page is read as it is.
    pub busy: Option<Duration>,
    /// No frame is ever drawn.
    pub frameless: bool,
    /// Its scripts may not run: nothing is waited for.
    pub still: bool,
    /// The hook is in it, unless its scripts may not run.
    pub hooked: bool,
    /// What a page shows for which nobody is logged in.
    pub sign: Option<&'a str>,
}

/// The expression that asks a frame of another origin for its links alone.
pub(super) fn links_expression(spec: &ExtractSpec, manner: Manner<'_>) -> String {
    let links = ExtractSpec {
        text: false,
        max_links: spec.max_links,
        resource_links: spec.resource_links,
        hash_routes: spec.hash_routes,
        ..ExtractSpec::default()
    };
    expression(&links, manner)
}

/// The expression that asks for what the task wants.
pub(super) fn expression(spec: &ExtractSpec, manner: Manner<'_>) -> String {
    let fields: Vec<_> = spec
        .fields
        .iter()
        .map(|(name, field)| {
            let (selector, attribute) = field.parts();
            json!([name, selector, attribute])
        })
        .collect();
    let options = json!({
        "key": manner.key.as_str(),
        "quietMs": if manner.busy.is_some() { QUIET_MS } else { 0 },
        "quietBoundMs": QUIET_BOUND_MS,
        "busyMs": manner.busy.unwrap_or_default().as_millis() as u64,
        "loadMs": LOAD_MS,
        "frameless": manner.frameless,
        "still": manner.still,
        "hooked": manner.hooked,
        "maxLinks": spec.max_links,
        "resources": spec.resource_links,
        "routes": spec.hash_routes,
        "textMax": if spec.text { spec.text_max_bytes } else { 0 },
        "sourceMax": spec.source_max(),
        "fieldMax": FIELDS_MAX,
        "fields": fields,
        "sign": manner.sign,
    });
    format!("({SCRIPT})({options})")
}

impl Extracted {
    /// Where its forms, and those of its frames, would send something.
    pub(super) fn take_posts(&mut self) -> Vec<String> {
        let within = self.within.iter_mut().flat_map(|frame| std::mem::take(&mut frame.posts));
        std::mem::take(&mut self.posts).into_iter().chain(within).collect()
    }

    /// Its document has not been parsed to the end.
    pub(super) fn is_incomplete(&self) -> bool {
        self.ready_state == "loading"
    }

    /// Whether another reading of the same page found the same.
    pub(super) fn same_content(&self, other: &Extracted) -> bool {
        (self.elements, &self.text, &self.links) == (other.elements, &other.text, &other.links)
    }

    /// Of what it says and where it leads. Its HTML is not asked for only to be hashed: that costs more than all
    /// the rest of a reading.
    fn digest(&self) -> String {
        let mut hasher = Sha256::new();
        let parts = [self.title.as_deref(), self.text.as_deref()].into_iter().map(Option::unwrap_or_default);
        for part in parts.chain(self.links.iter().map(String::as_str)) {
            hasher.update(part);
            hasher.update([0]);
        }
        hasher.finalize().iter().fold(String::from("sha256:"), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    }

    /// Puts what the page said into the answer, which knows the response's part already.
    pub(super) fn fill(self, answer: &mut PageAnswer, spec: &ExtractSpec) {
        answer.digest = Some(self.digest());
        if let Some(html) = self.source {
            let cut = (html.len() as u64) < self.source_length;
            answer.raw.source = Some(Source { html, cut, standards: self.standards });
        }
        let limit = usize::try_from(spec.text_max_bytes).unwrap_or(usize::MAX);
        let (text, cut) = match self.text {
            Some(text) => {
                let (text, cut) = cut_at_bytes(text, limit);
                (Some(text), cut)
            }
            None => (None, false),
        };
        answer.text = text;
        answer.title = self.title;
        answer.links.extend(self.links.into_iter().map(|href| RawLink { href }));
        let targets: Vec<String> = self.code.iter().flat_map(|code| script_targets(code)).collect();
        let images = self.srcsets.iter().flat_map(|set| srcset_targets(set));
        answer.add_references(&self.base, targets.iter().map(String::as_str).chain(images), spec.hash_routes);
        let own = answer.links.len();
        let most = spec.max_links as usize;
        let mut full = false;
        for frame in self.within.into_iter().filter(|frame| !frame.nofollow) {
            let targets: Vec<String> = frame.code.iter().flat_map(|code| script_targets(code)).collect();
            let images: Vec<String> =
                frame.srcsets.iter().flat_map(|set| srcset_targets(set)).map(Into::into).collect();
            let all = frame.links.iter().chain(&targets).chain(&images);
            answer.add_references(&frame.base, all.map(String::as_str), spec.hash_routes);
            full |= answer.links.len() > most || frame.truncated;
        }
        answer.links.truncate(most.max(own));
        answer.truncated |= full;
        answer.base = Some(self.base);
        answer.nofollow |= self.nofollow;
        answer.logged_out = self.signed;
        answer.fields = self.fields;
        answer.bytes = self.bytes;
        answer.content_type = answer.content_type.take().or(self.content_type);
        answer.truncated |= self.truncated || cut;
    }
}

/// Cuts a text at a limit in bytes, between characters.
fn cut_at_bytes(mut text: String, limit: usize) -> (String, bool) {
    let cut = text.len() > limit;
    if cut {
        text.truncate(text.floor_char_boundary(limit));
    }
    (text, cut)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_between_characters() {
        assert_eq!(cut_at_bytes("aé".into(), 2), ("a".into(), true));
        assert_eq!(cut_at_bytes("aé".into(), 3), ("aé".into(), false));
    }

    #[test]
    fn the_digest_is_that_of_what_a_page_says() {
        let page = |title: &str, text: &str, links: &[&str]| {
            let answer = json!({
                "readyState": "complete", "base": "http://a/", "title": title, "text": text, "links": links,
                "nofollow": false, "refresh": null, "fields": {}, "bytes": 1, "elements": 3, "source": null,
                "sourceLength": 0, "standards": true, "contentType": "text/html", "truncated": false,
            });
            serde_json::from_value::<Extracted>(answer).unwrap().digest()
        };
        let whole = page("t", "abc", &["http://a/b"]);
        assert_eq!(whole, page("t", "abc", &["http://a/b"]));
        for other in [page("t", "abcd", &["http://a/b"]), page("ta", "bc", &["http://a/b"]), page("t", "abc", &[])] {
            assert_ne!(whole, other);
        }
    }
}
