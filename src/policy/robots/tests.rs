//! Decisions by robots.txt: the project's own table.

use proptest::prelude::*;

use super::*;

#[track_caller]
fn check(name: &str, body: &[u8], agent: &str, rows: &[(&str, bool)]) {
    let robots = Robots::parse(body);
    for (path, allowed) in rows {
        let verdict = robots.allowed(agent, &format!("https://shop.example{path}"));
        assert_eq!(verdict.allowed, *allowed, "{name}: {agent} at {path}, by {:?}", verdict.rule);
    }
}

#[test]
fn groups_speak_to_their_agents() {
    let body = b"User-agent: crawld\nDisallow: /mine\n\nUser-agent: *\nDisallow: /all\n\n\
        User-agent: one\nUser-agent: two\nDisallow: /pair\n\nUser-agent: free\nDisallow:\n";
    check("own group only", body, "crawld", &[("/mine", false), ("/all", true), ("/pair", true)]);
    check("case of the token", body, "CrawlD", &[("/mine", false), ("/all", true)]);
    check("a header", body, "crawld/1.2 (+https://a.example/bot)", &[("/mine", false), ("/all", true)]);
    check("a longer name is another", body, "crawldog", &[("/mine", true), ("/all", false)]);
    check("a shorter name is another", body, "crawl", &[("/mine", true), ("/all", false)]);
    check("first of a pair", body, "one", &[("/pair", false), ("/all", true)]);
    check("second of a pair", body, "two", &[("/pair", false), ("/all", true)]);
    check("an empty disallow frees", body, "free", &[("/all", true), ("/", true)]);
    check("no name at all", body, "", &[("/all", false), ("/mine", true)]);
    check("everyone asked for by name", body, "*", &[("/all", false)]);
}

#[test]
fn groups_of_one_agent_add_up() {
    let body =
        b"user-agent: a\ndisallow: /1\nuser-agent: b\ndisallow: /2\nuser-agent: A\nuser-agent: b\ndisallow: /3\n";
    check("a", body, "a", &[("/1", false), ("/2", true), ("/3", false)]);
    check("b", body, "b", &[("/1", true), ("/2", false), ("/3", false)]);
    check("nobody else", body, "c", &[("/1", true), ("/3", true)]);
}

#[test]
fn other_lines_do_not_end_a_group() {
    let body = b"user-agent: a\nsitemap: https://shop.example/map.xml\ncrawl-delay: 2\nhost: x\n\nuser-agent: b\ndisallow: /x\n";
    check("above the lines", body, "a", &[("/x", false)]);
    check("below them", body, "b", &[("/x", false)]);
    check("a rule ends it", b"user-agent: a\ndisallow:\nuser-agent: b\ndisallow: /x\n", "a", &[("/x", true)]);
    check("rules before any group", b"disallow: /\nuser-agent: a\ndisallow: /x\n", "a", &[("/y", true), ("/x", false)]);
}

#[test]
fn the_longest_pattern_wins_and_allow_wins_ties() {
    for (rules, rows) in [
        ("disallow: /shop\nallow: /shop/open", &[("/shop", false), ("/shop/open/1", true), ("/shopping", false)][..]),
        ("allow: /shop/open\ndisallow: /shop", &[("/shop/open", true), ("/shop/o", false)][..]),
        ("disallow: /a\nallow: /a", &[("/a", true)][..]),
        ("allow: /a\ndisallow: /a", &[("/a", true)][..]),
        ("allow: /a*\ndisallow: /a", &[("/a", true)][..]),
        ("disallow: /a*\nallow: /a", &[("/a", false)][..]),
        ("disallow: /a*\nallow: /a$", &[("/a", true), ("/ab", false)][..]),
        ("disallow: /\nallow: /$", &[("/", true), ("/x", false), ("/?q", false)][..]),
        ("disallow: /*.pdf\nallow: /docs", &[("/docs/a.pdf", false), ("/docs/a", true)][..]),
        ("disallow: /*.pdf\nallow: /docs/a", &[("/docs/a.pdf", true)][..]),
        ("allow:\ndisallow: /x", &[("/x", false), ("/", true)][..]),
    ] {
        check(rules, format!("user-agent: *\n{rules}\n").as_bytes(), "crawld", rows);
    }
}

