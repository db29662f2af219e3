//! A count of panics, those that somebody catches too.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

/// Counts from now on. What this returns gives the panics that nobody may have, and the number of those within
/// sled: on files that it cannot read it asserts, and the store turns that into an error.
pub(crate) fn count() -> impl FnOnce() -> (Value, Value) {
    let seen = Arc::new(Mutex::new((Vec::new(), 0)));
    let counted = Arc::clone(&seen);
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let mut counted = counted.lock().unwrap();
        if panic.location().is_some_and(|place| place.file().contains("/sled-0.")) {
            counted.1 += 1;
            eprintln!("within sled: {panic}");
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
