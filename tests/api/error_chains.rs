//! Reports of errors with all their sources: they print nothing twice, and quote names.

use std::{
    error::Error as StdError,
    fmt, io,
    task::{Context, Poll, Waker},
};

use tower_breaker::{
    BoxError, Breaker, Error, Rejected,
    reject::{Reject, RejectAsTonicStatus},
    retry::is_transient,
    store::StoreError,
};

/// An error with a source.
#[derive(Debug)]
struct Failed(&'static str, Option<BoxError>);

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl StdError for Failed {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.1.as_deref().map(|source| source as _)
    }
}

fn rejected(name: &str) -> Rejected {
    let breaker = Breaker::builder(name).build().unwrap();
    breaker.force_open();
    breaker.try_acquire().unwrap_err()
}

/// Prints an error like `anyhow` does with `{:#}`.
fn report(error: &(dyn StdError + 'static)) -> String {
    let mut printed = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        printed = format!("{printed}: {source}");
        next = source.source();
    }
    printed
}

const REJECTED: &str = "circuit breaker \"payments\" is forced open";

/// In each wrapper, a rejection is printed once and can be found.
#[test]
fn a_rejection_is_printed_once_and_found_in_every_wrapper() {
    let plain = || Error::<io::Error>::Rejected(rejected("payments"));
    let nested = || Error::<Error<io::Error>>::Inner(plain());
    let as_inner = || Error::<Rejected>::Inner(rejected("payments"));
    let cases: Vec<(BoxError, String)> = vec![
        (Box::new(rejected("payments")), REJECTED.to_owned()),
        (Box::new(plain()), REJECTED.to_owned()),
        (Box::new(nested()), REJECTED.to_owned()),
        (Box::new(as_inner()), REJECTED.to_owned()),
        (Box::new(Error::Inner(Error::Inner(as_inner()))), REJECTED.to_owned()),
        (Box::new(io::Error::other(plain())), REJECTED.to_owned()),
        (Box::new(io::Error::other(io::Error::other(nested()))), REJECTED.to_owned()),
        (Box::new(Error::Inner(io::Error::other(plain()))), REJECTED.to_owned()),
        (Box::new(Failed("no price", Some(plain().into()))), format!("no price: {REJECTED}")),
        (
            Box::new(Error::Inner(Failed("no price", Some(as_inner().into())))),
            format!("no price: {REJECTED}"),
        ),
        (
            Box::new(Error::Inner(io::Error::other(Failed("no price", Some(nested().into()))))),
            format!("no price: {REJECTED}"),
        ),
        (Box::new(reqwest_middleware::Error::middleware(plain())), REJECTED.to_owned()),
    ];
    for (error, printed) in cases {
        assert_eq!(report(&*error), printed);
        assert_eq!(Rejected::find(&*error), Some(&rejected("payments")), "{error:?}");
        assert!(!is_transient(&*error), "{error:?}");
    }
}

#[test]
fn an_error_of_the_inner_service_is_printed_as_if_there_were_no_breaker() {
    let reset = || io::Error::from(io::ErrorKind::ConnectionReset);
    let failed = || Failed("no price", Some(Box::new(reset())));
    let cases: Vec<(BoxError, BoxError)> = vec![
        (Box::new(reset()), Box::new(Error::Inner(reset()))),
        (Box::new(reset()), Box::new(Error::Inner(Error::Inner(reset())))),
        (Box::new(failed()), Box::new(Error::Inner(failed()))),
        (Box::new(failed()), Box::new(Error::Inner(io::Error::other(failed())))),
        (Box::new(io::Error::other(failed())), Box::new(Error::Inner(io::Error::other(failed())))),
    ];
    for (without, with) in cases {
        assert_eq!(report(&*with), report(&*without));
        assert!(is_transient(&*with), "{with:?}");
        assert_eq!(Rejected::find(&*with), None);
    }
}

