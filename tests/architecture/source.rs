//! What a file of source text imports.

use std::collections::BTreeSet;

/// A module's path: `["breaker", "cell"]`.
pub(crate) type Module = Vec<String>;

#[derive(Default)]
pub(crate) struct Source {
    /// Absolute paths of what the file imports or names: `["crate", "clock", "Tick"]`.
    pub(crate) imports: Vec<Vec<String>>,
    /// The names that the file re-exports.
    pub(crate) re_exports: BTreeSet<String>,
}

/// `breaker/cell.rs` and `breaker/cell/mod.rs` are `breaker::cell`.
pub(crate) fn module_of(path: &str) -> Module {
    let path = path.trim_end_matches(".rs").trim_end_matches("/mod");
    path.split('/').map(str::to_owned).collect()
}

impl Source {
    pub(crate) fn parse(module: &Module, text: &str) -> Self {
        Self::of_code(module, &code_of(text))
    }

    /// With the module of unit tests at the end of a file.
    pub(crate) fn parse_with_tests(module: &Module, text: &str) -> Self {
        Self::of_code(module, &without_comments(text.lines()))
    }

    fn of_code(module: &Module, code: &str) -> Self {
        let mut source = Self::default();
        let mut read = 0;
        for statement in code.split(';') {
            read += statement.len() + 1;
            // Within an inline module, the first `super` is the file itself.
            let inline = inline_modules(&code[..(read - 1).min(code.len())]);
            let module: Module =
                module.iter().cloned().chain(inline.into_iter().map(str::to_owned)).collect();
            // What stands before a `use` in its statement: attributes, or the item before.
            let Some((before, tree)) = split_use(statement) else {
                source.imports.extend(paths_in(&module, statement));
                continue;
            };
            source.imports.extend(paths_in(&module, &before));
            let mut paths = Vec::new();
            expand(&tree, &[], &mut paths);
            let is_re_export = before.split_whitespace().next_back() == Some("pub")
                || before.trim_end().ends_with(')') && before.contains("pub(");
            if is_re_export {
                source.re_exports.extend(paths.iter().filter_map(|path| path.last().cloned()));
                // A module that re-exports its children does not depend on them.
                paths.retain(|path| !is_own_child(path));
            }
            source.imports.extend(paths.iter().map(|path| absolute(&module, path)));
        }
        source
    }
}

/// The text without comments, and without the module of unit tests, which stands last in a file.
pub(crate) fn code_of(text: &str) -> String {
    let is_of_tests = |line: &str| line.starts_with("#[cfg(") && line.contains("test");
    let lines: Vec<&str> = text.lines().collect();
    let mut pairs = lines.windows(2);
    let end = pairs.position(|pair| {
        is_of_tests(pair[0]) && pair[1].starts_with("mod ") && pair[1].ends_with('{')
    });
    without_comments(lines.into_iter().take(end.unwrap_or(usize::MAX)))
}

fn without_comments<'a>(lines: impl Iterator<Item = &'a str>) -> String {
    let code = lines.map(|line| line.split("//").next().unwrap_or_default());
    // A visibility is no import.
    let code = code.collect::<Vec<_>>().join("\n");
    let mut parts = code.split("pub(in ");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |code, part| {
        code + "pub" + part.split_once(')').map_or(part, |(_, after)| after)
    })
}

/// The inline modules that are open at the end of the code: `mod name {` without its `}`.
fn inline_modules(code: &str) -> Vec<&str> {
    let mut open = Vec::new();
    for (at, c) in code.char_indices() {
        match c {
            '{' => {
                let mut before = code[..at].split_whitespace().rev();
                let (name, keyword) = (before.next(), before.next());
                open.push(name.filter(|_| keyword == Some("mod")));
            }
            '}' => {
                open.pop();
            }
            _ => {}
        }
    }
    open.into_iter().flatten().collect()
}

fn split_use(statement: &str) -> Option<(String, String)> {
    let at = statement.find("use ")?;
    let before = &statement[..at];
    // The item or attribute before it has ended, or it is a visibility.
    let starts = before.trim_end().is_empty()
        || before.ends_with(char::is_whitespace)
            && before.trim_end().ends_with([']', '}', '{', ')', 'b']);
    let tree = statement[at + 4..].split_whitespace().collect::<Vec<_>>().join(" ");
    starts.then(|| (before.to_owned(), tree))
}

/// Expands `a::{b, c::{d, e as f}}` into its paths.
fn expand(tree: &str, prefix: &[&str], paths: &mut Vec<Vec<String>>) {
    let tree = tree.trim().trim_end_matches(',').trim();
    if let Some(open) = tree.find('{') {
        let head = tree[..open].trim_end_matches("::");
        let mut prefix = prefix.to_vec();
        prefix.extend(head.split("::").filter(|part| !part.is_empty()));
        let inner = &tree[open + 1..tree.rfind('}').unwrap_or(tree.len())];
        for part in split_at_depth_0(inner) {
            expand(part, &prefix, paths);
        }
    } else if !tree.is_empty() {
        let tree = tree.split(" as ").next().unwrap_or(tree);
        let parts = prefix.iter().copied().chain(tree.split("::"));
        let parts = parts.map(str::trim).filter(|part| !part.is_empty());
        paths.push(parts.map(str::to_owned).collect());
    }
}

fn split_at_depth_0(text: &str) -> Vec<&str> {
    let (mut depth, mut start, mut parts) = (0, 0, Vec::new());
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

/// Paths in code that is not a `use`, but for those that begin with `self`, with a type or with a
/// macro's `$crate`.
fn paths_in(module: &Module, code: &str) -> Vec<Vec<String>> {
    let words = code.split(|c: char| !c.is_alphanumeric() && !['_', '$', ':'].contains(&c));
    let paths = words.filter(|word| word.starts_with(|c: char| c.is_lowercase()));
    let paths = paths.map(|word| word.trim_end_matches(':').split("::").map(str::to_owned));
    let paths = paths.map(Iterator::collect::<Vec<String>>);
    let paths = paths.filter(|path| path.len() > 1 && path[0] != "self");
    paths.map(|path| absolute(module, &path)).collect()
}

fn is_own_child(path: &[String]) -> bool {
    let first = path.first().map_or("", String::as_str);
    !matches!(first, "crate" | "super" | "std")
}

fn absolute(module: &Module, path: &[String]) -> Vec<String> {
    let with = |base: &[String], rest: &[String]| {
        let base = base.iter().cloned();
        std::iter::once("crate".to_owned()).chain(base).chain(rest.iter().cloned()).collect()
    };
    match path.first().map_or("", String::as_str) {
        "self" => with(module, &path[1..]),
        "super" => {
            let ups = path.iter().take_while(|part| *part == "super").count();
            with(&module[..module.len().saturating_sub(ups)], &path[ups..])
        }
        _ => path.to_vec(),
    }
}
