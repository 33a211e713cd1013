//! What a session has written: its record files and the files of its pages. Known names only, and of a file that grows
//! only what is committed.

use std::fs::File;
use std::io::{self, Seek, SeekFrom};

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt;
use tokio_util::io::ReaderStream;

use crate::api::access::Access;
use crate::api::problem::{ProblemBody, Refused};
use crate::api::range::{Ranged, ranged};
use crate::api::routes::{Answer, Route};
use crate::api::server::Shared;
use crate::daemon::command::OperatorError;
use crate::model::checkpoint::OutputFile;
use crate::output::Kind;
use crate::output::files::{FOLDER, FileName};
use crate::output::segments;
use crate::state::atomic_file::{Content, judge, open_regular};
use crate::state::paths::SessionPaths;
use crate::store::reader::Reader;

pub(super) const ROUTES: &[Route] = &[
    Route::get("/sessions/{id}/outputs", Access::Read, "Record files of a session", || get(outputs))
        .answers::<Outputs>(),
    Route::get(
        "/sessions/{id}/outputs/{*name}",
        Access::Read,
        "One file: a record file by its name, or a page's file by the path in its record; ranges are served",
        || get(download),
    )
    .serves("application/octet-stream"),
];

/// Read from a file and sent at once.
const CHUNK: usize = 64 << 10;

/// A record file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OutputView {
    /// Its name, for the download; `.gz` where it was compressed.
    pub name: String,
    /// Bytes of a download: what is committed, or the compressed file.
    pub bytes: u64,
    /// No more records come.
    pub sealed: bool,
    /// Whether it is compressed.
    pub compressed: bool,
}

/// The record files of a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Outputs {
    /// Absolute path of their folder.
    pub folder: String,
    /// `urls-*` and `pages-*`, by name.
    pub outputs: Vec<OutputView>,
}

/// What is committed: by the store, or without one all that is there, since nobody writes any more.
fn committed(paths: &SessionPaths) -> Result<Option<(u64, Vec<OutputFile>)>, OperatorError> {
    if !paths.store().exists() {
        return Ok(None);
    }
    let io = |error: crate::store::StoreError| OperatorError::Io(error.to_string());
    let reader = Reader::open(&paths.store()).map_err(io)?;
    let read = |reader: &Reader| {
        let files = reader.outputs()?.into_iter().map(|row| row.file).collect();
        Ok((reader.counters()?.0, files))
    };
    reader.snapshot(read).map(Some).map_err(io)
}

fn listed(paths: &SessionPaths) -> Result<Outputs, OperatorError> {
    let out = paths.out();
    let committed = committed(paths)?;
    let mut outputs = Vec::new();
    for kind in Kind::ALL {
        let found =
            segments::list(&out, kind).map_err(|error| OperatorError::Io(format!("`{}`: {error}", out.display())))?;
        for segment in found {
            let name = segment.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let plain = kind.name(segment.number);
            let known = committed.as_ref().map(|(_, files)| files.iter().find(|file| file.name == plain));
            let on_disk = std::fs::symlink_metadata(&segment.path).map_or(0, |meta| meta.len());
            let compressed = name != plain;
            let (bytes, sealed) = match known {
                None => (on_disk, true),
                Some(Some(file)) if compressed => (on_disk, file.sealed),
                Some(Some(file)) => (file.committed_length, file.sealed),
                // Begun, and nothing of it committed.
                Some(None) => continue,
            };
            outputs.push(OutputView { name, bytes, sealed, compressed });
        }
    }
    outputs.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(Outputs { folder: out.display().to_string(), outputs })
}

async fn outputs(State(shared): State<Shared>, Path(session): Path<String>) -> Answer<Outputs> {
    Ok(Json(shared.at_session(&session, listed).await?))
}

/// A file that is there to be had, how long it is, and what it is.
type Opened = (File, u64, &'static str);

/// Opens a file that a commit has named; `None`: there is none of this name.
fn open(paths: &SessionPaths, name: &str) -> Result<Option<Opened>, OperatorError> {
    let out = paths.out();
    let path = out.join(name);
    let mut folders = vec![out.clone()];
    let length = if let Some((kind, number, packed)) = Kind::parse(name) {
        match committed(paths)? {
            _ if packed => None,
            None => None,
            Some((_, files)) => {
                let plain = kind.name(number);
                let Some(file) = files.iter().find(|file| file.name == plain) else { return Ok(None) };
                Some(file.committed_length)
            }
        }
    } else if let Some(file) = FileName::parse(name) {
        let newer = committed(paths)?.is_some_and(|(seq, _)| file.seq > seq);
        if newer {
            return Ok(None);
        }
        folders.push(out.join(FOLDER));
        folders.extend(path.parent().map(std::path::Path::to_owned));
        None
    } else {
        return Ok(None);
    };
    // Nothing is read through a link.
    if folders.iter().any(|folder| !std::fs::symlink_metadata(folder).is_ok_and(|meta| meta.is_dir())) {
        return Ok(None);
    }
    let io = |error: io::Error| OperatorError::Io(format!("`{}`: {error}", path.display()));
    let file = match judged(open_regular(&path)) {
        Ok(Some(file)) => file,
        Ok(None) => return Ok(None),
        Err(error) => return Err(io(error)),
    };
    let on_disk = file.metadata().map_err(io)?.len();
    Ok(Some((file, length.map_or(on_disk, |length| length.min(on_disk)), media_type(name))))
}

/// What is no file of ours is not there.
fn judged(opened: io::Result<File>) -> io::Result<Option<File>> {
    opened.map(Some).or_else(|error| match judge(error) {
        Content::Refused(error) => Err(error),
        Content::Missing | Content::Wrong(_) | Content::Bytes(_) => Ok(None),
    })
}

fn media_type(name: &str) -> &'static str {
    match name.rsplit('.').next() {
        Some("jsonl") => "application/x-ndjson",
        Some("gz") => "application/gzip",
        Some("png") => "image/png",
        Some("pdf") => "application/pdf",
        _ => "application/octet-stream",
    }
}

