//! A page that answers when the test says so: the one way to have a visit in flight for sure.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::world::Fetch;
use super::{World, poll};
use crate::site::Config;

/// The page behind the door; the site links it from its first page.
pub const PAGE: &str = "/poison";
/// A forgotten door opens by itself, so that a failing test ends.
const LONGEST: Duration = Duration::from_secs(80);

/// Holds requests for [`PAGE`] until it is opened; open for good then.
pub struct Door {
    open: Arc<AtomicBool>,
    knocks: Arc<AtomicU32>,
}

impl Door {
    /// A world with such a page, crawled by plain HTTP. The door is dropped before the world: the site
    /// could not stop behind a closed one.
    pub fn world(config: Config) -> (World, Door) {
        let door = Door::closed();
        (World::new(door.before(config), Fetch::Http), door)
    }

    /// A door for any number of sites; to be dropped before them.
    pub fn closed() -> Door {
        Door { open: Arc::default(), knocks: Arc::default() }
    }

    /// The site with such a page.
    pub fn before(&self, config: Config) -> Config {
        let (open, knocks) = (self.open.clone(), self.knocks.clone());
        let hook = move || {
            knocks.fetch_add(1, Ordering::SeqCst);
            let end = Instant::now() + LONGEST;
            while !open.load(Ordering::SeqCst) && Instant::now() < end {
                std::thread::sleep(Duration::from_millis(2));
            }
        };
        Config { poison: true, on_poison: Some(Arc::new(hook)), ..config }
    }

    /// Waits until the page has been asked for `times` times.
    #[track_caller]
    pub fn expect_knocks(&self, times: u32) {
        let enough = || (self.knocks.load(Ordering::SeqCst) >= times).then_some(());
        poll::expect("a visit to the page behind the door", Duration::from_secs(60), enough);
    }

    /// Answers who waits, and everybody from now on.
    pub fn open(&self) {
        self.open.store(true, Ordering::SeqCst);
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.open();
    }
}
