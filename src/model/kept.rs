//! What a page leaves behind by option, besides the usual fields of its record.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::outcome::closed_list;

closed_list! {
    /// A thing that a page can leave behind by option.
    KeptKind {
        /// The main content as Markdown.
        Markdown = "markdown",
        /// Description, language, OpenGraph and the like.
        Metadata = "metadata",
    }
}

/// What a page leaves behind by option: part of its record.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Kept {
    /// The main content as Markdown, bounded by the task's `text_max_bytes`; `None` where the task does
    /// not ask for it or the page has none.
    pub markdown: Option<String>,
    /// What the page says about itself; `None` where the task does not ask for it.
    pub metadata: Option<Box<PageMetadata>>,
    /// What the task asks for and is not here, or not whole.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<LeftOut>,
}

/// What was asked for and is not kept, or not whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LeftOut {
    /// What.
    pub kind: KeptKind,
    /// Why, in words; control characters escaped.
    pub reason: String,
}

/// What a page says about itself. Every text is folded and cut at 4,096 bytes.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct PageMetadata {
    /// The `title` element.
    pub title: Option<String>,
    /// `meta name="description"`.
    pub description: Option<String>,
    /// `link rel="canonical"`, absolute.
    pub canonical: Option<String>,
    /// `lang` of the `html` element.
    pub language: Option<String>,
    /// `meta property` of OpenGraph and its kin (`og:`, `article:`, `twitter:` and so on) by name, at most 100 values.
    pub open_graph: BTreeMap<String, Vec<String>>,
    /// JSON-LD blocks that are JSON, at most 20 and 64 KiB together.
    pub json_ld: Vec<serde_json::Value>,
    /// First-level headings, at most 20.
    pub h1: Vec<String>,
}

/// What a visit brings for things that are made after it. Never part of a record.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Raw {
    /// The page's HTML.
    pub source: Option<Source>,
}

/// A page's HTML: rendered, or as received and decoded.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Source {
    /// The text.
    pub html: String,
    /// It is the beginning only.
    pub cut: bool,
}
