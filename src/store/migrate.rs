//! Which formats are read, and how older ones are brought up to date.

use std::fs;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
#[cfg(test)]
use std::path::PathBuf;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, params};

use crate::faults::point;
use crate::model::url::key_of;
use crate::store::db::{self, beside};
use crate::store::error::StoreError;
use crate::store::schema::{APPLICATION_ID, CREATE, FORMAT, INDEXES};

/// What the name of a kept older store ends in, before its format.
const BACKUP: &str = ".format-";

/// A step: from this format, to that one, by these changes.
pub type Step = (i64, i64, fn(&Connection) -> rusqlite::Result<()>);

/// Kill points of a migration.
pub const POINTS: &[&str] =
    &["migrate.before_copy", "migrate.after_copy", "migrate.before_rename", "migrate.after_rename"];

/// The steps from each older format to the next, oldest first.
pub fn steps() -> &'static [Step] {
    &[(1, 2, widen_keys), (2, 3, part_what_changes)]
}

/// URLs were known by a number of 64 bits and their path; now a key of twice the length says it alone. The
/// index of hosts that have something queued cost more at every commit than it saved at a start.
fn widen_keys(store: &Connection) -> rusqlite::Result<()> {
    store
        .execute_batch("DROP INDEX urls_seen; DROP INDEX hosts_waiting; ALTER TABLE urls RENAME COLUMN hash TO key")?;
    let mut last = 0;
    loop {
        let mut rows = store.prepare_cached("SELECT n, path FROM urls WHERE n > ?1 ORDER BY n LIMIT 10000")?;
        let some = rows.query_map([last], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?)))?;
        let some = some.collect::<rusqlite::Result<Vec<_>>>()?;
        let Some((newest, _)) = some.last() else { break };
        last = *newest;
        let mut save = store.prepare_cached("UPDATE urls SET key = ?2 WHERE n = ?1")?;
        for (n, path) in some {
            save.execute(params![n, key_of(&path)])?;
        }
    }
    store.execute_batch("CREATE UNIQUE INDEX urls_seen ON urls(host, key)")
}

/// What a URL's row said of its lease, and an index of its key, cost a page of the disk each; both got a table.
fn part_what_changes(store: &Connection) -> rusqlite::Result<()> {
    store.execute_batch(
        "CREATE TABLE leases(n INTEGER PRIMARY KEY);
        INSERT INTO leases SELECT n FROM urls WHERE state = 2;
        UPDATE urls SET state = n IN (SELECT n FROM suspects) WHERE state = 2;
        DROP INDEX urls_in_flight;
        CREATE TABLE seen(
            host INTEGER NOT NULL, key BLOB NOT NULL, n INTEGER NOT NULL, PRIMARY KEY(host, key)) WITHOUT ROWID;
        INSERT INTO seen SELECT host, key, n FROM urls ORDER BY host, key;
        DROP INDEX urls_seen;
        CREATE TABLE seen_upto(one INTEGER PRIMARY KEY CHECK(one = 1), n INTEGER NOT NULL);
        INSERT INTO seen_upto SELECT 1, coalesce(max(n), 0) FROM urls;",
    )
}

/// The format of a store, once it is known to be one of ours.
///
/// # Errors
/// `Corrupt` for another application's file, `TooNew`, and what SQLite says.
pub fn check(connection: &Connection, path: &Path) -> Result<i64, StoreError> {
    check_up_to(connection, path, FORMAT)
}

fn check_up_to(connection: &Connection, path: &Path, newest: i64) -> Result<i64, StoreError> {
    let sort = |e| StoreError::sort(path, &e);
    let application: i32 = connection.pragma_query_value(None, "application_id", |row| row.get(0)).map_err(sort)?;
    let format: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(sort)?;
    if application != APPLICATION_ID || format < 1 {
        let message = format!("not a session's store (application id {application:#x}, format {format})");
        return Err(StoreError::Corrupt { path: path.to_owned(), message });
    }
    if format > newest {
        return Err(StoreError::TooNew { path: path.to_owned(), found: format, known: newest });
    }
    Ok(format)
}

/// Makes an empty store of the newest format; all or nothing.
///
/// # Errors
/// What SQLite says.
pub fn create(connection: &Connection, path: &Path, indexes: bool) -> Result<(), StoreError> {
    let indexes = if indexes { INDEXES } else { "" };
    let sql = format!(
        "BEGIN IMMEDIATE; {CREATE} {indexes} PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {FORMAT}; COMMIT;"
    );
    connection.execute_batch(&sql).map_err(|e| StoreError::sort(path, &e))
}

/// Brings an older store up to the newest format: by copy, so that the old one is whole until the new one is
/// in its place, and is kept beside it until the next clean stop. A kill on the way is repaired by the next
/// call. The caller holds the session's lock. Answers whether there was anything to do.
///
/// # Errors
/// As for [`check`], or what the system says; the old store is in its place then.
pub fn upgrade(path: &Path) -> Result<bool, StoreError> {
    upgrade_to(path, FORMAT, steps())
}

