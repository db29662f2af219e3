//! Requests that must not do any harm.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use axum::body::{Body, Bytes};
use http::{Request, StatusCode};
use http_body::Frame;
use tower_breaker::{State, admin::Admin};

use super::{ID, TOKEN, change, registry, send};

#[tokio::test]
async fn nothing_but_a_json_post_of_this_site_with_the_token_changes_anything() {
    let registry = registry(&["payments"]);
    let admin = Admin::new(&registry).token(TOKEN);
    let bearer = format!("Bearer {TOKEN}");
    let good = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    // Each header set, instead of or beside the good ones, with what is answered.
    let cases: &[(&[(&str, &str)], u16)] = &[
        (&[("content-type", "application/json")], 401),
        (&[("authorization", ""), good[1]], 401),
        (&[("authorization", "Bearer"), good[1]], 401),
        (&[("authorization", "Bearer "), good[1]], 401),
        (&[("authorization", "Bearer wrong"), good[1]], 401),
        (&[("authorization", "Bearer correct horse battery stapl"), good[1]], 401),
        (&[("authorization", "Bearer correct horse battery staplee"), good[1]], 401),
        (&[("authorization", "Basic correct horse battery staple"), good[1]], 401),
        (&[("authorization", TOKEN), good[1]], 401),
        (&[("authorization", "Bearer wrong"), good[0], good[1]], 401),
        (&[good[0], good[1], ("sec-fetch-site", "cross-site")], 403),
        (&[good[0], good[1], ("sec-fetch-site", "same-site")], 403),
        (&[good[0], good[1], ("host", "127.0.0.1"), ("origin", "https://evil.example")], 403),
        (&[good[0], good[1], ("host", "127.0.0.1"), ("origin", "null")], 403),
        (&[good[0]], 415),
        (&[good[0], ("content-type", "text/plain")], 415),
        (&[good[0], ("content-type", "application/x-www-form-urlencoded")], 415),
        (&[good[0], ("content-type", "text/plain; application/json")], 415),
        (&[good[0], good[1], ("content-type", "text/plain")], 415),
    ];
    for (headers, status) in cases {
        let request = Request::post(format!("/breakers/{ID}/force-open"));
        let request = headers.iter().fold(request, |all, (name, value)| all.header(*name, *value));
        let response = send(&admin, request.body(Body::from("{}")).unwrap()).await;
        assert_eq!(response.status(), *status, "{headers:?}");
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        assert_eq!(response.headers().contains_key("www-authenticate"), *status == 401);
    }
    assert_eq!(registry.get("payments").unwrap().state(), State::Closed);
    // The good headers are good.
    let headers = [good[0], ("content-type", "Application/JSON; charset=utf-8")];
    let request =
        Request::post(format!("/breakers/{ID}/force-open")).header("sec-fetch-site", "same-origin");
    let request = headers.iter().fold(request, |all, (name, value)| all.header(*name, *value));
    let response = send(&admin, request.body(Body::from("{}")).unwrap()).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(registry.get("payments").unwrap().state(), State::ForcedOpen);
}

/// A page of another site whose host name points here is of the same origin for the browser.
#[tokio::test]
async fn a_name_that_points_here_reads_and_changes_nothing_unless_it_is_allowed() {
    let registry = registry(&["payments"]);
    let admin = Admin::new(&registry).guard(|_| true);
    let to = |method: &str, path: &str, host: &str| {
        let mut request = change(path, "{}");
        *request.method_mut() = method.parse().unwrap();
        let headers = request.headers_mut();
        headers.insert("host", host.parse().unwrap());
        headers.insert("origin", format!("http://{host}").parse().unwrap());
        headers.insert("accept-language", "en".parse().unwrap());
        request
    };
    let force = format!("/breakers/{ID}/force-open");
    let reads = ["/", "/?page.js", "/breakers", "/events", "/health", "/nothing"];
    let all: Vec<_> =
        reads.map(|path| ("GET", path)).into_iter().chain([("POST", &*force)]).collect();
    for admin in [admin.clone(), admin.clone().allowed_hosts(["ops.example"])] {
        for (method, path) in &all {
            let response = send(&admin, to(method, path, "evil.example:3000")).await;
            assert_eq!(response.status(), StatusCode::MISDIRECTED_REQUEST, "{method} {path}");
            assert_eq!(response.headers()["content-type"], "application/problem+json");
        }
    }
    assert_eq!(registry.get("payments").unwrap().state(), State::Closed);
    let listed = admin.clone().allowed_hosts(["ops.example"]);
    for (admin, host) in
        [(&admin, "127.0.0.1:3000"), (&admin, "localhost"), (&listed, "ops.example")]
    {
        assert_eq!(send(admin, to("GET", "/breakers", host)).await.status(), StatusCode::OK);
        assert_eq!(send(admin, to("POST", &force, host)).await.status(), StatusCode::OK);
    }
}

