//! The handle of a breaker, which services, workers and operators share.

mod builder;
mod by_hand;
mod call;
mod end;
mod events;
mod listener;
mod meter;
mod rejection_name;
mod settings;
mod source;
#[cfg(feature = "admin")]
mod status;
mod storing;
#[cfg(test)]
mod tests;
mod wait;
#[cfg(feature = "health-check")]
mod weak;

use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use crate::{
    breaker::{Permit, cell::Cell, machine::Machine, nesting},
    clock::wall,
    config::{Config, ConfigError, Faults},
    error::{Refusal, Rejected},
    event::Event,
    outcome::CallEnd,
    snapshot::Snapshot,
    state::State,
    stats::Stats,
};

pub(crate) use builder::AfterBuild;
pub use builder::BreakerBuilder;
pub use end::flush_all;
use events::BreakerInner;
pub(crate) use listener::{EventChannel, Listener};
pub(crate) use settings::breaker_settings;
pub(crate) use wait::WaitHandle;
#[cfg(feature = "health-check")]
pub(crate) use weak::WeakBreaker;

/// A circuit breaker.
///
/// A handle: cheap to clone, and all clones are the same breaker. A
/// [`CircuitBreakerLayer`](crate::CircuitBreakerLayer) has one, for reading its state and for
/// operating it by hand. Without a tower service, acquire a permit, do the work, and record the
/// outcome:
///
/// ```
/// use tower_breaker::{Breaker, Trip};
///
/// let breaker = Breaker::builder("mailer")
///     .trip_on(Trip::consecutive_failures(3))
///     .build()?;
///
/// # fn send() -> Result<(), std::io::Error> { Ok(()) }
/// match breaker.try_acquire() {
///     Ok(permit) => match send() {
///         Ok(()) => permit.success(),
///         Err(_) => permit.failure(),
///     },
///     Err(rejected) => println!("not sent: {rejected}"),
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Breaker {
    cell: &'static Cell,
    shared: Arc<BreakerInner>,
}

impl Breaker {
    /// Starts a new breaker. The name is its key in the store and its label in logs and metrics:
    /// 1 to 512 bytes of any text.
    pub fn builder(name: impl AsRef<str>) -> BreakerBuilder {
        BreakerBuilder::new(name.as_ref())
    }

