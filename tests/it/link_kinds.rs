//! Every kind of link, found alike by the streaming parser and by a real Chromium.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crawld::browser::{BrowserConfig, Browsers};
use crawld::extract::{BodyKind, Extractor};
use crawld::model::ids::SessionId;
use crawld::model::task::{ExtractSpec, FetchSpec};
use crawld::model::url::CanonicalUrl;
use crawld::model::visit::{BoxFuture, HopGate, KnownDocument, Refusal, VisitRequest, VisitResult};

/// Where every document of the tests stands; nobody is asked for it.
const HERE: &str = "http://h.example/d/p.html";

/// Name, document, the links without `http://h.example`; those that begin with `http` are whole.
type Row = (&'static str, &'static str, &'static [&'static str]);

const HTML: &[Row] = &[
    ("anchors", "<a href=a>x</a><a href=/b>y</a><a href=//o.example/c>z</a>", &["/d/a", "/b", "http://o.example/c"]),
    ("areas", "<map name=m><area href=a><area href=b></map>", &["/d/a", "/d/b"]),
    ("fragments", "<a href=#x>x</a><a href='a#x'>y</a><a href='a#y'>z</a>", &["/d/a"]),
    ("empty references", "<a href>x</a><a href=''>y</a><a href=' '>z</a><a name=n>w</a>", &[]),
    ("spaces", "<a href='  a b\n'>x</a><a href='c\n\td'>y</a>", &["/d/a%20b", "/d/cd"]),
    ("references", "<a href='?a=1&amp;b=2&copy=3'>x</a>", &["/d/p.html?a=1&b=2&copy=3"]),
    ("other schemes", "<a href=mailto:a@b>x</a><a href=tel:1>y</a><a href=data:,x>z</a><a href=ftp://f/>w</a>", &[]),
    ("base", "<base href=/e/><a href=a>x</a><a href=#f>y</a>", &["/e/a", "/e/"]),
    ("a second base", "<base href=/e/><base href=/f/><a href=a>x</a>", &["/e/a"]),
    ("a base after its links", "<a href=a>x</a><base href=/e/>", &["/e/a"]),
    ("a base of another scheme", "<base href=data:,x><a href=a>x</a>", &["/d/a"]),
    ("frames", "<iframe src=a></iframe><iframe src=/b></iframe>", &["/d/a", "/b"]),
    ("a frameset", "<frameset><frame src=a><frame src=b></frameset>", &["/d/a", "/d/b"]),
    ("srcdoc", "<iframe srcdoc='<a href=a>x</a><form action=&quot;/s&quot;></form>'></iframe>", &["/d/a", "/s"]),
    (
        "srcdoc with a base",
        "<iframe srcdoc='<base href=/e/><a href=a>x</a>'></iframe><a href=b>y</a>",
        &["/e/a", "/d/b"],
    ),
    ("srcdoc below a base", "<base href=/e/><iframe srcdoc='<a href=a>x</a>'></iframe>", &["/e/a"]),
    ("a sandboxed srcdoc", "<iframe sandbox srcdoc='<a href=a>x</a>'></iframe>", &["/d/a"]),
    (
        "forms",
        "<form action=a></form><form action=b method=GET></form><form action=c method=odd></form>",
        &["/d/a", "/d/b", "/d/c"],
    ),
    ("forms that post", "<form action=a method=post></form><form action=b method=' POST '></form>", &[]),
    ("forms of dialogs", "<form action=a method=dialog></form>", &[]),
    ("forms without an action", "<form></form><form action=''></form>", &[]),
    (
        "buttons",
        "<form action=a><button formaction=b>x</button><input type=submit formaction=c></form>",
        &["/d/a", "/d/b", "/d/c"],
    ),
    ("buttons that post", "<form action=a><button formaction=b formmethod=post>x</button></form>", &["/d/a"]),
    (
        "buttons of forms that post",
        "<form method=post action=a><button formaction=b>x</button><button formmethod=get formaction=c>y</button></form>",
        &["/d/c"],
    ),
    (
        "a form with clobbering names",
        "<form action=a><input name=action><input name=localName><input name=getAttribute></form>",
        &["/d/a"],
    ),
    (
        "relations",
        "<link rel=canonical href=a><link rel='Next' href=b><link rel=prev href=c><link rel=previous href=e>",
        &["/d/a", "/d/b", "/d/c", "/d/e"],
    ),
    (
        "alternates",
        "<link rel=alternate hreflang=de href=a><link rel='alternate' type='application/rss+xml' href=b>",
        &["/d/a", "/d/b"],
    ),
    (
        "style sheets",
        "<link rel=stylesheet href=a.css><link rel='alternate stylesheet' href=b.css><link rel=icon href=c>",
        &[],
    ),
    ("refresh", "<meta http-equiv=refresh content='9999; url=a'>", &["/d/a"]),
    ("refresh in quotes", "<meta http-equiv=Refresh content=\"9999;URL='/a b'\">", &["/a%20b"]),
    ("refresh of itself", "<meta http-equiv=refresh content=9999>", &[]),
    ("scripts in references", "<a href=\"javascript:location='/a'\">x</a><a href='javascript:void(0)'>y</a>", &["/a"]),
    ("encoded scripts", "<a href='JavaScript:window.location.href=%27/a%20b%27;'>x</a>", &["/a%20b"]),
    (
        "windows",
        "<a href=\"javascript:window.open('a','w')\">x</a><a href=\"javascript:open(&quot;/b&quot;)\">y</a>",
        &["/d/a", "/b"],
    ),
    (
        "clicks",
        "<button onclick=\"location.href='a'\">x</button><div onClick=\"location = '/b'; return false\">y</div>",
        &["/d/a", "/b"],
    ),
    ("clicks that compute", "<a href=/c onclick=\"location='/x'+1\">x</a><p onclick=\"go('/y')\">y</p>", &["/c"]),
    (
        "clicks on loud tags",
        "<DIV ONCLICK=\"window.location.assign('/a')\">x</DIV><table><tr ONCLICK=\"document.location.replace('/b')\"><td>y",
        &["/a", "/b"],
    ),
    ("drawings", "<svg><a href=a><text>x</text></a><a xlink:href=b><text>y</text></a></svg>", &["/d/a", "/d/b"]),
    ("templates", "<template><a href=a>x</a></template>", &[]),
    ("comments", "<!-- <a href=a>x</a> --><a href=b>y</a>", &["/d/b"]),
    (
        "text of scripts and styles",
        "<script>'<a href=a>'</script><style>/* <a href=b> */</style><noscript><a href=c>x</a></noscript>",
        &[],
    ),
    ("nested links", "<a href=a><b>x<i>y</i></b></a><a href=b><div>z</div></a>", &["/d/a", "/d/b"]),
    ("images", "<img src=a.png srcset='b.png 2x'><video src=c poster=e></video><object data=f></object>", &[]),
    ("broken tags", "<a href=a<b>x</a><a/href=/c>y</a>", &["/d/a%3Cb", "/c"]),
];

