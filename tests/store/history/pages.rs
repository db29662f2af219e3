//! Pages of a history, and its length.

use std::time::Duration;

use tower_breaker::{
    Breaker, Config, MemoryStore, State,
    clock::ManualClock,
    history::{HistoryCursor, HistoryEntry, HistoryQuery},
    store::{HistoryRecord, HistoryStore},
};

use super::{breaker, history, states};

const KEY: &str = "circuit_breaker:paged:history";

#[tokio::test]
async fn pages_cover_the_history_without_gaps_while_it_grows() {
    let breaker = breaker("paged", MemoryStore::new());
    for _ in 0..5 {
        breaker.force_open();
        breaker.flush().await.unwrap();
        breaker.disable();
        breaker.flush().await.unwrap();
    }
    let whole = history(&breaker).await;
    assert_eq!(whole.len(), 10);
    let mut read: Vec<HistoryEntry> = Vec::new();
    let mut query = HistoryQuery::newest(3);
    loop {
        let page = breaker.history(query).await.unwrap();
        assert_eq!(page.entries.len(), 3.min(10 - read.len()));
        read.extend(page.entries);
        breaker.reset();
        let Some(next) = page.next else { break };
        query = HistoryQuery::newest(3).before(next);
    }
    assert_eq!(read, whole);
}

#[tokio::test]
async fn a_page_that_ends_with_the_oldest_entry_is_the_last() {
    let breaker = breaker("paged", MemoryStore::new());
    assert_eq!(breaker.history(HistoryQuery::default()).await.unwrap().next, None);
    breaker.force_open();
    breaker.reset();
    assert_eq!(breaker.history(HistoryQuery::newest(2)).await.unwrap().next, None);
    assert!(breaker.history(HistoryQuery::newest(1)).await.unwrap().next.is_some());
}

#[tokio::test]
async fn a_limit_out_of_range_is_clamped() {
    let store = MemoryStore::new();
    let entry = br#"{"version":1,"at":1.0,"from":"closed","to":"open","reason":"manual"}"#;
    let records: Vec<_> = (1..=1500).map(|id| HistoryRecord::new(id, entry.to_vec())).collect();
    store.append(KEY, &records).unwrap();
    let breaker = breaker("paged", store);
    assert_eq!(breaker.history(HistoryQuery::newest(0)).await.unwrap().entries.len(), 1);
    let page = breaker.history(HistoryQuery::newest(usize::MAX)).await.unwrap();
    assert_eq!(page.entries.len(), 1000);
    assert_eq!(page.next.unwrap().to_string(), "501");
}

#[tokio::test]
async fn unreadable_entries_are_counted_and_hide_no_others() {
    let store = MemoryStore::new();
    let good = r#"{"version":1,"at":1.0,"from":"closed","to":"open","reason":"manual","new":1}"#;
    let newer = r#"{"version":2,"at":1.0,"from":"closed","to":"open","reason":"manual"}"#;
    let odd = r#"{"version":1,"at":-1e300,"from":"closed","to":"open","reason":"manual"}"#;
    let records: Vec<_> = (1..)
        .zip([good, newer, odd, "{", good])
        .map(|(id, text)| HistoryRecord::new(id, text))
        .collect();
    store.append(KEY, &records).unwrap();
    let breaker = breaker("paged", store);
    let page = breaker.history(HistoryQuery::default()).await.unwrap();
    assert_eq!((states(&page.entries), page.unreadable), (vec![State::Open; 2], 3));
    // A page of unreadable entries still has a cursor.
    let query = HistoryQuery::newest(2).before("5".parse().unwrap());
    let page = breaker.history(query).await.unwrap();
    assert_eq!((page.entries.len(), page.unreadable), (0, 2));
    assert_eq!(page.next.unwrap().to_string(), "3");
}

#[test]
fn queries_and_pages_are_json_with_safe_numbers() {
    let cursor: HistoryCursor = "1700000000000000001".parse().unwrap();
    let query = HistoryQuery::newest(20).before(cursor);
    let json = serde_json::to_string(&query).unwrap();
    assert_eq!(json, r#"{"before":"1700000000000000001","limit":20}"#);
    assert_eq!(serde_json::from_str::<HistoryQuery>(&json).unwrap(), query);
    assert_eq!(serde_json::from_str::<HistoryQuery>("{}").unwrap(), HistoryQuery::default());
    for bad in [r#"{"before":"x"}"#, r#"{"before":"-1"}"#, r#"{"limit":-1}"#, r#"{"page":1}"#] {
        serde_json::from_str::<HistoryQuery>(bad).unwrap_err();
    }
}

#[tokio::test]
async fn a_history_keeps_500_transitions_and_at_most_a_tenth_more() {
    let store = MemoryStore::new();
    let breaker = breaker("paged", store.clone());
    let stored = || store.load_newest(KEY, None, usize::MAX).unwrap().len();
    for count in 1..=800 {
        breaker.reset();
        breaker.flush().await.unwrap();
        assert!(stored() >= 500.min(count), "{} after {count}", stored());
    }
    crate::support::wait::eventually("it is trimmed", || stored() <= 550);
}

#[tokio::test]
async fn a_history_is_kept_for_its_retention_days_by_the_breakers_clock() {
    const ALMOST_A_WEEK: Duration = Duration::from_secs(7 * 24 * 3600 - 1);
    let store = MemoryStore::new();
    let stored = || store.load_newest(KEY, None, usize::MAX).unwrap().len();
    let clock = ManualClock::new();
    let mut config = Config::default();
    config.history_retention_days = 7;
    let build = || {
        let builder = Breaker::builder("paged").config(config.clone());
        builder.clock(clock.clone()).store(store.clone()).build().unwrap()
    };
    // An old entry is removed with the first transition after a start.
    let breaker = build();
    breaker.reset();
    drop(breaker);
    clock.advance(ALMOST_A_WEEK);
    let breaker = build();
    breaker.reset();
    breaker.flush().await.unwrap();
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(stored(), 2, "almost too old is not too old");
    drop(breaker);
    clock.advance(Duration::from_secs(2));
    let breaker = build();
    breaker.reset();
    breaker.flush().await.unwrap();
    crate::support::wait::eventually("the first is removed", || stored() == 2);
}
