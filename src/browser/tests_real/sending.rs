//! Nothing is sent, and nothing is asked for but what is visited.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forms_that_send_themselves_into_frames_or_windows_are_not_sent() {
    let stage = Stage::open().await;
    let other = Site::start().await;
    let elsewhere = other.base.replace("127.0.0.1", "localhost");
    let form = |target: &str, to: &str| {
        format!(
            "<form method=post target='{target}' action='{to}'><input name=a value=1></form>\
             <script>setTimeout(() => document.forms[0].submit(), 50)</script>"
        )
    };
    stage.site.put("/into-frame", &format!("<a href=/x>x</a><iframe name=f></iframe>{}", form("f", "/sent-1")));
    stage.site.put("/in-own-frame", "<a href=/x>x</a><iframe src=/inner></iframe>");
    stage.site.put("/inner", &form("", "/sent-2"));
    stage.site.put("/in-foreign-frame", &format!("<a href=/x>x</a><iframe src={elsewhere}/inner></iframe>"));
    other.put("/inner", &form("", "/sent-3"));
    stage.site.put("/into-window", &format!("<a href=/x>x</a>{}", form("_blank", "/sent-4")));
    for path in ["/into-frame", "/in-own-frame", "/in-foreign-frame", "/into-window"] {
        let answer = stage.page(path).await;
        let found = links(&answer);
        assert!(found[0].ends_with("/x") && !found.iter().any(|link| link.contains("/sent")), "{path}: {found:?}");
    }
    assert_eq!((stage.site.count("/sent"), other.count("/sent")), (0, 0));
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_page_would_have_fetched_beforehand_is_not() {
    let stage = Stage::open().await;
    stage.site.put(
        "/eager",
        "<a href=/x>x</a><link rel=prefetch href=/early-1><script type=speculationrules>{\"prefetch\":[{\"urls\":\
         [\"/early-2\"],\"eagerness\":\"immediate\"}],\"prerender\":[{\"urls\":[\"/early-3\"],\"eagerness\":\
         \"immediate\"}]}</script><script>setTimeout(() => {}, 700)</script>",
    );
    assert_eq!(links(&stage.page("/eager").await).len(), 1);
    assert_eq!(stage.site.count("/early"), 0);
    stage.close().await;
}
