//! A disk that cannot write what it has promised: `fsync` and `fdatasync` fail while a file exists.
//!
//! A library takes the place of the two functions in the process. It is compiled here; without a C
//! compiler, these cells are skipped.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

const SOURCE: &str = r#"
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Only on the disk of the store: the folder that the switch is in. */
static int fails(int fd) {
    char link[64], path[4096];
    const char *fault = getenv("BREAKER_SYNC_FAULT");
    if (!fault || access(fault, F_OK) != 0) {
        return 0;
    }
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path);
    size_t folder = strrchr(fault, '/') - fault;
    return length > (ssize_t)folder && strncmp(path, fault, folder) == 0;
}

static int sync_by(long call, int fd) {
    if (fails(fd)) {
        errno = EIO;
        return -1;
    }
    return syscall(call, fd);
}

int fsync(int fd) { return sync_by(SYS_fsync, fd); }
int fdatasync(int fd) { return sync_by(SYS_fdatasync, fd); }
"#;

/// Compiles the library. `None`: there is no compiler.
pub(super) fn library(folder: &Path) -> Option<PathBuf> {
    let (source, library) = (folder.join("sync.c"), folder.join("sync.so"));
    fs::write(&source, SOURCE).unwrap();
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source);
    compiler.stdout(Stdio::null()).stderr(Stdio::null());
    compiler.status().is_ok_and(|status| status.success()).then_some(library)
}

/// The file that makes syncs fail.
pub(super) fn switch(work: &Path) -> PathBuf {
    work.join("syncs fail")
}
