//! Breakers that the replicas of a service share.

use std::time::{Duration, Instant};

use http::StatusCode;
use serde_json::{Value, json};
use tower_breaker::{
    Breaker, Trip,
    admin::Admin,
    fleet::{Agreement, FleetHealth, RedisFleet},
};

use super::{
    ID, TOKEN, change, get, json_of,
    openapi::Api,
    send,
    support::{redis::RedisServer, wait::eventually},
};

/// A breaker of a replica that has joined.
pub(crate) fn replica(server: &RedisServer, id: &str) -> Breaker {
    let fleet = RedisFleet::builder(&server.url()).agreement(Agreement::replicas(2));
    let fleet = fleet.replica_id(id).build().unwrap();
    let breaker = Breaker::builder("payments").trip_on(Trip::consecutive_failures(3));
    let breaker = breaker.recovery_timeout(Duration::from_secs(3600)).shared(fleet);
    let breaker = breaker.build().unwrap();
    eventually("the replica joins", || breaker.fleet_health() == FleetHealth::Joined);
    breaker
}

/// By the ids of the replicas.
fn views(one: &Value) -> Vec<(&str, &Value)> {
    let replicas = one["replicas"].as_array().unwrap_or_else(|| panic!("{one:#}"));
    replicas.iter().map(|it| (it["replica"]["id"].as_str().unwrap(), &it["view"])).collect()
}

/// Until each replica has answered: on a busy machine, a second may be too short.
async fn ask_until_answered(admin: &Admin) -> Value {
    for _ in 0..60 {
        let (status, one) = get(admin, &format!("/breakers/{ID}")).await;
        assert_eq!(status, StatusCode::OK);
        let all = one["replicas"].as_array();
        if all.is_some_and(|all| all.len() == 2 && all.iter().all(|it| it["view"].is_object())) {
            return one;
        }
    }
    panic!("a replica does not answer");
}

#[needs::programs("redis-server")]
#[tokio::test(flavor = "multi_thread")]
async fn one_breaker_comes_with_each_replicas_own_view() {
    let Some(server) = RedisServer::start() else { return };
    let (here, there) = (replica(&server, "a"), replica(&server, "<b>"));
    for _ in 0..3 {
        there.try_acquire().unwrap().failure();
    }
    // Its vote alone does not suffice.
    let admin = Admin::new(&here).token(TOKEN);
    let one = ask_until_answered(&admin).await;
    assert_eq!(one["breaker"]["fleet"]["health"], "joined");
    assert_eq!(one["breaker"]["state"], "closed");
    let [(other, theirs), (own, ours)] = views(&one)[..] else { panic!("{one:#}") };
    assert_eq!((other, own), ("<b>", "a"));
    assert_eq!((&theirs["state"], &theirs["is_own"]), (&json!("open"), &json!(true)));
    assert_eq!((&ours["state"], &ours["is_own"]), (&json!("closed"), &json!(false)));

    // The list does not ask the replicas, and neither does a change.
    let (_, all) = get(&admin, "/breakers").await;
    assert_eq!(all["breakers"][0]["fleet"]["health"], "joined");
    let request = change(&format!("/breakers/{ID}/force-open"), "{}");
    let (_, changed) = json_of(send(&admin, request).await).await;
    assert_eq!((&changed["replicas"], &changed["replicas_problem"]), (&json!(null), &json!(null)));
    assert_eq!(changed["breaker"]["state"], "forced_open");

    let document = get(&admin, "/openapi.json").await.1;
    let api = Api { admin: admin.clone(), document };
    api.get("/breakers/{id}", &format!("/breakers/{ID}"), 200).await;
    api.get("/breakers", "/breakers", 200).await;
}

#[needs::programs("redis-server")]
#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_that_hangs_or_is_gone_delays_an_answer_for_a_bounded_time() {
    let Some(server) = RedisServer::start() else { return };
    let breaker = replica(&server, "a");
    let admin = Admin::new(&breaker);
    let document = get(&admin, "/openapi.json").await.1;
    let api = Api { admin: admin.clone(), document };
    server.signal("STOP");
    let start = Instant::now();
    let (status, one) = get(&admin, &format!("/breakers/{ID}")).await;
    // Two seconds, and what a busy machine adds.
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    assert_eq!((status, &one["replicas"]), (StatusCode::OK, &json!(null)));
    assert!(one["replicas_problem"].is_string(), "{one:#}");
    server.signal("CONT");
    server.stop();
    eventually("alone", || breaker.fleet_health().is_alone());
    api.get("/breakers/{id}", &format!("/breakers/{ID}"), 200).await;
    let (_, one) = get(&admin, &format!("/breakers/{ID}")).await;
    assert_eq!(one["breaker"]["fleet"]["health"], "alone");
    let problem = one["replicas_problem"].as_str().unwrap();
    assert!(problem.contains("not reached"), "{problem}");
}

#[tokio::test]
async fn a_breaker_that_is_not_shared_has_no_replicas() {
    let breaker = Breaker::builder("payments").build().unwrap();
    let (_, one) = get(&Admin::new(&breaker), &format!("/breakers/{ID}")).await;
    let shown = (&one["breaker"]["fleet"], &one["replicas"], &one["replicas_problem"]);
    assert_eq!(shown, (&json!(null), &json!(null), &json!(null)));
}
