//! The API's tokens: made at the first start, kept in files of 0600, compared without a hint of where they differ; and
//! the cookie that a browser gets for one.

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};

use crate::state::atomic_file::{TEMP_PREFIX, open_regular, sync_dir};
use crate::state::paths::StateDir;

/// Random bytes of a token.
const TOKEN_BYTES: usize = 32;
/// A token that somebody wrote into the file must be at least so long: what is shorter can be guessed.
const TOKEN_MIN: usize = 32;
/// Longer is no token.
const TOKEN_MAX: usize = 512;
/// A login holds for this long.
const LOGIN_MS: i64 = 7 * 86_400_000;

/// What a token lets its bearer do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Grade {
    /// Everything that the API can.
    Full,
    /// Look, and change nothing.
    ReadOnly,
}

impl Grade {
    const ALL: [Grade; 2] = [Grade::Full, Grade::ReadOnly];

    const fn word(self) -> &'static str {
        match self {
            Grade::Full => "full",
            Grade::ReadOnly => "read",
        }
    }
}

/// Why the tokens cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The file cannot be read or made.
    #[error("the token file `{path}` cannot be used: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file holds something else, or is somebody else's.
    #[error("the token file `{path}` {why}: remove it, and the next start makes another")]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
}

/// The keys of both tokens. The tokens themselves are not kept, so nothing can print them.
pub struct Keys {
    full: hmac::Key,
    read_only: hmac::Key,
    /// Known to this process alone: a comparison of what it makes of two texts tells nothing of the texts.
    blind: hmac::Key,
    expected: [hmac::Tag; 2],
}

impl Keys {
    /// Reads the tokens of a state directory, making those that are missing.
    ///
    /// # Errors
    /// A file cannot be made or read, is a link, is another user's, or holds no token.
    pub fn open(dir: &StateDir) -> Result<Keys, TokenError> {
        let full = read_or_make(&dir.api_token())?;
        let read_only = read_or_make(&dir.api_token_readonly())?;
        if full == read_only {
            return Err(TokenError::Unusable {
                path: dir.api_token_readonly(),
                why: "holds the same as the one for everything",
            });
        }
        Keys::of(&full, &read_only)
    }

    fn of(full: &str, read_only: &str) -> Result<Keys, TokenError> {
        let random = random().map_err(|source| TokenError::Io { path: PathBuf::from("/dev/urandom"), source })?;
        let key = |bytes: &[u8]| hmac::Key::new(hmac::HMAC_SHA256, bytes);
        let blind = key(&random);
        let expected = [full, read_only].map(|token| hmac::sign(&blind, token.as_bytes()));
        Ok(Keys { full: key(full.as_bytes()), read_only: key(read_only.as_bytes()), blind, expected })
    }

    /// What a text lets its bearer do, if it is a token. Takes the same time wherever it differs.
    pub(super) fn grade_of(&self, given: &str) -> Option<Grade> {
        // Both are always compared, and `verify` looks at every byte.
        let matches = self.expected.each_ref().map(|tag| hmac::verify(&self.blind, given.as_bytes(), tag.as_ref()));
        let grade = |(made, grade): (Result<(), _>, Grade)| made.is_ok().then_some(grade);
        // The tags of a key are what `verify` recomputes: equal texts have equal tags.
        matches.into_iter().zip(Grade::ALL).find_map(grade)
    }

    /// The value of the login cookie for a grade, until [`LOGIN_MS`] from now. It holds across restarts, and ends with
    /// its token.
    pub(super) fn cookie(&self, grade: Grade, now_ms: i64) -> String {
        let claim = format!("{}.{}", grade.word(), now_ms.saturating_add(LOGIN_MS));
        let tag = hmac::sign(self.key(grade), signed(&claim).as_bytes());
        format!("{claim}.{}", URL_SAFE_NO_PAD.encode(tag))
    }

    /// What a cookie lets its bearer do, if it is one of ours and not over.
    pub(super) fn grade_of_cookie(&self, value: &str, now_ms: i64) -> Option<Grade> {
        let (claim, tag) = value.rsplit_once('.')?;
        let (word, until) = claim.split_once('.')?;
        let grade = Grade::ALL.into_iter().find(|grade| grade.word() == word)?;
        let tag = URL_SAFE_NO_PAD.decode(tag).ok()?;
        hmac::verify(self.key(grade), signed(claim).as_bytes(), &tag).ok()?;
        let until: i64 = until.parse().ok()?;
        // Neither over nor further away than any that was ever given: the clock may have been set back.
        (now_ms < until && until <= now_ms.saturating_add(LOGIN_MS)).then_some(grade)
    }

    fn key(&self, grade: Grade) -> &hmac::Key {
        match grade {
            Grade::Full => &self.full,
            Grade::ReadOnly => &self.read_only,
        }
    }
}

/// Seconds that a browser keeps the cookie.
pub(super) const fn login_seconds() -> i64 {
    LOGIN_MS / 1000
}

fn signed(claim: &str) -> String {
    format!("crawld login {claim}")
}

fn random() -> io::Result<[u8; TOKEN_BYTES]> {
    let mut bytes = [0; TOKEN_BYTES];
    SystemRandom::new().fill(&mut bytes).map_err(|_| io::Error::other("the system gives no random bytes"))?;
    Ok(bytes)
}

