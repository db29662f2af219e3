//! Replays every trace in `tests/traces` and in the folder `BREAKER_TRACES`.
//!
//! A binary of its own: `cargo test --test traces` is a documented command.

mod action;
mod expected;
mod fields;
mod strict_json;
mod trace;

use std::{fs, path::Path};

use trace::play;

/// Plays every `*.json` of a folder, and returns the number of traces that hold.
fn play_all(folder: &Path) -> Result<usize, String> {
    let entries = fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut files: Vec<_> = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()
        .map_err(|error| error.to_string())?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "json"));
    files.sort();
    let (mut held, mut errors) = (0, Vec::new());
    for file in &files {
        let played = fs::read_to_string(file)
            .map_err(|error| error.to_string())
            .and_then(|json| play(&json));
        match played {
            Ok(traces) => held += traces,
            Err(error) => errors.push(format!("{}: {error}", file.display())),
        }
    }
    if errors.is_empty() { Ok(held) } else { Err(errors.join("\n")) }
}

#[test]
fn every_trace_of_the_crate_holds() {
    let held = play_all(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/traces"));
    let held = held.unwrap_or_else(|errors| panic!("\n{errors}\n"));
    assert!(held >= 40, "only {held} traces");
}

#[test]
fn every_trace_of_the_folder_in_the_environment_holds() {
    let Some(folder) = std::env::var_os("BREAKER_TRACES") else {
        return;
    };
    let held = play_all(Path::new(&folder));
    let held = held.unwrap_or_else(|errors| panic!("\n{errors}\n"));
    println!("{held} further traces hold");
    assert!(held > 0, "there is no trace in {}", folder.display());
}

/// The example of `README.md` holds, and every kind of step, outcome, state and expectation has its
/// place there.
#[test]
fn the_format_is_described() {
    let readme = include_str!("README.md");
    let (_, example) = readme.split_once("```json\n").expect("an example");
    let (example, _) = example.split_once("```").expect("its end");
    assert_eq!(play(example), Ok(1));
    let outcomes = ["success", "failure", "throttled", "ignore", "drop", "cancel", "panic"];
    let further = ["takes", "after", "outcome", "wall_clock", "repeat", "expect"];
    let words = [&action::KINDS[..], &expected::FIELDS, &expected::STATES, &outcomes, &further];
    for word in words.concat() {
        assert!(readme.contains(&format!("`{word}`")), "{word} is not described");
    }
}

/// Plays these steps on a new breaker.
fn steps(steps: &str) -> Result<usize, String> {
    play(&format!(r#"{{"name": "a test of the player", "steps": [{steps}]}}"#))
}

#[test]
fn unknown_steps_and_expectations_are_errors() {
    for (unknown, said) in [
        (r#"{"cal": "success"}"#, "unknown kind"),
        (r#"{"call": "succes"}"#, "unknown outcome"),
        (r#"{"call": "success", "expects": {}}"#, "unknown field expects"),
        (r#"{"call": "success", "expect": {"allowed": true}}"#, "unknown field allowed"),
        (r#"{"call": "success", "expect": {"state": "shut"}}"#, "unknown state"),
        (r#"{"call": "success", "retry_after": "1s"}"#, "only what failed"),
        (r#"{"call": "success", "repeat": 0}"#, "at least 1"),
        (r#"{"call": "success", "advance": "1s"}"#, "two kinds"),
        (r#"{"call": "success", "label": "a"}"#, "unknown field label"),
        (r#"{"advance": "soon"}"#, "not a duration"),
        (r#"{"advance": "1s", "expect": {"permitted": true}}"#, "asks for no permit"),
        (r#"{"call": "success", "expect": {"retry_after": "1s"}}"#, "was not rejected"),
        (r#"{"reset": false}"#, "must be true"),
        (r#"{"trip": "10s"}"#, "must be true"),
        (r#"{"force_open": "10s"}"#, "must be true"),
        (r#"{"force_open_for": true}"#, "must be a string"),
        (r#"{"disable_for": "soon"}"#, "not a duration"),
        (r#"{"panic": "a"}"#, "no call"),
        (r#"{"acquire": "a"}, {"cancel": "a", "takes": "1s"}"#, "unknown field takes"),
        (r#"{"acquire": "a"}, {"finish": "a", "outcome": "drop"}"#, "unknown outcome"),
        (r#"{"call": "panic", "retry_after": "1s"}"#, "unknown field retry_after"),
        (r#"{"finish": "a", "outcome": "success"}"#, "no call"),
        (r#"{"acquire": "a"}, {"acquire": "a"}"#, "used already"),
        (r#"{"acquire": "a"}, {"drop": "a"}, {"drop": "a"}"#, "no call"),
        (r#"{"acquire": "a"}, {"finish": "a"}"#, "must have outcome"),
        (r#"{"update": {"recovery_timeout": 5}}"#, "recovery_timeout"),
        (r#"{"restart": true, "wall_clock": "-soon"}"#, "not a duration"),
        (r#"{"call": "success", "call": "failure"}"#, "duplicate key"),
        (r#"{"advance": "1s", "expect": {"calls": 0, "calls": 1}}"#, "duplicate key"),
        ("", "something in it"),
    ] {
        let error = steps(unknown).expect_err(unknown);
        assert!(error.contains(said), "{unknown}: {error}");
    }
    assert!(play(r#"{"name": "x", "stepps": [], "steps": [{"advance": "1s"}]}"#).is_err());
    assert!(play(r#"{"steps": [{"advance": "1s"}]}"#).is_err());
    assert!(play("{").is_err());
    assert!(play("[]").is_err());
}

#[test]
fn every_trace_of_a_list_that_fails_is_reported() {
    let trace = |name, state| {
        format!(
            r#"{{"name": "{name}", "steps": [{{"advance": "1s", "expect": {{"state": "{state}"}}}}]}}"#
        )
    };
    let list = [trace("one", "open"), trace("two", "closed"), trace("three", "half_open")];
    let error = play(&format!("[{}]", list.join(","))).unwrap_err();
    assert_eq!(error.lines().count(), 2, "{error}");
    assert!(error.contains("\"one\": step 1") && error.contains("\"three\": step 1"), "{error}");
}

#[test]
fn a_failed_expectation_is_an_error_with_its_place() {
    for (wrong, said) in [
        (
            r#"{"call": "success", "expect": {"permitted": false}}"#,
            "permitted: expected false, is true",
        ),
        (
            r#"{"call": "failure", "repeat": 5, "expect": {"state": "closed"}}"#,
            "repetition 5: state",
        ),
        (r#"{"call": "failure", "expect": {"failures": 0}}"#, "failures: expected 0, is 1"),
        (r#"{"call": "success", "expect": {"calls": 1}}"#, "calls: expected 1, is 0"),
        (
            r#"{"call": "failure", "repeat": 5}, {"call": "success", "expect": {"retry_after": "59s"}}"#,
            "step 2, ",
        ),
        (
            r#"{"force_open": true}, {"acquire": "a", "expect": {"retry_after": "1s"}}"#,
            "retry_after",
        ),
    ] {
        let error = steps(wrong).expect_err(wrong);
        assert!(error.contains(said), "{wrong}: {error}");
    }
}
