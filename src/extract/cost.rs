//! What building a document tree would cost, estimated before it is built.
//!
//! The HTML parsing algorithm is quadratic on purpose-made input: deep nesting makes every tag search
//! a long stack, and formatting elements left open are created anew in every later block. A browser's
//! process can die of that; the daemon must not.

/// Steps on the stack of open elements that one page may cost.
const MAX_STEPS: u64 = 50_000_000;

/// Formatting elements that may be created anew in one page.
const MAX_REBUILT: u64 = 200_000;

/// The formatting elements of the HTML standard.
const FORMATTING: [&[u8]; 14] =
    [b"a", b"b", b"big", b"code", b"em", b"font", b"i", b"nobr", b"s", b"small", b"strike", b"strong", b"tt", b"u"];

/// Elements that are never open, or that the next of their kind closes.
const NOT_NESTED: [&[u8]; 27] = [
    b"area",
    b"base",
    b"br",
    b"col",
    b"dd",
    b"dt",
    b"embed",
    b"hr",
    b"img",
    b"input",
    b"li",
    b"link",
    b"meta",
    b"option",
    b"optgroup",
    b"p",
    b"param",
    b"rp",
    b"rt",
    b"source",
    b"tbody",
    b"td",
    b"th",
    b"thead",
    b"tr",
    b"track",
    b"wbr",
];

/// Whether a tree of `html` is too dear to build.
pub(super) fn too_costly(html: &str) -> bool {
    let bytes = html.as_bytes();
    let mut open = [0u64; FORMATTING.len()];
    let (mut depth, mut steps, mut rebuilt) = (0u64, 0u64, 0u64);
    for at in memchr::memchr_iter(b'<', bytes) {
        let (closes, start) = if bytes.get(at + 1) == Some(&b'/') { (true, at + 2) } else { (false, at + 1) };
        let mut name = [0u8; 10];
        let length = read_name(&bytes[start.min(bytes.len())..], &mut name);
        if length == 0 {
            continue;
        }
        let name = &name[..length];
        if let Some(kind) = FORMATTING.iter().position(|f| *f == name) {
            open[kind] = if closes { open[kind].saturating_sub(1) } else { open[kind] + 1 };
        }
        if !NOT_NESTED.contains(&name) {
            depth = if closes { depth.saturating_sub(1) } else { depth + 1 };
        }
        steps += depth;
        // The parser keeps at most three equal ones, but attributes make them unequal. A handful left
        // open by carelessness is ordinary.
        rebuilt += open.iter().sum::<u64>().saturating_sub(8);
        if steps > MAX_STEPS || rebuilt > MAX_REBUILT {
            return true;
        }
    }
    false
}

/// The tag name in lower case; 0 when there is none. Longer names than any of interest are cut.
fn read_name(bytes: &[u8], name: &mut [u8; 10]) -> usize {
    let mut length = 0;
    for (slot, byte) in name.iter_mut().zip(bytes) {
        let is_part =
            byte.is_ascii_alphabetic() || (length > 0 && !byte.is_ascii_whitespace() && !b"/>".contains(byte));
        if !is_part {
            break;
        }
        *slot = byte.to_ascii_lowercase();
        length += 1;
    }
    length
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &str, html: &str, expected: bool) {
        assert_eq!(too_costly(html), expected, "{name}");
    }

    #[test]
    fn tells_hostile_pages_from_large_ones() {
        check("empty", "", false);
        check("a large table", &"<tr><td><a href=x>link</a><td><b>bold</b>".repeat(100_000), false);
        check("unclosed paragraphs and items", &"<p>x<li>y<br>".repeat(100_000), false);
        check("deep but sane", &format!("{}{}", "<div>".repeat(400), "</div>".repeat(400)), false);
        check("a careless page", &format!("<b><i><font>{}", "<p>x".repeat(50_000)), false);
        check("deep nesting", &"<div>".repeat(100_000), true);
        check("formatting rebuilt", &format!("<p>{}{}", "<b x=1>".repeat(500), "<p>x".repeat(100_000)), true);
        check("angle brackets only", &"<<</< 1 < 2".repeat(100_000), false);
    }
}
