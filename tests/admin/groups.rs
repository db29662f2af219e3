//! Groups of breakers by key.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use axum::body::{Body, Bytes};
use http::{Request, StatusCode};
use http_body::Frame;
use serde_json::{Value, json};
use tower_breaker::{
    Breaker, KeyedBreakers, ManualChange, State, admin::Admin, registry::WhenFull,
};

use super::{TOKEN, change, events::Stream, get, id, json_of, registry, send};

fn group(name: &str, keys: &[&str]) -> KeyedBreakers {
    let group = KeyedBreakers::builder(name).build().unwrap();
    for key in keys {
        drop(group.get_or_create(key).unwrap());
    }
    group
}

fn names(list: &Value) -> Vec<&str> {
    list["breakers"].as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn breakers_of_a_group_are_rows_that_name_the_group() {
    let hosts = group("upstream", &["b.example:80", "a.example"]);
    let tenants = group("tenants", &["a"]);
    let admin = Admin::new(registry(&["payments"])).group(&hosts).group(&tenants);
    let (status, all) = get(&admin, "/breakers").await;
    assert_eq!(status, StatusCode::OK);
    let expected = ["payments", "tenants:a", "upstream:a.example", "upstream:b.example%3A80"];
    assert_eq!(names(&all), expected);
    assert_eq!((&all["total"], &all["next"]), (&json!(4), &json!(null)));
    let shown: Vec<_> =
        all["breakers"].as_array().unwrap().iter().map(|breaker| &breaker["group"]).collect();
    assert_eq!(shown, [&json!(null), &json!("tenants"), &json!("upstream"), &json!("upstream")]);
    let shown = json!({
        "id": id("upstream"), "name": "upstream", "breakers": 2, "max_breakers": 10_000,
        "unrecorded_calls": 0, "open_limit": null,
    });
    assert_eq!(all["groups"][0], shown);
    assert_eq!(all["groups"][1]["name"], "tenants");

    // One that comes later is shown, and what is open says why.
    let late = hosts.get_or_create("c.example").unwrap();
    late.trip_with(ManualChange::new().note("INC-1"));
    let (_, one) = get(&admin, &format!("/breakers/{}", id("upstream:c.example"))).await;
    let one = &one["breaker"];
    assert_eq!(
        (&one["state"], &one["group"], &one["note"]),
        (&json!("open"), &json!("upstream"), &json!("INC-1"))
    );
}

#[tokio::test]
async fn a_group_alone_is_served_and_one_name_is_shown_once() {
    let hosts = group("upstream", &["a"]);
    let (_, all) = get(&Admin::new(&hosts), "/breakers").await;
    assert_eq!(names(&all), ["upstream:a"]);
    let single = Breaker::builder("upstream:a").build().unwrap();
    single.force_open();
    for path in ["/breakers", "/breakers?order=urgency"] {
        let (_, all) = get(&Admin::new(&single).group(&hosts).group(&hosts), path).await;
        assert_eq!(names(&all), ["upstream:a"]);
        assert_eq!(all["breakers"][0]["state"], "forced_open");
        assert_eq!(all["groups"].as_array().unwrap().len(), 1);
    }
}

#[tokio::test]
async fn the_shared_breaker_of_a_full_group_is_shown() {
    let hosts = KeyedBreakers::builder("up:stream").max_breakers(1).when_full(WhenFull::Share);
    let hosts = hosts.build().unwrap();
    hosts.get_or_create("a").unwrap().force_open();
    drop(hosts.get_or_create("b").unwrap());
    let admin = Admin::new(&hosts);
    let (_, all) = get(&admin, "/breakers").await;
    assert_eq!(names(&all), ["up%3Astream", "up%3Astream:a"]);
    let (status, _) = get(&admin, &format!("/breakers/{}", id("up%3Astream"))).await;
    assert_eq!(status, StatusCode::OK);
}

#[tokio::test]
async fn pages_go_on_where_the_last_one_has_ended() {
    let keys: Vec<String> = (0..25).map(|key| format!("{key:02}")).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let admin = Admin::new(registry(&["alone", "zero"])).group(&group("hosts", &keys));
    let (mut path, mut seen, mut pages) = ("/breakers?limit=10".to_owned(), Vec::new(), Vec::new());
    loop {
        let (_, page) = get(&admin, &path).await;
        assert_eq!(page["total"], 27);
        pages.push(names(&page).len());
        seen.extend(names(&page).into_iter().map(str::to_owned));
        let Some(next) = page["next"].as_str() else { break };
        path = format!("/breakers?limit=10&after={next}");
    }
    assert_eq!(pages, [10, 10, 7]);
    assert!(seen.is_sorted() && seen.len() == 27, "{seen:?}");
    // A page that ends with the last one has no next.
    assert_eq!(get(&admin, "/breakers?limit=27").await.1["next"], json!(null));
    let (_, page) = get(&admin, &format!("/breakers?after={}", id("zero"))).await;
    assert_eq!((names(&page), &page["next"]), (vec![], &json!(null)));
}

#[tokio::test]
async fn a_list_is_narrowed_by_group_and_text_and_urgent_ones_come_first() {
    let hosts = group("upstream", &["a.example", "b.example", "c.example"]);
    let admin = Admin::new(registry(&["payments", "mail"])).group(&hosts);
    let list = async |query: &str| {
        let (status, list) = get(&admin, &format!("/breakers?{query}")).await;
        assert_eq!(status, StatusCode::OK, "{list}");
        list
    };
    let upstream = id("upstream");
    let only = list(&format!("group={upstream}")).await;
    assert_eq!(names(&only), ["upstream:a.example", "upstream:b.example", "upstream:c.example"]);
    assert_eq!(names(&list("group=-").await), ["mail", "payments"]);
    assert_eq!(names(&list("search=MA").await), ["mail"]);
    let found = list(&format!("search=%42.ex&group={upstream}")).await;
    assert_eq!((names(&found), &found["total"]), (vec!["upstream:b.example"], &json!(1)));
    assert_eq!(names(&list("search=+").await), Vec::<&str>::new());

    hosts.get("c.example").unwrap().disable();
    hosts.get("b.example").unwrap().trip();
    let urgent = list("order=urgency&limit=3").await;
    assert_eq!(names(&urgent), ["upstream:b.example", "upstream:c.example", "mail"]);
    assert_eq!((&urgent["total"], &urgent["next"]), (&json!(5), &json!(null)));

    for (query, status) in [
        ("limit=0", 400),
        ("limit=10001", 400),
        ("limit=x", 400),
        ("order=age", 400),
        ("search=%ff", 400),
        ("x=1", 400),
        ("group=", 404),
        ("group=YQ", 404), // of no group
        ("group=upstream", 404),
        ("after=YR", 404),
    ] {
        let (found, problem) = get(&admin, &format!("/breakers?{query}")).await;
        assert_eq!(found, status, "{query}: {problem}");
    }
}

#[tokio::test]
async fn a_key_is_changed_by_hand_and_a_typo_creates_neither_a_breaker_nor_a_key() {
    let hosts = KeyedBreakers::builder("upstream").max_open_ratio(0.5).build().unwrap();
    drop(hosts.get_or_create("a.example"));
    let seen = hosts.stats();
    let admin = Admin::new(registry(&[])).group(&hosts).token(TOKEN);
    for (action, state) in [
        ("trip", State::Open),
        ("force-open", State::ForcedOpen),
        ("disable", State::Disabled),
        ("metrics-only", State::MetricsOnly),
        ("reset", State::Closed),
    ] {
        let path = format!("/breakers/{}/{action}", id("upstream:a.example"));
        let (status, answer) = json_of(send(&admin, change(&path, "{}")).await).await;
        assert_eq!((status, &answer["breaker"]["group"]), (StatusCode::OK, &json!("upstream")));
        assert_eq!(hosts.get("a.example").unwrap().state(), state);
        for typo in ["upstream:a.exampl", "upstream:", "upstream", "upstream:a%3", "up:a.example"] {
            let path = format!("/breakers/{}/{action}", id(typo));
            let (status, _) = json_of(send(&admin, change(&path, "{}")).await).await;
            assert_eq!(status, StatusCode::NOT_FOUND, "{typo}");
        }
    }
    assert_eq!(hosts.stats(), seen);
}

#[tokio::test]
async fn looking_at_a_breaker_is_no_use_of_its_key() {
    let hosts = KeyedBreakers::builder("upstream").max_breakers(2).build().unwrap();
    for key in ["old", "young"] {
        drop(hosts.get_or_create(key));
    }
    // The second one is used; the first one is only looked at.
    drop(hosts.get("young"));
    let admin = Admin::new(&hosts);
    let (status, _) = get(&admin, &format!("/breakers/{}", id("upstream:old"))).await;
    assert_eq!(status, StatusCode::OK);
    get(&admin, "/breakers").await;
    drop(hosts.get_or_create("new"));
    assert!(hosts.get("old").is_none() && hosts.get("young").is_some());
}

/// A body that calls a function when it is read.
struct Acting<F>(Option<F>);

impl<F: FnOnce() + Unpin> http_body::Body for Acting<F> {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.take().map(|act| {
            act();
            Ok(Frame::data(Bytes::from_static(b"{}")))
        }))
    }
}

