//! No public type is left out.

use std::collections::BTreeSet;

use super::{answers, types_with_user_code, values};

#[test]
fn every_public_type_is_listed() {
    const TRAITS: [&str; 21] = [
        "SetPreset",
        "ExtractKey",
        "SetOnBodyEnd",
        "AppliesTo",
        "CloneClassifier",
        "MakeClassifier",
        "MakeRequestClassifier",
        "HistoryStore",
        "RetryResponse",
        "AsCause",
        "CloneRequest",
        "RetryWhen",
        "Classify",
        "ClassifyBody",
        "ClassifyEos",
        "Clock",
        "GrpcCodes",
        "Reject",
        "RecordWhen",
        "StateStore",
        "Statuses",
    ];
    let rooms = [
        include_str!("../../../src/lib.rs"),
        include_str!("../../../src/admin/mod.rs"),
        include_str!("../../../src/classify/mod.rs"),
        include_str!("../../../src/clock/mod.rs"),
        include_str!("../../../src/config/mod.rs"),
        include_str!("../../../src/event.rs"),
        include_str!("../../../src/fleet/mod.rs"),
        include_str!("../../../src/health_check/mod.rs"),
        include_str!("../../../src/history.rs"),
        include_str!("../../../src/metrics/mod.rs"),
        include_str!("../../../src/registry/mod.rs"),
        include_str!("../../../src/retry/mod.rs"),
        include_str!("../../../src/service/body/mod.rs"),
        include_str!("../../../src/service/future.rs"),
        include_str!("../../../src/service/keyed/mod.rs"),
        include_str!("../../../src/service/load.rs"),
        include_str!("../../../src/service/record_when/mod.rs"),
        include_str!("../../../src/service/reject/mod.rs"),
        include_str!("../../../src/service/reqwest_middleware.rs"),
        include_str!("../../../src/snapshot.rs"),
        include_str!("../../../src/store/mod.rs"),
    ];
    let modules = rooms[0].lines().filter_map(|line| line.strip_prefix("pub mod "));
    assert_eq!(
        modules.collect::<Vec<_>>(),
        [
            "admin;",
            "classify;",
            "clock;",
            "config;",
            "event;",
            "fleet;",
            "health_check;",
            "history;",
            "metrics;",
            "registry;",
            "retry;",
            "snapshot;",
            "store;",
        ]
    );
    let public: BTreeSet<&str> = rooms.into_iter().flat_map(public_names).collect();
    let listed: BTreeSet<&str> = values()
        .into_iter()
        .chain(types_with_user_code())
        .chain(answers())
        .map(|(name, _)| name.split('<').next().unwrap_or(name).rsplit("::").next().unwrap_or(name))
        .chain(TRAITS)
        .collect();
    assert_eq!(public, listed);
}

/// The names that a file exports, by `pub use` or by a definition.
fn public_names(source: &str) -> Vec<&str> {
    let used = source.split("\npub use ").skip(1).flat_map(|rest| {
        let used = rest.split(';').next().unwrap_or_default();
        // Names of modules and functions are in lower case.
        let names = used.split(|c: char| !c.is_alphanumeric());
        names.filter(|name| name.starts_with(char::is_uppercase))
    });
    let defined = ["struct", "enum", "trait", "type", "union"].into_iter().flat_map(|kind| {
        let items = source.lines().filter_map(move |line| {
            // `pin_project!` indents the type that it defines.
            let line = if kind == "struct" { line.trim_start() } else { line };
            line.strip_prefix("pub ")?.strip_prefix(kind)?.strip_prefix(' ')
        });
        items.map(|rest| rest.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default())
    });
    used.chain(defined).collect()
}
