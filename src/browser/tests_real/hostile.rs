//! Pages of hostile intent: each ends in time and by its name, and takes nothing with it.

pub(in crate::browser) mod site;

use futures_util::StreamExt;

use super::*;

/// Visits at once, so tabs as well.
const TABS: usize = 2;
/// Body bytes of a page at most.
const BODY_MAX: u64 = 1 << 20;

/// Deadline of a page that comes to an end by itself: far more than it takes, so that how it ends does not depend on
/// how busy the machine is.
const AMPLE: Duration = Duration::from_secs(40);
/// Deadline of a page whose script is stopped at it: a quarter of it is for reading what there is.
const STOPPED: Duration = Duration::from_secs(8);
/// Deadline of a page of which nothing can be read.
const SHORT: Duration = Duration::from_secs(4);
/// Beyond its deadline a page may take this long, on a busy machine: to get a tab, and to be taken leave of.
const AROUND: Duration = Duration::from_secs(12);

/// Path and deadline of a page, and what becomes of it: the name of its ending, and links that are found. The
/// longest first.
const PAGES: &[(&str, Duration, &str)] = &[
    // Frames and pictures that never come: read ten seconds after its own document was there. One whose frame holds
    // up the renderer is stopped after that.
    ("/frameloop", AMPLE, "page /x"),
    ("/hangingimage", AMPLE, "page /x"),
    // Scripts without an end.
    ("/loopbefore", STOPPED, "cut /x"),
    ("/loopafter", STOPPED, "cut /x"),
    ("/loop-at-load", STOPPED, "cut /x"),
    ("/microtasks", STOPPED, "cut /x"),
    ("/microtasks-later", STOPPED, "cut /x"),
    ("/pushes", STOPPED, "cut /x"),
    ("/writes", STOPPED, "cut /x"),
    ("/alertstorm", STOPPED, "cut"),
    ("/prompts", STOPPED, "cut /x"),
    ("/waits", SHORT, "timeout"),
    // Answers without an end.
    ("/hang", SHORT, "timeout"),
    ("/endless", SHORT, "timeout"),
    ("/drip", SHORT, "timeout"),
    ("/blocked", SHORT, "page /x"),
    // Much of everything.
    ("/gzip", AMPLE, "cut /x"),
    ("/br", AMPLE, "cut /x"),
    ("/zstd", AMPLE, "cut /x"),
    ("/links", AMPLE, "cut /x"),
    ("/nodes", AMPLE, "page /x"),
    ("/giants", AMPLE, "cut /x"),
    ("/nested", AMPLE, "page /x"),
    ("/flood", AMPLE, "cut /x"),
    ("/announced", AMPLE, "cut /x"),
    ("/announced-json", AMPLE, "too_large"),
    ("/timers", AMPLE, "page /x"),
    ("/workers", AMPLE, "page /x"),
    ("/streams", AMPLE, "page /x"),
    // The renderer dies.
    ("/heap", AMPLE, "renderer_crash"),
    ("/deep", AMPLE, "renderer_crash"),
    // Dialogs, prompts and what a person would be asked.
    ("/alerts", AMPLE, "page /x"),
    ("/confirms", AMPLE, "page /x"),
    ("/unload", AMPLE, "page /x"),
    ("/beforeunload", AMPLE, "page /x"),
    ("/print", AMPLE, "page /x"),
    ("/permissions", AMPLE, "page /x"),
    ("/auth", AMPLE, "page /x"),
    ("/debugger", AMPLE, "page /x"),
    // What is no page.
    ("/attachment", AMPLE, "download"),
    ("/binary", AMPLE, "download"),
    ("/pdf", AMPLE, "download"),
    ("/downloads", AMPLE, "download"),
    ("/saves", AMPLE, "page /x"),
    ("/json", AMPLE, "page"),
    ("/svg", AMPLE, "page /x"),
    ("/204", AMPLE, "page"),
    ("/404empty", AMPLE, "page"),
    // Elsewhere, again and again.
    ("/rloop", AMPLE, "too_many_redirects"),
    ("/meta-loop", AMPLE, "page /x"),
    ("/scriptforever", AMPLE, "too_many_redirects"),
    ("/reloads", AMPLE, "too_many_redirects"),
    ("/replaces", AMPLE, "too_many_redirects"),
    ("/history", AMPLE, "page /x"),
    ("/hashes", AMPLE, "page /x"),
    ("/routes", AMPLE, "page /x /route/1 /route/2"),
    ("/goes-blank", AMPLE, "page /x"),
    ("/goes-data", AMPLE, "page /x"),
    ("/toofile", AMPLE, "page /x"),
    // Windows.
    ("/popup", AMPLE, "page /x /popped /popped2"),
    ("/bombs", AMPLE, "page /x /popped0 /popped19"),
    ("/submits", AMPLE, "page /x"),
    ("/closer", AMPLE, "page /x"),
    // What the reading of a page could stumble over.
    ("/stops", AMPLE, "page /x"),
    ("/globals", AMPLE, "page /x"),
    ("/promises", AMPLE, "page /x"),
    ("/hookbreaker", AMPLE, "page /x"),
    ("/odd", AMPLE, "page /x"),
    ("/clocks", AMPLE, "page /x"),
    ("/shadows", AMPLE, "page /x /shadow-open /shadow-closed"),
    ("/foreign", AMPLE, "page /x"),
    ("/worker", AMPLE, "page"),
    // Answers that break off.
    ("/short", AMPLE, "protocol"),
    ("/reset-within", AMPLE, "protocol"),
    ("/unchunked", AMPLE, "protocol"),
    ("/reset", AMPLE, "connect"),
];

