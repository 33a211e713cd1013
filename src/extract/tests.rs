//! Whole documents through the extractor, in pieces of every size.

use super::*;
use crate::model::task::FieldSpec;

fn extract_in(spec: &ExtractSpec, kind: BodyKind, content_type: &str, body: &[u8], step: usize) -> Extracted {
    let address = CanonicalUrl::parse("http://h/d/p.html").unwrap();
    let mut extractor = Extractor::new(spec, &address, kind, Some(content_type));
    body.chunks(step).for_each(|piece| extractor.feed(piece));
    extractor.finish()
}

fn extract(html: &str) -> Extracted {
    let spec = ExtractSpec::default();
    let whole = extract_in(&spec, BodyKind::Html, "text/html; charset=utf-8", html.as_bytes(), usize::MAX);
    for step in [1, 2, 5, 64] {
        let pieces = extract_in(&spec, BodyKind::Html, "text/html; charset=utf-8", html.as_bytes(), step);
        assert_eq!(pieces, whole, "pieces of {step}: {html}");
    }
    whole
}

#[track_caller]
fn check_text(html: &str, expected: &str) {
    assert_eq!(extract(html).text.as_deref(), Some(expected), "{html}");
}

#[track_caller]
fn check_title(html: &str, expected: Option<&str>) {
    assert_eq!(extract(html).title.as_deref(), expected, "{html}");
}

#[track_caller]
fn check_links(html: &str, expected: &[&str]) {
    let links: Vec<String> = extract(html).links.into_iter().map(|link| link.href).collect();
    assert_eq!(links, expected, "{html}");
}

#[test]
fn visible_text() {
    check_text("<p>a<p>b", "a b");
    check_text("<b>a</b>b <i> c</i>", "ab c");
    check_text("<div>a</div>b<br>c<td>d", "a b c d");
    check_text("a<script>no</script>b<style>no</style><noscript>no</noscript>", "ab");
    check_text("a<template>no<b>no</b></template>b", "ab");
    check_text("<head><title>no</title></head><body>yes</body>", "yes");
    check_text("x &lt;b&gt; &amp;amp; &eacute;&#8364;&nbsp;y", "x <b> &amp; é€ y");
    check_text("a<!-- no -->b<![CDATA[no]]>c", "abc");
    check_text("<svg><title>no</title><style>no</style><text>yes</text></svg>", "yes");
    check_text("<textarea>no</textarea>a<iframe>no</iframe>b", "a b");
    check_text("", "");
    check_text("AT&T &am", "AT&T &am");
}

#[test]
fn titles() {
    check_title("<title> A &amp;\n B </title>", Some("A & B"));
    check_title("<title>A</title><title>B</title>", Some("A"));
    check_title("<title></title>", None);
    check_title("<svg><title>no</title></svg><title>yes</title>", Some("yes"));
    check_title("<p>x", None);
    check_title("<title>A <b>bold</b>", Some("A <b>bold</b>"));
    let long = format!("<title>{}</title>", "é".repeat(5000));
    assert_eq!(
        extract_in(&ExtractSpec::default(), BodyKind::Html, "text/html", long.as_bytes(), 999)
            .title
            .unwrap()
            .chars()
            .count(),
        MAX_TITLE_CHARS
    );
}

#[test]
fn links_of_every_kind() {
    check_links(
        "<a href=a>x</a><area href=b><iframe src=c></iframe><frame src=e>",
        &["http://h/d/a", "http://h/d/b", "http://h/d/c", "http://h/d/e"],
    );
    check_links(
        "<link rel=canonical href=a><link rel='Next' href=b><link rel=prev href=c>",
        &["http://h/d/a", "http://h/d/b", "http://h/d/c"],
    );
    check_links(
        "<link rel=alternate href=a><link rel='alternate stylesheet' href=b><link rel=stylesheet href=c><link href=e>",
        &["http://h/d/a"],
    );
    check_links("<meta http-equiv=Refresh content='0; url=/r'>", &["http://h/r"]);
    check_links("<a href='?a=1&amp;b=2&copy=3'>x</a><a href>y</a><a>z</a>", &["http://h/d/p.html?a=1&b=2&copy=3"]);
    check_links(
        "<a href=a>x</a><base href='http://o/e/'><base href='http://no/'><a href=b>",
        &["http://o/e/a", "http://o/e/b"],
    );
    check_links("<template><a href=no>x</a></template><!-- <a href=no> --><script>'<a href=no>'</script>", &[]);
    check_links("<A HREF=\"up\">x</A><a href='  sp ace\n'>y</a>", &["http://h/d/up", "http://h/d/sp%20ace"]);
}

