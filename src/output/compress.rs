//! Finished segments, packed without a moment at which a record is in no file.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, BufWriter};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::faults;
use crate::output::{OutputError, sync_dir};

/// Replaces `{name}` by `{name}.gz`. Repeating it after a crash at any point is harmless.
///
/// # Errors
/// What the system says; the plain file is then still there.
pub fn compress(dir: &Path, name: &str) -> Result<(), OutputError> {
    let plain = dir.join(name);
    let packed = dir.join(format!("{name}.gz"));
    let temp = dir.join(format!(".{name}.gz.tmp"));
    let at = |step: &'static str| {
        let plain = plain.clone();
        move |e: io::Error| OutputError::at(step, &plain, e)
    };
    if !plain.exists() {
        return Ok(());
    }
    faults::point("output.before_compress").map_err(at("compress"))?;
    let result = pack(&plain, &temp)
        .and_then(|()| faults::point("output.before_compress_rename"))
        .and_then(|()| fs::rename(&temp, &packed));
    if let Err(error) = result {
        // Left over, it is swept at the next opening.
        let _ = fs::remove_file(&temp);
        return Err(at("compress")(error));
    }
    sync_dir(dir)?;
    faults::point("output.after_compress_rename").map_err(at("compress"))?;
    fs::remove_file(&plain).map_err(at("remove"))?;
    sync_dir(dir)?;
    faults::point("output.after_compress").map_err(at("compress"))
}

fn pack(plain: &Path, temp: &Path) -> io::Result<()> {
    let mut source = BufReader::with_capacity(1 << 18, File::open(plain)?);
    let target = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(temp)?;
    let mut encoder = GzEncoder::new(BufWriter::with_capacity(1 << 18, target), Compression::default());
    io::copy(&mut source, &mut encoder)?;
    let target = encoder.finish()?.into_inner().map_err(io::IntoInnerError::into_error)?;
    target.sync_all()
}

/// Removes what interrupted compressions left.
pub fn sweep(dir: &Path) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with('.') && name.ends_with(".jsonl.gz.tmp") {
            // Still there at the next opening if it cannot be removed now.
            let _ = fs::remove_file(entry.path());
        }
    }
}
