//! What `.http()` and `.grpc()` set.

#[cfg(feature = "grpc")]
use super::on_grpc_end::OnGrpcEnd;
use super::{on_body_end::OnBodyEnd, wrap_body::WrapBody};
use crate::service::record_when::{Exempt, OnResponse, sealed::Sealed};

/// What `.http()` and `.grpc()` make of the setting that a layer has: each replaces what the other
/// one has set, and keeps what `.on_body_end(..)`, `.wrap_body(..)` and `.exempt(..)` have set. It
/// is sealed.
#[diagnostic::on_unimplemented(
    message = "`.http()` and `.grpc()` cannot replace the setting `{Self}`",
    label = "not known to say when outcomes are recorded",
    note = "in generic code, add the bound `{Self}: tower_breaker::body::SetPreset`"
)]
pub trait SetPreset: Sealed + Sized {
    /// The setting after `.http()`.
    type Http;
    /// The setting after `.http()`, if the watched body is wrapped.
    type HttpWrapped<F>;
    /// The setting after `.grpc()`.
    #[cfg(feature = "grpc")]
    type Grpc;

    #[doc(hidden)]
    fn set_http(self) -> Self::Http;

    #[doc(hidden)]
    fn set_http_wrapped<F>(self, wrap: F) -> Self::HttpWrapped<F>;

    #[doc(hidden)]
    #[cfg(feature = "grpc")]
    fn set_grpc(self) -> Self::Grpc;
}

/// `.http()` changes nothing, and wraps the body if that is watched.
macro_rules! kept_by_http {
    ($record_when:ty, $own:pat => $grpc:expr) => {
        impl SetPreset for $record_when {
            type Http = Self;
            type HttpWrapped<F> = WrapBody<Self, F>;
            #[cfg(feature = "grpc")]
            type Grpc = OnGrpcEnd;

            fn set_http(self) -> Self {
                self
            }

            fn set_http_wrapped<F>(self, wrap: F) -> WrapBody<Self, F> {
                WrapBody::new(self, wrap)
            }

            #[cfg(feature = "grpc")]
            fn set_grpc(self) -> OnGrpcEnd {
                let $own = self;
                $grpc
            }
        }
    };
}

kept_by_http!(OnResponse, _ => OnGrpcEnd::default());
kept_by_http!(OnBodyEnd, on_body_end => OnGrpcEnd { on_body_end });

/// `.http()` goes back to recording a response when it arrives, and then there is no body to wrap.
#[cfg(feature = "grpc")]
impl SetPreset for OnGrpcEnd {
    type Http = OnResponse;
    type HttpWrapped<F> = OnResponse;
    type Grpc = Self;

    fn set_http(self) -> OnResponse {
        OnResponse
    }

    fn set_http_wrapped<F>(self, _: F) -> OnResponse {
        OnResponse
    }

    fn set_grpc(self) -> Self {
        self
    }
}

impl<O: SetPreset, F> SetPreset for WrapBody<O, F> {
    type Http = O::HttpWrapped<F>;
    type HttpWrapped<G> = WrapBody<O::HttpWrapped<F>, G>;
    #[cfg(feature = "grpc")]
    type Grpc = WrapBody<O::Grpc, F>;

    fn set_http(self) -> Self::Http {
        self.record_when.set_http_wrapped(self.wrap)
    }

    fn set_http_wrapped<G>(self, wrap: G) -> Self::HttpWrapped<G> {
        WrapBody::new(self.set_http(), wrap)
    }

    #[cfg(feature = "grpc")]
    fn set_grpc(self) -> Self::Grpc {
        WrapBody::new(self.record_when.set_grpc(), self.wrap)
    }
}

impl<O: SetPreset, F> SetPreset for Exempt<O, F> {
    type Http = Exempt<O::Http, F>;
    type HttpWrapped<G> = Exempt<O::HttpWrapped<G>, F>;
    #[cfg(feature = "grpc")]
    type Grpc = Exempt<O::Grpc, F>;

    fn set_http(self) -> Self::Http {
        self.map(SetPreset::set_http)
    }

    fn set_http_wrapped<G>(self, wrap: G) -> Self::HttpWrapped<G> {
        self.map(|record_when| record_when.set_http_wrapped(wrap))
    }

    #[cfg(feature = "grpc")]
    fn set_grpc(self) -> Self::Grpc {
        self.map(SetPreset::set_grpc)
    }
}
