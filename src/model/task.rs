//! What to crawl: the task, as submitted in a TOML file, on a command line or by the API.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::conduct::{BasicAuth, HeaderSpec, PageSpec};
use crate::model::duration::Span;
use crate::model::ids::TaskId;
use crate::model::kept::{KeptKind, Screenshot};
use crate::model::login::LoginSpec;
use crate::model::outcome::closed_list;
use crate::model::proxy::ProxySpec;
use crate::model::watched::ConsoleLevel;

closed_list! {
    /// How far links are followed from the seeds.
    ScopePreset {
        /// The seeds themselves only, http and https alike.
        Page = "page",
        /// URLs under the directory of a seed, on its host.
        Prefix = "prefix",
        /// The seed's host and port, http and https alike, with and without `www.`.
        Host = "host",
        /// The seed's registrable domain and everything below it.
        Domain = "domain",
        /// Everything.
        Any = "any",
        /// Only what an include pattern matches.
        Custom = "custom",
    }
}

closed_list! {
    /// How pages are fetched.
    FetchMode {
        /// Rendered by Chromium.
        Browser = "browser",
        /// Plain HTTP, parsed as it streams.
        Http = "http",
        /// Plain HTTP where it finds the same as the browser, and the browser elsewhere: learned.
        Auto = "auto",
    }
}

impl FetchMode {
    /// The mode with whose visits those of this one are counted: a page of `auto` begins as a plain one.
    pub fn lane(self) -> FetchMode {
        match self {
            FetchMode::Browser => FetchMode::Browser,
            FetchMode::Http | FetchMode::Auto => FetchMode::Http,
        }
    }

    /// Whether pages may be rendered.
    pub fn needs_browser(self) -> bool {
        self != FetchMode::Http
    }
}

closed_list! {
    /// Whether robots.txt is obeyed.
    RobotsPolicy {
        /// RFC 9309.
        Obey = "obey",
        /// Not even asked for.
        Ignore = "ignore",
    }
}

/// A crawl task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TaskSpec {
    /// Name of the task; by default the file's name, or the first seed's host and a short hash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<TaskId>,
    /// Where the crawl starts: http and https URLs.
    pub seeds: Vec<String>,
    /// Sitemaps to read besides those that robots.txt names.
    #[serde(default)]
    pub sitemaps: Vec<String>,
    /// Which links belong to the crawl.
    #[serde(default)]
    pub scope: ScopeSpec,
    /// When to stop.
    #[serde(default)]
    pub limits: LimitSpec,
    /// How gently hosts are treated.
    #[serde(default)]
    pub politeness: PolitenessSpec,
    /// How pages are fetched.
    #[serde(default)]
    pub fetch: FetchSpec,
    /// How the session logs in before it crawls; none: it does not.
    #[serde(default)]
    pub login: Option<LoginSpec>,
    /// What is done with a page beyond loading it.
    #[serde(default)]
    pub page: PageSpec,
    /// What is kept of a page.
    #[serde(default)]
    pub extract: ExtractSpec,
    /// Private networks that this task may reach, as CIDR or addresses.
    #[serde(default)]
    pub allow_private_networks: Vec<String>,
    /// Write down every decision and event, for `crawld replay`: the last 64 MiB of them.
    #[serde(default)]
    pub record: bool,
    /// A task file runs once per task hash; with `rerun = true` it starts anew after each end, a session each time.
    #[serde(default)]
    pub rerun: bool,
    /// The pause between such an end and the next start.
    #[serde(default = "rerun_after")]
    pub rerun_after: Span,
    /// Continue with changed scope when the task file was edited, instead of starting over.
    #[serde(default)]
    pub resume_with_new_scope: bool,
}

/// A site that is crawled over and over is asked once a day.
fn rerun_after() -> Span {
    Span::secs(86_400)
}

