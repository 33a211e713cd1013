//! A browser that somebody else started: refused until its risk is accepted, then used, shown and left alone.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::site::Config;
use crate::support::world::Fetch;
use crate::support::{World, child, poll, skip};

/// Somebody's browser; ended with the test.
struct Theirs {
    child: Child,
    url: String,
}

impl Theirs {
    fn start(profile: &Path) -> Theirs {
        let known = ["/usr/lib/chromium/chromium-headless-shell", "/usr/lib/chromium/chromium"];
        let named = std::env::var("CRAWLD_CHROME").ok();
        let program =
            named.or_else(|| known.iter().find(|path| Path::new(path).exists()).map(|path| (*path).to_owned()));
        let mut command = Command::new(program.expect("this test needs Chromium"));
        command.args(["--headless", "--no-first-run", "--disable-gpu", "--remote-debugging-port=0", "about:blank"]);
        command.arg(format!("--user-data-dir={}", profile.display()));
        if skip::root() {
            command.arg("--no-sandbox");
        }
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("a browser");
        let port = poll::expect("a debugging port", Duration::from_secs(30), || {
            let text = fs::read_to_string(profile.join("DevToolsActivePort")).ok()?;
            text.split_once('\n').map(|(port, _)| port.to_owned())
        });
        Theirs { child, url: format!("http://127.0.0.1:{port}") }
    }
}

impl Drop for Theirs {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn an_attached_browser_is_accepted_shown_and_left_alone() {
    let world = World::new(Config { latency: Duration::from_millis(60), ..Config::plain(60) }, Fetch::Chromium);
    let profile = world.path().join("theirs");
    let mut theirs = Theirs::start(&profile);

    let refused = world.crawl().args(&["--cdp-url", &theirs.url]).run().expect_code(78);
    assert!(refused.said().contains("cdp_unsafe = true"), "{}", refused.said());
    assert!(!world.state.exists(), "nothing is begun");

    let mut crawl = world.crawl().args(&["--cdp-url", &theirs.url, "--cdp-unsafe"]).spawn();
    world.until_recorded(&mut crawl, 5);
    let status = world.crawld(&["status", &world.session()]).run().expect_code(0);
    assert!(status.said().contains("attached_browser"), "{}", status.said());
    world.check_complete(&crawl.wait(child::PATIENCE).expect_code(0));
    let beat = fs::read(world.state.join(format!("sessions/heartbeat_{}.json", world.session()))).expect("a heartbeat");
    let beat: Value = serde_json::from_slice(&beat).expect("JSON");
    let factors = beat["health_factors"].as_array().expect("factors");
    let shown = factors.iter().find(|factor| factor["name"] == "attached_browser").expect("the factor");
    assert!(shown["value"] == 0.9 && beat["health_score"].as_f64() <= Some(0.9), "{beat}");
    assert_eq!(theirs.child.try_wait().expect("its state"), None, "its owner's browser goes on");

    // Nothing of it comes from a task.
    let task = world.path().join("task.toml");
    fs::write(&task, format!("seeds = [\"{}\"]\ncdp_url = \"{}\"\n", world.site.at("/"), theirs.url))
        .expect("a task file");
    let wrong = world.crawld(&["crawl", &task.display().to_string()]).run().expect_code(78);
    assert!(wrong.said().contains("unknown key"), "{}", wrong.said());
}
