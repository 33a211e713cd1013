//! Sitemaps as sites write them, and as they arrive.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;

use super::*;

fn read_capped(body: &[u8], caps: &SitemapCaps) -> (Vec<String>, Result<SitemapSummary, SitemapError>) {
    let mut found = Vec::new();
    let result = read_sitemap(body, caps, &mut |batch| {
        assert!(!batch.is_empty() && batch.len() <= caps.batch);
        found.extend(batch.into_iter().map(|entry| format!("{} {}", entry.kind, entry.url)));
        Ok(())
    });
    (found, result)
}

#[track_caller]
fn check(name: &str, body: &[u8], want: &[&str], end: SitemapEnd) {
    let (found, result) = read_capped(body, &SitemapCaps::default());
    let summary = result.unwrap_or_else(|e| panic!("{name}: {e}"));
    assert_eq!(found, want, "{name}");
    assert_eq!(summary.end, end, "{name}: {summary:?}");
    assert_eq!(summary.pages + summary.sitemaps, want.len() as u64, "{name}");
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

const NS: &str = "xmlns=\"http://www.sitemaps.org/schemas/sitemap/0.9\"";

#[test]
fn sitemaps_are_read_as_sites_write_them() {
    use SitemapEnd::Complete;
    let urlset = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<urlset {NS}>\n<url><loc>http://h.example/a</loc><lastmod>2026-01-01</lastmod></url>\n\
         <url>\n <priority>1</priority><loc>\n  http://h.example/b?x=1&amp;y=2#f </loc></url></urlset>\n"
    );
    let pages = &["page http://h.example/a", "page http://h.example/b?x=1&y=2"][..];
    check("urlset", urlset.as_bytes(), pages, Complete);
    check("gzip", &gzip(urlset.as_bytes()), pages, Complete);
    let (first, second) = urlset.as_bytes().split_at(100);
    check("gzip in two members", &[gzip(first), gzip(second)].concat(), pages, Complete);
    check("BOM", format!("\u{feff}{urlset}").as_bytes(), pages, Complete);
    check("white space first", format!("\n\n  {urlset}").trim_end().as_bytes(), pages, Complete);
    let utf16: Vec<u8> = std::iter::once(0xFEFF).chain(urlset.encode_utf16()).flat_map(u16::to_le_bytes).collect();
    check("UTF-16", &utf16, pages, Complete);
    check(
        "index",
        b"<sitemapindex><sitemap><loc>http://h.example/1.xml</loc></sitemap><sitemap><loc>http://h.example/2.xml.gz</loc></sitemap></sitemapindex>",
        &["sitemap http://h.example/1.xml", "sitemap http://h.example/2.xml.gz"],
        Complete,
    );
    for (name, body, want) in [
        (
            "prefixes",
            "<s:urlset><s:url><s:loc>http://h.example/a</s:loc></s:url></s:urlset>",
            &["page http://h.example/a"][..],
        ),
        (
            "images are no pages",
            "<urlset><url><loc>http://h.example/a</loc><i:image><i:loc>http://h.example/i</i:loc></i:image></url></urlset>",
            &["page http://h.example/a"],
        ),
        (
            "CDATA",
            "<urlset><url><loc><![CDATA[http://h.example/?a&b]]></loc></url></urlset>",
            &["page http://h.example/?a&b"],
        ),
        (
            "character references",
            "<urlset><url><loc>http://h.example/&#x61;&#98;&apos;</loc></url></urlset>",
            &["page http://h.example/ab'"],
        ),
        (
            "a bare ampersand",
            "<urlset><url><loc>http://h.example/?a=1&b=2</loc></url></urlset>",
            &["page http://h.example/?a=1&b=2"],
        ),
        (
            "an entity of its own",
            "<urlset><url><loc>http://h.example/&x;</loc></url></urlset>",
            &["page http://h.example/&x;"],
        ),
        (
            "comments",
            "<!-- a --><urlset><!-- <url> --><url><loc>http://h.example/<!-- b -->a</loc></url></urlset>",
            &["page http://h.example/a"],
        ),
        ("loc elsewhere", "<urlset><loc>http://h.example/</loc><x><loc>http://h.example/</loc></x></urlset>", &[]),
        (
            "unusable links",
            "<urlset><url><loc>/relative</loc></url><url><loc>ftp://h/</loc></url><url><loc/></url></urlset>",
            &[],
        ),
        ("empty urlset", "<urlset/>", &[]),
        ("empty body", "", &[]),
        (
            "text list",
            "http://h.example/a\r\n\n  https://h.example/b  \nnonsense\nhttp://h.example/c",
            &["page http://h.example/a", "page https://h.example/b", "page http://h.example/c"],
        ),
        (
            "CR only",
            "http://h.example/a\rhttp://h.example/b\r",
            &["page http://h.example/a", "page http://h.example/b"],
        ),
    ] {
        check(name, body.as_bytes(), want, Complete);
        check(name, &gzip(body.as_bytes()), want, Complete);
    }
    check(
        "declared Latin-1",
        b"<?xml version='1.0' encoding='ISO-8859-1'?><urlset><url><loc>http://h.example/\xe9</loc></url></urlset>",
        &["page http://h.example/%C3%A9"],
        Complete,
    );
    check(
        "bytes that are no UTF-8",
        b"<urlset><url><t>\xff\xfe</t><loc>http://h.example/a</loc></url></urlset>",
        &["page http://h.example/a"],
        Complete,
    );
}