fn upgrade_to(path: &Path, newest: i64, steps: &[Step]) -> Result<bool, StoreError> {
    let system = |e: io::Error| StoreError::system(path, &e);
    let copy = beside(path, ".migrating");
    let old = Connection::open_with_flags(path, db::flags(false)).map_err(|e| StoreError::sort(path, &e))?;
    old.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(|e| StoreError::sort(path, &e))?;
    let format = check_up_to(&old, path, newest)?;
    if format == newest {
        return Ok(false);
    }
    point("migrate.before_copy").map_err(system)?;
    // The log is folded in first: what stays in its place would be applied to the new store.
    old.execute_batch("PRAGMA synchronous = FULL").map_err(|e| StoreError::sort(path, &e))?;
    if !db::checkpoint(&old, path, true)? {
        let message = "its log cannot be folded in: somebody else has it open".to_owned();
        return Err(StoreError::Io { path: path.to_owned(), message });
    }
    migrated(&old, path, &copy, (format, newest), steps)?;
    drop(old);
    point("migrate.after_copy").map_err(system)?;
    let kept = beside(path, &format!("{BACKUP}{format}"));
    gone(&kept).map_err(system)?;
    fs::hard_link(path, &kept).map_err(system)?;
    sync_parent(path).map_err(system)?;
    point("migrate.before_rename").map_err(system)?;
    fs::rename(&copy, path).map_err(system)?;
    sync_parent(path).map_err(system)?;
    point("migrate.after_rename").map_err(system)?;
    Ok(true)
}

/// A copy of an older store in the newest format, for a look at it: the store itself is not changed.
///
/// # Errors
/// As for [`upgrade`].
pub fn look(path: &Path, copy: &Path) -> Result<(), StoreError> {
    let old = db::open_reader(path)?;
    let format = check(&old, path)?;
    migrated(&old, path, copy, (format, FORMAT), steps())
}

/// Makes `copy`, takes every step in it, and has it on the disk.
fn migrated(
    old: &Connection,
    path: &Path,
    copy: &Path,
    (format, newest): (i64, i64),
    steps: &[Step],
) -> Result<(), StoreError> {
    let system = |e: io::Error| StoreError::system(copy, &e);
    for suffix in ["", "-journal", "-wal", "-shm"] {
        gone(&beside(copy, suffix)).map_err(system)?;
    }
    // SQLite fills an empty file, and would make one that everybody can read.
    fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(copy).map_err(system)?;
    old.execute("VACUUM INTO ?1", [copy.as_os_str().to_string_lossy()]).map_err(|e| StoreError::sort(path, &e))?;
    let sort = |e| StoreError::sort(copy, &e);
    let new = Connection::open_with_flags(copy, db::flags(false)).map_err(sort)?;
    let mut reached = format;
    for (_, to, step) in steps.iter().filter(|(from, ..)| *from >= format) {
        new.execute_batch("BEGIN IMMEDIATE").and_then(|()| step(&new)).map_err(sort)?;
        new.pragma_update(None, "user_version", to).and_then(|()| new.execute_batch("COMMIT")).map_err(sort)?;
        reached = *to;
    }
    let complaint: String = new.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(sort)?;
    new.close().map_err(|(_, e)| sort(e))?;
    if reached != newest || complaint != "ok" {
        let message =
            format!("its format {format} cannot be brought to {newest} (got to {reached}; check: {complaint})");
        return Err(StoreError::Corrupt { path: path.to_owned(), message });
    }
    fs::File::open(copy).and_then(|file| file.sync_all()).map_err(system)
}

/// Removes the stores of older formats that migrations kept: a lifetime with the new one has closed cleanly.
pub fn forget_older(path: &Path) {
    for (format, ..) in steps() {
        // What cannot be removed is in nobody's way.
        let _ = gone(&beside(path, &format!("{BACKUP}{format}")));
    }
}

