//! Marks tests that need programs which may be missing.
//!
//! The harness ignores a test only if that is known when the test is compiled. It is not worth a
//! build script, which everything that depends on the crate by its repository would run.

use std::{
    env,
    env::consts::EXE_SUFFIX,
    path::{Path, PathBuf},
};

use proc_macro::{TokenStream, TokenTree};

/// Whether a missing program fails the tests that need it. `.ci/run` sets it.
const REQUIRED: &str = "TOWER_BREAKER_REQUIRE_SERVICES";

/// The Debian packages of programs that are in one of another name.
const PACKAGES: [(&str, &str); 2] = [("cc", "gcc"), ("promtool", "prometheus")];

/// Marks a test that needs programs, as `#[needs::programs("redis-server")]` above `#[test]`.
///
/// If a program is missing when the test is compiled, the test is ignored, for a reason that names
/// the program. With `TOWER_BREAKER_REQUIRE_SERVICES` set, the test runs, and fails. After a
/// program was installed, whether it is there is found out when the test is next compiled.
#[proc_macro_attribute]
pub fn programs(names: TokenStream, test: TokenStream) -> TokenStream {
    let Some(names) = texts(names) else {
        return parse("compile_error!(\"expected the names of programs\");".to_owned());
    };
    let Some(missing) = names.into_iter().find(|name| !is_installed(name)) else { return test };
    // The compiler notes that it has read the variable: once it changes, the test is compiled
    // again.
    let mut marks = format!("const _: Option<&str> = option_env!({REQUIRED:?});");
    if env::var_os(REQUIRED).is_none() {
        let package = PACKAGES.iter().find(|(name, _)| *name == missing);
        let package = package.map_or(&*missing, |(_, package)| package);
        let reason = format!("{missing} is missing (Debian: apt-get install {package})");
        marks += &format!("#[ignore = {reason:?}]");
    }
    parse(marks).into_iter().chain(test).collect()
}

/// The texts in a list of at least one. `None`: it is something else.
fn texts(list: TokenStream) -> Option<Vec<String>> {
    let mut texts = Vec::new();
    for token in list {
        match token {
            TokenTree::Literal(literal) => {
                let text = literal.to_string();
                texts.push(text.strip_prefix('"')?.strip_suffix('"')?.to_owned());
            }
            TokenTree::Punct(comma) if comma.as_char() == ',' => {}
            _ => return None,
        }
    }
    (!texts.is_empty()).then_some(texts)
}

fn is_installed(program: &str) -> bool {
    let file = format!("{program}{EXE_SUFFIX}");
    let is_in = |folder: PathBuf| folder.join(Path::new(&file)).is_file();
    env::var_os("PATH").is_some_and(|path| env::split_paths(&path).any(is_in))
}

fn parse(text: String) -> TokenStream {
    text.parse().expect("valid tokens")
}
