//! The timer thread: one for the process, for all breakers and waiting tasks.
//!
//! It starts at the first need, sleeps until the next deadline, and never ends. If it cannot be
//! started, the next need tries again, and the thread then does what was due meanwhile. Until then,
//! a waiting task is woken at once, so that it polls again and again: nothing else would end its
//! wait. These polls try again every 10 ms. The first need in a forked process, which has inherited
//! the deadlines but not the thread, starts another.
//!
//! What it calls is code of others: wakers, and through a breaker its listeners. A panic is logged
//! and ends nothing. Once a listener has blocked for a moment, a thread that stands by takes over,
//! and the blocked one ends when its listener returns. At most a few are blocked at a time; then
//! all others wait. The thread that stands by is started with the first call, and ends once there
//! was none for a while.

mod queue;

use std::{
    io,
    sync::{Condvar, Mutex, MutexGuard, PoisonError, TryLockError},
    task::Waker,
    thread,
    time::Duration,
};

pub(crate) use self::queue::OnDeadline;
use self::queue::{BLOCKED_AFTER, Deadline, Job, Queue, Standby, Worker, WorkerState};
use crate::{
    clock::{LONGEST_SLEEP, SystemClock, Tick},
    process::{self, LastProcess},
    sync::{contain, log, std_lock},
};

/// For how long a thread stands by without anything to watch.
const LONGEST_IDLE: Duration = Duration::from_secs(10);

/// The shortest time between a failed attempt to start a thread and the next one, for needs that
/// recur.
const RETRY: Duration = Duration::from_millis(10);

static HOUSEKEEPING: Housekeeping = Housekeeping::new();

/// Has the target called at this time, by the system's clock. `instead_of` is the time of an
/// earlier call of this function that is no longer needed, or `Tick::NEVER`.
#[cfg_attr(tower_breaker_loom, expect(dead_code, reason = "a model has no threads but its own"))]
pub(crate) fn schedule(target: &'static dyn OnDeadline, at: Tick, instead_of: Tick) {
    HOUSEKEEPING.update(Need::Single, |queue| {
        if instead_of != Tick::NEVER {
            queue.deadlines.remove(&Deadline { at: instead_of, target });
        }
        queue.deadlines.insert(Deadline { at, target });
        at
    });
    // Without a thread, the next need brings it.
}

/// Ensures that there is a thread for what is scheduled, without waiting for the lock. `false`: it
/// cannot be started.
///
/// For what has nothing else to schedule before the thread has called it, and must go on although
/// the thread could not be started, or is that of the process from which this one was forked.
#[cfg_attr(tower_breaker_loom, expect(dead_code, reason = "a model has no threads but its own"))]
pub(crate) fn ensure_thread() -> bool {
    HOUSEKEEPING.ensure_thread()
}

/// A task's place among those that the thread wakes; given up when dropped.
#[derive(Debug)]
pub(crate) struct Sleeper(Option<(Tick, u64)>);

impl Sleeper {
    pub(super) const fn new() -> Self {
        Self(None)
    }

    /// Wakes the task at this time, and not at the one before.
    pub(super) fn wake_at(&mut self, at: Tick, waker: &Waker) {
        self.wake_at_by(&HOUSEKEEPING, at, waker);
    }

    fn wake_at_by(&mut self, housekeeping: &'static Housekeeping, at: Tick, waker: &Waker) {
        let mut displaced = None;
        let has_thread = housekeeping.update(Need::Repeated, |queue| {
            let key = match self.0 {
                Some(key) if key.0 == at => key,
                old => {
                    displaced = old.and_then(|key| queue.sleepers.remove(&key));
                    queue.last_key += 1;
                    (at, queue.last_key)
                }
            };
            self.0 = Some(key);
            match queue.sleepers.get(&key) {
                Some(stored) if stored.will_wake(waker) => {}
                _ => displaced = queue.sleepers.insert(key, waker.clone()).or(displaced.take()),
            }
            at
        });
        if !has_thread {
            thread::yield_now();
            waker.wake_by_ref();
        }
    }

    pub(super) fn cancel(&mut self) {
        if let Some(key) = self.0.take() {
            // Dropped without the lock: it may own the last reference to a task.
            let removed = HOUSEKEEPING.lock().and_then(|mut queue| queue.sleepers.remove(&key));
            drop(removed);
        }
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        self.cancel();
    }
}

