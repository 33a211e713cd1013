//! Addresses that stand where no element names them: in response headers, refreshes, lists of images, and
//! in the scripts of links and buttons, which are read but not run. Pure.

/// Bytes of one script that are looked at.
const CODE_BYTES: usize = 16 << 10;
/// Addresses taken from one header or script.
const TARGETS_MOST: usize = 50;

/// Link relations worth following: other addresses of pages, not resources of this one.
pub fn leads_somewhere(rel: &str) -> bool {
    let has = |word: &str| rel.split_ascii_whitespace().any(|w| w.eq_ignore_ascii_case(word));
    (has("alternate") && !has("stylesheet")) || ["canonical", "next", "prev", "previous"].into_iter().any(has)
}

/// References in a response header: `Link` with a relation that leads somewhere (RFC 8288), `Refresh`.
pub fn header_links(name: &str, value: &str) -> Vec<String> {
    if name.eq_ignore_ascii_case("refresh") {
        return refresh_target(value).map(str::to_owned).into_iter().collect();
    }
    if !name.eq_ignore_ascii_case("link") {
        return Vec::new();
    }
    let mut found = Vec::new();
    let mut rest = value;
    while let Some((_, after)) = rest.split_once('<') {
        let Some((target, parameters)) = after.split_once('>') else { break };
        let end = end_of_link(parameters);
        if parameters[..end].split(';').any(|p| relation(p).is_some_and(leads_somewhere)) && found.len() < TARGETS_MOST
        {
            found.push(target.trim().to_owned());
        }
        rest = &parameters[end..];
    }
    found
}

/// Where the comma before the next link stands; not one within quotation marks.
fn end_of_link(parameters: &str) -> usize {
    let mut quoted = false;
    for (at, c) in parameters.char_indices() {
        match c {
            '"' => quoted = !quoted,
            ',' if !quoted => return at,
            _ => {}
        }
    }
    parameters.len()
}

fn relation(parameter: &str) -> Option<&str> {
    let (name, value) = parameter.split_once('=')?;
    name.trim().eq_ignore_ascii_case("rel").then(|| value.trim().trim_matches('"'))
}

/// The URL of a refresh, `5; url='…'`, as a header or a meta element says it.
pub fn refresh_target(content: &str) -> Option<&str> {
    let rest = content.trim_start().trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
    let rest = rest.trim_start().trim_start_matches([';', ',']).trim_start();
    let key = rest.get(..3).filter(|key| key.eq_ignore_ascii_case("url"));
    let rest = match key.and_then(|_| rest[3..].trim_start().strip_prefix('=')) {
        Some(after) => after.trim_start(),
        None => rest,
    };
    let target = match rest.chars().next()? {
        quote @ ('"' | '\'') => rest[1..].split(quote).next()?,
        _ => rest,
    };
    (!target.trim().is_empty()).then_some(target)
}

/// The URLs of a `srcset`: the first word of each candidate (HTML, 4.8.4.2.1).
pub fn srcset_targets(value: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = value;
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == ',');
        if rest.is_empty() || found.len() >= TARGETS_MOST {
            return found;
        }
        let end = rest.find(|c: char| c.is_ascii_whitespace()).unwrap_or(rest.len());
        let url = rest[..end].trim_end_matches(',');
        found.push(url);
        rest = &rest[end..];
        if url.len() == end {
            // Descriptors follow, up to the next comma.
            rest = rest.split_once(',').map_or("", |(_, next)| next);
        }
    }
}

/// The script of a `javascript:` reference, decoded; `None` for any other.
pub fn javascript(href: &str) -> Option<String> {
    let href = href.trim_start_matches(|c: char| c <= ' ');
    let scheme = href.get(..11).filter(|scheme| scheme.eq_ignore_ascii_case("javascript:"))?;
    Some(percent_decoded(&href[scheme.len()..]))
}

