//! A file system whose locks fail for a reason of its own, as one on a network may: nothing holds
//! the folder, and no message says so.
//!
//! A library takes the place of `flock` in the process. It is compiled here, which needs a C
//! compiler.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::support::{
    child::{Role, RoleResult, argument, say},
    kind::Kind,
    skip,
};

pub(crate) const LOCKLESS: &str = "lockless";

const SOURCE: &str = "
#include <errno.h>

int flock(int fd, int operation) { errno = ENOLCK; return -1; }
";

fn library(folder: &Path) -> Option<PathBuf> {
    let (source, library) = (folder.join("lockless.c"), folder.join("lockless.so"));
    fs::write(&source, SOURCE).unwrap();
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source);
    compiler.stdout(Stdio::null()).stderr(Stdio::null());
    compiler.status().is_ok_and(|status| status.success()).then_some(library)
}

/// The role: says why the store cannot be used.
pub(crate) fn load() -> RoleResult {
    let store = Kind::named(&argument("KIND")).open(Path::new(&argument("FOLDER")));
    let error = store.load("key").err().ok_or("the folder can be locked")?;
    say(&error.to_string());
    Ok(())
}

#[needs::programs("cc")]
#[test]
fn a_lock_that_fails_is_not_one_that_another_process_holds() {
    let around = tempfile::tempdir().unwrap();
    let Some(library) = library(around.path()) else {
        return skip::missing("there is no C compiler (Debian: apt-get install gcc)");
    };
    for kind in Kind::ALL {
        let role = Role::new(LOCKLESS).argument("KIND", kind.name());
        let role = role.argument("FOLDER", around.path().join(kind.name()));
        let said = role.variable("LD_PRELOAD", &library).start().line().unwrap();
        assert!(said.contains("No locks available"), "{}: {said}", kind.name());
        assert!(!said.contains("held by"), "{}: {said}", kind.name());
    }
}
