//! Reads the body of a request, up to a limit.

use std::{future::poll_fn, pin::pin};

use bytes::{Buf as _, BufMut as _};
use http::{HeaderMap, StatusCode, header::CONTENT_LENGTH};
use http_body::Body;

use super::problem::Problem;

/// The most bytes that the body of a request may have.
pub(super) const MAX_BODY: usize = 16 * 1024;

pub(super) async fn read_body<B: Body>(headers: &HeaderMap, body: B) -> Result<Vec<u8>, Problem> {
    let too_large = || {
        let detail = format!("the body may have at most {MAX_BODY} bytes");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail)
    };
    let stated = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    if stated.and_then(|length| length.parse().ok()).is_some_and(|length: u64| length > 16 * 1024) {
        return Err(too_large());
    }
    let mut body = pin!(body);
    let mut read = Vec::new();
    while let Some(frame) = poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
        let frame = frame.map_err(|_| Problem::bad_request("the body ended with an error"))?;
        let Ok(data) = frame.into_data() else { continue };
        if read.len() + data.remaining() > MAX_BODY {
            return Err(too_large());
        }
        read.put(data);
    }
    Ok(read)
}
