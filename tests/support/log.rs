//! What a thread logs, kept in memory.

use std::{
    io::{self, Write},
    sync::{Arc, Mutex, Once},
};

use tracing::{
    Event, Metadata, Subscriber,
    span::{Attributes, Id, Record},
    subscriber::{self, DefaultGuard, Interest},
};

#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// A subscriber that writes INFO and more severe events to this log, without colours and times.
    pub(crate) fn subscriber(&self) -> impl Subscriber + Send + Sync + use<> {
        let written = self.clone();
        tracing_subscriber::fmt()
            .with_ansi(false)
            .without_time()
            .with_writer(move || written.clone())
            .finish()
    }

    /// Writes what this thread logs meanwhile to this log.
    pub(crate) fn during<T>(&self, work: impl FnOnce() -> T) -> T {
        let _guard = self.follow();
        work()
    }

    /// Writes what this thread logs to this log until the guard is dropped.
    pub(crate) fn follow(&self) -> DefaultGuard {
        ask_at_each_event();
        subscriber::set_default(self.subscriber())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    pub(crate) fn lines_with(&self, text: &str) -> usize {
        self.text().lines().filter(|line| line.contains(text)).count()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Makes each call site ask its thread's subscriber at each event. Otherwise tracing asks once, and
/// keeps the answer for all threads; where another test's thread reaches the call site first and
/// has no subscriber, the answer is no.
pub(crate) fn ask_at_each_event() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| subscriber::set_global_default(Undecided).unwrap());
}

/// Takes no event, and does not say so beforehand.
struct Undecided;

impl Subscriber for Undecided {
    fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
        Interest::sometimes()
    }

    fn enabled(&self, _: &Metadata<'_>) -> bool {
        false
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, _: &Event<'_>) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}
