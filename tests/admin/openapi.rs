//! The `OpenAPI` document, held against the answers.
//!
//! It is written by hand. A generator such as utoipa derives schemas from Rust types and paths from
//! annotated handlers; here, one service matches paths itself, and some answers (streams, files,
//! problems) have no type. The document would be annotations all the same, and could not be wrong
//! less often: these tests hold every answer against it, with unknown and missing fields as faults,
//! a unit test of the routes holds its paths and methods, and `.ci/long api` runs schemathesis.

use axum::body::Body;
use http::{Request, StatusCode};
use serde_json::{Map, Value, json};
use tower_breaker::{Config, KeyedBreakers, MemoryStore, Registry, Trip, Window, admin::Admin};

use super::{ID, TOKEN, change, get, id, json_of, send};

/// The faults of a value under a schema. A property that the schema does not know is one.
fn faults(document: &Value, schema: &Value, value: &Value, path: &str) -> Vec<String> {
    if let Some(name) = schema["$ref"].as_str() {
        let target = document.pointer(name.trim_start_matches('#')).expect(name);
        return faults(document, target, value, path);
    }
    if let Some(choices) = schema["oneOf"].as_array() {
        let all: Vec<_> =
            choices.iter().map(|choice| faults(document, choice, value, path)).collect();
        let fits = all.iter().any(Vec::is_empty);
        return if fits { Vec::new() } else { all.into_iter().flatten().collect() };
    }
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let allowed: Vec<&str> = match &schema["type"] {
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        kind => kind.as_str().into_iter().collect(),
    };
    let is_allowed = |kind| allowed.contains(&kind);
    if !is_allowed(kind) && (kind != "integer" || !is_allowed("number")) {
        return vec![format!("{path} is {kind}, not {allowed:?}")];
    }
    let mut found = Vec::new();
    if schema["enum"].as_array().is_some_and(|words| !words.contains(value)) {
        found.push(format!("{path} is {value}"));
    }
    for item in value.as_array().into_iter().flatten() {
        found.extend(faults(document, &schema["items"], item, &format!("{path}[]")));
    }
    if let (Some(object), Some(known)) = (value.as_object(), schema["properties"].as_object()) {
        for (name, value) in object {
            match known.get(name) {
                Some(schema) => {
                    found.extend(faults(document, schema, value, &format!("{path}.{name}")));
                }
                None => found.push(format!("{path}.{name} is not in the schema")),
            }
        }
        let required =
            schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let missing = required.filter(|name| !object.contains_key(*name));
        found.extend(missing.map(|name| format!("{path}.{name} is missing")));
    }
    found
}

pub(crate) struct Api {
    pub(crate) admin: Admin,
    pub(crate) document: Value,
}

impl Api {
    /// The same for a `GET`.
    pub(crate) async fn get(&self, path: &str, uri: &str, expected: u16) {
        self.check(path, get_request(uri), expected).await;
    }

    /// Sends the request and holds the answer against the document.
    async fn check(&self, path: &str, request: Request<Body>, expected: u16) {
        let method = request.method().as_str().to_lowercase();
        let operation = &self.document["paths"][path][&method];
        let (status, answer) = json_of(send(&self.admin, request).await).await;
        assert_eq!(status, expected, "{method} {path}: {answer}");
        let mut response = &operation["responses"][status.as_str()];
        if let Some(name) = response["$ref"].as_str() {
            response = self.document.pointer(name.trim_start_matches('#')).unwrap();
        }
        let contents: Option<&Map<_, _>> = response["content"].as_object();
        let contents = contents.unwrap_or_else(|| panic!("{method} {path}: no {status}"));
        let content = contents.values().next().unwrap();
        let found = faults(&self.document, &content["schema"], &answer, "answer");
        assert!(found.is_empty(), "{method} {path} {status}: {found:#?}\n{answer:#}");
    }
}

fn get_request(path: &str) -> Request<Body> {
    Request::get(path).body(Body::empty()).unwrap()
}

