//! What a document shows of what its scripts may make of it, for the choice between plain HTTP and a browser.

use std::collections::HashSet;

use xxhash_rust::xxh3::{Xxh3, xxh3_64};

/// Bytes of a script that are looked at; scripts that differ only later count as the same.
const SCRIPT_BYTES: usize = 16 << 10;

/// Different features that are kept of one document.
const FEATURES_MOST: usize = 2048;

/// A scripted page with less visible text, in characters, may well be waiting for its content.
const LITTLE_TEXT: usize = 250;

/// Where the usual frameworks put what they render, as ids in letters only.
const ROOTS: [&str; 14] = [
    "root",
    "app",
    "next",
    "nuxt",
    "gatsby",
    "svelte",
    "appmount",
    "approot",
    "reactroot",
    "reactapp",
    "vueapp",
    "emberapp",
    "mountpoint",
    "docsify",
];

/// What a document shows of its scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Signs {
    /// Hash of its scripts without literals and numbers, of empty places with an id, of elements that scripts define.
    pub shape: u64,
    /// Scripts that a browser would run.
    pub scripts: u32,
    /// Scripts seem to be meant to fill it: an empty root of a framework, hardly any text, or words in
    /// `<noscript>` that say so.
    pub hollow: bool,
}

/// Collects [`Signs`] as a document streams by.
#[derive(Debug, Default)]
pub(super) struct SignReader {
    features: HashSet<u64>,
    scripts: u32,
    script: Option<ScriptText>,
    noscript: bool,
    /// The element that was opened last and has nothing in it so far: its feature, and whether it is a root.
    open: Option<(u64, bool)>,
    empty_root: bool,
    asks_for_scripts: bool,
    text: usize,
}

/// What people do with a mouse, keys and forms: handlers of these never run while a page is read.
const ASKED_FOR: [&str; 22] = [
    "click",
    "dblclick",
    "auxclick",
    "mouse",
    "pointer",
    "touch",
    "key",
    "wheel",
    "drag",
    "drop",
    "contextmenu",
    "input",
    "beforeinput",
    "change",
    "select",
    "submit",
    "reset",
    "invalid",
    "blur",
    "copy",
    "cut",
    "paste",
];

/// Whether an attribute, in lower case, is a handler of something that happens by itself: loading, an error, an effect.
pub(super) fn runs_unasked(attribute: &str) -> bool {
    let event = attribute.strip_prefix("on").filter(|event| event.bytes().all(|byte| byte.is_ascii_alphabetic()));
    event.is_some_and(|event| event.len() > 2 && !ASKED_FOR.iter().any(|asked| event.starts_with(asked)))
}

/// What a start tag says, as far as it matters here.
pub(super) struct Tag<'a> {
    pub(super) name: &'a str,
    /// It is a block that can have content.
    pub(super) holds: bool,
    pub(super) id: Option<&'a str>,
    /// `type`, of a script.
    pub(super) kind: Option<&'a str>,
    /// `src`, of a script.
    pub(super) src: Option<&'a str>,
    /// The first of its handlers that run without anybody doing something.
    pub(super) handler: Option<String>,
}

impl SignReader {
    pub(super) fn element(&mut self, tag: &Tag<'_>) {
        self.end_script();
        self.noscript = tag.name == "noscript";
        self.open = None;
        if let Some(handler) = &tag.handler {
            self.scripts += 1;
            self.feature(handler, tag.name);
        }
        // What is in there has scripts and links of its own, and shows nothing of them here.
        if matches!(tag.name, "iframe" | "frame" | "embed" | "object") {
            self.scripts += 1;
            self.feature("frame", tag.name);
        }
        if tag.name == "script" {
            return self.begin_script(tag);
        }
        if tag.name.contains('-') {
            self.feature("element", tag.name);
        }
        if tag.holds {
            let custom = tag.name.contains('-').then_some(tag.name);
            let Some(id) = tag.id.or(custom) else { return };
            let id = letters(id);
            let root = ROOTS.contains(&id.as_str());
            self.open = Some((hash("empty", &id), root));
        }
    }

