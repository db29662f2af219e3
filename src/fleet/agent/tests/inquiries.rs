//! Questions of operators.

use super::{
    rig::{LONG, Rig, TOO_SHORT},
    *,
};
use crate::{fleet::message::Ask, reply::reply};

#[needs::programs("redis-server")]
#[test]
fn an_answer_that_the_server_refuses_keeps_no_breaker_from_the_fleet() {
    let Some(mut rig) = Rig::start(Agreement::any()) else { return };
    rig.add("a", Rig::config());
    rig.step();
    // Answers go to a key of this type.
    let question = 7_u64;
    let key = format!("circuit_breaker:{{0}}:fleet:answers:{question:016x}");
    rig.server.command(&["SET", &key, "no hash"]);
    rig.agent.take(Message::Asked { question, name: "a".into() });
    // The next one is answered.
    rig.agent.take(Message::Asked { question: 8, name: "a".into() });
    rig.step();
    assert_eq!(rig.agent.link, Link::Joined);
    let next = format!("circuit_breaker:{{0}}:fleet:answers:{:016x}", 8);
    assert!(rig.server.command(&["HGET", &next, "here"]).contains("closed"));
}

#[needs::programs("redis-server")]
#[test]
fn questions_that_follow_each_other_share_the_first_deadline() {
    let Some(mut rig) = Rig::start(Agreement::any()) else { return };
    rig.add("a", Rig::config());
    rig.step();
    // This replica is there, and does not answer.
    let now = rig.server.command(&["TIME"]).replace('\n', "");
    rig.server.command(&["ZADD", "circuit_breaker:{0}:fleet:replicas", &now, "mute"]);
    let ask = |rig: &mut Rig, wait| {
        let (replier, answer) = reply();
        rig.agent.take(Message::Ask(Ask::Views { name: "a".into(), wait, replier }));
        rig.step();
        answer
    };
    let first = ask(&mut rig, Duration::from_secs(1));
    let deadline = rig.agent.inquiries.open["a"].deadline;
    drop(first);
    let second = ask(&mut rig, Duration::from_secs(5));
    let inquiry = &rig.agent.inquiries.open["a"];
    assert_eq!(inquiry.deadline, deadline);
    assert_eq!(inquiry.repliers.len(), 1, "the first asker has given up");
    let mut second = tokio_test::task::spawn(second);
    let mut views = None;
    rig.until("it is answered", |_| {
        if let std::task::Poll::Ready(answer) = second.poll() {
            views = Some(answer.unwrap().unwrap());
        }
        views.is_some()
    });
    assert_eq!(views.unwrap().len(), 2);
}

#[needs::programs("redis-server")]
#[test]
fn a_question_waits_for_a_state_that_came_too_late_but_not_for_long() {
    let Some(mut rig) = Rig::start(Agreement::any()) else { return };
    let [breaker, other] = ["a", "b"].map(|name| rig.add(name, Rig::config()));
    rig.step();
    rig.agent.transport.timeout = TOO_SHORT;
    breaker.force_open();
    rig.step();
    assert_eq!(rig.field("a", "s"), "(nil)");
    let ask = |rig: &mut Rig, name: &str| {
        let (replier, answer) = reply();
        rig.agent.take(Message::Ask(Ask::Views { name: name.into(), wait: LONG, replier }));
        answer
    };
    let _first = ask(&mut rig, "a");
    rig.agent.serve_inquiries().unwrap();
    assert!(rig.agent.inquiries.open.is_empty());
    rig.agent.transport.timeout = LONG;
    rig.until("it is asked", |rig| !rig.agent.inquiries.open.is_empty());
    assert_eq!(rig.field("a", "s"), "forced_open");
    rig.agent.transport.timeout = TOO_SHORT;
    other.fail();
    let _second = ask(&mut rig, "b");
    rig.until("it is asked", |rig| rig.agent.inquiries.open.contains_key("b"));
    assert_eq!(rig.field("b", "s"), "(nil)");
}
