//! The floors of the crate, held against its imports.
//!
//! A module imports only from floors below its own, and from the module that defines a thing, not
//! through the crate root. The vocabulary on floor 1 may import from its own floor. Inside a
//! module, the imports between its files form no circle, and siblings do not import each other
//! through a re-export of their parent.
//!
//! The test reads source text: `use` lines and `crate::` paths in code. Comments and documentation
//! are left out. Unit tests and loom models import only from floors below as well, but may use any
//! other crate, and the files of their module in any order.

mod source;
mod sources;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use source::code_of;
use sources::{Sources, collect};

/// The modules of each floor, from the top down.
const FLOORS: [(u8, &[&str]); 8] = [
    (8, &["admin", "bin"]),
    (7, &["service", "retry", "health_check"]),
    (6, &["registry"]),
    (5, &["handle"]),
    (4, &["write_behind", "fleet"]),
    (3, &["breaker", "store"]),
    (2, &["classify", "metrics"]),
    (
        1,
        &[
            "clock", "config", "error", "event", "health", "history", "manual", "outcome",
            "process", "reply", "seconds", "snapshot", "state", "stats", "sync", "timer",
        ],
    ),
];

/// The most lines of a file, with its documentation and its unit tests.
const LONGEST_FILE: usize = 400;

/// What a module must never import.
const NEVER: [(&str, &[&str]); 10] = [
    ("breaker", &["tokio", "tower_service", "tower_layer", "http", "tracing", "std::fs"]),
    ("config", &["tokio", "tower_service", "http"]),
    ("fleet", &["tower_service", "tower_layer", "tower", "http", "tokio"]),
    ("handle", &["tower_service", "tower_layer", "tower", "http", "http_body", "sled"]),
    ("health_check", &["tower_service", "tower_layer", "tower", "http", "sled"]),
    ("registry", &["tower_service", "tower_layer", "tower", "http"]),
    ("retry", &["tower_service", "sled"]),
    ("service", &["sled", "redis", "redb"]),
    ("store", &["tokio", "tower_service", "http"]),
    ("write_behind", &["crate::breaker", "tower_service", "tower", "http", "sled"]),
];

/// Words that name one type or constant of the crate.
const ONE_MEANING: [&str; 37] = [
    "Admission",
    "Admitted",
    "Answer",
    "Backoff",
    "Call",
    "Command",
    "Content",
    "Entry",
    "FailOnDrop",
    "Found",
    "Gate",
    "Health",
    "KEPT",
    "Lease",
    "Notifier",
    "Outcome",
    "PATIENCE",
    "Permit",
    "Phase",
    "Place",
    "Queue",
    "Readiness",
    "Registry",
    "Request",
    "REST",
    "Rounds",
    "Schedule",
    "Shared",
    "Slot",
    "Snapshot",
    "Stage",
    "State",
    "Status",
    "Trouble",
    "Verdict",
    "Waiting",
    "Window",
];

#[test]
fn imports_only_go_down() {
    let faults = Sources::read().faults_between_modules();
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn imports_of_unit_tests_only_go_down() {
    let sources = Sources::of_tests();
    assert!(sources.files.len() > 400, "the files of the tests are among them");
    let faults = sources.arrows_upwards();
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn the_files_of_a_module_import_each_other_without_a_circle() {
    let faults = Sources::read().circles();
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn every_module_has_a_floor() {
    let sources = Sources::read();
    let found: BTreeSet<&str> =
        sources.files.keys().filter_map(|path| path.first()).map(String::as_str).collect();
    let listed: BTreeSet<&str> = FLOORS.iter().flat_map(|(_, modules)| *modules).copied().collect();
    let missing: Vec<_> = found.difference(&listed).collect();
    assert!(missing.is_empty(), "modules without a floor: {missing:?}");
}

/// A file that grows beyond that holds a second idea.
#[test]
fn no_file_is_longer_than_400_lines() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = Vec::new();
    for folder in ["src", "tests"] {
        collect(&root.join(folder), &mut paths);
    }
    assert!(paths.len() > 700, "the files are found: {}", paths.len());
    let lines = |path: &Path| fs::read_to_string(path).unwrap().lines().count();
    paths.retain(|path| lines(path) > LONGEST_FILE);
    assert!(paths.is_empty(), "longer: {paths:#?}");
}

/// The tables of files are what a reader begins with.
#[test]
fn the_files_of_a_module_with_a_table_stand_in_it_below_what_they_import() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for module in ["breaker", "write_behind"] {
        let table = fs::read_to_string(root.join(module).join("mod.rs")).unwrap();
        assert_eq!(Sources::read().faults_of_table(module, &table), [""; 0], "{module}");
    }
}

/// A reader who has met one of these words knows what it means elsewhere.
#[test]
fn a_word_with_one_meaning_is_defined_once() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    collect(&root, &mut paths);
    let mut found: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for path in paths.iter().filter(|path| !path.to_str().unwrap().contains("tests")) {
        let code = code_of(&fs::read_to_string(path).unwrap());
        for word in
            definitions_in(&code).filter_map(|name| ONE_MEANING.iter().find(|it| *it == &name))
        {
            found.entry(word).or_default().push(path.display().to_string());
        }
    }
    assert!(found.len() > 10, "definitions are found");
    found.retain(|_, places| places.len() > 1);
    assert!(found.is_empty(), "defined more than once: {found:#?}");
}

