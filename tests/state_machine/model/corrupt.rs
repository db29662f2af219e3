//! Corrupted snapshots, in which any field may hold any value.

use proptest::{
    collection::vec,
    prelude::{Just, Strategy, any},
    prop_oneof,
    sample::{Index, select},
};
use serde_json::{Value, json};
use tower_breaker::snapshot::Snapshot;

/// Replaces one value somewhere in a snapshot.
#[derive(Debug, Clone)]
pub(crate) struct Corruption {
    place: Index,
    value: Value,
}

pub(crate) fn corruptions() -> impl Strategy<Value = Vec<Corruption>> {
    let state =
        select(vec!["closed", "open", "half_open", "forced_open", "disabled", "metrics_only"]);
    let value = prop_oneof![
        Just(Value::Null),
        state.prop_map(Value::from),
        "[.fsbx]{0,40}".prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (0..10_u64).prop_map(Value::from),
        select(vec![-1e300, -1.0, -0.0, 0.5, 1e9, 1.7e9, 1.8e9, 1e18, 1e300]).prop_map(Value::from),
        Just(json!([])),
    ];
    vec((any::<Index>(), value).prop_map(|(place, value)| Corruption { place, value }), 1..6)
}

/// The corrupted snapshot, if it can still be parsed.
pub(crate) fn corrupted(snapshot: &Snapshot, corruptions: &[Corruption]) -> Option<Snapshot> {
    let mut json = serde_json::to_value(snapshot).expect("a snapshot is JSON");
    for Corruption { place, value } in corruptions {
        let leaves = leaves(&json, "");
        let leaf = json.pointer_mut(&leaves[place.index(leaves.len())]);
        *leaf.expect("the leaf exists") = value.clone();
    }
    Snapshot::from_json(json.to_string().as_bytes()).ok()
}

/// The JSON pointers to all values that contain no others.
fn leaves(value: &Value, at: &str) -> Vec<String> {
    let children: Vec<_> = match value {
        Value::Object(fields) => {
            fields.iter().map(|(name, value)| (format!("{at}/{name}"), value)).collect()
        }
        Value::Array(items) => {
            let items = items.iter().enumerate();
            items.map(|(index, value)| (format!("{at}/{index}"), value)).collect()
        }
        _ => return vec![at.to_owned()],
    };
    children.iter().flat_map(|(at, value)| leaves(value, at)).collect()
}
