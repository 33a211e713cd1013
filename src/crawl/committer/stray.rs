//! Files beside the records that no record names: what a commit, or a record, did not live to keep.

use std::collections::HashSet;

use serde::Deserialize;

use crate::crawl::committer::StorePaths;
use crate::crawl::committer::open::{OpenError, OpenReport};
use crate::model::ids::CommitSeq;
use crate::output::files::{self, FileName};
use crate::output::lines::Lines;
use crate::output::{Kind, OutputError, segments};

/// Sets aside the files that were named for a commit that never was: the only ones, as long as no record
/// was lost. Looks at the folders of the newest commits only.
pub(super) fn of_the_last_group(
    paths: &StorePaths,
    committed: CommitSeq,
    report: &mut OpenReport,
) -> Result<(), OpenError> {
    let (named, _) = files::list(&paths.out, committed + 1)?;
    set_aside(paths, named.into_iter(), report)
}

/// Sets aside every file that no record names; reads all records.
pub(super) fn of_lost_records(paths: &StorePaths, report: &mut OpenReport) -> Result<(), OpenError> {
    let (found, _) = files::list(&paths.out, 0)?;
    if found.is_empty() {
        return Ok(());
    }
    let mut named = HashSet::new();
    let at = |path: &std::path::Path| {
        let path = path.to_owned();
        move |error| OutputError::at("read", &path, error)
    };
    for segment in segments::list(&paths.out, Kind::Pages).map_err(at(&paths.out))? {
        let mut lines = Lines::open(&segment.path).map_err(at(&segment.path))?;
        while let Some(line) = lines.next_line().map_err(at(&segment.path))? {
            let Ok(line) = serde_json::from_slice::<FilesLine>(line) else { continue };
            named.extend(line.files.iter().filter_map(|file| FileName::parse(&file.name)));
        }
    }
    set_aside(paths, found.into_iter().filter(|file| !named.contains(file)), report)
}

#[derive(Deserialize)]
struct FilesLine {
    #[serde(default)]
    files: Vec<FileLine>,
}

#[derive(Deserialize)]
struct FileLine {
    name: String,
}

fn set_aside(
    paths: &StorePaths,
    strays: impl Iterator<Item = FileName>,
    report: &mut OpenReport,
) -> Result<(), OpenError> {
    for stray in strays {
        let path = files::set_aside(&paths.out, stray, &paths.quarantine)?;
        report.foreign_files.push(path.display().to_string());
    }
    Ok(())
}
