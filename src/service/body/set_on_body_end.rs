//! What `.on_body_end(..)` sets.

#[cfg(feature = "grpc")]
use super::on_grpc_end::OnGrpcEnd;
use super::{on_body_end::OnBodyEnd, wrap_body::WrapBody};
use crate::service::record_when::{Exempt, OnResponse, sealed::Sealed};

/// What `.on_body_end(..)` makes of the setting that a layer has: it keeps which requests count,
/// and how bodies are wrapped. It is sealed.
#[diagnostic::on_unimplemented(
    message = "`.on_body_end(..)` cannot replace the setting `{Self}`",
    label = "not known to say when outcomes are recorded",
    note = "in generic code, add the bound `{Self}: tower_breaker::body::SetOnBodyEnd`"
)]
pub trait SetOnBodyEnd: Sealed {
    /// The setting afterwards.
    type Output;

    #[doc(hidden)]
    fn set_on_body_end(self, on_body_end: OnBodyEnd) -> Self::Output;
}

impl SetOnBodyEnd for OnResponse {
    type Output = OnBodyEnd;

    fn set_on_body_end(self, on_body_end: OnBodyEnd) -> OnBodyEnd {
        on_body_end
    }
}

impl SetOnBodyEnd for OnBodyEnd {
    type Output = Self;

    fn set_on_body_end(self, on_body_end: OnBodyEnd) -> Self {
        on_body_end
    }
}

#[cfg(feature = "grpc")]
impl SetOnBodyEnd for OnGrpcEnd {
    type Output = Self;

    fn set_on_body_end(self, on_body_end: OnBodyEnd) -> Self {
        Self { on_body_end }
    }
}

impl<O: SetOnBodyEnd, F> SetOnBodyEnd for WrapBody<O, F> {
    type Output = WrapBody<O::Output, F>;

    fn set_on_body_end(self, on_body_end: OnBodyEnd) -> Self::Output {
        WrapBody::new(self.record_when.set_on_body_end(on_body_end), self.wrap)
    }
}

impl<O: SetOnBodyEnd, F> SetOnBodyEnd for Exempt<O, F> {
    type Output = Exempt<O::Output, F>;

    fn set_on_body_end(self, on_body_end: OnBodyEnd) -> Self::Output {
        self.map(|record_when| record_when.set_on_body_end(on_body_end))
    }
}
