//! The oracle: reads a crawl's outputs as plain JSON, and compares them with themselves and with the site.
//!
//! Shares no code with the store or the output types: a mistake there must not hide itself here.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::site::Site;
use crate::site::truth::{self, Ending};

/// The outputs of one crawl.
#[derive(Debug)]
pub struct Crawl {
    base: String,
    out: PathBuf,
    /// URL records in file order.
    pub urls: Vec<Value>,
    /// Page records in file order, superseded ones included.
    pub pages: Vec<Value>,
}

impl Crawl {
    /// Reads every output file of a session.
    #[track_caller]
    pub fn read(out: &Path, base: &str) -> Self {
        Crawl { base: base.to_owned(), out: out.to_owned(), urls: records(out, "urls-"), pages: records(out, "pages-") }
    }

    /// The record that counts for each URL number: the last one.
    pub fn latest(&self) -> BTreeMap<u64, &Value> {
        self.pages.iter().map(|page| (number(page, "n"), page)).collect()
    }

    /// The record of a path of the site.
    pub fn page(&self, path: &str) -> Option<&Value> {
        let url = format!("{}{path}", self.base);
        self.latest().into_values().find(|page| page["url"] == url.as_str())
    }

    /// What must hold in every crawl, finished or not, whatever was crawled.
    #[track_caller]
    pub fn check_consistent(&self) {
        let mut faults = Vec::new();
        self.url_faults(&mut faults);
        self.page_faults(&mut faults);
        report("the outputs contradict themselves", &faults);
    }

    fn url_faults(&self, faults: &mut Vec<String>) {
        let mut seen = BTreeSet::new();
        let mut last_seq = 0;
        for (index, record) in self.urls.iter().enumerate() {
            let n = number(record, "n");
            if n != index as u64 + 1 {
                faults.push(format!("URL record {} has n = {n}: lost or out of order", index + 1));
            }
            if !seen.insert(text(record, "url")) {
                faults.push(format!("discovered twice: {}", record["url"]));
            }
            let seq = number(record, "commit_seq");
            if seq < last_seq {
                faults.push(format!("URL {n} went back from commit {last_seq} to {seq}"));
            }
            last_seq = seq;
            if let Some(via) = record["via"].as_u64() {
                match self.urls.get(via as usize - 1).filter(|_| via < n) {
                    None => faults.push(format!("URL {n} was found on {via}, which came later or never")),
                    Some(parent) if number(record, "depth") > number(parent, "depth") + 1 => {
                        faults.push(format!("URL {n} is deeper than one link below its parent {via}"));
                    }
                    Some(_) => {}
                }
            }
        }
    }

    fn page_faults(&self, faults: &mut Vec<String>) {
        let mut children: BTreeMap<u64, u64> = BTreeMap::new();
        for via in self.urls.iter().filter_map(|record| record["via"].as_u64()) {
            *children.entry(via).or_default() += 1;
        }
        let mut earlier: BTreeMap<u64, &Value> = BTreeMap::new();
        let mut last_seq = 0;
        for page in &self.pages {
            let (n, seq) = (number(page, "n"), number(page, "commit_seq"));
            if seq < last_seq {
                faults.push(format!("page {n} went back from commit {last_seq} to {seq}"));
            }
            last_seq = seq;
            match self.urls.get((n as usize).wrapping_sub(1)) {
                None => faults.push(format!("page {n} has no URL record")),
                Some(url) => {
                    for field in ["url", "via", "depth"] {
                        if url[field] != page[field] {
                            faults.push(format!("page {n}: {field} is {}, discovered as {}", page[field], url[field]));
                        }
                    }
                    if number(url, "commit_seq") > seq {
                        faults.push(format!("page {n} ended before it was discovered"));
                    }
                }
            }
            match (earlier.insert(n, page), page["supersedes"].as_u64()) {
                (Some(before), Some(named)) if number(before, "commit_seq") == named => {}
                (Some(_), _) => faults.push(format!("written twice: {}", page["url"])),
                (None, Some(named)) => faults.push(format!("page {n} supersedes commit {named}, which has no record")),
                (None, None) => {}
            }
            if let Some(fault) = shape_fault(page) {
                faults.push(format!("page {n}: {fault}"));
            }
        }
        for (n, page) in earlier {
            let (said, found) = (number(page, "links_added"), children.get(&n).copied().unwrap_or(0));
            // A page that was fetched again (supersedes) may have had links counted by its first record.
            if page["outcome"] == "fetched" && said != found && page["supersedes"].is_null() {
                faults.push(format!("page {n} says it added {said} URLs; {found} URL records name it"));
            }
        }
    }

