//! Links within frames of other origins: in the page's process or in one of their own.

use super::*;

/// Pages with a frame of another site, one within that, and one of the same site at another port.
async fn found(switches: &[&str]) -> Vec<String> {
    let profiles = tempfile::tempdir().unwrap();
    let mut config = BrowserConfig::new(profiles.path().join("browsers"));
    config.no_sandbox = rustix::process::geteuid().is_root();
    config.extra_args = switches.iter().map(|&switch| switch.to_owned()).collect();
    let (pool, egress) = (Browsers::start(config).await.unwrap(), testing::anywhere().await);
    let stage = Stage { site: Site::start().await, pool, egress, profiles };
    let other = Site::start().await;
    let elsewhere = other.base.replace("127.0.0.1", "localhost");
    let deeper = other.base.clone();
    let home = stage.site.base.clone();
    stage.site.put(
        "/top",
        &format!(
            "<a href=/own>o</a><iframe src={elsewhere}/inner></iframe><iframe src={}/near></iframe>\
            <iframe src=/same></iframe>",
            other.base
        ),
    );
    other.put(
        "/inner",
        &format!("<a href={home}/from-inner>i</a><iframe src={deeper}/nested></iframe><script>\
            setTimeout(() => document.body.insertAdjacentHTML('beforeend', '<a href={home}/from-late>l</a>'), 60)</script>"),
    );
    other.put("/near", &format!("<area href={home}/from-near><form action={home}/from-form></form>"));
    other.put("/nested", &format!("<a href={home}/from-nested>n</a>"));
    stage.site.put("/same", "<a href=/from-same>s</a>");
    stage.site.put("/stuck", &format!("<a href=/own>o</a><iframe src={elsewhere}/loop></iframe>"));
    other.put("/loop", "<script>onload = () => setTimeout(() => { while (true) {} }, 300)</script>");
    let answer = stage.page("/top").await;
    let mut links: Vec<String> =
        links(&answer).into_iter().filter_map(|link| link.strip_prefix(&home)).map(str::to_owned).collect();
    links.sort();
    // Whatever a frame does, its page comes to its end.
    let began = Instant::now();
    let stuck = stage.visit_within("/stuck", Duration::from_secs(4)).await.result;
    assert!(began.elapsed() < Duration::from_secs(15), "{stuck:?}");
    assert_eq!(stage.page("/plain").await.http_status, 200);
    stage.close().await;
    links
}

const ALL: [&str; 7] = ["/from-form", "/from-inner", "/from-late", "/from-near", "/from-nested", "/own", "/same"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn links_within_frames_of_other_origins_are_found() {
    assert_eq!(found(&[]).await, ALL);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn links_within_frames_that_have_processes_of_their_own_are_found() {
    assert_eq!(found(&["--site-per-process"]).await, ALL);
}
