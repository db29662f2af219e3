//! Requests that a browser makes for another site.

use http::{Uri, header::ORIGIN, request::Parts, uri::Authority};

use super::host::{SEC_FETCH_SITE, host_of, single};

/// Whether a browser may have made this request for another site, or cannot be asked.
///
/// Browsers say so in `Sec-Fetch-Site`, but only on https and on the local host. Otherwise they
/// send the `Origin` of the page with each `POST`. Programs send neither.
pub(super) fn is_cross_site(request: &Parts) -> bool {
    let headers = &request.headers;
    if headers.contains_key(SEC_FETCH_SITE) {
        return !matches!(single(headers, &SEC_FETCH_SITE), Some("same-origin" | "none"));
    }
    if !headers.contains_key(ORIGIN) {
        return false;
    }
    let origin = single(headers, &ORIGIN).and_then(|origin| origin.parse::<Uri>().ok());
    let origin = origin.as_ref().and_then(|origin| origin.authority()).map(Authority::as_str);
    match (origin, host_of(request)) {
        (Some(origin), Some(host)) => !origin.eq_ignore_ascii_case(host),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn is_refused(uri: &str, headers: &[(&str, &str)]) -> bool {
        let request = Request::post(uri);
        let request = headers.iter().fold(request, |all, (name, value)| all.header(*name, *value));
        is_cross_site(&request.body(()).unwrap().into_parts().0)
    }

    #[test]
    fn only_this_site_and_programs_are_let_through() {
        for (headers, refused) in [
            (&[][..], false),
            (&[("host", "a:1")], false),
            (&[("sec-fetch-site", "same-origin")], false),
            (&[("sec-fetch-site", "none")], false),
            (&[("sec-fetch-site", "same-site")], true),
            (&[("sec-fetch-site", "cross-site"), ("host", "a"), ("origin", "http://a")], true),
            (&[("sec-fetch-site", "none"), ("sec-fetch-site", "cross-site")], true),
            (&[("sec-fetch-site", "é")], true),
            (&[("host", "a:1"), ("origin", "http://a:1")], false),
            (&[("host", "A:1"), ("origin", "https://a:1")], false),
            (&[("host", "a:1"), ("origin", "http://a:2")], true),
            (&[("host", "a"), ("origin", "http://evil.a")], true),
            (&[("host", "a"), ("origin", "null")], true),
            (&[("host", "a"), ("origin", "")], true),
            (&[("host", "a"), ("origin", "http://a"), ("origin", "http://b")], true),
            (&[("origin", "http://a")], true),
        ] {
            assert_eq!(is_refused("/x", headers), refused, "{headers:?}");
        }
        assert!(!is_refused("http://a:1/x", &[("origin", "http://a:1"), ("host", "b")]));
        assert!(is_refused("http://a:1/x", &[("origin", "http://b"), ("host", "b")]));
    }
}