fn gone(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn sync_parent(path: &Path) -> io::Result<()> {
    fs::File::open(path.parent().unwrap_or(Path::new("."))).and_then(|dir| dir.sync_all())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The format after the newest, which does not exist, and a step to it.
    const NEXT: i64 = FORMAT + 1;
    const TO_NEXT: &[Step] = &[(FORMAT, NEXT, |c| c.execute_batch("ALTER TABLE urls ADD COLUMN colour TEXT"))];

    fn older(dir: &Path) -> PathBuf {
        let path = dir.join("frontier.db");
        let connection = db::open_writer(&path, 1 << 20, true).unwrap();
        connection.execute("INSERT INTO meta VALUES ('kept', 'in the log')", []).unwrap();
        // Killed: what was committed is in the log alone.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).unwrap();
        drop(connection);
        assert!(db::log_bytes(&path) > 0);
        path
    }

    #[track_caller]
    fn is_migrated(path: &Path) {
        let new = Connection::open(path).unwrap();
        assert_eq!(check_up_to(&new, path, NEXT).unwrap(), NEXT);
        let columns = "SELECT count(*) FROM pragma_table_info('urls') WHERE name = 'colour'";
        assert_eq!(new.query_row(columns, [], |row| row.get::<_, i64>(0)).unwrap(), 1);
        let kept = "SELECT value FROM meta WHERE key = 'kept'";
        assert_eq!(new.query_row(kept, [], |row| row.get::<_, String>(0)).unwrap(), "in the log");
        let backup = Connection::open(beside(path, &format!("{BACKUP}{FORMAT}"))).unwrap();
        assert_eq!(check_up_to(&backup, path, NEXT).unwrap(), FORMAT);
        assert_eq!(backup.query_row(kept, [], |row| row.get::<_, String>(0)).unwrap(), "in the log");
        assert!(!beside(path, ".migrating").exists());
    }

    #[test]
    fn an_older_store_is_migrated_in_a_copy_and_kept() {
        use std::os::unix::fs::PermissionsExt;
        let temp = tempfile::tempdir().unwrap();
        let path = older(temp.path());
        assert!(upgrade_to(&path, NEXT, TO_NEXT).unwrap());
        is_migrated(&path);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!upgrade_to(&path, NEXT, TO_NEXT).unwrap(), "once");
    }

    #[test]
    fn what_a_killed_migration_left_is_in_nobody_s_way() {
        let temp = tempfile::tempdir().unwrap();
        let path = older(temp.path());
        fs::write(beside(&path, ".migrating"), "half a copy").unwrap();
        fs::write(beside(&path, ".migrating-journal"), "half a step").unwrap();
        fs::write(beside(&path, &format!("{BACKUP}{FORMAT}")), "linked, not renamed").unwrap();
        assert!(upgrade_to(&path, NEXT, TO_NEXT).unwrap());
        is_migrated(&path);
    }

    #[test]
    fn a_step_that_fails_or_is_missing_leaves_the_old_store_in_its_place() {
        let temp = tempfile::tempdir().unwrap();
        let path = older(temp.path());
        let broken: &[Step] = &[(FORMAT, NEXT, |c| c.execute_batch("DROP TABLE no_such_table"))];
        assert!(upgrade_to(&path, NEXT, broken).is_err());
        assert!(matches!(upgrade_to(&path, NEXT, &[]), Err(StoreError::Corrupt { .. })));
        assert!(upgrade_to(&path, NEXT, TO_NEXT).unwrap());
        is_migrated(&path);
    }

    #[test]
    fn the_steps_lead_to_the_newest_format_without_a_gap() {
        let mut format = 1;
        for (from, to, _) in steps() {
            assert_eq!((*from, *to), (format, format + 1));
            format = *to;
        }
        assert_eq!(format, FORMAT);
    }

    /// Back to what format 1 kept about URLs.
    const AS_FORMAT_1: &str = "
        UPDATE urls SET state = 2 WHERE n IN (SELECT n FROM leases);
        DROP TABLE leases; DROP TABLE seen; DROP TABLE seen_upto;
        CREATE INDEX urls_in_flight ON urls(state) WHERE state = 2;
        ALTER TABLE urls RENAME COLUMN key TO hash; UPDATE urls SET hash = n * 1000003;
        CREATE UNIQUE INDEX urls_seen ON urls(host, hash);
        CREATE INDEX hosts_waiting ON hosts(no) WHERE queued > 0 OR suspects > 0;
        PRAGMA user_version = 1;";

    #[test]
    fn urls_of_format_1_are_found_by_their_wider_keys_and_leased_as_before() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("frontier.db");
        let connection = db::open_writer(&path, 1 << 20, true).unwrap();
        let insert = "WITH RECURSIVE many(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM many WHERE n < 10500)
            INSERT INTO urls SELECT n, 1, randomblob(16), '/page/' || n, 0, 0, 0, 0, NULL, 0, 0, 0, 0, NULL FROM many";
        connection
            .execute("INSERT INTO hosts VALUES (1, 'http://h.example', 10500, 0, 0, 0, 10500, NULL)", [])
            .unwrap();
        connection.execute(insert, []).unwrap();
        connection.execute_batch("INSERT INTO leases VALUES (7), (9); INSERT INTO suspects VALUES (9, 1, 0)").unwrap();
        connection.execute_batch(AS_FORMAT_1).unwrap();
        drop(connection);
        drop(db::open_writer(&path, 1 << 20, false).unwrap());
        let reader = crate::store::reader::Reader::open(&path).unwrap();
        assert_eq!(reader.complaint(true).unwrap(), None);
        for n in [1, 9_999, 10_000, 10_001, 10_500] {
            let url = crate::model::url::CanonicalUrl::parse(&format!("http://h.example/page/{n}")).unwrap();
            assert_eq!(reader.find(&url).unwrap().unwrap().row.n, n);
        }
        assert_eq!(reader.in_flight().unwrap().iter().map(|url| url.row.n).collect::<Vec<_>>(), [7, 9]);
        let states = "SELECT n, state FROM urls WHERE state != 0";
        let connection = Connection::open(&path).unwrap();
        assert_eq!(connection.query_row(states, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap(), (9, 1));
    }
}
