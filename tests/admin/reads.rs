//! What the service shows.

use http::StatusCode;
use serde_json::json;
use tower_breaker::{
    Breaker, Config, MemoryStore, Registry, Trip, Window, admin::Admin, clock::ManualClock,
};

use super::{ID, get, registry};

#[tokio::test]
async fn every_breaker_is_listed_with_its_state_since_until_and_why() {
    let clock = ManualClock::new();
    let mut config = Config::default();
    config.trip_on = vec![Trip::failure_rate(0.5, Window::calls(10)).minimum_calls(4)];
    let registry =
        Registry::builder().defaults(config).clock(clock.clone()).store(MemoryStore::new());
    let registry = registry.build().unwrap();
    let payments = registry.get_or_create("payments").unwrap();
    registry.get_or_create("mail").unwrap();
    for _ in 0..2 {
        payments.try_acquire().unwrap().success();
        payments.try_acquire().unwrap().failure();
    }
    let admin = Admin::new(&registry).vital("payments");
    let (status, all) = get(&admin, "/breakers").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(all["access"], "read_only");
    let breakers = all["breakers"].as_array().unwrap();
    let names: Vec<_> = breakers.iter().map(|breaker| &breaker["name"]).collect();
    assert_eq!(names, ["mail", "payments"]);
    let [mail, payments] = &breakers[..] else { panic!("{breakers:?}") };
    assert_eq!(
        (&mail["state"], &mail["since"], &mail["until"]),
        (&json!("closed"), &json!(null), &json!(null))
    );
    assert_eq!(mail["vital"], false);
    assert_eq!(payments["id"], ID);
    assert_eq!(payments["state"], "open");
    assert_eq!(
        (&payments["since"], &payments["until"]),
        (&json!(1_700_000_000.0), &json!(1_700_000_060.0))
    );
    assert_eq!(payments["reason"], "failure_rate");
    assert_eq!(payments["window"], json!({"calls": 4, "failures": 2, "slow_calls": 0}));
    assert_eq!(payments["trip_on"][0]["failure_rate"]["threshold"], 0.5);
    assert_eq!(payments["consecutive_opens"], 1);
    assert_eq!(
        (&payments["vital"], &payments["store"]["health"]),
        (&json!(true), &json!("healthy"))
    );

    let (_, one) = get(&admin, &format!("/breakers/{ID}")).await;
    assert_eq!(&one["breaker"], payments);
    let (_, page) = get(&admin, &format!("/breakers/{ID}/history?limit=1")).await;
    assert_eq!(page["entries"][0]["to"], "open");
}

#[tokio::test]
async fn a_list_of_breakers_is_shown_in_the_order_of_the_names_each_name_once() {
    let make = |name: &str| Breaker::builder(name).build().unwrap();
    let admin = Admin::new([make("b"), make("c"), make("a"), make("b")]);
    let (_, all) = get(&admin, "/breakers").await;
    let names: Vec<_> =
        all["breakers"].as_array().unwrap().iter().map(|breaker| &breaker["name"]).collect();
    assert_eq!(names, ["a", "b", "c"]);
    assert_eq!(get(&admin, "/breakers/Yg").await.1["breaker"]["name"], "b");
    assert_eq!(get(&admin, "/breakers/ZA").await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn breakers_that_are_created_later_are_shown_and_those_that_are_asked_for_are_not_created() {
    let registry = registry(&[]);
    let admin = Admin::new(&registry);
    assert_eq!(get(&admin, &format!("/breakers/{ID}")).await.0, StatusCode::NOT_FOUND);
    assert!(registry.breakers().is_empty());
    registry.get_or_create("payments").unwrap();
    assert_eq!(get(&admin, &format!("/breakers/{ID}")).await.0, StatusCode::OK);
}

#[tokio::test]
async fn health_is_good_while_circuits_are_open_unless_one_of_them_is_vital() {
    let registry = registry(&["payments", "mail"]);
    let admin = Admin::new(&registry).vital("payments").vital("unknown");
    assert_eq!(
        get(&admin, "/health").await,
        (StatusCode::OK, json!({"status": "ok", "open": [], "open_count": 0}))
    );
    registry.get("mail").unwrap().trip();
    let mail = json!({"id": "bWFpbA", "name": "mail", "vital": false});
    assert_eq!(
        get(&admin, "/health").await,
        (StatusCode::OK, json!({"status": "ok", "open": [mail], "open_count": 1}))
    );
    let payments = registry.get("payments").unwrap();
    for open in [Breaker::trip, Breaker::force_open] {
        open(&payments);
        let (status, health) = get(&admin, "/health").await;
        assert_eq!(
            (status, &health["status"]),
            (StatusCode::SERVICE_UNAVAILABLE, &json!("vital_circuit_open"))
        );
        payments.reset();
        assert_eq!(get(&admin, "/health").await.0, StatusCode::OK);
    }
    payments.disable();
    assert_eq!(get(&admin, "/health").await.0, StatusCode::OK);
}

#[tokio::test]
async fn odd_queries_of_a_history_are_refused() {
    let admin = Admin::new(registry(&["payments"]));
    for query in [
        "limit=0",
        "limit=1001",
        "limit=-1",
        "limit=",
        "limit",
        "before=x",
        "before=",
        "x=1",
        "a&b",
    ] {
        let (status, problem) = get(&admin, &format!("/breakers/{ID}/history?{query}")).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{query}");
        assert_eq!(problem["status"], 400);
    }
    for query in ["", "limit=1", "before=1&limit=1000", "&"] {
        let (status, page) = get(&admin, &format!("/breakers/{ID}/history?{query}")).await;
        assert_eq!((status, &page["entries"]), (StatusCode::OK, &json!([])), "{query}");
    }
}