#[tokio::test]
async fn the_answers_are_those_of_the_document() {
    let mut config = Config::default();
    config.trip_on =
        vec![Trip::consecutive_failures(5), Trip::failure_rate(0.5, Window::calls(100))];
    let registry = Registry::builder().defaults(config).store(MemoryStore::new()).build().unwrap();
    let breaker = registry.get_or_create("payments").unwrap();
    registry.get_or_create("untouched").unwrap();
    let hosts = KeyedBreakers::builder("upstream").max_open_ratio(0.5).build().unwrap();
    drop(hosts.get_or_create("a.example"));
    let tenants = KeyedBreakers::builder("tenants").build().unwrap();
    let admin = Admin::new(&registry).group(&hosts).group(&tenants).token(TOKEN);
    let admin = admin.vital("payments");
    let document = get(&admin, "/openapi.json").await.1;
    let api = Api { admin, document };

    api.check("/health", get_request("/health"), 200).await;
    breaker.trip();
    api.check("/health", get_request("/health"), 503).await;
    api.check("/breakers", get_request("/breakers"), 200).await;
    for (query, status) in [
        (format!("group={}", id("upstream")), 200),
        ("order=urgency&limit=1&search=a".to_owned(), 200),
        ("limit=1".to_owned(), 200),
        ("limit=0".to_owned(), 400),
        ("group=YQ".to_owned(), 404),
    ] {
        api.check("/breakers", get_request(&format!("/breakers?{query}")), status).await;
    }
    for (path, operation) in api.document["paths"].as_object().unwrap() {
        let method = operation.as_object().unwrap().keys().next().unwrap().to_uppercase();
        let mut elsewhere = change(&path.replace("{id}", ID), "{}");
        *elsewhere.method_mut() = method.parse().unwrap();
        elsewhere.headers_mut().insert("host", "evil.example".parse().unwrap());
        elsewhere.headers_mut().insert("accept-language", "en".parse().unwrap());
        api.check(path, elsewhere, 421).await;
    }
    for action in ["trip", "force-open", "disable", "metrics-only", "reset"] {
        let (path, at) = (format!("/breakers/{{id}}/{action}"), format!("/breakers/{ID}/{action}"));
        let body = r#"{"note": "n", "by": "b"}"#;
        api.check(&path, change(&at, body), 200).await;
        api.check(&path, change(&at, "{"), 400).await;
        api.check(&path, change(&at, vec![b' '; 20_000]), 413).await;
        api.check(&path, change(&at.replace(ID, "YQ"), body), 404).await;
        let strip = |header: &str| {
            let mut request = change(&at, body);
            request.headers_mut().remove(header);
            request
        };
        api.check(&path, strip("authorization"), 401).await;
        api.check(&path, strip("content-type"), 415).await;
        let mut foreign = change(&at, body);
        foreign.headers_mut().insert("origin", "null".parse().unwrap());
        api.check(&path, foreign, 403).await;
    }
    let body = r#"{"for": "1h"}"#;
    let path = "/breakers/{id}/force-open";
    api.check(path, change(&format!("/breakers/{ID}/force-open"), body), 200).await;
    api.check("/breakers/{id}", get_request(&format!("/breakers/{ID}")), 200).await;
    api.check("/breakers/{id}", get_request("/breakers/YQ"), 404).await;
    let history = format!("/breakers/{ID}/history");
    api.check("/breakers/{id}/history", get_request(&history), 200).await;
    api.check("/breakers/{id}/history", get_request(&(history.clone() + "?limit=1")), 200).await;
    api.check("/breakers/{id}/history", get_request(&(history + "?limit=0")), 400).await;
    api.check("/breakers/{id}/history", get_request("/breakers/YQ/history"), 404).await;
}

/// The times that the document allows are times to the service.
#[test]
fn documented_times_are_accepted() {
    let document: Value =
        serde_json::from_str(include_str!("../../src/admin/openapi.json")).unwrap();
    let pattern = &document["components"]["schemas"]["Change"]["properties"]["for"]["pattern"];
    let pattern = pattern.as_str().unwrap().trim_start_matches('^').trim_end_matches('$');
    let times = proptest::string::string_regex(pattern).unwrap();
    let mut runner = proptest::test_runner::TestRunner::default();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let admin = Admin::new(super::registry(&["payments"])).token(TOKEN);
    let accepted = runner.run(&times, |time| {
        let body = json!({ "for": time }).to_string();
        let request = change(&format!("/breakers/{ID}/force-open"), body);
        let response = runtime.block_on(send(&admin, request));
        proptest::prop_assert_eq!(response.status(), StatusCode::OK);
        Ok(())
    });
    accepted.unwrap();
}

#[tokio::test]
async fn the_check_finds_faults() {
    let admin = Admin::new(super::registry(&["payments"]));
    let (status, document) = get(&admin, "/openapi.json").await;
    assert_eq!(status, StatusCode::OK);
    let (_, mut all) = get(&admin, "/breakers").await;
    let schema = &document["components"]["schemas"]["All"];
    assert_eq!(faults(&document, schema, &all, ""), Vec::<String>::new());
    let breaker = all["breakers"][0].as_object_mut().unwrap();
    breaker.insert("surprise".to_owned(), 1.into());
    breaker.insert("state".to_owned(), "ajar".into());
    breaker.insert("until".to_owned(), "soon".into());
    breaker.remove("name");
    assert_eq!(faults(&document, schema, &all, "").len(), 4);
}