#[test]
fn damage_keeps_what_came_before() {
    use SitemapEnd::Broken;
    let good = "<urlset><url><loc>http://h.example/a</loc></url>";
    let want = &["page http://h.example/a"][..];
    for tail in ["", "<url><loc>http://h.example/b", "<url></loc>", "</wrong>", "<url <", "<!-- never closed"] {
        check(tail, format!("{good}{tail}").as_bytes(), want, Broken);
    }
    check("a tag without an end", format!("{good}<{}", "x".repeat(3 << 20)).as_bytes(), want, Broken);
    check("a text without an end", format!("{good}{}", " ".repeat(3 << 20)).as_bytes(), want, Broken);
    check("nested too deep", format!("{good}{}", "<x>".repeat(1000)).as_bytes(), want, Broken);
    let long = format!("http://h.example/a\n{}", "x".repeat(3 << 20));
    check("a line without an end", long.as_bytes(), want, Broken);
    let many: String = (0..20_000).map(|n| format!("http://h.example/{}\n", n * 7919)).collect();
    let cut = gzip(many.as_bytes());
    let (found, result) = read_capped(&cut[..cut.len() / 2], &SitemapCaps::default());
    assert_eq!(result.unwrap().end, Broken);
    assert!(found.len() > 5000, "{}", found.len());
    let mut flipped = gzip(many.as_bytes());
    let tail = flipped.len() - 6;
    flipped[tail] ^= 1;
    assert_eq!(read_capped(&flipped, &SitemapCaps::default()).1.unwrap().end, Broken, "a wrong checksum");
}

#[test]
fn other_documents_are_told_apart() {
    for (body, part) in [
        ("<!doctype html><html></html>", "document type"),
        ("<!DOCTYPE urlset [<!ENTITY a \"b\">]><urlset/>", "document type"),
        ("<html><body></body></html>", "<html>"),
        ("<rss/>", "<rss>"),
        ("no URL in here\n", "no line"),
    ] {
        match read_capped(body.as_bytes(), &SitemapCaps::default()).1 {
            Err(SitemapError::NotASitemap(why)) => assert!(why.contains(part), "{body}: {why}"),
            other => panic!("{body}: {other:?}"),
        }
    }
}

