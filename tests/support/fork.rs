//! Forks of the test's own process.
//!
//! No safe function forks without starting another program. So a library makes `chroot`, which
//! needs no privilege then, fork if it is asked for a folder of this name. It is compiled here.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

const FORK: &str = "/fork";

const SOURCE: &str = r#"
#include <errno.h>
#include <string.h>
#include <unistd.h>

/* Returns as the child with 0, and as the parent with an error. */
int chroot(const char *path) {
    if (strcmp(path, "/fork") == 0 && fork() == 0) {
        return 0;
    }
    errno = EPERM;
    return -1;
}
"#;

/// Compiles the library, for `LD_PRELOAD`. `None`: there is no compiler.
pub(crate) fn library(folder: &Path) -> Option<PathBuf> {
    let (source, library) = (folder.join("fork.c"), folder.join("fork.so"));
    fs::write(&source, SOURCE).unwrap();
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source);
    compiler.stdout(Stdio::null()).stderr(Stdio::null());
    compiler.status().is_ok_and(|status| status.success()).then_some(library)
}

/// Forks a process that has loaded the library. Whether this is the child then.
pub(crate) fn fork() -> bool {
    std::os::unix::fs::chroot(FORK).is_ok()
}
