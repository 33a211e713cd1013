//! The last steps: the daemon's defaults, the canonical form, the private addresses that were named.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::config::task::conduct::check_origin;
use crate::config::task::{Draft, derive_id, task_hash, validate};
use crate::config::{Config, Problem};
use crate::model::task::{NamedAddress, PreparedTask, TaskOrigin, TaskSpec};
use crate::model::url::CanonicalUrl;
use crate::policy::address::{AddressClass, classify};

/// A name that does not resolve in this time names no private address.
const RESOLVE_DEADLINE: Duration = Duration::from_secs(5);

/// Reads and checks a task file.
///
/// # Errors
/// Every problem, with file, line and key.
pub fn load(path: &Path, defaults: &Config) -> Result<PreparedTask, Vec<Problem>> {
    prepare(&Draft::from_file(path)?, defaults, TaskOrigin::File)
}

/// Reads and checks every `*.toml` of a directory, in order of name. A directory that is not there is empty.
pub fn load_dir(directory: &Path, defaults: &Config) -> (Vec<PreparedTask>, Vec<Problem>) {
    let (mut tasks, mut problems) = (Vec::<PreparedTask>::new(), Vec::new());
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return (tasks, problems),
        Err(error) => {
            problems.push(Problem::new(directory.display().to_string(), format!("cannot be listed ({error})")));
            return (tasks, problems);
        }
    };
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.retain(|path| {
        let hidden = path.file_name().is_none_or(|name| name.to_string_lossy().starts_with('.'));
        !hidden && path.extension().is_some_and(|extension| extension == "toml")
    });
    paths.sort();
    for path in paths {
        match load(&path, defaults) {
            Ok(task) => match tasks.iter().find(|other| other.task_id == task.task_id) {
                None => tasks.push(task),
                Some(other) => {
                    let first = other.file.as_deref().unwrap_or("another file");
                    let message = format!("the id `{}` is taken by {first}: set another `id`", task.task_id);
                    problems.push(Problem::new(path.display().to_string(), message));
                }
            },
            Err(found) => problems.extend(found),
        }
    }
    (tasks, problems)
}

/// Checks a draft, fills in the daemon's defaults, and gives it its hash and id.
///
/// The hash is over the task as written, so a change of the daemon's defaults makes no task look changed.
///
/// # Errors
/// Every problem, each at its place.
pub fn prepare(draft: &Draft, defaults: &Config, origin: TaskOrigin) -> Result<PreparedTask, Vec<Problem>> {
    let written = draft.read()?;
    let spec = with_defaults(draft, defaults).read()?;
    let broken = validate(&spec).into_iter().chain(check_origin(&spec, origin, &defaults.api_grants));
    let problems: Vec<Problem> =
        broken.map(|problem| Problem::new(draft.place(&problem.place), problem.message)).collect();
    if !problems.is_empty() {
        return Err(problems);
    }
    let hash = task_hash(&normalise(written));
    let mut spec = normalise(spec);
    let stem = draft.file().and_then(Path::file_stem).map(|stem| stem.to_string_lossy().into_owned());
    let task_id = spec.id.clone().unwrap_or_else(|| derive_id(stem.as_deref(), &spec, &hash));
    spec.id = Some(task_id.clone());
    let file = draft.file().and_then(|path| std::path::absolute(path).ok()).map(|path| path.display().to_string());
    Ok(PreparedTask { task_id, task_hash: hash, origin, file, named_private: Vec::new(), spec })
}