#[tokio::test]
async fn a_breaker_that_is_replaced_while_the_body_comes_is_not_changed() {
    let hosts = KeyedBreakers::builder("upstream").max_breakers(1).build().unwrap();
    let replaced = hosts.get_or_create("a").unwrap();
    let admin = Admin::new(&hosts).token(TOKEN);
    let other = hosts.clone();
    let body = Acting(Some(move || drop(other.get_or_create("b"))));
    let path = format!("/breakers/{}/force-open", id("upstream:a"));
    let response = send(&admin, change(&path, Body::new(body))).await;
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
    assert_eq!(replaced.state(), State::Closed);
    assert_eq!(hosts.get("b").unwrap().state(), State::Closed);
}

#[tokio::test]
async fn events_of_a_group_come_with_the_breaker() {
    let hosts = group("upstream", &["a"]);
    let registry = registry(&["payments"]);
    let admin = Admin::new(&registry).group(&hosts).vital("upstream:a");
    let mut stream = Stream::open(&admin).await;
    hosts.get("a").unwrap().trip();
    let (kind, data) = stream.next().await.unwrap();
    assert_eq!((&*kind, &data["breaker"]["name"]), ("transition", &json!("upstream:a")));
    assert_eq!(
        (&data["breaker"]["group"], &data["breaker"]["vital"]),
        (&json!("upstream"), &json!(true))
    );
    registry.get("payments").unwrap().trip();
    assert_eq!(stream.next().await.unwrap().1["breaker"]["name"], "payments");
    assert_eq!(get(&admin, "/health").await.0, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn health_names_a_thousand_open_circuits_at_most_the_vital_ones_first() {
    let hosts = KeyedBreakers::builder("upstream").build().unwrap();
    for key in 0..1500 {
        hosts.get_or_create(&format!("{key:04}")).unwrap().trip();
    }
    let admin = Admin::new(&hosts).vital("upstream:1400");
    let (_, health) = get(&admin, "/health").await;
    let open = health["open"].as_array().unwrap();
    assert_eq!((open.len(), &health["open_count"]), (1000, &json!(1500)));
    assert_eq!(open[0]["name"], "upstream:1400");
    assert_eq!(open[1]["name"], "upstream:0000");
}

#[tokio::test]
async fn a_large_group_is_a_bounded_answer() {
    let hosts = KeyedBreakers::builder("upstream").build().unwrap();
    for key in 0..3000 {
        drop(hosts.get_or_create(&format!("{key:04}")));
    }
    hosts.get("2999").unwrap().trip();
    let admin = Admin::new(&hosts);
    let (_, all) = get(&admin, "/breakers").await;
    assert_eq!((names(&all).len(), &all["total"]), (1000, &json!(3000)));
    let (_, urgent) = get(&admin, "/breakers?order=urgency").await;
    assert_eq!((names(&urgent).len(), names(&urgent)[0]), (1000, "upstream:2999"));
    let head = Request::head("/breakers").body(Body::empty()).unwrap();
    assert_eq!(send(&admin, head).await.status(), StatusCode::OK);
}
