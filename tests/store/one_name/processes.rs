//! Two processes with a breaker of one name on one folder.

use std::{io, path::Path, time::Duration};

use tower_breaker::{Breaker, State, StateStore as _, snapshot::Snapshot};

use super::{NAME, builder};
use crate::support::{
    child::{Process, Role, RoleResult, argument, say},
    kind::Kind,
    wait::{MINUTE, eventually},
};

pub(crate) const OWNER: &str = "owner of a name";

/// The role of a child that forces its breaker open and, whenever it is asked, saves its state and
/// says what the store holds then.
pub(crate) fn own() -> RoleResult {
    let store = Kind::named(&argument("kind")).open(Path::new(&argument("folder")));
    let breaker = builder().store(std::sync::Arc::clone(&store)).build()?;
    breaker.force_open();
    loop {
        breaker.flush_blocking(MINUTE)?;
        let bytes = store.load(&format!("circuit_breaker:{NAME}:state"))?.ok_or("nothing saved")?;
        say(Snapshot::from_json(&bytes)?.state.as_str());
        if io::stdin().read_line(&mut String::new())? == 0 {
            return Ok(());
        }
    }
}

fn start(kind: Kind, folder: &Path) -> Process {
    let mut child =
        Role::new(OWNER).argument("kind", kind.name()).argument("folder", folder).start();
    assert_eq!(child.line().as_deref(), Some("forced_open"));
    child
}

fn build(kind: Kind, folder: &Path) -> Breaker {
    builder().store(kind.open(folder)).build().unwrap()
}

#[test]
fn a_second_process_overwrites_nothing_while_the_first_one_lives() {
    for kind in Kind::ALL {
        let folder = tempfile::tempdir().unwrap();
        let mut child = start(kind, folder.path());
        let breaker = build(kind, folder.path());
        let health = breaker.store_health().to_string();
        assert!(health.contains("held by another process"), "{kind:?}: {health}");
        breaker.disable();
        breaker.flush_blocking(Duration::from_secs(2)).unwrap_err();
        assert_eq!(child.ask(), "forced_open", "{kind:?}");
        drop(breaker);
        assert_eq!(child.ask(), "forced_open", "{kind:?}");
        child.kill();
        let breaker = build(kind, folder.path());
        eventually("the state is restored", || breaker.state() == State::ForcedOpen);
    }
}

#[test]
fn a_second_process_owns_the_name_once_the_first_one_is_gone() {
    for kind in Kind::ALL {
        let folder = tempfile::tempdir().unwrap();
        let child = start(kind, folder.path());
        let breaker = build(kind, folder.path());
        assert_eq!(breaker.state(), State::Closed, "{kind:?}: it cannot be read");
        child.kill();
        eventually("the last state of the first is adopted", || {
            breaker.state() == State::ForcedOpen
        });
        breaker.reset();
        eventually("it is saved", || breaker.flush_blocking(MINUTE).is_ok());
        drop(breaker);
        assert_eq!(build(kind, folder.path()).state(), State::Closed, "{kind:?}");
    }
}
