//! A page brings the same whichever kind of tab it is first loaded in: one page for each way to add something late.

use super::*;
use crate::policy::tab_kind::Start;

/// Before each body: how it adds a link.
const HEAD: &str = "<!doctype html><title>kind</title><body><script>
    const add = (name) => { const a = document.createElement('a'); a.href = '/found-' + name; a.textContent = name;
        document.body.append(a); };
    const pixel = 'data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7';
    const later = (ms) => new Promise((done) => setTimeout(done, ms));
    </script>";

/// Name, the rest of the document, the links it must bring, and whether it needs frames.
pub(in crate::browser) const KINDS: &[(&str, &str, &[&str], bool)] = &[
    ("static", "<a href=/found-s>s</a>", &["s"], false),
    ("timer", "<script>setTimeout(() => add('t'), 700)</script>", &["t"], false),
    ("timers", "<script>(async () => { for (let i = 0; i < 5; i++) { await later(60); add('t' + i); } })()</script>",
        &["t0", "t1", "t2", "t3", "t4"], false),
    ("fetches", "<script>fetch('/slowdata').then((r) => r.text()).then(() => fetch('/slowdata')).then((r) => r.text())
        .then(() => add('f'))</script>", &["f"], false),
    ("slowfetch", "<script>onload = () => setTimeout(() => fetch('/slowdata').then((r) => r.text()).then(() => add('f')), 400)
        </script>", &["f"], false),
    ("xhr", "<script>const x = new XMLHttpRequest(); x.onload = () => add('x'); x.open('GET', '/slowdata'); x.send()</script>",
        &["x"], false),
    ("script", "<script>onload = () => { const s = document.createElement('script'); s.src = '/slowscript.js';
        document.body.append(s); }</script>", &["script"], false),
    ("module", "<script type=module>import('/slowmodule.js').then((m) => add(m.name))</script>", &["module"], false),
    ("channel", "<script>const c = new MessageChannel(); c.port1.onmessage = () => add('c'); c.port2.postMessage(1)</script>",
        &["c"], false),
    ("task", "<script>scheduler.postTask(() => add('p'))</script>", &["p"], false),
    ("fonts", "<script>document.fonts.ready.then(() => add('r'))</script>", &["r"], false),
    ("decode", "<script>const i = new Image(); i.src = pixel; i.decode().then(() => add('d'))</script>", &["d"], false),
    ("frame", "<script>requestAnimationFrame(() => add('a'))</script>", &["a"], true),
    ("frames", "<script>let n = 0; const step = () => { if (++n < 5) requestAnimationFrame(step); else add('a'); };
        requestAnimationFrame(step)</script>", &["a"], true),
    ("framefetch", "<script>requestAnimationFrame(() => fetch('/slowdata').then((r) => r.text())
        .then(() => requestAnimationFrame(() => add('a'))))</script>", &["a"], true),
    ("framelate", "<script>fetch('/slowdata').then((r) => r.text()).then(() => requestAnimationFrame(() => add('a')))</script>",
        &["a"], true),
    ("idle", "<script>requestIdleCallback(() => add('i'))</script>", &["i"], true),
    ("intersection", "<p id=p>x<script>new IntersectionObserver((e) => e[0].isIntersecting && add('o')).observe(p)</script>",
        &["o"], true),
    ("resize", "<p id=p>x<script>new ResizeObserver(() => add('z')).observe(p)</script>", &["z"], true),
    ("lazyimage", "<img loading=lazy src='data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7'
        onload=\"add('l')\">", &["l"], true),
    ("lazyscript", "<script>const i = new Image(); i.loading = 'lazy'; i.onload = () => add('l'); i.src = '/pixel.gif';
        document.body.append(i)</script>", &["l"], true),
    ("lazyframe", "<script>onmessage = () => add('m')</script><iframe loading=lazy src=/kind-child></iframe>", &["m"], true),
    ("animation", "<style>@keyframes k { to { left: 9px } } p { animation: k 50ms }</style>
        <p id=p>x<script>p.addEventListener('animationend', () => add('e'))</script>", &["e"], true),
    ("animationproperty", "<style>@keyframes k { to { left: 9px } } p { animation: k 50ms }</style>
        <p id=p>x<script>p.onanimationend = () => add('e')</script>", &["e"], true),
    ("animationattribute", "<style>@keyframes k { to { left: 9px } } p { animation: k 50ms }</style>
        <p onanimationend=\"add('e')\">x", &["e"], true),
    ("transition", "<style>p { transition: opacity 50ms }</style><p id=p>x<script>
        p.addEventListener('transitionend', () => add('e')); p.getBoundingClientRect(); p.style.opacity = 0.5</script>",
        &["e"], true),
    ("finished", "<p id=p>x<script>p.animate([{ opacity: 0 }, { opacity: 1 }], 50).finished.then(() => add('e'))</script>",
        &["e"], true),
    ("blob", "<script>document.createElement('canvas').toBlob(() => add('b'))</script>", &["b"], true),
    ("view", "<script>onload = () => document.startViewTransition(() => add('v'))</script>", &["v"], true),
    ("visibility", "<div style='content-visibility: auto' id=d>x</div><script>
        d.addEventListener('contentvisibilityautostatechange', () => add('c'), { once: true })</script>", &["c"], true),
    ("scroll", "<div style='height: 5000px'></div><script>addEventListener('scroll', () => add('s'), { once: true });
        onload = () => scrollTo(0, 900)</script>", &["s"], true),
    ("scrollidle", "<div style='height: 5000px'></div><a href=/found-s>s</a><script>addEventListener('scroll', () => add('never'))
        </script>", &["s"], false),
    ("otherframe", "<script>onmessage = (e) => add(e.data)</script><script>document.write('<iframe src=\"http://localhost:' +
        location.port + '/kind-child\"></iframe>')</script>", &["m"], true),
    ("sameframe", "<script>onmessage = (e) => add(e.data)</script><iframe src=/kind-child></iframe>", &["m"], true),
    ("scroller", "<style>p { height: 400px }</style><p>1<p>2<p id=end>3<script>let n = 0;
        new IntersectionObserver((entries) => { if (entries[0].isIntersecting && n < 3) { add('b' + n++); end.before(end.cloneNode()); } })
        .observe(document.querySelector('p'))</script>", &["b0"], true),
    ("worker", "<script>new Worker(URL.createObjectURL(new Blob(['setTimeout(() => postMessage(1), 200)']))).onmessage = () => add('w')
        </script>", &["w"], false),
    ("events", "<script>new EventSource('/events').onmessage = () => add('e')</script>", &["e"], false),
    ("interval", "<script>let n = 0; const i = setInterval(() => { if (++n === 4) { clearInterval(i); add('i'); } }, 100)</script>",
        &["i"], false),
    ("image", "<script>const i = new Image(); i.onload = () => add('g'); setTimeout(() => { i.src = '/slowpixel.gif'; }, 200)</script>",
        &["g"], false),
    ("lateframe", "<script>onload = () => { const f = document.createElement('iframe'); f.src = '/slowdata';
        f.onload = () => add('f'); document.body.append(f); }</script>", &["f"], false),
    ("reader", "<script>onload = () => fetch('/slowstream').then(async (r) => { const reader = r.body.getReader();
        while (!(await reader.read()).done); add('r'); })</script>", &["r"], false),
    ("import", "<script>import('/slowmodule.js').then((m) => add(m.name))</script>", &["module"], false),
];

/// The document of a kind.
pub(in crate::browser) fn document(name: &str) -> Option<String> {
    KINDS.iter().find(|(kind, ..)| *kind == name).map(|(_, body, ..)| format!("{HEAD}{body}"))
}

fn found(visit: &BrowserVisit) -> Vec<String> {
    let VisitResult::Answer(answer) = &visit.result else { panic!("{visit:?}") };
    let mut found: Vec<String> =
        links(answer).iter().filter_map(|link| Some(link.split_once("/found-")?.1.to_owned())).collect();
    found.sort();
    found
}

/// Loads a page; what is wrong with what it brought or with how often it was asked for.
async fn try_once(stage: &Stage, name: &str, expected: &[&str], needs_frames: bool, start: Start) -> Option<String> {
    let path = format!("/kind/{name}");
    let before = stage.site.times_asked(&path);
    let request = stage.request(&path, Duration::from_secs(20));
    let visit = tokio::time::timeout(BOUND, stage.pool.visit_started(&request, start)).await.expect("a bound");
    let (found, asked) = (found(&visit), stage.site.times_asked(&path) - before);
    if !expected.iter().all(|link| found.iter().any(|found| found == link)) {
        return Some(format!("{name} {start:?}: {found:?} instead of {expected:?}"));
    }
    let loads = match start {
        Start::Frameless { keep: false } => 1 + usize::from(needs_frames),
        // Not given what was kept, because of its frame.
        Start::Frameless { .. } | Start::Compare if name == "otherframe" => 2,
        // Also when it is loaded twice: the second time from what was kept.
        _ => 1,
    };
    (asked != loads).then(|| format!("{name} {start:?}: its document was asked for {asked} times"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_of_page_brings_the_same_in_both_kinds_of_tab() {
    let stage = Stage::open().await;
    let mut wrong = Vec::new();
    for (name, _, expected, needs_frames) in KINDS {
        for start in
            [Start::Ordinary, Start::Frameless { keep: false }, Start::Frameless { keep: true }, Start::Compare]
        {
            // A starved machine can hold up a page beyond its bound; what is lost every time is lost.
            let mut fault = None;
            for _ in 0..3 {
                fault = try_once(&stage, name, expected, *needs_frames, start).await;
                if fault.is_none() {
                    break;
                }
            }
            wrong.extend(fault);
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(stage.pool.status().borrow().restarts, 0);
    stage.close().await;
}

/// A host that is visited with pauses.
struct Paced;

impl HopGate for Paced {
    fn check<'a>(&'a self, _: &'a CanonicalUrl) -> BoxFuture<'a, Result<(), Refusal>> {
        Box::pin(async { Ok(()) })
    }

    fn is_spaced(&self) -> bool {
        true
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_of_a_host_with_pauses_is_asked_for_once_however_often_it_is_loaded() {
    let stage = Stage::open().await;
    let mut request = stage.request("/kind/frame", Duration::from_secs(20));
    request.gate = Arc::new(Paced);
    let visit = stage.pool.visit_started(&request, Start::Frameless { keep: false });
    let visit = tokio::time::timeout(BOUND, visit).await.expect("a bound");
    assert!(!found(&visit).is_empty(), "{visit:?}");
    assert_eq!(stage.site.times_asked("/kind/frame"), 1);
    stage.close().await;
}

/// Redirects, cookies, a strange charset and a page that goes elsewhere by itself survive the second load.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_load_is_given_what_the_first_was() {
    let stage = Stage::open().await;
    for path in ["/r1", "/script", "/meta", "/404", "/late", "/plain"] {
        let asked = |path: &str| stage.site.times_asked(path);
        let request = stage.request(path, Duration::from_secs(20));
        let plain = stage.pool.visit_started(&request, Start::Ordinary).await;
        let before = (asked(path), asked("/r2"), asked("/plain"));
        let twice = stage.pool.visit_started(&request, Start::Compare).await;
        let after = (asked(path), asked("/r2"), asked("/plain"));
        let (VisitResult::Answer(one), VisitResult::Answer(two)) = (plain.result, twice.result) else {
            panic!("{path}")
        };
        assert_eq!((links(&one), &one.text, &one.hops), (links(&two), &two.text, &two.hops), "{path}");
        assert_eq!((one.http_status, one.title, one.nofollow), (two.http_status, two.title, two.nofollow), "{path}");
        let most = |before: usize, after: usize| assert!(after <= before + 1, "{path} was asked for twice");
        most(before.0, after.0);
        most(before.1, after.1);
        most(before.2, after.2);
    }
    let request = stage.request("/endless", Duration::from_secs(3));
    let began = Instant::now();
    let visit = stage.pool.visit_started(&request, Start::Compare).await;
    assert!(matches!(visit.result, VisitResult::Failed(_)) && began.elapsed() < Duration::from_secs(20), "{visit:?}");
    assert_eq!(stage.page("/plain").await.http_status, 200);
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_pages_end_in_frameless_tabs_as_in_others() {
    let stage = Stage::open().await;
    let short = Duration::from_secs(4);
    for path in ["/alertstorm", "/loopbefore", "/loopafter", "/hang", "/frameloop", "/closer", "/hookbreaker"] {
        let began = Instant::now();
        let visit = stage.pool.visit_started(&stage.request(path, short), Start::Frameless { keep: false }).await;
        assert!(began.elapsed() < short * 2 + Duration::from_secs(14), "{path} took {:?}", began.elapsed());
        eprintln!("{path}: {:?} {}", began.elapsed(), kind(&visit.result));
        let next = stage.pool.visit_started(&stage.request("/plain", BOUND), Start::Frameless { keep: false }).await;
        assert!(matches!(next.result, VisitResult::Answer(_)), "after {path}: {next:?}");
    }
    assert_eq!(stage.pool.status().borrow().restarts, 0);
    stage.close().await;
}
