use std::{cell::Cell, fmt, io, iter, sync::Arc, time::Duration};

use smol_str::SmolStr;

use crate::state::State;

/// A boxed error, as tower's middleware passes it.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why a call is not admitted.
///
/// Two words, so that it travels in registers: every layer returns a rejection by value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// What is left of the open time, in nanoseconds; `u64::MAX` if no time is set.
    left: u64,
    state: WideState,
}

/// A [`State`] that fills a word. Passing on the result of a call copies the place of its error
/// too, and seven bytes of padding take four instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
enum WideState {
    Closed,
    Open,
    HalfOpen,
    ForcedOpen,
    Disabled,
    MetricsOnly,
}

impl Refusal {
    pub(crate) const fn new(state: State) -> Self {
        Self::with_time(state, u64::MAX)
    }

    pub(crate) const fn with_time(state: State, left: u64) -> Self {
        let state = match state {
            State::Closed => WideState::Closed,
            State::Open => WideState::Open,
            State::HalfOpen => WideState::HalfOpen,
            State::ForcedOpen => WideState::ForcedOpen,
            State::Disabled => WideState::Disabled,
            State::MetricsOnly => WideState::MetricsOnly,
        };
        Self { left, state }
    }

    pub(crate) const fn state(self) -> State {
        match self.state {
            WideState::Closed => State::Closed,
            WideState::Open => State::Open,
            WideState::HalfOpen => State::HalfOpen,
            WideState::ForcedOpen => State::ForcedOpen,
            WideState::Disabled => State::Disabled,
            WideState::MetricsOnly => State::MetricsOnly,
        }
    }

    /// What is left of the open time; `None` if no time is set.
    pub(crate) const fn retry_after(self) -> Option<Duration> {
        if self.left == u64::MAX { None } else { Some(Duration::from_nanos(self.left)) }
    }
}

/// A call that the breaker rejected. It did not reach the dependency.
#[derive(Clone, PartialEq, Eq)]
pub struct Rejected {
    name: SmolStr,
    refusal: Refusal,
}

impl Rejected {
    #[inline]
    pub(crate) fn new(name: SmolStr, refusal: Refusal) -> Self {
        Self { name, refusal }
    }

    #[cfg(all(test, not(tower_breaker_loom)))]
    pub(crate) fn has_counted_name(&self) -> bool {
        self.name.is_heap_allocated()
    }

    /// The breaker's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The state that rejected the call: `Closed` while the circuit ramps up.
    #[must_use]
    pub fn state(&self) -> State {
        self.refusal.state()
    }

    /// What is left of the open time, or of the time for which the circuit is forced open. `None`
    /// if no time is set: while half-open, ramping up, or forced open for good.
    ///
    /// While more than a second is left, it may be some milliseconds too long, and from a
    /// [service](crate::CircuitBreaker) up to a second: the clock is not read for each rejection.
    /// It is never longer than the open time.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.refusal.retry_after()
    }

    /// [`retry_after`](Self::retry_after) in whole seconds, for the header `Retry-After`: rounded
    /// up, so that no client retries too early, and at least 1, also if no time is set.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tower_breaker::Breaker;
    ///
    /// let breaker = Breaker::builder("payments").build()?;
    /// breaker.force_open_for(Duration::from_millis(29_500));
    /// let rejected = breaker.try_acquire().unwrap_err();
    /// assert_eq!(rejected.retry_after_seconds(), 30);
    /// # Ok::<(), tower_breaker::ConfigError>(())
    /// ```
    #[must_use]
    pub fn retry_after_seconds(&self) -> u64 {
        whole_seconds(self.retry_after().unwrap_or_default())
    }

    /// Finds the rejection in an error or its sources, also in boxed errors and `io::Error`s.
    ///
    /// ```
    /// use tower_breaker::{Breaker, Error, Rejected};
    ///
    /// let breaker = Breaker::builder("payments").build()?;
    /// breaker.force_open();
    /// let error = Error::<std::io::Error>::Rejected(breaker.try_acquire().unwrap_err());
    /// let boxed: Box<dyn std::error::Error + Send + Sync> = error.into();
    /// let rejected = Rejected::find(&*boxed).expect("a rejection");
    /// assert_eq!(rejected.name(), "payments");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn find<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a Self> {
        causes(error).find_map(|error| error.downcast_ref())
    }
}

