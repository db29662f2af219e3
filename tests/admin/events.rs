//! The event stream.

use axum::body::Body;
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::Value;
use tower_breaker::{
    Breaker,
    admin::{Admin, AdminBody},
};

use super::{registry, send};

pub(crate) struct Stream(AdminBody);

impl Stream {
    pub(crate) async fn open(admin: &Admin) -> Self {
        let (stream, hello) = Self::open_at(admin, "/events").await;
        assert_eq!(hello["resumed"], false);
        stream
    }

    /// The stream at this path, and its greeting.
    async fn open_at(admin: &Admin, path: &str) -> (Self, Value) {
        let response = send(admin, Request::get(path).body(Body::empty()).unwrap()).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let mut stream = Self(response.into_body());
        let (kind, hello) = stream.next().await.unwrap();
        assert_eq!(kind, "hello");
        (stream, hello)
    }

    /// The kind and the data of the next event.
    pub(crate) async fn next(&mut self) -> Option<(String, Value)> {
        let frame = self.0.frame().await?.unwrap().into_data().unwrap();
        let text = String::from_utf8(frame.to_vec()).unwrap();
        assert!(text.ends_with("\n\n"), "{text:?}");
        let field = |name: &str| {
            let mut values = text.lines().filter_map(|line| line.strip_prefix(name));
            values.next().unwrap_or_else(|| panic!("{text}")).to_owned()
        };
        Some((field("event: "), serde_json::from_str(&field("data: ")).unwrap()))
    }
}

#[tokio::test]
async fn transitions_come_with_the_breaker_as_it_is_then() {
    let registry = registry(&["payments"]);
    let list = Breaker::builder("listed").build().unwrap();
    let other = Breaker::builder("other").build().unwrap();
    for (admin, breaker) in [
        (Admin::new(&registry), registry.get("payments").unwrap()),
        (Admin::new([other, list.clone()]), list),
    ] {
        let mut stream = Stream::open(&admin).await;
        breaker.trip();
        let (kind, data) = stream.next().await.unwrap();
        assert_eq!(kind, "transition");
        assert_eq!(data["breaker"]["state"], "open");
        assert_eq!(data["event"]["from"], "closed");
        assert_eq!(data["event"]["name"], breaker.name());
        breaker.reset();
        assert_eq!(stream.next().await.unwrap().1["breaker"]["state"], "closed");
    }
}

#[tokio::test]
async fn a_name_with_line_breaks_is_one_event() {
    let registry = registry(&["a\n\nevent: bye\ndata: {}\r\n\u{2028}<script>"]);
    let admin = Admin::new(&registry);
    let mut stream = Stream::open(&admin).await;
    let breaker = registry.breakers().remove(0);
    breaker.force_open_with(tower_breaker::ManualChange::new().note("x\n\nevent: y\r"));
    let (kind, data) = stream.next().await.unwrap();
    assert_eq!((&*kind, data["breaker"]["name"].as_str()), ("transition", Some(breaker.name())));
}

#[tokio::test]
async fn a_client_that_does_not_read_is_advised_to_read_everything_again() {
    let registry = registry(&["payments"]);
    let admin = Admin::new(&registry);
    let mut stream = Stream::open(&admin).await;
    let breaker = registry.get("payments").unwrap();
    for _ in 0..3000 {
        breaker.reset();
    }
    let (kind, data) = stream.next().await.unwrap();
    assert_eq!(kind, "resync");
    assert!(data["missed"].as_u64().unwrap() >= 1976, "{data}");
    assert_eq!(stream.next().await.unwrap().0, "transition");
}

#[tokio::test(start_paused = true)]
async fn a_quiet_stream_beats_and_ends_by_itself() {
    let registry = registry(&["payments"]);
    let admin = Admin::new(&registry).max_listeners(1);
    let mut stream = Stream::open(&admin).await;
    let start = tokio::time::Instant::now();
    for _ in 0..3 {
        assert_eq!(stream.next().await.unwrap().0, "beat");
    }
    assert_eq!(start.elapsed().as_secs(), 15);
    while let Some((kind, _)) = stream.next().await {
        assert!(kind == "bye" || kind == "beat", "{kind}");
    }
    assert_eq!(start.elapsed().as_secs(), 20);
}