struct Housekeeping {
    queue: Mutex<Queue>,
    /// The process of the newest thread.
    last_process: LastProcess,
    /// Something is due earlier than the thread would wake up.
    earlier: Condvar,
    /// The thread that stands by has something to watch.
    busy: Condvar,
    /// What a test pretends.
    #[cfg(test)]
    pretence: tests::Pretence,
}

/// How often a thread is needed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Need {
    /// Perhaps never again.
    Single,
    /// Again soon, if there is no thread: with each poll of each task that waits. Each attempt
    /// takes a call to the system, with the lock held.
    Repeated,
}

/// Why there is no new thread.
enum NotStarted {
    /// An attempt failed just now.
    TooSoon,
    Failed(io::Error),
}

impl Housekeeping {
    const fn new() -> Self {
        Self {
            queue: Mutex::new(Queue::new()),
            last_process: LastProcess::none(),
            earlier: Condvar::new(),
            busy: Condvar::new(),
            #[cfg(test)]
            pretence: tests::Pretence::new(),
        }
    }

    /// Changes the queue, and ensures that a thread is awake at the time that `change` returns.
    /// `false`: there is no thread, because it cannot be started.
    fn update(&'static self, need: Need, change: impl FnOnce(&mut Queue) -> Tick) -> bool {
        let Some(mut queue) = self.lock() else { return false };
        let at = change(&mut queue);
        self.ensure_awake(queue, need, at)
    }

