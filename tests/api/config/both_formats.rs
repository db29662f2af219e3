//! Every field of a file, wrong in turn and all at once, in JSON and in TOML.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};
use tower_breaker::{
    Config, ConfigError,
    config::{ConfigFile, Fault},
};

/// All fields, with every kind of rule and of window.
fn complete() -> Value {
    json!({
        "trip_on": [
            {"consecutive_failures": 5},
            {"failure_rate": {"threshold": 0.5, "window": {"calls": 100}, "minimum_calls": 20}},
            {"slow_call_rate": {
                "threshold": 0.8, "slower_than": "2s", "window": {"time": "30s"},
                "minimum_calls": 20,
            }},
        ],
        "recovery_timeout": "60s",
        "backoff": {"multiplier": 2.0, "max": "10m", "jitter": 0.2},
        "success_threshold": 2,
        "half_open_max_calls": 1,
        "half_open_failure_rate": 0.5,
        "half_open_timeout": "60s",
        "abandoned_after": "10s",
        "ramp_up": {"start": 0.1, "time": "30s"},
        "snapshot_ttl": {"open": "24h", "closed": "1h"},
        "history_retention_days": 30,
        "flush_interval": "1s",
        "transition_flush_interval": "100ms",
        "call_metrics": "counts",
    })
}

fn faults(result: Result<ConfigFile, ConfigError>) -> Vec<String> {
    let Err(error) = result else { return Vec::new() };
    let mut paths: Vec<String> = error.faults().iter().map(Fault::path).map(Into::into).collect();
    paths.sort_unstable();
    paths
}

/// A file in TOML, with inline tables.
fn toml_of(file: &Value) -> String {
    let mut toml = String::new();
    for (name, value) in file.as_object().unwrap() {
        writeln!(toml, "{} = {}", json!(name), inline(value)).unwrap();
    }
    toml
}

fn inline(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let field =
                |(name, value): (&String, &Value)| format!("{} = {}", json!(name), inline(value));
            format!("{{ {} }}", fields.iter().map(field).collect::<Vec<_>>().join(", "))
        }
        Value::Array(items) => {
            format!("[{}]", items.iter().map(inline).collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}

/// The paths of the faults, which are the same in both formats.
fn faults_of(file: &Value) -> Vec<String> {
    let json = faults(ConfigFile::from_json(&file.to_string()));
    let toml = faults(ConfigFile::from_toml(&toml_of(file)));
    assert_eq!(json, toml, "{file}");
    json
}

/// Where settings stand in a file.
const PLACES: [&str; 2] = ["/defaults", "/breakers/payments"];

fn file_with(place: &str, settings: Value) -> Value {
    let mut file = json!({"defaults": {}, "breakers": {"payments": {}}});
    *file.pointer_mut(place).unwrap() = settings;
    file
}

/// A path as it stands in a fault.
fn path_of(pointer: &str) -> String {
    let mut path = String::new();
    for part in pointer.split('/').skip(1) {
        if part.parse::<usize>().is_ok() {
            write!(path, "[{part}]").unwrap();
        } else {
            path.push_str(if path.is_empty() { "" } else { "." });
            path.push_str(part);
        }
    }
    path
}

/// The pointers to everything in a value, and whether each is a value without parts.
fn pointers(value: &Value, pointer: &str, found: &mut Vec<(String, bool)>) {
    let mut visit = |part: &str, value: &Value| {
        let pointer = format!("{pointer}/{part}");
        found.push((pointer.clone(), !value.is_object() && !value.is_array()));
        pointers(value, &pointer, found);
    };
    match value {
        Value::Object(fields) => fields.iter().for_each(|(name, value)| visit(name, value)),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(index, item)| visit(&index.to_string(), item));
        }
        _ => {}
    }
}

fn all_pointers() -> Vec<(String, bool)> {
    let mut found = Vec::new();
    pointers(&complete(), "", &mut found);
    found
}

