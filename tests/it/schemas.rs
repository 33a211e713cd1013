//! Every schema that `crawld schema` prints accepts what crawld really writes, and refuses what it never would.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::site::Config;
use crate::support::World;
use crate::support::world::Fetch;

/// The part of JSON Schema that the schemas use. A word that is not known here fails the test.
struct Schema(Value);

impl Schema {
    fn of(world: &World, name: &str) -> Self {
        Schema(world.crawld(&["schema", name]).run().expect_code(0).json())
    }

    /// What is wrong with a document, by place; empty when it fits.
    fn faults(&self, document: &Value) -> Vec<String> {
        let mut faults = Vec::new();
        self.check(&self.0, document, "", &mut faults);
        faults
    }

    fn fits(&self, schema: &Value, value: &Value) -> bool {
        let mut faults = Vec::new();
        self.check(schema, value, "", &mut faults);
        faults.is_empty()
    }

    fn check(&self, schema: &Value, value: &Value, at: &str, faults: &mut Vec<String>) {
        let rules = match schema {
            Value::Bool(true) => return,
            Value::Bool(false) => return faults.push(format!("{at}: nothing may be here")),
            other => other.as_object().expect("a schema"),
        };
        for (word, rule) in rules {
            match word.as_str() {
                "$schema" | "title" | "description" | "$defs" | "default" | "format" | "examples" => {}
                "$ref" => {
                    let place = rule.as_str().expect("a reference").strip_prefix('#').expect("a place in this schema");
                    self.check(self.0.pointer(place).expect("what it refers to"), value, at, faults);
                }
                "type" => {
                    let any = rule.as_array().cloned().unwrap_or_else(|| vec![rule.clone()]);
                    if !any.iter().any(|kind| is(value, kind.as_str().expect("a type"))) {
                        faults.push(format!("{at}: {value} is not {rule}"));
                    }
                }
                "enum" if rule.as_array().is_some_and(|all| all.contains(value)) => {}
                "const" if rule == value => {}
                "enum" | "const" => faults.push(format!("{at}: {value} is not {rule}")),
                "anyOf" | "oneOf" => {
                    if !rule.as_array().expect("schemas").iter().any(|one| self.fits(one, value)) {
                        faults.push(format!("{at}: {value} is none of what it may be"));
                    }
                }
                "allOf" => {
                    for one in rule.as_array().expect("schemas") {
                        self.check(one, value, at, faults);
                    }
                }
                "properties" => {
                    for (name, one) in rule.as_object().expect("properties") {
                        if let Some(inner) = value.get(name) {
                            self.check(one, inner, &format!("{at}/{name}"), faults);
                        }
                    }
                }
                "additionalProperties" => {
                    let known = rules.get("properties").and_then(Value::as_object);
                    for (name, inner) in value.as_object().into_iter().flatten() {
                        if !known.is_some_and(|known| known.contains_key(name)) {
                            self.check(rule, inner, &format!("{at}/{name}"), faults);
                        }
                    }
                }
                "required" => {
                    for name in rule.as_array().expect("names").iter().filter_map(Value::as_str) {
                        if value.is_object() && value.get(name).is_none() {
                            faults.push(format!("{at}: `{name}` is missing"));
                        }
                    }
                }
                "items" => {
                    for (n, inner) in value.as_array().into_iter().flatten().enumerate() {
                        self.check(rule, inner, &format!("{at}/{n}"), faults);
                    }
                }
                "prefixItems" => {
                    let rules = rule.as_array().expect("schemas");
                    for (n, (one, inner)) in rules.iter().zip(value.as_array().into_iter().flatten()).enumerate() {
                        self.check(one, inner, &format!("{at}/{n}"), faults);
                    }
                }
                "minimum" | "maximum" => {
                    let (Some(value), Some(rule)) = (value.as_f64(), rule.as_f64()) else { continue };
                    if if word == "minimum" { value < rule } else { value > rule } {
                        faults.push(format!("{at}: {value} is beyond the {word} of {rule}"));
                    }
                }
                "minItems" | "maxItems" => {
                    let (Some(all), Some(rule)) = (value.as_array(), rule.as_u64()) else { continue };
                    let many = all.len() as u64;
                    if if word == "minItems" { many < rule } else { many > rule } {
                        faults.push(format!("{at}: {many} items, {word} is {rule}"));
                    }
                }
                "pattern" => {
                    let pattern = regex::Regex::new(rule.as_str().expect("a pattern")).expect("a pattern");
                    if value.as_str().is_some_and(|text| !pattern.is_match(text)) {
                        faults.push(format!("{at}: {value} does not match {rule}"));
                    }
                }
                other => panic!("{at}: the test does not know the word `{other}` of JSON Schema"),
            }
        }
    }
}

fn is(value: &Value, kind: &str) -> bool {
    match kind {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("`{other}` is no type"),
    }
}

fn read(path: &Path) -> Value {
    let text = fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_slice(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The documents fit; without any one of the fields that must be there, the first one does not.
#[track_caller]
fn check(world: &World, name: &str, documents: &[Value]) {
    let schema = Schema::of(world, name);
    assert!(!documents.is_empty(), "{name}: nothing to check");
    for document in documents {
        let faults = schema.faults(document);
        assert!(faults.is_empty(), "{name}: {faults:#?}\nin {document:#}");
    }
    for field in schema.0["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        let mut cut = documents[0].clone();
        cut.as_object_mut().expect("an object").remove(field);
        assert!(!schema.faults(&cut).is_empty(), "{name}: `{field}` may be missing");
    }
    assert!(!schema.faults(&json!("a string")).is_empty(), "{name}: anything goes");
}

#[test]
fn of_every_kind_accept_what_is_written() {
    let world = World::new(Config { latency: Duration::from_millis(5), ..Config::full(20) }, Fetch::Http);
    world.crawl_and_kill(15);
    let id = world.session();
    let sessions = world.state.join("sessions");
    check(&world, "recovery", &[world.recover().args(&["--dry-run"]).run().json()]);
    world.crawl().run().expect_code(3);
    check(&world, "checkpoint", &[read(&sessions.join(format!("checkpoint_{id}.json")))]);
    check(&world, "heartbeat", &[read(&sessions.join(format!("heartbeat_{id}.json")))]);
    let task = read(&world.session_dir().join("task.json"));
    check(&world, "task", &[task["spec"].clone()]);
    check(&world, "session", &[world.crawld(&["status", &id, "--json"]).run().json()]);
    let outputs = world.outputs();
    check(&world, "page", &outputs.pages);
    check(&world, "url", &outputs.urls);
}

/// Files that a person writes: the sample beside the tasks, and the configuration with every key switched on.
#[test]
fn of_files_that_people_write_accept_the_samples() {
    let world = World::new(Config::plain(1), Fetch::Http);
    let place = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    let toml = |text: &str| serde_json::to_value(toml::from_str::<toml::Value>(text).expect("TOML")).expect("JSON");
    let sample = fs::read_to_string(place.join("tasks/example.toml.sample")).expect("the sample");
    check(&world, "task", &[toml(&sample)]);
    let config = fs::read_to_string(place.join("crawld.toml")).expect("the configuration");
    let key = regex::Regex::new(r"(?m)^#([a-z_]+ = )").expect("a pattern");
    let config = toml(&key.replace_all(&config, "$1"));
    assert!(config.as_object().is_some_and(|keys| keys.len() > 40), "{config}");
    check(&world, "config", &[config]);
}
