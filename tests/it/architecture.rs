//! The shape of the source, read from the source: who imports whom, and how long a file is.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The layers. Each may use those before it, and no other.
const LAYERS: &[&str] = &[
    "model", "policy", "frontier", "store", "state", "browser", "extract", "fetch", "egress", "output", "crawl",
    "daemon", "api",
];

/// Layers side by side: what they share is in `model`.
const STRANGERS: &[&str] = &["store", "state", "browser", "output"];

/// Helpers outside the layers, and the first layer that may use each: the pure ones below need none of them.
const HELPERS: &[(&str, &str)] = &[
    ("exit_code", "model"),
    ("clock", "store"),
    ("faults", "store"),
    ("lock", "store"),
    ("telemetry", "daemon"),
    ("config", "daemon"),
];

/// What a helper may use itself, besides `model`; `cli` uses everything and is used by nobody.
const HELPERS_USE: &[(&str, &[&str])] = &[
    ("clock", &[]),
    ("exit_code", &[]),
    ("faults", &[]),
    ("lock", &[]),
    ("telemetry", &["clock"]),
    ("config", &["policy", "telemetry"]),
];

/// Arrows that break a rule and have a reason: user, used, reason. One that is not needed any more fails the test.
const EXCEPTIONS: &[(&str, &str, &str)] =
    &[("browser/tests_real.rs", "egress", "its visits leave the browser as a crawl's do: there is no other way out")];

/// Foreign crates and their homes, so that they can be replaced there.
const HOMES: &[(&str, &[&str])] = &[
    ("chromiumoxide", &["browser"]),
    ("cookie_store", &["fetch"]),
    ("pdf_extract", &["extract"]),
    ("hyper", &["egress", "api"]),
    ("axum", &["api"]),
    ("tower", &["api"]),
    ("rusqlite", &["store"]),
    ("clap", &["cli"]),
];

/// Not in the pure layers: a test would need a mock, a sleep or luck.
const IMPURE: &[&str] = &["std::fs", "std::net::Tcp", "tokio::", "SystemTime", "Instant::now", "fastrand", "tracing::"];
const PURE: &[&str] = &["model", "policy", "frontier"];

/// Lines of a file: above the first it is named, above the second the test fails.
const LONG: usize = 450;
const TOO_LONG: usize = 500;

/// Files above the limit: name, what they may have, why. One that is short again fails the test.
const LONG_FILES: &[(&str, usize, &str)] =
    &[("store/writer.rs", 600, "every statement that writes to a store, beside the others")];

struct Source {
    /// Below `src/`, with slashes.
    name: String,
    text: String,
}

impl Source {
    /// Its folder, or the file itself when it lies at the top: `crawl`, `clock`, `lib`.
    fn module(&self) -> &str {
        self.name.split('/').next().unwrap_or_default().trim_end_matches(".rs")
    }

    /// The text without comments, which may speak of anything.
    fn code(&self) -> String {
        let lines = self.text.lines().map(|line| match line.trim_start() {
            comment if comment.starts_with("//") => "",
            _ => line,
        });
        lines.collect::<Vec<_>>().join("\n")
    }
}

fn sources() -> Vec<Source> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).expect("a folder of the source") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                found.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    walk(&root, &mut paths);
    paths.sort();
    let read = |path: PathBuf| Source {
        name: path.strip_prefix(&root).expect("below src").to_string_lossy().replace('\\', "/"),
        text: fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())),
    };
    paths.into_iter().map(read).collect()
}

/// The modules that a text names by `crate::…`, also in a group `crate::{a, b::c}`.
fn named(code: &str) -> BTreeSet<String> {
    let word = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let mut found = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        // `$crate::`, in our own macros, names nothing here; `mycrate::` is another word.
        if code[..at].chars().next_back().is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '$') {
            continue;
        }
        let rest = &code[at + "crate::".len()..];
        let Some(group) = rest.strip_prefix('{') else {
            found.insert(word(rest));
            continue;
        };
        let (mut depth, mut start) = (0_i32, true);
        for (i, c) in group.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => start = true,
                c if start && !c.is_whitespace() => {
                    found.insert(word(&group[i..]));
                    start = false;
                }
                _ => {}
            }
        }
    }
    found.retain(|module| !module.is_empty());
    found
}

fn rank(layer: &str) -> Option<usize> {
    LAYERS.iter().position(|known| *known == layer)
}

