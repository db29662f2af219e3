//! A program that reads its settings again when it gets SIGHUP.

use std::fs;

use crate::support::child::{Role, RoleResult, argument};

#[path = "../../examples/reload.rs"]
#[allow(dead_code, reason = "`main` is for the example alone")]
mod example_reload;

pub(crate) const EXAMPLE: &str = "reload";

/// The role: the unchanged example.
#[tokio::main(flavor = "current_thread")]
pub(crate) async fn example() -> RoleResult {
    example_reload::run(&argument("file")).await
}

#[test]
fn sighup_applies_a_changed_file_and_a_faulty_one_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("breakers.toml");
    let write = |time: &str| {
        let text = format!("[breakers.payments]\nrecovery_timeout = \"{time}\"\n");
        fs::write(&file, text).unwrap();
    };
    write("20s");
    let mut process = Role::new(EXAMPLE)
        .argument("file", &file)
        .variable("BREAKER__BREAKERS__SEARCH__RECOVERY_TIMEOUT", "7s")
        .start();
    assert_eq!(process.line_with("payments").unwrap(), "payments: closed, open for 20s");
    assert_eq!(process.line_with("search").unwrap(), "search: closed, open for 7s");

    write("30s");
    process.hang_up();
    assert_eq!(process.line_with("payments").unwrap(), "payments: closed, open for 30s");

    write("40 moons");
    process.hang_up();
    let fault = process.line_with("nothing changes").unwrap();
    assert!(fault.contains("breakers.payments.recovery_timeout"), "{fault}");

    write("50s");
    process.hang_up();
    assert_eq!(process.line_with("payments").unwrap(), "payments: closed, open for 50s");
    assert!(process.terminate().success());
}
