//! The store that a file or the environment names.

use std::time::Duration;

use tower_breaker::{
    Breaker,
    config::{ConfigFile, RedisUrl, StoreConfig},
};

use super::paths;
use crate::support::child::{self, Role, RoleResult};

#[test]
fn a_file_says_where_state_is_stored() {
    let read = |json: &str| ConfigFile::from_json(json).map(|file| file.store().cloned());
    assert_eq!(read("{}").unwrap(), None);
    for off in ["null", r#""off""#] {
        assert_eq!(read(&format!(r#"{{"store": {off}}}"#)).unwrap(), None);
    }
    for (json, text, store) in [
        (r#"{"sled": "a"}"#, "sled:a", StoreConfig::Sled("a".into())),
        (r#"{"redb": "/b c"}"#, "redb:/b c", StoreConfig::Redb("/b c".into())),
        (r#"{"file": "C:\\d"}"#, "file:C:\\d", StoreConfig::File("C:\\d".into())),
        (r#""memory""#, "memory", StoreConfig::Memory),
        (
            r#"{"redis": "redis://host:1/2"}"#,
            "redis://host:1/2",
            StoreConfig::Redis(RedisUrl::new("redis://host:1/2")),
        ),
        (
            r#"{"redis": "redis+cluster://host:1,host:2"}"#,
            "redis+cluster://host:1,host:2",
            StoreConfig::Redis(RedisUrl::new("redis+cluster://host:1,host:2")),
        ),
        (
            r#"{"tiered": {"near": "memory", "far": {"redis": "rediss+sentinel://a,b/main"}}}"#,
            "tiered:memory,rediss+sentinel://a,b/main",
            "tiered:memory,rediss+sentinel://a,b/main".parse().unwrap(),
        ),
        (
            r#"{"tiered": {"near": {"sled": "a"}, "far": {"redis": "rediss://host"}}}"#,
            "tiered:sled:a,rediss://host",
            "tiered:sled:a,rediss://host".parse().unwrap(),
        ),
    ] {
        assert_eq!(read(&format!(r#"{{"store": {json}}}"#)).unwrap(), Some(store.clone()));
        assert_eq!(text.parse(), Ok(store.clone()));
        assert_eq!(store.to_string(), text);
    }
    for (json, path) in [
        (r#"{"store": "sled"}"#, "store"),
        (r#"{"store": {}}"#, "store"),
        (r#"{"store": {"sled": "a", "file": "b"}}"#, "store"),
        (r#"{"store": {"sledge": "a"}}"#, "store.sledge"),
        (r#"{"store": {"sled": ""}}"#, "store.sled"),
        (r#"{"store": {"redb": null}}"#, "store.redb"),
        (r#"{"store": {"redis": "host"}}"#, "store.redis"),
        (r#"{"store": {"redis": 5}}"#, "store.redis"),
        (r#"{"store": {"tiered": {"near": {"sled": "a"}}}}"#, "store.tiered.far"),
        (r#"{"store": {"tiered": {"near": null, "far": "memory"}}}"#, "store.tiered.near"),
        (
            r#"{"store": {"tiered": {"near": {"sled": ""}, "far": "memory"}}}"#,
            "store.tiered.near.sled",
        ),
        (r#"{"store": {"tiered": {"near": "memory", "far": "memory", "x": 1}}}"#, "store.tiered.x"),
    ] {
        assert_eq!(paths(&read(json).unwrap_err()), [path], "{json}");
    }
    for text in
        ["", "sled", "sled:", "sledge:a", ":a", "Memory", "tiered:sled:a", "tiered:a,memory"]
    {
        let error = text.parse::<StoreConfig>().unwrap_err().to_string();
        assert!(error.contains("expected `sled:FOLDER`"), "{error}");
    }
}

#[test]
fn a_url_of_redis_is_shown_without_its_secrets() {
    const SECRETS: [&str; 3] = ["al1ce", "s3cret", "pa55"];
    let url = "redis://al1ce:s3cret@host/0?pass=pa55";
    let store: StoreConfig = url.parse().unwrap();
    let tiered: StoreConfig = format!("tiered:memory,{url}").parse().unwrap();
    let json = format!(r#"{{"store": {{"redis": "{url}"}}}}"#);
    let file = ConfigFile::from_json(&json).unwrap();
    assert_eq!(file.store(), Some(&store));
    assert_eq!(store.to_string(), "redis://***@host/0");
    let misspelled = "redjs://al1ce:s3cret@host?pass=pa55";
    let error = misspelled.parse::<StoreConfig>().unwrap_err();
    let json = json.replace("redis://", "redjs://");
    let fault = ConfigFile::from_json(&json).unwrap_err();
    for shown in [
        format!("{store} {store:?} {tiered} {tiered:?}"),
        format!("{file:?}"),
        format!("{error} {error:?}"),
        format!("{fault} {fault:?}"),
    ] {
        for secret in SECRETS {
            assert!(!shown.contains(secret), "{shown}");
        }
    }
}

#[test]
fn errors_do_not_quote_what_may_be_a_password() {
    for toml in [
        r#"store = { redis = "redis://u:s3cret@h" x }"#,
        r#"store = { redis = "redis://u:s3cret@h" "#,
        "store = { redis = redis://u:s3cret@h }",
        "[store]\nredis = \"redis://u:s3cret@h\"\nredis = \"redis://u:s3cret@h\"",
        r#"store = "redis://u:s3cret@h""#,
        r#"store = { tiered = { near = "redis://u:s3cret@h", far = "memory" } }"#,
    ] {
        let error = ConfigFile::from_toml(toml).unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains("s3cret") && !shown.contains("u:"), "{shown}");
    }
    for json in [
        r#"{"store": {"redis": "redis://u:s3cret@h" x}}"#,
        r#"{"store": {"redis": redis://u:s3cret@h}}"#,
        r#"{"store": {"redis": "redis://u:s3cret@h"#,
        r#"{"store": "redis://u:s3cret@h"}"#,
    ] {
        let error = ConfigFile::from_json(json).unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains("s3cret"), "{shown}");
        let error = serde_json::from_str::<ConfigFile>(json).unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains("s3cret"), "{shown}");
    }
    for text in [
        "unix:/run/r.sock?pass=s3cret",
        "redis:/u:s3cret/h",
        "tiered:memory,unix:/run/r.sock?pass=s3cret",
        "host?pass=s3cret",
        ":s3cret",
        "s3cret@host",
    ] {
        let error = text.parse::<StoreConfig>().unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains("s3cret"), "{shown}");
    }
}

#[test]
fn an_error_of_toml_says_where_it_is() {
    let error = ConfigFile::from_toml("[defaults]\nrecovery_timeout = \"é\" x").unwrap_err();
    let error = error.to_string();
    assert!(error.contains("invalid TOML: ") && error.ends_with(" at line 2 column 24"), "{error}");
}

#[test]
fn the_kind_of_an_unknown_store_is_named() {
    let error = "sledge:state".parse::<StoreConfig>().unwrap_err();
    assert!(
        error.to_string().starts_with(r#"unknown store "sledge"; expected `sled:F"#),
        "{error}"
    );
}

#[test]
fn a_tiered_store_is_read_from_what_it_prints() {
    for near in ["a", "a,b", "a,memory", "100%", "%2C", "%252C,", ","] {
        for far in ["memory".to_owned(), "sled:x,y".to_owned(), format!("file:{near}")] {
            let store = |kind: &str, folder: &str| format!("{kind}:{folder}").parse().unwrap();
            let near: StoreConfig = store("sled", near);
            let text = format!(
                "tiered:{},{far}",
                near.to_string().replace('%', "%25").replace(',', "%2C")
            );
            let tiered: StoreConfig = text.parse().unwrap();
            let StoreConfig::Tiered { near: found, far: other, .. } = &tiered else { panic!() };
            assert_eq!((&**found, other.to_string()), (&near, far.clone()));
            assert_eq!(tiered.to_string(), text);
            assert_eq!(tiered.to_string().parse(), Ok(tiered));
        }
    }
    for nested in ["tiered:memory,tiered:memory,memory", "tiered:tiered:memory%2Cmemory,memory"] {
        let error = nested.parse::<StoreConfig>().unwrap_err().to_string();
        assert!(error.contains("cannot be part of another"), "{error}");
    }
}

#[test]
fn a_password_that_is_not_escaped_is_not_shown_either() {
    for secret in ["s3c#ret", "s3c?ret", "s3c@ret", "s3c/ret"] {
        let url = RedisUrl::new(format!("redis://app:{secret}@host/0?pass=s3c"));
        assert_eq!(url.to_string(), "redis://***@host/0");
    }
    assert_eq!(RedisUrl::new("redis://host/0?user=app@b").to_string(), "redis://***");
    assert_eq!(RedisUrl::new("redis://host/0#x").to_string(), "redis://host/0");
    let sentinels = "redis+sentinel://app:s3cret@a,b/main?sentinel_password=s3cret";
    assert_eq!(RedisUrl::new(sentinels).to_string(), "redis+sentinel://***@a,b/main");
}

#[test]
fn stores_of_redis_that_a_file_names_need_no_server_to_open() {
    let json =
        r#"{"store": {"tiered": {"near": "memory", "far": {"redis": "redis://127.0.0.1:1"}}}}"#;
    let store = ConfigFile::from_json(json).unwrap().open_store().unwrap().unwrap();
    assert_eq!(store.label(), "memory");
    let breaker = Breaker::builder("near").store(store).build().unwrap();
    breaker.force_open();
    breaker.flush_blocking(Duration::from_secs(60)).unwrap();
    let json = r#"{"store": {"redis": "redis://127.0.0.1:1"}}"#;
    let store = ConfigFile::from_json(json).unwrap().open_store().unwrap().unwrap();
    assert_eq!(store.label(), "redis");
    let error = store.load("key").unwrap_err().to_string();
    assert!(error.contains("Redis at 127.0.0.1:1 cannot be reached"), "{error}");
    let json = r#"{"store": {"redis": "redis://"}}"#;
    assert!(ConfigFile::from_json(json).unwrap().open_store().is_err());
}

#[test]
fn a_store_that_a_file_names_is_opened_once() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("state");
    for kind in ["sled", "redb", "file"] {
        let folder = folder.join(kind);
        let file = format!(r#"{{"store": {{"{kind}": {:?}}}}}"#, folder.display().to_string());
        let file = ConfigFile::from_json(&file).unwrap();
        let store = file.open_store().unwrap().unwrap();
        assert_eq!(store.label(), kind);
        let again = file.open_store().unwrap().unwrap();
        assert_eq!(store.id(), again.id());
        let breaker = Breaker::builder("stored").store(store).build().unwrap();
        breaker.force_open();
        breaker.flush_blocking(Duration::from_secs(60)).unwrap();
        drop((breaker, again));
        assert!(folder.is_dir());
    }
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = StoreConfig::Sled(file).open().map(|store| store.id()).unwrap_err();
    assert!(error.to_string().contains("is a file"), "{error}");
    assert!(ConfigFile::default().open_store().unwrap().is_none());
}

#[test]
fn white_space_around_the_text_and_the_folder_does_not_count() {
    for text in ["sled:state", " sled:state\r\n", "sled: state", "sled:\tstate "] {
        assert_eq!(text.parse(), Ok(StoreConfig::Sled("state".into())), "{text:?}");
    }
    assert_eq!("redis://host\n".parse(), Ok(StoreConfig::Redis(RedisUrl::new("redis://host"))));
    let tiered = "tiered: file:a b , redis://host\n".parse::<StoreConfig>().unwrap();
    assert_eq!(tiered.to_string(), "tiered:file:a b,redis://host");
    for text in ["sled: ", "file:\n", "sled:a\u{1b}b", "redb:a\nb"] {
        assert!(text.parse::<StoreConfig>().is_err(), "{text:?}");
    }
}

pub(crate) const STORE_OF_ENVIRONMENT: &str = "store_of_environment";
const EXPECTED: &str = "expected";

/// In a process of its own: other tests read the environment too.
pub(crate) fn open_store_of_environment() -> RoleResult {
    let file = ConfigFile::from_json(r#"{"store": "memory"}"#)?;
    let found = match file.open_store() {
        Ok(store) => store.map_or("none".to_owned(), |store| store.label().to_owned()),
        Err(error) => error.to_string(),
    };
    let expected = child::argument(EXPECTED);
    assert!(found.contains(&expected), "{found} is not {expected}");
    Ok(())
}

#[test]
fn the_environment_says_where_state_is_stored() {
    const VARIABLE: &str = "TOWER_BREAKER_STORE";
    let dir = tempfile::tempdir().unwrap();
    let files = format!("file:{}", dir.path().display());
    let ends_with_a_line_feed = format!("{files}\n");
    for (value, expected) in [
        (None, "memory"),
        (Some("off"), "none"),
        (Some(""), "none"),
        (Some("off\n"), "none"),
        (Some(" memory "), "memory"),
        (Some(ends_with_a_line_feed.as_str()), "file"),
        (Some("sled:two\nlines"), "TOWER_BREAKER_STORE: the name of the store's folder"),
        (Some(files.as_str()), "file"),
        (Some("flie:state"), "TOWER_BREAKER_STORE: unknown store"),
    ] {
        let child = Role::new(STORE_OF_ENVIRONMENT).argument(EXPECTED, expected);
        let child = match value {
            Some(value) => child.variable(VARIABLE, value),
            None => child.without_variable(VARIABLE),
        };
        assert!(!child.start().terminated_with_failure(), "{value:?} is not {expected}");
    }
}
