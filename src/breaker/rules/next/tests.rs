//! Rules that replace others, and what is kept of their windows.

use std::{
    collections::VecDeque,
    hint::black_box,
    time::{Duration, Instant},
};

use super::{super::DecodedRules, *};
use crate::{
    breaker::window::{WindowCopies, words_touched_by},
    config::{Trip, Window},
    outcome::Outcome,
    snapshot::{WindowContent, WindowSnapshot},
};

const NOW: Tick = Tick::from_nanos(1_000_000_000);

fn config(size: u32) -> Config {
    let rule = Trip::failure_rate(1.0, Window::calls(size));
    Config { trip_on: vec![rule], ..Config::default() }
}

fn record(rules: &mut Rules, failed: bool) {
    let outcome = if failed { Outcome::failure() } else { Outcome::Success };
    rules.record(outcome, None, NOW);
}

/// The calls in the window of the first rule, oldest first: whether each has failed.
fn calls(rules: &Rules, copies: &mut WindowCopies) -> Vec<bool> {
    let mut windows = rules.windows(NOW, copies);
    while !copies.are_complete() {
        copies.grow();
        windows = rules.windows(NOW, copies);
    }
    copies.encode_into(&mut windows);
    let WindowContent::Results(runs) = &windows[0].content else { panic!("{windows:?}") };
    let mut calls = Vec::new();
    let mut number = None;
    for symbol in runs.chars() {
        match symbol.to_digit(10) {
            Some(digit) => number = Some(number.unwrap_or(0) * 10 + digit as usize),
            None => calls.resize(calls.len() + number.take().unwrap_or(1), symbol == 'f'),
        }
    }
    let failed = calls.iter().filter(|failed| **failed).count() as u64;
    assert_eq!((windows[0].calls, windows[0].failures), (calls.len() as u64, failed));
    calls
}

#[test]
fn the_next_rules_continue_with_the_newest_calls_whatever_is_recorded_meanwhile() {
    const SIZES: [u32; 6] = [1, 31, 33, 100, 3000, 5000];
    for seed in 0..60 {
        let mut random = fastrand::Rng::with_seed(seed);
        let (size, next_size) = (SIZES[random.usize(..6)], SIZES[random.usize(..6)]);
        let mut rules = Rules::new(&config(size), NOW);
        let mut expected = VecDeque::new();
        let mut burst = |rules: &mut Rules, expected: &mut VecDeque<bool>, size: u32| {
            let (most, one_in) = (1 + random.u32(..size * 2), 1 + random.u32(..40));
            for _ in 0..random.u32(..most) {
                let failed = random.u32(..one_in) == 0;
                record(rules, failed);
                expected.push_back(failed);
            }
            if random.u8(..8) == 0 {
                rules.clear(NOW);
                expected.clear();
            }
            let surplus = expected.len().saturating_sub(size as usize);
            expected.drain(..surplus);
            random.u8(..4) == 0
        };
        burst(&mut rules, &mut expected, size);
        burst(&mut rules, &mut expected, size);
        let mut next = NextRules::new(&config(next_size));
        while next.copy(&rules) > 0 {
            next.convert();
            if burst(&mut rules, &mut expected, size) {
                break;
            }
        }
        next.replace(&mut rules, NOW);
        let mut copies = WindowCopies::default();
        for _ in 0..4 {
            let surplus = expected.len().saturating_sub(next_size as usize);
            expected.drain(..surplus);
            let found = calls(&rules, &mut copies);
            assert_eq!(found, Vec::from(expected.clone()), "seed {seed}");
            burst(&mut rules, &mut expected, next_size);
        }
    }
}

#[test]
fn the_next_rules_keep_no_calls_of_a_rule_that_another_update_has_removed() {
    let mut rules = Rules::new(&config(10_000), NOW);
    (0..5000).for_each(|_| record(&mut rules, true));
    let mut next = NextRules::new(&config(6000));
    while next.copy(&rules) > 0 {
        next.convert();
    }
    let without = Config { trip_on: vec![Trip::consecutive_failures(5)], ..Config::default() };
    NextRules::new(&without).replace(&mut rules, NOW);
    next.replace(&mut rules, NOW);
    let counts = rules.first_window_counts().unwrap();
    assert_eq!((counts.calls, counts.failures), (0, 0));
    record(&mut rules, true);
    let counts = rules.first_window_counts().unwrap();
    assert_eq!((counts.calls, counts.failures), (1, 1));
}