    /// The end of a block that [`Tag::holds`].
    pub(super) fn block_ends(&mut self) {
        if let Some((feature, root)) = self.open.take() {
            self.empty_root |= root;
            self.add(feature);
        }
    }

    pub(super) fn refresh(&mut self) {
        self.feature("refresh", "");
    }

    /// Text that is shown.
    pub(super) fn shown(&mut self, chunk: &str) {
        if self.text < LITTLE_TEXT || self.open.is_some() {
            let length = chunk.chars().filter(|c| !c.is_whitespace()).count();
            self.text += length;
            if length > 0 {
                self.open = None;
            }
        }
    }

    /// Text that is not: of scripts, styles, `<noscript>`.
    pub(super) fn raw(&mut self, chunk: &str) {
        if let Some(script) = &mut self.script {
            script.push(chunk);
        } else if self.noscript && !self.asks_for_scripts {
            let chunk = chunk.as_bytes();
            self.asks_for_scripts = chunk.windows(10).any(|word| word.eq_ignore_ascii_case(b"javascript"));
        }
    }

    fn begin_script(&mut self, tag: &Tag<'_>) {
        let kind = tag.kind.unwrap_or("").trim().to_ascii_lowercase();
        let runs = kind.is_empty() || kind == "module" || kind.contains("javascript") || kind.contains("ecmascript");
        if !runs {
            return self.feature("data", &kind);
        }
        self.scripts += 1;
        match tag.src {
            // A query is most often there to get past caches.
            Some(src) => self.feature("src", &letters(src.split(['?', '#']).next().unwrap_or_default())),
            None => self.script = Some(ScriptText::default()),
        }
    }

    fn end_script(&mut self) {
        if let Some(script) = self.script.take() {
            self.add(script.finish());
        }
    }

    fn feature(&mut self, kind: &str, value: &str) {
        self.add(hash(kind, value));
    }

    fn add(&mut self, feature: u64) {
        if self.features.len() < FEATURES_MOST {
            self.features.insert(feature);
        }
    }

    pub(super) fn finish(mut self) -> Signs {
        self.end_script();
        let little = self.text < LITTLE_TEXT;
        Signs {
            // The order of features is that of the page's content: it does not count.
            shape: self.features.iter().fold(0, |sum, feature| sum.wrapping_add(*feature)),
            scripts: self.scripts,
            hollow: self.scripts > 0 && (little || self.empty_root || self.asks_for_scripts),
        }
    }
}

fn hash(kind: &str, value: &str) -> u64 {
    let mut hash = Xxh3::new();
    hash.update(kind.as_bytes());
    hash.update(b" ");
    hash.update(value.as_bytes());
    hash.digest()
}

/// Letters alone, in lower case: ids, versions and hashes of files differ in digits.
fn letters(text: &str) -> String {
    text.chars().filter(char::is_ascii_alphabetic).take(256).map(|c| c.to_ascii_lowercase()).collect()
}

/// A script without what differs from page to page: literals, numbers, spaces.
#[derive(Debug, Default)]
struct ScriptText {
    kept: Vec<u8>,
    quote: Option<u8>,
    escaped: bool,
    seen: usize,
}

impl ScriptText {
    fn push(&mut self, chunk: &str) {
        for byte in chunk.bytes() {
            self.seen += 1;
            if self.seen > SCRIPT_BYTES {
                return;
            }
            match self.quote {
                Some(_) if self.escaped => self.escaped = false,
                Some(_) if byte == b'\\' => self.escaped = true,
                // A quotation mark in a comment or a regular expression ends with its line.
                Some(quote) if byte == quote || (byte == b'\n' && quote != b'`') => self.quote = None,
                Some(_) => {}
                None if matches!(byte, b'"' | b'\'' | b'`') => {
                    self.quote = Some(byte);
                    // How many items a list of literals has differs as well.
                    match self.kept.ends_with(b"\",") {
                        true => self.kept.truncate(self.kept.len() - 1),
                        false => self.kept.push(b'"'),
                    }
                }
                None if byte.is_ascii_digit() || byte.is_ascii_whitespace() => {}
                None if byte == b',' && self.kept.ends_with(b",") => {}
                None => self.kept.push(byte),
            }
        }
    }

