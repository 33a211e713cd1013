//! Service workers: none may answer for a page, and none may hold one up.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_after_one_that_registers_a_service_worker_is_asked_for_at_once() {
    let stage = Stage::open().await;
    for round in 0..10 {
        let registers = stage.page("/worker").await;
        assert_eq!(registers.title.as_deref(), Some("/worker"), "it cannot be registered");
        let began = Instant::now();
        let next = stage.page("/plain").await;
        assert_eq!((next.title.as_deref(), next.http_status), (Some("/plain"), 200), "round {round}");
        assert!(began.elapsed() < Duration::from_secs(5), "round {round} took {:?}", began.elapsed());
    }
    assert!(!stage.site.was_asked("/sw.js"), "its script is not even asked for");
    stage.close().await;
}
