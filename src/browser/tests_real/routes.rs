//! Client-side routes as pages of their own.

use super::*;

const APP: &str =
    "<!doctype html><title>app</title><a href='#/b'>b</a><a href='#top'>top</a><a href='/app#!/c?x=1'>c</a>
<a href='#/'>root</a><p id=p></p><script>
loads = (self.loads || 0) + 1;
const show = () => { document.title = 'route ' + location.hash; p.textContent = 'loads ' + loads; };
addEventListener('hashchange', () => { loads++; show(); }); show();
if (location.hash === '#/b') history.pushState(null, '', '#/pushed');
</script>";

#[tokio::test(flavor = "multi_thread")]
async fn each_route_is_loaded_anew() {
    let stage = Stage::open().await;
    stage.site.put("/app", APP);
    let base = stage.site.base.clone();
    let visit = async |path: &str, routes: bool| {
        let mut request = stage.request("/app", Duration::from_secs(20));
        request.url = CanonicalUrl::parse_with(&format!("{base}{path}"), routes).unwrap();
        request.extract = Arc::new(ExtractSpec { hash_routes: routes, ..ExtractSpec::default() });
        match tokio::time::timeout(BOUND, stage.pool.visit(request)).await.expect("in time").result {
            VisitResult::Answer(answer) => *answer,
            other => panic!("{path}: {other:?}"),
        }
    };
    let plain = visit("/app#/a", false).await;
    assert_eq!(links(&plain), [format!("{base}/app")]);
    for (nth, path) in ["/app#/a", "/app#/b", "/app#!/c?x=1", "/app#/b", "/app"].into_iter().enumerate() {
        let answer = visit(path, true).await;
        assert_eq!((answer.http_status, answer.hops.len()), (200, 0), "{path}");
        assert!(answer.text.as_deref().unwrap_or_default().contains("loads 1"), "{path}: {:?}", answer.text);
        assert_eq!(stage.site.times_asked("/app"), nth + 2, "{path}");
        let title = answer.title.unwrap_or_default();
        assert!(path.ends_with(title.trim_start_matches("route").trim()), "{path}: {title}");
        let mut expected = vec![format!("{base}/app#/b"), format!("{base}/app#!/c?x=1")];
        if path == "/app#/b" {
            expected.push(format!("{base}/app#/pushed"));
        }
        assert_eq!(answer.links.iter().map(|link| link.href.clone()).collect::<Vec<_>>(), expected, "{path}");
    }
    stage.close().await;
}
