//! A world for one test: a site, a state directory, and the ways to crawl the one into the other.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use super::oracle::Crawl;
use super::{Child, Crawld, Ended, poll};
use crate::site::{Config, Site};

/// Visits at once in the tests' crawls.
pub const TABS: u32 = 4;

/// How the test's crawls fetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fetch {
    /// Plain HTTP.
    Http,
    /// The scripted browser: starts in no time, dies on command.
    Scripted,
    /// A real Chromium.
    Chromium,
    /// Plain HTTP or the scripted browser, as each page needs.
    AutoScripted,
    /// Plain HTTP or a real Chromium, as each page needs.
    Auto,
}

impl Fetch {
    fn mode(self) -> &'static str {
        match self {
            Fetch::Http => "http",
            Fetch::Scripted | Fetch::Chromium => "browser",
            Fetch::AutoScripted | Fetch::Auto => "auto",
        }
    }
}

/// A site, and a state directory to crawl it into.
pub struct World {
    /// The site.
    pub site: Arc<Site>,
    /// The state directory; not there until crawld makes it.
    pub state: PathBuf,
    /// How crawls fetch.
    pub fetch: Fetch,
    dir: TempDir,
}

impl World {
    /// Serves a site, and prepares an empty place.
    pub fn new(config: Config, fetch: Fetch) -> Self {
        World::around(Arc::new(Site::start(config).expect("a free port on loopback")), fetch)
    }

    fn around(site: Arc<Site>, fetch: Fetch) -> Self {
        let dir = tempfile::Builder::new().prefix("crawld-it-").tempdir().expect("temporary directory");
        World { site, state: dir.path().join("state"), fetch, dir }
    }

    /// A second, empty place around the same site.
    pub fn beside(&self) -> Self {
        World::around(self.site.clone(), self.fetch)
    }

    /// A second world with a copy of this one's state, around the same site.
    pub fn fork(&self) -> Self {
        let fork = World::around(self.site.clone(), self.fetch);
        let copied = std::process::Command::new("cp").arg("-a").arg(&self.state).arg(&fork.state).status();
        assert!(copied.is_ok_and(|status| status.success()), "{} cannot be copied", self.state.display());
        fork
    }

    /// Lets a crawl run until `pages` pages are recorded, and kills it with SIGKILL.
    #[track_caller]
    pub fn crawl_and_kill(&self, pages: usize) {
        let mut child = self.crawl().spawn();
        self.until_recorded(&mut child, pages);
        child.kill();
    }

    /// Waits until `pages` pages are recorded; fails when the crawl ends before.
    #[track_caller]
    pub fn until_recorded(&self, child: &mut Child, pages: usize) {
        let enough = poll::until(Duration::from_secs(60), || {
            let ended = child.has_ended();
            let recorded = self.lines("pages-");
            (recorded >= pages || ended).then_some(recorded >= pages)
        });
        assert_eq!(enough, Some(true), "{} of {pages} pages recorded; {}", self.lines("pages-"), child.said());
    }

    /// Lines in the output files of that name, torn ones left out; 0 before there is a session.
    pub fn lines(&self, prefix: &str) -> usize {
        let all = self.sessions();
        let [session] = &all[..] else { return 0 };
        let Ok(entries) = fs::read_dir(self.state.join("sessions").join(session).join("out")) else { return 0 };
        let files = entries.filter_map(Result::ok).filter(|e| e.file_name().to_string_lossy().starts_with(prefix));
        files.map(|file| fs::read(file.path()).map_or(0, |body| memchr::memchr_iter(b'\n', &body).count())).sum()
    }

    /// The command that continues the crawl. The command that began it does so too, but would begin a
    /// new one if the kill came after the end.
    pub fn continuation(&self, recover: bool) -> Crawld {
        if self.sessions().is_empty() || (!recover && self.unfinished()) { self.first() } else { self.recover() }
    }

    /// The command that began the crawl, or would.
    fn first(&self) -> Crawld {
        let keeping = self.dir.path().join("keeping.toml");
        match keeping.exists() {
            true => self.crawld(&["crawl", &keeping.display().to_string(), "--json", "--quiet", "--log-level", "warn"]),
            false => self.crawl(),
        }
    }

    /// Continues the crawl to its end, and judges it.
    #[track_caller]
    pub fn finish(&self) -> Crawl {
        let last = self.continuation(false).run();
        // 3: done, and pages that had to fail did; 5: nothing was left to do.
        assert!(matches!(last.code, Some(0 | 3 | 5)), "the last start must finish the crawl; {}", last.said());
        self.check_complete(&last)
    }

    /// A directory that lives as long as this world.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Any crawld command on this world's state directory.
    pub fn crawld(&self, args: &[&str]) -> Crawld {
        let command = Crawld::new(&self.dir.path().join("logs"), &self.state, args)
            // No file of the machine or the working directory may take part.
            .tweak(|command| {
                command.current_dir(self.dir.path());
            });
        match self.fetch {
            Fetch::Http => command,
            Fetch::Scripted | Fetch::AutoScripted => {
                command.env("CRAWLD_CHROME", scripted_browser()).env("CRAWLD_NO_SANDBOX", "1")
            }
            Fetch::Chromium | Fetch::Auto if super::skip::root() => command.env("CRAWLD_NO_SANDBOX", "1"),
            Fetch::Chromium | Fetch::Auto => command,
        }
    }

