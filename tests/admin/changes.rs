//! Changes by hand over HTTP.

use axum::body::Body;
use http::{Request, StatusCode};
use serde_json::json;
use tower_breaker::{Breaker, MemoryStore, Registry, State, admin::Admin, clock::ManualClock};

use super::{ID, TOKEN, change, get, json_of, registry, send};

#[tokio::test]
async fn each_change_sets_its_state_and_says_who_why_and_until_when() {
    let clock = ManualClock::new();
    let registry = Registry::builder().clock(clock.clone()).store(MemoryStore::new());
    let registry = registry.build().unwrap();
    let breaker = registry.get_or_create("payments").unwrap();
    let admin = Admin::new(&registry).token(TOKEN);
    for (action, state) in [
        ("force-open", State::ForcedOpen),
        ("disable", State::Disabled),
        ("metrics-only", State::MetricsOnly),
    ] {
        let body =
            json!({"note": format!("<b>{action}"), "by": "on-call", "for": "10m"}).to_string();
        let request = change(&format!("/breakers/{ID}/{action}"), body);
        let (status, answer) = json_of(send(&admin, request).await).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        let shown = &answer["breaker"];
        assert_eq!(shown["state"], state.as_str());
        assert_eq!(shown["until"], json!(1_700_000_600.0));
        assert_eq!(
            (&shown["by"], &shown["note"]),
            (&json!("on-call"), &json!(format!("<b>{action}")))
        );
        assert_eq!(breaker.state(), state);
    }
    let request = change(&format!("/breakers/{ID}/reset"), r#"{"by": "deploy"}"#);
    assert_eq!(send(&admin, request).await.status(), StatusCode::OK);
    assert_eq!(breaker.state(), State::Closed);
    let (_, page) = get(&admin, &format!("/breakers/{ID}/history")).await;
    assert_eq!(
        (&page["entries"][0]["reason"], &page["entries"][0]["by"]),
        (&json!("reset"), &json!("deploy"))
    );
    assert_eq!(
        (&page["entries"][1]["by"], &page["entries"][1]["note"]),
        (&json!("on-call"), &json!("<b>metrics-only"))
    );
    // The longest texts are kept whole.
    let (note, by) = ("\u{10ffff}".repeat(250), "\u{10ffff}".repeat(50));
    let body = json!({"note": note, "by": by}).to_string();
    let request = change(&format!("/breakers/{ID}/force-open"), body);
    let (_, answer) = json_of(send(&admin, request).await).await;
    assert_eq!((&answer["breaker"]["note"], &answer["breaker"]["by"]), (&json!(note), &json!(by)));
    // A note and a name are optional.
    let request = change(&format!("/breakers/{ID}/disable/"), "{}");
    let (_, answer) = json_of(send(&admin, request).await).await;
    assert_eq!(
        (&answer["breaker"]["until"], &answer["breaker"]["by"]),
        (&json!(null), &json!(null))
    );
}

#[tokio::test]
async fn a_trip_opens_for_the_open_time_and_says_who_and_why() {
    let clock = ManualClock::new();
    let registry = Registry::builder().clock(clock.clone()).store(MemoryStore::new());
    let registry = registry.build().unwrap();
    let breaker = registry.get_or_create("payments").unwrap();
    let admin = Admin::new(&registry).token(TOKEN);
    let trip = async |body: &'static str| {
        let request = change(&format!("/breakers/{ID}/trip"), body);
        let (status, answer) = json_of(send(&admin, request).await).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        answer["breaker"].clone()
    };
    let shown = trip(r#"{"note": "deploy", "by": "anna"}"#).await;
    assert_eq!((&shown["state"], &shown["reason"]), (&json!("open"), &json!("manual")));
    assert_eq!((&shown["note"], &shown["by"]), (&json!("deploy"), &json!("anna")));
    assert_eq!(shown["until"], json!(1_700_000_060.0));
    // One that is open stays as it is.
    clock.advance(std::time::Duration::from_secs(10));
    assert_eq!(trip(r#"{"note": "again"}"#).await, shown);
    let (_, page) = get(&admin, &format!("/breakers/{ID}/history")).await;
    assert_eq!(page["entries"].as_array().unwrap().len(), 1);
    assert_eq!(page["entries"][0]["note"], "deploy");
    // Its time ends, and a probe closes it.
    clock.advance(std::time::Duration::from_secs(50));
    breaker.try_acquire().unwrap().success();
    assert_eq!(breaker.state(), State::Closed);
    assert_eq!(breaker.snapshot().note, None);
}

#[tokio::test]
async fn a_body_that_is_no_change_changes_nothing() {
    let registry = registry(&["payments"]);
    let admin = Admin::new(&registry).token(TOKEN);
    let long = |field: &str, bytes: usize| json!({field: "x".repeat(bytes)}).to_string();
    for (action, body) in [
        ("force-open", String::new()),
        ("force-open", "null".to_owned()),
        ("force-open", "[]".to_owned()),
        ("force-open", "{".to_owned()),
        ("force-open", r#"{"note": 1}"#.to_owned()),
        ("force-open", r#"{"for": 60}"#.to_owned()),
        ("force-open", r#"{"for": "soon"}"#.to_owned()),
        ("force-open", r#"{"for": "0s"}"#.to_owned()),
        ("force-open", r#"{"until": "10m"}"#.to_owned()),
        ("force-open", long("note", 251)),
        ("force-open", long("by", 51)),
        ("reset", r#"{"for": "10m"}"#.to_owned()),
        ("trip", r#"{"for": "10m"}"#.to_owned()),
    ] {
        let request = change(&format!("/breakers/{ID}/{action}"), body.clone());
        let (status, problem) = json_of(send(&admin, request).await).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{action} {body}: {problem}");
    }
    assert_eq!(registry.get("payments").unwrap().snapshot().reason, None);
}

#[tokio::test]
async fn without_a_token_or_a_guard_nothing_can_be_changed() {
    let registry = registry(&["payments"]);
    for admin in [Admin::new(&registry), Admin::new(&registry).token("")] {
        for token in ["", TOKEN] {
            let request = Request::post(format!("/breakers/{ID}/force-open"))
                .header("authorization", format!("Bearer {token}"))
                .header("content-type", "application/json");
            let (status, problem) =
                json_of(send(&admin, request.body(Body::from("{}")).unwrap()).await).await;
            assert_eq!(status, StatusCode::FORBIDDEN);
            assert_eq!(problem["detail"], "this service is read-only");
        }
        assert_eq!(get(&admin, "/breakers").await.1["access"], "read_only");
    }
    assert_eq!(registry.get("payments").unwrap().state(), State::Closed);
}

#[tokio::test]
async fn a_guard_of_the_user_decides() {
    let breaker = Breaker::builder("payments").build().unwrap();
    let admin = Admin::new(&breaker).guard(|head| head.headers.contains_key("x-on-call"));
    let path = format!("/breakers/{ID}/force-open");
    assert_eq!(send(&admin, change(&path, "{}")).await.status(), StatusCode::FORBIDDEN);
    assert_eq!(breaker.state(), State::Closed);
    let mut request = change(&path, "{}");
    request.headers_mut().insert("x-on-call", "on-call".parse().unwrap());
    assert_eq!(send(&admin, request).await.status(), StatusCode::OK);
    assert_eq!(breaker.state(), State::ForcedOpen);
}
