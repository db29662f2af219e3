//! Checks of a dependency on a schedule: they find a recovery before a caller pays for the probe,
//! and an outage before callers notice it.
//!
//! ```no_run
//! use std::time::Duration;
//! use tower_breaker::{Breaker, health_check::HealthCheck};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let breaker = Breaker::builder("payments").build()?;
//! let client = reqwest::Client::new();
//! let check = HealthCheck::new(move || {
//!     let request = client.get("http://localhost:4000/health").send();
//!     async { request.await?.error_for_status() }
//! });
//! let task = check
//!     .interval(Duration::from_secs(10))
//!     .timeout(Duration::from_secs(2))
//!     .spawn(&breaker)?; // the checks end when `task` is dropped
//! # Ok(())
//! # }
//! ```
//!
//! # When a check is made
//!
//! | the circuit is | by default | with [`recover_early`] | with [`always`] |
//! |---|---|---|---|
//! | closed | none | none | each interval |
//! | open | once, just before the end of the open time | each interval besides | as without |
//! | half-open | each interval, the first at once, when a probe's slot is free | the same | the same |
//! | forced open, disabled, metrics only | none | none | none |
//!
//! # What a check does
//!
//! **Just before the end of the open time, and while half-open,** a check is a probe like any other
//! call: it takes a probe's slot, and its result counts. Success closes the circuit after
//! [`success_threshold`](crate::Config::success_threshold) of them, and failure opens it again. The
//! slot is taken 100 ms before the end of the open time (a tenth of
//! [`recovery_timeout`](crate::Config::recovery_timeout), if that is less), so that no other call
//! can be the first probe: with `half_open_max_calls` at 1, its default, callers are rejected until
//! the check has passed. On a machine that is so busy that the check is late, another call can
//! still be the first.
//!
//! **While open,** with [`recover_early`], a check takes no slot, since there is none. A failure
//! changes nothing. After [`healthy_threshold`](HealthCheck::healthy_threshold) successes in a row
//! the open time ends, and the last of them counts as the first successful probe. One that is under
//! way when the open time ends becomes the probe.
//!
//! **In a fleet,** a check needs the lease of a probe, so one replica at a time checks for all, and
//! the open time of the fleet does not end early; that of a replica that is open alone does.
//!
//! **While closed,** with [`always`], checks do not count as calls, and the rules do not see them:
//! a health endpoint that answers while real calls fail would hide these. Instead,
//! [`unhealthy_threshold`](HealthCheck::unhealthy_threshold) failures in a row open the circuit. If
//! the `max_open_ratio` of its group does not allow that, an [`Event::WouldTrip`] says so, and each
//! further failed check tries again.
//!
//! The transitions that a check causes have the reason
//! [`HealthCheck`](crate::event::Reason::HealthCheck), those of its probes the usual ones. A failed
//! check is logged with its error at DEBUG, and at WARN where it opens a closed circuit.
//!
//! A check should need what calls need: a health endpoint that answers without looking at its
//! database closes the circuit too early, again and again.
//!
//! # The task
//!
//! [`spawn`](HealthCheck::spawn) starts one tokio task, which makes one check at a time. A breaker
//! without a check has none, and costs nothing. The task does not keep the breaker alive: it ends
//! with the last handle, and so does the task of a dropped [`HealthCheckTask`]. A check that is
//! under way then is dropped, and its slot is free.
//!
//! [`always`]: HealthCheck::always
//! [`Event::WouldTrip`]: crate::Event::WouldTrip
//! [`recover_early`]: HealthCheck::recover_early

mod bounded;
mod settings;
mod streak;
mod task;

use std::{any::type_name, fmt, future::Future, time::Duration};

pub use self::task::HealthCheckTask;
use self::{settings::Settings, task::Task};
use crate::{config::ConfigError, error::BoxError, handle::Breaker};

/// A check of a dependency, and its schedule. The [module](self) says what it does.
#[must_use = "a check is made only after `spawn`"]
pub struct HealthCheck<F> {
    check: F,
    settings: Settings,
}

impl<F, Fut, T, E> HealthCheck<F>
where
    F: FnMut() -> Fut + Send + 'static,
    Fut: Future<Output = Result<T, E>> + Send + 'static,
    T: 'static,
    E: Into<BoxError> + 'static,
{
    /// A check: a closure that returns a future, whose `Err` is a failure. A panic is a failure
    /// too, and is logged.
    pub fn new(check: F) -> Self {
        Self { check, settings: Settings::default() }
    }

    /// The time between the starts of two checks. After a check that takes longer, the next one
    /// starts at once. Default: 10 s.
    pub fn interval(mut self, interval: Duration) -> Self {
        self.settings.interval = interval;
        self
    }

    /// A random time of up to this share of the interval is added to each interval, so that the
    /// checks of many processes do not come together. From 0 to 1; default: 0.1.
    ///
    /// The first check of a closed circuit comes at a random time within the first interval.
    pub fn jitter(mut self, jitter: f64) -> Self {
        self.settings.jitter = jitter;
        self
    }

    /// A check that takes longer than this fails and is dropped. Default: 5 s.
    ///
    /// It bounds a future that waits, not one that blocks its thread.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.settings.timeout = timeout;
        self
    }

    /// Checks a closed circuit too: failures open it before callers notice them. Default: a circuit
    /// is checked only while it is open or half-open.
    pub fn always(mut self) -> Self {
        self.settings.always = true;
        self
    }

    /// The number of failed checks in a row that opens a closed circuit, with
    /// [`always`](Self::always). Default: 3.
    pub fn unhealthy_threshold(mut self, checks: u32) -> Self {
        self.settings.unhealthy_threshold = checks;
        self
    }

    /// Checks an open circuit each interval: successes end the open time early. Default: the
    /// circuit stays open for all of its open time, and is checked at the end.
    pub fn recover_early(mut self) -> Self {
        self.settings.recover_early = true;
        self
    }

    /// The number of successful checks in a row that ends the open time, with
    /// [`recover_early`](Self::recover_early). Default: 1.
    pub fn healthy_threshold(mut self, checks: u32) -> Self {
        self.settings.healthy_threshold = checks;
        self
    }

    /// Starts to check in a tokio task, until the returned value is dropped.
    ///
    /// ```
    /// use std::{io, time::Duration};
    /// use tokio::net::TcpStream;
    /// use tower_breaker::{Breaker, health_check::{HealthCheck, HealthCheckTask}};
    ///
    /// struct Mailer {
    ///     breaker: Breaker,
    ///     /// Ends with the mailer.
    ///     check: HealthCheckTask,
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let breaker = Breaker::builder("mailer").build()?;
    /// let check = HealthCheck::new(|| TcpStream::connect("127.0.0.1:25"))
    ///     .always()
    ///     .interval(Duration::from_secs(5))
    ///     .spawn(&breaker)?;
    /// let mailer = Mailer { breaker, check };
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`ConfigError`] with every fault: an interval or a timeout of zero, a jitter that is not a
    /// number from 0 to 1, a threshold of 0.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime. In one whose timers are disabled, the task panics.
    pub fn spawn(self, breaker: &Breaker) -> Result<HealthCheckTask, ConfigError> {
        self.settings.validate()?;
        Ok(HealthCheckTask::start(Task::new(self.check, self.settings, breaker)))
    }
}

impl<F> fmt::Debug for HealthCheck<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HealthCheck")
            .field("check", &format_args!("{}", type_name::<F>()))
            .field("settings", &self.settings)
            .finish()
    }
}