/// The names of the types and constants that stand at the beginning of a line.
fn definitions_in(code: &str) -> impl Iterator<Item = &str> {
    code.lines().filter(|line| !line.starts_with(' ')).filter_map(|line| {
        let mut words = line.split(|c: char| !c.is_alphanumeric() && c != '_');
        words.find(|word| {
            matches!(*word, "struct" | "enum" | "trait" | "type" | "union" | "const" | "static")
        })?;
        words.find(|word| !word.is_empty())
    })
}

/// Which features the state machine, and what makes it concurrent, know of, and where: what only
/// one of them needs is in files of its own, which these include. No face of the crate is among
/// them.
const FEATURES_OF_THE_CORE: [(&str, &[&str]); 4] = [
    ("admin", &["mod.rs", "status.rs"]),
    ("health-check", &["cell.rs", "mod.rs"]),
    ("keyed", &["mod.rs", "nesting.rs"]),
    ("redis", &["cell.rs", "mod.rs"]),
];

#[test]
fn the_core_knows_features_only_where_it_includes_their_files() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/breaker");
    let mut paths = Vec::new();
    collect(&root, &mut paths);
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for path in paths {
        let name = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
        let text = fs::read_to_string(&path).unwrap();
        for feature in features_in(&text) {
            found.entry(feature).or_default().insert(name.clone());
        }
    }
    let listed = FEATURES_OF_THE_CORE.map(|(feature, files)| {
        (feature.to_owned(), files.iter().map(|file| (*file).to_owned()).collect())
    });
    assert_eq!(found, BTreeMap::from(listed));
}

/// The features that a file asks for.
fn features_in(text: &str) -> impl Iterator<Item = String> {
    let conditions = text.split("feature = \"").skip(1);
    conditions.filter_map(|rest| Some(rest.split_once('"')?.0.to_owned()))
}

/// A subscriber of the log is code of users: its panic must not end a thread of the crate, lose an
/// answer or leave a lock behind. In `event.rs` and for the timer, the caller contains it.
#[test]
fn each_line_of_the_log_is_contained() {
    let faults = faults_of_log_lines(|name, before, _| {
        ["sync.rs", "event.rs", "timer/housekeeping.rs"].contains(&name)
            || before.ends_with("log(||")
            || before.ends_with("log(||{")
    });
    assert!(faults.is_empty(), "not within `sync::log`:\n{}", faults.join("\n"));
}

/// So that a filter of the log finds all of them by one name, also if files move.
#[test]
fn each_line_of_the_log_has_the_target_of_the_crate() {
    let faults = faults_of_log_lines(|_, _, after| after.starts_with("target:\"tower_breaker\","));
    assert!(faults.is_empty(), "without the target:\n{}", faults.join("\n"));
}

