//! How long a gRPC server asks its client to wait before the next call.

use std::time::Duration;

use base64::{
    Engine,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use http::HeaderMap;

use super::{
    super::retry_after::LONGEST,
    wire::{Malformed, Value, fields},
};

/// The header `grpc-retry-pushback-ms`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pushback {
    /// The header is missing.
    Missing,
    /// The client should not retry. No time is given.
    Never,
    After(Duration),
}

impl Pushback {
    /// A number of milliseconds; a negative or invalid value means never ([gRPC proposal A6]).
    ///
    /// [gRPC proposal A6]: https://github.com/grpc/proposal/blob/master/A6-client-retries.md
    pub(super) fn find(headers: &HeaderMap) -> Self {
        let Some(value) = headers.get("grpc-retry-pushback-ms") else { return Self::Missing };
        let digits = value.to_str().unwrap_or_default();
        // `parse` accepts a plus sign too.
        let milliseconds = digits.parse::<i32>().ok().filter(|_| !digits.starts_with('+'));
        match milliseconds.and_then(|milliseconds| u64::try_from(milliseconds).ok()) {
            Some(milliseconds) => Self::After(Duration::from_millis(milliseconds).min(LONGEST)),
            None => Self::Never,
        }
    }

    /// This pushback, or another one if it is missing.
    pub(super) fn or(self, other: Self) -> Self {
        if self == Self::Missing { other } else { self }
    }
}

/// The delay that this pushback asks for, or else the metadata.
pub(super) fn delay_of(pushback: Pushback, metadata: &HeaderMap) -> Option<Duration> {
    match pushback {
        Pushback::Missing => retry_info(metadata),
        Pushback::Never => None,
        Pushback::After(delay) => Some(delay),
    }
}

/// The delay of the `google.rpc.RetryInfo` in a status's details.
fn retry_info(headers: &HeaderMap) -> Option<Duration> {
    let values = headers.get_all("grpc-status-details-bin");
    // One header can contain several values.
    let mut values = values.iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    values.find_map(|value| in_status(&decode(value.trim_ascii())?).ok()?)
}

/// Longer details are ignored. Most clients accept 8 KiB of headers.
const LONGEST_DETAILS: usize = 32 * 1024;

/// Padding is optional in the specification.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

fn decode(value: &[u8]) -> Option<Vec<u8>> {
    (value.len() <= LONGEST_DETAILS).then(|| BASE64.decode(value).ok())?
}

/// Searches a `google.rpc.Status`. Its third field, `details`, has the type `google.protobuf.Any`.
fn in_status(status: &[u8]) -> Result<Option<Duration>, Malformed> {
    for field in fields(status) {
        if let (3, Value::Bytes(detail)) = field?
            && let Some(delay) = in_detail(detail)?
        {
            return Ok(Some(delay));
        }
    }
    Ok(None)
}

/// Reads a `google.protobuf.Any`: the name of a type, and a message of that type.
fn in_detail(detail: &[u8]) -> Result<Option<Duration>, Malformed> {
    let (mut name, mut message): (&[u8], &[u8]) = (&[], &[]);
    for field in fields(detail) {
        match field? {
            (1, Value::Bytes(bytes)) => name = bytes,
            (2, Value::Bytes(bytes)) => message = bytes,
            _ => {}
        }
    }
    // The part before the slash is the location of the type's description.
    let is_retry_info = name.rsplit(|byte| *byte == b'/').next() == Some(b"google.rpc.RetryInfo");
    if is_retry_info { in_retry_info(message) } else { Ok(None) }
}

/// Reads a `google.rpc.RetryInfo`. Its only field is a `google.protobuf.Duration`.
fn in_retry_info(message: &[u8]) -> Result<Option<Duration>, Malformed> {
    let mut delay = None;
    for field in fields(message) {
        if let (1, Value::Bytes(duration)) = field? {
            delay = duration_of(duration)?;
        }
    }
    Ok(delay)
}