/// Rounded up, and at least 1.
fn whole_seconds(duration: Duration) -> u64 {
    let started = u64::from(duration.subsec_nanos() > 0);
    duration.as_secs().saturating_add(started).max(1)
}

thread_local! {
    /// Whether this thread reads a source in order to search an error, and not to print it.
    static SEARCHING: Cell<bool> = const { Cell::new(false) };
}

/// An error and everything inside it, from the outside in.
///
/// The sources of an error are not enough. They are what a report prints below the error, so a
/// transparent wrapper skips the error that it wraps, because it prints that error itself. An
/// `io::Error` is such a wrapper and [can be opened](opened); of an `Arc` or a `Box`, ask for the
/// type with [`downcast`]. [`Error`] is one too, but its type
/// parameter is unknown here; its `source` includes what it wraps while [`SEARCHING`] is set. And a
/// [`Rejected`] is then its own source, for transparent wrappers of users. (The method for this,
/// `std::error::Error::provide`, is not stable yet.)
pub(crate) fn causes<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    let next = |error: &&'a (dyn std::error::Error + 'static)| {
        if error.is::<Rejected>() {
            return None;
        }
        opened(*error).or_else(|| source_with_wrapped(*error))
    };
    // A limit, in case an error is its own source.
    iter::successors(Some(error), next).take(64)
}

/// The error if it has this type, also in an `Arc` or a `Box`: their source is that of the error
/// inside, which the sources skip.
pub(crate) fn downcast<'a, X: std::error::Error + 'static>(
    error: &'a (dyn std::error::Error + 'static),
) -> Option<&'a X> {
    error
        .downcast_ref()
        .or_else(|| error.downcast_ref::<Arc<X>>().map(|error| &**error))
        .or_else(|| error.downcast_ref::<Box<X>>().map(|error| &**error))
}

/// What a transparent wrapper of another crate wraps.
fn opened<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> Option<&'a (dyn std::error::Error + 'static)> {
    if let Some(error) = downcast::<io::Error>(error) {
        return error.get_ref().map(|wrapped| wrapped as _);
    }
    if let Some(error) = error.downcast_ref::<Arc<dyn std::error::Error + Send + Sync>>() {
        return Some(&**error);
    }
    #[cfg(feature = "reqwest-middleware")]
    if let Some(error) = downcast::<reqwest_middleware::Error>(error) {
        return Some(match error {
            reqwest_middleware::Error::Middleware(wrapped) => &**wrapped,
            reqwest_middleware::Error::Reqwest(wrapped) => wrapped,
        });
    }
    None
}

fn source_with_wrapped<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> Option<&'a (dyn std::error::Error + 'static)> {
    /// Restores the flag, also if `source` panics.
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            SEARCHING.set(self.0);
        }
    }
    let _restore = Restore(SEARCHING.replace(true));
    error.source()
}

impl fmt::Debug for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rejected")
            .field("name", &self.name())
            .field("state", &self.state())
            .field("retry_after", &self.retry_after())
            .finish()
    }
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A name is any text. Quoted and escaped, it cannot forge a line of a log.
        write!(f, "circuit breaker {:?} is ", self.name)?;
        match (self.state(), self.retry_after()) {
            (State::Open, Some(left)) => write!(f, "open for another {left:.1?}"),
            (State::HalfOpen, _) => f.write_str("half-open, and admits no further probe"),
            (State::ForcedOpen, Some(left)) => write!(f, "forced open for another {left:.1?}"),
            (State::ForcedOpen, None) => f.write_str("forced open"),
            (State::Closed, _) => f.write_str("ramping up after it closed"),
            (state, _) => state.fmt(f),
        }
    }
}

impl std::error::Error for Rejected {
    /// None: a rejection has no cause. A transparent wrapper that was derived for an error of
    /// another crate passes this method on, and hides the rejection itself; so a search gets it
    /// here.
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        // Once in a step of the search: a wrapper may look for the last of all sources.
        SEARCHING.replace(false).then_some(self)
    }
}

