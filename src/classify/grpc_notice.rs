//! A warning for a status classifier around gRPC, where it sees no failure.

use std::{
    any::type_name,
    sync::atomic::{AtomicBool, AtomicU16, Ordering::Relaxed},
};

use http::{HeaderMap, StatusCode, header::CONTENT_TYPE};

/// The responses of this process that are still looked at. After that, a look costs one load: a
/// search for a header in each response would cost more than the rest of a healthy call.
static LEFT: AtomicU16 = AtomicU16::new(1000);

static WARNED: AtomicBool = AtomicBool::new(false);

/// Warns, once in a process, if this is a gRPC response. Those with a body of tonic are all looked
/// at until there was a warning; their type is known when this is compiled.
#[inline]
pub(super) fn look<B>(status: StatusCode, headers: &HeaderMap) {
    let looks = if type_name::<B>().starts_with("tonic::") {
        !WARNED.load(Relaxed)
    } else {
        LEFT.load(Relaxed) > 0
    };
    if looks && status == StatusCode::OK {
        look_closer(headers);
    }
}

#[cold]
fn look_closer(headers: &HeaderMap) {
    // Two threads may count one look as one: it is about as many that matters.
    LEFT.store(LEFT.load(Relaxed).saturating_sub(1), Relaxed);
    if !headers.get(CONTENT_TYPE).is_some_and(|media_type| is_grpc(media_type.as_bytes())) {
        return;
    }
    LEFT.store(0, Relaxed);
    if !WARNED.swap(true, Relaxed) {
        tracing::warn!(
            "a breaker that classifies HTTP statuses received a gRPC response: gRPC failures have \
             the HTTP status 200, so this breaker does not count them; use `.grpc()` or \
             `GrpcClassifier` (feature `grpc`) instead"
        );
    }
}

/// Whether a media type is gRPC's, with any codec. gRPC-Web is another protocol.
pub(super) fn is_grpc(media_type: &[u8]) -> bool {
    const GRPC: &[u8] = b"application/grpc";
    let Some((start, rest)) = media_type.split_at_checked(GRPC.len()) else { return false };
    start.eq_ignore_ascii_case(GRPC) && matches!(rest.first(), None | Some(b'+' | b';' | b' '))
}