#[test]
fn the_complete_settings_are_complete_and_right() {
    let names = |value: &Value| -> Vec<String> {
        let mut names: Vec<String> = value.as_object().unwrap().keys().cloned().collect();
        names.sort_unstable();
        names
    };
    assert_eq!(names(&complete()), names(&serde_json::to_value(Config::default()).unwrap()));
    for place in PLACES {
        assert_eq!(faults_of(&file_with(place, complete())), [""; 0]);
    }
}

#[test]
fn each_field_of_the_wrong_kind_is_one_fault_at_its_path() {
    // No field is a yes or a no. A list, a number and a text are right somewhere.
    for wrong in [json!(true), json!([[]]), json!("never"), json!(-1)] {
        for (pointer, is_leaf) in all_pointers() {
            for place in PLACES {
                let mut settings = complete();
                let field = settings.pointer_mut(&pointer).unwrap();
                if !is_leaf && field.is_array() && wrong.is_array() {
                    continue;
                }
                *field = wrong.clone();
                let expected = path_of(&format!("{place}{pointer}"));
                assert_eq!(faults_of(&file_with(place, settings)), [expected], "{wrong}");
            }
        }
    }
}

#[test]
fn an_unknown_field_at_any_depth_is_one_fault_at_its_path() {
    let objects = all_pointers().into_iter().map(|(pointer, _)| pointer).chain([String::new()]);
    for pointer in objects {
        for place in PLACES {
            let mut settings = complete();
            let Some(Value::Object(fields)) = settings.pointer_mut(&pointer) else { continue };
            // Of these, an object has one.
            let is_one_of = fields.len() == 1;
            fields.insert("typo".to_owned(), json!(1));
            let found = faults_of(&file_with(place, settings));
            let object = path_of(&format!("{place}{pointer}"));
            let expected = if is_one_of { object } else { format!("{object}.typo") };
            assert_eq!(found, [expected]);
        }
    }
}

/// Values that are out of range, or of a kind that comes near, for the value at a place.
fn out_of_range(pointer: &str, right: &Value) -> Vec<Value> {
    let field = pointer.rsplit('/').next().unwrap();
    match right {
        Value::Number(number) if number.is_f64() => {
            let beyond = if field == "multiplier" { json!(0.99) } else { json!(1.01) };
            vec![beyond, json!(-0.1), json!("0.5")]
        }
        Value::Number(_) => {
            let largest = match field {
                "history_retention_days" => json!(366),
                "calls" => json!(1_000_001),
                _ => json!(4_294_967_296_u64),
            };
            vec![json!(0), largest, json!(1.5), json!("1")]
        }
        Value::String(_) if field == "call_metrics" => vec![json!("Counts"), json!("")],
        Value::String(_) => {
            let mut wrong = vec![json!("366days"), json!("-1s"), json!("1 parsec"), json!(1)];
            if !field.ends_with("flush_interval") {
                wrong.push(json!("0s"));
            }
            wrong
        }
        other => panic!("{pointer}: {other}"),
    }
}

#[test]
fn each_value_out_of_range_is_one_fault_at_its_path() {
    for (pointer, _) in all_pointers().into_iter().filter(|(_, is_leaf)| *is_leaf) {
        let right = complete().pointer(&pointer).unwrap().clone();
        for wrong in out_of_range(&pointer, &right) {
            for place in PLACES {
                let mut settings = complete();
                *settings.pointer_mut(&pointer).unwrap() = wrong.clone();
                let expected = path_of(&format!("{place}{pointer}"));
                assert_eq!(faults_of(&file_with(place, settings)), [expected], "{wrong}");
            }
        }
    }
}

/// What only one of the formats can write, in place of a field.
const PLACEHOLDER: &str = "placeholder";

#[test]
fn a_number_that_is_not_finite_and_a_date_are_one_fault_at_the_path_of_each_field() {
    for wrong in ["nan", "-nan", "inf", "-inf", "1979-05-27", "07:32:00", "1979-05-27T07:32:00Z"] {
        for (pointer, _) in all_pointers() {
            for place in PLACES {
                let mut settings = complete();
                *settings.pointer_mut(&pointer).unwrap() = json!(PLACEHOLDER);
                let toml = toml_of(&file_with(place, settings));
                let toml = toml.replace(&json!(PLACEHOLDER).to_string(), wrong);
                let expected = path_of(&format!("{place}{pointer}"));
                assert_eq!(faults(ConfigFile::from_toml(&toml)), [expected], "{wrong}");
            }
        }
    }
}

