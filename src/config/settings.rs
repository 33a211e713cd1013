//! Every key of `crawld.toml`: name, type, default and explanation, in one table.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::value::Value;
use crate::model::conduct::ApiGrant;
use crate::model::duration::Span;
use crate::model::task::{FetchMode, RobotsPolicy, ScopePreset};
use crate::telemetry::LogFormat;

/// One key: how it is called, explained, set and shown.
#[derive(Debug)]
pub struct Key {
    /// Its name in the file; in the environment `CRAWLD_` and the name in capitals.
    pub name: &'static str,
    /// The heading it stands under.
    pub section: &'static str,
    /// Its explanation, one line an entry.
    pub doc: &'static [&'static str],
    /// Takes over a value from a file.
    pub(super) set_toml: fn(&mut Config, toml::Value) -> Result<(), String>,
    /// Takes over the text of a variable or flag.
    pub(super) set_text: fn(&mut Config, &str) -> Result<(), String>,
    /// The present value; `None` when unset.
    pub(super) get: fn(&Config) -> Option<toml::Value>,
}

impl Key {
    /// The environment variable.
    pub fn variable(&self) -> String {
        format!("CRAWLD_{}", self.name.to_ascii_uppercase())
    }

    /// The value in a configuration as TOML text; empty when unset.
    pub fn show(&self, config: &Config) -> String {
        (self.get)(config).map(|value| value.to_string()).unwrap_or_default()
    }
}

