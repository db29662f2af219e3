//! What tonic's generated clients return.

use tonic::{Response, Status};

use super::{classifier::GrpcClassifier, code::GrpcCode};
use crate::{classify::classifier::Classify, outcome::Outcome};

/// Classifies a [`Status`] by its code and its metadata, and an `Ok` as a success, also if it is a
/// stream that has only begun. For [`Breaker::call_with`](crate::Breaker::call_with):
///
/// ```
/// use tonic::{Request, Response, Status};
/// use tower_breaker::{Breaker, classify::GrpcClassifier};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # struct Client;
/// # impl Client {
/// #     async fn count(&mut self, _: Request<()>) -> Result<Response<u32>, Status> {
/// #         Err(Status::not_found("no such item"))
/// #     }
/// # }
/// # let mut client = Client;
/// let breaker = Breaker::builder("stock").build()?;
/// let answer = breaker.call_with(GrpcClassifier::new(), client.count(Request::new(()))).await;
/// // The item is not found: the dependency works.
/// assert!(answer.is_err());
/// assert_eq!(breaker.stats().consecutive_failures(), 0);
/// # Ok(())
/// # }
/// ```
impl<M> Classify<Response<M>, Status> for GrpcClassifier {
    fn classify(&self, result: &Result<Response<M>, Status>) -> Outcome {
        let Err(status) = result else { return Outcome::Success };
        if self.outcome_of_error(status) == Outcome::Ignore {
            return Outcome::Ignore;
        }
        let number = u8::try_from(i32::from(status.code())).ok();
        let code = number.and_then(GrpcCode::from_number).unwrap_or(GrpcCode::Unknown);
        self.classify_code(code, status.metadata().as_ref())
    }
}
