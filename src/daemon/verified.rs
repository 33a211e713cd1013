//! What a verification says of a session.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::crawl::committer::StorePaths;
use crate::crawl::verify::{VerifyError, verify};
use crate::model::counters::Counters;
use crate::model::ids::{CommitSeq, SessionId};
use crate::state::end_note;
use crate::state::paths::SessionPaths;
use crate::store::StoreError;

/// What was found out about one session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Verified {
    /// The session.
    pub session_id: SessionId,
    /// Everything is as promised.
    pub ok: bool,
    /// The commit that was verified.
    pub commit_seq: Option<CommitSeq>,
    /// URL records read.
    pub url_records: u64,
    /// Page records read.
    pub page_records: u64,
    /// Totals as stored.
    pub counters: Option<Counters>,
    /// All of them; `problems` tells the first hundred.
    pub problem_count: u64,
    /// In sentences, the first hundred.
    pub problems: Vec<String>,
    /// Why there was nothing to verify.
    pub note: Option<String>,
    /// A newer crawld wrote its store.
    #[serde(skip, default)]
    pub too_new: bool,
}

/// Verifies a session, whoever runs it: every record, counter and output against the store. Reads whole files.
pub fn verified(paths: &SessionPaths) -> Verified {
    let mut verified = Verified {
        session_id: paths.id().clone(),
        ok: true,
        commit_seq: None,
        url_records: 0,
        page_records: 0,
        counters: None,
        problem_count: 0,
        problems: Vec::new(),
        note: None,
        too_new: false,
    };
    if !paths.store().exists() && end_note::read(paths).good().is_some() {
        verified.note = Some("cleaned up: its store is gone, nothing to verify against".to_owned());
        return verified;
    }
    if !paths.dir().is_dir() {
        verified.ok = false;
        verified.problem_count = 1;
        verified.problems = vec![format!("`{}` is no directory: nothing is left to verify", paths.dir().display())];
        return verified;
    }
    let places = StorePaths { db: paths.store(), out: paths.out(), quarantine: paths.damaged() };
    match verify(&places) {
        Ok(report) => {
            verified.ok = report.sound();
            verified.commit_seq = Some(report.seq);
            verified.url_records = report.url_records;
            verified.page_records = report.page_records;
            verified.counters = Some(report.counters);
            verified.problem_count = report.problem_count;
            verified.problems = report.problems;
        }
        Err(error) => {
            verified.ok = false;
            verified.problem_count = 1;
            verified.problems = vec![error.to_string()];
            verified.too_new = matches!(error, VerifyError::Store(StoreError::TooNew { .. }));
        }
    }
    verified
}
