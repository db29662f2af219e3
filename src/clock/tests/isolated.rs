//! Tests that replace the clocks of their process, each in a process of its own.

use std::{
    env,
    pin::pin,
    process::Command,
    sync::Arc,
    task::{Context, Poll, Wake},
    thread::{self, Thread},
};

use crate::clock::sources::trap::Trap;

const CHILD: &str = "TOWER_BREAKER_CLOCK_TEST";

/// Runs a unit test, by its full path, with other clocks, in a child process that runs this test
/// alone. (Unit tests cannot reach `tests/support/child.rs`, and the clocks of a process cannot be
/// replaced from outside the crate.)
pub(crate) fn isolate(path: &str, test: impl FnOnce(&'static Trap)) {
    if env::var(CHILD).is_ok_and(|running| running == path) {
        return test(Trap::install());
    }
    let child = Command::new(env::current_exe().unwrap())
        .args([path, "--exact", "--test-threads=1"])
        .env(CHILD, path)
        .env("RUST_BACKTRACE", "0")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success(), "{said}\n{}", String::from_utf8_lossy(&child.stderr));
    assert!(said.contains("1 passed"), "there is no test {path}:\n{said}");
}

/// Runs a future without a runtime.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Arc::new(Unpark(thread::current())).into();
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(result) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return result;
        }
        thread::park();
    }
}