    /// The crawl of the whole site, as fast as it goes; the same again continues it.
    pub fn crawl(&self) -> Crawld {
        let tabs = TABS.to_string();
        let seed = self.site.at("/");
        self.crawld(&[
            "crawl",
            &seed,
            "--fetch",
            self.fetch.mode(),
            "--delay",
            "0ms",
            "--per-host",
            &tabs,
            "--tabs",
            &tabs,
        ])
        .args(&["--json", "--quiet", "--log-level", "warn"])
    }

    /// The same crawl by a task file that asks for more of each page.
    pub fn crawl_keeping(&self, extract: &str) -> Crawld {
        let file = self.dir.path().join("keeping.toml");
        let seed = self.site.at("/");
        let (mode, tabs) = (self.fetch.mode(), TABS);
        let task = format!(
            "seeds = [\"{seed}\"]\n[fetch]\nmode = \"{mode}\"\ntabs = {tabs}\n\
             [politeness]\ndelay = \"0ms\"\nper_host = {tabs}\n[extract]\n{extract}\n"
        );
        fs::write(&file, task).expect("a task file");
        self.crawld(&["crawl", &file.display().to_string(), "--json", "--quiet", "--log-level", "warn"])
    }

    /// `crawld recover --json`: applies the decisions and continues what is to be continued.
    pub fn recover(&self) -> Crawld {
        self.crawld(&["recover", "--json"])
    }

    /// A daemon on this world's state that answers; it continues what is there.
    #[track_caller]
    pub fn daemon(&self) -> Child {
        let mut daemon = self.crawld(&["run"]).env("CRAWLD_TASKS_DIR", self.path()).spawn();
        poll::expect("the daemon's start", Duration::from_secs(20), || {
            assert!(!daemon.has_ended(), "{}", daemon.said());
            // A socket file may be one that a killed owner left.
            UnixStream::connect(self.state.join("crawld.sock")).is_ok().then_some(())
        });
        daemon
    }

    /// `crawld verify` must find nothing.
    #[track_caller]
    pub fn verify(&self) {
        self.crawld(&["verify"]).run().expect_code(0);
    }

    /// The one session of this world.
    #[track_caller]
    pub fn session(&self) -> String {
        let mut all = self.sessions();
        assert_eq!(all.len(), 1, "one session expected in {}: {all:?}", self.state.display());
        all.remove(0)
    }

    /// Every session, by name: a directory whose task was never written down is none yet.
    pub fn sessions(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.state.join("sessions")) else { return Vec::new() };
        let mut all: Vec<String> = entries
            .map(|entry| entry.expect("directory entry"))
            .filter(|entry| entry.path().join("task.json").symlink_metadata().is_ok())
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            // Hidden ones are half made, and swept in time.
            .filter(|name| !name.starts_with('.'))
            .collect();
        all.sort();
        all
    }

    /// The directory of the one session.
    #[track_caller]
    pub fn session_dir(&self) -> PathBuf {
        self.state.join("sessions").join(self.session())
    }

    /// Whether the outputs, torn tails or not, show fewer ended URLs than discovered ones.
    pub fn unfinished(&self) -> bool {
        let discovered = self.lines("urls-");
        discovered == 0 || self.lines("pages-") < discovered
    }

    /// The session's last checkpoint.
    #[track_caller]
    pub fn checkpoint(&self) -> Value {
        let path = self.state.join(format!("sessions/checkpoint_{}.json", self.session()));
        let text = fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        serde_json::from_slice(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    }

    /// The outputs as they stand.
    #[track_caller]
    pub fn outputs(&self) -> Crawl {
        Crawl::read(&self.session_dir().join("out"), &self.site.url)
    }

    /// Everything that must hold when the crawl has ended: the outputs against the site, the counters
    /// in every place that shows them, and crawld's own `verify`.
    #[track_caller]
    pub fn check_complete(&self, last: &Ended) -> Crawl {
        let crawl = self.outputs();
        crawl.check_consistent();
        crawl.check_files();
        crawl.check_against(&self.site, self.fetch != Fetch::Http);
        crawl.check_counters("the checkpoint", &self.checkpoint()["progress_snapshot"]["counters"]);
        // `recover` with nothing left to do (exit 5) has no counters to show.
        if last.code != Some(5) {
            let said = last.json();
            // `recover` says it of each session it continued, `crawl` of its one.
            let shown = said["sessions"].get(0).map_or(&said, |session| &session["end"]);
            crawl.check_counters("the command", &shown["counters"]);
        }
        self.verify();
        crawl
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // What a failed test leaves is what explains it.
            self.dir.disable_cleanup(true);
            eprintln!("kept for a look: {}", self.dir.path().display());
        }
    }
}

/// The scripted browser's executable, built beside the tests.
pub fn scripted_browser() -> PathBuf {
    let here = std::env::current_exe().expect("path of the test binary");
    let path = here.ancestors().nth(2).expect("target/PROFILE/deps/it").join("examples/scripted_browser");
    assert!(path.exists(), "{} is missing: `cargo build --examples` makes it", path.display());
    path
}