/// The error of a call through a breaker.
///
/// Both variants are transparent: the error prints what it contains, and its
/// [`source`](std::error::Error::source) is the next error below that, so a report that prints
/// all sources says nothing twice. To get at the contents, match the variants, or search the
/// error with [`Rejected::find`].
///
/// It is a `std::error::Error` if `E` is one. A boxed error is not: there, use
/// [`RejectAsBoxError`](crate::reject::RejectAsBoxError), or `?` has nothing to convert.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error<E> {
    /// The breaker rejected the call.
    Rejected(Rejected),
    /// The error of the inner service.
    Inner(E),
}

impl<E> Error<E> {
    /// The rejection, if the call was rejected.
    #[must_use]
    pub fn rejected(&self) -> Option<&Rejected> {
        match self {
            Self::Rejected(rejected) => Some(rejected),
            Self::Inner(_) => None,
        }
    }

    /// The error of the inner service, if the call was admitted.
    #[must_use]
    pub fn into_inner(self) -> Option<E> {
        match self {
            Self::Rejected(_) => None,
            Self::Inner(error) => Some(error),
        }
    }
}

impl<E> From<E> for Error<E> {
    fn from(error: E) -> Self {
        Self::Inner(error)
    }
}

impl<E: fmt::Display> fmt::Display for Error<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rejected(rejected) => rejected.fmt(f),
            Self::Inner(error) => error.fmt(f),
        }
    }
}

impl<E: std::error::Error + 'static> std::error::Error for Error<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Rejected(rejected) if SEARCHING.get() => Some(rejected),
            Self::Rejected(_) => None,
            Self::Inner(error) if SEARCHING.get() => Some(error),
            Self::Inner(error) => error.source(),
        }
    }
}

/// Why the newest state of a breaker is not saved. The breaker itself is not affected, and unless
/// the variant says otherwise, the state is saved as soon as the store works again.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FlushError {
    /// The store failed, or does not answer, or there is no thread that saves: the process was
    /// forked, for example.
    #[non_exhaustive]
    NotSaved {
        /// Why, and whether it is retried.
        reason: String,
    },
    /// The state was not saved within the given time.
    TimedOut,
    /// The store holds a snapshot of this breaker in a newer format, written by a newer release
    /// of this crate. It is not overwritten, so the state is kept in memory only. Return to the
    /// newer release, or delete the snapshot.
    #[non_exhaustive]
    NewerSnapshot {
        /// The version of the snapshot.
        version: u64,
    },
    /// A breaker of the same name was built on the same store later. It has taken over the state
    /// and is the one that is saved; this one continues in memory, until the other is dropped. To
    /// share one breaker, clone the handle; or else use different names.
    Superseded,
    /// The breaker was [closed](crate::Breaker::close): nothing is saved any more.
    Closed,
}

impl FlushError {
    pub(crate) fn not_saved(reason: impl Into<String>) -> Self {
        Self::NotSaved { reason: reason.into() }
    }

    /// Not saved yet: a thread tries again.
    pub(crate) fn retried(reason: &str) -> Self {
        Self::not_saved(format!("{reason}; retrying in the background"))
    }
}

impl fmt::Display for FlushError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotSaved { reason } => write!(f, "state not saved: {reason}"),
            Self::TimedOut => f.write_str(
                "state not saved within the given time; the store is still working on it",
            ),
            Self::NewerSnapshot { version } => write!(
                f,
                "state not saved: the store holds a snapshot of version {version}, written by a \
                 newer release; return to that release, or delete the snapshot",
            ),
            Self::Superseded => f.write_str(
                "state not saved: a circuit breaker of the same name was built on this store \
                 later, and is the one that is saved; clone its handle, or use different names",
            ),
            Self::Closed => f.write_str("state not saved: the circuit breaker was closed"),
        }
    }
}

impl std::error::Error for FlushError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_rounded_up_and_at_least_one() {
        let cases = [(0, 1), (1, 1), (999, 1), (1000, 1), (1001, 2), (59_001, 60), (60_000, 60)];
        for (millis, seconds) in cases {
            assert_eq!(whole_seconds(Duration::from_millis(millis)), seconds, "{millis} ms");
        }
        assert_eq!(whole_seconds(Duration::MAX), u64::MAX);
    }
}
