//! `crawld crawl`: one crawl in the foreground, or followed beside a running daemon.

use std::path::Path;

use clap::Args;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::api::SubmitBody;
use crate::api::client::Client;
use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::format::{count, percent};
use crate::cli::hands::{self, Hands};
use crate::cli::session_table::{self, CrawlEnd};
use crate::cli::{Outcome, engine, out, progress, words};
use crate::config::Problem;
use crate::config::task::{Draft, name_private, prepare};
use crate::daemon::answers::{RecoveryItem, SessionSummary};
use crate::daemon::mode::{RunEnd, RunMode};
use crate::exit_code::ExitCode;
use crate::model::duration::Span;
use crate::model::ids::{SessionId, TaskId};
use crate::model::session::{Cause, CrashReason, SessionStatus, StopReason};
use crate::model::task::{FetchMode, PreparedTask, RobotsPolicy, ScopePreset, TaskOrigin};
use crate::model::text::escape_control;

#[derive(Debug, Args)]
pub(in crate::cli) struct CrawlArgs {
    /// Where to start: http and https URLs; or one task file (TOML)
    #[arg(required = true, value_name = "URL")]
    seeds: Vec<String>,
    /// Start another session although one of the same task is unfinished
    #[arg(long)]
    new: bool,
    /// Name of the task [default: host and a short hash]
    #[arg(long, value_name = "ID")]
    id: Option<TaskId>,
    /// How far links are followed from the seeds [default: host]
    #[arg(long, value_parser = words(ScopePreset::ALL.iter().map(|w| w.as_str())), help_heading = "What to crawl")]
    scope: Option<String>,
    /// Only URLs that match this regular expression; may be repeated
    #[arg(long, value_name = "REGEX", help_heading = "What to crawl")]
    include: Vec<String>,
    /// No URLs that match this regular expression; may be repeated
    #[arg(long, value_name = "REGEX", help_heading = "What to crawl")]
    exclude: Vec<String>,
    /// Links followed from a seed at most
    #[arg(long, value_name = "N", help_heading = "What to crawl")]
    max_depth: Option<u32>,
    /// Links followed beyond the scope's edge
    #[arg(long, value_name = "N", help_heading = "What to crawl")]
    extra_hops: Option<u32>,
    /// A sitemap to read; may be repeated
    #[arg(long, value_name = "URL", help_heading = "What to crawl")]
    sitemap: Vec<String>,
    /// Do not read the sitemaps that robots.txt names
    #[arg(long, help_heading = "What to crawl")]
    no_sitemaps: bool,
    /// Write down every decision, for `crawld replay`
    #[arg(long, help_heading = "What to crawl")]
    record: bool,
    /// Stop after this many pages
    #[arg(long, value_name = "N", help_heading = "When to stop")]
    max_pages: Option<u64>,
    /// Stop after this many bytes received
    #[arg(long, value_name = "N", help_heading = "When to stop")]
    max_bytes: Option<u64>,
    /// Stop after this many failed URLs
    #[arg(long, value_name = "N", help_heading = "When to stop")]
    max_failures: Option<u64>,
    /// Stop after this much active time
    #[arg(long, value_name = "TIME", help_heading = "When to stop")]
    max_session_duration: Option<Span>,
    /// Smallest pause between requests to a host; 0ms switches the adaptive part off too
    #[arg(long, value_name = "TIME", help_heading = "How to crawl")]
    delay: Option<Span>,
    /// Requests in flight on one host at most
    #[arg(long, value_name = "N", help_heading = "How to crawl")]
    per_host: Option<u32>,
    /// Visits at once at most [default: by cores and memory]
    #[arg(long, value_name = "N", help_heading = "How to crawl")]
    tabs: Option<u32>,
    /// Rendered by Chromium, by plain HTTP, or by what each page needs
    #[arg(long, value_parser = words(FetchMode::ALL.iter().map(|w| w.as_str())), help_heading = "How to crawl")]
    fetch: Option<String>,
    /// robots.txt
    #[arg(long, value_parser = words(RobotsPolicy::ALL.iter().map(|w| w.as_str())), help_heading = "How to crawl")]
    robots: Option<String>,
    /// The user agent
    #[arg(long, value_name = "AGENT", help_heading = "How to crawl")]
    user_agent: Option<String>,
    /// A proxy for every connection to a site: http://HOST:PORT or socks5://HOST:PORT
    #[arg(long, value_name = "URL", help_heading = "How to crawl")]
    proxy: Option<String>,
    /// Deadline of a visit
    #[arg(long, value_name = "TIME", help_heading = "How to crawl")]
    page_timeout: Option<Span>,
    /// Visits to a URL that keeps failing
    #[arg(long, value_name = "N", help_heading = "How to crawl")]
    attempts: Option<u32>,
    /// A private network that may be reached (CIDR); may be repeated
    #[arg(long, value_name = "NETWORK", help_heading = "How to crawl")]
    allow_private_networks: Vec<String>,
    /// Keep what a CSS selector matches, as NAME=SELECTOR; may be repeated
    #[arg(long, value_name = "NAME=SELECTOR", help_heading = "What to keep")]
    field: Vec<String>,
}

