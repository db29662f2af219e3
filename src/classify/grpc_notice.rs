//! A warning for a classifier of statuses around gRPC, where it sees no failure; and for the
//! default one.

use std::{
    any::type_name,
    sync::atomic::{AtomicBool, AtomicU16, Ordering::Relaxed},
};

use http::{HeaderMap, StatusCode, Version};

use super::grpc_media_type::declares_grpc;
use crate::sync::log;

/// The responses of this process by HTTP/1 that are still looked at, since a response that is made
/// by hand has that version. After that, a look costs two loads: a search for a header in each
/// response would cost more than the rest of a healthy call.
static LEFT: AtomicU16 = AtomicU16::new(1000);

static WARNED: AtomicBool = AtomicBool::new(false);

/// Warns, once in a process, if this is a gRPC response. Those by HTTP/2, which gRPC needs, and
/// those with a body of tonic are all checked until there was a warning.
#[inline]
pub(super) fn warn_once_if_grpc<B>(status: StatusCode, version: Version, headers: &HeaderMap) {
    let may_be_grpc = version == Version::HTTP_2 || type_name::<B>().starts_with("tonic::");
    let looks = if may_be_grpc { !WARNED.load(Relaxed) } else { LEFT.load(Relaxed) > 0 };
    if looks && status == StatusCode::OK {
        inspect_headers(headers);
    }
}

/// Warns, once in a process, if this is the type of a tonic response: for a classifier that takes
/// any type and looks into none.
#[inline]
pub(super) fn warn_once_if_tonic_type<T>() {
    // A comparison of constants: for other types, the compiler leaves nothing of it.
    if type_name::<T>().starts_with("http::response::Response<tonic::") && !WARNED.load(Relaxed) {
        warn();
    }
}

#[cold]
fn inspect_headers(headers: &HeaderMap) {
    // Two threads may count one look as one: it is about as many that matters.
    LEFT.store(LEFT.load(Relaxed).saturating_sub(1), Relaxed);
    if declares_grpc(headers) != Some(true) {
        return;
    }
    LEFT.store(0, Relaxed);
    warn();
}

#[cold]
fn warn() {
    if !WARNED.swap(true, Relaxed) {
        log(|| {
            tracing::warn!(
                target: "tower_breaker",
                "a breaker that does not classify gRPC codes received a gRPC response: gRPC \
                 failures have the HTTP status 200, so this breaker does not count them; use \
                 `.grpc()` or `GrpcClassifier` (feature `grpc`)"
            );
        });
    }
}