#[test]
fn caps_end_reading() {
    let list: String = (0..50).map(|n| format!("http://h.example/{n:04}\n")).collect();
    let line = list.len() as u64 / 50;
    let caps = SitemapCaps { max_entries: 10, batch: 4, ..SitemapCaps::default() };
    let (found, result) = read_capped(list.as_bytes(), &caps);
    assert_eq!((found.len(), result.unwrap().end), (10, SitemapEnd::TooManyEntries));

    for (max_bytes, entries, end) in [
        (line * 50, 50, SitemapEnd::Complete),
        (line * 50 - 1, 49, SitemapEnd::TooManyBytes),
        (line * 20 + 5, 20, SitemapEnd::TooManyBytes),
        (0, 0, SitemapEnd::TooManyBytes),
    ] {
        let caps = SitemapCaps { max_bytes, ..SitemapCaps::default() };
        for body in [list.clone().into_bytes(), gzip(list.as_bytes())] {
            let (found, result) = read_capped(&body, &caps);
            let summary = result.unwrap();
            assert_eq!((found.len(), summary.end), (entries, end), "{max_bytes}");
            assert!(summary.bytes <= max_bytes);
        }
    }
    let xml = "<urlset>".to_owned() + &"<url><loc>http://h.example/</loc></url>".repeat(100);
    let caps = SitemapCaps { max_bytes: 1000, ..SitemapCaps::default() };
    assert_eq!(read_capped(xml.as_bytes(), &caps).1.unwrap().end, SitemapEnd::TooManyBytes);
}

#[test]
fn a_gzip_bomb_stops_at_the_cap() {
    let bomb = gzip(&[&b"<urlset>"[..], &b"<url></url>".repeat(1 << 20)].concat());
    let caps = SitemapCaps { max_bytes: 1 << 20, ..SitemapCaps::default() };
    assert!(bomb.len() < 100_000);
    assert_eq!(read_capped(&bomb, &caps).1.unwrap().end, SitemapEnd::TooManyBytes);
}

#[test]
fn failures_of_either_side_are_told_apart() {
    struct Failing(usize);
    impl io::Read for Failing {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            if self.0 == 0 {
                return Err(io::ErrorKind::ConnectionReset.into());
            }
            self.0 -= 1;
            let line = b"http://h.example/\n";
            buf[..line.len()].copy_from_slice(line);
            Ok(line.len())
        }
    }
    for lines in [0, 1, 40, 2000] {
        let mut seen = 0;
        let reader = io::BufReader::new(Failing(lines));
        let result = read_sitemap(reader, &SitemapCaps::default(), &mut |batch| {
            seen += batch.len();
            Ok(())
        });
        assert!(matches!(result, Err(SitemapError::Read(e)) if e.kind() == io::ErrorKind::ConnectionReset), "{lines}");
        assert!(seen == lines || lines <= 40, "{seen} of {lines}");
    }
    let full = |_| Err(io::ErrorKind::StorageFull.into());
    let result = read_sitemap(&b"http://h.example/\n"[..], &SitemapCaps::default(), &mut { full });
    assert!(matches!(result, Err(SitemapError::Emit(_))), "{result:?}");
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_a_panic(body in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = read_capped(&body, &SitemapCaps::default());
    }

    #[test]
    fn any_markup_is_read_without_a_panic(parts in prop::collection::vec(
        prop::sample::select(vec!["<urlset>", "<url>", "<loc>", "</loc>", "</url>", "</urlset>", "http://h/", "&", "&amp;", "&#0;", "&x", ";", "<![CDATA[", "]]>", "<!--", "-->", "<", ">", "/>", "<?", "?>", "\u{e9}"]), 0..30)) {
        let _ = read_capped(parts.concat().as_bytes(), &SitemapCaps { batch: 2, ..SitemapCaps::default() });
    }

    #[test]
    fn small_pieces_read_like_one(sizes in 1_usize..7) {
        let body = "<urlset><url><loc>http://h.example/\u{e9}</loc></url><url><loc>http://h.example/b</loc></url></urlset>";
        let mut found = Vec::new();
        let reader = io::BufReader::with_capacity(sizes, body.as_bytes());
        read_sitemap(reader, &SitemapCaps::default(), &mut |batch| { found.extend(batch); Ok(()) }).unwrap();
        prop_assert_eq!(found.len(), 2);
    }
}