#[test]
fn robots_directives() {
    assert!(extract("<meta name='ROBOTS' content='noindex,nofollow'>").nofollow);
    assert!(extract("<meta name=crawld content=none>").nofollow);
    assert!(!extract("<meta name=googlebot content=nofollow><meta name=robots>").nofollow);
}

#[test]
fn fields_come_from_the_decoded_document() {
    let fields = [("price".to_owned(), FieldSpec::Selector("p.price".to_owned()))].into();
    let spec = ExtractSpec { fields, text: false, ..ExtractSpec::default() };
    let found = extract_in(&spec, BodyKind::Html, "text/html; charset=windows-1252", b"<p class=price>5 \x80</p>", 3);
    assert_eq!(found.fields["price"], ["5 €"]);
    assert_eq!(found.text, None);
}

#[test]
fn limits_cut_and_say_so() {
    let spec = ExtractSpec { text_max_bytes: 10, max_links: 2, ..ExtractSpec::default() };
    let html = "<a href=1>aaaa</a> <a href=2>bbbb</a> <a href=3>cccc</a>";
    let found = extract_in(&spec, BodyKind::Html, "text/html", html.as_bytes(), 7);
    assert_eq!((found.text.as_deref(), found.links.len(), found.truncated), (Some("aaaa bbbb"), 2, true));
    let found = extract_in(&spec, BodyKind::Text, "text/plain", b"0123456789abc", 4);
    assert_eq!((found.text.as_deref(), found.truncated), (Some("0123456789"), true));
}

/// Feeds `piece` until 32 MiB have gone by; what is found must stay small.
#[track_caller]
fn check_hostile(name: &str, head: &str, piece: &str, tail: &str) {
    let fields = [("f".to_owned(), FieldSpec::Selector("p".to_owned()))].into();
    let spec = ExtractSpec { fields, ..ExtractSpec::default() };
    let address = CanonicalUrl::parse("http://h/").unwrap();
    let mut extractor = Extractor::new(&spec, &address, BodyKind::Html, None);
    let block = piece.repeat((64 << 10) / piece.len() + 1);
    extractor.feed(head.as_bytes());
    for _ in 0..(8 << 20) / block.len() {
        extractor.feed(block.as_bytes());
    }
    extractor.feed(tail.as_bytes());
    let found = extractor.finish();
    let kept = found.text.map_or(0, |t| t.len()) + found.links.iter().map(|l| l.href.len()).sum::<usize>();
    assert!(kept <= (1 << 20) + (8 << 20) && found.links.len() <= 5000, "{name}: {kept} bytes");
    assert!(found.truncated, "{name}");
}

#[test]
fn hostile_documents_stay_small() {
    check_hostile("deep nesting", "", "<div><b>", "");
    check_hostile("one attribute", "<p title='", "x", "'>");
    check_hostile("one title", "<title>", "x", "</title>");
    check_hostile("one comment", "<!--", "x", "-->");
    check_hostile("links without end", "", "<a href=/a>x</a><a href='/", "'>");
    check_hostile("references without end", "", "&alefsym;&x;", "");
    check_hostile("attributes without end", "<p ", "a b=1 ", ">");
    check_hostile("stray end tags", "", "<i><a></b></c>", "");
}

#[test]
fn media_types_choose_how_a_body_is_read() {
    for (media_type, expected) in [
        ("text/html", BodyKind::Html),
        ("application/xhtml+xml", BodyKind::Html),
        ("text/plain", BodyKind::Text),
        ("text/xml", BodyKind::Feed),
        ("application/atom+xml", BodyKind::Feed),
        ("application/json", BodyKind::Opaque),
        ("application/ld+json", BodyKind::Opaque),
        ("text/css", BodyKind::Opaque),
        ("image/png", BodyKind::Download),
        ("image/svg+xml", BodyKind::Html),
        ("text/calendar", BodyKind::Download),
        ("application/pdf", BodyKind::Download),
        ("application/octet-stream", BodyKind::Download),
        ("x/y", BodyKind::Download),
    ] {
        assert_eq!(BodyKind::of(media_type), expected, "{media_type}");
    }
    assert_eq!(BodyKind::sniff(b"\xef\xbb\xbf \n<!doctype html>"), BodyKind::Html);
    assert_eq!(BodyKind::sniff(b"<?xml version='1.0'?>"), BodyKind::Feed);
    assert_eq!(BodyKind::sniff(b"hello"), BodyKind::Text);
    assert_eq!(BodyKind::sniff(b"\0\x01"), BodyKind::Opaque);
    assert_eq!(BodyKind::sniff(b""), BodyKind::Text);
}
