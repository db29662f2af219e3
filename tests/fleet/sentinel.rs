//! Servers that sentinels watch: a fleet follows the primary.

use std::time::Instant;

use tower_breaker::{
    Breaker, State,
    fleet::{FleetHealth, RedisFleet, RedisFleetBuilder},
    store::RedisCredentials,
};

use crate::{
    access,
    replica::{LEASE, fail, joined, probe, reaches, settings},
    support::{acl, certificates::Certificates, redis_sentinel::Sentinels, wait::eventually},
};

fn fleet(sentinels: &Sentinels) -> RedisFleetBuilder {
    RedisFleet::builder(&sentinels.url()).lease(LEASE)
}

fn replica(sentinels: &Sentinels, name: &str) -> Breaker {
    let breaker = settings(name).shared(fleet(sentinels).build().unwrap()).build().unwrap();
    joined(&breaker);
    breaker
}

#[needs::programs("redis-server")]
#[test]
fn replicas_of_a_service_share_breakers_on_the_primary() {
    let Some(sentinels) = Sentinels::start() else { return };
    sentinels.wait_until_ready(&[]);
    let (first, second) = (replica(&sentinels, "payments"), replica(&sentinels, "payments"));
    fail(&first);
    reaches(&[&second], State::Open);
    reaches(&[&first, &second], State::HalfOpen);
    probe(&second);
    reaches(&[&first, &second], State::Closed);
    // The first sentinel is gone: the others are asked.
    sentinels.sentinels[0].stop();
    let third = replica(&sentinels, "payments");
    first.force_open();
    reaches(&[&second, &third], State::ForcedOpen);
}

#[needs::programs("redis-server")]
#[test]
fn no_state_is_lost_when_a_replica_that_lags_takes_over() {
    let Some(sentinels) = Sentinels::start() else { return };
    sentinels.wait_until_ready(&[]);
    let (first, second) = (replica(&sentinels, "payments"), replica(&sentinels, "payments"));
    let [primary, lagging] = &sentinels.servers;
    first.disable();
    reaches(&[&second], State::Disabled);
    let key = "circuit_breaker:{0}:fleet:payments:breaker";
    let knows = |state| lagging.command(&["HGET", key, "s"]) == state;
    eventually("it is replicated", || knows("disabled"));
    // It gets no news from here on: its link is cut, and it cannot make another.
    lagging.signal("STOP");
    primary.command(&["CLIENT", "KILL", "TYPE", "replica"]);
    second.force_open();
    reaches(&[&first], State::ForcedOpen);
    primary.stop();
    lagging.signal("CONT");
    assert!(knows("disabled"), "it lags");

    // Whatever it says, neither goes back to what was before.
    let both_hold = || {
        assert_eq!((first.state(), second.state()), (State::ForcedOpen, State::ForcedOpen));
    };
    let is_primary = || lagging.command(&["ROLE"]).starts_with("master");
    eventually("the other server takes over", || {
        both_hold();
        is_primary()
    });
    let promoted = Instant::now();
    eventually("the new primary has the state", || {
        both_hold();
        knows("forced_open")
    });
    joined(&first);
    joined(&second);
    println!("joined again {:?} after the failover", promoted.elapsed());
    let third = replica(&sentinels, "payments");
    reaches(&[&third], State::ForcedOpen);
    third.reset();
    reaches(&[&first, &second], State::Closed);

    // The old primary comes back as a replica, and changes nothing.
    primary.restart();
    eventually("it follows", || primary.command(&["ROLE"]).starts_with("slave"));
    fail(&first);
    reaches(&[&second, &third], State::Open);
    reaches(&[&first, &second, &third], State::HalfOpen);
    probe(&third);
    reaches(&[&first, &second, &third], State::Closed);
}

#[needs::programs("redis-server")]
#[test]
fn a_primary_that_becomes_a_replica_while_it_lives_is_left() {
    let Some(sentinels) = Sentinels::start() else { return };
    sentinels.wait_until_ready(&[]);
    let (first, second) = (replica(&sentinels, "payments"), replica(&sentinels, "payments"));
    first.force_open();
    reaches(&[&second], State::ForcedOpen);
    eventually("a failover begins", || {
        sentinels.sentinels[0].command(&["SENTINEL", "FAILOVER", "main"]) == "OK"
    });
    let [old, new] = &sentinels.servers;
    eventually("the roles are changed", || {
        new.command(&["ROLE"]).starts_with("master") && old.command(&["ROLE"]).starts_with("slave")
    });
    first.reset();
    reaches(&[&second], State::Closed);
    let key = "circuit_breaker:{0}:fleet:payments:breaker";
    eventually("the new primary has it", || new.command(&["HGET", key, "s"]) == "closed");
    eventually("joined", || first.fleet_health() == FleetHealth::Joined);
}