/// Which links belong to the crawl.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ScopeSpec {
    /// How far links are followed from the seeds.
    pub preset: ScopePreset,
    /// Regexes; when given, a URL must match one (with `custom` they alone decide).
    pub include: Vec<String>,
    /// Regexes; a URL that matches one is outside.
    pub exclude: Vec<String>,
    /// Links followed from a seed at most; none: no limit.
    pub max_depth: Option<u32>,
    /// Links followed beyond the scope's edge.
    pub extra_hops: u32,
    /// Read the sitemaps that robots.txt of a seed's host names.
    pub use_sitemaps: bool,
    /// Try `/sitemap.xml` of a seed's host whose robots.txt names no sitemap.
    pub probe_sitemaps: bool,
    /// Ended and queued URLs per host at most before new ones are parked.
    pub host_budget: u64,
    /// URLs per path template at most before new ones are parked. A template is a path with its numbers and ids taken
    /// out: that of a calendar, of a forum's threads.
    pub pattern_budget: u64,
    /// Distinct parameter sets per path template at most before new ones are parked.
    pub query_budget: u64,
}

impl Default for ScopeSpec {
    fn default() -> Self {
        ScopeSpec {
            preset: ScopePreset::Host,
            include: Vec::new(),
            exclude: Vec::new(),
            max_depth: None,
            extra_hops: 0,
            use_sitemaps: true,
            probe_sitemaps: false,
            host_budget: 10_000_000,
            pattern_budget: 100_000,
            query_budget: 10_000,
        }
    }
}

/// When to stop. `None` is unlimited.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LimitSpec {
    /// Pages fetched; sitemaps are none.
    pub max_pages: Option<u64>,
    /// Body bytes received.
    pub max_bytes: Option<u64>,
    /// URLs failed.
    pub max_failures: Option<u64>,
    /// Active time over all epochs; by default the daemon's `max_session_duration`.
    pub max_session_duration: Option<Span>,
}

/// How gently hosts are treated.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PolitenessSpec {
    /// Smallest pause between request starts on one host; `0ms` switches the adaptive part off too.
    pub delay: Span,
    /// Largest pause that the adaptive part may choose.
    pub max_delay: Span,
    /// Requests in flight on one host at most.
    pub per_host: u32,
    /// robots.txt: obey or ignore.
    pub robots: RobotsPolicy,
    /// `Crawl-delay` and `Retry-After` are capped here.
    pub max_retry_after: Span,
    /// After this long behind an open breaker a host's URLs end as failed(host_unreachable).
    pub host_give_up_after: Span,
}

impl Default for PolitenessSpec {
    fn default() -> Self {
        PolitenessSpec {
            delay: Span::millis(250),
            max_delay: Span::secs(30),
            per_host: 2,
            robots: RobotsPolicy::Obey,
            max_retry_after: Span::secs(3600),
            host_give_up_after: Span::secs(3600),
        }
    }
}

/// How pages are fetched.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FetchSpec {
    /// By Chromium, by plain HTTP, or by whichever a page needs.
    pub mode: FetchMode,
    /// Visits at once at most; none: by cores and memory.
    pub tabs: Option<u32>,
    /// The user agent; none: Chromium's own with crawld's token appended.
    pub user_agent: Option<String>,
    /// Deadline of a whole visit; a page that has to be loaded a second time gets 10 s for that however little is left.
    pub page_timeout: Span,
    /// Attempts per URL.
    pub attempts: u32,
    /// Redirects followed at most.
    pub max_redirects: u32,
    /// Body bytes after decompression at most.
    pub max_body_bytes: u64,
    /// Sent as Accept-Language; none: the browser's own.
    pub accept_language: Option<String>,
    /// Ignore certificate errors.
    pub ignore_https_errors: bool,
    /// The size of the window that pages see, `1280x1024`; none: the browser's own.
    pub viewport: Option<String>,
    /// Device pixels per pixel of the page; none: 1.
    pub device_scale: Option<f64>,
    /// Pages are laid out as on a telephone: their viewport tag holds, scroll bars lie over the page.
    pub mobile: bool,
    /// Pages see a touch screen.
    pub touch: bool,
    /// The time zone that pages see, `Europe/Vienna`; none: the machine's own.
    pub timezone: Option<String>,
    /// Request headers by host. Values that are secrets are named, `env:NAME` or `file:PATH`, and read at use.
    pub headers: HeaderSpec,
    /// Cookies to begin with: a file in Netscape's format or a JSON list.
    pub cookies_file: Option<String>,
    /// User name and password by host.
    pub auth: BTreeMap<String, BasicAuth>,
    /// A proxy that every connection to a site goes through; none: they are made from here.
    pub proxy: Option<ProxySpec>,
}

