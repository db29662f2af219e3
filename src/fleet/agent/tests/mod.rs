//! When the thread of a fleet sleeps; and what it does, with a real server.

mod batches;
mod inquiries;
mod lost_answers;
mod rig;
mod rounds;
mod taken_back;

use std::sync::mpsc;

use super::*;
use crate::{
    fleet::{agreement::Agreement, counts::FleetCounts, keys::Keys},
    store::redis::{Connector, RECONNECT_PAUSE},
};

fn agent() -> Agent {
    let connector = Arc::new(Connector::new("redis://127.0.0.1:1").unwrap());
    let transport = Transport::new(connector, Keys::new("a", 0), Duration::from_secs(1));
    let settings = Settings {
        agreement: Agreement::any(),
        replica: "a".to_owned(),
        voter: 1,
        lease: Duration::from_secs(5),
        counts: FleetCounts::Own,
        prefix: "a".to_owned(),
        timeout: Duration::from_secs(1),
    };
    let (settings, health) =
        (Arc::new(settings), Arc::new(ConnectionHealth::new(0, Arc::default())));
    Agent::new(transport, settings, health, mpsc::channel().1, Arc::default())
}

#[test]
fn after_a_second_failure_the_next_attempt_waits_for_as_long_as_a_connection_does() {
    let mut agent = agent();
    agent.take(Message::Reading { serial: 0 });
    agent.go_alone("denied");
    assert!(agent.retry_at < Instant::now() + RECONNECT_PAUSE / 2);
    let before = Instant::now();
    agent.go_alone("denied");
    assert!(agent.retry_at >= before + RECONNECT_PAUSE);
}

#[test]
fn without_news_the_thread_sleeps_although_the_time_to_try_again_has_come() {
    let mut agent = agent();
    let unavailable = || StoreError::Unavailable("gone".into());
    agent.take(Message::NotReading(unavailable()));
    agent.retry_at = Instant::now();
    agent.work();
    assert!(agent.next_moment() > Instant::now() + BEAT_INTERVAL / 2);
    agent.take(Message::Reading { serial: 0 });
    assert!(agent.next_moment() <= Instant::now());
}