const RESOURCES: &[Row] = &[
    ("images", "<img src=a.png srcset='b.png 1x, /c.png 2x'>", &["/d/a.png", "/d/b.png", "/c.png"]),
    (
        "pictures",
        "<picture><source srcset='a.avif, b.avif 2x'><img src=c.png></picture>",
        &["/d/a.avif", "/d/b.avif", "/d/c.png"],
    ),
    ("media", "<video src=a poster=b><track src=c></video><audio src=e></audio>", &["/d/a", "/d/b", "/d/c", "/d/e"]),
    ("plug-ins", "<object data=a></object><embed src=b>", &["/d/a", "/d/b"]),
    ("scripts", "<script src=a.js></script>", &["/d/a.js"]),
    (
        "style sheets",
        "<link rel=stylesheet href=a.css><link rel='shortcut icon' href=b><link rel=manifest href=c>",
        &["/d/a.css", "/d/b", "/d/c"],
    ),
    ("buttons", "<input type=image src=a>", &["/d/a"]),
    ("drawings", "<svg><image href=a></image><image xlink:href=b></image></svg>", &["/d/a", "/d/b"]),
    ("pages as well", "<a href=a>x</a>", &["/d/a"]),
];

const FEEDS: &[Row] = &[
    (
        "RSS",
        "<rss><channel><link>http://h.example/a?x=1&amp;y=2</link><item><link> /b </link></item></channel></rss>",
        &["/a?x=1&y=2", "/b"],
    ),
    (
        "Atom",
        "<feed xmlns='http://www.w3.org/2005/Atom'><link href='/a'/><entry><link rel='alternate' href='b'/></entry></feed>",
        &["/a", "/d/b"],
    ),
    ("character data", "<rss><channel><item><link><![CDATA[/c?a&b]]></link></item></channel></rss>", &["/c?a&b"]),
];

