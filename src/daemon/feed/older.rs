//! Events that the ring does not hold any more: pages out of the outputs, the rest out of the history.

use std::io;

use bytes::Bytes;

use crate::model::event::EventId;
use crate::model::ids::CommitSeq;
use crate::output::since::pages_since;
use crate::state::paths::SessionPaths;
use crate::store::reader::Reader;

use super::history::{self, Memory};

/// Pages read at once.
const CHUNK: usize = 512;

/// What a session that runs knows: its last commit, what it remembers, and up to which number that may lack something.
pub(super) type Known = (CommitSeq, Vec<(EventId, Bytes)>, EventId);

/// What is asked for.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) paths: SessionPaths,
    /// After this number.
    pub(super) after: EventId,
    /// Up to this one.
    pub(super) upto: EventId,
    /// Of a session that runs; else the files tell.
    pub(super) running: Option<Known>,
    pub(super) keep: std::time::Duration,
}

/// What was found.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) texts: Vec<Bytes>,
    /// Of what is no page, this stretch is gone.
    pub(super) gone: Option<(EventId, EventId)>,
    /// Everything up to here has been told.
    pub(super) last: EventId,
    /// There is no more up to the number asked for.
    pub(super) end: bool,
}

/// Reads the next stretch. Blocks on files.
///
/// # Errors
/// What the system says.
pub(super) fn read(asked: &Asked) -> io::Result<Found> {
    let (committed, others, floor) = match &asked.running {
        Some((committed, others, floor)) => (*committed, others.clone(), *floor),
        None => {
            let memory: Memory = history::load(&asked.paths.events(), None, asked.keep);
            (committed_at_rest(&asked.paths), memory.between(asked.after, asked.upto).collect(), memory.floor())
        }
    };
    let stretch = (asked.after, asked.upto);
    let pages = pages_since(&asked.paths.out(), asked.paths.id(), stretch, committed, CHUNK)?;
    let end = pages.len() < CHUNK;
    let last = match pages.last() {
        Some(page) if !end => page.id,
        _ => asked.upto,
    };
    let told = others.into_iter().filter(|(id, _)| *id <= last);
    let mut all: Vec<(EventId, Bytes)> = told.collect();
    for page in pages {
        all.push((page.id, serde_json::to_vec(&page).map_err(io::Error::other)?.into()));
    }
    all.sort_by_key(|(id, _)| *id);
    let newest = all.last().map_or(asked.after, |(id, _)| *id);
    let gone = (asked.after < floor).then(|| (asked.after, floor.min(last)));
    Ok(Found {
        texts: all.into_iter().map(|(_, text)| text).collect(),
        gone: gone.filter(|(from, to)| from < to),
        last: if end && asked.upto == EventId::LAST { newest } else { last },
        end,
    })
}

/// The last commit of a session that nobody runs: what its outputs hold beyond it was never told. One whose store was
/// cleaned up had ended, and all of it is committed; of one that cannot be read nothing is believed.
fn committed_at_rest(paths: &SessionPaths) -> CommitSeq {
    if !paths.store().exists() {
        return CommitSeq::MAX;
    }
    Reader::at_rest(&paths.store()).and_then(|reader| reader.counters()).map_or(0, |(seq, _)| seq)
}
