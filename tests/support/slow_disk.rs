//! A disk that takes long for each sync: a library takes the place of `fsync` and `fdatasync` in
//! the process. It is compiled here, which needs a C compiler.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

const SOURCE: &str = r#"
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static void delay(void) {
    const char *path = getenv("BREAKER_SYNC_DELAY");
    FILE *file = path ? fopen(path, "r") : NULL;
    long ms = 0;
    if (file) {
        if (fscanf(file, "%ld", &ms) != 1) ms = 0;
        fclose(file);
    }
    struct timespec time = { ms / 1000, ms % 1000 * 1000000 };
    nanosleep(&time, NULL);
}

int fsync(int fd) { delay(); return syscall(SYS_fsync, fd); }
int fdatasync(int fd) { delay(); return syscall(SYS_fdatasync, fd); }
"#;

/// The variable that names the file that holds the delay.
pub(crate) const DELAY: &str = "BREAKER_SYNC_DELAY";

/// Compiles the library. `None`: there is no compiler.
pub(crate) fn library(folder: &Path) -> Option<PathBuf> {
    let (source, library) = (folder.join("slow.c"), folder.join("slow.so"));
    fs::write(&source, SOURCE).unwrap();
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source);
    compiler.stdout(Stdio::null()).stderr(Stdio::null());
    compiler.status().is_ok_and(|status| status.success()).then_some(library)
}

/// Sets the time that a sync takes, in a child process.
pub(crate) fn set(time: Duration) {
    let file = std::env::var_os(DELAY).expect("the parent names the file");
    fs::write(file, time.as_millis().to_string()).unwrap();
}