/// The lines of the log that are not right by the name of their file and the code before and after
/// them, without white space.
fn faults_of_log_lines(is_right: impl Fn(&str, &str, &str) -> bool) -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    collect(&root, &mut paths);
    let (mut lines, mut faults) = (0, Vec::new());
    for path in paths {
        let name = path.strip_prefix(&root).unwrap().to_str().unwrap();
        let mut code = code_of(&fs::read_to_string(&path).unwrap());
        code.retain(|c| !c.is_whitespace());
        for level in ["error", "warn", "info", "debug", "trace"] {
            let call = format!("tracing::{level}!(");
            for (at, _) in code.match_indices(&call) {
                lines += 1;
                if !is_right(name, &code[..at], &code[at + call.len()..]) {
                    faults.push(format!("{name}: {level}"));
                }
            }
        }
    }
    assert!(lines > 20, "the lines are found");
    faults
}

/// The checks see what they are for.
#[test]
fn an_arrow_upwards_a_circle_and_the_crate_root_are_found() {
    let of = |text: &[(&str, &str)]| Sources::of(text.iter().copied());
    let upwards = of(&[("breaker/cell.rs", "use crate::{clock::Tick, handle::Breaker};\n")]);
    assert_eq!(
        upwards.faults_between_modules(),
        ["breaker::cell (floor 3) imports crate::handle::Breaker (floor 5)"]
    );
    let root = of(&[("handle/mod.rs", "fn f() -> crate::Config { todo }\n")]);
    assert_eq!(
        root.faults_between_modules(),
        ["handle imports crate::Config through the crate root"]
    );
    let by_super = of(&[("breaker/cell.rs", "fn f() { super::super::handle::g() }\n")]);
    assert_eq!(
        by_super.faults_between_modules(),
        ["breaker::cell (floor 3) imports crate::handle::g (floor 5)"]
    );
    let before_a_use =
        of(&[("breaker/cell.rs", "fn f() { crate::handle::g() }\n\nuse crate::clock::Tick;\n")]);
    assert_eq!(before_a_use.faults_between_modules(), by_super.faults_between_modules());
    let after_an_item_of_tests = "#[cfg(all(test, unix))]\nmod tests;\n\nuse crate::handle::g;\n";
    let behind = of(&[("breaker/cell.rs", after_an_item_of_tests)]);
    assert_eq!(behind.faults_between_modules(), by_super.faults_between_modules());
    let sideways = of(&[("store/mod.rs", "use crate::breaker::cell::Cell;\n")]);
    assert_eq!(sideways.faults_between_modules().len(), 1);
    for text in ["use http::Response;\n", "fn f() { g(http::Response::new(())) }\n"] {
        let fault = &of(&[("handle/mod.rs", text)]).faults_between_modules()[0];
        assert!(fault.starts_with("handle imports http::Response"), "{fault}");
    }
    let what_it_never_knows =
        of(&[("write_behind/source.rs", "use crate::breaker::window::Counts;\n")]);
    assert_eq!(
        what_it_never_knows.faults_between_modules(),
        ["write_behind::source imports crate::breaker::window::Counts"]
    );
    let circle = of(&[
        ("breaker/mod.rs", "mod a;\nmod b;\npub use a::A;\n"),
        ("breaker/a.rs", "use super::b::B;\n"),
        ("breaker/b.rs", "use crate::breaker::{\n    a::A,\n};\n"),
    ]);
    assert_eq!(circle.circles(), ["breaker::a -> breaker::b -> breaker::a"]);
    let through_the_parent = of(&[
        ("breaker/mod.rs", "mod a;\nmod b;\npub use self::a::A;\n"),
        ("breaker/a.rs", ""),
        ("breaker/b.rs", "use super::A;\n"),
    ]);
    assert_eq!(
        through_the_parent.circles(),
        ["breaker::b imports A through breaker, which only re-exports it"]
    );
}

#[test]
fn a_file_without_a_row_and_one_above_what_it_imports_are_found() {
    let files = [
        ("store/mod.rs", "pub use a::A;"),
        ("store/a.rs", "use super::{b::B, c::C};"),
        ("store/b.rs", ""),
        ("store/c.rs", ""),
    ];
    let table = "//! | file | holds |\n//! | `a`, `c` | both |\n//! | `b` | it |";
    let faults = |table: &str| Sources::of(files.into_iter()).faults_of_table("store", table);
    assert_eq!(faults(table), ["a stands above b, which it imports"]);
    assert_eq!(faults(&table.replace(", `c`", "")).len(), 2);
    assert_eq!(faults("//! | `b`, `c` | both |\n//! | `a` | it |"), [""; 0]);
}
