use http::{HeaderMap, Response, header::CONTENT_LENGTH};
use http_body::Body;

/// How many bytes a body is to have.
#[derive(Debug, Clone, Copy)]
pub(super) enum Length {
    Unknown,
    /// The body says so itself.
    Known(u64),
    /// The head of the response says so, of a body that does not know.
    Announced(u64),
}

impl Length {
    pub(super) fn of<B: Body>(response: &Response<B>) -> Self {
        match response.body().size_hint().exact() {
            Some(length) => Self::Known(length),
            None => announced(response.headers()).map_or(Self::Unknown, Self::Announced),
        }
    }

    /// Whether no byte is missing. A reader who knows the length asks for nothing after it.
    pub(super) fn is_reached(self, received: u64) -> bool {
        match self {
            Self::Unknown => false,
            Self::Known(length) | Self::Announced(length) => received >= length,
        }
    }

    /// Whether a body that ends here ends early.
    pub(super) fn is_missed(self, received: u64) -> bool {
        match self {
            Self::Unknown => false,
            Self::Known(length) => received < length,
            // The answer to a HEAD request announces a length of which nothing comes.
            Self::Announced(length) => 0 < received && received < length,
        }
    }
}

fn announced(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}