macro_rules! settings {
    ($($section:literal { $($(#[doc = $doc:literal])+ $name:ident: $type:ty = $default:expr,)+ })+) => {
        /// The daemon's configuration, every layer applied and checked. Paths are absolute.
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
        #[serde(default, deny_unknown_fields)]
        pub struct Config {
            $($($(#[doc = $doc])+ pub $name: $type,)+)+
        }

        impl Default for Config {
            fn default() -> Self {
                Config { $($($name: $default,)+)+ }
            }
        }

        /// Every key, in the order of the file.
        pub const KEYS: &[Key] = &[$($(Key {
            name: stringify!($name),
            section: $section,
            doc: &[$($doc),+],
            set_toml: |config, value| {
                config.$name = <$type>::deserialize(value).map_err(|error| error.to_string().trim().to_owned())?;
                Ok(())
            },
            set_text: |config, text| {
                config.$name = <$type as Value>::from_text(text)?;
                Ok(())
            },
            get: |config| config.$name.to_toml(),
        },)+)+];
    };
}

settings! {
    "Places" {
        /// The daemon's durable memory: one owner at a time. A local disk; a network file system or tmpfs gets a warning.
        /// Flag: --state-dir
        state_dir: PathBuf = PathBuf::from("app-memory"),
        /// Every `*.toml` in here is a task that `crawld run` takes up; SIGHUP reads it again.
        tasks_dir: PathBuf = PathBuf::from("config/tasks"),
        /// A group that may read heartbeats and checkpoints (a monitoring agent, say). Unset: only the owner may.
        state_group: Option<String> = None,
    }
    "Sessions" {
        /// false: throwaway sessions in memory and a temporary directory. Nothing survives, and it says so.
        enable_session_persistence: bool = true,
        /// false: recovery reports at start and acts only by command.
        session_recovery_enabled: bool = true,
        /// false: sessions of an older format or another machine are skipped, not converted.
        enable_session_migration: bool = true,
        /// Time between checkpoints. One is also written when a session opens, at every stop and on request.
        session_checkpoint_interval: Span = Span::secs(300),
        /// Time between heartbeats. After three of them without one a session counts as crashed.
        session_heartbeat_interval: Span = Span::secs(60),
        /// Time between judgements of a session's health.
        session_health_check_interval: Span = Span::secs(30),
        /// Active time of a session over all its lifetimes; then a clean stop with status `expired`.
        /// `crawld resume SESSION --extend` continues it. A task may set its own.
        max_session_duration: Span = Span::secs(86_400),
        /// Sessions that crawl at the same time; the others wait as `queued`.
        sessions_at_once: u32 = 4,
        /// An output file is finished at about this size, in bytes, and the next one begun. Finished `urls-*` are compressed.
        output_segment_bytes: u64 = 256 << 20,
        /// URLs listed in each of a checkpoint's lists at most (its totals always count all).
        checkpoint_inline_urls: u32 = 1000,
        /// A session without life for longer than this, and hardly begun (under 10 % and under 100 pages), starts over.
        resume_max_age: Span = Span::secs(86_400),
        /// At a stop: time to finish the visits in flight before they are abandoned. Less than systemd's TimeoutStopSec.
        stop_timeout: Span = Span::secs(45),
    }
    "Cleaning up" {
        /// Checkpoints, heartbeats and stores of ended sessions are removed at this age.
        auto_session_cleanup_age: Span = Span::secs(604_800),
        /// true: their outputs as well. false: what you crawled for stays until you remove it.
        purge_outputs: bool = false,
        /// true: sessions that were never finished as well.
        purge_unfinished: bool = false,
    }
    "Browser" {
        /// The Chromium or Chrome to use. Unset: the usual names are looked for.
        chrome: Option<PathBuf> = None,
        /// Attach to a running browser instead of starting one: http://HOST:PORT (asked at /json/version) or the ws:// URL of
        /// its socket. Its life stays its owner's: crawld ends its own contexts and tabs there, nothing else. Flag: --cdp-url
        cdp_url: Option<String> = None,
        /// true: accept that an attached browser is held to no address rule: what its pages load can reach private networks
        /// and this machine. `cdp_url` needs it, and the health of sessions shows it. Flag: --cdp-unsafe
        cdp_unsafe: bool = false,
        /// true: run Chromium without its sandbox. A hostile page then runs with crawld's own rights. As root Chromium
        /// needs this; better is to run crawld as a user of its own.
        no_sandbox: bool = false,
        /// Failed starts in a row after which crawling pauses (the browser's circuit breaker).
        browser_max_connection_attempts: u32 = 10,
        /// Pages open at once over all sessions. Unset: by cores and memory.
        tabs: Option<u32> = None,
        /// The browser must answer a command within this time.
        cdp_timeout: Span = Span::secs(30),
    }
    "Reserves" {
        /// Crawling pauses below this much free space, and continues by itself. The smaller of the two counts.
        disk_reserve_bytes: u64 = 2 << 30,
        /// The same in per cent of the file system.
        disk_reserve_percent: u32 = 5,
        /// Crawling pauses below this much free memory (of the cgroup, then of the system), in per cent.
        memory_reserve_percent: u32 = 10,
    }
    "Circuit breakers" {
        /// Failures in a row that open a host's breaker (connection errors, timeouts, 5xx, 429).
        breaker_failure_threshold: u32 = 5,
        /// The longest that a breaker stays open before one probe may pass.
        breaker_recovery_timeout: Span = Span::secs(30),
        /// How long a breaker stays open when it opens the first time, the second, …; jittered; the last one repeats.
        breaker_backoff: Vec<Span> = [1, 2, 4, 8, 16, 30].map(Span::secs).to_vec(),
    }
    "The API" {
        /// Where the API and the dashboard are served besides the Unix socket: an address and a port of this machine.
        /// off: the socket alone. Port 0: any that is free. The address in force stands in `api-address` of the state
        /// directory, the tokens for it in `api-token` (may do everything) and `api-token-readonly`, made at the first start.
        api_listen: String = "127.0.0.1:27953".to_owned(),
        /// How browsers and clients name this API besides by its address: `https://crawl.example.org` for one behind a
        /// proxy. Requests that name any other Host, or come from pages of any other origin, are refused.
        api_origins: Vec<String> = Vec::new(),
        /// TLS for that address: a file with the certificate and what signed it, in PEM.
        api_tls_cert: Option<PathBuf> = None,
        /// The key of that certificate, in PEM.
        api_tls_key: Option<PathBuf> = None,
        /// true: accept an address beyond this machine without TLS. Tokens and pages then cross the network readable.
        api_plain: bool = false,
        /// true: `/metrics` needs no token. (For the metrics to come: there are none yet.)
        api_metrics_open: bool = false,
        /// Events that are no pages are remembered this long for watchers who come back (at most 2 MiB of them a session);
        /// pages are read from the outputs however old they are.
        api_event_history: Span = Span::secs(1800),
    }
    "Tasks from the API" {
        /// What a task from the API may ask for. Empty: public addresses only, and nothing of this machine. Words:
        /// "private_networks" lets it name `allow_private_networks`, "local_files" lets it name cookie files, secrets
        /// (`env:`, `file:`), a login and a proxy. crawld's own commands are not held to it: they speak for its user.
        api_grants: Vec<ApiGrant> = Vec::new(),
    }
    "Defaults of tasks (a task or a flag of `crawl` overrides them)" {
        /// How far links are followed from the seeds: page, prefix, host, domain, any, or custom (`include` decides).
        scope: ScopePreset = ScopePreset::Host,
        /// Links followed from a seed at most. Unset: no limit.
        max_depth: Option<u32> = None,
        /// How pages are fetched: browser, http, or auto (plain HTTP where it finds the same as the browser).
        fetch: FetchMode = FetchMode::Browser,
        /// Smallest pause between two requests to one host. 0s switches the adaptive part off too.
        delay: Span = Span::millis(250),
        /// Largest pause that the adaptive part may choose.
        max_delay: Span = Span::secs(30),
        /// Requests in flight on one host at most.
        per_host: u32 = 2,
        /// robots.txt: obey or ignore.
        robots: RobotsPolicy = RobotsPolicy::Obey,
        /// `Crawl-delay` and `Retry-After` are capped here.
        max_retry_after: Span = Span::secs(3600),
        /// After this long behind an open breaker a host's URLs end as failed(host_unreachable).
        host_give_up_after: Span = Span::secs(3600),
        /// Deadline of a visit. A page that is loaded a second time, because it needs frames to be drawn, gets 10 s
        /// for that however little is left.
        page_timeout: Span = Span::secs(90),
        /// Visits to a URL that keeps failing.
        attempts: u32 = 3,
        /// The user agent. Unset: Chromium's own with `crawld/VERSION (+URL)` appended.
        user_agent: Option<String> = None,
    }
    "Logs and alerts" {
        /// error, warn, info, debug or trace; or a filter such as `info,crawld::crawl=debug`. Flag: --log-level
        log_level: String = "info".to_owned(),
        /// text or json, on stderr. Flag: --log-format
        log_format: LogFormat = LogFormat::Text,
        /// Alerts are sent here as JSON by POST, besides the log. An http or https URL.
        alert_webhook: Option<String> = None,
    }
}