    /// In a finished crawl every file that a record names is there and is the one, and there is no other.
    #[track_caller]
    pub fn check_files(&self) {
        let mut found = BTreeSet::new();
        let mut folders = vec![self.out.join("files")];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).into_iter().flatten() {
                let path = entry.expect("directory entry").path();
                match path.is_dir() {
                    true => folders.push(path),
                    false => drop(found.insert(path)),
                }
            }
        }
        let mut faults = Vec::new();
        for file in self.pages.iter().flat_map(|page| page["files"].as_array().into_iter().flatten()) {
            let path = self.out.join(text(file, "name"));
            let body = fs::read(&path).unwrap_or_default();
            let digest: String = Sha256::digest(&body).iter().map(|byte| format!("{byte:02x}")).collect();
            if !found.remove(&path) || body.len() as u64 != number(file, "bytes") || digest != text(file, "sha256") {
                faults.push(format!("not there, named twice or another: {file}"));
            }
        }
        faults.extend(found.iter().map(|path| format!("named by no record: {}", path.display())));
        report("the files differ from the records", &faults);
    }

    /// The finished crawl of a whole site, from its first page: nothing lost, nothing twice, each ending right.
    #[track_caller]
    pub fn check_against(&self, site: &Site, scripted: bool) {
        let mut expected = truth::endings(site.config(), scripted);
        let mut faults = Vec::new();
        for page in self.latest().into_values() {
            let url = text(page, "url");
            let Some(path) = url.strip_prefix(&self.base) else {
                faults.push(format!("outside the site: {url}"));
                continue;
            };
            let Some(ending) = expected.remove(path) else {
                faults.push(format!("not to be crawled, or recorded before: {path}"));
                continue;
            };
            if let Some(fault) = ending_fault(page, &ending) {
                faults.push(format!("{path}: {fault}"));
            }
            if let Some(title) = truth::title(path).filter(|title| page["title"] != title.as_str()) {
                faults.push(format!("{path} has the title {} instead of {title}", page["title"]));
            }
        }
        faults.extend(expected.keys().map(|path| format!("lost: {path}")));
        let (found, ended) = (self.urls.len(), self.latest().len());
        if found != ended {
            faults.push(format!("{found} URLs discovered, {ended} ended"));
        }
        report("the outputs differ from the site", &faults);
    }

    /// Counters shown somewhere must be those that follow from the outputs.
    #[track_caller]
    pub fn check_counters(&self, place: &str, shown: &Value) {
        let latest = self.latest();
        let count = |kind: &str| latest.values().filter(|page| page["outcome"] == kind).count() as u64;
        let parked = self.urls.iter().filter(|url| url["parked"].is_string()).count() as u64;
        let rows = [
            ("discovered", self.urls.len() as u64),
            ("queued", (self.urls.len() - latest.len()) as u64 - parked),
            ("in_flight", 0),
            ("parked", parked),
            ("fetched", count("fetched")),
            ("failed", count("failed")),
            ("skipped", count("skipped")),
        ];
        let faults: Vec<String> = rows
            .iter()
            .filter(|(name, derived)| shown[*name].as_u64() != Some(*derived))
            .map(|(name, derived)| format!("{name}: shown {}, derived {derived}", shown[*name]))
            .collect();
        report(&format!("the counters of {place} differ from the outputs"), &faults);
    }
}

