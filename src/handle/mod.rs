//! The shared handle of a breaker: what services, workers and operators hold.

mod builder;
mod events;
mod wait;

use std::{fmt, future::Future, sync::Arc, time::Duration};

use crate::{
    breaker::{
        Permit,
        cell::Cell,
        machine::{Command, Machine},
    },
    config::{Config, ConfigError},
    error::{Error, FlushError, Refusal, Rejected},
    event::Event,
    health::StoreHealth,
    history::{HistoryError, HistoryPage, HistoryQuery},
    outcome::Outcome,
    snapshot::Snapshot,
    state::State,
    stats::Stats,
    timer,
};

pub use builder::BreakerBuilder;
pub(crate) use builder::breaker_settings;
use events::Shared;
pub(crate) use wait::WaitHandle;

/// A circuit breaker.
///
/// Cheap to clone; clones are the same breaker. A [layer](crate::CircuitBreakerLayer) has one
/// ([`CircuitBreakerLayer::breaker`](crate::CircuitBreakerLayer::breaker)); on its own it serves
/// code that has no tower service: ask first, work, record.
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
    shared: Arc<Shared>,
}

impl Breaker {
    /// Begins a breaker of that name. The name is the key in the store and the label in logs:
    /// 1 to 512 bytes of any text.
    pub fn builder(name: impl AsRef<str>) -> BreakerBuilder {
        BreakerBuilder::new(name.as_ref())
    }