/// The name of a visit's ending.
fn name(result: &VisitResult) -> String {
    match result {
        VisitResult::Answer(answer) => if answer.truncated { "cut" } else { "page" }.to_owned(),
        VisitResult::Download(_) => "download".to_owned(),
        VisitResult::Refused { reason, .. } => reason.to_string(),
        VisitResult::Failed(failure) => failure.class.to_string(),
    }
}

/// What is wrong with a visit that should have ended like this.
fn fault(site: &str, visit: &BrowserVisit, wanted: &str) -> Option<String> {
    let mut wanted = wanted.split(' ');
    let name = name(&visit.result);
    if wanted.next() != Some(&name) {
        return Some(format!("{name}: {}", kind(&visit.result)));
    }
    let found: Vec<&str> = match &visit.result {
        VisitResult::Answer(answer) => links(answer),
        _ => Vec::new(),
    };
    let lost = wanted.find(|path| !found.contains(&format!("{site}{path}").as_str()))?;
    Some(format!("{name} without {lost}, with {found:?}").chars().take(400).collect())
}

async fn stage() -> Stage {
    let mut stage = Stage::open().await;
    let config = BrowserConfig {
        no_sandbox: rustix::process::geteuid().is_root(),
        // A script that takes all the memory it can get is to be quick about it.
        extra_args: vec!["--js-flags=--max-old-space-size=64".to_owned()],
        max_tabs: TABS as u32,
        ..BrowserConfig::new(stage.profiles.path().join("browsers"))
    };
    stage.pool = Browsers::start(config).await.unwrap();
    let limits = Limits { body_bytes: BODY_MAX, ..Limits::of(&FetchSpec::default()) };
    stage.egress = testing::anywhere_within(limits).await;
    stage
}

fn hostile(stage: &Stage, path: &str, within: Duration) -> VisitRequest {
    let mut request = stage.request(path, within);
    let fetch = FetchSpec { max_body_bytes: BODY_MAX, ..(*request.fetch).clone() };
    request.fetch = Arc::new(fetch);
    request
}

/// Visits a hostile page and an innocent one after it; says what was wrong with either.
async fn visit_both(stage: &Stage, (path, deadline, wanted): (&str, Duration, &str)) -> Vec<String> {
    let mut wrong = Vec::new();
    let began = Instant::now();
    let visit = stage.pool.visit(hostile(stage, path, deadline)).await;
    let took = began.elapsed();
    eprintln!("{path}: {} after {} ms", name(&visit.result), took.as_millis());
    if let Some(fault) = fault(&stage.site.base, &visit, wanted) {
        wrong.push(format!("{path}: {fault} after {took:?}, wanted {wanted}"));
    }
    // It may be loaded twice, each time with its deadline.
    if took > deadline * 2 + AROUND {
        wrong.push(format!("{path}: {took:?}"));
    }
    let next = stage.pool.visit(stage.request("/plain", AMPLE)).await;
    if let Some(fault) = fault(&stage.site.base, &next, "page /next") {
        wrong.push(format!("an innocent page after {path}: {fault}"));
    }
    wrong
}

fn processes(browser: u32, kind: &str) -> Vec<u32> {
    let is = |pid: &u32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(&format!("--type={kind}"))
    };
    children(browser).into_iter().filter(is).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_hostile_page_ends_in_time_by_its_name_and_leaves_every_tab_fit() {
    let stage = stage().await;
    let only = std::env::var("HOSTILE").unwrap_or_default();
    let began = Instant::now();
    let pages = PAGES.iter().filter(|(path, ..)| path.contains(&only));
    let visits = futures_util::stream::iter(pages).map(|page| visit_both(&stage, *page)).buffer_unordered(TABS);
    let mut wrong: Vec<String> = visits.collect::<Vec<_>>().await.concat();
    eprintln!("all: {:?}; wrong: {wrong:#?}", began.elapsed());

    let status = stage.pool.status().borrow().clone();
    if (status.restarts, status.tabs_active) != (0, 0) {
        wrong.push(format!("one browser, which is idle now, was to outlive them all: {status:?}"));
    }
    let browser = status.pids[0];
    // As many pages at once as ever.
    abandon_all(&stage).await;
    stage.pool.recycle().await;
    stage.page("/plain").await;
    // What is dead and only waits for its parent to look is no process any more.
    until("nothing is left of a browser that has had its time", || {
        is_dead(browser) && children(browser).iter().all(|pid| is_dead(*pid))
    })
    .await;
    let browser = stage.pool.status().borrow().pids[0];
    stage.close().await;
    until("no process is left", || children(browser).iter().all(|pid| is_dead(*pid))).await;
    assert!(wrong.is_empty(), "{wrong:#?}");
}