/// Requests beyond the first for each page of the plain part of the site.
pub fn refetches(site: &Site) -> u64 {
    let plain = |path: &str| path == "/" || path.starts_with("/light/") || path.starts_with("/keeper/");
    site.hits().iter().filter(|(path, _)| plain(path)).map(|(_, hits)| u64::from(*hits) - 1).sum()
}

fn shape_fault(page: &Value) -> Option<String> {
    let (outcome, class, reason) = (&page["outcome"], &page["failure_class"], &page["skip_reason"]);
    let right = match outcome.as_str() {
        Some("fetched") => class.is_null() && reason.is_null() && page["http_status"].is_u64(),
        Some("failed") => class.is_string() && reason.is_null(),
        Some("skipped") => class.is_null() && reason.is_string(),
        _ => false,
    };
    (!right).then(|| format!("outcome {outcome} with class {class}, reason {reason}, status {}", page["http_status"]))
}

fn ending_fault(page: &Value, ending: &Ending) -> Option<String> {
    let right = match ending {
        Ending::Fetched(status) => page["outcome"] == "fetched" && page["http_status"] == *status,
        Ending::Failed(class) => page["outcome"] == "failed" && page["failure_class"] == *class,
        Ending::Skipped(reason) => page["outcome"] == "skipped" && page["skip_reason"] == *reason,
    };
    (!right).then(|| {
        format!(
            "ended as {} (status {}, class {}, reason {}, error {}) instead of {ending:?}",
            page["outcome"], page["http_status"], page["failure_class"], page["skip_reason"], page["error"]
        )
    })
}

/// Every record of the files whose name starts with `prefix`, in the order of their numbers.
#[track_caller]
fn records(out: &Path, prefix: &str) -> Vec<Value> {
    let entries = fs::read_dir(out).unwrap_or_else(|e| panic!("{}: {e}", out.display()));
    let mut names: Vec<String> = entries
        .map(|entry| entry.expect("directory entry").file_name().to_string_lossy().into_owned())
        .filter(|name| name.starts_with(prefix) && (name.ends_with(".jsonl") || name.ends_with(".jsonl.gz")))
        .collect();
    names.sort();
    // A segment that was being compressed when the process died may be there in both forms.
    names.dedup_by(|later, earlier| later.strip_suffix(".gz") == Some(earlier.as_str()));
    let mut all = Vec::new();
    for name in names {
        let mut bytes = fs::read(out.join(&name)).unwrap_or_else(|e| panic!("{name}: {e}"));
        if name.ends_with(".gz") {
            let mut plain = Vec::new();
            flate2::read::MultiGzDecoder::new(&bytes[..])
                .read_to_end(&mut plain)
                .unwrap_or_else(|e| panic!("{name} does not unpack: {e}"));
            bytes = plain;
        }
        let body = String::from_utf8(bytes).unwrap_or_else(|e| panic!("{name} is no UTF-8: {e}"));
        assert!(body.is_empty() || body.ends_with('\n'), "{name} ends in a torn line");
        all.extend(body.lines().enumerate().map(|(index, line)| {
            serde_json::from_str::<Value>(line).unwrap_or_else(|e| panic!("{name}:{}: {e}: {line}", index + 1))
        }));
    }
    all
}

fn number(record: &Value, field: &str) -> u64 {
    record[field].as_u64().unwrap_or_else(|| panic!("{field} is missing in {record}"))
}

fn text<'a>(record: &'a Value, field: &str) -> &'a str {
    record[field].as_str().unwrap_or_else(|| panic!("{field} is missing in {record}"))
}

#[track_caller]
fn report(what: &str, faults: &[String]) {
    let shown: Vec<&str> = faults.iter().take(20).map(String::as_str).collect();
    assert!(faults.is_empty(), "{what} in {} places:\n  {}", faults.len(), shown.join("\n  "));
}