#[test]
fn an_error_of_a_store_prints_its_cause_once() {
    let full = || io::Error::from(io::ErrorKind::StorageFull);
    let cases: Vec<(StoreError, String)> = vec![
        (StoreError::Unavailable(full().into()), format!("store unavailable: {}", full())),
        (StoreError::Corrupt(Failed("odd", None).into()), "stored data is corrupt: odd".to_owned()),
        (
            StoreError::Other(Failed("not saved", Some(full().into())).into()),
            format!("store failed: not saved: {}", full()),
        ),
    ];
    for (error, printed) in cases {
        assert_eq!(report(&error), printed);
    }
}

#[derive(Debug)]
struct Panics;
impl fmt::Display for Panics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("panics")
    }
}
impl StdError for Panics {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        panic!("a source that panics")
    }
}

/// A search for a rejection reads the sources in a special mode, which has to end with it.
#[test]
fn a_search_does_not_change_later_reports() {
    let error = Error::<io::Error>::Rejected(rejected("payments"));
    let before = report(&error);
    assert!(Rejected::find(&error).is_some());
    assert_eq!(report(&error), before);

    std::panic::catch_unwind(|| Rejected::find(&Panics).is_some()).unwrap_err();
    assert_eq!(report(&error), before);
}

#[test]
fn a_tonic_status_names_the_breaker_and_its_source_gives_the_reason() {
    let rejection = Reject::<(), (), BoxError>::reject(&RejectAsTonicStatus, (), rejected("stock"));
    let mut rejection = std::pin::pin!(rejection);
    let Poll::Ready(Err(error)) = rejection.as_mut().poll(&mut Context::from_waker(Waker::noop()))
    else {
        panic!("a rejection is ready");
    };
    let status = error.downcast_ref::<tonic::Status>().unwrap();
    assert_eq!(status.message(), "rejected by circuit breaker \"stock\"");
    assert_eq!(status.source().unwrap().to_string(), "circuit breaker \"stock\" is forced open");
    assert!(Rejected::find(status).is_some());
}

#[test]
fn a_name_is_quoted_and_cannot_fake_a_log_line() {
    let name = "pay\nINFO circuit breaker \"other\": open -> closed\u{1b}[2J";
    let printed = rejected(name).to_string();
    assert_eq!(printed, format!("circuit breaker {name:?} is forced open"));
    assert!(!printed.contains('\n') && !printed.contains('\u{1b}'));
}

/// What `thiserror` derives for `#[error(transparent)]`.
#[derive(Debug)]
struct Transparent(Rejected);

impl fmt::Display for Transparent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl StdError for Transparent {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source()
    }
}

#[test]
fn a_rejection_below_a_transparent_wrapper_of_a_user_is_found_and_printed_once() {
    let error = Transparent(rejected("payments"));
    assert_eq!(report(&error), REJECTED);
    assert_eq!(Rejected::find(&error).map(Rejected::name), Some("payments"));
    assert!(!is_transient(&error), "a rejection is not worth a retry");
    let boxed = Failed("no answer", Some(Box::new(error)));
    assert_eq!(report(&boxed), format!("no answer: {REJECTED}"));
    assert!(Rejected::find(&boxed).is_some());
}

/// Its source is the last of all sources, as with `anyhow::Error::root_cause`.
#[derive(Debug)]
struct WithRootCause(Transparent);

impl fmt::Display for WithRootCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no answer")
    }
}

impl StdError for WithRootCause {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        let mut cause: &(dyn StdError + 'static) = &self.0;
        while let Some(source) = cause.source() {
            cause = source;
        }
        Some(cause)
    }
}

#[test]
fn a_search_ends_in_an_error_that_looks_for_its_root_cause() {
    let error = WithRootCause(Transparent(rejected("payments")));
    assert!(Rejected::find(&error).is_some());
    assert_eq!(report(&error), format!("no answer: {REJECTED}"));
}
