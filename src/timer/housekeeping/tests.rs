use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::SeqCst},
    },
    task::Wake,
};

use super::{queue::MAX_BLOCKED, *};
use crate::process::FASTEST_FORK;

/// What tests pretend.
pub(super) struct Pretence {
    /// No thread can be started.
    refuses_threads: AtomicBool,
    /// How often the start of a thread was tried.
    attempts: AtomicUsize,
    /// The number of this process; 0 for the true one.
    process: AtomicU32,
}

impl Pretence {
    pub(super) const fn new() -> Self {
        Self {
            refuses_threads: AtomicBool::new(false),
            attempts: AtomicUsize::new(0),
            process: AtomicU32::new(0),
        }
    }

    pub(super) fn attempt(&self) -> io::Result<()> {
        self.attempts.fetch_add(1, SeqCst);
        let refuses = self.refuses_threads.load(SeqCst);
        if refuses { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
    }

    pub(super) fn process(&self) -> u32 {
        match self.process.load(SeqCst) {
            0 => std::process::id(),
            pretended => pretended,
        }
    }
}

impl Housekeeping {
    fn of_a_test() -> &'static Self {
        Box::leak(Box::new(Self::new()))
    }

    fn refuse_threads(&self, refuses: bool) {
        self.pretence.refuses_threads.store(refuses, SeqCst);
    }
}

/// Counts how often a task is woken.
#[derive(Default)]
struct Woken(AtomicUsize);

