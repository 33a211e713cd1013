//! Cookies outlive the browser, and belong to one session.

use std::os::unix::fs::PermissionsExt;

use super::*;

async fn asked_with(stage: &Stage, session: SessionId) -> String {
    let request = VisitRequest { session, ..stage.request("/agent", Duration::from_secs(20)) };
    match tokio::time::timeout(BOUND, stage.pool.visit(request)).await.expect("within its deadline").result {
        VisitResult::Answer(answer) => answer.text.unwrap_or_default(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_that_needs_its_cookie_gets_it_after_the_browser_was_killed_and_after_a_new_start() {
    let mut stage = Stage::open().await;
    let config = BrowserConfig {
        no_sandbox: rustix::process::geteuid().is_root(),
        jars: Some(stage.profiles.path().join("sessions")),
        ..BrowserConfig::new(stage.profiles.path().join("browsers"))
    };
    let own = SessionId::new(1, 1);
    let home = stage.profiles.path().join("sessions").join(own.as_str());
    std::fs::create_dir_all(&home).unwrap();
    stage.pool = Browsers::start(config.clone()).await.unwrap();
    stage.page("/ticket").await;
    let mode = std::fs::metadata(home.join("cookies.json")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    let browser = stage.pool.status().borrow().pids[0];
    kill(browser, rustix::process::Signal::KILL);
    tokio::time::timeout(BOUND, async {
        while std::path::Path::new(&format!("/proc/{browser}/fd/0")).exists() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .expect("a killed browser is gone");
    let mut seen = String::new();
    for _ in 0..5 {
        // The first visit may still meet the dead browser.
        if let VisitResult::Answer(answer) = stage.visit("/agent").await.result {
            seen = answer.text.unwrap_or_default();
            break;
        }
    }
    assert!(seen.contains("ticket=forty-two"), "{seen}");
    assert!(!asked_with(&stage, SessionId::new(2, 2)).await.contains("ticket"), "another session has its own");

    stage.pool.shutdown(Duration::from_secs(15)).await;
    stage.pool = Browsers::start(config).await.unwrap();
    assert!(asked_with(&stage, own).await.contains("ticket=forty-two"), "after a new start");
    stage.close().await;
}
