use std::fmt;

use http::{HeaderMap, StatusCode};

/// A gRPC status code: [the spec's seventeen](https://grpc.io/docs/guides/status-codes/).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum GrpcCode {
    /// The call succeeded.
    Ok = 0,
    /// The call was cancelled, usually by its caller.
    Cancelled = 1,
    /// An unspecified failure; also a status that is missing or cannot be read.
    Unknown = 2,
    /// The request is invalid, whatever the state of the system.
    InvalidArgument = 3,
    /// The deadline passed before the call completed.
    DeadlineExceeded = 4,
    /// The requested entity does not exist.
    NotFound = 5,
    /// The entity to be created exists already.
    AlreadyExists = 6,
    /// The caller is identified and lacks permission.
    PermissionDenied = 7,
    /// A quota or a resource is exhausted.
    ResourceExhausted = 8,
    /// The system is not in the state that the call requires.
    FailedPrecondition = 9,
    /// The call was aborted, for example by a conflict with another one.
    Aborted = 10,
    /// The request goes beyond the valid range.
    OutOfRange = 11,
    /// The server does not implement the method.
    Unimplemented = 12,
    /// An invariant of the server is broken.
    Internal = 13,
    /// The service is temporarily unavailable.
    Unavailable = 14,
    /// Data is lost or corrupted.
    DataLoss = 15,
    /// The caller has no valid credentials.
    Unauthenticated = 16,
}

const NAMES: [(GrpcCode, &str); 17] = [
    (GrpcCode::Ok, "OK"),
    (GrpcCode::Cancelled, "CANCELLED"),
    (GrpcCode::Unknown, "UNKNOWN"),
    (GrpcCode::InvalidArgument, "INVALID_ARGUMENT"),
    (GrpcCode::DeadlineExceeded, "DEADLINE_EXCEEDED"),
    (GrpcCode::NotFound, "NOT_FOUND"),
    (GrpcCode::AlreadyExists, "ALREADY_EXISTS"),
    (GrpcCode::PermissionDenied, "PERMISSION_DENIED"),
    (GrpcCode::ResourceExhausted, "RESOURCE_EXHAUSTED"),
    (GrpcCode::FailedPrecondition, "FAILED_PRECONDITION"),
    (GrpcCode::Aborted, "ABORTED"),
    (GrpcCode::OutOfRange, "OUT_OF_RANGE"),
    (GrpcCode::Unimplemented, "UNIMPLEMENTED"),
    (GrpcCode::Internal, "INTERNAL"),
    (GrpcCode::Unavailable, "UNAVAILABLE"),
    (GrpcCode::DataLoss, "DATA_LOSS"),
    (GrpcCode::Unauthenticated, "UNAUTHENTICATED"),
];

impl GrpcCode {
    /// The code with this number; `None` for a number that the specification does not define.
    ///
    /// ```
    /// use tower_breaker::classify::GrpcCode;
    ///
    /// assert_eq!(GrpcCode::from_number(14), Some(GrpcCode::Unavailable));
    /// assert_eq!(GrpcCode::from_number(17), None);
    /// assert_eq!(GrpcCode::Unavailable.number(), 14);
    /// assert_eq!(GrpcCode::Unavailable.to_string(), "UNAVAILABLE");
    /// ```
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        if (number as usize) < NAMES.len() { Some(NAMES[number as usize].0) } else { None }
    }

    /// The code's number on the wire.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The code's name in the specification.
    #[must_use]
    pub const fn name(self) -> &'static str {
        NAMES[self as usize].1
    }

    pub(super) fn all() -> impl Iterator<Item = Self> {
        NAMES.into_iter().map(|(code, _)| code)
    }

    /// The `grpc-status` in these headers or trailers. A value that is not a code is `Unknown`.
    pub(super) fn find(headers: &HeaderMap) -> Option<Self> {
        Some(Self::parse(headers.get("grpc-status")?.as_bytes()))
    }

    /// Decimal without leading zeros. Clients take anything else for `Unknown` too.
    fn parse(value: &[u8]) -> Self {
        let number = match *value {
            [ones @ b'0'..=b'9'] => ones - b'0',
            [b'1', ones @ b'0'..=b'9'] => 10 + (ones - b'0'),
            _ => return Self::Unknown,
        };
        Self::from_number(number).unwrap_or(Self::Unknown)
    }

    /// The code for the outcome of a response without a `grpc-status`, from its HTTP status.
    ///
    /// It is that of the specification's [HTTP to gRPC Status Code Mapping][table], which is for
    /// callers, except for the statuses that it maps to a failure and that are none to the
    /// classifiers of HTTP: 400, 413 and 431 are the problem of the request, 429 is a throttled
    /// call. (Others that are not mapped, such as a 405, show that no gRPC server is there.)
    ///
    /// [table]: https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md
    pub(super) fn of_http(status: StatusCode) -> Self {
        match status.as_u16() {
            400 | 413 | 431 => Self::InvalidArgument,
            401 => Self::Unauthenticated,
            403 => Self::PermissionDenied,
            404 => Self::Unimplemented,
            429 => Self::ResourceExhausted,
            502..=504 => Self::Unavailable,
            _ => Self::Unknown,
        }
    }
}