impl Default for FetchSpec {
    fn default() -> Self {
        FetchSpec {
            mode: FetchMode::Browser,
            tabs: None,
            user_agent: None,
            page_timeout: Span::secs(90),
            attempts: 3,
            max_redirects: 20,
            max_body_bytes: 64 << 20,
            accept_language: None,
            ignore_https_errors: false,
            viewport: None,
            device_scale: None,
            mobile: false,
            touch: false,
            timezone: None,
            headers: BTreeMap::new(),
            cookies_file: None,
            auth: BTreeMap::new(),
            proxy: None,
        }
    }
}

/// All pictures of a page together are taken within this time, or left out.
pub const PICTURES_WITHIN: Duration = Duration::from_secs(600);

/// Bytes of HTML that Markdown and metadata are made of; of a larger page, its beginning.
pub const SOURCE_MAX: u64 = 2 << 20;

/// What is kept of a page.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ExtractSpec {
    /// Keep the visible text.
    pub text: bool,
    /// Bytes of text kept per page at most.
    pub text_max_bytes: u64,
    /// Links taken from a page at most.
    pub max_links: u32,
    /// Images, media, scripts and style sheets are links as well.
    pub resource_links: bool,
    /// Client-side routes, `#/…` and `#!/…`, are pages of their own (not in mode `http`).
    pub hash_routes: bool,
    /// Fields by name.
    pub fields: BTreeMap<String, FieldSpec>,
    /// Keep the main content as Markdown, at most `text_max_bytes` of it.
    pub markdown: bool,
    /// Keep description, canonical address, language, OpenGraph, JSON-LD and headings.
    pub metadata: bool,
    /// Keep the HTML as a gzipped file: after rendering, or as received and decoded.
    pub html: bool,
    /// Keep a picture of the page: of what a window shows, or of all of it.
    pub screenshot: Option<Screenshot>,
    /// Keep the page as it would be printed.
    pub pdf: bool,
    /// Keep downloads as files: whatever is no page and is answered with success.
    pub downloads: bool,
    /// Keep the text of PDF documents in their records.
    pub pdf_text: bool,
    /// Keep what the page's console says: errors, or warnings as well.
    pub console: Option<ConsoleLevel>,
    /// Keep the list of the page's requests, each with status, type, bytes and time.
    pub requests: bool,
    /// Bytes of all files of a page at most; one that does not fit is left out, and the record says so.
    pub capture_max_bytes: u64,
}

impl Default for ExtractSpec {
    fn default() -> Self {
        ExtractSpec {
            text: true,
            text_max_bytes: 1 << 20,
            max_links: 5000,
            resource_links: false,
            hash_routes: false,
            fields: BTreeMap::new(),
            markdown: false,
            metadata: false,
            html: false,
            screenshot: None,
            pdf: false,
            downloads: false,
            pdf_text: false,
            console: None,
            requests: false,
            capture_max_bytes: 32 << 20,
        }
    }
}

impl ExtractSpec {
    /// Time that a visit may take besides the page's own, for pictures: a large page takes minutes to draw.
    pub fn extra_time(&self) -> Duration {
        if self.screenshot.is_some() || self.pdf { PICTURES_WITHIN } else { Duration::ZERO }
    }

    /// Whether the body of a download of this type is wanted.
    pub fn takes_download(&self, content_type: Option<&str>) -> bool {
        self.downloads || (self.pdf_text && content_type.is_some_and(|kind| kind == "application/pdf"))
    }

