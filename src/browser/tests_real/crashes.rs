//! Renderers and browsers that die: during a visit, and between two.

use rustix::process::Signal;

use super::*;
use crate::policy::retry;

fn kill_renderers(browser: u32) {
    let is_renderer = |pid: &u32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains("--type=renderer")
    };
    for renderer in children(browser).into_iter().filter(is_renderer) {
        kill(renderer, rustix::process::Signal::KILL);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crashes_are_seen_at_once_and_survived() {
    let stage = Stage::open().await;
    stage.page("/plain").await;
    let browser = stage.pool.info().unwrap().processes[0].pid;
    let score = std::fs::read_to_string(format!("/proc/{browser}/oom_score_adj")).unwrap();
    assert_eq!(score.trim(), "200");

    let pool = &stage.pool;
    let hang = pool.visit(stage.request("/loopbefore", Duration::from_secs(50)));
    let killer = async {
        until("the page is asked for", || stage.site.was_asked("/loopbefore")).await;
        kill_renderers(browser);
    };
    let began = Instant::now();
    let (visit, ()) = tokio::join!(hang, killer);
    assert_eq!(visit.crash, Some(CrashScope::Renderer), "{visit:?}");
    assert!(began.elapsed() < Duration::from_secs(10));
    stage.page("/plain").await;
    assert_eq!(pool.info().unwrap().processes[0].pid, browser, "the browser outlives a renderer");

    let hang = pool.visit(stage.request("/hang", Duration::from_secs(50)));
    let killer = async {
        until("the page is asked for", || stage.site.was_asked("/hang")).await;
        kill(browser, Signal::KILL);
    };
    let began = Instant::now();
    let (visit, ()) = tokio::join!(hang, killer);
    assert_eq!(visit.crash, Some(CrashScope::Browser), "{visit:?}");
    assert!(began.elapsed() < Duration::from_secs(5));
    stage.page("/plain").await;
    assert_eq!(pool.status().borrow().restarts, 1);

    let stopped = pool.info().unwrap().processes[0].pid;
    kill(stopped, Signal::STOP);
    let visit = stage.visit_within("/plain", Duration::from_secs(3)).await;
    assert_eq!(visit.crash, Some(CrashScope::Browser), "a hung browser is not blamed on the host: {visit:?}");
    stage.page("/plain").await;
    stage.close().await;
    assert!(!std::path::Path::new(&format!("/proc/{stopped}")).exists(), "a stopped browser is killed");
}

/// Whenever a renderer dies, the page of the moment is read or is a suspect: it never pays with an attempt.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renderer_that_dies_at_any_moment_costs_no_page_an_attempt() {
    let stage = Stage::open().await;
    stage.page("/plain").await;
    let browser = stage.pool.info().unwrap().processes[0].pid;
    // How long before the visit, and how long after it began.
    let moments = (0..6).map(|n| (n * n * 4, 0)).chain((1..24).map(|n| (0, n * 5)));
    for (before, after) in moments {
        let killer = async {
            tokio::time::sleep(Duration::from_millis(after)).await;
            kill_renderers(browser);
        };
        let wait = async {
            tokio::time::sleep(Duration::from_millis(before)).await;
            stage.visit("/plain").await
        };
        let (visit, ()) = tokio::join!(wait, killer);
        match &visit.result {
            VisitResult::Answer(_) => {}
            VisitResult::Failed(failure) => {
                let charged = retry::charges_attempt(failure.class, false);
                assert!(!charged, "{before} ms before, or {after} ms after its beginning: {visit:?}");
            }
            other => panic!("{other:?}"),
        }
    }
    stage.page("/plain").await;
    stage.close().await;
}
