//! JSON Schema (2020-12), as far as the documents of crawld use it. What it does not know it refuses, so that nothing
//! passes unread.

use serde_json::Value;

/// Keys that say nothing about what is valid here.
const WORDS: &[&str] = &["description", "title", "default", "format", "examples", "$schema", "readOnly", "deprecated"];

/// What is wrong with a value, each with its place.
pub fn complaints(document: &Value, schema: &Value, value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    check(document, schema, value, "$", &mut found);
    found
}

fn check(document: &Value, schema: &Value, value: &Value, at: &str, found: &mut Vec<String>) {
    let rules = match schema {
        Value::Bool(true) => return,
        Value::Bool(false) => return found.push(format!("{at}: nothing may stand here")),
        schema => schema.as_object().unwrap_or_else(|| panic!("{at}: no schema: {schema}")),
    };
    for (key, rule) in rules {
        match key.as_str() {
            "$ref" => {
                let path =
                    rule.as_str().and_then(|path| path.strip_prefix('#')).expect("a reference into the document");
                let target = document.pointer(path).unwrap_or_else(|| panic!("{path} is not in the document"));
                check(document, target, value, at, found);
            }
            "type" => {
                let wanted = rule.as_array().cloned().unwrap_or_else(|| vec![rule.clone()]);
                if !wanted.iter().filter_map(Value::as_str).any(|kind| is(kind, value)) {
                    found.push(format!("{at}: {rule} expected, is {value:.80}"));
                }
            }
            "enum" => {
                if !rule.as_array().expect("a list").contains(value) {
                    found.push(format!("{at}: {value} is none of {rule}"));
                }
            }
            "const" => {
                if rule != value {
                    found.push(format!("{at}: {value} is not {rule}"));
                }
            }
            "required" => {
                for name in rule.as_array().expect("a list").iter().filter_map(Value::as_str) {
                    if value.is_object() && value.get(name).is_none() {
                        found.push(format!("{at}: `{name}` is missing"));
                    }
                }
            }
            "properties" => {
                for (name, inner) in rule.as_object().expect("properties") {
                    if let Some(field) = value.get(name) {
                        check(document, inner, field, &format!("{at}.{name}"), found);
                    }
                }
            }
            "additionalProperties" => {
                let known = rules.get("properties").and_then(Value::as_object);
                for (name, field) in value.as_object().into_iter().flatten() {
                    if known.is_none_or(|known| !known.contains_key(name)) {
                        check(document, rule, field, &format!("{at}.{name}"), found);
                    }
                }
            }
            "items" => {
                for (i, item) in value.as_array().into_iter().flatten().enumerate() {
                    check(document, rule, item, &format!("{at}[{i}]"), found);
                }
            }
            "prefixItems" => {
                for (i, inner) in rule.as_array().expect("a list").iter().enumerate() {
                    if let Some(item) = value.get(i) {
                        check(document, inner, item, &format!("{at}[{i}]"), found);
                    }
                }
            }
            "minItems" | "maxItems" => {
                let (length, bound) = (value.as_array().map_or(0, Vec::len) as u64, rule.as_u64().expect("a number"));
                let fits = if key == "minItems" { length >= bound } else { length <= bound };
                if value.is_array() && !fits {
                    found.push(format!("{at}: {length} items, {key} {bound}"));
                }
            }
            "minimum" | "maximum" => {
                if let (Some(number), Some(bound)) = (value.as_f64(), rule.as_f64()) {
                    let fits = if key == "minimum" { number >= bound } else { number <= bound };
                    if !fits {
                        found.push(format!("{at}: {number}, {key} {bound}"));
                    }
                }
            }
            "allOf" => rule.as_array().expect("a list").iter().for_each(|one| check(document, one, value, at, found)),
            "anyOf" | "oneOf" => {
                let fitting = |one: &&Value| complaints(document, one, value).is_empty();
                if rule.as_array().expect("a list").iter().filter(fitting).count() == 0 {
                    found.push(format!("{at}: {value:.80} fits none of {key}"));
                }
            }
            "pattern" => {
                let pattern = regex::Regex::new(rule.as_str().expect("a pattern")).expect("a pattern");
                if value.as_str().is_some_and(|text| !pattern.is_match(text)) {
                    found.push(format!("{at}: {value} does not match {rule}"));
                }
            }
            word if WORDS.contains(&word) => {}
            other => panic!("{at}: this validator does not know `{other}`"),
        }
    }
}

fn is(kind: &str, value: &Value) -> bool {
    match kind {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "number" => value.is_number(),
        "integer" => value.is_u64() || value.is_i64(),
        other => panic!("no type of JSON: {other}"),
    }
}
