//! Pages that hold up their own reading, or seem to.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn documents_that_may_run_no_script_are_read_at_once() {
    let stage = Stage::open().await;
    let other = Site::start().await;
    let elsewhere = other.base.replace("127.0.0.1", "localhost");
    let sandbox = "content-security-policy: default-src 'none'; sandbox\r\n";
    stage.site.put("/raw", &format!("=>content-type: text/plain\r\n{sandbox}\r\nraw text"));
    stage.site.put("/boxed", &format!("=>content-type: text/html\r\n{sandbox}\r\n<a href=/x>x</a><script>1</script>"));
    stage.site.put("/boxes", &format!("<a href=/x>x</a><iframe sandbox src={elsewhere}/inner></iframe>"));
    other.put("/inner", &format!("<a href={}/from-inner>i</a>", stage.site.base));
    let within = Duration::from_secs(8);
    let began = Instant::now();
    for (path, expected) in [("/raw", 0), ("/boxed", 1), ("/boxes", 3)] {
        let VisitResult::Answer(answer) = stage.visit_within(path, within).await.result else { panic!("{path}") };
        assert_eq!(links(&answer).len(), expected, "{path}: {:?}", links(&answer));
        assert!(!answer.truncated && stage.site.times_asked(path) == 1, "{path}");
    }
    assert!(began.elapsed() < within, "{:?}", began.elapsed());
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_page_includes_and_never_comes_costs_time_and_nothing_else() {
    let stage = Stage::open().await;
    stage.site.put(
        "/waits",
        "<a href=/1>1</a><script src=/hang1.js></script><a href=/2>2</a><link rel=stylesheet href=/hang2.css>\
         <script>document.write('<a href=/3>3</a>')</script><script defer src=/hang3.js></script><a href=/4>4</a>",
    );
    let began = Instant::now();
    let VisitResult::Answer(answer) = stage.visit_within("/waits", Duration::from_secs(16)).await.result else {
        panic!("no answer after {:?}", began.elapsed())
    };
    assert_eq!(links(&answer).len(), 4, "{:?}", links(&answer));
    assert!(!answer.truncated && stage.site.times_asked("/waits") == 1, "{:?}", began.elapsed());
    assert_eq!(stage.page("/plain").await.http_status, 200);
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refreshes_are_links_and_the_page_is_read() {
    let stage = Stage::open().await;
    let refresh = |content: &str| format!("<meta http-equiv=refresh content='{content}'><p>own text<a href=/x>x</a>");
    stage.site.put("/at-once", &refresh("0; url=/next"));
    stage.site.put("/soon", &refresh("1; url=/next"));
    stage.site.put("/itself", &refresh("0"));
    stage
        .site
        .put("/by-header", "=>content-type: text/html\r\nrefresh: 0; url=/next\r\n\r\n<p>own text<a href=/x>x</a>");
    for (path, expected) in [("/at-once", 2), ("/soon", 2), ("/by-header", 2), ("/itself", 1)] {
        let answer = stage.page(path).await;
        assert!(
            answer.hops.is_empty() && answer.text.as_deref().is_some_and(|text| text.contains("own text")),
            "{path}"
        );
        assert_eq!(links(&answer).len(), expected, "{path}: {:?}", links(&answer));
        assert_eq!(stage.site.times_asked(path), 1, "{path}");
    }
    assert!(!stage.site.was_asked("/next"));
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redirects_out_of_the_web_have_a_name() {
    let stage = Stage::open().await;
    for (path, to) in
        [("/f", "ftp://127.0.0.1/x"), ("/g", "gopher://h/"), ("/v", "view-source:http://h/"), ("/m", "mailto:a@h")]
    {
        stage.site.put(path, &format!("->{to}"));
        assert_eq!(failure(stage.visit(path).await).class, FailureClass::Protocol, "{to}");
    }
    stage.close().await;
}
