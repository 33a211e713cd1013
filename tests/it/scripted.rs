//! The scripted browser does what the driver needs: else the tests that kill with it would prove nothing.

use std::sync::Arc;
use std::time::Duration;

use crawld::browser::{BrowserConfig, BrowserVisit, Browsers, CrashScope};
use crawld::model::ids::SessionId;
use crawld::model::outcome::{FailureClass, SkipReason};
use crawld::model::task::{ExtractSpec, FetchSpec};
use crawld::model::url::CanonicalUrl;
use crawld::model::visit::{BoxFuture, HopGate, Refusal, VisitRequest, VisitResult};

use crate::site::{Config, Site};
use crate::support::world::scripted_browser;

/// Lets nothing through that leaves loopback.
struct Loopback;

impl HopGate for Loopback {
    fn check<'a>(&'a self, url: &'a CanonicalUrl) -> BoxFuture<'a, Result<(), Refusal>> {
        let inside = url.as_str().starts_with("http://127.");
        Box::pin(async move { if inside { Ok(()) } else { Err(Refusal::Skip(SkipReason::OutOfScope)) } })
    }
}

struct Stage {
    site: Site,
    pool: Browsers,
    _profiles: tempfile::TempDir,
}

impl Stage {
    async fn open() -> Stage {
        let profiles = tempfile::tempdir().expect("temporary directory");
        let mut config = BrowserConfig::new(profiles.path().join("browsers"));
        config.no_sandbox = true;
        config.executable = Some(scripted_browser());
        let pool = Browsers::start(config).await.expect("the pool starts");
        let site = Site::start(Config { poison: true, ..Config::full(20) }).expect("a free port");
        Stage { site, pool, _profiles: profiles }
    }

    async fn visit(&self, path: &str) -> BrowserVisit {
        let request = VisitRequest {
            session: SessionId::new(1, 1),
            url: CanonicalUrl::parse(&self.site.at(path)).expect("a URL of the site"),
            solo: false,
            fetch: Arc::new(FetchSpec::default()),
            extract: Arc::new(ExtractSpec::default()),
            conduct: Default::default(),
            gate: Arc::new(Loopback),
            document: None,
            way_out: None,
            long: Default::default(),
        };
        let within = Duration::from_secs(20);
        tokio::time::timeout(within, self.pool.visit(request)).await.unwrap_or_else(|_| panic!("{path} did not end"))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_redirects_and_errors_come_out_as_from_chromium() {
    let stage = Stage::open().await;
    match stage.visit("/light/5").await.result {
        VisitResult::Answer(answer) => {
            assert_eq!(answer.title.as_deref(), Some("Salt Point Light, No. 5"));
            assert_eq!(answer.http_status, 200);
            let keeper = stage.site.at("/keeper/5");
            assert!(answer.links.iter().any(|link| link.href == keeper), "{:?}", answer.links);
        }
        other => panic!("{other:?}"),
    }
    match stage.visit("/lab/chain").await.result {
        VisitResult::Answer(answer) => assert_eq!(answer.hops.len(), 3, "{:?}", answer.hops),
        other => panic!("{other:?}"),
    }
    let class = |result| match result {
        VisitResult::Failed(failure) => failure.class,
        other => panic!("{other:?}"),
    };
    assert_eq!(class(stage.visit("/lab/broken").await.result), FailureClass::ServerError);
    assert_eq!(class(stage.visit("/lab/loop").await.result), FailureClass::TooManyRedirects);
    assert!(matches!(stage.visit("/lab/file.zip").await.result, VisitResult::Download(_)));
    assert!(matches!(stage.visit("/lab/away").await.result, VisitResult::Refused { .. }));
    stage.pool.shutdown(Duration::from_secs(10)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deaths_are_seen_at_once_and_survived() {
    let stage = Stage::open().await;
    assert_eq!(stage.visit("/poison").await.crash, Some(CrashScope::Browser));
    assert_eq!(stage.visit("/renderer-crash").await.crash, Some(CrashScope::Renderer));
    assert!(matches!(stage.visit("/light/1").await.result, VisitResult::Answer(_)));
    stage.pool.shutdown(Duration::from_secs(10)).await;
}