impl CrawlArgs {
    /// The task as written on the command line, over a task file where one is named.
    fn draft(&self) -> Result<Draft, Vec<Problem>> {
        let file = match self.seeds.as_slice() {
            [one] if one.ends_with(".toml") && !one.contains("://") => Some(Path::new(one)),
            _ => None,
        };
        let mut draft = match file {
            Some(path) => Draft::from_file(path)?,
            None => Draft::new(),
        };
        let mut set = |path: &str, value: Option<Value>| {
            if let Some(value) = value {
                draft.set(path, value);
            }
        };
        set("seeds", file.is_none().then(|| json!(self.seeds)));
        set("id", self.id.as_ref().map(|v| json!(v)));
        set("sitemaps", list(&self.sitemap));
        set("record", self.record.then(|| json!(true)));
        set("scope.preset", self.scope.as_ref().map(|v| json!(v)));
        set("scope.include", list(&self.include));
        set("scope.exclude", list(&self.exclude));
        set("scope.max_depth", self.max_depth.map(|v| json!(v)));
        set("scope.extra_hops", self.extra_hops.map(|v| json!(v)));
        set("scope.use_sitemaps", self.no_sitemaps.then(|| json!(false)));
        set("limits.max_pages", self.max_pages.map(|v| json!(v)));
        set("limits.max_bytes", self.max_bytes.map(|v| json!(v)));
        set("limits.max_failures", self.max_failures.map(|v| json!(v)));
        set("limits.max_session_duration", self.max_session_duration.map(|v| json!(v)));
        set("politeness.delay", self.delay.map(|v| json!(v)));
        set("politeness.per_host", self.per_host.map(|v| json!(v)));
        set("politeness.robots", self.robots.as_ref().map(|v| json!(v)));
        set("fetch.mode", self.fetch.as_ref().map(|v| json!(v)));
        set("fetch.tabs", self.tabs.map(|v| json!(v)));
        set("fetch.user_agent", self.user_agent.as_ref().map(|v| json!(v)));
        set("fetch.proxy", self.proxy.as_ref().map(|v| json!({ "url": v })));
        set("fetch.page_timeout", self.page_timeout.map(|v| json!(v)));
        set("fetch.attempts", self.attempts.map(|v| json!(v)));
        set("allow_private_networks", list(&self.allow_private_networks));
        if !self.field.is_empty() {
            set("extract.fields", Some(self.fields()?));
        }
        Ok(draft)
    }

    fn fields(&self) -> Result<Value, Vec<Problem>> {
        let mut fields = serde_json::Map::new();
        for text in &self.field {
            let wrong = || vec![Problem::new("--field", format!("`{text}` is not NAME=SELECTOR, as in title=h1"))];
            let (name, selector) = text.split_once('=').ok_or_else(wrong)?;
            fields.insert(name.trim().to_owned(), json!(selector.trim()));
        }
        Ok(Value::Object(fields))
    }
}