/// A field is there twice: in JSON with its path; TOML's own rules forbid it, and say where.
#[test]
fn each_field_that_is_there_twice_is_a_fault() {
    for (pointer, _) in all_pointers() {
        // An item of a list has no name.
        if pointer.rsplit('/').next().unwrap().parse::<usize>().is_ok() {
            continue;
        }
        for place in PLACES {
            let twice = |text: &str, is: &str| {
                let (name, value) = (json!(PLACEHOLDER), "7");
                let field = format!("{name}{is}{value}");
                assert!(text.contains(&field), "{text}");
                text.replace(&field, &format!("{field}, {field}"))
            };
            let mut settings = complete();
            let (parent, name) = pointer.rsplit_once('/').unwrap();
            let parent = settings.pointer_mut(parent).unwrap().as_object_mut().unwrap();
            let right = parent.remove(name).unwrap();
            parent.insert(PLACEHOLDER.to_owned(), json!(7));
            let file = file_with(place, settings);
            let named = |text: String| text.replace(PLACEHOLDER, name);
            let json = twice(&file.to_string(), ":");
            let json = named(json.replace(":7", &format!(":{right}")));
            let expected = path_of(&format!("{place}{pointer}"));
            assert_eq!(faults(ConfigFile::from_json(&json)), [expected], "{json}");

            let toml = named(twice(&toml_of(&file), " = "));
            let error = ConfigFile::from_toml(&toml).unwrap_err().to_string();
            assert!(error.contains("duplicate key") && error.contains(" at line "), "{error}");
        }
    }
}

#[test]
fn all_faults_of_a_file_are_in_one_error() {
    let leaves: Vec<String> =
        all_pointers().into_iter().filter(|(_, leaf)| *leaf).map(|(pointer, _)| pointer).collect();
    let mut settings = complete();
    for pointer in &leaves {
        *settings.pointer_mut(pointer).unwrap() = json!(true);
    }
    let file = json!({
        "defaults": settings,
        "breakers": {"payments": settings, "a.b": {"typo": 1}, "c": 7},
        "store": {"sled": 7},
        "typo": {},
    });
    let mut expected: Vec<String> = PLACES
        .iter()
        .flat_map(|place| leaves.iter().map(move |leaf| path_of(&format!("{place}{leaf}"))))
        .collect();
    let others = [r#"breakers["a.b"].typo"#, "breakers.c", "store.sled", "typo"];
    expected.extend(others.map(str::to_owned));
    expected.sort_unstable();
    assert_eq!(faults_of(&file), expected);
}

#[test]
fn a_file_of_the_wrong_shape_is_a_fault() {
    for (file, expected) in [
        (json!({"defaults": 7}), "defaults"),
        (json!({"breakers": []}), "breakers"),
        (json!({"breakers": {"a": "b"}}), "breakers.a"),
        (json!({"store": "sled"}), "store"),
        (json!({"store": {"bolt": "state"}}), "store.bolt"),
    ] {
        assert_eq!(faults_of(&file), [expected], "{file}");
    }
    let empty = Value::Object(Map::new());
    assert_eq!(faults_of(&empty), [""; 0]);
}

#[test]
fn what_is_no_document_is_a_fault_of_the_whole() {
    for error in [
        ConfigFile::from_json("{").unwrap_err(),
        ConfigFile::from_json("").unwrap_err(),
        ConfigFile::from_toml("[defaults").unwrap_err(),
        ConfigFile::from_toml("defaults = {").unwrap_err(),
        ConfigFile::from_toml("a = 1\na = 2").unwrap_err(),
    ] {
        let [fault] = error.faults() else { panic!("{error}") };
        assert_eq!(fault.path(), "");
    }
}
