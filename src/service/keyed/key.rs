//! The key of a request.

use std::borrow::Cow;
#[cfg(feature = "http")]
use std::fmt::{self, Write as _};

/// Says by which key's breaker a request goes.
///
/// Closures implement it: they take a reference to the request and return an
/// `Option<Cow<'_, str>>`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot say the key of a `{Request}`",
    note = "pass a closure to `KeyedCircuitBreakerLayer::by_key` directly, with the type of its \
            argument: `|request: &{Request}| Some(request.uri().path().into())`"
)]
pub trait ExtractKey<Request> {
    /// Returns the key of a request, or `None` if the request has no key.
    fn extract_key<'a>(&self, request: &'a Request) -> Option<Cow<'a, str>>;
}

impl<F, Request> ExtractKey<Request> for F
where
    F: for<'a> Fn(&'a Request) -> Option<Cow<'a, str>>,
{
    #[inline]
    fn extract_key<'a>(&self, request: &'a Request) -> Option<Cow<'a, str>> {
        self(request)
    }
}

/// Extracts the host that a request is sent to, with its port if that is not the default one of the
/// scheme: `api.example.com`, `127.0.0.1:8080`.
///
/// It comes from the URI, or else from the `Host` header, in lowercase and without a dot at its
/// end, so that one host has one key, however it is written. (Without a URI that has a scheme, a
/// port is never a default one.) A header that is not text is no key. It takes `http::Request` and,
/// with the feature `reqwest`, `reqwest::Request`.
///
/// The scheme is not part of the key: `http://a.example` and `https://a.example` are both
/// `a.example`, although they are two ports. If only one of them may fail, use a closure that adds
/// the scheme. An IPv4 address in another form than four decimal numbers, such as `127.1`, is a key
/// of its own in an `http::Request`; reqwest writes it as four numbers.
#[cfg(feature = "http")]
#[cfg_attr(docsrs, doc(cfg(feature = "http")))]
#[derive(Debug, Clone, Copy, Default)]
pub struct ByHost;

#[cfg(feature = "http")]
impl<B> ExtractKey<http::Request<B>> for ByHost {
    #[inline]
    fn extract_key<'a>(&self, request: &'a http::Request<B>) -> Option<Cow<'a, str>> {
        let uri = request.uri();
        let authority = match uri.authority() {
            Some(authority) => authority.as_str(),
            None => request.headers().get(http::header::HOST)?.to_str().ok()?,
        };
        // A user and a password are not part of the host, and must not be in a name.
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        let default_port = match uri.scheme_str() {
            Some("http" | "ws") => "80",
            Some("https" | "wss") => "443",
            _ => "",
        };
        let host = canonical(host, default_port);
        (!host.is_empty()).then(|| lowercase(host))
    }
}

#[cfg(feature = "reqwest")]
impl ExtractKey<reqwest::Request> for ByHost {
    fn extract_key<'a>(&self, request: &'a reqwest::Request) -> Option<Cow<'a, str>> {
        // A parsed URL is in lowercase, and has no default port.
        let host = request.url().host_str()?;
        let host = one_address(host.strip_suffix('.').unwrap_or(host));
        Some(match request.url().port() {
            Some(port) => format!("{host}:{port}").into(),
            None => host,
        })
    }
}

/// One way to write a host and a port, of the several that there are: without the dot at the end of
/// the name, zeros before the port, and a port that says nothing.
#[cfg(feature = "http")]
#[inline]
fn canonical<'a>(host: &'a str, default_port: &str) -> Cow<'a, str> {
    let (name, port) = match host.rsplit_once(':') {
        // Not a colon of an IPv6 address.
        Some((name, port)) if !port.ends_with(']') => (name, port),
        _ => (host, ""),
    };
    if name.ends_with(['.', ']']) || port.starts_with('0') {
        return canonical_unusual(host, name, port, default_port);
    }
    let has_port = !port.is_empty() && port != default_port;
    if has_port { host.into() } else { name.into() }
}

#[cfg(feature = "http")]
#[cold]
fn canonical_unusual<'a>(
    host: &'a str,
    name: &'a str,
    port: &str,
    default_port: &str,
) -> Cow<'a, str> {
    let name = one_address(name.strip_suffix('.').unwrap_or(name));
    let port = match port.trim_start_matches('0') {
        "" if !port.is_empty() => "0",
        port => port,
    };
    if port.is_empty() || port == default_port {
        return name;
    }
    let is_canonical = host.strip_prefix(&*name).and_then(|rest| rest.strip_prefix(':'));
    if is_canonical == Some(port) { host.into() } else { format!("{name}:{port}").into() }
}

/// An IPv6 address in the way in which the standard library writes it. It allocates nothing if it
/// is written so.
#[cfg(feature = "http")]
fn one_address(name: &str) -> Cow<'_, str> {
    let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
    let Some((text, address)) =
        address.and_then(|text| Some((text, text.parse::<std::net::Ipv6Addr>().ok()?)))
    else {
        return name.into();
    };
    let mut rest = Expected(text);
    let is_same = write!(rest, "{address}").is_ok() && rest.0.is_empty();
    if is_same { name.into() } else { format!("[{address}]").into() }
}

/// Takes nothing but this text.
#[cfg(feature = "http")]
struct Expected<'a>(&'a str);

#[cfg(feature = "http")]
impl fmt::Write for Expected<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0 = self.0.strip_prefix(text).ok_or(fmt::Error)?;
        Ok(())
    }
}

#[cfg(feature = "http")]
fn lowercase(text: Cow<'_, str>) -> Cow<'_, str> {
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        text.to_ascii_lowercase().into()
    } else {
        text
    }
}

/// Extracts no key, so that every request goes by the
/// [default key](super::KeyedCircuitBreakerLayer::default_key): for a service that is one endpoint.
#[derive(Debug, Clone, Copy, Default)]
pub struct ByEndpoint;

impl<Request> ExtractKey<Request> for ByEndpoint {
    #[inline]
    fn extract_key<'a>(&self, _: &'a Request) -> Option<Cow<'a, str>> {
        None
    }
}

/// Extracts the method that a gRPC request calls: `package.Service/Method`.
#[cfg(feature = "grpc")]
#[cfg_attr(docsrs, doc(cfg(feature = "grpc")))]
#[derive(Debug, Clone, Copy, Default)]
pub struct ByGrpcMethod;

#[cfg(feature = "grpc")]
impl<B> ExtractKey<http::Request<B>> for ByGrpcMethod {
    #[inline]
    fn extract_key<'a>(&self, request: &'a http::Request<B>) -> Option<Cow<'a, str>> {
        let path = request.uri().path().strip_prefix('/')?;
        let (service, method) = path.split_once('/')?;
        let is_method = !service.is_empty() && !method.is_empty() && !method.contains('/');
        is_method.then(|| path.into())
    }
}

/// Extracts the route that an axum router has matched: `/users/{id}`.
///
/// A layer added with `Router::layer` or `Router::route_layer` sees it; one around the whole router
/// does not, and its requests have no key.
#[cfg(feature = "axum")]
#[cfg_attr(docsrs, doc(cfg(feature = "axum")))]
#[derive(Debug, Clone, Copy, Default)]
pub struct ByMatchedPath;

#[cfg(feature = "axum")]
impl<B> ExtractKey<http::Request<B>> for ByMatchedPath {
    #[inline]
    fn extract_key<'a>(&self, request: &'a http::Request<B>) -> Option<Cow<'a, str>> {
        let path = request.extensions().get::<axum::extract::MatchedPath>()?;
        Some(path.as_str().into())
    }
}