#[tokio::test]
async fn open_streams_can_be_ended_for_a_shutdown() {
    let registry = registry(&["payments"]);
    let admin = Admin::new(&registry);
    let mut streams = [Stream::open(&admin).await, Stream::open(&admin.clone()).await];
    admin.close_event_streams();
    for stream in &mut streams {
        assert_eq!(stream.next().await.unwrap().0, "bye");
        assert!(stream.next().await.is_none());
    }
    // A client may come back.
    drop(Stream::open(&admin).await);
}

/// Ends a stream. Returns the path of the one that follows it.
async fn end(admin: &Admin, mut stream: Stream) -> String {
    admin.close_event_streams();
    let (kind, bye) = stream.next().await.unwrap();
    assert_eq!(kind, "bye");
    assert!(stream.next().await.is_none());
    format!("/events?after={}", bye["after"].as_str().unwrap())
}

#[tokio::test]
async fn what_happens_between_two_streams_is_in_the_second_one() {
    let registry = registry(&["payments", "search"]);
    let breaker = registry.get("payments").unwrap();
    let admin = Admin::new(&registry).max_listeners(2);
    let after = end(&admin, Stream::open(&admin).await).await;
    breaker.trip();
    registry.get("search").unwrap().reset();
    let (mut stream, hello) = Stream::open_at(&admin, &after).await;
    assert_eq!(hello["resumed"], true);
    for name in ["payments", "search"] {
        let (kind, data) = stream.next().await.unwrap();
        assert_eq!((&*kind, data["event"]["name"].as_str()), ("transition", Some(name)));
    }
    // Once.
    let (_second, hello) = Stream::open_at(&admin, &after).await;
    assert_eq!(hello["resumed"], false);

    // Too much of it is advice to read everything again.
    let after = end(&admin, stream).await;
    for _ in 0..3000 {
        breaker.reset();
    }
    let (mut stream, hello) = Stream::open_at(&admin, &after).await;
    assert_eq!(hello["resumed"], true);
    assert_eq!(stream.next().await.unwrap().0, "resync");
}

#[tokio::test]
async fn as_many_ended_streams_are_kept_as_there_may_be_open_ones() {
    let registry = registry(&["payments"]);
    let admin = Admin::new(&registry).max_listeners(2);
    let mut ended = Vec::new();
    for _ in 0..3 {
        ended.push(end(&admin, Stream::open(&admin).await).await);
    }
    let mut resumed = Vec::new();
    for after in ended.iter().map(|after| &**after).chain(["/events?after=", "/events?after=%00"]) {
        resumed.push(Stream::open_at(&admin, after).await.1["resumed"] == true);
    }
    assert_eq!(resumed, [false, true, true, false, false]);
    let malformed = Request::get("/events?after=%ff").body(Body::empty()).unwrap();
    assert_eq!(send(&admin, malformed).await.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn at_most_so_many_streams_are_open_at_once() {
    let registry = registry(&["payments"]);
    let admin = Admin::new(&registry).max_listeners(2);
    let open = async || send(&admin, Request::get("/events").body(Body::empty()).unwrap()).await;
    let first = open().await;
    let second = open().await;
    let third = open().await;
    assert_eq!(
        [first.status(), second.status(), third.status()],
        [StatusCode::OK, StatusCode::OK, StatusCode::SERVICE_UNAVAILABLE]
    );
    assert!(third.headers().contains_key("retry-after"));
    // One that asks for the head only takes no place, and one that ends gives it back.
    let head = send(&admin, Request::head("/events").body(Body::empty()).unwrap()).await;
    assert_eq!(head.status(), StatusCode::OK);
    drop(first);
    assert_eq!(open().await.status(), StatusCode::OK);
}
