//! What the sources of the crate import of each other, held against its floors.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use crate::{
    FLOORS, NEVER,
    source::{Module, Source, module_of},
};

/// The modules of the crate by their paths.
pub(crate) struct Sources {
    pub(crate) files: BTreeMap<Module, Source>,
}

impl Sources {
    /// Without unit tests.
    pub(crate) fn read() -> Self {
        let texts = read_all();
        Self::of(texts.iter().map(|(path, text)| (path.as_str(), text.as_str())))
    }

    /// With unit tests, also those at the end of a file.
    pub(crate) fn of_tests() -> Self {
        let files = read_all().into_iter().filter(|(path, _)| path != "lib.rs");
        let files = files.map(|(path, text)| (module_of(&path), text));
        let parse = |(module, text): (Module, String)| {
            let source = Source::parse_with_tests(&module, &text);
            (module, source)
        };
        Self { files: files.map(parse).collect() }
    }

    pub(crate) fn of<'a>(texts: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        let files = texts
            .filter(|(path, _)| *path != "lib.rs" && !path.contains("tests"))
            .map(|(path, text)| (module_of(path), text))
            .map(|(module, text)| (module.clone(), Source::parse(&module, text)))
            .collect();
        Self { files }
    }

    pub(crate) fn faults_between_modules(&self) -> Vec<String> {
        let mut faults = self.arrows_upwards();
        for (module, source) in &self.files {
            let never: Vec<_> = NEVER.iter().filter(|(owner, _)| *owner == module[0]).collect();
            for import in &source.imports {
                let path = import.join("::");
                let mut words = never.iter().flat_map(|(_, words)| *words);
                if words.any(|word| path == *word || path.starts_with(&format!("{word}::"))) {
                    faults.push(format!("{} imports {path}", module.join("::")));
                }
            }
        }
        faults
    }

    /// Imports from the same floor, from one above, or through the crate root.
    pub(crate) fn arrows_upwards(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for (module, source) in &self.files {
            let floor = floor_of(&module[0]);
            for import in source.imports.iter().filter(|import| import[0] == "crate") {
                let Some(target) = import.get(1) else { continue };
                let (name, path) = (module.join("::"), import.join("::"));
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
    pub(crate) fn circles(&self) -> Vec<String> {
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
    pub(crate) fn faults_of_table(&self, module: &str, table: &str) -> Vec<String> {
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

/// The path and the text of each file.
fn read_all() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    collect(&root, &mut paths);
    let name = |path: &Path| path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
    let text = |path: &Path| fs::read_to_string(path).unwrap();
    paths.iter().map(|path| (name(path), text(path))).collect()
}

pub(crate) fn collect(folder: &Path, paths: &mut Vec<PathBuf>) {
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
