//! User code that panics on the threads of the write-behind.

use std::{
    error::Error,
    fmt,
    panic::{panic_any, resume_unwind},
    pin::{Pin, pin},
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Wake, Waker},
};

use super::{
    super::{
        Attachment,
        request::{Wanted, WriterRequest},
        watchdog::{self, Watched},
    },
    altered::Altered,
    fakes::{Breaker, Fault, Faulty, LONG, attach, hasty, patient, until},
};
use crate::{history::HistoryQuery, store::StoreError};

/// Panics without a message on the terminal.
fn panics() {
    resume_unwind(Box::new("the test"));
}

struct Panics;

impl Wake for Panics {
    fn wake(self: Arc<Self>) {
        panics();
    }
}

/// Begins something whose task panics when it is woken.
fn begin(task: Pin<&mut impl Future>) {
    let waker = Waker::from(Arc::new(Panics));
    assert!(task.poll(&mut Context::from_waker(&waker)).is_pending());
}

fn is_saved(attached: &Attachment, breaker: &Breaker, store: &Faulty, name: &str) {
    breaker.change("changed");
    until("it is saved", || attached.flush_blocking(LONG).is_ok());
    assert!(store.holds(name, "changed"));
    assert!(attached.health().is_healthy());
}

#[test]
fn tasks_that_panic_when_they_are_answered_do_not_end_the_writer() {
    let store = Faulty::new(Fault::None);
    let breakers = ["closed"; 3].map(Breaker::new);
    let names = ["a", "b", "c"];
    let attached = [0, 1, 2].map(|i| attach(&store, names[i], &breakers[i], &patient()));
    store.set(Fault::Hangs);
    breakers[1].change("open");
    let mut flush = pin!(attached[0].flush());
    let mut close = pin!(attached[1].close());
    let mut history = pin!(attached[0].history(HistoryQuery::default()));
    begin(flush.as_mut());
    begin(close.as_mut());
    begin(history.as_mut());
    store.set(Fault::None);
    is_saved(&attached[2], &breakers[2], &store, "c");
}

/// The store does not answer, so that the watchdog refuses the requests.
#[test]
fn tasks_that_panic_when_they_are_refused_do_not_end_the_watchdog() {
    let (store, other) = (Faulty::new(Fault::None), Faulty::new(Fault::None));
    let (breaker, neighbour) = (Breaker::new("closed"), Breaker::new("closed"));
    let attached = attach(&store, "a", &breaker, &hasty());
    let neighbours = attach(&other, "b", &neighbour, &hasty());
    store.set(Fault::Hangs);
    let mut flush = pin!(attached.flush());
    begin(flush.as_mut());
    request_a_panic(&attached);
    until("the first is noticed", || breaker.announced() == [false]);
    other.set(Fault::Hangs);
    neighbour.change_and_mark("open", &neighbours.marker(), true);
    until("the second is noticed", || neighbour.announced() == [false]);
    store.set(Fault::None);
    other.set(Fault::None);
    is_saved(&attached, &breaker, &store, "a");
}

/// Something that the watchdog checks. The first check panics.
#[derive(Default)]
struct Checked(AtomicUsize);

impl Watched for Checked {
    fn check(&self) -> bool {
        if self.0.fetch_add(1, SeqCst) == 0 {
            panics();
        }
        true
    }
}

#[test]
fn a_check_that_panics_does_not_end_the_watchdog() {
    let checked = [(); 2].map(|()| Arc::new(Checked::default()));
    for checked in &checked {
        let checked: Weak<dyn Watched> = Arc::downgrade(checked) as _;
        watchdog::watch(checked);
    }
    watchdog::wake();
    until("both are checked again", || checked.iter().all(|checked| checked.0.load(SeqCst) > 1));
}

/// A panic that nothing contains but the guard of the writer's thread.
fn request_a_panic(attached: &Attachment) {
    let entry = attached.inbox().content().schedule.any().expect("an entry").id;
    let wanted = Wanted::Flush(Box::new(|_| panics()));
    attached.inbox().request(WriterRequest { entry, wanted });
}

#[test]
fn a_panic_on_the_writers_thread_is_an_outage_that_ends() {
    let store = Faulty::new(Fault::None);
    let breaker = Breaker::new("closed");
    let attached = attach(&store, "a", &breaker, &patient());
    request_a_panic(&attached);
    until("it is announced", || breaker.announced().starts_with(&[false]));
    is_saved(&attached, &breaker, &store, "a");
}

#[derive(Debug)]
struct Unspeakable;

impl fmt::Display for Unspeakable {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        panics();
        Ok(())
    }
}

impl Error for Unspeakable {}

/// Panics when it is dropped.
struct Explosive;

impl Drop for Explosive {
    fn drop(&mut self) {
        panics();
    }
}

#[test]
fn errors_and_panics_of_a_store_may_panic_themselves() {
    let faults: [fn() -> StoreError; 2] =
        [|| StoreError::Other(Box::new(Unspeakable)), || panic_any(Explosive)];
    for fault in faults {
        let store = Faulty::new(Fault::None);
        let is_ill = Arc::new(AtomicBool::new(false));
        let ill = Arc::clone(&is_ill);
        let altered = Altered::of(&store).save(move |store, entry| {
            if ill.load(SeqCst) {
                Err(fault())
            } else {
                crate::store::StateStore::save(store, entry)
            }
        });
        let breaker = Breaker::new("closed");
        let attached = attach(&altered, "a", &breaker, &patient());
        is_ill.store(true, SeqCst);
        breaker.change("open");
        let error = attached.flush_blocking(LONG).unwrap_err();
        assert!(error.to_string().contains("panicked"), "{error}");
        is_ill.store(false, SeqCst);
        is_saved(&attached, &breaker, &store, "a");
    }
}