fn is_dead(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_none_or(|(_, rest)| rest.trim_start().starts_with(['Z', 'X']))
}

/// A page that hangs in every tab; each has its own address, because the browser asks for one once at a time.
async fn full(stage: &Stage, within: Duration) -> Vec<BrowserVisit> {
    let pages: Vec<String> = (0..TABS).map(|n| format!("/hang?{n}-{}", stage.site.count("/hang"))).collect();
    futures_util::future::join_all(pages.iter().map(|page| stage.visit_within(page, within))).await
}

/// Waits until as many pages as there are tabs are asked for, and abandons their visits.
async fn abandon_all(stage: &Stage) {
    let before = stage.site.count("/hang");
    tokio::select! {
        _ = full(stage, AMPLE) => panic!("they hang"),
        () = until("every tab is at work", || stage.site.count("/hang") == before + TABS) => {}
    }
}

/// Fills the pool with pages that hang, does `harm`, and says how the visits ended and when it was done.
async fn in_the_midst(stage: &Stage, within: Duration, harm: impl FnOnce()) -> (Vec<BrowserVisit>, Instant) {
    let before = stage.site.count("/hang");
    let flights = full(stage, within);
    let harm = async {
        until("every tab is at work", || stage.site.count("/hang") == before + TABS).await;
        harm();
        Instant::now()
    };
    tokio::join!(flights, harm)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_browser_costs_its_pages_nothing_and_the_next_page_two_seconds() {
    use rustix::process::Signal;
    let stage = stage().await;
    for (how, within) in [("killed", AMPLE), ("stopped", Duration::from_secs(5)), ("cut off", AMPLE)] {
        stage.page("/plain").await;
        let browser = stage.pool.status().borrow().pids[0];
        let restarts = stage.pool.status().borrow().restarts;
        let harm = || match how {
            "killed" => kill(browser, Signal::KILL),
            "stopped" => kill(browser, Signal::STOP),
            _ => stage.pool.cut_connection(),
        };
        let (lost, harmed) = in_the_midst(&stage, within, harm).await;
        for visit in lost {
            assert_eq!(visit.crash, Some(CrashScope::Browser), "{how}: {visit:?}");
            let class = failure(visit).class;
            assert_eq!(class, FailureClass::BrowserLost, "{how}");
            assert!(!crate::policy::retry::charges_attempt(class, false), "not the page's fault");
        }
        assert_eq!(stage.page("/plain").await.http_status, 200, "{how}");
        eprintln!("browser {how} -> next page: {:?}", harmed.elapsed());
        assert!(harmed.elapsed() < within.min(Duration::from_secs(6)) + AROUND, "{how}: {:?}", harmed.elapsed());
        assert_eq!(stage.pool.status().borrow().restarts, restarts + 1, "{how}");
        until("nothing of it is left", || is_dead(browser) && children(browser).iter().all(|pid| is_dead(*pid))).await;
    }
    stage.close().await;
}

/// Also of the helper that draws and of the one that speaks to the network.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_browser_survives_the_death_of_its_helpers() {
    use rustix::process::Signal;
    let stage = stage().await;
    for helper in ["gpu-process", "utility"] {
        stage.page("/plain").await;
        let browser = stage.pool.status().borrow().pids[0];
        let helpers = processes(browser, helper);
        for pid in &helpers {
            kill(*pid, Signal::KILL);
        }
        eprintln!("{helper}: {helpers:?}");
        // What was under way with it is lost, and so is the visit that notices.
        let mut lost = 0;
        loop {
            let visit = stage.visit("/plain").await;
            if matches!(visit.result, VisitResult::Answer(_)) {
                break;
            }
            lost += 1;
            assert!(lost <= 2, "after the death of {helper} {helpers:?}: {visit:?}");
        }
        assert_eq!(stage.page("/plain").await.http_status, 200);
    }
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_abandoned_visit_leaves_neither_tab_nor_browser_behind() {
    let stage = stage().await;
    stage.page("/plain").await;
    let browser = stage.pool.status().borrow().pids[0];
    let tabs = stage.pool.info().unwrap().tabs;
    abandon_all(&stage).await;
    assert_eq!(stage.pool.status().borrow().tabs_active, 0);
    until("the tabs are closed", || stage.pool.info().unwrap().tabs <= tabs).await;
    stage.pool.recycle().await;
    until("the browser has ended", || is_dead(browser)).await;
    stage.close().await;
}
