//! Reads `Retry-After`. The responses to rejected calls write it: `service::reject::response`.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, StatusCode, header::RETRY_AFTER};

use crate::clock::wall;

/// The cap on a requested time. A breaker caps it further, at the longest open time of its
/// [`Backoff`](crate::Backoff).
pub(super) const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// Returns how long an HTTP response asks its client to wait before the next call.
///
/// This is the `Retry-After` of a `429 Too Many Requests` or a `503 Service Unavailable`, in
/// seconds or as a date ([RFC 9110, section 10.2.3]); with other statuses the header means
/// something else. A past date is zero, and the time is capped at a day. `None` if the header is
/// missing or invalid.
///
/// [RFC 9110, section 10.2.3]: https://www.rfc-editor.org/rfc/rfc9110#section-10.2.3
///
/// ```
/// use std::time::Duration;
/// use http::{HeaderMap, HeaderValue, StatusCode, header::RETRY_AFTER};
/// use tower_breaker::classify::retry_after;
///
/// let headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static("120"))]);
/// let asked = retry_after(StatusCode::TOO_MANY_REQUESTS, &headers);
/// assert_eq!(asked, Some(Duration::from_secs(120)));
/// assert_eq!(retry_after(StatusCode::OK, &headers), None);
/// ```
#[must_use]
pub fn retry_after(status: StatusCode, headers: &HeaderMap) -> Option<Duration> {
    if !matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
        return None;
    }
    parse(headers.get(RETRY_AFTER)?.to_str().ok()?, wall())
}

fn parse(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    // Digits only: `parse` accepts a sign too.
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        let seconds = value.parse().unwrap_or(u64::MAX);
        return Some(Duration::from_secs(seconds).min(LONGEST));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(now).unwrap_or_default().min(LONGEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(unix: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(unix)
    }

    #[test]
    fn seconds_and_dates_are_read_and_nothing_else() {
        // 1994-11-06 08:49:37 UTC, in the three forms that RFC 9110 has.
        let now = at(784_111_777 - 60);
        let minute = Some(Duration::from_secs(60));
        let cases = [
            ("120", Some(Duration::from_secs(120))),
            (" 7 ", Some(Duration::from_secs(7))),
            ("0", Some(Duration::ZERO)),
            ("99999999999999999999999999", Some(LONGEST)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", minute),
            ("Sunday, 06-Nov-94 08:49:37 GMT", minute),
            ("Sun Nov  6 08:49:37 1994", minute),
            ("Sun, 06 Nov 1994 08:40:37 GMT", Some(Duration::ZERO)),
            ("Sat, 06 Nov 2094 08:49:37 GMT", Some(LONGEST)),
            ("", None),
            ("-1", None),
            ("+1", None),
            ("1.5", None),
            ("soon", None),
        ];
        for (value, expected) in cases {
            assert_eq!(parse(value, now), expected, "{value:?}");
        }
    }

    #[test]
    fn only_429_and_503_are_asked() {
        let headers = HeaderMap::from_iter([(RETRY_AFTER, 9.into())]);
        for status in 200..600 {
            let status = StatusCode::from_u16(status).expect("a status");
            let expected = matches!(status.as_u16(), 429 | 503).then_some(Duration::from_secs(9));
            assert_eq!(retry_after(status, &headers), expected, "{status}");
        }
    }
}