/// Reads seconds and nanoseconds. An invalid or negative duration is ignored.
fn duration_of(message: &[u8]) -> Result<Option<Duration>, Malformed> {
    let (mut seconds, mut nanos) = (0, 0);
    for field in fields(message) {
        match field? {
            (1, Value::Varint(value)) => seconds = value.cast_signed(),
            (2, Value::Varint(value)) => nanos = value.cast_signed(),
            _ => {}
        }
    }
    let whole = u64::try_from(seconds).ok().map(Duration::from_secs);
    let part = u32::try_from(nanos).ok().filter(|nanos| *nanos < 1_000_000_000);
    let sum = whole.zip(part).map(|(whole, nanos)| {
        whole.saturating_add(Duration::from_nanos(nanos.into())).min(LONGEST)
    });
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::{STANDARD as PADDED, STANDARD_NO_PAD as UNPADDED};
    use http::HeaderValue;
    use proptest::prelude::*;
    use prost::Message;
    use tonic_types::pb;

    use super::*;

    fn pushback(value: &'static [u8]) -> Pushback {
        let value = HeaderValue::from_bytes(value).expect("a header");
        Pushback::find(&HeaderMap::from_iter([(
            http::HeaderName::from_static("grpc-retry-pushback-ms"),
            value,
        )]))
    }

    #[test]
    fn a_pushback_is_a_number_of_milliseconds_or_never() {
        assert_eq!(Pushback::find(&HeaderMap::new()), Pushback::Missing);
        assert_eq!(pushback(b"0"), Pushback::After(Duration::ZERO));
        assert_eq!(pushback(b"1500"), Pushback::After(Duration::from_millis(1500)));
        assert_eq!(pushback(b"86400001"), Pushback::After(LONGEST));
        assert_eq!(pushback(b"2147483647"), Pushback::After(LONGEST));
        for value in [b"-1".as_slice(), b"2147483648", b"", b"+1", b"1.5", b"soon", b"\xff1", b"1 "]
        {
            assert_eq!(pushback(value), Pushback::Never, "{value:?}");
        }
    }

    fn retry_info_of(delay: Option<prost_types::Duration>) -> prost_types::Any {
        prost_types::Any {
            type_url: "type.googleapis.com/google.rpc.RetryInfo".into(),
            value: pb::RetryInfo { retry_delay: delay }.encode_to_vec(),
        }
    }

    fn debug_info() -> prost_types::Any {
        let info = pb::DebugInfo { stack_entries: vec!["main".into(); 3], detail: "busy".into() };
        prost_types::Any {
            type_url: "type.googleapis.com/google.rpc.DebugInfo".into(),
            value: info.encode_to_vec(),
        }
    }

    fn status(details: Vec<prost_types::Any>) -> Vec<u8> {
        pb::Status { code: 14, message: "no room: größer".into(), details }.encode_to_vec()
    }

    fn details(values: &[String]) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append("grpc-status-details-bin", value.parse().expect("a header"));
        }
        retry_info(&headers)
    }

    fn asked(seconds: i64, nanos: i32) -> Option<Duration> {
        let delay = retry_info_of(Some(prost_types::Duration { seconds, nanos }));
        in_status(&status(vec![debug_info(), delay])).expect("a message")
    }

    #[test]
    fn a_retry_info_is_found_among_other_details() {
        assert_eq!(asked(0, 0), Some(Duration::ZERO));
        assert_eq!(asked(3, 500_000_000), Some(Duration::from_millis(3500)));
        assert_eq!(asked(i64::MAX, 999_999_999), Some(LONGEST));
        assert_eq!(in_status(&status(vec![debug_info()])), Ok(None));
        assert_eq!(in_status(&status(vec![retry_info_of(None), debug_info()])), Ok(None));
        assert_eq!(in_status(&[]), Ok(None));
    }

    #[test]
    fn a_time_that_is_none_says_nothing() {
        for (seconds, nanos) in [(-1, 0), (i64::MIN, 0), (1, -1), (1, 1_000_000_000), (0, i32::MIN)]
        {
            assert_eq!(asked(seconds, nanos), None, "{seconds} s and {nanos} ns");
        }
    }

    #[test]
    fn base64_is_taken_with_padding_and_without_and_joined_by_commas() {
        let time = Some(prost_types::Duration { seconds: 7, nanos: 0 });
        let mut lengths = [false; 3];
        for filling in 0..3 {
            let mut detail = debug_info();
            detail.type_url.push_str(&"x".repeat(filling));
            let status = status(vec![detail, retry_info_of(time)]);
            lengths[status.len() % 3] = true;
            let seven = Some(Duration::from_secs(7));
            assert_eq!(details(&[PADDED.encode(&status)]), seven);
            assert_eq!(details(&[UNPADDED.encode(&status)]), seven);
            let other = UNPADDED.encode(self::status(vec![debug_info()]));
            assert_eq!(details(&[format!("{other}, {}", UNPADDED.encode(&status))]), seven);
            assert_eq!(details(&[other, UNPADDED.encode(&status)]), seven);
        }
        assert_eq!(lengths, [true; 3]);
        assert_eq!(details(&["*".into()]), None);
        assert_eq!(details(&[]), None);
    }

    #[test]
    fn what_is_too_long_is_not_looked_at() {
        let mut detail = debug_info();
        detail.value = vec![0; LONGEST_DETAILS];
        let time = Some(prost_types::Duration { seconds: 7, nanos: 0 });
        let status = status(vec![retry_info_of(time), detail]);
        assert_eq!(details(&[UNPADDED.encode(status)]), None);
    }

    proptest! {
        #[test]
        fn random_bytes_and_headers_do_no_harm(
            bytes in prop::collection::vec(any::<u8>(), 0..256),
            header in prop::collection::vec(0x20_u8..0xff, 0..256),
        ) {
            let _ = in_status(&bytes);
            let _ = in_detail(&bytes);
            let _ = in_retry_info(&bytes);
            let _ = duration_of(&bytes);
            let mut headers = HeaderMap::new();
            if let Ok(value) = HeaderValue::from_bytes(&header) {
                headers.insert("grpc-status-details-bin", value.clone());
                headers.insert("grpc-retry-pushback-ms", value);
            }
            let _ = retry_info(&headers);
            let _ = Pushback::find(&headers);
        }

        #[test]
        fn a_message_reads_as_prost_reads_it_and_cut_short_it_never_says_another_time(
            seconds in 0_i64..100_000,
            nanos in 0..1_000_000_000,
            others in 0_usize..3,
            first in any::<bool>(),
            flipped in any::<prop::sample::Index>(),
            with in any::<u8>(),
        ) {
            let mut details = vec![debug_info(); others];
            let delay = retry_info_of(Some(prost_types::Duration { seconds, nanos }));
            details.insert(if first { 0 } else { others }, delay);
            let mut message = status(details);
            let nanos = u32::try_from(nanos).expect("not negative");
            let time = Duration::new(seconds.unsigned_abs(), nanos).min(LONGEST);
            prop_assert_eq!(in_status(&message), Ok(Some(time)));
            for length in 0..message.len() {
                let cut = in_status(&message[..length]).ok().flatten();
                prop_assert!(cut.is_none() || cut == Some(time));
            }
            let flipped = flipped.index(message.len());
            message[flipped] ^= with;
            let said = in_status(&message).ok().flatten();
            prop_assert!(said.is_none_or(|said| said <= LONGEST));
        }
    }
}