fn with_defaults(draft: &Draft, defaults: &Config) -> Draft {
    let mut full = draft.clone();
    let values: [(&str, Value); 13] = [
        ("scope.preset", json!(defaults.scope)),
        ("scope.max_depth", json!(defaults.max_depth)),
        ("fetch.mode", json!(defaults.fetch)),
        ("fetch.page_timeout", json!(defaults.page_timeout)),
        ("fetch.attempts", json!(defaults.attempts)),
        ("fetch.user_agent", json!(defaults.user_agent)),
        ("limits.max_session_duration", json!(defaults.max_session_duration)),
        ("politeness.delay", json!(defaults.delay)),
        ("politeness.max_delay", json!(defaults.max_delay)),
        ("politeness.per_host", json!(defaults.per_host)),
        ("politeness.robots", json!(defaults.robots)),
        ("politeness.max_retry_after", json!(defaults.max_retry_after)),
        ("politeness.host_give_up_after", json!(defaults.host_give_up_after)),
    ];
    for (path, value) in values {
        if !draft.has(path) {
            full.set(path, value);
        }
    }
    // Who asks for a long pause and says nothing of the largest one means that pause.
    if let Ok(spec) = full.read()
        && !draft.has("politeness.max_delay")
        && spec.politeness.max_delay < spec.politeness.delay
    {
        full.set("politeness.max_delay", json!(spec.politeness.delay));
    }
    full
}

/// Seeds and sitemaps in canonical form, each once, in the order given.
pub fn normalise(mut spec: TaskSpec) -> TaskSpec {
    for (urls, routes) in [(&mut spec.seeds, spec.extract.hash_routes), (&mut spec.sitemaps, false)] {
        let mut known = BTreeSet::new();
        let canonical = urls.iter().filter_map(|text| CanonicalUrl::parse_with(text.trim(), routes).ok());
        *urls = canonical.map(|url| url.to_string()).filter(|url| known.insert(url.clone())).collect();
    }
    spec
}