    /// The breaker's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.shared.name()
    }

    /// The state that a call would meet now: past its open time, an open circuit is half-open.
    #[must_use]
    pub fn state(&self) -> State {
        self.inspect(Machine::state).unwrap_or(State::Closed)
    }

    /// The counts by which the rules decide.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.inspect(Machine::stats).unwrap_or_default()
    }

    /// What has been counted since the breaker was built: every call once, by how it ended. `None`
    /// with [`CallMetrics::Off`](crate::config::CallMetrics::Off).
    ///
    /// Breakers of the same name are counted together, and so are those of a group of keyed
    /// breakers that has [no metrics by key](crate::metrics#keyed-breakers). When all of them that
    /// had calls are dropped, the numbers are forgotten, at the latest a second later.
    ///
    /// It asks each breaker that is counted together with this one. Do not call it on the way of a
    /// request.
    #[cfg(feature = "metrics")]
    #[cfg_attr(docsrs, doc(cfg(feature = "metrics")))]
    #[must_use]
    pub fn metrics(&self) -> Option<crate::metrics::BreakerMetrics> {
        self.shared.metrics()
    }

    /// The complete state as data.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        // `None` is impossible: a handle keeps its cell leased.
        self.shared.snapshot().unwrap_or_else(|| Snapshot::empty(wall()))
    }

    /// The settings in force.
    #[must_use]
    pub fn config(&self) -> Arc<Config> {
        self.inspect(|machine| Arc::clone(machine.config())).unwrap_or_default()
    }

    /// Acquires the permission to make a call, without waiting.
    ///
    /// Within a call of the same breaker on this thread, also one of a layer, the outer call
    /// counts: the permit needs no admission, and records nothing. For work that outlives the outer
    /// call, such as a spawned task, acquire the permit in that task.
    ///
    /// # Errors
    ///
    /// [`Rejected`] if the circuit is open, forced open, half-open with all probes in flight, or
    /// ramping up and this call is not in the admitted share.
    #[inline]
    pub fn try_acquire(&self) -> Result<Permit, Rejected> {
        self.admit().map_err(|refusal| self.reject(refusal))
    }

    /// Within a call that this breaker has admitted already, another one needs no admission.
    #[inline]
    fn admit(&self) -> Result<Permit, Refusal> {
        if self.is_nested() {
            return Ok(Permit::void_of(self.cell));
        }
        Permit::try_acquire(self.cell)
    }

    /// Whether a call of this breaker runs on this thread, or one of its key that began before the
    /// breaker was there.
    #[inline]
    fn is_nested(&self) -> bool {
        nesting::is_any_running() && self.is_among_running()
    }

    #[cold]
    #[inline(never)]
    fn is_among_running(&self) -> bool {
        #[cfg(feature = "keyed")]
        if self.shared.key_mark.is_running() {
            return true;
        }
        nesting::is_nested(self.cell)
    }

    /// Waits until a call is admitted.
    ///
    /// Waiting callers are admitted in the order in which they arrived: one for each probe slot
    /// once the open time has ended, and all of them when the circuit closes. During a ramp-up, a
    /// call outside the admitted share retries after 1% of the ramp's time. A forced-open circuit
    /// admits nothing until it is operated again, so combine this method with a timeout.
    ///
    /// Within a call of the same breaker it does not wait, as with
    /// [`try_acquire`](Self::try_acquire).
    ///
    /// It needs no runtime: a thread of this crate, one for the process, wakes the waiting callers.
    /// While that thread cannot be started (a limit of the user or the container), they poll again
    /// and again, and every 10 ms a poll tries to start it. A forked process starts one of its own.
    /// With a [custom clock](crate::BreakerBuilder::clock), times are waited for in tokio's time,
    /// which follows a paused runtime, or outside of a runtime in the machine's time; a clock that
    /// has moved ahead of that is noticed within a second.
    ///
    /// # Cancel safety
    ///
    /// This method is cancel safe. Dropping the future gives up its place in the queue, and the
    /// callers behind it move up.
    pub async fn acquire(&self) -> Permit {
        let mut wait = WaitHandle::new(self.cell);
        loop {
            let poll = |cx: &mut Context<'_>| {
                // Not for the slot that the outer call holds.
                if self.is_nested() {
                    return Poll::Ready(());
                }
                wait.poll_ready(cx)
            };
            std::future::poll_fn(poll).await;
            let refusal = match self.admit() {
                Ok(permit) => return permit,
                Err(refusal) => refusal,
            };
            // Another caller was faster, or the circuit ramps up. The reservation is used up.
            wait.release();
            if refusal.state() == State::Closed {
                wait.pause(self.ramp_pause()).await;
            }
        }
    }

    /// Delay before retrying a call refused during ramp-up.
    fn ramp_pause(&self) -> Duration {
        let time = self.config().ramp_up.map(|ramp| ramp.time).unwrap_or_default();
        (time / 100).max(Duration::from_millis(1))
    }

    /// Replaces the settings and keeps the state and the counts. The current open time does not
    /// change. A window keeps its calls if the new settings have a rule with a window of the same
    /// kind (of calls, or of time).
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if a value is out of range; then nothing changes. Also if the breaker is
    /// shared and its fleet cannot count for one of the rules.
    pub fn update(&self, config: impl Into<Arc<Config>>) -> Result<(), ConfigError> {
        let config = config.into();
        let mut faults = Faults::default();
        config.check("", &mut faults);
        #[cfg(feature = "redis")]
        if let Some(membership) = &self.shared.membership {
            membership.counts().check(&config, "", &mut faults);
        }
        faults.into_result(())?;
        self.apply(config);
        Ok(())
    }

    /// [Updates](Self::update) settings that have been checked.
    pub(crate) fn apply(&self, config: Arc<Config>) {
        self.cell.update(config);
        #[cfg(feature = "metrics")]
        self.shared.follow_call_metrics();
        if let Some(attachment) = &self.shared.attachment {
            attachment.update_settings();
        }
    }

    /// Takes the breaker out of its group: it goes on in memory and alone, no longer counts as an
    /// open circuit of the group, is in no state in the group's metrics, and what the store holds
    /// of it is deleted in the background. It runs no listener; [`leave_store`](Self::leave_store)
    /// does the rest.
    ///
    /// Its last handle may be dropped much later: the map of the group keeps what it has removed
    /// until there is more of that.
    #[cfg(feature = "keyed")]
    pub(crate) fn leave_group(&self) {
        self.cell.remove_open_limit();
        self.shared.leave_group();
        #[cfg(feature = "redis")]
        if let Some(membership) = &self.shared.membership {
            membership.leave();
        }
        if let Some(attachment) = &self.shared.attachment {
            attachment.discard();
        }
    }

    /// Shares the breaker, if it has a fleet: the last step of a build under a lock. It takes the
    /// state of the fleet over in the background. This may run user code, so no lock may be
    /// held.
    #[cfg_attr(not(feature = "redis"), expect(clippy::unused_self, reason = "none is shared"))]
    pub(crate) fn share(&self) {
        #[cfg(feature = "redis")]
        self.shared.share();
    }

    /// Waits until the breaker has the state of its fleet, but for no longer than a second. Of a
    /// breaker that has yet to be [shared](Self::share), it waits for that too.
    #[cfg_attr(not(feature = "redis"), expect(clippy::unused_self, reason = "none is shared"))]
    pub(crate) fn wait_for_fleet(&self) {
        #[cfg(feature = "redis")]
        self.shared.wait_for_fleet();
    }

    /// Whether this breaker reaches the fleet that it is [shared](BreakerBuilder::shared) with.
    #[cfg(feature = "redis")]
    #[cfg_attr(docsrs, doc(cfg(feature = "redis")))]
    #[must_use]
    pub fn fleet_health(&self) -> crate::fleet::FleetHealth {
        let membership = self.shared.membership.as_ref();
        membership.map_or(crate::fleet::FleetHealth::NotShared, |membership| membership.health())
    }

    /// What each replica of the fleet says about this breaker, by the replicas' ids. Empty if the
    /// breaker is not [shared](BreakerBuilder::shared).
    ///
    /// It asks all replicas through the fleet's server and waits until those that are present have
    /// answered, but not for longer than `wait`, which counts as 5 s at most. If a command to the
    /// server is under way, it begins after that. A replica that has no breaker of this name is
    /// left out, and one that has not answered, or is listed as gone, has no
    /// [view](crate::fleet::FleetView::view).
    ///
    /// Nothing of it is kept on the server. Each call costs each replica two commands, so it is for
    /// operators, and not on the way of a request. It runs on a thread of the fleet, not the
    /// caller's, and needs no runtime.
    ///
    /// # Errors
    ///
    /// [`FleetError::NotReached`](crate::fleet::FleetError::NotReached) if this process does not
    /// reach the fleet, or asks about more than 64 breakers at once.
    ///
    /// # Cancel safety
    ///
    /// This method is cancel safe: it only reads.
    ///
    /// ```no_run
    /// # async fn show(breaker: tower_breaker::Breaker)
    /// # -> Result<(), tower_breaker::fleet::FleetError> {
    /// for one in breaker.fleet_views(std::time::Duration::from_secs(1)).await? {
    ///     match one.view {
    ///         Some(view) => println!("{}: {}", one.replica.id, view.state),
    ///         None => println!("{}: no answer", one.replica.id),
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[cfg(feature = "redis")]
    #[cfg_attr(docsrs, doc(cfg(feature = "redis")))]
    pub async fn fleet_views(
        &self,
        wait: Duration,
    ) -> Result<Vec<crate::fleet::FleetView>, crate::fleet::FleetError> {
        match &self.shared.membership {
            Some(membership) => membership.views(self.shared.name().clone(), wait).await,
            None => Ok(Vec::new()),
        }
    }

    /// Subscribes to the events of this breaker from now on. [`state`](Self::state) and
    /// [`store_health`](Self::store_health) say how it is when the subscription begins.
    ///
    /// A receiver that falls behind by more than 64 events loses the oldest ones, and its next
    /// `recv` returns [`Lagged`](tokio::sync::broadcast::error::RecvError::Lagged).
    #[must_use]
    pub fn subscribe(&self) -> tokio::sync::broadcast::Receiver<Event> {
        self.shared.subscribe()
    }

    /// Whether both are handles of the same breaker.
    #[cfg(feature = "admin")]
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    #[inline]
    pub(crate) fn cell(&self) -> &'static Cell {
        self.cell
    }

    /// The rejection of a call, which is counted.
    pub(crate) fn reject(&self, refusal: Refusal) -> Rejected {
        self.cell.count_call(CallEnd::Rejected);
        Rejected::new(self.shared.name_of_rejections(), refusal)
    }

    /// The rejection of what is no call.
    pub(crate) fn reject_uncounted(&self, refusal: Refusal) -> Rejected {
        Rejected::new(self.shared.name_of_rejections(), refusal)
    }

    fn inspect<T>(&self, inspect: impl FnOnce(&Machine) -> T) -> Option<T> {
        self.cell.inspect(|machine, _| inspect(machine))
    }
}

impl fmt::Debug for Breaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Breaker")
            .field("name", &self.name())
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}