fn list(values: &[String]) -> Option<Value> {
    (!values.is_empty()).then(|| json!(values))
}

pub(in crate::cli) async fn run(context: &Context, args: CrawlArgs) -> Outcome {
    let wrong = |problems: Vec<Problem>| {
        // A slip on the command line is wrong usage; one in a file is a bad task.
        let from_file = args.seeds.len() == 1 && args.seeds[0].ends_with(".toml");
        Failure::problems(if from_file { ExitCode::BadConfig } else { ExitCode::Usage }, &problems)
    };
    let draft = args.draft().map_err(wrong)?;
    let mut task = prepare(&draft, &context.config, TaskOrigin::Command).map_err(wrong)?;
    if let Some(client) = hands::owner(context).await? {
        if context.names_browser {
            let message = "--cdp-url: a crawld is running here, and its own configuration says which browser it uses";
            return Err(Failure::new(ExitCode::Usage, message).hint("leave the flag out, or name another --state-dir"));
        }
        return beside(context, client, &draft, &task, args.new).await;
    }
    name_private(&mut task).await;
    foreground(context, task, &args).await
}

async fn foreground(context: &Context, task: PreparedTask, args: &CrawlArgs) -> Outcome {
    let mut config = context.config.clone();
    // Who asks for this many visits in a process of their own means the whole process.
    config.tabs = config.tabs.or(args.tabs);
    let (started, ready) = oneshot::channel();
    let mode = RunMode::Crawl { task: Box::new(task), new: args.new };
    let end = with_display(context, engine::run(config, mode, started), ready, |context, started| {
        if let Some(item) = started.recovery.sessions.first() {
            context.say(&format!("crawld: {}", taken_up(item)));
        }
        for session in &started.sessions {
            let held = started.recovery.sessions.iter().any(|item| is_held(item, session));
            let verb = verb(session, started.joined, held);
            let place = context.state_dir().display().to_string();
            context.say(&format!("crawld: session {session} {verb}; state in {}", escape_control(&place)));
        }
    })
    .await;
    finish(context, end)
}

/// Whether a session was taken up as its operator had left it: paused.
fn is_held(item: &RecoveryItem, session: &SessionId) -> bool {
    item.info.session_id == *session && item.info.cause == Cause::PausedByOperator
}

/// What a task's session does from now on.
pub(super) fn verb(session: &SessionId, joined: bool, held: bool) -> String {
    match (joined, held) {
        (_, true) => {
            format!("stays paused, as its operator ordered: `crawld resume {session}` (beside this) lets it go on")
        }
        (true, false) => "continues".to_owned(),
        (false, false) => "is new".to_owned(),
    }
}

/// What became of a session before it is continued, in a line: how it ended, what is done and why, where it stands.
fn taken_up(item: &RecoveryItem) -> String {
    let info = &item.info;
    let ended = match info.crash_reason {
        CrashReason::Clean => "was stopped",
        CrashReason::Reboot => "was cut off by a reboot or a power loss",
        CrashReason::Oom => "was killed by the kernel for want of memory",
        CrashReason::Panic => "panicked",
        CrashReason::Watchdog => "hung and was ended by the watchdog",
        CrashReason::Killed => "was killed",
        CrashReason::BrowserLoss => "lost its browser",
        CrashReason::Unknown => "ended, and nothing tells how",
    };
    let done = percent(info.estimated_progress);
    let left = count(info.urls_remaining);
    let more = item.message.as_ref().map(|message| format!(" ({message})")).unwrap_or_default();
    let line = format!(
        "session {} {ended} ({}): decision {}, cause {}{more}; {done} done, {left} URLs left",
        info.session_id, info.crash_reason, item.decision, info.cause
    );
    escape_control(&line).into_owned()
}