#[test]
fn patterns_match_as_written() {
    for (rule, rows) in [
        ("/p", &[("/p", false), ("/pq", false), ("/p/q?r", false), ("/", true), ("/P", true), ("/q/p", true)][..]),
        ("/p/", &[("/p", true), ("/p/", false)][..]),
        ("/p$", &[("/p", false), ("/p/", true), ("/p?x", true), ("/p$", true)][..]),
        ("/p$q", &[("/p$q", false), ("/p", true), ("/p%24q", false)][..]),
        ("*", &[("/", false), ("/x", false)][..]),
        ("/*", &[("/", false), ("/x?y", false)][..]),
        ("*.gif$", &[("/a.gif", false), ("/a.gif?x", true), ("/a/b.gif", false)][..]),
        ("/*/edit", &[("/a/edit", false), ("/a/b/edit", false), ("/edit", true), ("//edit", false)][..]),
        ("/a*b*c", &[("/abc", false), ("/a1b2c3", false), ("/acb", true)][..]),
        ("/a*b$", &[("/ab", false), ("/abab", false), ("/abc", true), ("/a", true)][..]),
        ("/**x", &[("/yx", false), ("/y", true)][..]),
        ("/ab*ba$", &[("/aba", true), ("/abba", false)][..]),
        ("/?sort=", &[("/?sort=up", false), ("/x?sort=up", true)][..]),
        ("/*?*sort=", &[("/x?a=1&sort=up", false), ("/sort=", true)][..]),
        ("/x;v=1", &[("/x;v=1", false), ("/x", true)][..]),
        ("private", &[("/private", false), ("/x/private", true)][..]),
        ("/p # not this", &[("/p", false), ("/p%20", false), ("/q", true)][..]),
    ] {
        check(rule, format!("user-agent: *\ndisallow: {rule}\n").as_bytes(), "crawld", rows);
    }
}

#[test]
fn percent_encoding_is_compared_in_one_form() {
    for (rule, rows) in [
        ("/caf\u{e9}", &[("/caf%C3%A9", false), ("/caf%c3%a9", false), ("/caf\u{e9}", false), ("/cafe", true)][..]),
        ("/caf%c3%a9", &[("/caf%C3%A9", false), ("/caf\u{e9}/x", false)][..]),
        ("/%7euser", &[("/~user", false), ("/%7Euser", false)][..]),
        ("/~user", &[("/%7euser", false)][..]),
        ("/a%2fb", &[("/a%2Fb", false), ("/a/b", true)][..]),
        ("/a/b", &[("/a%2Fb", true), ("/a/b", false)][..]),
        ("/a%2ab", &[("/a*b", false), ("/a%2Ab", false), ("/axb", true)][..]),
        ("/a%24", &[("/a$", false), ("/a%24b", false), ("/a", true)][..]),
        ("/a b", &[("/a%20b", false), ("/a+b", true)][..]),
        ("/100%", &[("/100%", false), ("/100%zz", false)][..]),
        ("/q?x=%3d", &[("/q?x=%3D", false), ("/q?x==", true)][..]),
    ] {
        check(rule, format!("user-agent: *\ndisallow: {rule}\n").as_bytes(), "crawld", rows);
    }
}

