//! `Range` of a download (RFC 9110, section 14): one part of a file, or the whole of it.

/// What of a file is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ranged {
    /// All of it: nothing else was asked for, or something that may be ignored.
    Whole,
    /// The bytes from the first to the last of these, both included.
    Part(u64, u64),
    /// Nothing of it lies there: 416.
    Beyond,
}

/// Reads a `Range` for a file of `length` bytes. Several ranges, which multiply the work of an answer, and other units
/// are ignored, as a server may.
pub(super) fn ranged(header: Option<&str>, length: u64) -> Ranged {
    let Some(spec) = header.and_then(|text| text.trim().strip_prefix("bytes=")) else { return Ranged::Whole };
    let Some((first, last)) = spec.split_once('-') else { return Ranged::Whole };
    let (first, last) = (first.trim(), last.trim());
    let number = |text: &str| match text.bytes().all(|byte| byte.is_ascii_digit()) {
        // What is larger than any number is larger than any file.
        true => Some(text.parse::<u64>().unwrap_or(u64::MAX)),
        false => None,
    };
    match (first.is_empty(), last.is_empty()) {
        (true, true) => Ranged::Whole,
        (true, false) => match number(last) {
            Some(0) => Ranged::Beyond,
            Some(_) if length == 0 => Ranged::Beyond,
            Some(tail) => Ranged::Part(length.saturating_sub(tail), length - 1),
            None => Ranged::Whole,
        },
        (false, _) => {
            let end = if last.is_empty() { Some(u64::MAX) } else { number(last) };
            match (number(first), end) {
                (Some(first), Some(end)) if first > end => Ranged::Whole,
                (Some(first), Some(_)) if first >= length => Ranged::Beyond,
                (Some(first), Some(end)) => Ranged::Part(first, end.min(length - 1)),
                _ => Ranged::Whole,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_read_and_its_abuse_costs_nothing() {
        use Ranged::{Beyond, Part, Whole};
        #[track_caller]
        fn check(header: &str, length: u64, expected: Ranged) {
            assert_eq!(ranged(Some(header), length), expected, "{header} of {length}");
        }
        check("bytes=0-0", 10, Part(0, 0));
        check("bytes=0-", 10, Part(0, 9));
        check("bytes=9-", 10, Part(9, 9));
        check("bytes=2-5", 10, Part(2, 5));
        check("bytes=2-500", 10, Part(2, 9));
        check("bytes=-3", 10, Part(7, 9));
        check("bytes=-300", 10, Part(0, 9));
        check("bytes=10-", 10, Beyond);
        check("bytes=0-", 0, Beyond);
        check("bytes=-1", 0, Beyond);
        check("bytes=-0", 10, Beyond);
        check("bytes=99999999999999999999999999-", 10, Beyond);
        check("bytes=0-99999999999999999999999999", 10, Part(0, 9));
        for ignored in [
            "",
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=5-2",
            "bytes=a-b",
            "bytes=+1-2",
            "bytes=0-1,3-4",
            "bytes=0-,0-,0-,0-,0-",
            "bytes=--5",
            "bytes=1--2",
            "pages=0-1",
        ] {
            check(ignored, 10, Whole);
        }
        assert_eq!(ranged(None, 10), Whole);
    }
}
