//! What a task says of headers, appearance, blocking and budgets, as sites and pages see it.

use super::*;
use crate::model::conduct::{BlockType, Conduct, HeaderPlace, PageCut, PageSpec};

async fn answer(stage: &Stage, request: VisitRequest) -> PageAnswer {
    match tokio::time::timeout(BOUND, stage.pool.visit(request)).await.expect("within its deadline").result {
        VisitResult::Answer(answer) => *answer,
        other => panic!("{other:?}"),
    }
}

fn with_page(stage: &Stage, session: i64, path: &str, page: PageSpec) -> VisitRequest {
    let conduct = Arc::new(Conduct { page, ..Conduct::default() });
    VisitRequest { session: SessionId::new(session, 1), conduct, ..stage.request(path, Duration::from_secs(20)) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_go_to_their_host_alone_with_all_that_a_page_asks_for() {
    let stage = Stage::open().await;
    let other = Site::start().await;
    let elsewhere = other.base.replace("127.0.0.1", "localhost");
    stage.site.put(
        "/own",
        &format!("<img src=/pic><img src=/hop><script>fetch('/data')</script><img src={elsewhere}/theirs>"),
    );
    stage.site.put("/hop", &format!("->{elsewhere}/hopped"));
    stage.site.put("/away", &format!("->{elsewhere}/landed"));
    let mut conduct = Conduct::default();
    let place = HeaderPlace::parse(stage.site.base.trim_start_matches("http://")).unwrap();
    conduct.headers.add(place, vec![("X-Token".to_owned(), "tell-nobody".to_owned())]);
    let conduct = Arc::new(conduct);
    for path in ["/own", "/away"] {
        answer(&stage, VisitRequest { conduct: conduct.clone(), ..stage.request(path, Duration::from_secs(20)) }).await;
    }
    for path in ["/own", "/pic", "/hop", "/data", "/away"] {
        let heads = stage.site.heads_of(path);
        assert!(!heads.is_empty() && heads.iter().all(|head| head.contains("tell-nobody")), "{path}: {heads:?}");
    }
    for path in ["/theirs", "/hopped", "/landed"] {
        let heads = other.heads_of(path);
        assert!(!heads.is_empty() && heads.iter().all(|head| !head.contains("tell-nobody")), "{path}: {heads:?}");
    }
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_see_the_machine_that_the_task_describes() {
    let stage = Stage::open().await;
    stage.site.put(
        "/seen",
        "<p id=p></p><script>p.textContent = [innerWidth, innerHeight, devicePixelRatio, navigator.language,\
         Intl.DateTimeFormat().resolvedOptions().timeZone, (1.5).toLocaleString()].join(' ')</script>",
    );
    for _ in 0..2 {
        let mut request = stage.request("/seen", Duration::from_secs(20));
        request.fetch = Arc::new(FetchSpec {
            viewport: Some("640x480".to_owned()),
            device_scale: Some(2.0),
            timezone: Some("Asia/Tokyo".to_owned()),
            accept_language: Some("de-AT,de;q=0.8".to_owned()),
            ..FetchSpec::default()
        });
        let text = answer(&stage, request).await.text.unwrap();
        assert_eq!(text, "640 480 2 de-AT Asia/Tokyo 1,5");
    }
    let head = stage.site.heads_of("/seen").remove(0).to_ascii_lowercase();
    assert!(head.contains("accept-language: de-at,de;q=0.9\r\n"), "and the server is told the language: {head}");
    let plain = stage.page("/seen").await.text.unwrap();
    assert!(!plain.contains("Tokyo") && !plain.contains("640"), "{plain}");
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_see_the_device_that_the_task_describes() {
    let stage = Stage::open().await;
    let script = "<p id=p></p><script>p.textContent = [innerWidth, devicePixelRatio, navigator.maxTouchPoints,\
        'ontouchstart' in window].join(' ')</script>";
    stage.site.put("/device", &format!("<meta name=viewport content='width=device-width'>{script}"));
    stage.site.put("/desktop", script);
    let seen = async |path| {
        let mut request = stage.request(path, Duration::from_secs(20));
        request.fetch = Arc::new(FetchSpec {
            viewport: Some("390x844".to_owned()),
            device_scale: Some(3.0),
            mobile: true,
            touch: true,
            ..FetchSpec::default()
        });
        answer(&stage, request).await.text.unwrap()
    };
    assert_eq!(seen("/device").await, "390 3 5 true");
    assert_eq!(seen("/desktop").await, "980 3 5 true", "as wide as telephones take a page that was not made for them");
    assert!(stage.page("/device").await.text.unwrap().ends_with(" 1 0 false"));
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_blocked_is_not_asked_for_and_the_page_is_read_all_the_same() {
    let stage = Stage::open().await;
    stage.site.put("/rich", "<img src=/i1><link rel=stylesheet href=/c1><script src=/s1></script><a href=/x>x</a>");
    let page = PageSpec { block_types: vec![BlockType::Image, BlockType::Stylesheet], ..PageSpec::default() };
    let read = answer(&stage, with_page(&stage, 2, "/rich", page)).await;
    assert_eq!((links(&read).len(), read.truncated), (1, false));
    let asked = |path| stage.site.was_asked(path);
    assert!(!asked("/i1") && !asked("/c1") && asked("/s1"));
    stage.page("/rich").await;
    assert!(asked("/i1") && asked("/c1"), "another session blocks nothing");
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_over_its_budget_ends_with_what_it_has_and_says_so() {
    let stage = Stage::open().await;
    stage.site.put(
        "/greedy",
        "<a href=/x>x</a><script>for (let i = 0; i < 50; i++) fetch('/greed' + i).catch(() => {})</script>",
    );
    let page = PageSpec { max_requests: Some(10), ..PageSpec::default() };
    let read = answer(&stage, with_page(&stage, 2, "/greedy", page)).await;
    assert_eq!((read.cut, read.truncated, links(&read).len()), (Some(PageCut::Requests), true, 1));
    assert_eq!(stage.site.count("/greed"), 10, "its document and nine more");

    stage.site.put("/heavy", "<a href=/x>x</a><script>fetch('/weight')</script>");
    stage.site.put("/weight", &"x".repeat(400_000));
    let page = |most| PageSpec { max_bytes: Some(most), ..PageSpec::default() };
    let read = answer(&stage, with_page(&stage, 3, "/heavy", page(100_000))).await;
    assert_eq!((read.cut, read.truncated, links(&read).len()), (Some(PageCut::Bytes), true, 1));
    let read = answer(&stage, with_page(&stage, 4, "/heavy", page(1_000_000))).await;
    assert_eq!((read.cut, read.truncated), (None, false));
    stage.close().await;
}