#[test]
fn bodies_are_read_however_they_are_written() {
    let no = &[("/x/1", false), ("/y", true)][..];
    for (name, body) in [
        ("LF", &b"User-agent: *\nDisallow: /x/\n"[..]),
        ("CRLF", b"User-agent: *\r\nDisallow: /x/\r\n"),
        ("CR only", b"User-agent: *\rDisallow: /x/\r"),
        ("no last newline", b"User-agent: *\nDisallow: /x/"),
        ("BOM", b"\xEF\xBB\xBFUser-agent: *\nDisallow: /x/\n"),
        ("capitals", b"USER-AGENT: *\nDISALLOW: /x/\n"),
        ("white space", b"  User-agent \t: * \n\tDisallow:\t/x/ \x0b\n"),
        ("no white space", b"user-agent:*\ndisallow:/x/"),
        ("no colon", b"user-agent *\ndisallow /x/"),
        ("comments", b"# a\nuser-agent: * # b\n#disallow: /y\ndisallow: /x/#c\n"),
        ("empty lines inside", b"user-agent: *\n\n\ndisallow: /x/\n"),
        ("NUL bytes", b"user-agent: *\0\n\0disallow: /x/\0\n"),
        ("bytes that are no text", b"\xFF\xC3\x28: \x80\nuser-agent: *\n\xFE\xFE\ndisallow: /x/\n"),
        ("lines of nonsense", b"hello\n: /y\n::\nuser-agent: *\nfoo: /y\ndisallow: /x/\n"),
        ("a misspelt key", b"useragent: *\ndissalow: /x/\n"),
        ("star and a comment word", b"user-agent: * all\ndisallow: /x/\n"),
        ("little-endian UTF-16", &utf16("user-agent: *\r\ndisallow: /x/\r\n", true)),
        ("big-endian UTF-16", &utf16("user-agent: *\ndisallow: /x/\n", false)),
    ] {
        check(name, body, "crawld", no);
    }
    for (name, body) in [
        ("empty", &b""[..]),
        ("HTML with status 200", b"<!doctype html>\n<title>Not found</title>\n<p>User-agent: *\n<p>Disallow: /x/\n"),
        ("another star", b"user-agent: *bot\ndisallow: /x/\n"),
        ("an agent without a name", b"user-agent:\ndisallow: /x/\n"),
        ("three words without a colon", b"user-agent: *\ndisallow /x/ please\n"),
    ] {
        check(name, body, "crawld", &[("/x/1", true), ("/", true)]);
    }
}

fn utf16(text: &str, little: bool) -> Vec<u8> {
    let units = std::iter::once(0xFEFF).chain(text.encode_utf16());
    units.flat_map(|unit: u16| if little { unit.to_le_bytes() } else { unit.to_be_bytes() }).collect()
}

#[test]
fn a_large_body_is_cut_at_the_last_full_line() {
    let filler = |bytes: usize| "#".repeat(bytes - 1) + "\n";
    let head = "user-agent: *\ndisallow: /early\n";
    let rule = "disallow: /late/a\n";
    let room = MAX_BYTES - head.len() - rule.len();
    let body = format!("{head}{}{rule}disallow: /beyond\n", filler(room));
    check(
        "the last full line counts",
        body.as_bytes(),
        "x",
        &[("/early", false), ("/late/a", false), ("/beyond", true)],
    );
    let body = format!("{head}{}{rule}", filler(room + 1));
    check("a line cut in two does not", body.as_bytes(), "x", &[("/early", false), ("/late", true), ("/late/a", true)]);
    let body = "user-agent: *".to_owned() + &" ".repeat(MAX_BYTES);
    check("no full line at all", body.as_bytes(), "x", &[("/", true)]);
}

#[test]
fn robots_txt_itself_is_always_allowed() {
    let rows = [("/robots.txt", true), ("/robots.txt?x", true), ("/robots.txt.bak", false), ("/a/robots.txt", false)];
    check("closed host", b"user-agent: *\ndisallow: /\n", "crawld", &rows);
}

#[test]
fn a_directory_is_allowed_with_its_index_page() {
    let body = b"user-agent: *\nallow: /open/index.html\ndisallow: /\n";
    check("allow", body, "x", &[("/open/", true), ("/open/index.html", true), ("/open/a", false), ("/open", false)]);
    let body = b"user-agent: *\ndisallow: /shut/index.html\n";
    check("disallow is taken at its word", body, "x", &[("/shut/", true), ("/shut/index.html", false)]);
}

#[test]
fn only_path_and_query_of_a_url_count() {
    let robots = Robots::parse(b"user-agent: *\ndisallow: /x\ndisallow: /?\n");
    for (url, allowed) in [
        ("http://h.example:81/x", false),
        ("http://u:p@h.example/x#f", false),
        ("http://h.example/#/x", true),
        ("http://h.example", true),
        ("http://h.example?q", false),
        ("/x", false),
        ("/y?u=http://h.example/x", true),
        ("", true),
    ] {
        assert_eq!(robots.allowed("a", url).allowed, allowed, "{url}");
    }
}

#[test]
fn the_deciding_line_is_named() {
    let robots = Robots::parse(b"user-agent: *\nDISALLOW:  /caf%c3%a9*$ # why\nallow: /open/index.html\n");
    let rule = |url| robots.allowed("a", url).rule;
    assert_eq!(rule("/caf%C3%A9/x").as_deref(), Some("disallow: /caf%c3%a9*$"));
    assert_eq!(rule("/open/").as_deref(), Some("allow: /open/index.html"));
    assert_eq!(rule("/"), None);
}