impl fmt::Display for GrpcCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Converts a code of tonic, for code without a tower service:
///
/// ```
/// use tonic::Status;
/// use tower_breaker::{Breaker, classify::GrpcClassifier};
///
/// # fn call() -> Result<(), Status> { Err(Status::unavailable("gone")) }
/// # fn example(breaker: &Breaker) -> Result<(), Box<dyn std::error::Error>> {
/// let permit = breaker.try_acquire()?;
/// match call() {
///     Ok(_) => permit.success(),
///     Err(status) => {
///         let codes = GrpcClassifier::new();
///         let metadata = status.metadata().as_ref();
///         permit.finish(codes.classify_code(status.code().into(), metadata));
///     }
/// }
/// # Ok(())
/// # }
/// # let breaker = Breaker::builder("stock").build().unwrap();
/// # example(&breaker).unwrap();
/// # assert_eq!(breaker.stats().consecutive_failures(), 1);
/// ```
#[cfg(feature = "tonic")]
#[cfg_attr(docsrs, doc(cfg(feature = "tonic")))]
impl From<tonic::Code> for GrpcCode {
    fn from(code: tonic::Code) -> Self {
        u8::try_from(i32::from(code)).ok().and_then(Self::from_number).unwrap_or(Self::Unknown)
    }
}

/// One gRPC code or several: a [`GrpcCode`], or an array or a slice of them.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a set of gRPC codes",
    note = "pass a `GrpcCode`, or an array or a slice of them; a `tonic::Code` converts with \
            `.into()` (feature `tonic`)"
)]
pub trait GrpcCodes: sealed::Sealed {
    #[doc(hidden)]
    fn each(self, take: &mut dyn FnMut(GrpcCode));
}

impl GrpcCodes for GrpcCode {
    fn each(self, take: &mut dyn FnMut(GrpcCode)) {
        take(self);
    }
}

impl<const N: usize> GrpcCodes for [GrpcCode; N] {
    fn each(self, take: &mut dyn FnMut(GrpcCode)) {
        self.into_iter().for_each(take);
    }
}

impl GrpcCodes for &[GrpcCode] {
    fn each(self, take: &mut dyn FnMut(GrpcCode)) {
        self.iter().copied().for_each(take);
    }
}

mod sealed {
    use super::GrpcCode;

    pub trait Sealed {}
    impl Sealed for GrpcCode {}
    impl<const N: usize> Sealed for [GrpcCode; N] {}
    impl Sealed for &[GrpcCode] {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_is_at_its_number() {
        for (number, (code, name)) in NAMES.into_iter().enumerate() {
            assert_eq!(usize::from(code.number()), number);
            assert_eq!(GrpcCode::parse(number.to_string().as_bytes()), code);
            assert_eq!(code.name(), name);
            #[cfg(feature = "tonic")]
            assert_eq!(GrpcCode::from(tonic::Code::from(i32::from(code.number()))), code);
            let name = name.replace('_', "").to_lowercase();
            assert_eq!(format!("{code:?}").to_lowercase(), name);
        }
    }

    #[test]
    fn what_is_no_code_is_unknown() {
        for value in ["", "17", "19", "20", "99", "00", "01", "014", "+1", "-1", " 0", "0 ", "OK"] {
            assert_eq!(GrpcCode::parse(value.as_bytes()), GrpcCode::Unknown, "{value:?}");
        }
        assert_eq!(GrpcCode::parse(b"\xff"), GrpcCode::Unknown);
    }
}
