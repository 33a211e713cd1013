//! What a whole page says, as Markdown, and what it says about itself.

use std::panic::{AssertUnwindSafe, catch_unwind};

use dom_query::{Document, NodeRef};
use dom_smoothie::{Config, Readability, TextMode};
use url::Url;

use super::cost::too_costly;
use super::links::document_base;
use super::text::Folded;
use crate::model::kept::{KeptKind, LeftOut, PageMetadata, Source};
use crate::model::task::{ExtractSpec, SOURCE_MAX};

/// Bytes of one text.
const TEXT_MAX: usize = 4 << 10;
/// Headings, and JSON-LD blocks.
const LIST_MAX: usize = 20;
/// OpenGraph values.
const PROPERTIES_MAX: usize = 100;
/// Bytes of all JSON-LD of a page.
const JSON_MAX: usize = 64 << 10;
/// In larger documents no main content is looked for: the whole body is taken, in one pass.
const ELEMENTS_MAX: usize = 30_000;
/// Elements that the Markdown is nested by. Each level is a level of the call stack, and of indentation.
const NESTED_MAX: usize = 64;
/// Chromium builds no deeper trees.
const DEPTH_MAX: usize = 512;
/// Those elements.
const NESTING: [&str; 11] = ["a", "b", "blockquote", "code", "em", "i", "ol", "pre", "strong", "table", "ul"];
/// Beginnings of `meta property` names that are kept.
const PROPERTIES: [&str; 8] = ["og:", "article:", "book:", "music:", "product:", "profile:", "twitter:", "video:"];

/// What was made of a page.
#[derive(Debug, Default, PartialEq)]
pub struct Made {
    /// Markdown, when the task keeps it and there is some.
    pub markdown: Option<String>,
    /// Metadata, when the task keeps it.
    pub metadata: Option<Box<PageMetadata>>,
    /// What was asked for and is not here, or not whole.
    pub left_out: Vec<LeftOut>,
}

/// Makes what the task asks for. Takes some milliseconds of CPU, seconds for a page made to be dear: call
/// it on a thread that may be kept. Whatever the page holds, it answers.
pub fn make(source: &Source, address: &str, spec: &ExtractSpec) -> Made {
    let end = source.html.floor_char_boundary(SOURCE_MAX as usize);
    let (html, cut) = (&source.html[..end], source.cut || end < source.html.len());
    let asked = [(KeptKind::Markdown, spec.markdown), (KeptKind::Metadata, spec.metadata)];
    let note = |reason: &str| -> Vec<LeftOut> {
        let asked = asked.iter().filter(|(_, asked)| *asked);
        asked.map(|(kind, _)| LeftOut { kind: *kind, reason: reason.to_owned() }).collect()
    };
    if !spec.markdown && !spec.metadata {
        return Made::default();
    }
    if too_costly(html) {
        return Made { left_out: note("the page would be too dear to parse"), ..Made::default() };
    }
    match catch_unwind(AssertUnwindSafe(|| parse(html, address, spec))) {
        Ok(mut made) => {
            if cut {
                made.left_out.extend(note("made of the beginning of the page: it is larger than 2 MiB"));
            }
            made
        }
        Err(_) => Made { left_out: note("the parser failed on this page"), ..Made::default() },
    }
}

fn parse(html: &str, address: &str, spec: &ExtractSpec) -> Made {
    let document = Document::from(html);
    let shape = Shape::of(&document);
    let mut made = Made::default();
    if spec.metadata {
        made.metadata = Some(Box::new(metadata(&document, address)));
    }
    if !spec.markdown {
        return made;
    }
    if shape.nested > NESTED_MAX || shape.depth > DEPTH_MAX {
        let reason = format!("its elements are nested deeper than {NESTED_MAX} ({DEPTH_MAX} in all)");
        made.left_out.push(LeftOut { kind: KeptKind::Markdown, reason });
        return made;
    }
    let main = (shape.elements <= ELEMENTS_MAX).then(|| main_content(document, address)).flatten();
    let markdown = main.unwrap_or_else(|| {
        let document = Document::from(html);
        document.body().map(|body| body.md(None).to_string()).unwrap_or_default()
    });
    let limit = usize::try_from(spec.text_max_bytes).unwrap_or(usize::MAX);
    let end = markdown.floor_char_boundary(limit);
    if end < markdown.len() {
        made.left_out.push(LeftOut { kind: KeptKind::Markdown, reason: format!("cut at {limit} bytes") });
    }
    let kept = markdown[..end].trim();
    made.markdown = (!kept.is_empty()).then(|| kept.to_owned());
    made
}