    fn finish(self) -> u64 {
        xxh3_64(&self.kept)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{BodyKind, Extractor};
    use super::*;
    use crate::model::task::ExtractSpec;
    use crate::model::url::CanonicalUrl;

    fn signs(html: &str) -> Signs {
        let address = CanonicalUrl::parse("http://h/").unwrap();
        let of = |step: usize| {
            let mut extractor = Extractor::new(&ExtractSpec::default(), &address, BodyKind::Html, None).with_signs();
            html.as_bytes().chunks(step).for_each(|piece| extractor.feed(piece));
            extractor.finish().signs.expect("asked for")
        };
        let whole = of(usize::MAX);
        assert_eq!(of(3), whole, "{html}");
        whole
    }

    const TEXT: &str = "<p>A page with enough text that nobody would think it waits for a script to bring more of it. \
        It goes on for a while, says little, and says it twice. It goes on for a while, says little, and says it \
        twice. So much for that; this is the end of it. And then, of course, one thing more, to be on the safe side, since nothing is worth less than a test that stands or falls with a comma.</p>";

    #[test]
    fn the_shape_is_that_of_the_scripts() {
        let shape = |html: &str| signs(html).shape;
        for (name, one, other, same) in [
            ("text", "<p>a", "<h1>b</h1><p>c", true),
            ("literals", "<script>f({a:'x',b:1})</script>", "<script>f({a:\"y'\", b:22})</script>", true),
            ("lists", "<script>f(['a','b','c'])</script>", "<script>f(['a', 'b'])</script>", true),
            ("code", "<script>f('x')</script>", "<script>g('x')</script>", false),
            ("files", "<script src=/a.1.js?v=1></script>", "<script src=/a.22.js></script>", true),
            ("other files", "<script src=/a.js></script>", "<script src=/b.js></script>", false),
            ("order", "<script>a()</script><script>b()</script>", "<script>b()</script><script>a()</script>", true),
            (
                "data",
                "<script type=application/ld+json>{1}</script>",
                "<script type=application/ld+json>{2}</script>",
                true,
            ),
            ("places", "<div id=comments></div>", "<div id=comments>x</div>", false),
            ("numbered places", "<div id=c1></div>", "<div id=c2> </div>", true),
            ("elements", "<x-clock></x-clock>", "<x-watch></x-watch>", false),
            ("refresh", "<meta http-equiv=refresh content='5; url=/x'>", "", false),
            ("handlers", "<body onload='f()'>", "<body>", false),
            ("handlers of errors", "<img src=x onerror=f()>", "<img src=x>", false),
            ("handlers of effects", "<details open ontoggle=f()>x", "<details open>x", false),
            ("handlers of clicks", "<p onclick=f()>x", "<p>x", true),
            ("frames", "<iframe src=//other.example/></iframe>", "", false),
        ] {
            assert_eq!(shape(one) == shape(other), same, "{name}");
        }
    }

    #[test]
    fn scripts_are_counted() {
        assert_eq!(signs(TEXT).scripts, 0);
        assert_eq!(signs("<script type=module src=a></script><script>x</script><body onload=f()>").scripts, 3);
        assert_eq!(signs("<p onclick=f()><iframe srcdoc=x></iframe><img onerror=f()>").scripts, 2);
        assert_eq!(signs("<script type=application/json>{}</script><script type=text/template>x</script>").scripts, 0);
    }

    #[test]
    fn pages_that_wait_for_scripts_look_hollow() {
        #[track_caller]
        fn check(name: &str, html: &str, hollow: bool) {
            assert_eq!(signs(html).hollow, hollow, "{name}");
        }
        let script = "<script src=/a.js></script>";
        check("text", &format!("{TEXT}{script}"), false);
        check("little text", &format!("<p>Loading{script}"), true);
        check("little text and no script", "<p>Short.", false);
        check("an empty root", &format!("{TEXT}<div id=__next></div>{script}"), true);
        check("a root with content", &format!("<div id=root>{TEXT}</div>{script}"), false);
        check("words", &format!("{TEXT}<noscript>You need JavaScript.</noscript>{script}"), true);
        check("other words", &format!("{TEXT}<noscript><img src=/pixel></noscript>{script}"), false);
    }
}
