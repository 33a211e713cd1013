//! Checkpoint files: bounded in size, replaced durably, the one before kept as `.prev`.

use serde::Serialize;

use crate::model::checkpoint::{Checkpoint, Excerpt};
use crate::state::atomic_file::{FileError, replace_keeping};
use crate::state::envelope::{self, Document, Envelope, Reading, seal};
use crate::state::paths::SessionPaths;

/// Largest checkpoint in bytes.
pub const CHECKPOINT_MAX: usize = 1 << 20;

/// The newest checkpoint format.
pub const CHECKPOINT_FORMAT: u32 = 1;

impl Document for Checkpoint {
    const FORMAT: u32 = CHECKPOINT_FORMAT;
    const CAP: u64 = 4 * CHECKPOINT_MAX as u64;
}

/// Both generations of a session's checkpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct Checkpoints {
    /// The newest.
    pub current: Reading<Checkpoint>,
    /// The one before.
    pub previous: Reading<Checkpoint>,
}

impl Checkpoints {
    /// The newest one that is whole.
    pub fn best(&self) -> Option<(&Checkpoint, &Envelope)> {
        self.current.good().or_else(|| self.previous.good())
    }

    /// Whether either was written by a newer program.
    pub fn too_new(&self) -> bool {
        self.current.too_new() || self.previous.too_new()
    }
}

/// Reads both generations.
pub fn read(paths: &SessionPaths) -> Checkpoints {
    let one = |path| {
        envelope::read::<Checkpoint>(path).filter(|c| c.session_id == *paths.id(), "it belongs to another session")
    };
    Checkpoints { current: one(&paths.checkpoint()), previous: one(&paths.checkpoint_prev()) }
}

/// Writes a session's checkpoints, counting generations.
#[derive(Debug)]
pub struct CheckpointWriter {
    paths: SessionPaths,
    generation: u64,
}

impl CheckpointWriter {
    /// A writer that continues the generations found on disk.
    pub fn open(paths: &SessionPaths) -> Self {
        let found = read(paths);
        let newest = |r: &Reading<Checkpoint>| r.good().map_or(0, |(_, envelope)| envelope.generation);
        let generation = newest(&found.current).max(newest(&found.previous));
        CheckpointWriter { paths: paths.clone(), generation }
    }

    /// The generation last written or found; 0 when there is none.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Writes one checkpoint durably and returns its generation. Lists are shortened until the whole
    /// fits into [`CHECKPOINT_MAX`].
    ///
    /// # Errors
    /// What the system said; the former checkpoint is then still there.
    pub fn write(&mut self, mut checkpoint: Checkpoint) -> Result<u64, FileError> {
        let path = self.paths.checkpoint();
        let next = self.generation + 1;
        let facts = Envelope::new::<Checkpoint>(next, checkpoint.recovery_metadata.commit_seq);
        let bytes = fit(&mut checkpoint, &facts, CHECKPOINT_MAX)
            .map_err(|e| FileError::at("write as JSON", &path, e.into()))?;
        // A damaged current file must not push a good `.prev` out.
        if envelope::read::<Checkpoint>(&path).good().is_some() {
            replace_keeping(&path, &self.paths.checkpoint_prev(), &bytes)?;
        } else {
            super::atomic_file::replace_shared(&path, &bytes, super::Durability::Full)?;
        }
        self.generation = next;
        Ok(next)
    }
}

/// Seals a checkpoint, halving its largest list until the whole fits.
fn fit(checkpoint: &mut Checkpoint, facts: &Envelope, max: usize) -> serde_json::Result<Vec<u8>> {
    loop {
        let bytes = seal(checkpoint, facts)?;
        if bytes.len() <= max || !shrink(checkpoint)? {
            return Ok(bytes);
        }
    }
}

fn size(part: &impl Serialize) -> serde_json::Result<usize> {
    serde_json::to_vec(part).map(|bytes| bytes.len())
}

/// Halves the part that takes most room; `false` when nothing is left to give up.
fn shrink(checkpoint: &mut Checkpoint) -> serde_json::Result<bool> {
    let c = checkpoint;
    let sizes = [
        size(&c.active_urls.items)?,
        size(&c.completed_urls.items)?,
        size(&c.failed_urls.items)?,
        size(&c.extraction_results.items)?,
        size(&c.adaptive_delays_state)?,
        size(&c.circuit_breaker_state)?,
        size(&c.recovery_metadata.suspects)?,
        size(&c.crawler_state.sites)?,
        size(&c.crawler_state.fetch_modes)?,
    ];
    let (largest, bytes) = sizes.iter().enumerate().max_by_key(|(_, size)| **size).unwrap_or((0, &0));
    if *bytes <= 64 {
        return Ok(false);
    }
    match largest {
        0 => halve(&mut c.active_urls),
        1 => halve(&mut c.completed_urls),
        2 => halve(&mut c.failed_urls),
        3 => halve(&mut c.extraction_results),
        4 => {
            // Hosts that may be asked latest are the ones whose memory matters most.
            let mut due: Vec<_> = c.adaptive_delays_state.values().map(|h| h.next_at).collect();
            due.sort();
            let middle = due[due.len() / 2];
            let keep = due.len() / 2;
            c.adaptive_delays_state.retain(|_, host| host.next_at > middle);
            if c.adaptive_delays_state.len() < keep / 2 {
                c.adaptive_delays_state.clear();
            }
        }
        5 => halve_map(&mut c.circuit_breaker_state),
        6 => c.recovery_metadata.suspects.truncate(c.recovery_metadata.suspects.len() / 2),
        7 => halve_map(&mut c.crawler_state.sites),
        _ => halve_map(&mut c.crawler_state.fetch_modes),
    }
    let hint = "some lists were shortened to keep the checkpoint below 1 MiB; the store has them whole".to_owned();
    if !c.recovery_metadata.hints.contains(&hint) {
        c.recovery_metadata.hints.push(hint);
    }
    Ok(true)
}