#[needs::programs("redis-server", "openssl")]
#[test]
fn sentinels_and_servers_are_reached_by_tls_also_after_a_failover() {
    let Some(certificates) = Certificates::create() else { return };
    let Some((sentinels, url)) = Sentinels::start_by_tls(&certificates) else { return };
    sentinels.wait_until_ready(&[]);
    let build = |roots: String| {
        let fleet = RedisFleet::builder(&url).root_certificates(roots).build().unwrap();
        settings("payments").shared(fleet).build().unwrap()
    };
    let [first, second] = [(); 2].map(|()| build(certificates.pem("ca.pem")));
    joined(&first);
    joined(&second);
    first.force_open();
    reaches(&[&second], State::ForcedOpen);
    sentinels.servers[0].stop();
    let new = &sentinels.servers[1];
    eventually("the other server takes over", || new.command(&["ROLE"]).starts_with("master"));
    joined(&first);
    joined(&second);
    second.reset();
    reaches(&[&first], State::Closed);
    let key = "circuit_breaker:{0}:fleet:payments:breaker";
    eventually("the new primary has it", || new.command(&["HGET", key, "s"]) == "closed");

    let mistaken = build(Certificates::create().unwrap().pem("ca.pem"));
    eventually("it is said", || {
        mistaken.fleet_health().to_string().contains("shows a certificate that is not trusted")
    });
}

#[needs::programs("redis-server")]
#[test]
fn sentinels_have_a_password_of_their_own() {
    let servers = ["--requirepass", "s3cret", "--masterauth", "s3cret"];
    let configuration = "sentinel auth-pass main s3cret\nrequirepass watch";
    let Some(sentinels) = Sentinels::start_with(&servers, configuration) else { return };
    sentinels.wait_until_ready(&["watch"]);
    let url = sentinels.url().replace("://", "://:s3cret@");
    let breaker = |fleet: RedisFleetBuilder| {
        settings("payments").shared(fleet.build().unwrap()).build().unwrap()
    };
    let in_url = breaker(RedisFleet::builder(&format!("{url}?sentinel_password=watch")));
    let apart = RedisFleet::builder(&sentinels.url());
    let apart = breaker(
        apart
            .credentials(|| Ok(RedisCredentials::new("s3cret")))
            .sentinel_credentials(RedisCredentials::new("watch")),
    );
    joined(&in_url);
    joined(&apart);
    fail(&in_url);
    reaches(&[&apart], State::Open);

    let wrong = breaker(RedisFleet::builder(&format!("{url}?sentinel_password=wr0ng")));
    eventually("it is said", || {
        wrong.fleet_health().to_string().contains("refuses the user or the password")
    });
    assert!(!format!("{:?}", wrong.fleet_health()).contains("wr0ng"));
}

#[needs::programs("redis-server")]
#[test]
fn a_user_needs_one_more_permission() {
    let Some(sentinels) = Sentinels::start() else { return };
    let url = |rules: &[&str]| {
        acl::user(&sentinels.servers[0], rules);
        sentinels.url().replace("://", "://breakers:s3cret@")
    };
    let error = access::use_all(&url(access::RULES)).unwrap_err();
    assert!(error.contains("denies permission for the command \"role\""), "{error}");
    let rules = [access::RULES, &["+role"]].concat();
    assert_eq!(access::use_all(&url(&rules)), Ok(()));
}

#[needs::programs("redis-server")]
#[test]
fn a_service_that_no_sentinel_knows_is_named() {
    let Some(sentinels) = Sentinels::start() else { return };
    let fleet = RedisFleet::open(&sentinels.url().replace("/main", "/other")).unwrap();
    let breaker = settings("payments").shared(fleet).build().unwrap();
    eventually("it is said", || {
        breaker.fleet_health().to_string().contains("no sentinel knows Redis other")
    });
}