    /// What it asks for that is made after the visit.
    pub fn kept_kinds(&self) -> impl Iterator<Item = KeptKind> {
        let asked = [
            (KeptKind::Markdown, self.markdown),
            (KeptKind::Metadata, self.metadata),
            (KeptKind::Html, self.html),
            (KeptKind::Screenshot, self.screenshot.is_some()),
            (KeptKind::Pdf, self.pdf),
            (KeptKind::Console, self.console.is_some()),
            (KeptKind::Requests, self.requests),
        ];
        asked.into_iter().filter_map(|(kind, asked)| asked.then_some(kind))
    }

    /// Characters or bytes of a page's HTML that are needed besides what is taken from it; 0: none.
    pub fn source_max(&self) -> u64 {
        let parsed = if self.markdown || self.metadata { SOURCE_MAX } else { 0 };
        // One more than is kept, so that what is too large can be told from what just fits.
        parsed.max(if self.html { self.capture_max_bytes.saturating_add(1) } else { 0 })
    }
}

/// One field: a CSS selector, and what to take of each match.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum FieldSpec {
    /// The text of every match.
    Selector(String),
    /// An attribute of every match.
    Attribute {
        /// CSS selector.
        selector: String,
        /// Attribute name.
        attribute: String,
    },
}

impl FieldSpec {
    /// Selector and, when not the text, the attribute.
    pub fn parts(&self) -> (&str, Option<&str>) {
        match self {
            FieldSpec::Selector(selector) => (selector, None),
            FieldSpec::Attribute { selector, attribute } => (selector, Some(attribute)),
        }
    }
}

closed_list! {
    /// Who submitted a task; decides what a change of it means.
    TaskOrigin {
        /// A file in the tasks directory.
        File = "file",
        /// A command line.
        Command = "command",
        /// The API.
        Api = "api",
        /// An imported session.
        Import = "import",
    }
}

/// `task.json`: the task as accepted, written once at the start of a session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StoredTask {
    /// Format of this file.
    pub format: u32,
    /// The session it belongs to.
    pub session_id: crate::model::ids::SessionId,
    /// The resolved id.
    pub task_id: TaskId,
    /// Hash over the normalised content, `sha256:` and hex.
    pub task_hash: String,
    /// Who submitted it.
    pub origin: TaskOrigin,
    /// The task file it came from, when it came from one: absolute path.
    pub file: Option<String>,
    /// When the session was created.
    pub created_at: crate::model::time::Timestamp,
    /// Private `host:port` pairs that the operator named as seeds, with the addresses they had then.
    pub named_private: Vec<NamedAddress>,
    /// It was imported, and the permissions to reach private networks that it had were left behind: it is not
    /// crawled until the operator of this machine gives the same task again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ungranted: bool,
    /// Its scope was changed after it had begun (`resume_with_new_scope`): what was queued before is judged once more
    /// when its turn comes.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub rescoped: bool,
    /// The task.
    pub spec: TaskSpec,
}

impl StoredTask {
    /// The same session's task as its file says it now.
    #[must_use]
    pub fn edited(&self, now: &PreparedTask) -> StoredTask {
        StoredTask {
            task_id: now.task_id.clone(),
            task_hash: now.task_hash.clone(),
            named_private: now.named_private.clone(),
            spec: now.spec.clone(),
            ..self.clone()
        }
    }
}

/// A checked task on its way to a new session (or to the one it joins): `task.json` without the session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PreparedTask {
    /// The resolved id.
    pub task_id: TaskId,
    /// Hash over the normalised content as written, before the daemon's defaults: `sha256:` and hex.
    pub task_hash: String,
    /// Who submitted it.
    pub origin: TaskOrigin,
    /// The task file it came from, when it came from one: absolute path.
    pub file: Option<String>,
    /// Private `host:port` pairs that the operator named as seeds, with the addresses they have now.
    pub named_private: Vec<NamedAddress>,
    /// The task, normalised, the daemon's defaults filled in.
    pub spec: TaskSpec,
}

/// A seed's private address, allowed because the operator named exactly it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NamedAddress {
    /// Host as in the seed.
    pub host: String,
    /// Port.
    pub port: u16,
    /// The addresses that the host had when it was named.
    pub addresses: Vec<std::net::IpAddr>,
}

/// The newest `task.json` format.
pub const TASK_FORMAT: u32 = 1;
