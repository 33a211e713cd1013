//! URLs that are read as sitemaps: how many there are, and those that were taken for pages at first.

use crate::model::ids::UrlNo;
use crate::model::lease::{NewUrl, UrlKind, VisitEnd};
use crate::model::outcome::SkipReason;
use crate::model::time::Timestamp;
use crate::store::rows::UrlRow;
use crate::store::schema::UrlState;

use super::{Group, Result};

impl Group<'_> {
    /// A known URL that robots.txt or an index names as a sitemap is one, whatever link led to it before. One that was
    /// fetched as a page is fetched again; one in flight comes back to [`Group::read_anew`].
    pub(super) fn known_sitemap(&mut self, n: UrlNo, named: &NewUrl) -> Result<()> {
        let Some(mut row) = self.writer.url(n)?.filter(|row| row.kind == UrlKind::Page) else { return Ok(()) };
        self.count(&row, -1)?;
        (row.kind, row.hops) = (UrlKind::Sitemap, named.hops);
        self.count(&row, 1)?;
        self.tally("sitemaps", "discovered", 1);
        self.writer.save_kind(&row)?;
        if read_as_a_page(&row) {
            row.attempts = 0;
            row.turn += 1;
            self.shift(&mut row, UrlState::Queued, Timestamp::default(), None)?;
        } else if row.state == UrlState::InFlight {
            self.totals.held.lease(row);
        }
        Ok(())
    }

    /// A visit that read as a page what is a sitemap by now did not end it: it is queued again.
    pub(super) fn read_anew(&mut self, end: &mut VisitEnd, kind: UrlKind) {
        if end.lease().kind == kind || !matches!(end, VisitEnd::Ended { .. }) {
            return;
        }
        for record in end.records() {
            self.drop_files(record);
        }
        *end = VisitEnd::Released { lease: end.lease().clone() };
    }

    pub(super) fn count_sitemap(&mut self, state: UrlState, by: i64) {
        if state.ended() {
            self.tally("sitemaps", "ended", by);
        }
        if state == UrlState::Fetched {
            // A store from before this was counted knows of fewer than it has.
            self.totals.sitemaps = self.totals.sitemaps.saturating_add_signed(by);
            self.tally("sitemaps", "fetched", by);
        }
    }
}

fn read_as_a_page(row: &UrlRow) -> bool {
    let download = row.detail.as_deref() == Some(SkipReason::Download.as_str());
    row.state == UrlState::Fetched || (row.state == UrlState::Skipped && download)
}