    /// The breaker's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.shared.name()
    }

    /// What a call that came now would meet: past its open time, an open circuit is half-open.
    #[must_use]
    pub fn state(&self) -> State {
        self.look(Machine::state).unwrap_or(State::Closed)
    }

    /// The counts that the rules decide by.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.look(Machine::stats).unwrap_or_default()
    }

    /// Everything that the state machine knows, as data.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let snapshot = self.cell.inspect(Machine::snapshot);
        // A handle keeps its cell leased, so the machine is there.
        snapshot.unwrap_or_else(|| Snapshot::empty(std::time::SystemTime::now()))
    }

    /// The settings in force.
    #[must_use]
    pub fn config(&self) -> Arc<Config> {
        self.look(|machine| Arc::clone(machine.config())).unwrap_or_default()
    }

    /// Asks for leave to make a call.
    ///
    /// # Errors
    ///
    /// [`Rejected`] while the circuit is open, forced open, half-open with all probes out, or
    /// ramping up and this call not among those it admits.
    #[inline]
    pub fn try_acquire(&self) -> Result<Permit, Rejected> {
        Permit::try_acquire(self.cell).map_err(|refusal| self.rejected(refusal))
    }

    /// Waits for leave to make a call.
    ///
    /// Those who wait are let through in the order in which they came: as many as there are slots
    /// for probes once the open time is over, and all when the circuit closes. While the circuit
    /// is forced open that takes until somebody says otherwise; put a time limit around it. While
    /// it ramps up, a call that is not among the admitted share is tried again after a hundredth
    /// of the ramp's time.
    ///
    /// It needs a tokio runtime to see the open time end; without one it is woken by what others
    /// do to the breaker.
    ///
    /// # Panics
    ///
    /// In a tokio runtime whose timers are disabled.
    ///
    /// # Cancel safety
    ///
    /// Dropped before it is done, it gives up its place, and nobody behind it is forgotten.
    pub async fn acquire(&self) -> Permit {
        let mut wait = WaitHandle::new(self.cell);
        loop {
            std::future::poll_fn(|cx| wait.poll_ready(cx)).await;
            let refusal = match Permit::try_acquire(self.cell) {
                Ok(permit) => return permit,
                Err(refusal) => refusal,
            };
            // Another was faster, or the circuit ramps up. What was promised is spent.
            wait.release();
            if refusal.state == State::Closed {
                timer::pause(self.ramp_pause()).await;
            }
        }
    }

    /// How long one waits whom a ramp has refused.
    fn ramp_pause(&self) -> Duration {
        let time = self.config().ramp_up.map(|ramp| ramp.time).unwrap_or_default();
        (time / 100).max(Duration::from_millis(1))
    }

    /// Runs a future if the breaker admits it, and records an `Err` as a failure. The future is
    /// not polled when it is rejected.
    ///
    /// # Errors
    ///
    /// [`Error::Rejected`] if the call was not admitted, else [`Error::Inner`] with the future's
    /// own error.
    ///
    /// # Cancel safety
    ///
    /// Dropped before it is done, the call counts as cancelled, and a probe's slot comes back.
    pub async fn call<F, T, E>(&self, future: F) -> Result<T, Error<E>>
    where
        F: Future<Output = Result<T, E>>,
    {
        let permit = self.try_acquire().map_err(Error::Rejected)?;
        let result = future.await;
        permit.finish(match &result {
            Ok(_) => Outcome::Success,
            Err(_) => Outcome::failure(),
        });
        result.map_err(Error::Inner)
    }

    /// Rejects every call until told otherwise, over restarts too.
    pub fn force_open(&self) {
        self.cell.command(Command::ForceOpen);
    }

    /// Admits every call and records none until told otherwise, over restarts too.
    pub fn disable(&self) {
        self.cell.command(Command::Disable);
    }

    /// Admits and records every call and never opens until told otherwise, over restarts too.
    pub fn metrics_only(&self) {
        self.cell.command(Command::MetricsOnly);
    }

    /// Closes the circuit and clears its counts and its backoff. Ends every state that was set
    /// by hand. Calls that are under way change nothing when they end.
    pub fn reset(&self) {
        self.cell.command(Command::Reset);
    }

    /// Goes on under other settings, with the state and the counts it has. An open time that is
    /// running stays as it is; a window keeps its calls where a rule of the same kind, over
    /// calls or over time, has one.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if a value is out of its range; then nothing changes.
    pub fn update(&self, config: Config) -> Result<(), ConfigError> {
        config.validate()?;
        self.cell.update(Arc::new(config));
        if let Some(attachment) = &self.shared.attachment {
            attachment.update_settings();
        }
        Ok(())
    }

    /// Waits until the state as it is now is durable. Without a store there is nothing to wait
    /// for.
    ///
    /// It needs no runtime. A store that hangs does not answer; put a time limit around it.
    ///
    /// # Errors
    ///
    /// [`FlushError`] if the store fails at the attempt. The breaker goes on trying.
    ///
    /// # Cancel safety
    ///
    /// Dropped before it is done, the state is saved all the same.
    pub async fn flush(&self) -> Result<(), FlushError> {
        match &self.shared.attachment {
            Some(attachment) => attachment.flush().await,
            None => Ok(()),
        }
    }

    /// Like [`flush`](Self::flush), for code that is not async.
    ///
    /// # Errors
    ///
    /// [`FlushError`] if the store fails at the attempt, or the state is not durable in time.
    pub fn flush_blocking(&self, timeout: Duration) -> Result<(), FlushError> {
        match &self.shared.attachment {
            Some(attachment) => attachment.flush_blocking(timeout),
            None => Ok(()),
        }
    }

    /// What the breaker went through: its transitions, the newest first, as its store keeps them
    /// over restarts. All that happened before the call is in it. Without a store there is none.
    ///
    /// A history goes back as far as [`Config::history_retention_days`] says, an hour more at
    /// times, and over the newest 500 transitions, and some more at times. Transitions that
    /// come faster than the store takes them are counted instead ([`HistoryEntry::missed`]).
    ///
    /// It needs no runtime, and reads nothing on the caller's thread.
    ///
    /// [`HistoryEntry::missed`]: crate::history::HistoryEntry::missed
    ///
    /// ```
    /// use tower_breaker::{Breaker, MemoryStore, State, history::HistoryQuery};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let breaker = Breaker::builder("mailer").store(MemoryStore::new()).build()?;
    /// breaker.force_open();
    /// breaker.reset();
    ///
    /// let newest = breaker.history(HistoryQuery::newest(1)).await?;
    /// assert_eq!(newest.entries[0].transition.to, State::Closed);
    /// assert!(newest.entries[0].transition.manual);
    ///
    /// let cursor = newest.next.ok_or("there should be an older one")?;
    /// let older = breaker.history(HistoryQuery::newest(1).before(cursor)).await?;
    /// assert_eq!(older.entries[0].transition.to, State::ForcedOpen);
    /// assert_eq!(older.next, None);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`HistoryError`] if the store fails at the attempt, at once while it is known not to
    /// answer, and else when it has not answered for a second or so.
    ///
    /// # Cancel safety
    ///
    /// Dropped before it is done, nothing is lost.
    pub async fn history(&self, query: HistoryQuery) -> Result<HistoryPage, HistoryError> {
        match &self.shared.attachment {
            Some(attachment) => attachment.history(query).await,
            None => Ok(HistoryPage::default()),
        }
    }

    /// How the store is doing.
    #[must_use]
    pub fn store_health(&self) -> StoreHealth {
        let attachment = self.shared.attachment.as_ref();
        attachment.map_or(StoreHealth::NoStore, |attachment| attachment.health())
    }

    /// The events of this breaker from now on, as a channel.
    ///
    /// A receiver that falls behind by more than 64 events loses the oldest, and is told so.
    #[must_use]
    pub fn subscribe(&self) -> tokio::sync::broadcast::Receiver<Event> {
        self.shared.subscribe()
    }

    #[inline]
    pub(crate) fn cell(&self) -> &'static Cell {
        self.cell
    }

    pub(crate) fn rejected(&self, refusal: Refusal) -> Rejected {
        Rejected::new(self.shared.name(), refusal)
    }

    fn look<T>(&self, look: impl FnOnce(&Machine) -> T) -> Option<T> {
        self.cell.inspect(|machine, _| look(machine))
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
