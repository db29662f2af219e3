//! Processes that are forked.
//!
//! No safe function forks without starting another program. So a library makes `chroot`, which
//! needs no privilege then, fork if it is asked for a folder of this name. It is compiled here, and
//! a child process of the test loads it (`LD_PRELOAD`).

use std::{
    fs,
    os::unix::fs::chroot,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Forks. Returns whether this is the child.
pub(crate) fn is_child() -> bool {
    chroot(FORK).is_ok()
}

/// The folder that stands for a fork.
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

/// Compiles the library. `None`: there is no compiler.
pub(crate) fn library(folder: &Path) -> Option<PathBuf> {
    let (source, library) = (folder.join("fork.c"), folder.join("fork.so"));
    fs::write(&source, SOURCE).unwrap();
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source);
    compiler.stdout(Stdio::null()).stderr(Stdio::null());
    compiler.status().is_ok_and(|status| status.success()).then_some(library)
}