impl Woken {
    fn times(&self) -> usize {
        self.0.load(SeqCst)
    }
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

/// What blocks the thread until the test ends, and what the test can see of it.
struct Target {
    gate: &'static Mutex<()>,
    blocks: bool,
    called: Arc<AtomicUsize>,
}

impl OnDeadline for Target {
    fn on_deadline(&'static self, _: Tick) {
        self.called.fetch_add(1, SeqCst);
        if self.blocks {
            drop(std_lock(self.gate));
        }
    }
}

fn add(
    housekeeping: &'static Housekeeping,
    gate: &'static Mutex<()>,
    blocks: bool,
) -> Arc<AtomicUsize> {
    let called = Arc::<AtomicUsize>::default();
    let target = Box::leak(Box::new(Target { gate, blocks, called: Arc::clone(&called) }));
    let at = SystemClock::tick().after(Duration::from_millis(20));
    housekeeping.update(Need::Single, |queue| {
        queue.deadlines.insert(Deadline { at, target });
        at
    });
    called
}

fn until(what: &str, mut happened: impl FnMut() -> bool) {
    let began = std::time::Instant::now();
    while !happened() {
        assert!(began.elapsed() < Duration::from_secs(60), "never happened: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_call_that_blocks_delays_no_other_and_few_threads_are_blocked() {
    let housekeeping = Housekeeping::of_a_test();
    let gate: &'static Mutex<()> = Box::leak(Box::default());
    let closed = std_lock(gate);
    let blocking: Vec<_> = (0..MAX_BLOCKED).map(|_| add(housekeeping, gate, true)).collect();
    let quick = add(housekeeping, gate, false);
    // All are added by now: nothing but the threads themselves notices that one is blocked.
    until("each has a thread", || blocking.iter().all(|called| called.load(SeqCst) == 1));
    until("another is called meanwhile", || quick.load(SeqCst) == 1);
    let one_more = add(housekeeping, gate, true);
    until("the last thread is blocked, too", || one_more.load(SeqCst) == 1);
    let late = add(housekeeping, gate, false);
    thread::sleep(BLOCKED_AFTER * 4);
    assert_eq!((late.load(SeqCst), std_lock(&housekeeping.queue).blocked), (0, MAX_BLOCKED));
    drop(closed);
    until("the others are called later", || late.load(SeqCst) == 1);
    until("the threads end", || std_lock(&housekeeping.queue).blocked == 0);
}

#[test]
fn what_is_due_while_no_thread_can_be_started_is_done_once_one_can() {
    const HOUR: Duration = Duration::from_secs(3600);
    let housekeeping = Housekeeping::of_a_test();
    let gate: &'static Mutex<()> = Box::leak(Box::default());
    housekeeping.refuse_threads(true);
    let due = add(housekeeping, gate, false);
    let woken = Arc::<Woken>::default();
    let waker = Waker::from(Arc::clone(&woken));
    // It is not one of the process's sleepers, which its drop would look for.
    let mut sleeper = std::mem::ManuallyDrop::new(Sleeper::new());
    for polls in 1..=3 {
        let later = SystemClock::tick().after(HOUR);
        sleeper.wake_at_by(housekeeping, later, &waker);
        assert_eq!(woken.times(), polls, "it polls again: nothing else would wake it");
    }
    until("the deadline has passed", || {
        std_lock(&housekeeping.queue).next().is_some_and(|next| next <= SystemClock::tick())
    });
    assert_eq!(due.load(SeqCst), 0);
    assert!(std_lock(&housekeeping.queue).cannot_start);

    housekeeping.refuse_threads(false);
    let poll_later = |sleeper: &mut Sleeper| {
        sleeper.wake_at_by(housekeeping, SystemClock::tick().after(HOUR), &waker);
    };
    until("there is a thread", || {
        poll_later(&mut sleeper);
        std_lock(&housekeeping.queue).worker.is_some()
    });
    let polls = woken.times();
    poll_later(&mut sleeper);
    assert_eq!(woken.times(), polls, "there is a thread");
    until("what was due is done", || due.load(SeqCst) == 1);
    sleeper.wake_at_by(housekeeping, SystemClock::tick(), &waker);
    until("the thread wakes the task", || woken.times() == polls + 1);
    assert!(!std_lock(&housekeeping.queue).cannot_start);
}

#[test]
fn polls_without_a_thread_seldom_try_to_start_it() {
    const POLLS: usize = 2000;
    let housekeeping = Housekeeping::of_a_test();
    housekeeping.refuse_threads(true);
    let woken = Arc::<Woken>::default();
    let waker = Waker::from(Arc::clone(&woken));
    let mut sleeper = std::mem::ManuallyDrop::new(Sleeper::new());
    let began = SystemClock::tick();
    let later = began.after(Duration::from_secs(3600));
    for _ in 0..POLLS {
        sleeper.wake_at_by(housekeeping, later, &waker);
    }
    let took = SystemClock::tick().since(began);
    let attempts = housekeeping.pretence.attempts.load(SeqCst);
    assert_eq!(woken.times(), POLLS, "each time");
    let most = 1 + took.as_nanos() / RETRY.as_nanos();
    assert!((1..=most).contains(&(attempts as u128)), "{attempts} attempts in {took:?}");

    until("the next attempt is made", || {
        sleeper.wake_at_by(housekeeping, later, &waker);
        housekeeping.pretence.attempts.load(SeqCst) > attempts
    });
    housekeeping.refuse_threads(false);
    until("the thread is started", || {
        sleeper.wake_at_by(housekeeping, later, &waker);
        std_lock(&housekeeping.queue).worker.is_some()
    });
    let attempts = housekeeping.pretence.attempts.load(SeqCst);
    sleeper.wake_at_by(housekeeping, later, &waker);
    assert_eq!(housekeeping.pretence.attempts.load(SeqCst), attempts, "there is one");
}

#[test]
fn a_blocked_thread_without_another_that_stands_by_is_relieved_at_the_next_need() {
    let housekeeping = Housekeeping::of_a_test();
    let gate: &'static Mutex<()> = Box::leak(Box::default());
    let closed = std_lock(gate);
    // The thread starts, and sleeps.
    housekeeping.update(Need::Single, |_| SystemClock::tick());
    until("it sleeps", || {
        let queue = std_lock(&housekeeping.queue);
        matches!(queue.worker, Some(Worker { state: WorkerState::SleepsUntil(_), .. }))
    });
    housekeeping.refuse_threads(true);
    let blocking = add(housekeeping, gate, true);
    until("it is blocked", || blocking.load(SeqCst) == 1);
    let waiting = add(housekeeping, gate, false);
    let woken = Arc::<Woken>::default();
    let waker = Waker::from(Arc::clone(&woken));
    let mut sleeper = std::mem::ManuallyDrop::new(Sleeper::new());
    until("a task that waits polls again and again meanwhile", || {
        sleeper.wake_at_by(housekeeping, SystemClock::tick(), &waker);
        woken.times() > 3
    });
    assert_eq!(waiting.load(SeqCst), 0);

    housekeeping.refuse_threads(false);
    let next = add(housekeeping, gate, false);
    until("another thread has taken over", || waiting.load(SeqCst) == 1 && next.load(SeqCst) == 1);
    assert_eq!(std_lock(&housekeeping.queue).blocked, 1);
    drop(closed);
    until("the blocked thread ends", || std_lock(&housekeeping.queue).blocked == 0);
}

#[test]
fn the_first_need_in_a_forked_process_starts_a_thread_that_does_what_it_has_inherited() {
    let housekeeping = Housekeeping::of_a_test();
    let gate: &'static Mutex<()> = Box::leak(Box::default());
    let closed = std_lock(gate);
    let blocking = add(housekeeping, gate, true);
    until("the thread is blocked", || blocking.load(SeqCst) == 1);
    let inherited = add(housekeeping, gate, false);
    // No thread relieves another process's.
    housekeeping.pretence.process.store(u32::MAX, SeqCst);
    thread::sleep(FASTEST_FORK * 2);
    let own = add(housekeeping, gate, false);
    until("both are called", || inherited.load(SeqCst) == 1 && own.load(SeqCst) == 1);
    let process = std_lock(&housekeeping.queue).worker.as_ref().map(|worker| worker.process);
    assert_eq!(process, Some(u32::MAX));
    drop(closed);
}

/// As in a forked process whose parent's thread held the lock.
#[test]
fn a_thread_is_ensured_without_waiting_for_the_lock() {
    let housekeeping = Housekeeping::of_a_test();
    let held = std_lock(&housekeeping.queue);
    let (done, is_done) = std::sync::mpsc::channel();
    let ensuring = thread::spawn(move || done.send(housekeeping.ensure_thread()));
    let result = is_done.recv_timeout(Duration::from_secs(60));
    drop(held);
    ensuring.join().unwrap().unwrap();
    assert_eq!(result, Ok(true), "it waits for the lock");
    assert_eq!(housekeeping.pretence.attempts.load(SeqCst), 0, "the holder looks after the thread");
    assert!(housekeeping.ensure_thread(), "the lock is free again");
    assert_eq!(housekeeping.pretence.attempts.load(SeqCst), 1);
}

#[test]
fn a_forked_process_does_not_wait_for_a_lock_that_was_held_when_it_was_forked() {
    let housekeeping = Housekeeping::of_a_test();
    let gate: &'static Mutex<()> = Box::leak(Box::default());
    let called = add(housekeeping, gate, false);
    until("it runs", || called.load(SeqCst) == 1);
    let queue = std_lock(&housekeeping.queue);
    let child = thread::spawn(move || {
        // To this one alone: the parent's thread waits for the lock.
        housekeeping.pretence.process.store(1, SeqCst);
        let done = housekeeping.update(Need::Single, |_| Tick::NEVER);
        housekeeping.pretence.process.store(0, SeqCst);
        done
    });
    until("it gives up", || child.is_finished());
    assert!(!child.join().unwrap());
    drop(queue);
    let called = add(housekeeping, gate, false);
    until("the parent goes on", || called.load(SeqCst) == 1);
}
