//! One check, which can neither hang nor take its task down.

use std::{
    error::Error,
    fmt,
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    task::Poll,
    time::Duration,
};

use crate::{error::BoxError, sync::panic_message};

/// Runs a check for at most this time.
pub(super) async fn run<F, Fut, T, E>(check: &mut F, timeout: Duration) -> Result<(), BoxError>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, E>>,
    E: Into<BoxError>,
{
    let future = contain(&mut *check)?;
    let mut future = pin!(future);
    // A future that has panicked is not polled again.
    let contained = poll_fn(|cx| match contain(|| future.as_mut().poll(cx)) {
        Ok(poll) => poll.map(|result| result.map(drop).map_err(Into::into)),
        Err(panicked) => Poll::Ready(Err(panicked)),
    });
    match tokio::time::timeout(timeout, contained).await {
        Ok(result) => result,
        Err(_) => Err(format!("no answer within {timeout:?}").into()),
    }
}

fn contain<T>(work: impl FnOnce() -> T) -> Result<T, BoxError> {
    catch_unwind(AssertUnwindSafe(work))
        .map_err(|panic| Panicked(panic_message(&*panic).to_owned()).into())
}

/// How a check has failed that panicked.
#[derive(Debug)]
pub(super) struct Panicked(String);

impl fmt::Display for Panicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "it panicked: {}", self.0)
    }
}

impl Error for Panicked {}
