//! Each clock by itself.

use std::time::{Duration, Instant};

use crate::clock::{Clock as _, ManualClock, SystemClock, TokioClock};

#[test]
fn the_system_clock_keeps_pace_with_the_operating_system() {
    // A time within ours and one around it, however long a thread is kept from going on.
    let (outer, tick, inner) = (Instant::now(), SystemClock::tick(), Instant::now());
    std::thread::sleep(Duration::from_millis(30));
    let (least, ours, most) = (inner.elapsed(), SystemClock::tick().since(tick), outer.elapsed());
    let leeway = Duration::from_millis(1);
    assert!(ours + leeway >= least, "{ours:?} against {least:?}");
    assert!(ours <= most + leeway, "{ours:?} against {most:?}");
}

#[test]
fn a_manual_clock_moves_both_times_and_jumps_only_the_wall() {
    let clock = ManualClock::new();
    let start = clock.wall();
    clock.advance(Duration::from_secs(3));
    assert_eq!(clock.now(), Duration::from_secs(3));
    assert_eq!(clock.wall(), start + Duration::from_secs(3));
    clock.set_wall(start);
    assert_eq!(clock.now(), Duration::from_secs(3));
    assert_eq!(clock.wall(), start);
}

#[tokio::test(start_paused = true)]
async fn the_tokio_clock_follows_paused_time() {
    let clock = TokioClock::new();
    let wall = clock.wall();
    tokio::time::advance(Duration::from_secs(60)).await;
    assert_eq!(clock.now(), Duration::from_secs(60));
    assert_eq!(clock.wall(), wall + Duration::from_secs(60));
}
