//! Outcomes that are known when the body of a response has ended.
//!
//! [`OnBodyEnd`] says so on a layer, and the responses then have a [`ResponseBody`].

mod awaited;
mod length;
mod on_body_end;
#[cfg(feature = "grpc")]
mod on_grpc_end;
mod open_call;
mod pending;
mod presets;
#[cfg(feature = "reqwest")]
mod reqwest;
mod response_body;
mod set_on_body_end;
mod stall;
mod wrap_body;

pub use on_body_end::{OnBodyEnd, SlowUntil};
#[cfg(feature = "grpc")]
#[cfg_attr(docsrs, doc(cfg(feature = "grpc")))]
pub use on_grpc_end::OnGrpcEnd;
pub use presets::SetPreset;
pub use response_body::ResponseBody;
pub use set_on_body_end::SetOnBodyEnd;
pub use wrap_body::WrapBody;
