//! A browser that has had its time hands over to the next.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_browser_goes_on_until_its_successor_is_there() {
    let profiles = tempfile::tempdir().unwrap();
    let mut config = BrowserConfig::new(profiles.path().join("browsers"));
    config.no_sandbox = rustix::process::geteuid().is_root();
    config.pages_per_browser = 2;
    let (pool, egress) = (Browsers::start(config).await.unwrap(), testing::anywhere().await);
    let stage = Stage { site: Site::start().await, pool, egress, profiles };
    stage.page("/plain").await;
    let first = stage.pool.info().unwrap().processes[0].pid;
    let end = Instant::now() + BOUND;
    while stage.pool.info().is_some_and(|info| info.processes[0].pid == first) {
        assert!(Instant::now() < end, "no successor came");
        // Whichever browser it is, it takes visits at once: nobody waits for a launch.
        stage.page("/plain").await;
    }
    let gone = || !std::path::Path::new(&format!("/proc/{first}")).exists();
    until("the old one ends", gone).await;
    stage.page("/plain").await;
    assert_eq!(stage.pool.status().borrow().restarts, 0, "nothing was lost");
    stage.close().await;
}
