//! `crawld robots test`: what a robots.txt says about URLs.

use std::io::{BufRead, Read};
use std::path::Path;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::cli::failure::Failure;
use crate::cli::{Global, Outcome, out};
use crate::exit_code::ExitCode;
use crate::model::text::escape_control;
use crate::model::url::CanonicalUrl;
use crate::policy::robots::Robots;

/// RFC 9309, 2.5: at least 500 KiB are read.
const BODY_MAX: u64 = 500 * 1024;
/// A JSON line holds a robots.txt and little else.
const LINE_MAX: u64 = 4 << 20;
const FETCH_DEADLINE: Duration = Duration::from_secs(20);

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum RobotsCommand {
    /// Say of each URL whether it may be fetched, and by which rule
    Test(TestArgs),
}

#[derive(Debug, Args)]
pub(in crate::cli) struct TestArgs {
    /// robots.txt: a file or a URL. Without it, JSON lines {"id","body","user_agent","url"} are read from stdin
    robots: Option<String>,
    /// URLs to ask about
    urls: Vec<String>,
    /// The asking crawler: a product token or a whole user agent
    #[arg(long, value_name = "AGENT", default_value = "crawld")]
    user_agent: String,
}

/// A question on stdin.
#[derive(Debug, Deserialize)]
struct Question {
    #[serde(default)]
    id: Value,
    body: String,
    user_agent: String,
    url: String,
}

/// The answer to it.
#[derive(Debug, Serialize)]
struct Answer<'a> {
    id: &'a Value,
    allowed: bool,
    rule: Option<String>,
}

pub(in crate::cli) async fn run(global: &Global, command: &RobotsCommand) -> Outcome {
    let RobotsCommand::Test(args) = command;
    match args.robots.as_deref() {
        None => from_stdin(),
        Some("-") if args.urls.is_empty() => from_stdin(),
        Some(_) if args.urls.is_empty() => Err(Failure::new(ExitCode::Usage, "no URLs to ask about")
            .hint("crawld robots test robots.txt https://example.org/page")),
        Some(source) => {
            let robots = Robots::parse(&read(source).await?);
            table(global, &robots, args)
        }
    }
}

fn table(global: &Global, robots: &Robots, args: &TestArgs) -> Outcome {
    if let Some(bad) = args.urls.iter().find(|url| !is_place(url)) {
        let message = format!("`{}` is neither an http or https URL nor a path", bad.escape_debug());
        return Err(Failure::new(ExitCode::Usage, message).hint("the agent is named by --user-agent"));
    }
    for url in &args.urls {
        let verdict = robots.allowed(&args.user_agent, url);
        if global.json {
            let answer = Answer { id: &Value::String(url.clone()), allowed: verdict.allowed, rule: verdict.rule };
            out::line(&serde_json::to_string(&answer).unwrap_or_default())?;
        } else {
            let word = if verdict.allowed { "allowed" } else { "forbidden" };
            let rule = verdict.rule.unwrap_or_else(|| "no rule matches".to_owned());
            out::line(&format!("{word:<9}  {}  ({})", escape_control(url), escape_control(&rule)))?;
        }
    }
    Ok(ExitCode::Ok)
}

/// Answers every line that is a question, and says of the others what is wrong with them.
fn from_stdin() -> Outcome {
    let mut input = std::io::stdin().lock();
    let (mut number, mut bad) = (0_u64, 0_u64);
    while let Some(line) = next_line(&mut input)? {
        number += 1;
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        match understand(&line) {
            Ok(question) => {
                let verdict = Robots::parse(question.body.as_bytes()).allowed(&question.user_agent, &question.url);
                let answer = Answer { id: &question.id, allowed: verdict.allowed, rule: verdict.rule };
                out::line(&serde_json::to_string(&answer).unwrap_or_default())?;
            }
            Err(why) => {
                bad += 1;
                out::say(&format!("crawld: stdin, line {number}: {}; no answer", escape_control(&why)));
            }
        }
    }
    if bad == 0 {
        return Ok(ExitCode::Ok);
    }
    Err(Failure::new(ExitCode::BadConfig, format!("{bad} of {number} lines on stdin are no questions"))
        .hint("write one object a line: {\"id\":1,\"body\":\"…\",\"user_agent\":\"crawld\",\"url\":\"https://…\"}"))
}

/// The next line with its end; one that is too long is given up to [`LINE_MAX`], and the rest of it passed over.
fn next_line(input: &mut impl BufRead) -> std::io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    if input.by_ref().take(LINE_MAX + 1).read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    if line.last() != Some(&b'\n') {
        input.skip_until(b'\n')?;
    }
    Ok(Some(line))
}

fn understand(line: &[u8]) -> Result<Question, String> {
    let line = line.trim_ascii_end();
    if line.len() as u64 > LINE_MAX {
        return Err(format!("longer than {LINE_MAX} bytes"));
    }
    let question: Question = serde_json::from_slice(line).map_err(|error| {
        // The line is always the first one for it.
        error.to_string().replace(" at line 1 column ", " at column ")
    })?;
    if !is_place(&question.url) {
        return Err(format!("`{}` is neither an http or https URL nor a path", question.url));
    }
    Ok(question)
}

/// What a robots.txt can be asked about.
fn is_place(url: &str) -> bool {
    url.starts_with('/') || CanonicalUrl::parse(url).is_ok()
}

async fn read(source: &str) -> Result<Vec<u8>, Failure> {
    if source.starts_with("http://") || source.starts_with("https://") {
        return fetch(source).await;
    }
    let at = |error: std::io::Error| Failure::new(ExitCode::Nothing, format!("cannot read `{source}`: {error}"));
    let mut body = Vec::new();
    std::fs::File::open(Path::new(source)).map_err(at)?.take(BODY_MAX).read_to_end(&mut body).map_err(at)?;
    Ok(body)
}

async fn fetch(url: &str) -> Result<Vec<u8>, Failure> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let failed = |error: reqwest::Error| {
        Failure::new(ExitCode::Nothing, format!("cannot fetch `{url}`: {error}"))
            .hint("save it to a file and name that")
    };
    let client = reqwest::Client::builder()
        .user_agent(concat!("crawld/", env!("CARGO_PKG_VERSION")))
        .timeout(FETCH_DEADLINE)
        .redirect(reqwest::redirect::Policy::limited(5))
        .build()
        .map_err(failed)?;
    let mut response = client.get(url).send().await.map_err(failed)?;
    // RFC 9309, 2.3.1.3: a 4xx means that there are no rules.
    if response.status().is_client_error() {
        return Ok(Vec::new());
    }
    if !response.status().is_success() {
        let message = format!("`{url}` answered {}: nothing may be fetched from this host now", response.status());
        return Err(Failure::new(ExitCode::Nothing, message));
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(failed)? {
        body.extend_from_slice(&chunk);
        if body.len() as u64 >= BODY_MAX {
            body.truncate(BODY_MAX as usize);
            break;
        }
    }
    Ok(body)
}
