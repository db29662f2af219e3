//! The key of a request.

use std::borrow::Cow;

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
/// end. (Without a URI that has a scheme, a port is never a default one.) It takes `http::Request`
/// and, with the feature `reqwest`, `reqwest::Request`.
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
            Some("http" | "ws") => ":80",
            Some("https" | "wss") => ":443",
            _ => ":",
        };
        let host = host.strip_suffix(default_port).unwrap_or(host);
        (!host.is_empty()).then(|| lowercase(without_dot(host)))
    }
}

#[cfg(feature = "reqwest")]
impl ExtractKey<reqwest::Request> for ByHost {
    fn extract_key<'a>(&self, request: &'a reqwest::Request) -> Option<Cow<'a, str>> {
        // A parsed URL is in lowercase, and has no default port.
        let host = request.url().host_str()?;
        let host = host.strip_suffix('.').unwrap_or(host);
        Some(match request.url().port() {
            Some(port) => format!("{host}:{port}").into(),
            None => host.into(),
        })
    }
}

/// A host without the dot at the end of its name.
#[cfg(feature = "http")]
fn without_dot(host: &str) -> Cow<'_, str> {
    if let Some((name, port)) = host.split_once(".:") {
        return format!("{name}:{port}").into();
    }
    host.strip_suffix('.').unwrap_or(host).into()
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