fn percent_decoded(text: &str) -> String {
    if !text.contains('%') {
        return text.to_owned();
    }
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex =
            text.get(at + 1..at + 3).filter(|_| bytes[at] == b'%').and_then(|hex| u8::from_str_radix(hex, 16).ok());
        decoded.push(hex.unwrap_or(bytes[at]));
        at += if hex.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

/// Addresses that a script goes to in so many words: a whole string assigned to `location` or its `href`,
/// or given to its `assign` or `replace` or to `window.open`. What is put together from parts is left out.
pub fn script_targets(code: &str) -> Vec<String> {
    let code = &code[..code.floor_char_boundary(CODE_BYTES)];
    let mut found = Vec::new();
    for (word, follows) in [("location", after_location as fn(&str) -> Option<&str>), ("open", after_call)] {
        for (at, _) in code.match_indices(word) {
            let before = &code[..at];
            let rest = &code[at + word.len()..];
            if found.len() >= TARGETS_MOST || !may_stand_after(before, word) {
                continue;
            }
            found.extend(follows(rest).and_then(whole_string));
        }
    }
    found
}

/// `x.open(` is a request more often than a window; `x.location` is one of some window.
fn may_stand_after(before: &str, word: &str) -> bool {
    let Some(last) = before.chars().next_back() else { return true };
    if last.is_alphanumeric() || matches!(last, '_' | '$') {
        return false;
    }
    last != '.' || word == "location" || ["window.", "self.", "top.", "parent."].iter().any(|w| before.ends_with(w))
}

fn after_location(rest: &str) -> Option<&str> {
    let rest = rest.trim_start();
    if let Some(member) = rest.strip_prefix('.') {
        let member = member.trim_start();
        for call in ["assign", "replace"] {
            if let Some(arguments) = member.strip_prefix(call) {
                return after_call(arguments);
            }
        }
        return after_location(member.strip_prefix("href").filter(|rest| !rest.trim_start().starts_with('.'))?);
    }
    let value = rest.strip_prefix('=')?;
    (!value.starts_with('=')).then_some(value)
}

fn after_call(rest: &str) -> Option<&str> {
    rest.trim_start().strip_prefix('(')
}

/// A string literal that is the whole expression.
fn whole_string(text: &str) -> Option<String> {
    let text = text.trim_start();
    let quote = text.chars().next().filter(|c| matches!(c, '"' | '\'' | '`'))?;
    let mut value = String::new();
    let mut chars = text[1..].char_indices();
    while let Some((at, c)) = chars.next() {
        if c == quote {
            let rest = text[1 + at + 1..].trim_start();
            // Anything that goes on computing makes it a part of something.
            let ends = rest.chars().next().is_none_or(|c| matches!(c, ';' | ',' | ')' | '}' | '\'' | '"'))
                || text[1 + at + 1..].starts_with('\n')
                || rest.starts_with("return");
            return (ends && !value.is_empty()).then_some(value);
        }
        match c {
            '\n' => return None,
            '$' if quote == '`' => return None,
            '\\' => {
                let (at, escaped) = chars.next()?;
                let digits = match escaped {
                    'x' => 2,
                    'u' => 4,
                    _ => 0,
                };
                if digits == 0 {
                    value.push(escaped);
                    continue;
                }
                let hex = text[1..].get(at + 1..at + 1 + digits)?;
                value.push(char::from_u32(u32::from_str_radix(hex, 16).ok()?)?);
                chars.nth(digits - 1)?;
            }
            c => value.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_name_links() {
        #[track_caller]
        fn check(name: &str, value: &str, expected: &[&str]) {
            assert_eq!(header_links(name, value), expected, "{name}: {value}");
        }
        check("Link", "</a>; rel=next", &["/a"]);
        check(
            "link",
            r#"<http://h/a,b>; title="x, <y>; z"; rel="Prev start", </c>;rel=canonical"#,
            &["http://h/a,b", "/c"],
        );
        check("link", "</style.css>; rel=preload; as=style, </b>; rel=alternate; hreflang=de", &["/b"]);
        check("link", "</s.css>; rel=\"alternate stylesheet\", </n>", &[]);
        check("link", "</a; rel=next", &[]);
        check("Refresh", "5; url=/a", &["/a"]);
        check("refresh", "5", &[]);
        check("location", "/a", &[]);
    }

    #[test]
    fn reads_refresh_targets() {
        #[track_caller]
        fn check(content: &str, expected: Option<&str>) {
            assert_eq!(refresh_target(content), expected, "{content}");
        }
        check("5; url=/a", Some("/a"));
        check("0;URL='/a b'", Some("/a b"));
        check("1.5 , url = \"/a\" junk", Some("/a"));
        check("0; /a", Some("/a"));
        check("5", None);
        check("", None);
        check("0;url=", None);
        check("0;ü", Some("ü"));
    }

    #[test]
    fn reads_srcsets() {
        #[track_caller]
        fn check(value: &str, expected: &[&str]) {
            assert_eq!(srcset_targets(value), expected, "{value}");
        }
        check("a.png", &["a.png"]);
        check("a.png 1x, b.png 2x", &["a.png", "b.png"]);
        check(" a,b.png 100w ,c.png,", &["a,b.png", "c.png"]);
        check("data:image/png;base64,AA== 1x, d.png 2x", &["data:image/png;base64,AA==", "d.png"]);
        check("a.png, b.png", &["a.png", "b.png"]);
        check(" , ,", &[]);
    }

    #[test]
    fn scripts_that_go_somewhere_say_where() {
        #[track_caller]
        fn check(code: &str, expected: &[&str]) {
            assert_eq!(script_targets(code), expected, "{code}");
        }
        check("location='/a'", &["/a"]);
        check("window.location = \"/a?b=1&c='2'\";", &["/a?b=1&c='2'"]);
        check("location.href='/a'; return false", &["/a"]);
        check("top.location.href = `/a`", &["/a"]);
        check("document.location.assign('/a')", &["/a"]);
        check("self.location.replace( '/a' , 1)", &["/a"]);
        check("void(window.open('/a','w','width=1'))", &["/a"]);
        check("open('/a')", &["/a"]);
        check("if (x) { location = '/a' } else { location = '/b' }", &["/a", "/b"]);
        check(r"location='\/a\x2fb\u002fc\'d'", &["/a/b/c'd"]);
        check("location='/a'+id", &[]);
        check("location='/a'.concat(id)", &[]);
        check("location=`/a/${id}`", &[]);
        check("location=base+'/a'", &[]);
        check("location=='/a'", &[]);
        check("mylocation='/a'", &[]);
        check("location_x='/a'", &[]);
        check("location.hash='/a'", &[]);
        check("x = location.href.split('/a')", &[]);
        check("xhr.open('GET', '/a')", &[]);
        check("reopen('/a')", &[]);
        check("location='", &[]);
        check("location=''", &[]);
        check("", &[]);
    }

    #[test]
    fn javascript_references_are_decoded() {
        assert_eq!(javascript(" JavaScript:location=%27/a%20b%27").as_deref(), Some("location='/a b'"));
        assert_eq!(javascript("javascript:f(100%)").as_deref(), Some("f(100%)"));
        assert_eq!(javascript("/javascript:"), None);
        assert_eq!(javascript("jävascript:xxxxx"), None);
    }
}
