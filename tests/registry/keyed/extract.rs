//! The keys of requests.

use std::borrow::Cow;

use axum::{Router, body::Body, extract::MatchedPath, http::Request, routing::get};
use tower::ServiceExt as _;
use tower_breaker::{
    KeyedBreakers, KeyedCircuitBreakerLayer,
    keyed::{ByGrpcMethod, ByHost, ExtractKey},
};

fn host(uri: &str, header: Option<&str>) -> Option<String> {
    let mut request = Request::builder().uri(uri);
    if let Some(header) = header {
        request = request.header("host", header);
    }
    let request = request.body(()).unwrap();
    ByHost.extract_key(&request).map(Into::into)
}

#[test]
fn a_host_is_that_of_the_uri_or_of_the_header() {
    for (uri, header, expected) in [
        ("http://api.example.com/x", None, Some("api.example.com")),
        ("http://API.Example.com:8080/x", None, Some("api.example.com:8080")),
        ("http://user:secret@api.example.com/", None, Some("api.example.com")),
        ("http://[::1]:8080/", None, Some("[::1]:8080")),
        // One host, written in several ways.
        ("http://[::1]:80/", None, Some("[::1]")),
        ("http://API.example.com:80/", None, Some("api.example.com")),
        ("https://api.example.com:443/", None, Some("api.example.com")),
        ("http://api.example.com:443/", None, Some("api.example.com:443")),
        ("http://api.example.com:8080/", None, Some("api.example.com:8080")),
        ("http://api.example.com./", None, Some("api.example.com")),
        ("http://api.example.com.:81/", None, Some("api.example.com:81")),
        ("https://API.example.com.:443/", None, Some("api.example.com")),
        ("http://api.example.com:/", None, Some("api.example.com")),
        ("http://api.example.com:0080/", None, Some("api.example.com")),
        ("https://api.example.com:080/", None, Some("api.example.com:80")),
        ("http://api.example.com:0/", None, Some("api.example.com:0")),
        ("http://[::1]/", None, Some("[::1]")),
        ("http://[0:0::0:1]:080/", None, Some("[::1]")),
        ("http://[::ffff:10.0.0.1]/", None, Some("[::ffff:10.0.0.1]")),
        ("http://[::FFFF:a00:1]:8080/", None, Some("[::ffff:10.0.0.1]:8080")),
        ("http://127.1/", None, Some("127.1")),
        ("http://[2001:DB8::00A1]:8080/", None, Some("[2001:db8::a1]:8080")),
        ("http://user@[::1]:81/", None, Some("[::1]:81")),
        ("/x", Some("api.example.com:"), Some("api.example.com")),
        ("/x", Some("[::1]"), Some("[::1]")),
        ("/x", Some("user:secret@api.example.com:080"), Some("api.example.com:80")),
        ("/x", Some("api.example.com.:80"), Some("api.example.com:80")),
        ("/x", Some("Api.example.com:81"), Some("api.example.com:81")),
        ("http://uri.example/", Some("header.example"), Some("uri.example")),
        ("/x", None, None),
        ("/x", Some(""), None),
    ] {
        assert_eq!(host(uri, header).as_deref(), expected, "{uri} {header:?}");
    }
}

#[test]
fn a_host_that_is_not_text_is_no_key() {
    for bytes in [&b"api\xff.example"[..], b"\xc3\xa4.example"] {
        let value = http::HeaderValue::from_bytes(bytes).unwrap();
        let request = Request::builder().uri("/x").header("host", value).body(()).unwrap();
        assert_eq!(ByHost.extract_key(&request), None, "{bytes:?}");
    }
}

/// As long as a host is written in the usual way, its key is a part of the request.
#[test]
fn a_usual_host_is_not_copied() {
    for uri in ["http://api.example.com:8080/", "http://[2001:db8::a1]:8080/", "http://[::1]/"] {
        let request = Request::builder().uri(uri).body(()).unwrap();
        let key = ByHost.extract_key(&request);
        assert!(matches!(key, Some(Cow::Borrowed(_))), "{uri}");
    }
}

#[test]
fn reqwest_has_the_same_hosts() {
    for (url, expected) in [
        ("http://API.example.com/x", Some("api.example.com")),
        ("http://user:secret@api.example.com:8080/", Some("api.example.com:8080")),
        ("http://api.example.com:80/", Some("api.example.com")),
        ("https://api.example.com.:443/", Some("api.example.com")),
        ("http://api.example.com.:8080/", Some("api.example.com:8080")),
        ("http://api.example.com:/", Some("api.example.com")),
        ("http://api.example.com:0080/", Some("api.example.com")),
        ("http://[0:0::0:1]:080/", Some("[::1]")),
        ("http://[::ffff:10.0.0.1]/", Some("[::ffff:10.0.0.1]")),
        ("http://[::FFFF:a00:1]:8080/", Some("[::ffff:10.0.0.1]:8080")),
        ("http://127.1/", Some("127.0.0.1")),
        ("data:text/plain,x", None),
    ] {
        let request = reqwest::Request::new(reqwest::Method::GET, url.parse().unwrap());
        assert_eq!(ByHost.extract_key(&request).as_deref(), expected, "{url}");
    }
}

#[test]
fn a_grpc_method_is_a_path_of_two_parts() {
    for (path, expected) in [
        ("/stock.Stock/Get", Some("stock.Stock/Get")),
        ("/health", None),
        ("/a/b/c", None),
        ("//x", None),
        ("/x/", None),
    ] {
        let request = Request::builder().uri(path).body(()).unwrap();
        assert_eq!(ByGrpcMethod.extract_key(&request).as_deref(), expected, "{path}");
    }
}

#[tokio::test]
async fn a_matched_path_is_the_route_and_not_the_path() {
    let breakers = KeyedBreakers::builder("routes").build().unwrap();
    let fail = |_: MatchedPath| async { axum::http::StatusCode::INTERNAL_SERVER_ERROR };
    let router: Router = Router::new()
        .route("/users/{id}", get(fail))
        .route("/health", get(|| async { "ok" }))
        .layer(KeyedCircuitBreakerLayer::by_matched_path(breakers.clone()).http());
    let get = |path: String| {
        let request = Request::builder().uri(path).body(Body::empty()).unwrap();
        let router = router.clone();
        async move { router.oneshot(request).await.unwrap().status().as_u16() }
    };
    for id in 0..5 {
        assert_eq!(get(format!("/users/{id}")).await, 500);
    }
    assert_eq!(get("/users/6".to_owned()).await, 503);
    assert_eq!(get("/health".to_owned()).await, 200);
    assert_eq!(breakers.breakers()[0].name(), "routes:/users/{id}");
    assert_eq!(breakers.len(), 1);
}
