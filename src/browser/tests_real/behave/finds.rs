//! Links that stand in no document: shadow roots, frames, and where scripts went or would have gone.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn links_beside_the_document_are_found() {
    let stage = Stage::open().await;
    let other = Site::start().await;
    let elsewhere = other.base.replace("127.0.0.1", "localhost");
    other.put("/embedded", "<p>embedded<script>if (!location.search) location = '/moved?1'</script>");
    other.put("/moved?1", "<p>moved");
    stage.site.put(
        "/shadow",
        "<div id=o></div><div id=c></div><div><template shadowrootmode=open><a href=/declared>d</a></template></div><script>
         const open = o.attachShadow({mode: 'open'}); open.innerHTML = '<a href=/open>o</a><span id=n></span>';
         open.getElementById('n').attachShadow({mode: 'open'}).innerHTML = '<a href=/nested>n</a>';
         c.attachShadow({mode: 'closed'}).innerHTML = '<a href=/closed#x>c</a><iframe src=/inner></iframe>';</script>",
    );
    stage.site.put(
        "/routes",
        "<script>history.pushState({}, '', '/pushed'); history.replaceState({}, '', '/replaced'); location.hash = 'x'</script>",
    );
    stage.site.put(
        "/frames",
        &format!(
            "<iframe id=b></iframe><iframe src={elsewhere}/embedded></iframe><script>
             b.contentDocument.body.innerHTML = '<a href=/in-blank>b</a>'</script>"
        ),
    );
    for (path, expected) in [
        ("/shadow", &["/open", "/nested", "/closed", "/declared", "/inner"][..]),
        ("/routes", &["/pushed", "/replaced"]),
        ("/frames", &["/in-blank"]),
    ] {
        let answer = stage.page(path).await;
        let all = links(&answer);
        for expected in expected {
            let url = format!("{}{expected}", stage.site.base);
            assert_eq!(all.iter().filter(|link| **link == url).count(), 1, "{path}: {expected} in {all:?}");
        }
        assert!(answer.hops.is_empty(), "{path}: {:?}", answer.hops);
    }
    let frames = stage.page("/frames").await;
    for path in ["/embedded", "/moved?1"] {
        let url = format!("{elsewhere}{path}");
        assert!(links(&frames).contains(&url.as_str()), "{path}: {:?}", links(&frames));
    }
    stage.close().await;
}
