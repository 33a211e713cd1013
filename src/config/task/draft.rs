//! A task as written: only the keys that somebody set, each with its place.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::config::layers::{line_at, read_bounded};
use crate::config::task::attach::attach;
use crate::config::{Problem, nearest};
use crate::model::task::TaskSpec;

/// A task as written, before any default.
#[derive(Debug, Clone, Default)]
pub struct Draft {
    value: Map<String, Value>,
    file: Option<PathBuf>,
    lines: BTreeMap<String, usize>,
}

impl Draft {
    /// Nothing set yet: for a command line.
    pub fn new() -> Self {
        Draft::default()
    }

    /// From an API body.
    ///
    /// # Errors
    /// The body is not an object.
    pub fn from_json(value: Value) -> Result<Self, Vec<Problem>> {
        match value {
            Value::Object(value) => Ok(Draft { value, ..Draft::default() }),
            _ => Err(vec![Problem::new("task", "must be an object; `crawld schema task` prints its shape")]),
        }
    }

    /// From a TOML file.
    ///
    /// # Errors
    /// It cannot be read, or is not TOML: the place and what to do.
    pub fn from_file(path: &Path) -> Result<Self, Vec<Problem>> {
        let shown = path.display().to_string();
        let text = read_bounded(path).map_err(|error| {
            vec![Problem::new(
                &shown,
                format!("cannot be read ({error}): name a task file (TOML; `crawld schema task` prints its shape)"),
            )]
        })?;
        let table = toml::from_str::<toml::Table>(&text).map_err(|error| {
            let line = error.span().map_or(1, |span| line_at(&text, span.start));
            vec![Problem::new(format!("{shown}:{line}"), format!("is not TOML: {}", error.message()))]
        })?;
        let mut lines = BTreeMap::new();
        if let Ok(parsed) = toml::de::DeTable::parse(&text) {
            note_lines(parsed.get_ref(), "", &text, &mut lines);
        }
        match serde_json::to_value(table) {
            Ok(Value::Object(value)) => {
                let mut draft = Draft { value, file: Some(path.to_owned()), lines };
                match attach(&mut draft.value, path) {
                    Ok(()) => Ok(draft),
                    Err((key, message)) => Err(vec![Problem::new(draft.place(key), message)]),
                }
            }
            _ => Err(vec![Problem::new(shown, "holds a value that a task cannot have")]),
        }
    }

    /// The file it came from.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// As JSON, for the API.
    pub fn to_json(&self) -> Value {
        Value::Object(self.value.clone())
    }

    /// Sets `section.key` (or a key at the top).
    pub fn set(&mut self, path: &str, value: Value) {
        match path.split_once('.') {
            None => {
                self.value.insert(path.to_owned(), value);
            }
            Some((section, key)) => {
                let slot = self.value.entry(section).or_insert_with(|| json!({}));
                if !slot.is_object() {
                    *slot = json!({});
                }
                if let Value::Object(table) = slot {
                    table.insert(key.to_owned(), value);
                }
            }
        }
        // A flag's value no longer stands in the file.
        self.lines.remove(path);
    }

    /// Whether `section.key` was set.
    pub fn has(&self, path: &str) -> bool {
        match path.split_once('.') {
            None => self.value.contains_key(path),
            Some((section, key)) => {
                self.value.get(section).and_then(Value::as_object).is_some_and(|t| t.contains_key(key))
            }
        }
    }

    /// Where a key stands, for a message.
    pub fn place(&self, path: &str) -> String {
        match (&self.file, self.lines.get(path).or_else(|| self.lines.get(path.split('.').next().unwrap_or(path)))) {
            (Some(file), Some(line)) => format!("{}:{line}: {path}", file.display()),
            (Some(file), None) => format!("{}: {path}", file.display()),
            (None, _) => format!("task: {path}"),
        }
    }

    /// Reads the keys; values that were not set have the built-in default.
    ///
    /// # Errors
    /// Every unknown key and every value of a wrong type.
    pub fn read(&self) -> Result<TaskSpec, Vec<Problem>> {
        let reference = reference();
        let mut problems = Vec::new();
        for (name, value) in &self.value {
            match reference.get(name) {
                None => problems.push(self.unknown(name, reference.keys().map(String::as_str))),
                Some(Value::Object(known)) if name != "fields" => self.section(name, value, known, &mut problems),
                Some(_) => self.one(name, value, &mut problems),
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let mut whole = self.value.clone();
        whole.entry("seeds").or_insert_with(|| json!([]));
        serde_json::from_value(Value::Object(whole))
            .map_err(|error| vec![Problem::new(self.place("task"), error.to_string())])
    }

    fn section(&self, name: &str, value: &Value, known: &Map<String, Value>, problems: &mut Vec<Problem>) {
        let Value::Object(table) = value else {
            problems.push(Problem::new(self.place(name), "must be a section (a table)"));
            return;
        };
        for (key, value) in table {
            let path = format!("{name}.{key}");
            if known.contains_key(key) {
                self.one(&path, value, problems);
            } else {
                problems.push(self.unknown(&path, known.keys().map(String::as_str)));
            }
        }
    }

    /// Tries one value in an otherwise plain task, so that every wrong one is found.
    fn one(&self, path: &str, value: &Value, problems: &mut Vec<Problem>) {
        let mut probe = Draft::new();
        probe.set("seeds", json!([]));
        probe.set(path, value.clone());
        if let Err(error) = serde_json::from_value::<TaskSpec>(Value::Object(probe.value)) {
            let message = match path {
                "extract.fields" => {
                    "every field must be a CSS selector, or { selector = \"…\", attribute = \"…\" }".to_owned()
                }
                _ => error.to_string(),
            };
            problems.push(Problem::new(self.place(path), message));
        }
    }

    fn unknown<'a>(&self, path: &str, known: impl Iterator<Item = &'a str>) -> Problem {
        let (prefix, key) = path.rsplit_once('.').map_or(("", path), |(section, key)| (section, key));
        let dot = if prefix.is_empty() { "" } else { "." };
        let message = match nearest(key, known).map(|meant| format!("{prefix}{dot}{meant}")).or_else(|| elsewhere(key))
        {
            Some(meant) => format!("unknown key: did you mean `{meant}`?"),
            None => "unknown key: `crawld schema task` prints all of them".to_owned(),
        };
        Problem::new(self.place(path), message)
    }
}

/// A key that exists, but in another section.
fn elsewhere(key: &str) -> Option<String> {
    reference().iter().find_map(|(section, value)| {
        let found = value.as_object()?.contains_key(key);
        found.then(|| format!("{section}.{key}"))
    })
}

/// A task with every key, at its default.
pub(super) fn reference() -> Map<String, Value> {
    let spec: TaskSpec = serde_json::from_value(json!({"seeds": []})).expect("the smallest task is a task");
    match serde_json::to_value(spec) {
        Ok(Value::Object(mut map)) => {
            map.insert("id".to_owned(), Value::Null);
            map
        }
        _ => unreachable!("a struct serialises as an object"),
    }
}

fn note_lines(table: &toml::de::DeTable<'_>, prefix: &str, text: &str, lines: &mut BTreeMap<String, usize>) {
    for (key, value) in table.iter() {
        let path = if prefix.is_empty() { key.get_ref().to_string() } else { format!("{prefix}.{}", key.get_ref()) };
        lines.insert(path.clone(), line_at(text, key.span().start));
        if let toml::de::DeValue::Table(inner) = value.get_ref() {
            note_lines(inner, &path, text, lines);
        }
    }
}
