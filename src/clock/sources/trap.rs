//! Clocks for tests that do what a machine's clocks may do: jump, stand, begin anew, differ from
//! thread to thread, sleep.
//!
//! They stand in for those of the whole process, so each test runs in a process of its own.

use std::{
    cell::Cell,
    sync::{Mutex, OnceLock},
    time::{Duration, SystemTime},
};

use crate::{clock::tick::nanos, sync::std_lock};

static TRAP: OnceLock<Trap> = OnceLock::new();

thread_local! {
    /// How far the counter of this thread's processor is ahead.
    static SKEW: Cell<i64> = const { Cell::new(0) };
}

/// As fast as the kernel's timer ticks, in nanoseconds.
const COARSE_STEP: u64 = 4_000_000;

/// The clocks of a process in a test.
pub(crate) struct Trap {
    times: Mutex<Times>,
    on_reading: Mutex<Option<OnReading>>,
}

type OnReading = Box<dyn FnMut(&Trap) + Send>;

struct Times {
    system: u64,
    running: u64,
    counter: u64,
    counter_speed: Speed,
    wall: SystemTime,
}

/// How fast the counter counts.
pub(crate) enum Speed {
    AsTimePasses,
    Half,
    Double,
    None,
}

pub(super) fn get() -> Option<&'static Trap> {
    TRAP.get()
}

impl Trap {
    /// Replaces the clocks of this process.
    pub(crate) fn install() -> &'static Self {
        TRAP.get_or_init(|| {
            let start = nanos(Duration::from_secs(30 * 24 * 3600));
            let times = Times {
                system: start,
                running: start / 2,
                counter: start,
                counter_speed: Speed::AsTimePasses,
                wall: SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000),
            };
            Self { times: Mutex::new(times), on_reading: Mutex::default() }
        })
    }

    fn with<T>(&self, f: impl FnOnce(&mut Times) -> T) -> T {
        f(&mut std_lock(&self.times))
    }

    /// Lets time pass while the process runs.
    pub(crate) fn advance(&self, time: Duration) {
        self.with(|times| {
            times.system += nanos(time);
            times.running += nanos(time);
            times.counter += match times.counter_speed {
                Speed::AsTimePasses => nanos(time),
                Speed::Half => nanos(time) / 2,
                Speed::Double => nanos(time) * 2,
                Speed::None => 0,
            };
            times.wall += time;
        });
    }

    /// Lets time pass while the machine is suspended: only some clocks count it.
    pub(crate) fn suspend(&self, time: Duration) {
        self.with(|times| {
            times.system += nanos(time);
            times.wall += time;
        });
    }

    /// Moves the process to another machine, which was started later: all its clocks but the wall
    /// clock show less.
    pub(crate) fn move_to_younger_machine(&self, younger_by: Duration) {
        self.with(|times| {
            times.system -= nanos(younger_by);
            times.running -= nanos(younger_by);
            times.counter -= nanos(younger_by);
        });
    }

    /// A counter without a fault.
    pub(crate) fn repair_counter(&self) {
        SKEW.set(0);
        self.with(|times| {
            times.counter_speed = Speed::AsTimePasses;
            times.counter = times.system;
        });
    }

    pub(crate) fn stop_counter(&self) {
        self.set_counter_speed(Speed::None);
    }

    pub(crate) fn set_counter_speed(&self, speed: Speed) {
        self.with(|times| times.counter_speed = speed);
    }

    pub(crate) fn set_counter(&self, set: impl FnOnce(u64) -> u64) {
        self.with(|times| times.counter = set(times.counter));
    }

    pub(crate) fn set_wall(&self, wall: SystemTime) {
        self.with(|times| times.wall = wall);
    }

    /// The counter of this thread is ahead by this many seconds from now on.
    pub(crate) fn skew_thread(seconds: i64) {
        SKEW.set(seconds * 1_000_000_000);
    }

    /// Runs `job` while `on_reading` is called before each reading of the system's clock, by any
    /// thread; not before its own readings.
    pub(crate) fn during<T>(
        &self,
        on_reading: impl FnMut(&Self) + Send + 'static,
        job: impl FnOnce() -> T,
    ) -> T {
        *std_lock(&self.on_reading) = Some(Box::new(on_reading));
        let result = job();
        *std_lock(&self.on_reading) = None;
        result
    }

    pub(super) fn system(&self) -> u64 {
        if let Ok(mut on_reading) = self.on_reading.try_lock()
            && let Some(on_reading) = on_reading.as_mut()
        {
            on_reading(self);
        }
        self.with(|times| times.system)
    }

    pub(super) fn coarse(&self) -> u64 {
        self.with(|times| times.running / COARSE_STEP * COARSE_STEP)
    }

    pub(super) fn counter(&self) -> u64 {
        self.with(|times| times.counter).saturating_add_signed(SKEW.get())
    }

    pub(super) fn wall(&self) -> SystemTime {
        self.with(|times| times.wall)
    }
}
