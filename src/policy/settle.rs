//! How long a page may take to settle, by what its host taught.

use std::time::Duration;

/// A page whose scripts do not finish is read after this long, counted from its load event.
pub const BUSY: Duration = Duration::from_secs(5);

/// The same on a host whose pages keep not finishing.
pub const BUSY_LEARNED: Duration = Duration::from_millis(1_000);

/// A page with script modules is waited for until its network is idle, this long at most: what modules import cannot
/// be seen from inside the page.
pub const MODULES: Duration = Duration::from_secs(3);

/// Pages in a row that did not settle before a host's patience is cut.
const STRIKES: u32 = 3;

/// Pages in a row whose wait for modules brought nothing before a host's pages are not waited for.
const FUTILE: u32 = 5;

/// One page in this many gets full patience for ever after: hosts change.
const LOOK_AGAIN: u32 = 20;

/// What a host taught.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SettleMemory {
    pages: u32,
    strikes: u32,
    futile: u32,
}

/// How long to wait for a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// For unfinished work of scripts, from the load event.
    pub busy: Duration,
    /// For an idle network on a page with modules; none: no wait.
    pub modules: Option<Duration>,
}

/// What a page did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settled {
    /// Its work ended within the patience.
    pub settled: bool,
    /// It had modules and was waited for: whether that changed what was read.
    pub modules_brought: Option<bool>,
}

impl SettleMemory {
    /// For the next page of the host.
    pub fn patience(&self) -> Patience {
        let look_again = self.pages.is_multiple_of(LOOK_AGAIN);
        let short = self.strikes >= STRIKES && !look_again;
        let skip = self.futile >= FUTILE && !look_again;
        Patience { busy: if short { BUSY_LEARNED } else { BUSY }, modules: (!skip).then_some(MODULES) }
    }

    /// Tells the next lifetime.
    pub fn tell(&self) -> (u32, u32, u32) {
        (self.pages, self.strikes, self.futile)
    }

    /// As an earlier lifetime told it.
    pub fn told((pages, strikes, futile): (u32, u32, u32)) -> SettleMemory {
        SettleMemory { pages, strikes: strikes.min(2 * STRIKES), futile: futile.min(FUTILE) }
    }

    /// Learns from a page.
    pub fn learn(&mut self, page: Settled) {
        self.pages = self.pages.wrapping_add(1);
        self.strikes = if page.settled { self.strikes.saturating_sub(1) } else { (self.strikes + 1).min(2 * STRIKES) };
        match page.modules_brought {
            Some(true) => self.futile = 0,
            Some(false) => self.futile = (self.futile + 1).min(FUTILE),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: Settled = Settled { settled: true, modules_brought: None };
    const BAD: Settled = Settled { settled: false, modules_brought: None };

    #[track_caller]
    fn check(name: &str, pages: &[Settled], busy: Duration, modules: bool) {
        let mut memory = SettleMemory::default();
        pages.iter().for_each(|page| memory.learn(*page));
        assert_eq!(memory.patience(), Patience { busy, modules: modules.then_some(MODULES) }, "{name}");
        assert_eq!(SettleMemory::told(memory.tell()), memory, "{name}");
    }

    #[test]
    fn hosts_that_never_settle_cost_their_bound_only_a_few_times() {
        check("unknown", &[], BUSY, true);
        check("two strikes", &[BAD, BAD], BUSY, true);
        check("three strikes", &[BAD; 3], BUSY_LEARNED, true);
        check("looked at again", &[BAD; 20], BUSY, true);
        check("not forgotten by that", &[BAD; 21], BUSY_LEARNED, true);
        let mut better = vec![BAD; 6];
        better.extend([GOOD; 4]);
        check("it settles now", &better, BUSY, true);
    }

    #[test]
    fn modules_that_bring_nothing_late_are_not_waited_for() {
        let brought = |modules_brought| Settled { settled: true, modules_brought: Some(modules_brought) };
        check("four in vain", &[brought(false); 4], BUSY, true);
        check("five in vain", &[brought(false); 5], BUSY, false);
        check("looked at again", &[brought(false); 20], BUSY, true);
        let mut changed = vec![brought(false); 5];
        changed.push(brought(true));
        check("it brought something", &changed, BUSY, true);
    }
}