async fn download(
    State(shared): State<Shared>,
    Path((session, name)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    // A part is only wanted of the file that the client has begun with; we name no version of it.
    let range = headers.get(header::RANGE).filter(|_| !headers.contains_key(header::IF_RANGE));
    let range = range.and_then(|value| value.to_str().ok()).map(str::to_owned);
    let look = move |paths: &SessionPaths| {
        let Some((mut file, length, media_type)) = open(paths, &name)? else { return Ok(None) };
        let part = ranged(range.as_deref(), length);
        if let Ranged::Part(first, _) = part {
            file.seek(SeekFrom::Start(first)).map_err(|error| OperatorError::Io(error.to_string()))?;
        }
        Ok(Some((file, length, media_type, part, name)))
    };
    let Some((file, length, media_type, part, name)) = shared.at_session(&session, look).await? else {
        let detail = "the session has no such output: `GET /sessions/{id}/outputs` lists them";
        return Err(ProblemBody::request(StatusCode::NOT_FOUND, detail).into());
    };
    let (status, bytes, content_range) = match part {
        Ranged::Whole => (StatusCode::OK, length, None),
        Ranged::Part(first, last) => {
            (StatusCode::PARTIAL_CONTENT, last - first + 1, Some(format!("bytes {first}-{last}/{length}")))
        }
        Ranged::Beyond => {
            let detail = format!("the file has {length} bytes");
            let problem = ProblemBody::coded("range", StatusCode::RANGE_NOT_SATISFIABLE, detail);
            return Ok(([(header::CONTENT_RANGE, format!("bytes */{length}"))], problem).into_response());
        }
    };
    let base = name.rsplit('/').next().unwrap_or_default();
    let mut response = (
        status,
        [
            (header::CONTENT_TYPE, media_type.to_owned()),
            (header::CONTENT_LENGTH, bytes.to_string()),
            (header::ACCEPT_RANGES, "bytes".to_owned()),
            // Pages of others are in there: they are saved, not shown.
            (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{base}\"")),
        ],
        Body::from_stream(ReaderStream::with_capacity(tokio::fs::File::from_std(file).take(bytes), CHUNK)),
    )
        .into_response();
    if let Some(value) = content_range.and_then(|text| text.parse().ok()) {
        response.headers_mut().insert(header::CONTENT_RANGE, value);
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::state::paths::StateDir;

    #[test]
    fn only_names_that_a_commit_gives_are_opened_and_nothing_through_a_link() {
        let temp = tempfile::tempdir().unwrap();
        let dir = StateDir::open(temp.path()).unwrap();
        let paths = dir.session(&"s1".parse().unwrap());
        paths.create().unwrap();
        let out = paths.out();
        std::fs::write(out.join("pages-00001.jsonl"), "{}\n").unwrap();
        std::fs::write(out.join("notes.txt"), "mine").unwrap();
        std::fs::create_dir_all(out.join("files/00000")).unwrap();
        std::fs::write(out.join("files/00000/00000007-12.png"), "picture").unwrap();
        symlink("/etc/hostname", out.join("pages-00002.jsonl")).unwrap();
        symlink("/etc", out.join("files/00001")).unwrap();
        let length = |name: &str| open(&paths, name).unwrap().map(|(_, length, media_type)| (length, media_type));
        assert_eq!(length("pages-00001.jsonl"), Some((3, "application/x-ndjson")));
        assert_eq!(length("files/00000/00000007-12.png"), Some((7, "image/png")));
        for name in [
            "notes.txt",
            "pages-00002.jsonl",
            "pages-00003.jsonl",
            "pages-1.jsonl",
            "../task.json",
            "../../../api-token",
            "/etc/passwd",
            "files/00001/hostname",
            "files/../pages-00001.jsonl",
            "files/new/1",
            "./pages-00001.jsonl",
            "",
        ] {
            assert!(length(name).is_none(), "{name:?}");
        }
        let shown = listed(&paths).unwrap().outputs;
        assert_eq!(shown.iter().find(|file| file.name == "pages-00001.jsonl").map(|file| file.bytes), Some(3));
    }
}