/// Nothing may be asked for beside the documents that are given.
struct Nowhere;

impl HopGate for Nowhere {
    fn check<'a>(&'a self, _url: &'a CanonicalUrl) -> BoxFuture<'a, Result<(), Refusal>> {
        Box::pin(async { Ok(()) })
    }
}

fn expected(row: &Row) -> BTreeSet<String> {
    let whole =
        |link: &&str| if link.starts_with("http") { (*link).to_owned() } else { format!("http://h.example{link}") };
    row.2.iter().map(whole).collect()
}

fn streamed(row: &Row, spec: &ExtractSpec, kind: BodyKind) -> BTreeSet<String> {
    let here = CanonicalUrl::parse(HERE).expect("a URL");
    let of = |step: usize| -> BTreeSet<String> {
        let mut extractor = Extractor::new(spec, &here, kind, Some("text/html; charset=utf-8"));
        row.1.as_bytes().chunks(step).for_each(|piece| extractor.feed(piece));
        extractor.finish().links.into_iter().map(|link| link.href).collect()
    };
    let whole = of(usize::MAX);
    assert_eq!(of(1), whole, "{}: byte by byte", row.0);
    whole
}

#[test]
fn the_parser_finds_every_kind() {
    let pages = ExtractSpec::default();
    for row in HTML {
        assert_eq!(streamed(row, &pages, BodyKind::Html), expected(row), "{}: {}", row.0, row.1);
    }
    let all = ExtractSpec { resource_links: true, ..ExtractSpec::default() };
    for row in RESOURCES {
        assert_eq!(streamed(row, &all, BodyKind::Html), expected(row), "{}: {}", row.0, row.1);
    }
    for row in FEEDS {
        assert_eq!(streamed(row, &pages, BodyKind::Feed), expected(row), "{}: {}", row.0, row.1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn chromium_finds_the_same() {
    let profiles = tempfile::tempdir().expect("temporary directory");
    let mut config = BrowserConfig::new(profiles.path().join("browsers"));
    config.no_sandbox = crate::support::skip::root();
    let pool = Browsers::start(config).await.expect("these tests need Chromium");
    let mut faults = Vec::new();
    for (rows, resource_links, media) in
        [(HTML, false, "text/html; charset=utf-8"), (RESOURCES, true, "text/html"), (FEEDS, false, "application/xml")]
    {
        for row in rows {
            let extract = Arc::new(ExtractSpec { resource_links, ..ExtractSpec::default() });
            let found = rendered(&pool, row, extract, media).await;
            if found != expected(row) {
                faults.push(format!("{}: {}\n    found {found:?}", row.0, row.1));
            }
        }
    }
    assert!(faults.is_empty(), "{} kinds are found otherwise:\n  {}", faults.len(), faults.join("\n  "));
    pool.shutdown(Duration::from_secs(10)).await;
}

async fn rendered(pool: &Browsers, row: &Row, extract: Arc<ExtractSpec>, media: &str) -> BTreeSet<String> {
    let headers = [("content-type".to_owned(), media.to_owned())];
    let request = VisitRequest {
        session: SessionId::new(1, 1),
        url: CanonicalUrl::parse(HERE).expect("a URL"),
        solo: false,
        fetch: Arc::new(FetchSpec::default()),
        extract,
        conduct: Default::default(),
        gate: Arc::new(Nowhere),
        document: Some(Arc::new(KnownDocument::new(200, headers, row.1.as_bytes().to_vec(), true))),
        way_out: None,
        long: Default::default(),
    };
    match pool.visit(request).await.result {
        VisitResult::Answer(answer) => answer.links.into_iter().map(|link| link.href).collect(),
        other => panic!("{}: {other:?}", row.0),
    }
}
