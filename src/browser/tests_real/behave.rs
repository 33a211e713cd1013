//! Behaviours, by kind of page: what shows only then is found, and nothing is sent, left or destroyed.

use super::*;
use crate::model::conduct::{Behavior, Conduct, PageCut, PageSpec};

mod finds;

async fn behaved(stage: &Stage, session: i64, path: &str, page: PageSpec) -> PageAnswer {
    let conduct = Arc::new(Conduct { page, ..Conduct::default() });
    let request =
        VisitRequest { session: SessionId::new(session, 1), conduct, ..stage.request(path, Duration::from_secs(20)) };
    match tokio::time::timeout(BOUND, stage.pool.visit(request)).await.expect("within its deadline").result {
        VisitResult::Answer(answer) => *answer,
        other => panic!("{path}: {other:?}"),
    }
}

fn by(behaviors: &[Behavior]) -> PageSpec {
    PageSpec { behaviors: behaviors.to_vec(), behavior_timeout: Span::secs(20), ..PageSpec::default() }
}

/// Of these paths, those that the page links to.
fn found<'a>(stage: &Stage, answer: &PageAnswer, paths: &[&'a str]) -> Vec<&'a str> {
    let has = |path: &&&str| answer.links.iter().any(|link| link.href == format!("{}{path}", stage.site.base));
    paths.iter().filter(has).copied().collect()
}

/// A list that grows when its end comes into view, and throws away what has left it.
const FEED: &str = "<style>a{display:block;height:400px}</style><div id=list></div><div id=end>end</div><script>
  let page = 0; const more = () => { if (page >= LAST) return; page++;
    for (let i = 0; i < 3; i++) { const a = document.createElement('a'); a.href = '/feed-' + page + '-' + i; a.textContent = 'x'; list.append(a); }
    while (list.childElementCount > 6) list.firstElementChild.remove(); };
  more(); new IntersectionObserver((seen) => { if (seen[0].isIntersecting) setTimeout(more, 20); }).observe(end);
  addEventListener('scroll', () => { if (end.getBoundingClientRect().top < innerHeight + 200) setTimeout(more, 20); });
