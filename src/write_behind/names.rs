//! The names of the breakers whose snapshots a store holds, for a group that restores them.

use std::{
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use super::{
    client::{Monitor, StoreClient},
    keys,
    known_store::KnownStore,
    watchdog::PATIENCE,
};
use crate::{snapshot::Snapshot, state::State, store::StoreError, sync::log};

/// The keys in a page.
const PAGE: usize = 1024;

/// Which names are wanted.
pub(crate) struct NamesWanted {
    pub(crate) belongs: Box<dyn Fn(&str) -> bool + Send>,
    /// How many at most: those whose circuit is not closed before the others.
    pub(crate) limit: usize,
}

/// Reads the names on a thread of its own and passes them to `found` there. Waits until that has
/// returned, but no longer than `wait`: a slow store has its names found later.
pub(crate) fn find_stored_names(
    store: KnownStore,
    wanted: NamesWanted,
    wait: Duration,
    found: impl FnOnce(Vec<String>) + Send + 'static,
) {
    let (done, is_done) = mpsc::sync_channel::<()>(1);
    let work = move || {
        let monitor = Arc::new(Monitor::new(PATIENCE, &store));
        let client = StoreClient::new(store, monitor);
        match read(&client, &wanted) {
            Ok(names) => found(names),
            Err(error) => log(|| {
                tracing::warn!(
                    %error,
                    "the names of stored circuit breakers could not be read: breakers of a group \
                     are restored when their keys are used; check the store"
                );
            }),
        }
        drop(done);
    };
    if let Err(error) = thread::Builder::new().name("breaker-names".to_owned()).spawn(work) {
        log(|| {
            tracing::warn!(
                %error,
                "no thread to read the names of stored circuit breakers: breakers of a group are \
                 restored when their keys are used"
            );
        });
    }
    // The end of the work drops the sender.
    let _ = is_done.recv_timeout(wait);
}

fn read(client: &StoreClient, wanted: &NamesWanted) -> Result<Vec<String>, StoreError> {
    let (mut others, mut closed) = (Vec::new(), Vec::new());
    let mut after: Option<String> = None;
    loop {
        let (mut length, mut last) = (0, String::new());
        client.visit_page(after.as_deref(), PAGE, &mut |key, value| {
            length += 1;
            key.clone_into(&mut last);
            let Some(name) = keys::name_of_snapshot(key) else { return };
            // An empty value cannot be read.
            if value.is_empty() || !(wanted.belongs)(name) {
                return;
            }
            let is_closed =
                Snapshot::from_json(value).is_ok_and(|snapshot| snapshot.state == State::Closed);
            let names = if is_closed { &mut closed } else { &mut others };
            if names.len() < wanted.limit {
                names.push(name.to_owned());
            }
        })?;
        if length < PAGE {
            break;
        }
        after = Some(last);
    }
    others.append(&mut closed);
    others.truncate(wanted.limit);
    Ok(others)
}
