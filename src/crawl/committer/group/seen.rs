//! What is known already and what is new: the seen-set, hosts, trap budgets.

use crate::crawl::committer::engine::Failure;
use crate::model::ids::{HostNo, UrlNo};
use crate::model::lease::{Links, NewUrl, UrlKind};
use crate::model::outcome::ParkReason;
use crate::model::record::UrlRecord;
use crate::model::time::Timestamp;
use crate::model::url::UrlKey;
use crate::policy::traps::{BudgetCounts, budget};
use crate::store::rows::{HostRow, TemplateRow, UrlRow};
use crate::store::schema::UrlState;

use super::{Group, Result, line};

impl Group<'_> {
    /// Inserts what is new among the links; answers how many URL records that made.
    pub(super) fn add_links(&mut self, links: &Links, via: UrlNo) -> Result<u64> {
        self.totals.counters.links_seen += links.seen;
        self.totals.counters.out_of_scope += links.out_of_scope;
        let mut added = 0;
        for url in &links.accepted {
            added += u64::from(self.add(url, Some(via))?.1);
        }
        Ok(added)
    }

    /// The URL's number, and whether it is new.
    pub(super) fn add(&mut self, new: &NewUrl, via: Option<UrlNo>) -> Result<(UrlNo, bool)> {
        let host = self.host(new.url.host_key())?;
        if let Some(n) = self.look(host, &new.key)? {
            if new.kind == UrlKind::Sitemap {
                self.known_sitemap(n, new)?;
            }
            return Ok((n, false));
        }
        let park = match new.park {
            Some(reason) => Some(reason),
            None => self.judge(host, new)?,
        };
        let n = self.totals.next;
        let kind = (new.kind != UrlKind::Page).then_some(new.kind);
        let url = new.url.as_str().to_owned();
        let (depth, hops) = (new.depth, new.hops);
        let record = UrlRecord { n, url, via, depth, hops, kind, parked: park, commit_seq: self.seq };
        line(&mut self.totals.url_lines, &record)?;
        let state = if park.is_some() { UrlState::Parked } else { UrlState::Queued };
        let row = UrlRow {
            n,
            host,
            path: new.url.path().to_owned(),
            state,
            kind: new.kind,
            depth,
            hops,
            via,
            turn: 0,
            attempts: 0,
            not_before: Timestamp::default(),
            seq: 0,
            detail: park.map(|reason| reason.as_str().to_owned()),
        };
        self.writer.add_url(&row, &new.key)?;
        self.totals.foreseen.add(host, new.key, n);
        self.totals.next += 1;
        self.totals.counters.discovered += 1;
        self.changed(host)?.discovered += 1;
        if new.kind == UrlKind::Sitemap {
            self.tally("sitemaps", "discovered", 1);
        }
        self.count(&row, 1)?;
        Ok((n, true))
    }

    /// Number of the URL with this key.
    pub(super) fn look(&self, host: HostNo, key: &UrlKey) -> Result<Option<UrlNo>> {
        match self.totals.foreseen.get(host, *key) {
            Some(answer) => Ok(answer),
            None => Ok(self.writer.seen(host, key)?),
        }
    }

    /// Whether a truly new URL has to be parked; counts it under its template when not.
    fn judge(&mut self, host: HostNo, new: &NewUrl) -> Result<Option<ParkReason>> {
        let row = self.changed(host)?;
        let mut counts =
            BudgetCounts { host_urls: row.discovered.saturating_sub(row.parked), ..BudgetCounts::default() };
        let Some(template) = new.template else { return Ok(budget(&counts, self.scope)) };
        let mut known = self.template(host, template)?;
        counts.template_urls = known.urls;
        let new_query = match new.query {
            Some(query) => !self.writer.has_query(known.id, query)?,
            None => false,
        };
        if new.query.is_some() {
            counts.template_queries = known.queries - u64::from(!new_query && known.queries > 0);
        }
        let park = budget(&counts, self.scope);
        if park.is_none() {
            known.urls += 1;
            if let (true, Some(query)) = (new_query, new.query) {
                known.queries += 1;
                self.writer.add_query(known.id, query)?;
            }
            self.totals.templates.insert((host, template), known);
            self.totals.changed_templates.insert((host, template));
        }
        Ok(park)
    }

    fn template(&mut self, host: HostNo, hash: u64) -> Result<TemplateRow> {
        if let Some(known) = self.totals.templates.get(&(host, hash)) {
            return Ok(*known);
        }
        let row = match self.writer.template(host, hash)? {
            Some(row) => row,
            None => self.writer.add_template(host, hash)?,
        };
        self.totals.templates.insert((host, hash), row);
        Ok(row)
    }

    /// The number of a host, which is added when it is not known.
    pub(super) fn host(&mut self, key: &str) -> Result<HostNo> {
        match self.known_host(key)? {
            Some(no) => Ok(no),
            None => {
                let row = self.writer.add_host(key)?;
                Ok(self.remember_host(row))
            }
        }
    }

    /// The number of a host, if it is known.
    pub(super) fn known_host(&mut self, key: &str) -> Result<Option<HostNo>> {
        if let Some(no) = self.totals.host_numbers.get(key) {
            return Ok(Some(*no));
        }
        Ok(self.writer.host_by_key(key)?.map(|row| self.remember_host(row)))
    }

    fn remember_host(&mut self, row: HostRow) -> HostNo {
        let no = row.no;
        self.totals.host_numbers.insert(row.key.clone(), no);
        self.totals.hosts.entry(no).or_insert(row);
        no
    }

    pub(super) fn known(&mut self, no: HostNo) -> Result<&mut HostRow> {
        if !self.totals.hosts.contains_key(&no) {
            let row = self.writer.host_by_no(no)?;
            let row = row.ok_or_else(|| Failure::Bug(format!("there is no host {no}")))?;
            self.totals.hosts.insert(no, row);
        }
        Ok(self.totals.hosts.get_mut(&no).expect("inserted above"))
    }

    /// A host whose counts are about to change.
    pub(super) fn changed(&mut self, no: HostNo) -> Result<&mut HostRow> {
        self.totals.changed_hosts.insert(no);
        self.known(no)
    }
}