/// Why `user` may not use `used`; `None` when it may.
fn objection(user: &str, used: &str) -> Option<String> {
    if user == used || used == "model" || ["cli", "lib", "main"].contains(&user) {
        return None;
    }
    let known =
        |list: &[(&str, &[&str])]| list.iter().find(|(name, _)| *name == user).map(|(_, may)| may.contains(&used));
    if let Some(may) = known(HELPERS_USE) {
        return (!may).then(|| format!("`{user}` stands beside the layers and may not use `{used}`"));
    }
    let Some(mine) = rank(user) else { return Some(format!("`{user}` is no layer: give it a place in this test")) };
    if let Some((_, from)) = HELPERS.iter().find(|(name, _)| *name == used) {
        let from = rank(from).expect("a layer");
        return (mine < from).then(|| format!("`{used}` may be used from `{}` upward", LAYERS[from]));
    }
    match rank(used) {
        None => Some(format!("nobody may use `{used}`")),
        Some(theirs) if theirs > mine => Some(format!("`{used}` stands above `{user}`")),
        Some(_) if STRANGERS.contains(&user) && STRANGERS.contains(&used) => {
            Some(format!("`{user}` and `{used}` do not know each other"))
        }
        Some(_) => None,
    }
}

/// The items that `lib.rs` lifts to the top of the crate: no arrows.
fn is_module(name: &str) -> bool {
    rank(name).is_some() || HELPERS.iter().any(|(helper, _)| *helper == name) || name == "cli"
}

#[test]
fn arrows_point_down() {
    let mut wrong = Vec::new();
    let mut needed = BTreeSet::new();
    for source in sources() {
        for used in named(&source.code()).iter().filter(|name| is_module(name)) {
            let Some(why) = objection(source.module(), used) else { continue };
            match EXCEPTIONS.iter().find(|(user, to, _)| *user == source.name && to == used) {
                Some(exception) => drop(needed.insert(exception)),
                None => wrong.push(format!("src/{}: {why}", source.name)),
            }
        }
    }
    let idle = EXCEPTIONS.iter().filter(|exception| !needed.contains(exception));
    wrong.extend(idle.map(|(user, used, _)| format!("src/{user}: the exception for `{used}` is not needed")));
    assert!(wrong.is_empty(), "the layers are in ARCHITECTURE.md:\n{}", wrong.join("\n"));
}

#[test]
fn foreign_crates_stay_at_home() {
    let mut wrong = Vec::new();
    for source in sources() {
        let code = source.code();
        for (krate, homes) in HOMES {
            let path = format!("{krate}::");
            let named = code.contains(&path) || code.contains(&format!("use {krate}"));
            if named && !homes.contains(&source.module()) {
                wrong.push(format!("src/{}: only {} use {krate}", source.name, homes.join("/ and ")));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn decisions_are_pure() {
    let mut wrong = Vec::new();
    for source in sources().iter().filter(|source| PURE.contains(&source.module())) {
        let code = source.code();
        for (number, line) in code.lines().enumerate() {
            if let Some(word) = IMPURE.iter().find(|word| line.contains(**word)) {
                wrong.push(format!("src/{}:{}: {word}: take it as an argument", source.name, number + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_file_has_one_idea() {
    let mut wrong = Vec::new();
    for source in sources() {
        let lines = source.text.lines().count();
        let excuse = LONG_FILES.iter().find(|(name, ..)| *name == source.name);
        let most = excuse.map_or(TOO_LONG, |(_, most, _)| *most);
        if lines > LONG {
            println!("{lines} lines: src/{}", source.name);
        }
        if lines > most {
            wrong.push(format!("src/{}: {lines} lines, {most} at most: split it by idea", source.name));
        } else if lines <= TOO_LONG && excuse.is_some() {
            wrong.push(format!("src/{}: short again, its exception can go", source.name));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_reader_finds_groups_and_skips_comments() {
    let source = Source {
        name: "policy/x.rs".into(),
        text: "// crate::api\nuse crate::{model::{a, b}, store};\n$crate::daemon; fn f() { crate::crawl::go() }".into(),
    };
    let found: Vec<String> = named(&source.code()).into_iter().collect();
    assert_eq!(found, ["crawl", "model", "store"]);
    assert_eq!(source.module(), "policy");
    assert!(objection("policy", "store").is_some() && objection("store", "policy").is_none());
    assert!(objection("store", "state").is_some() && objection("crawl", "state").is_none());
    assert!(objection("frontier", "clock").is_some() && objection("browser", "clock").is_none());
    assert!(objection("crawl", "config").is_some() && objection("daemon", "cli").is_some());
}
