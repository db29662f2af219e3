//! The task ends with its handle, and with the breaker.

use super::*;

async fn settle() {
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn dropping_the_handle_drops_a_check_under_way_and_frees_its_slot() {
    let (dependency, breaker) = (Dependency::that(Answer::Hangs), breaker());
    let task = dependency.check().spawn(&breaker).unwrap();
    trip(&breaker);
    sleep(SECOND * 61).await;
    assert_eq!(dependency.in_flight(), 1);
    breaker.try_acquire().expect_err("the check has the slot");
    drop(task);
    settle().await;
    assert_eq!(dependency.in_flight(), 0);
    breaker.try_acquire().expect("the slot is free").success();
    sleep(SECOND * 600).await;
    assert_eq!(dependency.checks(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_task_ends_with_the_last_handle_of_the_breaker() {
    for state in [State::Closed, State::Open, State::HalfOpen, State::ForcedOpen] {
        let (dependency, breaker) = (Dependency::that(Answer::Slow(SECOND * 3)), breaker());
        match state {
            State::Open => trip(&breaker),
            State::HalfOpen => {
                trip(&breaker);
                sleep(SECOND * 60).await;
            }
            State::ForcedOpen => breaker.force_open(),
            _ => {}
        }
        let task = dependency.check().always().spawn(&breaker).unwrap();
        settle().await;
        assert!(!task.is_finished());
        let clone = breaker.clone();
        drop(breaker);
        sleep(SECOND).await;
        assert!(!task.is_finished());
        drop(clone);
        // Within a second, or once the check that is under way has ended.
        sleep(SECOND * 5).await;
        assert!(task.is_finished(), "{state:?}");
        assert_eq!(dependency.in_flight(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn detached_checks_go_on_until_the_breaker_is_gone() {
    let (dependency, breaker) = (Dependency::default(), breaker());
    dependency.check().always().spawn(&breaker).unwrap().detach();
    sleep(SECOND * 101).await;
    let checks = dependency.checks();
    assert!(checks >= 9);
    drop(breaker);
    sleep(SECOND * 100).await;
    assert_eq!(dependency.checks(), checks);
}

#[tokio::test(start_paused = true)]
async fn a_breaker_without_a_check_has_no_task() {
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    let breaker = breaker();
    trip(&breaker);
    sleep(SECOND * 61).await;
    assert_eq!(tasks(), before);
    let task = Dependency::default().check().spawn(&breaker).unwrap();
    assert_eq!(tasks(), before + 1);
    drop(task);
    settle().await;
    assert_eq!(tasks(), before);
}
