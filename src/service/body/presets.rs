#[cfg(feature = "grpc")]
use super::on_grpc_end::OnGrpcEnd;
use super::{on_body_end::OnBodyEnd, wrap_body::WrapBody};
use crate::service::record_when::{OnResponse, sealed::Sealed};

/// What `.http()` and `.grpc()` make of the setting that a layer has: each replaces what the other
/// one has set, and keeps what `.on_body_end(..)` and `.wrap_body(..)` have set. It is sealed.
pub trait SetPreset: Sealed {
    /// The setting after `.http()`.
    type Http;
    /// The setting after `.grpc()`.
    #[cfg(feature = "grpc")]
    type Grpc;

    #[doc(hidden)]
    fn set_http(self) -> Self::Http;

    #[doc(hidden)]
    #[cfg(feature = "grpc")]
    fn set_grpc(self) -> Self::Grpc;
}

impl SetPreset for OnResponse {
    type Http = Self;
    #[cfg(feature = "grpc")]
    type Grpc = OnGrpcEnd;

    fn set_http(self) -> Self {
        self
    }

    #[cfg(feature = "grpc")]
    fn set_grpc(self) -> OnGrpcEnd {
        OnGrpcEnd::default()
    }
}

impl SetPreset for OnBodyEnd {
    type Http = Self;
    #[cfg(feature = "grpc")]
    type Grpc = OnGrpcEnd;

    fn set_http(self) -> Self {
        self
    }

    #[cfg(feature = "grpc")]
    fn set_grpc(self) -> OnGrpcEnd {
        OnGrpcEnd { on_body_end: self }
    }
}

/// `.http()` goes back to recording a response when it arrives.
#[cfg(feature = "grpc")]
impl SetPreset for OnGrpcEnd {
    type Http = OnResponse;
    type Grpc = Self;

    fn set_http(self) -> OnResponse {
        OnResponse
    }

    fn set_grpc(self) -> Self {
        self
    }
}

impl<F> SetPreset for WrapBody<OnResponse, F> {
    type Http = Self;
    #[cfg(feature = "grpc")]
    type Grpc = WrapBody<OnGrpcEnd, F>;

    fn set_http(self) -> Self {
        self
    }

    #[cfg(feature = "grpc")]
    fn set_grpc(self) -> Self::Grpc {
        WrapBody::new(self.record_when.set_grpc(), self.wrap)
    }
}

impl<F> SetPreset for WrapBody<OnBodyEnd, F> {
    type Http = Self;
    #[cfg(feature = "grpc")]
    type Grpc = WrapBody<OnGrpcEnd, F>;

    fn set_http(self) -> Self {
        self
    }

    #[cfg(feature = "grpc")]
    fn set_grpc(self) -> Self::Grpc {
        WrapBody::new(self.record_when.set_grpc(), self.wrap)
    }
}

/// With `.http()`, no body is watched, so there is nothing to wrap.
#[cfg(feature = "grpc")]
impl<F> SetPreset for WrapBody<OnGrpcEnd, F> {
    type Http = OnResponse;
    type Grpc = Self;

    fn set_http(self) -> OnResponse {
        OnResponse
    }

    fn set_grpc(self) -> Self {
        self
    }
}