/// The main content, where one stands out.
fn main_content(document: Document, address: &str) -> Option<String> {
    let config = Config { text_mode: TextMode::Markdown, disable_json_ld: true, ..Config::default() };
    let article = Readability::with_document(document, Some(address), Some(config)).ok()?.parse().ok()?;
    let text = article.text_content.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// How large a document is, found without recursion.
#[derive(Default)]
struct Shape {
    elements: usize,
    depth: usize,
    nested: usize,
}

impl Shape {
    fn of(document: &Document) -> Shape {
        let mut shape = Shape::default();
        let nests = |node: &NodeRef<'_>| usize::from(NESTING.iter().any(|name| node.has_name(name)));
        let (mut depth, mut nested) = (0, 0);
        let mut node = document.root();
        loop {
            if let Some(child) = node.first_child() {
                depth += 1;
                nested += nests(&node);
                shape.depth = shape.depth.max(depth);
                shape.nested = shape.nested.max(nested);
                node = child;
            } else {
                loop {
                    if let Some(next) = node.next_sibling() {
                        node = next;
                        break;
                    }
                    let Some(parent) = node.parent() else { return shape };
                    depth -= 1;
                    nested -= nests(&parent);
                    node = parent;
                }
            }
            shape.elements += usize::from(node.is_element());
        }
    }
}

fn metadata(document: &Document, address: &str) -> PageMetadata {
    let text = |selector: &str| document.select_single(selector).iter().find_map(|node| folded(&node.text()));
    let mut found = PageMetadata { title: text("title"), ..PageMetadata::default() };
    found.language = document.select_single("html[lang]").attr("lang").and_then(|lang| folded(&lang));
    found.h1 = document.select("h1").iter().filter_map(|h1| folded(&h1.text())).take(LIST_MAX).collect();
    let base = Url::parse(address).ok().map(|address| {
        let base = document.select_single("base[href]").attr("href");
        document_base(&address, base.as_deref())
    });
    for link in document.select("link[rel][href]").iter() {
        let rel = link.attr("rel").unwrap_or_default().to_ascii_lowercase();
        if rel.split_ascii_whitespace().any(|rel| rel == "canonical") {
            let href = link.attr("href").unwrap_or_default();
            found.canonical = base.as_ref().and_then(|base| base.join(&href).ok()).and_then(|url| folded(url.as_str()));
            break;
        }
    }
    let mut room = PROPERTIES_MAX;
    for meta in document.select("meta[content]").iter() {
        let Some(content) = meta.attr("content").and_then(|content| folded(&content)) else { continue };
        let name = meta.attr("property").or_else(|| meta.attr("name")).unwrap_or_default();
        let name = name.trim().to_ascii_lowercase();
        if name == "description" && found.description.is_none() {
            found.description = Some(content);
        } else if room > 0 && name.len() <= 100 && PROPERTIES.iter().any(|start| name.starts_with(start)) {
            room -= 1;
            found.open_graph.entry(name).or_default().push(content);
        }
    }
    found.json_ld = json_ld(document);
    found
}

fn json_ld(document: &Document) -> Vec<serde_json::Value> {
    let mut room = JSON_MAX;
    let mut blocks = Vec::new();
    for script in document.select("script[type]").iter() {
        let kind = script.attr("type").unwrap_or_default();
        if !kind.trim().eq_ignore_ascii_case("application/ld+json") || blocks.len() == LIST_MAX {
            continue;
        }
        let text = script.text();
        if text.len() > room {
            continue;
        }
        if let Ok(block) = serde_json::from_str(text.trim()) {
            room -= text.len();
            blocks.push(block);
        }
    }
    blocks
}

/// Whitespace folded, cut; `None` when nothing is left.
fn folded(text: &str) -> Option<String> {
    let mut kept = Folded::new(TEXT_MAX);
    kept.push(text);
    let kept = kept.into_string();
    (!kept.is_empty()).then_some(kept)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn of(html: &str) -> Made {
        let spec = ExtractSpec { markdown: true, metadata: true, text_max_bytes: 100_000, ..ExtractSpec::default() };
        make(&Source { html: html.to_owned(), ..Source::default() }, "http://h.example/dir/page", &spec)
    }

    #[test]
    fn the_main_content_becomes_markdown() {
        let paragraph = "The lamp was lit every evening, and its keeper wrote down the weather. ".repeat(8);
        let html = format!(
            "<html><body><nav><a href=/menu>Menu</a></nav><article><h1>The lamp</h1><p>{paragraph}</p>\
             <ul><li>oil<li><b>wick</b></ul><p>See <a href=other>the other one</a>. {paragraph}</p></article>\
             <footer>Imprint</footer></body></html>"
        );
        let markdown = of(&html).markdown.unwrap();
        for part in ["The lamp was lit", "oil", "**wick**", "[the other one](http://h.example/dir/other)"] {
            assert!(markdown.contains(part), "{part} in {markdown}");
        }
        assert!(!markdown.contains("<p>") && !markdown.contains("Menu"), "{markdown}");
    }

    #[test]
    fn what_a_page_says_about_itself() {
        let found = of("<html lang=' de '><head><title>A\n title</title><base href=/b/>
            <meta name=Description content='What it  is'><link rel='x CANONICAL' href=c?x>
            <meta property=og:image content=1><meta property=og:image content=2><meta name=twitter:card content=s>
            <meta property=other content=x>
            <script type='application/ld+json'>{\"@type\":\"Thing\"}</script>
            <script type='application/ld+json'>not json</script></head><h1>One</h1><h1> </h1><h1>Two</h1>");
        let metadata = *found.metadata.unwrap();
        let open_graph = [("og:image", vec!["1", "2"]), ("twitter:card", vec!["s"])];
        let open_graph = open_graph.map(|(k, v)| (k.to_owned(), v.into_iter().map(str::to_owned).collect()));
        let expected = PageMetadata {
            title: Some("A title".to_owned()),
            description: Some("What it is".to_owned()),
            canonical: Some("http://h.example/b/c?x".to_owned()),
            language: Some("de".to_owned()),
            open_graph: BTreeMap::from(open_graph),
            json_ld: vec![serde_json::json!({"@type": "Thing"})],
            h1: vec!["One".to_owned(), "Two".to_owned()],
        };
        assert_eq!(metadata, expected);
    }

    #[test]
    fn rubbish_is_answered_within_its_bounds() {
        #[track_caller]
        fn check(name: &str, html: &str, left_out: Option<&str>) {
            let made = of(html);
            let reason = made.left_out.first().map(|left| left.reason.as_str());
            assert_eq!(reason.is_some(), left_out.is_some(), "{name}: {reason:?}");
            assert!(reason.unwrap_or_default().contains(left_out.unwrap_or_default()), "{name}: {reason:?}");
            assert!(made.markdown.is_none_or(|text| text.len() <= 100_000), "{name}");
        }
        check("nothing", "", None);
        check("no markup", "\0\u{fffd}<<<>>><!--", None);
        check("attributes only", &"<meta property=og:x content=y>".repeat(5_000), None);
        check("a lone table cell", "<td><tr></table></html><li><option>x", None);
        check("deep blocks", &"<div>".repeat(2_000), Some("nested"));
        check("deep lists", &"<ul><li>".repeat(100), Some("nested"));
        check("deep quotes", &"<blockquote>x".repeat(65), Some("nested"));
        check("deep enough", &"<blockquote>x".repeat(50), None);
        check("nested tables", &"<table><tr><td>x".repeat(60), None);
        check("too dear", &"<div>".repeat(100_000), Some("dear"));
        check("many elements", &"<p>x<i>y</i>".repeat(40_000), Some("cut"));
        check("too large", &"<p>words and words".repeat(200_000), Some(""));
        check("long words", &"x".repeat(1 << 20), Some("cut"));
        check("control characters", "<p>\u{1}\u{7f}\u{202e}x</p>", None);
    }
}