/// Runs the daemon while showing where its sessions stand.
pub(in crate::cli) async fn with_display(
    context: &Context,
    run: impl Future<Output = RunEnd>,
    mut ready: oneshot::Receiver<crate::daemon::mode::Started>,
    announce: impl FnOnce(&Context, &crate::daemon::mode::Started),
) -> RunEnd {
    let mut announce = Some(announce);
    let display = async {
        if let Ok(started) = (&mut ready).await {
            if let Some(announce) = announce.take() {
                announce(context, &started);
            }
            let hands = Hands::Local(started.operator.clone());
            if !context.quiet && !started.sessions.is_empty() {
                // An error here means that the daemon stops, and the daemon says why.
                let _ = progress::follow(context, &hands, &started.sessions).await;
            }
        }
        std::future::pending::<()>().await;
    };
    let end = tokio::select! {
        end = run => end,
        () = display => unreachable!("the display waits for the end of the run"),
    };
    // A run with nothing to do may be over before the display has heard of its start.
    if let (Some(announce), Ok(started)) = (announce, ready.try_recv()) {
        announce(context, &started);
    }
    end
}

/// The last words of a foreground run.
fn finish(context: &Context, end: RunEnd) -> Outcome {
    if let Some(summary) = end.sessions.first() {
        let mut summary = summary.clone();
        if !context.config.enable_session_persistence {
            // It went with the process.
            summary.output_dir = "none kept: session persistence is off".to_owned();
            summary.outputs.clear();
        }
        report(context, &summary, false)?;
    }
    match end.error {
        Some(error) => Err(Failure::run(end.exit, error)),
        None => Ok(end.exit),
    }
}

fn report(context: &Context, summary: &SessionSummary, owned: bool) -> Result<(), Failure> {
    if context.json {
        out::json(&CrawlEnd::from(summary))
    } else if context.quiet {
        Ok(())
    } else {
        out::line(&session_table::end(summary, owned))
    }
}

/// Beside a running owner: hand it over, then look on.
async fn beside(context: &Context, client: Client, draft: &Draft, task: &PreparedTask, new: bool) -> Outcome {
    let mut draft = draft.clone();
    draft.set("id", json!(task.task_id));
    let body = SubmitBody { task: draft.to_json(), origin: TaskOrigin::Command, file: None, new };
    let submitted = client.submit(&body).await?;
    let id = &submitted.session_id;
    if let Some(item) = &submitted.recovered {
        context.say(&format!("crawld: {}", taken_up(item)));
    }
    let held = submitted.joined && client.status(id).await.is_ok_and(|detail| detail.summary.held_by_operator());
    let verb = verb(id, submitted.joined, held);
    context.say(&format!(
        "crawld: handed to the running crawld; session {id} {verb}. Ctrl-C stops following, not the crawl"
    ));
    let hands = Hands::Remote(client);
    let sessions = [id.clone()];
    tokio::select! {
        followed = progress::follow(context, &hands, &sessions) => match followed {
            Ok(all) => {
                if let Some(summary) = all.first() {
                    report(context, summary, true)?;
                    return Ok(exit_of(summary));
                }
                Ok(ExitCode::Ok)
            }
            Err(error) => Err(Failure::new(ExitCode::Stopped, format!("no longer following {id}: {error}"))
                .hint(format!("`crawld status {id}` says where it stands; the next `crawld run` or `crawld recover` continues it"))),
        },
        _ = tokio::signal::ctrl_c() => {
            context.say(&format!("crawld: no longer following; the crawl goes on. `crawld status {id}` shows it, `crawld cancel {id}` ends it"));
            if context.json && let Ok(detail) = hands.status(id).await {
                report(context, &detail.summary, true)?;
            }
            Ok(ExitCode::Stopped)
        }
    }
}

/// What the shell hears of a session's end.
pub(in crate::cli) fn exit_of(summary: &SessionSummary) -> ExitCode {
    match summary.status {
        SessionStatus::Completed if summary.counters.failed == 0 => ExitCode::Ok,
        SessionStatus::Completed => ExitCode::SomeFailed,
        // It was ended for good, so nothing of it can be continued.
        SessionStatus::Cancelled => ExitCode::Nothing,
        SessionStatus::Failed if summary.stop_reason == Some(StopReason::LoginFailed) => ExitCode::BadConfig,
        SessionStatus::Failed => ExitCode::CannotWrite,
        _ => ExitCode::Stopped,
    }
}