/// The most words of rings that are touched with the lock at a time: 33 KiB.
const MOST_WORDS: usize = 4200;

#[test]
fn a_window_of_a_million_calls_is_copied_in_small_rounds_and_converted_without_the_lock() {
    const SIZE: u32 = 1_000_000;
    let mut rules = Rules::new(&config(SIZE), NOW);
    (0..SIZE + 50).for_each(|call| record(&mut rules, call % 2 == 0));
    let mut next = NextRules::new(&config(SIZE - 1));
    let mut rounds = 0;
    loop {
        let (left, words) = words_touched_by(|| next.copy(&rules));
        assert!(words <= MOST_WORDS, "{words} words with the lock");
        if left == 0 {
            break;
        }
        next.convert();
        record(&mut rules, true);
        rounds += 1;
    }
    assert_eq!(rounds, 9, "one to see how much memory it needs, eight for the calls");
    let ((), words) = words_touched_by(|| next.replace(&mut rules, NOW));
    assert!(words <= 64, "{words} words with the lock");
    let counts = rules.first_window_counts().unwrap();
    assert_eq!((counts.calls, counts.failures), (999_999, 500_004));
}

#[test]
fn the_work_with_the_lock_is_bounded_whatever_happens_during_an_update() {
    const SIZES: [u32; 4] = [300, 9_000, 400_000, 1_000_000];
    for seed in 0..12 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut rule = || Trip::failure_rate(1.0, Window::calls(SIZES[random.usize(..4)]));
        let mut several = || Config { trip_on: vec![rule(), rule()], ..Config::default() };
        let (before, after) = (several(), several());
        let mut rules = Rules::new(&before, NOW);
        record(&mut rules, true);
        rules.record_successes(random.u64(..1_200_000), NOW);
        let mut next = NextRules::new(&after);
        for round in 0.. {
            let (left, words) = words_touched_by(|| next.copy(&rules));
            assert!(words <= MOST_WORDS, "seed {seed}: {words} words with the lock");
            if left == 0 {
                break;
            }
            next.convert();
            match random.u8(..10) {
                0 if round < 30 => rules.clear(NOW),
                1 if round < 30 => rules.record_successes(random.u64(..1_200_000), NOW),
                _ => (0..random.u32(..500)).for_each(|_| record(&mut rules, true)),
            }
        }
        let ((), words) = words_touched_by(|| next.replace(&mut rules, NOW));
        assert!(words <= 256, "seed {seed}: {words} words with the lock at the end");
    }
}

#[test]
fn a_snapshot_of_a_window_of_a_million_calls_is_copied_in_small_rounds() {
    const SIZE: u32 = 1_000_000;
    let mut rules = Rules::new(&config(SIZE), NOW);
    (0..SIZE).for_each(|call| record(&mut rules, call % 2 == 0));
    let mut copies = WindowCopies::default();
    let mut rounds = 0;
    while rounds == 0 || !copies.are_complete() {
        copies.grow();
        let (_, words) = words_touched_by(|| rules.windows(NOW, &mut copies));
        assert!(words <= MOST_WORDS, "{words} words with the lock");
        record(&mut rules, true);
        rounds += 1;
    }
    assert_eq!(rounds, 9, "one to see how much memory it needs, eight for the calls");
}

