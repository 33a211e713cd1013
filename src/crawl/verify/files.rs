//! The files beside the records: each that a record names is there and is the one, and there is no other.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::{VerifyError, VerifyReport};
use crate::model::ids::{CommitSeq, UrlNo};
use crate::model::kept::KeptKind;
use crate::output::files::{self, FileName};

/// What a record says of a file.
#[derive(Deserialize)]
pub(super) struct FileLine {
    kind: KeptKind,
    name: String,
    bytes: u64,
    sha256: String,
}

/// The files that records name.
#[derive(Default)]
pub(super) struct Named(HashSet<FileName>);

impl Named {
    /// Compares the files of a record with what it says of them.
    pub(super) fn check(
        &mut self,
        out: &Path,
        record: (UrlNo, CommitSeq),
        lines: &[FileLine],
        report: &mut VerifyReport,
    ) {
        for line in lines {
            report.files += 1;
            let expected = FileName { n: record.0, seq: record.1, kind: line.kind };
            if FileName::parse(&line.name) != Some(expected) {
                report.problem(|| format!("the record of URL {} names `{}` as its file", record.0, line.name));
                continue;
            }
            if !self.0.insert(expected) {
                report.problem(|| format!("`{}` is named twice", line.name));
            }
            match measure(&out.join(&line.name)) {
                Ok((bytes, sha256)) if bytes == line.bytes && sha256 == line.sha256 => {}
                Ok((bytes, _)) if bytes != line.bytes => {
                    report.problem(|| format!("`{}` has {bytes} bytes of {}", line.name, line.bytes));
                }
                Ok(_) => report.problem(|| format!("`{}` is not what its record says", line.name)),
                Err(error) => report.problem(|| format!("`{}`: {error}", line.name)),
            }
        }
    }

    /// Looks for files that no record of the commits so far names.
    pub(super) fn look_for_others(&self, out: &Path, report: &mut VerifyReport) -> Result<(), VerifyError> {
        let (found, foreign) = files::list(out, 0)?;
        let committed = report.seq;
        for name in found.into_iter().filter(|name| name.seq <= committed && !self.0.contains(name)) {
            report.problem(|| format!("no record names `{}`", name.path().unwrap_or_default()));
        }
        for path in foreign {
            report.problem(|| format!("`{}` is none of a page's files", path.display()));
        }
        Ok(())
    }
}

fn measure(path: &Path) -> io::Result<(u64, String)> {
    let mut file = File::open(path)?;
    let (mut hash, mut bytes, mut buffer) = (Sha256::new(), 0, vec![0; 1 << 16]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok((bytes, hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())),
            n => {
                bytes += n as u64;
                hash.update(&buffer[..n]);
            }
        }
    }
}
