//! Links of RSS and Atom feeds and of other XML that names addresses in `<link>`.

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

use super::entities::{Entities, Place};
use super::links::RawLinks;

/// Longest `<link>` text that is looked at.
const MAX_LINK_BYTES: usize = 16 << 10;

/// Takes the addresses out of `<link>…</link>` (RSS) and `<link href="…"/>` (Atom). Broken XML gives
/// what came before the fault; entities of a document type are not expanded.
pub(super) fn feed_links(xml: &str, links: &mut RawLinks) {
    let mut reader = Reader::from_str(xml);
    reader.config_mut().check_end_names = false;
    let mut entities = Entities::default();
    let mut inside: Option<String> = None;
    loop {
        match reader.read_event() {
            Ok(Event::Start(tag)) if is_link(&tag) => {
                atom_link(&tag, &mut entities, links);
                inside = Some(String::new());
            }
            Ok(Event::Empty(tag)) if is_link(&tag) => atom_link(&tag, &mut entities, links),
            Ok(Event::Text(text)) => append(&mut inside, &text),
            Ok(Event::CData(text)) => append(&mut inside, &text),
            Ok(Event::GeneralRef(name)) => {
                append(&mut inside, "&");
                append(&mut inside, &name);
                append(&mut inside, ";");
            }
            Ok(Event::Start(_) | Event::End(_)) => {
                if let Some(text) = inside.take() {
                    links.push(&entities.decode(&text, Place::Text));
                }
            }
            Ok(Event::Eof) | Err(_) => break,
            Ok(_) => {}
        }
    }
}

fn is_link(tag: &BytesStart<'_>) -> bool {
    tag.local_name().as_ref() == "link"
}

fn atom_link(tag: &BytesStart<'_>, entities: &mut Entities, links: &mut RawLinks) {
    let href = tag.attributes().with_checks(false).flatten().find(|a| a.key.as_ref() == "href");
    if let Some(href) = href {
        links.push(&entities.decode(&href.value, Place::Attribute));
    }
}

fn append(inside: &mut Option<String>, more: &str) {
    if let Some(text) = inside
        && text.len() + more.len() <= MAX_LINK_BYTES
    {
        text.push_str(more);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(xml: &str, expected: &[&str]) {
        let mut links = RawLinks::new(100);
        feed_links(xml, &mut links);
        let base = url::Url::parse("http://h/").unwrap();
        let found: Vec<String> = links.resolve(&base).into_iter().map(|l| l.href).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn takes_links_of_feeds() {
        check(
            "<rss><channel><link>http://h/a?x=1&amp;y=2</link><item><link> http://h/b </link></item></channel></rss>",
            &["http://h/a?x=1&y=2", "http://h/b"],
        );
        check("<rss><item><link><![CDATA[http://h/c?a&b]]></link></item></rss>", &["http://h/c?a&b"]);
        check(
            "<feed><entry><link rel='self' href='/d?a=1&amp;b=2'/><atom:link href=\"/e\"></atom:link></entry></feed>",
            &["http://h/d?a=1&b=2", "http://h/e"],
        );
        check("<rss><link>http://h/a</link><item><unclosed <<<", &["http://h/a"]);
        check("<!DOCTYPE x [<!ENTITY a 'http://evil/'>]><rss><link>&a;</link></rss>", &["http://h/&a;"]);
        check("", &[]);
    }
}
