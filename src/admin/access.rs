//! Who may change breakers.

use std::{fmt, sync::Arc};

use http::{HeaderMap, header::AUTHORIZATION, request::Parts};
use subtle::ConstantTimeEq as _;

use super::problem::Problem;

/// Who may change breakers.
#[derive(Clone, Default)]
pub(super) enum Access {
    #[default]
    ReadOnly,
    Token(Arc<[u8]>),
    Guard(Arc<dyn Fn(&Parts) -> bool + Send + Sync>),
}

impl Access {
    /// How the page asks for permission: with nothing, with a token, or not at all.
    pub(super) const fn as_str(&self) -> &'static str {
        match self {
            Self::ReadOnly => "read_only",
            Self::Token(_) => "token",
            Self::Guard(_) => "guard",
        }
    }

    pub(super) fn check(&self, request: &Parts) -> Result<(), Problem> {
        match self {
            Self::ReadOnly => Err(Problem::forbidden("this service is read-only")),
            Self::Token(token) => {
                let given = bearer(&request.headers).ok_or(Problem::unauthorized(
                    "a change needs the header \"Authorization: Bearer <token>\"",
                ))?;
                // An empty token is none. The length of a token is not secret.
                let is_it = !token.is_empty() && bool::from(given.ct_eq(token));
                if is_it { Ok(()) } else { Err(Problem::unauthorized("the token is wrong")) }
            }
            Self::Guard(guard) if guard(request) => Ok(()),
            Self::Guard(_) => Err(Problem::forbidden("you may not change circuit breakers here")),
        }
    }
}

fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let mut values = headers.get_all(AUTHORIZATION).into_iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let (scheme, token) = value.as_bytes().split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then(|| token.trim_ascii())
}

/// Without the token.
impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
