//! Tests that need a program which may be missing.

use std::{
    env,
    io::{ErrorKind, Write as _},
    process::{Command, Stdio},
};

/// Whether a missing program fails the tests that need it. `.ci/run` sets it.
const REQUIRED: &str = "TOWER_BREAKER_REQUIRE_SERVICES";

/// Says that a test is ignored because of what is missing here, though it was there when the test
/// was compiled (`needs::programs`), or the test needs it for a part of what it does. The harness
/// counts it as passed: a test cannot be ignored once it runs.
///
/// # Panics
///
/// If programs are required.
pub(crate) fn missing(what: &str) {
    assert!(env::var_os(REQUIRED).is_none(), "{what}, and {REQUIRED} is set");
    // Unlike that of `eprintln`, this line is seen, in the harness's words.
    let thread = std::thread::current();
    let test = thread.name().unwrap_or_default();
    let _ = writeln!(std::io::stderr(), "test {test} ... ignored, {what}");
}

/// Whether a program is installed.
pub(crate) fn is_installed(program: &str) -> bool {
    let mut run = Command::new(program);
    run.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
    let Err(error) = run.status() else { return true };
    assert_eq!(error.kind(), ErrorKind::NotFound, "{program}: {error}");
    false
}