fn read_or_make(path: &Path) -> Result<String, TokenError> {
    let at = |source| TokenError::Io { path: path.to_owned(), source };
    match fs::symlink_metadata(path) {
        Ok(_) => read(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => make(path).map_err(at),
        Err(error) => Err(at(error)),
    }
}

fn make(path: &Path) -> io::Result<String> {
    let token = URL_SAFE_NO_PAD.encode(random()?);
    // Under another name first: a kill midway leaves no half token.
    let directory = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new().prefix(TEMP_PREFIX).tempfile_in(directory)?;
    file.as_file().set_permissions(fs::Permissions::from_mode(0o600))?;
    writeln!(file, "{token}")?;
    file.as_file().sync_all()?;
    file.persist_noclobber(path)?;
    sync_dir(directory)?;
    Ok(token)
}

fn read(path: &Path) -> Result<String, TokenError> {
    let at = |source| TokenError::Io { path: path.to_owned(), source };
    let unusable = |why| Err(TokenError::Unusable { path: path.to_owned(), why });
    let file = open_regular(path).map_err(at)?;
    let meta = file.metadata().map_err(at)?;
    if meta.uid() != rustix::process::geteuid().as_raw() {
        return unusable("belongs to another user");
    }
    if meta.mode() & 0o077 != 0 {
        tracing::warn!(path = %path.display(), "a token file could be read by other users: closed now; remove it and start again for a new token");
        file.set_permissions(fs::Permissions::from_mode(0o600)).map_err(at)?;
    }
    let mut text = String::new();
    if file.take(TOKEN_MAX as u64 + 2).read_to_string(&mut text).is_err() {
        return unusable("holds no text");
    }
    let token = text.trim();
    if token.len() < TOKEN_MIN || token.len() > TOKEN_MAX || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return unusable("holds no token (32 to 512 printable characters without spaces)");
    }
    Ok(token.to_owned())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    const FULL: &str = "full-token-full-token-full-token-full";
    const READ: &str = "read-token-read-token-read-token-read";

    #[test]
    fn tokens_are_made_once_and_are_private() {
        let temp = tempfile::tempdir().unwrap();
        let dir = StateDir::open(temp.path()).unwrap();
        Keys::open(&dir).unwrap();
        let texts = [dir.api_token(), dir.api_token_readonly()].map(|path| {
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
            fs::read_to_string(path).unwrap()
        });
        assert!(texts[0] != texts[1] && texts.iter().all(|text| text.trim().len() == 43), "{texts:?}");
        let keys = Keys::open(&dir).unwrap();
        assert_eq!(keys.grade_of(texts[0].trim()), Some(Grade::Full));
        assert_eq!(keys.grade_of(texts[1].trim()), Some(Grade::ReadOnly));
    }

    #[test]
    fn what_is_no_token_is_none() {
        let keys = Keys::of(FULL, READ).unwrap();
        for text in ["", " ", &FULL[1..], &FULL[..FULL.len() - 1], &format!("{FULL} "), &FULL.to_uppercase(), "null"] {
            assert_eq!(keys.grade_of(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_file_that_was_tampered_with_is_refused_or_closed() {
        let temp = tempfile::tempdir().unwrap();
        let dir = StateDir::open(temp.path()).unwrap();
        let path = dir.api_token();
        let refused = |what: &str| {
            let error = Keys::open(&dir).err().unwrap_or_else(|| panic!("{what}")).to_string();
            assert!(error.contains("api-token"), "{what}: {error}");
        };
        fs::write(&path, "short").unwrap();
        refused("a short one");
        fs::write(&path, "").unwrap();
        refused("an empty file");
        fs::write(&path, [0xff; 40]).unwrap();
        refused("no text");
        fs::remove_file(&path).unwrap();
        symlink("/etc/hostname", &path).unwrap();
        refused("a link");
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        refused("a directory");
        fs::remove_dir(&path).unwrap();
        fs::write(&path, FULL).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(Keys::open(&dir).unwrap().grade_of(FULL), Some(Grade::Full));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::write(dir.api_token_readonly(), FULL).unwrap();
        refused("both the same");
    }

    #[test]
    fn a_cookie_is_worth_its_token_for_a_week() {
        let keys = Keys::of(FULL, READ).unwrap();
        let now = 1_763_720_000_000;
        for grade in Grade::ALL {
            let cookie = keys.cookie(grade, now);
            assert_eq!(keys.grade_of_cookie(&cookie, now), Some(grade));
            assert_eq!(keys.grade_of_cookie(&cookie, now + LOGIN_MS - 1), Some(grade));
            assert_eq!(keys.grade_of_cookie(&cookie, now + LOGIN_MS), None, "over");
            assert_eq!(keys.grade_of_cookie(&cookie, now - 1), None, "from the future");
            let other = Keys::of(READ, FULL).unwrap();
            assert_eq!(other.grade_of_cookie(&cookie, now), None, "of another token");
        }
        let read = keys.cookie(Grade::ReadOnly, now);
        for forged in [read.replace("read", "full"), read.replace("176", "976"), format!("{read}A"), "..".to_owned()] {
            assert_eq!(keys.grade_of_cookie(&forged, now), None, "{forged}");
        }
    }
}
