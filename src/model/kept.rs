//! What a page leaves behind by option, besides the usual fields of its record.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::outcome::closed_list;
use crate::model::watched::{ConsoleMessage, PageRequest};

closed_list! {
    /// A thing that a page can leave behind by option.
    KeptKind {
        /// The main content as Markdown.
        Markdown = "markdown",
        /// Description, language, OpenGraph and the like.
        Metadata = "metadata",
        /// The HTML after rendering, or as received and decoded: a file, gzipped.
        Html = "html",
        /// A picture: a PNG file.
        Screenshot = "screenshot",
        /// The page as it would be printed: a PDF file.
        Pdf = "pdf",
        /// What it is itself, where it is no page but a download: a file as received and decoded.
        Download = "download",
        /// The text of a PDF document.
        PdfText = "pdf_text",
        /// What its console said.
        Console = "console",
        /// What it asked for.
        Requests = "requests",
    }
}

closed_list! {
    /// What a picture of a page shows.
    Screenshot {
        /// What the window shows; see `fetch.viewport`.
        Viewport = "viewport",
        /// The page to its end, or to 21 million pixels.
        Full = "full",
    }
}

impl KeptKind {
    /// The end of its file's name; `None` for what stands in the record itself.
    pub const fn extension(self) -> Option<&'static str> {
        match self {
            KeptKind::Html => Some("html.gz"),
            KeptKind::Screenshot => Some("png"),
            KeptKind::Pdf => Some("pdf"),
            KeptKind::Download => Some("bin"),
            KeptKind::Markdown | KeptKind::Metadata | KeptKind::PdfText | KeptKind::Console | KeptKind::Requests => {
                None
            }
        }
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
    /// What the page's console said, oldest first; absent where the task does not ask for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub console: Option<Vec<ConsoleMessage>>,
    /// What the page asked for, oldest first; absent where the task does not ask for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<Vec<PageRequest>>,
    /// Files, all written and named in the same commit as the record.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<KeptFile>,
    /// What the task asks for and is not here, or not whole.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<LeftOut>,
}

impl LeftOut {
    /// What is missing, and why.
    pub fn new(kind: KeptKind, reason: impl Into<String>) -> Self {
        LeftOut { kind, reason: reason.into() }
    }
}

/// A file that a page left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KeptFile {
    /// What it is.
    pub kind: KeptKind,
    /// Its name below the folder of the outputs (`out/`).
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// Hex digest of its bytes.
    pub sha256: String,
    /// The name it has until its commit.
    #[serde(skip)]
    pub passing: String,
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
    /// What the console said.
    pub console: Option<Vec<ConsoleMessage>>,
    /// What the page asked for.
    pub requests: Option<Vec<PageRequest>>,
    /// Files as they are to be kept.
    pub files: Vec<(KeptKind, Vec<u8>)>,
    /// What was asked for and could not be had.
    pub left_out: Vec<LeftOut>,
}

/// A page's HTML: rendered, or as received and decoded.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Source {
    /// The text.
    pub html: String,
    /// It is the beginning only.
    pub cut: bool,
    /// A rendered document in standards mode, whose type is not part of the text.
    pub standards: bool,
}