#[test]
fn saved_windows_of_a_million_calls_are_decoded_without_the_lock() {
    const SIZE: usize = 1_000_000;
    let saved = calls_of(&"f.".repeat(SIZE / 2), SIZE as u64);
    let saved = std::slice::from_ref(&saved);
    let config = config(u32::try_from(SIZE).unwrap());
    for own in [0, 1, 700, 500_000, SIZE - 2000, SIZE - 1, SIZE, SIZE + 5] {
        let [mut with, mut without] = [(); 2].map(|()| Rules::new(&config, NOW));
        for rules in [&mut with, &mut without] {
            (0..own).for_each(|_| record(rules, true));
        }
        let mut decoded = DecodedRules::new(&config, saved);
        let mut own = own;
        loop {
            let (left, words) = words_touched_by(|| decoded.copy(&with));
            assert!(words <= MOST_WORDS, "{words} words with the lock");
            if left == 0 {
                break;
            }
            decoded.convert();
            for rules in [&mut with, &mut without] {
                (0..50).for_each(|_| record(rules, true));
            }
            own += 50;
        }
        let decoded = Some(&mut decoded);
        let ((), words) = words_touched_by(|| match own {
            0 => with.adopt(saved, decoded, NOW, Duration::ZERO),
            _ => with.prepend(saved, decoded, NOW, Duration::ZERO),
        });
        assert!(words <= 64, "{words} words with the lock");
        match own {
            0 => without.adopt(saved, None, NOW, Duration::ZERO),
            _ => without.prepend(saved, None, NOW, Duration::ZERO),
        }
        let [with, without] =
            [with, without].map(|rules| calls(&rules, &mut WindowCopies::default()));
        assert!(with == without && with.len() == SIZE, "after {own} calls");
        assert!(with.ends_with(&vec![true; own.min(SIZE)]));
    }
}

#[test]
fn windows_that_were_decoded_for_other_sizes_are_decoded_again() {
    let saved = calls_of("3.f2s.", 7);
    let mut rules = Rules::new(&config(5), NOW);
    let mut decoded = DecodedRules::new(&config(4), std::slice::from_ref(&saved));
    rules.adopt(std::slice::from_ref(&saved), Some(&mut decoded), NOW, Duration::ZERO);
    assert_eq!(rules.first_window_counts().unwrap().calls, 5);
}

fn calls_of(results: &str, calls: u64) -> WindowSnapshot {
    WindowSnapshot {
        rule: "failure_rate".to_owned(),
        calls,
        failures: 1,
        slow_calls: 2,
        content: WindowContent::Results(results.to_owned()),
        packed: None,
    }
}

/// `cargo test --release --lib measure_a_window -- --ignored --nocapture`, on an idle machine.
#[test]
#[ignore = "a measurement"]
fn measure_a_window_of_a_million_calls_with_the_lock_and_a_cold_cache() {
    const SIZE: u32 = 1_000_000;
    let mut buffer = vec![1_u8; 64 << 20];
    let mut evict = || {
        buffer.iter_mut().step_by(64).for_each(|byte| *byte ^= 1);
        black_box(&mut buffer);
    };
    let report = |what: &str, mut took: Vec<Duration>| {
        took.sort_unstable();
        let share = |permille: usize| took[(took.len() - 1) * permille / 1000];
        println!(
            "{what}: {} times, median {:?}, 99% {:?}, 99.9% {:?}, longest {:?}",
            took.len(),
            share(500),
            share(990),
            share(999),
            share(1000)
        );
    };
    let mut rules = Rules::new(&config(SIZE), NOW);
    (0..SIZE).for_each(|call| record(&mut rules, call % 2 == 0));
    let mut copies = WindowCopies::default();
    calls(&rules, &mut copies);
    let (mut few, mut all) = (Vec::new(), Vec::new());
    for _ in 0..120 {
        for (took, is_new) in [(&mut few, false), (&mut all, true)] {
            if is_new {
                // To a copy, this is another window.
                rules.clear(NOW);
                (0..SIZE).for_each(|call| record(&mut rules, call % 2 == 0));
            }
            loop {
                copies.grow();
                evict();
                let began = Instant::now();
                black_box(rules.windows(NOW, &mut copies));
                took.push(began.elapsed());
                if copies.are_complete() {
                    break;
                }
            }
        }
    }
    report("save, nothing new", few);
    report("save, a round", all);
    let (mut copying, mut replacing) = (Vec::new(), Vec::new());
    for round in 0..110 {
        let mut next = NextRules::new(&config(SIZE - round % 2));
        loop {
            evict();
            let began = Instant::now();
            let left = next.copy(&rules);
            copying.push(began.elapsed());
            if left == 0 {
                break;
            }
            next.convert();
            (0..500).for_each(|call| record(&mut rules, call % 2 == 0));
        }
        evict();
        let began = Instant::now();
        next.replace(&mut rules, NOW);
        replacing.push(began.elapsed());
    }
    report("update, a round", copying);
    report("update, the end", replacing);
}