/// A body of ten megabytes that counts what is read of it.
struct Large {
    left: usize,
    read: Arc<AtomicUsize>,
}

impl http_body::Body for Large {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        const CHUNK: &[u8] = &[b' '; 1024];
        if self.left == 0 {
            return Poll::Ready(None);
        }
        self.left -= CHUNK.len();
        self.read.fetch_add(CHUNK.len(), Ordering::Relaxed);
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(CHUNK)))))
    }
}

#[tokio::test]
async fn a_large_body_is_not_read_to_its_end() {
    let registry = registry(&["payments"]);
    let admin = Admin::new(&registry).token(TOKEN);
    for (stated, most) in [(true, 0), (false, 17 * 1024)] {
        let read = Arc::new(AtomicUsize::new(0));
        let large = Large { left: 10 * 1024 * 1024, read: Arc::clone(&read) };
        let mut request = change(&format!("/breakers/{ID}/force-open"), Body::new(large));
        if stated {
            request.headers_mut().insert("content-length", "10485760".parse().unwrap());
        }
        let response = send(&admin, request).await;
        assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
        assert!(read.load(Ordering::Relaxed) <= most);
    }
    // One that may not change anything is not read at all.
    let read = Arc::new(AtomicUsize::new(0));
    let large = Large { left: 10 * 1024 * 1024, read: Arc::clone(&read) };
    let request = Request::post(format!("/breakers/{ID}/reset")).body(Body::new(large)).unwrap();
    assert_eq!(send(&admin, request).await.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(read.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn odd_methods_paths_and_ids_get_the_right_statuses_and_create_nothing() {
    let registry = registry(&["payments"]);
    let admin = Admin::new(&registry).token(TOKEN);
    for (method, path, status) in [
        ("DELETE", "/breakers", 405),
        ("OPTIONS", "/breakers/cGF5bWVudHM/force-open", 405),
        ("GET", "/breakers/cGF5bWVudHM/force-open", 405),
        ("PUT", "/breakers/cGF5bWVudHM/force-open", 405),
        ("BREW", "/health", 405),
        ("POST", "/events", 405),
        ("POST", "/breakers/cGF5bWVudHN/force-open", 404), // bits that are left over
        ("POST", "/breakers/cGF5bWVudHM=/force-open", 404),
        ("POST", "/breakers/cGF5bWVudA/force-open", 404), // `payment`, a typo
        ("POST", "/breakers/payments/force-open", 404),
        ("POST", "/breakers//force-open", 404),
        ("POST", "/breakers/cGF5bWVudHM/force-close", 404),
        ("POST", "/breakers/cGF5bWVudHM/history/force-open", 404),
        ("GET", "/breakers/..%2f..%2fetc", 404),
        ("GET", "/breakers/_w", 404), // no UTF-8
        ("GET", "/../breakers", 404),
        ("GET", "/favicon.ico", 404),
    ] {
        let mut request = change(path, "{}");
        *request.method_mut() = method.parse().unwrap();
        let response = send(&admin, request).await;
        assert_eq!(response.status(), status, "{method} {path}");
        assert_eq!(response.headers().contains_key("allow"), status == 405, "{method} {path}");
    }
    let long = format!("/breakers/{}", "A".repeat(60_000));
    assert_eq!(send(&admin, change(&long, "{}")).await.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(registry.breakers().len(), 1);
    assert_eq!(registry.get("payments").unwrap().snapshot().reason, None);
}

#[tokio::test]
async fn a_stranger_does_not_learn_which_breakers_could_be_changed() {
    let admin = Admin::new(registry(&["payments"])).token(TOKEN);
    for id in [ID, "YQ"] {
        let request = Request::post(format!("/breakers/{id}/reset")).body(Body::empty()).unwrap();
        assert_eq!(send(&admin, request).await.status(), StatusCode::UNAUTHORIZED);
    }
}

#[tokio::test]
async fn a_newline_at_the_end_of_the_token_does_not_belong_to_it() {
    let registry = registry(&["payments"]);
    let admin = Admin::new(&registry).token(format!("{TOKEN}\n"));
    let path = format!("/breakers/{ID}/force-open");
    assert!(send(&admin, change(&path, "{}")).await.status().is_success());
}

#[test]
fn the_token_is_in_no_debug_output() {
    let admin = Admin::new(registry(&["payments"])).token(TOKEN);
    let shown = format!("{admin:?} {admin:#?}");
    assert!(shown.contains("payments") && !shown.contains("horse"), "{shown}");
}
