//! Documents that the browser is given instead of asking for them.

use super::*;
use crate::model::visit::KnownDocument;

async fn given(stage: &Stage, path: &str, status: u16, headers: &[(&str, &str)], body: &str) -> PageAnswer {
    let mut request = stage.request(path, Duration::from_secs(20));
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let known = KnownDocument::new(status, headers, body.as_bytes().to_vec(), true);
    request.document = Some(Arc::new(known));
    match stage.pool.visit(request).await.result {
        VisitResult::Answer(answer) => *answer,
        other => panic!("{path}: {other:?}"),
    }
}

const HTML: (&str, &str) = ("content-type", "text/html; charset=windows-1252");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_known_document_is_loaded_without_asking_its_server() {
    let stage = Stage::open().await;
    let body = "<!doctype html><a href=rel>x</a><p id=p></p><script>
        fetch('/slowdata').then(r => r.text()).then(t => { p.innerHTML = t; document.title = document.cookie })</script>";
    let cookies = [HTML, ("set-cookie", "a=1"), ("Set-Cookie", "b=2; path=/"), ("set-cookie", "c=3; HttpOnly")];
    let answer = given(&stage, "/given/page?q", 200, &cookies, body).await;
    assert_eq!((answer.http_status, answer.content_type.as_deref()), (200, Some("text/html")));
    assert_eq!(links(&answer), [stage.site.url("/given/rel").as_str(), stage.site.url("/found-late").as_str()]);
    assert_eq!(answer.title.as_deref(), Some("a=1; b=2"), "scripts see the cookies that they may");
    assert!(!stage.site.was_asked("/given/page?q") && stage.site.was_asked("/slowdata"));

    let latin = "<!doctype html><title>caf\u{e9}</title>";
    let latin: Vec<u8> = latin.chars().map(|c| c as u8).collect();
    let mut request = stage.request("/latin", Duration::from_secs(20));
    let headers = [(HTML.0.to_owned(), HTML.1.to_owned())];
    request.document = Some(Arc::new(KnownDocument::new(404, headers, latin, true)));
    let VisitResult::Answer(answer) = stage.pool.visit(request).await.result else { panic!("no answer") };
    assert_eq!((answer.http_status, answer.title.as_deref()), (404, Some("café")), "its charset and status hold");
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_first_navigation_is_answered_with_it() {
    let stage = Stage::open().await;
    let answer = given(&stage, "/given", 200, &[HTML], "<script>location = '/plain'</script>").await;
    stage.hops(&answer.hops, &["/plain"]);
    assert_eq!(answer.title.as_deref(), Some("/plain"), "the site itself was asked for where the page went");
    assert!(!stage.site.was_asked("/given") && stage.site.was_asked("/plain"));
    let answer = given(&stage, "/404", 200, &[HTML], "<script>location.reload()</script>").await;
    assert_eq!((answer.http_status, answer.title.as_deref()), (404, Some("no")), "a page that loads itself anew asks");
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn addresses_that_a_script_gives_the_page_are_links() {
    let stage = Stage::open().await;
    let body =
        "<a href=/x>x</a><script>history.pushState(0, '', '/pushed'); history.replaceState(0, '', '/replaced?x');
        history.replaceState(0, '', '/given'); location.hash = 'f'</script>";
    let answer = given(&stage, "/given", 200, &[HTML], body).await;
    let expected = ["/x", "/pushed", "/replaced?x"].map(|path| stage.site.url(path));
    assert_eq!(links(&answer), expected.each_ref().map(CanonicalUrl::as_str));
    assert!(answer.hops.is_empty() && !stage.site.was_asked("/pushed"));
    stage.close().await;
}