</script>";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_shows_only_when_something_is_done_is_found() {
    let stage = Stage::open().await;
    let base = stage.site.base.clone();
    stage.site.put("/feed", &FEED.replace("LAST", "8"));
    stage.site.put("/more", "<div id=l></div><button id=b onclick='add()'>Load more</button><script>
        let n = 0; function add() { setTimeout(() => { n++; l.innerHTML += `<a href=/more-${n}>m</a>`; if (n === 4) b.remove(); }, 30); }</script>");
    stage.site.put("/folded", "<details id=d><summary>s</summary></details><button aria-expanded=false id=b>Menu</button><div id=l></div><script>
        d.ontoggle = () => { d.innerHTML += '<a href=/unfolded>u</a>' };
        b.addEventListener('click', () => { b.ariaExpanded = 'true'; l.innerHTML = '<a href=/expanded>e</a>' })</script>");
    stage.site.put("/tabs", "<div role=tab onclick=\"l.innerHTML += '<a href=/tab-1>1</a>'\">One</div><div id=t>Two</div><p id=l></p><i id=own>i</i><script>
        t.addEventListener('click', () => { l.innerHTML += '<a href=/tab-2>2</a>' });
        own.onclick = () => { location.href = '/went' };
        document.body.insertAdjacentHTML('beforeend', `<button onclick=\"history.pushState({}, '', '/route')\">Route</button><button onclick=\"window.open('/opened')\">Window</button><a href=\"javascript:location='/by-script'\">go</a>`)</script>");
    stage.site.put("/choose", "<select onchange='if (this.value) location = this.value'><option value=''>-<option value=/chosen-1>1<option value=/chosen-2>2</select>");
    stage.site.put("/paged", "<main id=m></main><button id=b onclick='turn()'>Next</button><script>
        let n = 0; function turn() { n++; m.innerHTML = `<p>Page ${n}</p><a href=/paged-${n}>p</a>`; b.disabled = n === 5; } turn()</script>");
    stage.site.put(
        "/menu",
        "<ul><li id=h aria-haspopup=true>Menu</ul><script>
        h.addEventListener('mouseenter', () => { h.innerHTML += '<a href=/hovered>h</a>' })</script>",
    );
    let all: &[Behavior] = Behavior::ALL;
    for (path, behavior, expected) in [
        ("/feed", Behavior::Scroll, &["/feed-1-0", "/feed-4-1", "/feed-8-2"][..]),
        ("/more", Behavior::LoadMore, &["/more-1", "/more-4"]),
        ("/folded", Behavior::Details, &["/unfolded", "/expanded"]),
        ("/tabs", Behavior::ClickHandlers, &["/tab-1", "/tab-2", "/went", "/route", "/opened", "/by-script"]),
        ("/choose", Behavior::Select, &["/chosen-1", "/chosen-2"]),
        ("/paged", Behavior::Pagination, &["/paged-1", "/paged-3", "/paged-5"]),
        ("/menu", Behavior::Hover, &["/hovered"]),
    ] {
        let plain = stage.page(path).await;
        assert_ne!(found(&stage, &plain, expected), expected, "{path}: nothing to do");
        let one = behaved(&stage, 2, path, by(&[behavior])).await;
        assert_eq!(found(&stage, &one, expected), expected, "{path}: {:?}", links(&one));
        assert!(one.hops.is_empty() && one.cut.is_none(), "{path}: {:?} {:?}", one.hops, one.cut);
        let together = behaved(&stage, 3, path, by(all)).await;
        assert_eq!(found(&stage, &together, expected), expected, "{path}: all: {:?}", links(&together));
    }
    for path in ["/went", "/route", "/chosen-1", "/by-script", "/opened"] {
        assert!(!stage.site.was_asked(path), "{path} at {base}: a link, not a visit");
    }
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_sent_left_or_destroyed() {
    let stage = Stage::open().await;
    stage.site.put(
        "/traps",
        "<a href=/logout>Log out</a><a href=# onclick=\"fetch('/logout-now')\">Sign out</a><a href=# id=signOut onclick=\"fetch('/out')\">x</a>\
         <button onclick=\"fetch('/deleted')\">Delete</button><span style='cursor:pointer' onclick=\"fetch('/posted', {method: 'POST'})\">quiet</span>\
         <form action=/submitted><input name=q><button>Go</button><input type=submit></form>\
         <form id=f method=post action=/sent><i onclick='f.submit()'>i</i></form><i onclick=\"navigator.sendBeacon('/beacon')\">b</i>\
         <div onclick=\"document.querySelector('form').requestSubmit()\">ask</div><button onclick=\"if (confirm('?')) fetch('/confirmed')\">Try</button>\
         <div onclick=\"l.innerHTML = '<a href=/good>g</a>'\">good</div><p id=l></p>\
         <button onclick=\"fetch('/marked-1')\"><svg width=9 height=9><title>Sign out</title></svg></button>\
         <button class=nav-logout onclick=\"fetch('/marked-2')\">Exit</button><button onclick=\"fetch('/marked-3')\">\
         <img width=9 height=9 alt='Delete item'></button><button data-testid=delete-account onclick=\"fetch('/marked-4')\">Go</button>\
         <b id=what hidden>Delete</b><button aria-labelledby=what onclick=\"fetch('/marked-5')\">Y</button>\
         <button onclick=\"fetch('/marked-6')\">z<i class='fa fa-trash'></i></button>",
    );
    let answer = behaved(&stage, 2, "/traps", by(Behavior::ALL)).await;
    assert_eq!(found(&stage, &answer, &["/good", "/logout"]), ["/good", "/logout"], "{:?}", links(&answer));
    for path in
        ["/logout", "/logout-now", "/out", "/deleted", "/posted", "/submitted", "/sent", "/beacon", "/confirmed"]
    {
        assert_eq!(stage.site.count(path), 0, "{path}");
    }
    assert_eq!(stage.site.count("/marked"), 0, "what it does is said by a picture, a class or another element");
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_route_that_is_worked_on_stays_the_route() {
    let stage = Stage::open().await;
    stage.site.put(
        "/routed",
        "<a href='#/r2'>2</a><a href='#top'>t</a><b onclick=\"location.hash = '#/r3'\">3</b><p id=v></p><script>
         const show = () => { v.innerHTML = 'route ' + location.hash; }; onhashchange = show; show()</script>",
    );
    let mut request = stage.request("/routed", Duration::from_secs(20));
    request.url = CanonicalUrl::parse_with(&format!("{}/routed#/r1", stage.site.base), true).unwrap();
    request.extract = Arc::new(ExtractSpec { hash_routes: true, ..ExtractSpec::default() });
    request.conduct = Arc::new(Conduct { page: by(&[Behavior::ClickHandlers]), ..Conduct::default() });
    let VisitResult::Answer(answer) = stage.pool.visit(request).await.result else { panic!("no answer") };
    assert!(answer.text.as_deref().is_some_and(|text| text.contains("route #/r1")), "{:?}", answer.text);
    assert_eq!(found(&stage, &answer, &["/routed#/r2", "/routed#/r3"]).len(), 2, "{:?}", links(&answer));
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_no_end_is_ended_and_what_was_found_is_kept() {
    let stage = Stage::open().await;
    let brief = |behaviors: &[Behavior]| PageSpec { behavior_timeout: Span::secs(3), ..by(behaviors) };
    stage.site.put("/endlessfeed", &FEED.replace("LAST", "Infinity"));
    let began = Instant::now();
    let answer = behaved(&stage, 2, "/endlessfeed", brief(&[Behavior::Scroll])).await;
    assert_eq!((answer.cut, answer.truncated), (Some(PageCut::Behaviors), true));
    assert!(links(&answer).len() > 9 && began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    stage.site.put("/loops", "<a href=/x>x</a><button onclick='while (true) {}'>More</button>");
    let answer = behaved(&stage, 3, "/loops", brief(&[Behavior::LoadMore])).await;
    assert_eq!(found(&stage, &answer, &["/x"]), ["/x"]);
    assert_eq!(answer.cut, Some(PageCut::Behaviors));
    assert_eq!(stage.page("/plain").await.title.as_deref(), Some("/plain"), "the next page is none the worse");
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tasks_own_script_runs_and_its_mistakes_cost_nothing() {
    let stage = Stage::open().await;
    stage.site.put(
        "/own",
        "<a href=/x>x</a><b id=secret onclick=\"l.innerHTML = '<a href=/by-click>c</a>'\">s</b><p id=l></p>",
    );
    let script = |text: &str| PageSpec { behavior_script: Some(text.to_owned()), ..by(&[]) };
    let good = "const n = await crawld.click('#secret'); crawld.link('/named-' + n); // end";
    let answer = behaved(&stage, 2, "/own", script(good)).await;
    assert_eq!(found(&stage, &answer, &["/x", "/by-click", "/named-1"]).len(), 3, "{:?}", links(&answer));
    assert_eq!(answer.cut, None);
    for bad in ["this is not JavaScript", "throw new Error('no')", "await new Promise(() => {})"] {
        let page = PageSpec { behavior_timeout: Span::secs(2), ..script(bad) };
        let answer = behaved(&stage, 3, "/own", page).await;
        assert_eq!((found(&stage, &answer, &["/x"]).len(), answer.cut), (1, Some(PageCut::Behaviors)), "{bad}");
    }
    stage.close().await;
}
