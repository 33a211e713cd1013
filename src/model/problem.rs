//! What is wrong with something that a person wrote: where, and what to write instead.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One bad place in a config, a task or a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, thiserror::Error)]
#[error("{place}: {message}")]
pub struct Problem {
    /// Where: file with line, environment variable or flag, and the key.
    pub place: String,
    /// What is wrong, and what to write instead.
    pub message: String,
}

impl Problem {
    /// A problem at a place.
    pub fn new(place: impl Into<String>, message: impl Into<String>) -> Self {
        Problem { place: place.into(), message: message.into() }
    }
}
