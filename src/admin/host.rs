//! The host that a request is for.
//!
//! A page of another site can have the name of its own host point to this address while it is open
//! in a browser (DNS rebinding). Its requests are then of the same origin for the browser, and only
//! the name of the host tells them apart. What cannot be made to point elsewhere is safe: an IP
//! address, the local host, and a name behind https, for which that site has no certificate.

use std::{net::IpAddr, sync::Arc};

use http::{
    HeaderMap, HeaderName, StatusCode,
    header::{ACCEPT_LANGUAGE, HOST, ORIGIN},
    request::Parts,
    uri::Authority,
};

use super::problem::Problem;

/// Browsers send it on https and to the local host only, and no page can set it.
pub(super) const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The hosts for which requests are answered, besides IP addresses and the local host.
#[derive(Debug, Clone, Default)]
pub(super) enum Hosts {
    /// Any, but on plain http not for a browser.
    #[default]
    Default,
    Any,
    /// In lowercase, with or without a port.
    Listed(Arc<[String]>),
}

impl Hosts {
    pub(super) fn listed<'a>(hosts: impl IntoIterator<Item = &'a str>) -> Self {
        let hosts: Vec<_> = hosts.into_iter().map(str::to_ascii_lowercase).collect();
        if hosts.iter().any(|host| host == "*") { Self::Any } else { Self::Listed(hosts.into()) }
    }

    pub(super) fn check(&self, request: &Parts) -> Result<(), Problem> {
        if matches!(self, Self::Any) || !has_host(request) {
            // Every browser says a host.
            return Ok(());
        }
        let host = host_of(request).and_then(|host| host.parse::<Authority>().ok());
        let Some(host) = host else {
            return Err(Problem::bad_request("the request names no host, or several"));
        };
        let name = host.host().trim_end_matches('.').to_ascii_lowercase();
        if is_fixed(&name) || self.has(&name, host.port_u16(), &request.headers) {
            return Ok(());
        }
        let detail = format!(
            "this service does not answer for the host \"{name}\"; the program has to allow it \
             (Admin::allowed_hosts)"
        );
        Err(Problem::new(StatusCode::MISDIRECTED_REQUEST, detail))
    }

    fn has(&self, name: &str, port: Option<u16>, headers: &HeaderMap) -> bool {
        match self {
            Self::Any => true,
            Self::Default => !is_of_browser(headers) || headers.contains_key(SEC_FETCH_SITE),
            Self::Listed(hosts) => {
                let with_port = port.map(|port| format!("{name}:{port}"));
                hosts.iter().any(|host| host == name || Some(host) == with_port.as_ref())
            }
        }
    }
}

/// Whether a browser may have sent these headers. A page can set the first one, but not leave it
/// out.
fn is_of_browser(headers: &HeaderMap) -> bool {
    headers.contains_key(ACCEPT_LANGUAGE) || headers.contains_key(ORIGIN)
}

/// Whether the owner of a domain cannot have this host point elsewhere.
fn is_fixed(name: &str) -> bool {
    let address = name.trim_start_matches('[').trim_end_matches(']');
    name == "localhost" || name.ends_with(".localhost") || address.parse::<IpAddr>().is_ok()
}

fn has_host(request: &Parts) -> bool {
    request.uri.authority().is_some() || request.headers.contains_key(HOST)
}

/// The host of a request, with its port. `None` if there is none, or more than one.
pub(super) fn host_of(request: &Parts) -> Option<&str> {
    // HTTP/2 has the host in the URI.
    let host = request.uri.authority().map(Authority::as_str);
    host.or_else(|| single(&request.headers, &HOST))
}

/// The value of a header that is there once.
pub(super) fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).into_iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    value.to_str().ok()
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn status(hosts: &Hosts, uri: &str, headers: &[(&str, &str)]) -> u16 {
        let request = Request::get(uri);
        let request = headers.iter().fold(request, |all, (name, value)| all.header(*name, *value));
        let checked = hosts.check(&request.body(()).unwrap().into_parts().0);
        checked.map_or_else(|problem| problem.status(), |()| 200)
    }

    const BROWSER: (&str, &str) = ("accept-language", "en");

    #[test]
    fn by_default_a_browser_on_plain_http_is_answered_only_for_hosts_that_cannot_be_repointed() {
        let hosts = Hosts::default();
        for (host, expected) in [
            ("127.0.0.1:3000", 200),
            ("10.1.2.3", 200),
            ("[::1]:3000", 200),
            ("[2001:db8::1]", 200),
            ("localhost", 200),
            ("LocalHost.:3000", 200),
            ("breakers.localhost:3000", 200),
            ("evil.example", 421),
            ("evil.example:3000", 421),
            ("localhost.evil.example", 421),
            ("127.0.0.1.evil.example", 421),
            ("notlocalhost", 421),
            ("", 400),
            ("a b", 400),
            ("é", 400),
        ] {
            assert_eq!(status(&hosts, "/", &[("host", host), BROWSER]), expected, "{host:?}");
        }
        let evil = ("host", "evil.example");
        for (headers, expected) in [
            (&[][..], 200),                                             // HTTP/1.0
            (&[evil], 200),                                             // a program
            (&[evil, ("sec-fetch-site", "same-origin"), BROWSER], 200), // by https
            (&[evil, ("accept-language", "")], 421),
            (&[evil, ("origin", "http://evil.example")], 421),
            (&[evil, ("host", "127.0.0.1"), BROWSER], 400),
        ] {
            assert_eq!(status(&hosts, "/", headers), expected, "{headers:?}");
        }
        // The URI comes first, as in HTTP/2.
        assert_eq!(status(&hosts, "http://evil.example/", &[("host", "localhost"), BROWSER]), 421);
        assert_eq!(status(&hosts, "http://localhost/", &[evil, BROWSER]), 200);
    }

    #[test]
    fn with_a_list_no_other_name_is_answered_not_even_for_a_program() {
        let hosts = Hosts::listed(["Ops.example", "other.example:8443"]);
        for (host, expected) in [
            ("ops.example", 200),
            ("OPS.example.:80", 200),
            ("other.example:8443", 200),
            ("other.example:443", 421),
            ("other.example", 421),
            ("x.ops.example", 421),
            ("10.0.0.1:3000", 200),
            ("localhost", 200),
        ] {
            for headers in [&[("host", host)][..], &[("host", host), BROWSER]] {
                assert_eq!(status(&hosts, "/", headers), expected, "{headers:?}");
            }
        }
        let by_https = [("host", "evil.example"), ("sec-fetch-site", "same-origin")];
        assert_eq!(status(&hosts, "/", &by_https), 421);
        assert_eq!(status(&Hosts::listed([]), "/", &[("host", "ops.example")]), 421);
    }

    #[test]
    fn a_star_allows_any_host() {
        let hosts = Hosts::listed(["ops.example", "*"]);
        assert_eq!(status(&hosts, "/", &[("host", "evil.example"), BROWSER]), 200);
    }
}
