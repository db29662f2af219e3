//! The corpus of the fuzz targets in `fuzz/`, replayed without a fuzzer.

#[path = "../../fuzz/checks/config.rs"]
mod config;
#[path = "../../fuzz/checks/snapshot.rs"]
mod snapshot;
#[path = "../../fuzz/checks/traffic.rs"]
mod traffic;

use std::{fs, path::Path};

use serde_json::{Value, json};

use crate::support::random::Random;

/// The inputs of a target, by name.
fn inputs(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let files = fs::read_dir(&folder).expect("the corpus is there");
    let mut inputs: Vec<_> = files
        .map(|file| {
            let path = file.expect("the corpus can be listed").path();
            (path.display().to_string(), fs::read(&path).expect("an input can be read"))
        })
        .collect();
    inputs.sort();
    assert!(inputs.len() >= 100, "inputs of {target} are missing");
    inputs
}

fn replay(target: &str, check: fn(&[u8])) {
    for (name, input) in inputs(target) {
        // Which input it was stands before what went wrong with it.
        println!("{name}");
        check(&input);
    }
}

#[test]
fn every_snapshot_of_the_corpus_restores_or_is_refused() {
    replay("snapshot", snapshot::check);
}

#[test]
fn every_configuration_of_the_corpus_works_or_is_refused() {
    replay("config", config::check);
}

/// Changes to a JSON value.
struct Changes(Random);

impl Changes {
    /// What stands at the edge of something.
    fn odd_value(&mut self) -> Value {
        let odd = [
            json!(null),
            json!(true),
            json!(0),
            json!(1),
            json!(-1),
            json!(0.5),
            json!(1e-300),
            json!(1e300),
            json!(u32::MAX),
            json!(u64::MAX),
            json!(i64::MIN),
            json!(1_000_000),
            json!(1_700_000_000.25),
            json!(1_699_999_990),
            json!(1_700_000_050),
            json!("open"),
            json!("half_open"),
            json!("closed"),
            json!("1ns"),
            json!("365days"),
            json!("60s"),
            json!("0s"),
            json!("fsb.?"),
            json!([]),
            json!({}),
            json!([{"age": 1e9, "calls": 3, "failures": 9, "slow_calls": u64::MAX}]),
            json!({"calls": 1}),
            json!({"time": "1ms"}),
            json!({"multiplier": 1e300, "max": "365days"}),
            json!({"start": 0.999, "time": "1ns"}),
            json!([{"consecutive_failures": 1}]),
        ];
        odd[self.0.index(odd.len())].clone()
    }

    /// Changes something somewhere in the value, so that it stays JSON.
    fn change(&mut self, value: &mut Value) {
        match value {
            Value::Object(fields) if !fields.is_empty() && self.0.below(8) > 0 => {
                let place = self.0.index(fields.len());
                let field = fields.keys().nth(place).cloned().unwrap_or_default();
                if self.0.below(16) == 0 {
                    fields.remove(&field);
                } else if let Some(inner) = fields.get_mut(&field) {
                    self.change(inner);
                }
            }
            Value::Array(items) if !items.is_empty() && self.0.below(8) > 0 => {
                let place = self.0.index(items.len());
                match self.0.below(16) {
                    0 => drop(items.remove(place)),
                    1 => items.push(items[place].clone()),
                    _ => self.change(&mut items[place]),
                }
            }
            _ => *value = self.odd_value(),
        }
    }
}

/// Checks almost valid JSON, which a fuzzer seldom produces. `CORPUS_CHANGES` sets the number of
/// inputs (3,000 by default).
fn replay_changed(target: &str, check: fn(&[u8])) {
    let count = std::env::var("CORPUS_CHANGES").map_or(3000, |count| count.parse().unwrap());
    let inputs = inputs(target).into_iter();
    let values = inputs.filter_map(|(_, input)| serde_json::from_slice::<Value>(&input).ok());
    let values: Vec<_> = values.filter(Value::is_object).collect();
    assert!(values.len() >= 10, "the corpus has too few inputs that are objects");
    let mut changes = Changes(Random::new(7));
    for number in 0..count {
        let mut value = values[changes.0.index(values.len())].clone();
        for _ in 0..=changes.0.below(3) {
            changes.change(&mut value);
        }
        println!("{number}: {value}");
        check(value.to_string().as_bytes());
    }
}

#[test]
fn an_almost_valid_snapshot_restores_or_is_refused() {
    replay_changed("snapshot", snapshot::check);
}

#[test]
fn an_almost_valid_configuration_works_or_is_refused() {
    replay_changed("config", config::check);
}
