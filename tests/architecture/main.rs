//! The floors of the crate, held against its imports.
//!
//! A module imports only from floors below its own, and from the module that defines a thing, not
//! through the crate root. The vocabulary on floor 1 may import from its own floor. Inside a
//! module, the imports between its files form no circle, and siblings do not import each other
//! through a re-export of their parent.
//!
//! The test reads source text: `use` lines and `crate::` paths in code. Comments, documentation,
//! unit tests and loom models are left out.

mod source;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use source::{Module, Source, code_of, module_of};

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
            "process", "seconds", "snapshot", "state", "stats", "sync", "timer",
        ],
    ),
];

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
const ONE_MEANING: [&str; 21] = [
    "Admitted", "Call", "Gate", "KEPT", "Notifier", "Outcome", "Permit", "Phase", "Place", "Queue",
    "REST", "Registry", "Schedule", "Shared", "Snapshot", "Stage", "State", "Trouble", "Verdict",
    "Waiting", "Window",
];

#[test]
fn imports_only_go_down() {
    let faults = Sources::read().faults_between_modules();
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

/// Its table of files is what a reader begins with.
#[test]
fn the_files_of_write_behind_stand_in_their_table_below_what_they_import() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/write_behind/mod.rs");
    let table = fs::read_to_string(path).unwrap();
    assert_eq!(Sources::read().faults_of_table("write_behind", &table), [""; 0]);
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
    ("health-check", &["mod.rs"]),
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
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    collect(&root, &mut paths);
    let mut lines = 0;
    let mut faults = Vec::new();
    for path in paths {
        let name = path.strip_prefix(&root).unwrap().to_str().unwrap();
        if ["sync.rs", "event.rs", "timer/housekeeping.rs"].contains(&name) {
            continue;
        }
        let code = code_of(&fs::read_to_string(&path).unwrap());
        for level in ["error", "warn", "info", "debug", "trace"] {
            for (at, _) in code.match_indices(&format!("tracing::{level}!(")) {
                lines += 1;
                let before: String =
                    code[..at].chars().rev().filter(|c| !c.is_whitespace()).take(7).collect();
                if !before.starts_with("||(gol") && before != "{||(gol" {
                    faults.push(format!("{name}: {level}"));
                }
            }
        }
    }
    assert!(faults.is_empty(), "not within `sync::log`:\n{}", faults.join("\n"));
    assert!(lines > 20, "the lines are found");
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

struct Sources {
    files: BTreeMap<Module, Source>,
}

impl Sources {
    fn read() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut paths = Vec::new();
        collect(&root, &mut paths);
        let texts: Vec<(String, String)> = paths
            .into_iter()
            .map(|path| {
                let text = fs::read_to_string(&path).unwrap();
                (path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned(), text)
            })
            .collect();
        Self::of(texts.iter().map(|(path, text)| (path.as_str(), text.as_str())))
    }

    fn of<'a>(texts: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        let files = texts
            .filter(|(path, _)| *path != "lib.rs" && !path.contains("tests"))
            .map(|(path, text)| (module_of(path), text))
            .map(|(module, text)| (module.clone(), Source::parse(&module, text)))
            .collect();
        Self { files }
    }

    fn faults_between_modules(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for (module, source) in &self.files {
            let floor = floor_of(&module[0]);
            for import in &source.imports {
                let (name, path) = (module.join("::"), import.join("::"));
                let never = NEVER.iter().filter(|(owner, _)| *owner == module[0]);
                let mut words = never.flat_map(|(_, words)| *words);
                if words.any(|word| path == *word || path.starts_with(&format!("{word}::"))) {
                    faults.push(format!("{name} imports {path}"));
                }
                if import[0] != "crate" {
                    continue;
                }
                let Some(target) = import.get(1) else { continue };
                match floor_of(target) {
                    _ if *target == module[0] => {}
                    None => faults.push(format!("{name} imports {path} through the crate root")),
                    Some(1) if floor == Some(1) => {}
                    Some(below) if floor.is_some_and(|floor| below < floor) => {}
                    Some(other) => {
                        let floor = floor.unwrap_or_default();
                        let fault =
                            format!("{name} (floor {floor}) imports {path} (floor {other})");
                        faults.push(fault);
                    }
                }
            }
        }
        faults
    }

    /// Circles, and imports through a parent's re-export, which hide them.
    fn circles(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let mut arrows: BTreeMap<&Module, BTreeSet<&Module>> = BTreeMap::new();
        for (module, source) in &self.files {
            for import in &source.imports {
                let Some((target, rest)) = self.file_of(import) else { continue };
                if target == module {
                    continue;
                }
                let is_parent = module.starts_with(target);
                let name = rest.first().map_or("", String::as_str);
                if is_parent && self.files[target].re_exports.contains(name) {
                    faults.push(format!(
                        "{} imports {name} through {}, which only re-exports it",
                        module.join("::"),
                        target.join("::"),
                    ));
                }
                arrows.entry(module).or_default().insert(target);
            }
        }
        let mut done = BTreeSet::new();
        for start in self.files.keys() {
            let mut path = Vec::new();
            if let Some(circle) = circle_from(start, &arrows, &mut path, &mut done) {
                faults.push(circle.iter().map(|it| it.join("::")).collect::<Vec<_>>().join(" -> "));
            }
        }
        faults
    }

    /// Files of a module that its table does not name, or names above what they import.
    fn faults_of_table(&self, module: &str, table: &str) -> Vec<String> {
        let rows = table.lines().filter_map(|line| line.strip_prefix("//! | `"));
        let row_of: BTreeMap<&str, usize> = rows
            .enumerate()
            .flat_map(|(row, line)| {
                let files = line.split('|').next().unwrap_or_default();
                files.split(',').map(move |file| (file.trim().trim_matches('`'), row))
            })
            .collect();
        let mut faults = Vec::new();
        for (path, source) in self.files.iter().filter(|(path, _)| path[0] == module) {
            let Some(file) = path.get(1) else { continue };
            let Some(row) = row_of.get(file.as_str()) else {
                faults.push(format!("{file} is in no row"));
                continue;
            };
            let own = source.imports.iter().filter(|import| import.get(1) == Some(&path[0]));
            for other in own.filter_map(|import| import.get(2)) {
                if row_of.get(other.as_str()).is_some_and(|below| below > row) {
                    faults.push(format!("{file} stands above {other}, which it imports"));
                }
            }
        }
        faults
    }

    /// The file that defines an imported path, and what of the path is left within it.
    fn file_of<'a>(&self, import: &'a [String]) -> Option<(&Module, &'a [String])> {
        let inner = (import[0] == "crate").then_some(&import[1..])?;
        let length = (1..=inner.len()).rev().find(|n| self.files.contains_key(&inner[..*n]))?;
        let (module, _) = self.files.get_key_value(&inner[..length])?;
        Some((module, &inner[length..]))
    }
}

/// Goes through the arrows from `start`, depth first. A circle is the path back to its first file.
fn circle_from<'a>(
    start: &'a Module,
    arrows: &BTreeMap<&'a Module, BTreeSet<&'a Module>>,
    path: &mut Vec<&'a Module>,
    done: &mut BTreeSet<&'a Module>,
) -> Option<Vec<&'a Module>> {
    if let Some(at) = path.iter().position(|seen| *seen == start) {
        let mut circle = path[at..].to_vec();
        circle.push(start);
        return Some(circle);
    }
    if !done.insert(start) {
        return None;
    }
    path.push(start);
    let next = arrows.get(start).into_iter().flatten();
    let circle = next.copied().find_map(|next| circle_from(next, arrows, path, done));
    path.pop();
    circle
}

fn collect(folder: &Path, paths: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, paths);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            paths.push(path);
        }
    }
}

fn floor_of(module: &str) -> Option<u8> {
    FLOORS.iter().find(|(_, modules)| modules.contains(&module)).map(|(floor, _)| *floor)
}
