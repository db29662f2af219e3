//! A count of panics, including those that are caught.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

/// Starts counting. The returned closure gives the panics that must not happen, and the number of
/// those within sled and redb, which assert on unreadable files: the store turns that into an
/// error.
pub(crate) fn count() -> impl FnOnce() -> (Value, Value) {
    let seen = Arc::new(Mutex::new((Vec::new(), 0)));
    let counted = Arc::clone(&seen);
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let mut counted = counted.lock().unwrap();
        let is_within = |crates: &[&str]| {
            let file = panic.location().map_or("", |place| place.file());
            crates.iter().any(|name| file.contains(name))
        };
        if is_within(&["/sled-0.", "/redb-4."]) {
            counted.1 += 1;
            eprintln!("contained: {panic}");
        } else {
            counted.0.push(panic.to_string());
            before(panic);
        }
    }));
    move || {
        let (panics, contained) = seen.lock().unwrap().clone();
        (json!(panics), json!(contained))
    }
}
