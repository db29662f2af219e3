//! Calls by hand: the permit is a guard around the work, and records how it ends.

use std::{
    future::{Future, poll_fn},
    pin::pin,
};

use super::Permit;
use crate::{
    breaker::nesting,
    classify::{Classify, ErrorsAsFailures, watch},
    outcome::Outcome,
};

impl Permit {
    /// Does the call's work, and records an `Err` as a failure and an `Ok` as a success. The work
    /// may return early with `?`. If it panics, the call is a failure, and the panic propagates.
    ///
    /// Errors that say nothing about the dependency do not count, as on a layer: rejections by
    /// another breaker, and [errors of the request itself](crate::classify). For an error that
    /// borrows, which cannot be looked into, pass a classifier to
    /// [`call_blocking_with`](Self::call_blocking_with).
    ///
    /// Within a call of the same breaker on this thread, the outcome is part of that call, and is
    /// not recorded a second time.
    ///
    /// [`Breaker::call_blocking`](crate::Breaker::call_blocking) acquires the permit too.
    ///
    /// # Errors
    ///
    /// The work's own error.
    pub fn call_blocking<T, E>(self, work: impl FnOnce() -> Result<T, E>) -> Result<T, E>
    where
        E: 'static,
    {
        self.call_blocking_with(ErrorsAsFailures, work)
    }

    /// Like [`call_blocking`](Self::call_blocking), with a classifier for the result.
    ///
    /// ```
    /// use tower_breaker::{Breaker, Outcome};
    ///
    /// let breaker = Breaker::builder("parser").build()?;
    /// let text = String::from("one");
    /// let classify = |result: &Result<u32, &str>| match result {
    ///     Ok(_) => Outcome::Success,
    ///     Err(_) => Outcome::failure(),
    /// };
    /// let permit = breaker.try_acquire()?;
    /// let parse = || text.parse().map_err(|_| text.as_str());
    /// let parsed = permit.call_blocking_with(classify, parse);
    /// assert_eq!(parsed, Err("one"));
    /// assert_eq!(breaker.stats().consecutive_failures(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The work's own error.
    #[expect(clippy::needless_pass_by_value, reason = "a classifier by value, as on a layer")]
    pub fn call_blocking_with<C, T, E>(
        mut self,
        classify: C,
        work: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E>
    where
        C: Classify<T, E>,
    {
        let cell = self.call.cell;
        let _watch = watch::<C, T>();
        let result = self.fail_on_panic(|| nesting::run_within(cell, work));
        let outcome = self.fail_on_panic(|| classify.classify(&result));
        self.finish_outermost(outcome);
        result
    }

    /// Awaits the call's future, and records an `Err` as a failure and an `Ok` as a success. If
    /// the future panics, the call is a failure, and the panic propagates.
    ///
    /// The same errors as for [`call_blocking`](Self::call_blocking) do not count, nor does a call
    /// within a call of the same breaker.
    ///
    /// [`Breaker::call`](crate::Breaker::call) acquires the permit too; this is for after
    /// [`Breaker::acquire`](crate::Breaker::acquire).
    ///
    /// # Errors
    ///
    /// The future's own error.
    ///
    /// # Cancel safety
    ///
    /// If it is dropped before it is done, the call is [abandoned](#abandoned-calls).
    pub async fn call<F, T, E>(self, future: F) -> Result<T, E>
    where
        F: Future<Output = Result<T, E>>,
        E: 'static,
    {
        self.call_with(ErrorsAsFailures, future).await
    }

    /// Like [`call`](Self::call), with a classifier for the result.
    ///
    /// # Errors
    ///
    /// The future's own error.
    ///
    /// # Cancel safety
    ///
    /// As for [`call`](Self::call).
    pub async fn call_with<C, F, T, E>(mut self, classify: C, future: F) -> Result<T, E>
    where
        C: Classify<T, E>,
        F: Future<Output = Result<T, E>>,
    {
        let cell = self.call.cell;
        let mut future = pin!(future);
        let result = poll_fn(|cx| {
            // Until the result of this poll is classified.
            let watched = watch::<C, T>();
            let poll = || future.as_mut().poll(cx);
            self.fail_on_panic(|| nesting::run_within(cell, poll)).map(|result| (result, watched))
        });
        let (result, watched) = result.await;
        let outcome = self.fail_on_panic(|| classify.classify(&result));
        drop(watched);
        self.finish_outermost(outcome);
        result
    }

    /// Records the outcome, unless the call is part of one that this breaker records further out.
    fn finish_outermost(mut self, outcome: Outcome) {
        if nesting::is_nested(self.call.cell) {
            self.discard_in_place();
        } else {
            self.finish(outcome);
        }
    }

    /// Does a part of the call's work. If it panics, the call is a failure, and the panic
    /// propagates.
    ///
    /// The work is a closure, or a poll of a future. (A service has a guard of its own, which costs
    /// less.)
    #[inline]
    fn fail_on_panic<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let guard = FailOnDrop(self);
        let result = work();
        std::mem::forget(guard);
        result
    }
}

/// Is on the stack of a call's work, and dropped only by a panic.
struct FailOnDrop<'a>(&'a mut Permit);

impl Drop for FailOnDrop<'_> {
    #[cold]
    fn drop(&mut self) {
        self.0.take().finish_outermost(Outcome::failure());
    }
}
