//! Calls through a breaker without a tower service.

use std::future::Future;

use super::Breaker;
use crate::{
    breaker::{
        Permit,
        nesting::{note_passed_error, note_rejection},
    },
    classify::{Classify, ErrorsAsFailures},
    error::Error,
};

impl Breaker {
    /// Runs a future if the breaker admits the call, and records an `Err` as a failure. A future
    /// that is rejected is not polled. If the future panics, the call is a failure, and the panic
    /// propagates.
    ///
    /// Errors that say nothing about the dependency do not count, as on a layer: rejections by
    /// another breaker, and [errors of the request itself](crate::classify). For an error that
    /// borrows, which cannot be looked into, pass a classifier to [`call_with`](Self::call_with).
    ///
    /// Within another call of the same breaker, also one of a layer, it passes through: the outer
    /// one counts.
    ///
    /// # With a timeout
    ///
    /// [A timeout belongs inside](crate::classify#a-timeout-belongs-inside-the-breaker), and its
    /// `?` as well: the result of `breaker.call(timeout(limit, work))` is an `Ok` with the result
    /// of the work in it, so every error of the work would count as a success.
    ///
    /// ```
    /// use std::{io, time::Duration};
    /// use tokio::{net::TcpStream, time::timeout};
    /// use tower_breaker::{Breaker, Error};
    ///
    /// # async fn example(breaker: &Breaker) -> Result<TcpStream, Error<io::Error>> {
    /// let limit = Duration::from_secs(2);
    /// // `Elapsed` converts into an `io::Error`, and into a boxed one.
    /// breaker.call(async { timeout(limit, TcpStream::connect("10.0.0.1:5432")).await? }).await
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Rejected`] if the call was rejected, or [`Error::Inner`] with the future's own
    /// error.
    ///
    /// # Cancel safety
    ///
    /// If it is dropped before it is done, the call is [abandoned](crate::Permit#abandoned-calls).
    pub async fn call<F, T, E>(&self, future: F) -> Result<T, Error<E>>
    where
        F: Future<Output = Result<T, E>>,
        E: 'static,
    {
        self.call_with(ErrorsAsFailures, future).await
    }

    /// Like [`call`](Self::call), with a classifier for the result.
    ///
    /// ```
    /// use std::io;
    /// use tower_breaker::{Breaker, Outcome};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let breaker = Breaker::builder("files").build()?;
    /// let classify = |result: &io::Result<String>| match result {
    ///     Ok(_) => Outcome::Success,
    ///     Err(error) if error.kind() == io::ErrorKind::NotFound => Outcome::Success,
    ///     Err(_) => Outcome::failure(),
    /// };
    /// let read = async { Err::<String, _>(io::Error::from(io::ErrorKind::NotFound)) };
    /// breaker.call_with(classify, read).await.unwrap_err();
    /// assert_eq!(breaker.stats().consecutive_failures(), 0);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`call`](Self::call).
    ///
    /// # Cancel safety
    ///
    /// As for [`call`](Self::call).
    pub async fn call_with<C, F, T, E>(&self, classify: C, future: F) -> Result<T, Error<E>>
    where
        C: Classify<T, E>,
        F: Future<Output = Result<T, E>>,
    {
        let permit = self.acquire_for_call()?;
        permit.call_with(classify, future).await.map_err(inner)
    }

    /// Like [`call`](Self::call), for code that is not async: runs a closure if the breaker admits
    /// it, and records an `Err`, also one that `?` returns early, as a failure. If the closure
    /// panics, the call is a failure, and the panic propagates.
    ///
    /// ```
    /// use std::{error::Error, fs};
    /// use tower_breaker::Breaker;
    ///
    /// let breaker = Breaker::builder("settings").build()?;
    /// let port = breaker.call_blocking(|| {
    ///     let text = fs::read_to_string("/no/such/file")?;
    ///     Ok::<u16, Box<dyn Error>>(text.trim().parse()?)
    /// });
    /// assert!(port.is_err());
    /// assert_eq!(breaker.stats().consecutive_failures(), 1);
    /// # Ok::<(), Box<dyn Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Rejected`] if the call was rejected, or [`Error::Inner`] with the closure's own
    /// error.
    pub fn call_blocking<T, E>(&self, work: impl FnOnce() -> Result<T, E>) -> Result<T, Error<E>>
    where
        E: 'static,
    {
        self.call_blocking_with(ErrorsAsFailures, work)
    }

    /// Like [`call_blocking`](Self::call_blocking), with a classifier for the result.
    ///
    /// # Errors
    ///
    /// As for [`call_blocking`](Self::call_blocking).
    pub fn call_blocking_with<C, T, E>(
        &self,
        classify: C,
        work: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, Error<E>>
    where
        C: Classify<T, E>,
    {
        let permit = self.acquire_for_call()?;
        permit.call_blocking_with(classify, work).map_err(inner)
    }

    fn acquire_for_call<E>(&self) -> Result<Permit, Error<E>> {
        self.try_acquire().map_err(|rejected| {
            note_rejection::<Error<E>>();
            Error::Rejected(rejected)
        })
    }
}

fn inner<E>(error: E) -> Error<E> {
    note_passed_error::<E, Error<E>>();
    Error::Inner(error)
}
