//! A breaker that goes leaves its newest state to the store, whatever the store is busy with.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError, mpsc},
    time::Duration,
};

use tower_breaker::{
    Breaker, State, StateStore,
    snapshot::Snapshot,
    store::{SaveEntry, StoreError},
};

/// For a thread that hangs, so that the test ends all the same.
const PATIENCE: Duration = Duration::from_secs(30);

/// Says when it has begun to save, and waits for leave to end.
struct Busy {
    begun: mpsc::Sender<()>,
    go: Mutex<mpsc::Receiver<()>>,
    saved: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
    gone: mpsc::Sender<()>,
}

impl StateStore for Busy {
    fn load(&self, _: &str) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(None)
    }

    fn load_page(&self, _: Option<&str>, _: usize) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        Ok(Vec::new())
    }

    fn save(&self, entry: &SaveEntry) -> Result<(), StoreError> {
        let _ = self.begun.send(());
        let _ = self.go.lock().unwrap_or_else(PoisonError::into_inner).recv_timeout(PATIENCE);
        self.saved.lock().unwrap().insert(entry.key.clone(), entry.value.clone());
        Ok(())
    }

    fn delete(&self, _: &str) -> Result<(), StoreError> {
        Ok(())
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let _ = self.gone.send(());
    }
}

#[test]
fn what_changes_while_the_store_is_saving_is_saved_when_the_breaker_goes() {
    let (begun, has_begun) = mpsc::channel();
    let (go, may_go) = mpsc::channel();
    let (gone, is_gone) = mpsc::channel();
    let saved = Arc::default();
    let store = Busy { begun, go: Mutex::new(may_go), saved: Arc::clone(&saved), gone };
    let breaker = Breaker::builder("goes").store(store).build().unwrap();
    breaker.disable();
    has_begun.recv_timeout(PATIENCE).unwrap();
    // The store is saving the first state; the last words are said meanwhile.
    breaker.force_open();
    let last = std::thread::spawn(move || drop(breaker));
    // Time for it to have gone as far as it can; were it later, there would be less to find.
    std::thread::sleep(Duration::from_millis(50));
    for _ in 0..2 {
        go.send(()).unwrap();
    }
    // Had it not gone that far, there is a third save, which need not wait for leave.
    drop(go);
    last.join().unwrap();
    is_gone.recv_timeout(PATIENCE).expect("the store's thread ends");
    let saved = saved.lock().unwrap();
    let newest = Snapshot::from_json(&saved["circuit_breaker:goes:state"]).unwrap();
    assert_eq!(newest.state, State::ForcedOpen);
}
