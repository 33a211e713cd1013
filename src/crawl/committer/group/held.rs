//! What the committer remembers of leases, so that an ordinary end asks the store for nothing but its row.

use crate::model::ids::UrlNo;
use crate::model::lease::Lease;
use crate::model::quick::QuickMap;
use crate::store::StoreError;
use crate::store::rows::{SuspectRow, UrlRow};
use crate::store::schema::UrlState;
use crate::store::writer::Writer;

use super::{Group, Result};

/// The rows of this lifetime's leases, as the store has them too: what is not here is read. Forgotten with a
/// group that failed.
#[derive(Debug, Default)]
pub(super) struct Held(QuickMap<UrlNo, UrlRow>);

impl Held {
    /// A row was leased.
    pub(super) fn lease(&mut self, row: UrlRow) {
        self.0.insert(row.n, row);
    }
}

/// Tables that hold hardly a row in an ordinary crawl: `false` says that there is none.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rare {
    suspects: bool,
    partial: bool,
}

/// Nothing is known.
impl Default for Rare {
    fn default() -> Self {
        Rare { suspects: true, partial: true }
    }
}

impl Rare {
    pub(super) fn read(writer: &Writer) -> std::result::Result<Self, StoreError> {
        Ok(Rare { suspects: writer.any_suspect()?, partial: writer.any_partial()? })
    }
}

impl Group<'_> {
    /// The row of a lease that is still held by this lifetime.
    pub(super) fn held(&mut self, lease: &Lease) -> Result<Option<UrlRow>> {
        if lease.epoch != self.epoch {
            return Ok(None);
        }
        let row = match self.totals.held.0.remove(&lease.no) {
            Some(row) => Some(row),
            None => self.writer.url(lease.no)?,
        };
        Ok(row.filter(|row| row.state == UrlState::InFlight && row.attempts + 1 == lease.attempt))
    }

    pub(super) fn suspect(&self, n: UrlNo) -> Result<SuspectRow> {
        Ok(self.writer.suspect(n)?.unwrap_or_default())
    }

    pub(super) fn save_suspect(&mut self, n: UrlNo, marks: SuspectRow) -> Result<()> {
        self.totals.rare.suspects = true;
        Ok(self.writer.save_suspect(n, marks)?)
    }

    pub(super) fn clear_suspect(&self, n: UrlNo) -> Result<()> {
        if self.totals.rare.suspects {
            self.writer.clear_suspect(n)?;
        }
        Ok(())
    }

    /// Counts URL records of a visit that goes on.
    pub(super) fn add_partial(&mut self, n: UrlNo, added: u64) -> Result<()> {
        self.totals.rare.partial = true;
        Ok(self.writer.add_partial(n, added)?)
    }

    /// Takes the count of URL records that earlier commits wrote for a visit.
    pub(super) fn take_partial(&self, n: UrlNo) -> Result<u64> {
        if self.totals.rare.partial { Ok(self.writer.take_partial(n)?) } else { Ok(0) }
    }
}