fn halve<T>(list: &mut Excerpt<T>) {
    list.items.truncate(list.items.len() / 2);
    list.truncated = true;
}

fn halve_map<V>(map: &mut std::collections::BTreeMap<String, V>) {
    let keep = map.len() / 2;
    let cut = map.keys().nth(keep).cloned();
    if let Some(cut) = cut {
        map.split_off(&cut);
    }
}

/// A small whole checkpoint for the tests of this and other modules.
#[cfg(test)]
pub(crate) fn sample(id: &str, commit_seq: u64) -> Checkpoint {
    use crate::model::checkpoint::{CrawlerState, ProgressSnapshot, RecoveryMetadata};
    use crate::model::time::Timestamp;
    Checkpoint {
        session_id: id.parse().unwrap(),
        task_id: "task".parse().unwrap(),
        checkpoint_time: Timestamp::from_millis(1_763_719_200_000),
        progress_snapshot: ProgressSnapshot {
            status: crate::model::session::SessionStatus::Active,
            stop_reason: None,
            counters: crate::model::counters::Counters { discovered: 10, queued: 6, fetched: 4, ..Default::default() },
            pages_per_second: 1.0,
            active_seconds: 4.0,
            estimated_progress: 0.4,
            session_start: Timestamp::from_millis(1_763_719_000_000),
            failures_by_class: Default::default(),
            skips_by_reason: Default::default(),
            parked_by_reason: Default::default(),
        },
        crawler_state: CrawlerState {
            epoch: 1,
            fetch_modes: Default::default(),
            sites: Default::default(),
            fetch_mode: crate::model::task::FetchMode::Http,
            limits_used: Default::default(),
            robots_known: 1,
            sitemaps: Default::default(),
            cookie_jar: None,
            canonical_version: 1,
            egress: None,
        },
        circuit_breaker_state: Default::default(),
        adaptive_delays_state: Default::default(),
        active_urls: Default::default(),
        completed_urls: Default::default(),
        failed_urls: Default::default(),
        extraction_results: Default::default(),
        browser_session_info: None,
        recovery_metadata: RecoveryMetadata { commit_seq, ..Default::default() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::checkpoint::UrlEntry;
    use crate::model::host::HostState;
    use crate::model::time::Timestamp;
    use crate::state::paths::StateDir;
    use std::fs;

    #[test]
    fn generations_continue_over_writers_and_damage_falls_back() {
        let temp = tempfile::tempdir().unwrap();
        let paths = StateDir::open(temp.path()).unwrap().session(&"s1".parse().unwrap());
        assert_eq!(CheckpointWriter::open(&paths).write(sample("s1", 5)).unwrap(), 1);
        assert_eq!(CheckpointWriter::open(&paths).write(sample("s1", 6)).unwrap(), 2);
        fs::write(paths.checkpoint(), "{").unwrap();
        let found = read(&paths);
        assert!(matches!(found.current, Reading::Damaged(_)));
        assert_eq!(found.best().unwrap().1.commit_seq, 5);
        // Writing over the damaged one keeps the good `.prev`.
        assert_eq!(CheckpointWriter::open(&paths).write(sample("s1", 7)).unwrap(), 2);
        let found = read(&paths);
        let seqs = [&found.current, &found.previous].map(|r| r.good().unwrap().1.commit_seq);
        assert_eq!(seqs, [7, 5]);
    }

    #[test]
    fn a_checkpoint_of_another_session_is_not_believed() {
        let temp = tempfile::tempdir().unwrap();
        let dir = StateDir::open(temp.path()).unwrap();
        let (a, b) = (dir.session(&"a".parse().unwrap()), dir.session(&"b".parse().unwrap()));
        CheckpointWriter::open(&a).write(sample("a", 1)).unwrap();
        fs::copy(a.checkpoint(), b.checkpoint()).unwrap();
        assert!(matches!(read(&b).current, Reading::Damaged(_)));
    }

    #[test]
    fn never_larger_than_the_limit_and_honest_about_it() {
        let mut large = sample("s1", 1);
        let entry = |n| UrlEntry { n, url: "x".repeat(2000), attempt: 1, outcome: None, detail: None };
        for list in [&mut large.active_urls, &mut large.completed_urls, &mut large.failed_urls] {
            *list = Excerpt { total: 1000, truncated: false, items: (0..1000).map(entry).collect() };
        }
        for n in 0..20_000 {
            let host = HostState { next_at: Timestamp::from_millis(n), ..Default::default() };
            large.adaptive_delays_state.insert(format!("http://host-{n}"), host);
        }
        let bytes = fit(&mut large, &Envelope::new::<Checkpoint>(1, 1), CHECKPOINT_MAX).unwrap();
        assert!(bytes.len() <= CHECKPOINT_MAX && bytes.len() > CHECKPOINT_MAX / 8, "{}", bytes.len());
        let Reading::Good(back, _) = envelope::unseal::<Checkpoint>(&bytes) else { panic!() };
        assert!(back.active_urls.truncated && back.active_urls.total == 1000);
        assert_eq!(back.active_urls.items[0].n, 0, "the newest stay");
        assert!(back.adaptive_delays_state.contains_key("http://host-19999"));
        assert!(!back.recovery_metadata.hints.is_empty());
    }
}
