//! A session's cookies between two lives of its browser: a file that only its owner reads.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use chromiumoxide::cdp::browser_protocol::network::{Cookie, CookieParam, TimeSinceEpoch};
use rustix::fs::OFlags;

use crate::lock::lock;
use crate::model::cookie::StoredCookie;
use crate::model::ids::SessionId;

/// Between two looks at a session's cookies while it crawls.
pub const EVERY: Duration = Duration::from_secs(5);
/// A jar beyond this many bytes is not read.
const MAX: u64 = 4 << 20;

/// Where a session's jar stands in the folder of all sessions.
pub(super) fn place(sessions: &Path, session: &SessionId) -> PathBuf {
    sessions.join(session.as_str()).join("cookies.json")
}

/// The cookies kept; none when there is no jar, or none that can be understood.
pub fn load(path: &Path) -> Vec<StoredCookie> {
    let read = || -> io::Result<Vec<StoredCookie>> {
        // What serde says of damage may quote the file: it stays unsaid.
        serde_json::from_str(&read(path)?).map_err(|_| io::Error::other("not a list of cookies"))
    };
    read().unwrap_or_else(|error| {
        if error.kind() != io::ErrorKind::NotFound {
            tracing::warn!(path = %path.display(), %error, "cookies not read: the session goes on without them");
        }
        Vec::new()
    })
}

/// As the browser is given them.
pub(super) fn params(kept: &[StoredCookie]) -> Vec<CookieParam> {
    let param = |cookie: &StoredCookie| serde_json::from_value(serde_json::to_value(cookie).ok()?).ok();
    kept.iter().filter_map(param).collect()
}

/// As they are kept.
pub(super) fn stored(cookies: &[Cookie]) -> Vec<StoredCookie> {
    let stored = |cookie: &Cookie| serde_json::from_value(serde_json::to_value(keep(cookie)).ok()?).ok();
    cookies.iter().filter_map(stored).collect()
}

/// The text of a regular file of bounded size.
pub(super) fn read(path: &Path) -> io::Result<String> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let mut text = String::new();
    file.take(MAX).read_to_string(&mut text)?;
    Ok(text)
}

/// Puts the cookies in the place of those kept before, all or nothing.
///
/// # Errors
/// What the system says.
pub fn save(path: &Path, cookies: &[StoredCookie]) -> io::Result<()> {
    // The browser's and those of plain requests are written by two, through one passing name.
    static WRITING: Mutex<()> = Mutex::new(());
    let _one = lock(&WRITING);
    write(path, cookies)
}

fn write(path: &Path, kept: &[StoredCookie]) -> io::Result<()> {
    let bytes = serde_json::to_vec(kept).map_err(|_| io::Error::other("cookies as JSON"))?;
    let folder = path.parent().unwrap_or(Path::new("."));
    let temp = folder.join(".cookies.json.new");
    match fs::remove_file(&temp) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temp)?;
    file.write_all(&bytes)?;
    file.sync_all()?;
    fs::rename(&temp, path)?;
    File::open(folder)?.sync_all()
}

/// A cookie as it is set again. One of a single host is set by URL, or it would become its domain's.
fn keep(cookie: &Cookie) -> CookieParam {
    let mut kept = CookieParam::new(cookie.name.clone(), cookie.value.clone());
    if cookie.domain.starts_with('.') {
        kept.domain = Some(cookie.domain.clone());
    } else {
        let scheme = if cookie.secure { "https" } else { "http" };
        kept.url = Some(format!("{scheme}://{}{}", cookie.domain, cookie.path));
    }
    kept.path = Some(cookie.path.clone());
    kept.secure = Some(cookie.secure);
    kept.http_only = Some(cookie.http_only);
    kept.same_site.clone_from(&cookie.same_site);
    kept.expires = (!cookie.session).then(|| TimeSinceEpoch::new(cookie.expires));
    kept.partition_key.clone_from(&cookie.partition_key);
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_jar_is_an_empty_one() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("cookies.json");
        assert_eq!(load(&path), Vec::new());
        for damage in ["", "[{", "{\"a\":1}"] {
            fs::write(&path, damage).unwrap();
            assert_eq!(load(&path), Vec::new(), "{damage}");
        }
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", &path).unwrap();
        assert_eq!(load(&path), Vec::new());
    }
}
