//! What the queue holds, and for how long, whatever the store does.

use std::{
    sync::{Arc, Weak},
    thread,
    time::{Duration, Instant},
};

use super::super::{
    entry::{Entry, LATER, NOW},
    queue::Queue,
    round::Verdict,
};
use super::fakes::{Breaker, LONG, patient};

fn entry() -> Arc<Entry> {
    Arc::new(Entry::new("a", Breaker::new("closed"), &patient()))
}

#[test]
fn breakers_that_come_and_go_while_the_store_hangs_do_not_pile_up() {
    let mut queue = Queue::new();
    let gone: Vec<Weak<Entry>> = (0..10_000)
        .map(|_| {
            let entry = entry();
            queue.add(&entry);
            entry.set(NOW | LATER);
            queue.push_now(&entry);
            queue.push_later(&entry);
            queue.remove(&entry);
            Arc::downgrade(&entry)
        })
        .collect();
    let held = gone.iter().filter(|entry| entry.strong_count() > 0).count();
    assert!(held < 200, "{held} are held");
}

#[test]
fn who_asks_again_and_again_does_not_keep_others_from_their_next_try() {
    let mut queue = Queue::new();
    let entry = entry();
    queue.add(&entry);
    queue.set_aside(&entry);
    queue.conclude(Verdict::Partly);
    let began = Instant::now();
    loop {
        // A round for somebody who asked, which fails too, and takes longer than there was to wait.
        let is_tried = queue.take().iter().any(|taken| Arc::ptr_eq(taken, &entry));
        if is_tried {
            break;
        }
        thread::sleep(Duration::from_millis(110));
        queue.conclude(Verdict::Partly);
        assert!(began.elapsed() < LONG / 20, "never tried");
    }
}