#[test]
fn crawl_delay_belongs_to_the_group() {
    for (name, body, agent, want) in [
        ("own", "user-agent: a\ncrawl-delay: 1.5\n", "a", Some(1.5)),
        ("not mine", "user-agent: a\ncrawl-delay: 1.5\n", "b", None),
        ("everyone's", "user-agent: *\ncrawl-delay: 3\n", "b", Some(3.0)),
        ("my group has none", "user-agent: *\ncrawl-delay: 3\nuser-agent: b\ndisallow: /x\n", "b", None),
        ("each its own", "user-agent: *\ncrawl-delay: 3\nuser-agent: b\ncrawl-delay: 4\n", "b", Some(4.0)),
        ("each its own, the first", "user-agent: *\ncrawl-delay: 3\nuser-agent: b\ncrawl-delay: 4\n", "c", Some(3.0)),
        ("a pair", "user-agent: a\nuser-agent: b\ncrawl-delay: 2\n", "a", Some(2.0)),
        ("the first counts", "user-agent: a\ncrawl-delay: 2\ncrawl-delay: 9\n", "a", Some(2.0)),
        ("zero", "user-agent: a\ncrawl-delay: 0\n", "a", Some(0.0)),
        ("a unit", "user-agent: a\ncrawl-delay: 5s\n", "a", None),
        ("negative", "user-agent: a\ncrawl-delay: -5\n", "a", None),
        ("infinite", "user-agent: a\ncrawl-delay: inf\n", "a", None),
        ("NaN", "user-agent: a\ncrawl-delay: NaN\n", "a", None),
        ("before any group", "crawl-delay: 5\nuser-agent: a\n", "a", None),
    ] {
        assert_eq!(Robots::parse(body.as_bytes()).crawl_delay(agent), want, "{name}");
    }
}

#[test]
fn sitemaps_are_found_anywhere() {
    let robots =
        Robots::parse(b"Sitemap: https://h/a.xml\nuser-agent: x\nSITEMAP:https://h:8080/b?c=d:e # f\nsitemap:\n");
    assert_eq!(robots.sitemaps(), ["https://h/a.xml", "https://h:8080/b?c=d:e"]);
}

#[test]
fn the_product_token_is_found_in_a_header() {
    for (header, token) in [
        ("crawld", "crawld"),
        ("crawld/0.1.0 (+https://example.org/bot)", "crawld"),
        (" my-bot_2 ", "my-bot_2"),
        (
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36 crawld/0.1",
            "crawld",
        ),
        (
            "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko) crawld/0.1 (+https://a.example) Chrome/142.0 Safari/537.36",
            "crawld",
        ),
        ("Mozilla/5.0 (compatible; otherbot/2.1; +http://a.example)", "otherbot"),
        ("Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0", "Mozilla"),
        ("", ""),
    ] {
        assert_eq!(product_token(header), token, "{header}");
    }
}

#[test]
fn many_agents_with_many_delays_stay_cheap() {
    let agents: String = (0..18_000).map(|n| format!("user-agent: a{n}\n")).collect();
    let body = agents + &"crawl-delay: 1\n".repeat(15_000);
    assert_eq!(Robots::parse(body.as_bytes()).crawl_delay("a17"), Some(1.0));
}

proptest! {
    #[test]
    fn any_body_and_url_are_judged(body in prop::collection::vec(any::<u8>(), 0..400), url in "\\PC{0,40}", agent in "\\PC{0,20}") {
        let robots = Robots::parse(&body);
        let verdict = robots.allowed(&agent, &url);
        prop_assert!(verdict.allowed || verdict.rule.is_some());
    }

    #[test]
    fn any_lines_are_judged(lines in prop::collection::vec("(user-agent|allow|disallow|crawl-delay|sitemap)[: ]{1,2}[/*$a%2f.]{0,6}", 0..12)) {
        let robots = Robots::parse(lines.join("\n").as_bytes());
        robots.allowed("a", "https://h.example/a/f2");
        robots.crawl_delay("a");
    }
}
