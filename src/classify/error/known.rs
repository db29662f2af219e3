use std::{any::Any, convert::Infallible, error::Error as StdError, io, sync::Arc};

use crate::error::{BoxError, Error, Rejected};

/// The error as one that can be searched, if its type is known.
///
/// A classifier accepts errors of any type, and Rust has no way to ask whether a type implements
/// `Error`. So the types of errors that frameworks return are tried one by one, each also shared or
/// boxed, and within the [`Error`] of one or two breakers. The compiler knows the type and drops
/// all other attempts.
#[inline]
pub(super) fn as_cause<E: 'static>(error: &E) -> Option<&(dyn StdError + 'static)> {
    let any: &dyn Any = error;
    boxed(any)
        .or_else(|| one::<Rejected>(any))
        .or_else(|| one::<Infallible>(any))
        .or_else(|| one::<io::Error>(any))
        .or_else(|| of_http(any))
}

fn one<X: StdError + 'static>(any: &dyn Any) -> Option<&(dyn StdError + 'static)> {
    plain::<X>(any).or_else(|| plain::<Box<X>>(any)).or_else(|| plain::<Arc<X>>(any))
}

fn plain<X: StdError + 'static>(any: &dyn Any) -> Option<&(dyn StdError + 'static)> {
    if let Some(error) = any.downcast_ref::<X>() {
        return Some(error);
    }
    if let Some(error) = any.downcast_ref::<Error<X>>() {
        return Some(error);
    }
    any.downcast_ref::<Error<Error<X>>>().map(|error| error as _)
}

fn boxed(any: &dyn Any) -> Option<&(dyn StdError + 'static)> {
    if let Some(error) = any.downcast_ref::<BoxError>() {
        return Some(&**error);
    }
    if let Some(error) = any.downcast_ref::<Error<BoxError>>() {
        return Some(match error {
            Error::Rejected(rejected) => rejected,
            Error::Inner(error) => &**error,
        });
    }
    if let Some(error) = any.downcast_ref::<Box<dyn StdError + Send>>() {
        return Some(&**error);
    }
    if let Some(error) = any.downcast_ref::<Box<dyn StdError>>() {
        return Some(&**error);
    }
    plain::<Arc<dyn StdError + Send + Sync>>(any)
}

#[cfg(not(feature = "http"))]
fn of_http(_: &dyn Any) -> Option<&(dyn StdError + 'static)> {
    None
}

#[cfg(feature = "http")]
fn of_http(any: &dyn Any) -> Option<&(dyn StdError + 'static)> {
    let found = one::<hyper::Error>(any)
        .or_else(|| one::<http::Error>(any))
        .or_else(|| one::<http::uri::InvalidUri>(any))
        .or_else(|| one::<http::uri::InvalidUriParts>(any));
    #[cfg(feature = "axum")]
    let found = found.or_else(|| one::<axum::Error>(any));
    #[cfg(feature = "hyper-util")]
    let found = found.or_else(|| one::<hyper_util::client::legacy::Error>(any));
    #[cfg(feature = "reqwest")]
    let found = found
        .or_else(|| one::<reqwest::Error>(any))
        .or_else(|| one::<super::request::InvalidUrl>(any));
    #[cfg(feature = "reqwest-middleware")]
    let found = found.or_else(|| one::<reqwest_middleware::Error>(any));
    #[cfg(feature = "tonic")]
    let found = found.or_else(|| one::<tonic::Status>(any));
    #[cfg(feature = "tonic-channel")]
    let found = found.or_else(|| one::<tonic::transport::Error>(any));
    found
}
