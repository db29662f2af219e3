//! The mark of a rejection in the metadata of gRPC.
//!
//! A generated client turns the response to a rejected call into a status, which keeps the metadata
//! and nothing else of the response. A handler that returns this status must not open the circuit
//! of its own server, so the metadata has a token that only this process knows as its own. A
//! rejection with the token of another process comes from a server that cannot serve: a failure.

use std::{
    hash::{BuildHasher as _, RandomState},
    sync::LazyLock,
};

use http::{HeaderMap, HeaderValue};

use crate::process::Process;

pub(crate) const HEADER: &str = "tower-breaker-rejection";

static SECRET: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// A forked process has the same secret, and another token.
pub(crate) fn of_this_process() -> String {
    format!("{:016x}", SECRET.hash_one(Process::current().id()))
}

/// The token of this process as the value of a header.
pub(crate) fn header_of_this_process() -> Option<HeaderValue> {
    HeaderValue::try_from(of_this_process()).ok()
}

/// Whether this is the metadata of a rejection by a breaker of this process.
pub(crate) fn is_in(metadata: &HeaderMap) -> bool {
    metadata.get(HEADER).is_some_and(|token| token.as_bytes() == of_this_process().as_bytes())
}
