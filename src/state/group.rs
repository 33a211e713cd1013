//! Groups of the system by name.

/// Where the system lists its groups.
const GROUPS: &str = "/etc/group";

/// The number of a group, by its name in `/etc/group` or as a number.
///
/// # Errors
/// A sentence: there is no such group, and what to write instead.
pub fn number(name: &str) -> Result<u32, String> {
    if let Ok(number) = name.parse() {
        return Ok(number);
    }
    let text = std::fs::read(GROUPS).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    find(&text, name).ok_or_else(|| {
        format!("there is no group `{}` in `{GROUPS}`: name an existing group, or its number", name.escape_debug())
    })
}

/// `name:password:number:members`, one a line; see group(5).
fn find(text: &str, name: &str) -> Option<u32> {
    let mut lines = text.lines().map(|line| line.split(':'));
    lines.find_map(|mut fields| (fields.next()? == name).then(|| fields.nth(1)?.parse().ok())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_found_by_its_whole_name() {
        let text = "root:x:0:\nadm:x:4:syslog,me\nbroken\nmonitoring:x:990:\n";
        assert_eq!(find(text, "adm"), Some(4));
        assert_eq!(find(text, "monitoring"), Some(990));
        assert_eq!(find(text, "moni"), None);
        assert_eq!(find(text, "broken"), None);
        assert_eq!(number("123"), Ok(123));
        assert!(number("no such group").unwrap_err().contains("no such group"));
    }
}
