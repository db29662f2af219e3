//! Tests that need a program which may be missing.

use std::{env, io::Write as _};

/// Whether a missing program fails the tests that need it. `.ci/run` sets it.
const REQUIRED: &str = "TOWER_BREAKER_REQUIRE_SERVICES";

/// Says that a test is skipped because of what is missing here.
///
/// # Panics
///
/// If programs are required.
pub(crate) fn missing(what: &str) {
    assert!(env::var_os(REQUIRED).is_none(), "{what}, and {REQUIRED} is set");
    // Unlike `eprintln`, this is seen although the test passes.
    let _ = writeln!(std::io::stderr(), "skipped: {what}");
}
