//! The OpenAPI 3.1 document: made of the route table and of the types that the routes read and write.

use std::sync::OnceLock;

use schemars::generate::SchemaSettings;
use schemars::{Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use crate::api::access::Access;
use crate::api::problem::{MEDIA_TYPE, ProblemBody};
use crate::api::routes::{Gives, Route, all};

/// Where the schemas stand in the document.
const SCHEMAS: &str = "/components/schemas";

/// The document as text; made once.
pub(super) fn text() -> &'static str {
    static TEXT: OnceLock<String> = OnceLock::new();
    TEXT.get_or_init(|| serde_json::to_string_pretty(&document()).unwrap_or_default())
}

/// The document.
pub(super) fn document() -> Value {
    let mut settings = SchemaSettings::draft2020_12();
    settings.definitions_path = SCHEMAS.into();
    settings.meta_schema = None;
    let mut generator = settings.into_generator();
    let problem = generator.subschema_for::<ProblemBody>();
    let mut paths: Map<String, Value> = Map::new();
    for route in all() {
        // A wildcard is a parameter with slashes in it, of which OpenAPI knows nothing.
        let path = route.full_path().replace("{*", "{");
        let entry = paths.entry(path).or_insert_with(|| json!({}));
        entry[route.method] = operation(route, &mut generator, &problem);
    }
    let schemas = generator.take_definitions(true);
    inline_queries(&mut paths, &schemas);
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "crawld",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "See and steer crawls.",
            "license": { "name": "MIT", "identifier": "MIT" },
        },
        "jsonSchemaDialect": "https://json-schema.org/draft/2020-12/schema",
        "servers": [{ "url": "/" }],
        "security": [{ "token": [] }, { "login": [] }],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "What `api-token` or, to look only, `api-token-readonly` of the state directory holds.",
                },
                "login": {
                    "type": "apiKey",
                    "in": "cookie",
                    "name": "crawld_login_27953",
                    "description": "What `POST /login` sets; the number is the port.",
                },
            },
        },
    })
}

fn operation(route: &Route, generator: &mut SchemaGenerator, problem: &Schema) -> Value {
    let full = route.full_path();
    let mut parameters: Vec<Value> = names(&full)
        .map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }))
        .collect();
    if let Some(query) = route.query {
        // Taken apart once all definitions are known.
        parameters.push(json!({ "query": query(generator) }));
    }
    let (code, good) = match route.gives {
        Gives::Nothing => ("204", json!({ "description": "Done" })),
        Gives::Json(schema) => {
            let schema = schema(generator);
            ("200", json!({ "description": "The answer", "content": { "application/json": { "schema": schema } } }))
        }
        Gives::Bytes(media_type) => ("200", json!({ "description": "The bytes", "content": { media_type: {} } })),
        Gives::Upgrade => ("101", json!({ "description": "The connection speaks WebSocket from here on" })),
    };
    let mut operation = json!({
        "operationId": operation_id(route),
        "summary": route.summary,
        "tags": [tag(&full)],
        "parameters": parameters,
        "responses": {
            code: good,
            "default": {
                "description": "A problem (RFC 9457)",
                "content": { MEDIA_TYPE: { "schema": problem } },
            },
        },
    });
    if let Some(takes) = route.takes {
        let schema = takes(generator);
        operation["requestBody"] = json!({ "content": { "application/json": { "schema": schema } } });
    }
    match route.access {
        Access::Open => operation["security"] = json!([]),
        Access::Local => operation["description"] = json!("Over the Unix socket of the state directory only."),
        Access::Full => operation["description"] = json!("Needs the token for everything."),
        Access::Read | Access::Metrics => {}
    }
    operation
}

/// The parameters of a path.
fn names(path: &str) -> impl Iterator<Item = &str> {
    path.split('/')
        .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
        .map(|name| name.trim_start_matches('*'))
}

/// `get_sessions_id_pages`.
fn operation_id(route: &Route) -> String {
    let words = route.path.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    std::iter::once(route.method).chain(words).collect::<Vec<_>>().join("_")
}

/// The noun.
fn tag(path: &str) -> &str {
    let path = path.strip_prefix("/api/v1").unwrap_or(path);
    path.split('/').find(|part| !part.is_empty()).unwrap_or("dashboard")
}

/// A query is one parameter for each property of its schema.
fn inline_queries(paths: &mut Map<String, Value>, schemas: &Map<String, Value>) {
    let operations = paths.values_mut().filter_map(Value::as_object_mut).flat_map(|entry| entry.values_mut());
    for operation in operations {
        let Some(parameters) = operation["parameters"].as_array_mut() else { continue };
        let Some(query) = parameters.last_mut().and_then(|last| last.as_object_mut()?.remove("query")) else {
            continue;
        };
        parameters.pop();
        let named = query["$ref"].as_str().and_then(|path| schemas.get(path.rsplit('/').next()?));
        let schema = named.unwrap_or(&query);
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            let description = property["description"].as_str().unwrap_or_default();
            parameters.push(json!({ "name": name, "in": "query", "description": description, "schema": property }));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_document_has_every_route_and_every_schema_that_it_names() {
        let document = document();
        let mut ids = BTreeSet::new();
        for route in all() {
            let path = route.full_path().replace("{*", "{");
            let operation = &document["paths"][&path][route.method];
            assert!(operation["summary"].is_string(), "{} {path}", route.method);
            assert!(ids.insert(operation["operationId"].to_string()), "{path}: {}", operation["operationId"]);
            assert_eq!(route.takes.is_some(), operation["requestBody"].is_object(), "{path}");
        }
        let text = document.to_string();
        let named = text.split("\"$ref\":\"#/components/schemas/").skip(1).filter_map(|rest| rest.split('"').next());
        for name in named {
            assert!(document["components"]["schemas"][name].is_object(), "{name} is named and not there");
        }
        assert!(!text.contains("\"query\":{"), "a query was left whole");
        let pages = &document["paths"]["/api/v1/sessions/{id}/pages"]["get"]["parameters"];
        let names: Vec<&str> = pages.as_array().unwrap().iter().filter_map(|one| one["name"].as_str()).collect();
        assert_eq!(names, ["id", "outcome", "detail", "after", "limit"]);
    }
}