/// Notes the private addresses that the seeds' names have now: the operator named exactly these.
///
/// Only for tasks from a file or a command line; an API body names nothing. A name that cannot be
/// resolved within 5 s is left out, and its address is judged like any other later.
pub async fn name_private(task: &mut PreparedTask) {
    if !matches!(task.origin, TaskOrigin::File | TaskOrigin::Command) {
        return;
    }
    let mut targets = BTreeSet::new();
    for seed in &task.spec.seeds {
        if let Ok(url) = url::Url::parse(seed)
            && let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default())
        {
            targets.insert((host.to_owned(), port));
        }
    }
    task.named_private.clear();
    for (host, port) in targets {
        let name = host.trim_matches(['[', ']']).to_owned();
        let lookup = tokio::time::timeout(RESOLVE_DEADLINE, tokio::net::lookup_host((name, port))).await;
        let Ok(Ok(found)) = lookup else { continue };
        let addresses: BTreeSet<IpAddr> =
            found.map(|address| address.ip()).filter(|ip| classify(*ip) != AddressClass::Public).collect();
        if !addresses.is_empty() {
            task.named_private.push(NamedAddress { host, port, addresses: addresses.into_iter().collect() });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::duration::Span;

    fn file(text: &str) -> Result<PreparedTask, Vec<String>> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("docs.toml");
        std::fs::write(&path, text).unwrap();
        load(&path, &Config::default()).map_err(|problems| {
            let prefix = format!("{}/", dir.path().display());
            problems.iter().map(|problem| problem.to_string().replace(&prefix, "")).collect()
        })
    }

    #[test]
    fn mistakes_in_a_task_file_are_named_all_at_once() {
        #[track_caller]
        fn check(name: &str, text: &str, expected: &[&str]) {
            assert_eq!(file(text).err().unwrap_or_default(), expected, "{name}");
        }
        check("no seeds", "", &["docs.toml: seeds: at least one http or https URL is needed"]);
        check("not TOML", "seeds = [\n", &["docs.toml:1: is not TOML: unclosed array, expected `]`"]);
        check(
            "unknown keys",
            "seeds = [\"http://a/\"]\nmax_depth = 3\n[scope]\nmax_dept = 3\ncolour = 1\n",
            &[
                "docs.toml:2: max_depth: unknown key: did you mean `scope.max_depth`?",
                "docs.toml:4: scope.max_dept: unknown key: did you mean `scope.max_depth`?",
                "docs.toml:5: scope.colour: unknown key: `crawld schema task` prints all of them",
            ],
        );
        check(
            "wrong types",
            "seeds = \"http://a/\"\n[scope]\npreset = \"planet\"\n[politeness]\ndelay = \"soon\"\n",
            &[
                "docs.toml:1: seeds: invalid type: string \"http://a/\", expected a sequence",
                "docs.toml:3: scope.preset: unknown variant `planet`, expected one of `page`, `prefix`, `host`, `domain`, `any`, `custom`",
                "docs.toml:5: politeness.delay: `soon` is not a duration: write 250ms, 30s, 5m, 12h or 7d",
            ],
        );
        check(
            "values that are wrong in themselves",
            "seeds = [\"ftp://a/\", \"example.org\"]\n[scope]\ninclude = [\"(\"]\n[extract.fields]\ntitle = \"h1[\"\n[limits]\nmax_pages = 0\n",
            &[
                "docs.toml:1: seeds: scheme `ftp` is not fetched (http and https are): write an http or https URL",
                "docs.toml:1: seeds: `example.org` is not a URL: write https://example.org",
                "docs.toml:3: scope.include: `(` is not a regular expression: unclosed group",
                "docs.toml:5: extract.fields.title: `h1[` is not a CSS selector (Unexpected EOL)",
                "docs.toml:7: limits.max_pages: must be at least 1 (is 0); leave it out for the default",
            ],
        );
    }

    #[test]
    fn the_daemons_defaults_fill_what_is_not_written_and_leave_the_hash_alone() {
        let mut draft = Draft::new();
        draft.set("seeds", json!(["HTTP://Example.org", "http://example.org/#top"]));
        draft.set("politeness.delay", json!("1m"));
        let strict = Config { per_host: 1, attempts: 7, ..Config::default() };
        let task = prepare(&draft, &strict, TaskOrigin::Command).unwrap();
        assert_eq!(task.spec.seeds, ["http://example.org/"]);
        assert_eq!((task.spec.politeness.per_host, task.spec.fetch.attempts), (1, 7));
        assert_eq!(task.spec.politeness.max_delay, Span::secs(60));
        assert_eq!(task.task_hash, prepare(&draft, &Config::default(), TaskOrigin::Command).unwrap().task_hash);
        assert!(task.task_id.as_str().starts_with("example.org-"));
    }

    #[test]
    fn the_example_is_a_task_once_it_is_renamed_and_not_before() {
        let tasks = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/tasks");
        assert!(file(&std::fs::read_to_string(tasks.join("example.toml.sample")).unwrap()).is_ok());
        assert_eq!(load_dir(&tasks, &Config::default()), (Vec::new(), Vec::new()));
    }

    #[test]
    fn a_directory_gives_its_tasks_and_its_problems() {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in [
            ("a.toml", "seeds = [\"http://a/\"]"),
            ("b.toml", "id = \"a\"\nseeds = [\"http://b/\"]"),
            ("c.toml.sample", "nonsense"),
            ("d.toml", "nonsense"),
        ] {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        let (tasks, problems) = load_dir(dir.path(), &Config::default());
        assert_eq!(tasks.iter().map(|task| task.task_id.as_str()).collect::<Vec<_>>(), ["a"]);
        assert_eq!(problems.len(), 2);
        assert_eq!(load_dir(&dir.path().join("none"), &Config::default()), (Vec::new(), Vec::new()));
    }

    #[tokio::test]
    async fn only_named_private_addresses_are_noted() {
        let mut draft = Draft::new();
        draft.set("seeds", json!(["http://127.0.0.1:8080/", "http://[::1]/", "http://93.184.216.34/"]));
        let mut task = prepare(&draft, &Config::default(), TaskOrigin::Command).unwrap();
        name_private(&mut task).await;
        let named: Vec<_> = task.named_private.iter().map(|named| (named.host.as_str(), named.port)).collect();
        assert_eq!(named, [("127.0.0.1", 8080), ("[::1]", 80)]);
        let mut task = prepare(&draft, &Config::default(), TaskOrigin::Api).unwrap();
        name_private(&mut task).await;
        assert!(task.named_private.is_empty());
    }
}
