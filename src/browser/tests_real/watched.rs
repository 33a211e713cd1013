//! What the browser noticed while a page loaded: console and requests.

use super::*;
use crate::model::conduct::{Conduct, PageSpec};
use crate::model::kept::KeptKind;
use crate::model::long::{LongOperations, Operation};
use crate::model::watched::{ConsoleLevel, ConsoleMessage, ConsoleSource, PageRequest};

const NOISY: &str = "<!doctype html><title>noisy</title><p id=p>
<script>
console.log('not kept'); console.warn('careful', 7); console.error('bad', {a: 1}, new Error('inner'));
setTimeout(() => { throw new TypeError('uncaught one') }, 0);
Promise.reject(new Error('rejected'));
fetch('/slowdata').then(r => r.text()).then(t => { p.innerHTML = t; });
</script><img src=/missing.png><img src=/pixel.gif><a href=/x>x</a>";

async fn noticed(stage: &Stage, path: &str, extract: ExtractSpec) -> (Vec<ConsoleMessage>, Vec<PageRequest>) {
    let mut request = stage.request(path, Duration::from_secs(20));
    request.extract = Arc::new(extract);
    match tokio::time::timeout(BOUND, stage.pool.visit(request)).await.expect("in time").result {
        VisitResult::Answer(answer) => {
            assert_eq!(answer.raw.left_out, []);
            (answer.raw.console.unwrap_or_default(), answer.raw.requests.unwrap_or_default())
        }
        other => panic!("{path}: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn console_and_requests_are_those_of_the_page() {
    let stage = Stage::open().await;
    stage.site.put("/noisy", NOISY);
    stage.site.put("/moved", "->/noisy");
    let wanted = ExtractSpec { console: Some(ConsoleLevel::Warning), requests: true, ..ExtractSpec::default() };
    for path in ["/noisy", "/plain", "/moved"] {
        let (console, requests) = noticed(&stage, path, wanted.clone()).await;
        let base = &stage.site.base;
        let of = |path: &str| {
            let found: Vec<_> = requests.iter().filter(|request| request.url == format!("{base}{path}")).collect();
            assert_eq!(found.len(), 1, "{path} in {requests:#?}");
            found[0].clone()
        };
        if path == "/plain" {
            assert!(console.is_empty(), "of the page before: {console:#?}");
            let document = of("/plain");
            assert_eq!((document.status, document.kind.as_str()), (Some(200), "document"));
            assert_eq!(of("/frame").status, Some(200));
            continue;
        }
        let said = |source, text: &str| {
            let found = console.iter().filter(|m| m.source == source && m.text.contains(text)).count();
            assert_eq!(found, 1, "{text} in {console:#?}");
        };
        said(ConsoleSource::Script, "careful 7");
        said(ConsoleSource::Script, "bad Object Error: inner");
        said(ConsoleSource::Exception, "Uncaught TypeError: uncaught one");
        said(ConsoleSource::Exception, "rejected");
        said(ConsoleSource::Browser, "404");
        assert!(!console.iter().any(|message| message.text.contains("not kept")));
        assert_eq!((of("/missing.png").status, of("/missing.png").kind.as_str()), (Some(404), "image"));
        let data = of("/slowdata");
        assert!(data.status == Some(200) && data.duration_ms >= Some(250) && data.bytes > Some(30), "{data:?}");
        if path == "/moved" {
            assert_eq!(of("/moved").status, Some(302));
        }
    }
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_takes_long_says_that_it_lives_until_it_is_over() {
    let stage = Stage::open().await;
    let long = LongOperations::default();
    let mut request = stage.request("/plain", Duration::from_secs(20));
    request.long = long.clone();
    let page = PageSpec { behavior_script: Some("await crawld.sleep(2000)".to_owned()), ..PageSpec::default() };
    request.conduct = Arc::new(Conduct { page, ..Conduct::default() });
    let seen = async {
        while long.is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        long.list(|url| url.to_string())
    };
    let (visit, seen) = tokio::join!(stage.pool.visit(request), tokio::time::timeout(BOUND, seen));
    assert!(matches!(visit.result, VisitResult::Answer(_)) && long.is_empty());
    let seen = seen.expect("it said so");
    assert_eq!(
        (seen.len(), seen[0].operation, seen[0].url.as_str()),
        (1, Operation::Behaviors, stage.site.url("/plain").as_str())
    );
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn downloads_are_kept_where_the_task_asks_for_them() {
    let stage = Stage::open().await;
    let download = async |most| {
        let mut request = stage.request("/attachment", Duration::from_secs(20));
        request.extract = Arc::new(ExtractSpec { downloads: true, capture_max_bytes: most, ..ExtractSpec::default() });
        match stage.pool.visit(request).await.result {
            VisitResult::Download(answer) => *answer,
            other => panic!("{other:?}"),
        }
    };
    let kept = download(1_000).await;
    assert_eq!((kept.bytes, kept.raw.files), (1, vec![(KeptKind::Download, b"x".to_vec())]));
    assert_eq!(download(0).await.raw.left_out.len(), 1);
    assert_eq!(stage.page("/plain").await.http_status, 200, "the tab goes on");
    stage.close().await;
}
