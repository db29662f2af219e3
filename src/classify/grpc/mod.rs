//! Classification of gRPC responses.

mod by_deadline;
mod classifier;
pub(super) mod code;
mod deadline;
mod delay;
mod eos;
mod response;
#[cfg(feature = "tonic")]
mod tonic;
#[cfg(feature = "tonic")]
mod upload;
mod wire;

pub use self::{
    by_deadline::GrpcByDeadline,
    classifier::GrpcClassifier,
    code::{GrpcCode, GrpcCodes},
    eos::GrpcEos,
};
