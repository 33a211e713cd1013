//! The oracle sees what it is there to see: a made-up crawl passes, and each way to spoil it is found.

use std::collections::BTreeMap;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};

use serde_json::{Value, json};

use crate::site::{Config, Site, pages};
use crate::support::oracle::Crawl;

const PAGES: u32 = 30;

/// URL and page records of a faultless crawl, breadth first, one commit per page.
fn faultless(site: &Site) -> (Vec<Value>, Vec<Value>) {
    let mut urls = vec![json!({ "n": 1, "url": site.at("/"), "depth": 0, "commit_seq": 1 })];
    let mut known: BTreeMap<String, u64> = BTreeMap::from([(site.at("/"), 1)]);
    let mut records = Vec::new();
    let mut next = 0;
    while next < urls.len() {
        let from = urls[next].clone();
        let (n, seq) = (next as u64 + 1, next as u64 + 2);
        let number =
            from["url"].as_str().and_then(|url| url.rsplit_once("/light/")).map(|(_, n)| n.parse().expect("n"));
        let links: Vec<String> = match number {
            Some(number) => pages::links_of(PAGES, number).iter().map(|n| site.at(&format!("/light/{n}"))).collect(),
            None => vec![site.at("/light/1")],
        };
        let mut added = 0;
        for link in links {
            if !known.contains_key(&link) {
                let number = urls.len() as u64 + 1;
                known.insert(link.clone(), number);
                let depth = from["depth"].as_u64().expect("depth") + 1;
                urls.push(json!({ "n": number, "url": link, "via": n, "depth": depth, "commit_seq": seq }));
                added += 1;
            }
        }
        records.push(json!({
            "n": n, "url": from["url"], "outcome": "fetched", "failure_class": null, "skip_reason": null,
            "http_status": 200, "title": number.map(pages::title), "depth": from["depth"], "via": from["via"],
            "links_added": added, "supersedes": null, "commit_seq": seq,
        }));
        next += 1;
    }
    (urls, records)
}

fn read_back(site: &Site, urls: &[Value], records: &[Value]) -> Crawl {
    let out = tempfile::tempdir().expect("temporary directory");
    let lines = |records: &[Value]| records.iter().map(|record| format!("{record}\n")).collect::<String>();
    fs::write(out.path().join("urls-00001.jsonl"), lines(&urls[..5])).expect("write");
    fs::write(out.path().join("urls-00002.jsonl"), lines(&urls[5..])).expect("write");
    fs::write(out.path().join("pages-00001.jsonl"), lines(records)).expect("write");
    Crawl::read(out.path(), &site.url)
}

#[test]
fn a_faultless_crawl_passes() {
    let site = Site::start(Config::plain(PAGES)).expect("a free port");
    let (urls, records) = faultless(&site);
    let crawl = read_back(&site, &urls, &records);
    crawl.check_consistent();
    crawl.check_against(&site, false);
    let count = urls.len();
    let counters = json!({ "discovered": count, "queued": 0, "in_flight": 0, "parked": 0, "fetched": count, "failed": 0, "skipped": 0 });
    crawl.check_counters("the test", &counters);
}

#[test]
fn every_spoiled_crawl_is_found_out() {
    let site = Site::start(Config::plain(PAGES)).expect("a free port");
    let (urls, records) = faultless(&site);
    #[track_caller]
    fn check(site: &Site, name: &str, urls: &[Value], records: &[Value]) {
        let judged = catch_unwind(AssertUnwindSafe(|| {
            let crawl = read_back(site, urls, records);
            crawl.check_consistent();
            crawl.check_against(site, false);
        }));
        assert!(judged.is_err(), "not noticed: {name}");
    }
    let spoil = |name: &str, change: &dyn Fn(&mut Vec<Value>, &mut Vec<Value>)| {
        let (mut urls, mut records) = (urls.clone(), records.clone());
        change(&mut urls, &mut records);
        check(&site, name, &urls, &records);
    };
    spoil("a page is lost", &|_, records| drop(records.remove(7)));
    spoil("a page is there twice", &|_, records| records.push(records[7].clone()));
    spoil("a URL record is lost", &|urls, _| drop(urls.remove(7)));
    spoil("a URL record is there twice", &|urls, _| urls.insert(8, urls[7].clone()));
    spoil("a URL and its page are lost", &|urls, records| {
        urls.pop();
        records.pop();
    });
    spoil("a title belongs to another page", &|_, records| records[5]["title"] = records[6]["title"].clone());
    spoil("an ending is wrong", &|_, records| {
        records[5]["outcome"] = "skipped".into();
        records[5]["skip_reason"] = "robots".into();
    });
    spoil("a status is wrong", &|_, records| records[5]["http_status"] = 404.into());
    spoil("a record contradicts itself", &|_, records| records[5]["failure_class"] = "dns".into());
    spoil("a parent is wrong", &|_, records| records[9]["via"] = 9.into());
    spoil("a link count is wrong", &|_, records| records[2]["links_added"] = 77.into());
    spoil("commits run backwards", &|_, records| records.swap(3, 9));
    spoil("a page ended before it was found", &|urls, _| {
        urls.last_mut().expect("a record")["commit_seq"] = 9999.into();
    });
    spoil("a successor names nobody", &|_, records| records[4]["supersedes"] = 2.into());
}
