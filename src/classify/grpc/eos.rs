//! Classification of the end of a gRPC response.

use http::HeaderMap;

#[cfg(feature = "tonic")]
use super::upload::is_about_an_upload;
use super::{
    classifier::GrpcClassifier,
    code::GrpcCode,
    delay::{Pushback, delay_of},
};
use crate::{
    classify::{body::ClassifyEos, rejection_token},
    outcome::Outcome,
};

/// Classifies the trailers of a gRPC response. Created by a [`GrpcClassifier`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GrpcEos {
    classify: GrpcClassifier,
    /// The code if the trailers contain none.
    otherwise: GrpcCode,
    /// The pushback in the headers: some servers send it early.
    pushback: Pushback,
}

impl GrpcEos {
    pub(super) fn after(
        classify: GrpcClassifier,
        headers: &HeaderMap,
        otherwise: GrpcCode,
    ) -> Self {
        Self { classify, otherwise, pushback: Pushback::find(headers) }
    }
}

impl ClassifyEos for GrpcEos {
    fn classify_eos(self, trailers: Option<&HeaderMap>) -> Outcome {
        let none = HeaderMap::new();
        let trailers = trailers.unwrap_or(&none);
        let code = GrpcCode::find(trailers).unwrap_or(self.otherwise);
        let pushback = || Pushback::find(trailers).or(self.pushback);
        match self.classify.outcome(code, || delay_of(pushback(), trailers)) {
            Outcome::Success => Outcome::Success,
            // A handler passes on the rejection of another breaker, or the error of a request.
            _ if rejection_token::is_in(trailers) => Outcome::Ignore,
            _ if code == GrpcCode::Internal && is_about_an_upload(trailers) => Outcome::Ignore,
            failed => failed,
        }
    }

    fn awaits_trailers(&self) -> bool {
        true
    }
}

#[cfg(not(feature = "tonic"))]
fn is_about_an_upload(_: &HeaderMap) -> bool {
    false
}