    /// The queue, unless a thread of another process has locked it forever.
    fn lock(&self) -> Option<MutexGuard<'_, Queue>> {
        process::lock(&self.queue, || self.last_process.other_than(|| self.process()).is_some())
    }

    fn appoint(&self, queue: &mut Queue, id: u64) {
        let process = self.process();
        queue.appoint(id, process);
        self.last_process.set(process);
    }

    /// A holder of the lock needs the thread too, or is the thread, as a rule. In a forked process,
    /// it may be a thread of the other process, which never releases it.
    fn ensure_thread(&'static self) -> bool {
        let queue = match self.queue.try_lock() {
            Ok(queue) => queue,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return true,
        };
        let at = queue.next().unwrap_or(Tick::NEVER);
        self.ensure_awake(queue, Need::Repeated, at)
    }

    fn ensure_awake(&'static self, mut queue: MutexGuard<'_, Queue>, need: Need, at: Tick) -> bool {
        let state = queue.worker.as_mut().and_then(|worker| worker.living_state(|| self.process()));
        match state {
            Some(WorkerState::SleepsUntil(time)) if time <= at => true,
            Some(WorkerState::SleepsUntil(_)) => {
                self.earlier.notify_all();
                true
            }
            Some(WorkerState::WorksSince(since)) if !queue.may_relieve(since) => true,
            // Without another thread, this one goes on as soon as it is no longer blocked.
            Some(WorkerState::WorksSince(_)) => self.start(queue, need),
            None => {
                // None of these threads is one of this process.
                (queue.standby, queue.blocked, queue.worker) = (None, 0, None);
                self.start(queue, need)
            }
        }
    }

    /// Whether the thread has started.
    fn start(&'static self, mut queue: MutexGuard<'_, Queue>, need: Need) -> bool {
        let id = queue.last_worker + 1;
        match self.spawn(&mut queue, need, move || self.run(id)) {
            Ok(()) => {
                self.appoint(&mut queue, id);
                queue.cannot_start = false;
                true
            }
            Err(NotStarted::TooSoon) => false,
            Err(NotStarted::Failed(error)) => {
                let is_new = !std::mem::replace(&mut queue.cannot_start, true);
                drop(queue);
                if is_new {
                    log(|| log_no_thread(&error));
                }
                false
            }
        }
    }

    /// Starts a thread, unless the need recurs and the last attempt failed just now.
    #[cfg_attr(not(test), expect(clippy::unused_self, reason = "tests pretend a limit"))]
    fn spawn(
        &'static self,
        queue: &mut Queue,
        need: Need,
        run: impl FnOnce() + Send + 'static,
    ) -> Result<(), NotStarted> {
        let now = SystemClock::tick();
        if need == Need::Repeated && now < queue.next_attempt {
            return Err(NotStarted::TooSoon);
        }
        #[cfg(test)]
        let may_start = self.pretence.attempt();
        #[cfg(not(test))]
        let may_start = Ok(());
        let start = |()| thread::Builder::new().name("breaker-timer".to_owned()).spawn(run);
        may_start.and_then(start).map(drop).map_err(|error| {
            queue.next_attempt = now.after(RETRY);
            NotStarted::Failed(error)
        })
    }

    /// The number of this process.
    #[cfg_attr(not(test), expect(clippy::unused_self, reason = "tests pretend a fork"))]
    fn process(&self) -> u32 {
        #[cfg(test)]
        return self.pretence.process();
        #[cfg(not(test))]
        std::process::id()
    }

    fn run(&'static self, id: u64) {
        let mut queue = std_lock(&self.queue);
        // Another thread has taken over if this one was blocked.
        while let Some(worker) = queue.worker.as_mut().filter(|worker| worker.id == id) {
            let now = SystemClock::tick();
            worker.state = WorkerState::WorksSince(now);
            if let Some(job) = queue.pop_due(now) {
                self.have_watched(&mut queue);
                drop(queue);
                run_contained(job);
                queue = std_lock(&self.queue);
                continue;
            }
            let left = queue.next().map(|next| next.since(now).min(LONGEST_SLEEP));
            let until = left.map_or(Tick::NEVER, |left| now.after(left));
            if let Some(worker) = &mut queue.worker {
                worker.state = WorkerState::SleepsUntil(until);
            }
            queue = self.sleep(queue, left);
        }
        queue.blocked = queue.blocked.saturating_sub(1);
    }

    /// Ensures that a thread stands by while this one runs code of others. If there can be none,
    /// the next need of a thread relieves this one.
    fn have_watched(&'static self, queue: &mut Queue) {
        let Some(process) = queue.worker.as_ref().map(|worker| worker.process) else { return };
        if let Some(standby) = queue.standby.as_mut().filter(|it| it.process == process) {
            if std::mem::take(&mut standby.is_idle) {
                self.busy.notify_one();
            }
        } else if self.spawn(queue, Need::Repeated, move || self.stand_by()).is_ok() {
            queue.standby = Some(Standby { process, is_idle: false });
        }
    }

    fn stand_by(&'static self) {
        let mut queue = std_lock(&self.queue);
        loop {
            let works_since = match &queue.worker {
                Some(Worker { state: WorkerState::WorksSince(since), .. }) => Some(*since),
                _ => None,
            };
            if works_since.is_some_and(|since| queue.may_relieve(since)) {
                let id = queue.last_worker + 1;
                self.appoint(&mut queue, id);
                // The next one is started when this one has something to do.
                queue.standby = None;
                drop(queue);
                return self.run(id);
            }
            let is_idle = works_since.is_none();
            if let Some(standby) = &mut queue.standby {
                standby.is_idle = is_idle;
            }
            let wait = if is_idle { LONGEST_IDLE } else { BLOCKED_AFTER };
            let waited = self.busy.wait_timeout(queue, wait);
            let (woken, result) = waited.unwrap_or_else(PoisonError::into_inner);
            queue = woken;
            if result.timed_out() && queue.standby.as_ref().is_some_and(|it| it.is_idle) {
                queue.standby = None;
                return;
            }
        }
    }

    fn sleep<'a>(
        &self,
        queue: MutexGuard<'a, Queue>,
        time: Option<Duration>,
    ) -> MutexGuard<'a, Queue> {
        match time {
            Some(time) => {
                let woken = self.earlier.wait_timeout(queue, time);
                woken.unwrap_or_else(PoisonError::into_inner).0
            }
            None => self.earlier.wait(queue).unwrap_or_else(PoisonError::into_inner),
        }
    }
}

/// Runs code of others. A panic of it is logged, and ends nothing.
fn run_contained(job: Job) {
    let whose = || "a task's waker, or what a deadline of a circuit breaker runs,".to_owned();
    contain(whose, || job.run());
}

fn log_no_thread(error: &io::Error) {
    tracing::warn!(
        target: "tower_breaker",
        %error,
        "cannot start the timer thread: circuit breakers report timed transitions when they are \
         next used, and waiting callers poll all the time; the start is retried, so raise the \
         limit on threads of this user or container",
    );
}

#[cfg(test)]
mod tests;
