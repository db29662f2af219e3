//! In one call, then one by one, up to an outage.

use std::cell::RefCell;

use super::super::write_each::write_each;
use crate::store::StoreError;

/// Writes four items; `one` answers for each. Returns which were written, which were tried one by
/// one, and the errors with the items that they are about.
fn write(
    at_once: Result<(), StoreError>,
    one: impl Fn(u32) -> Result<(), StoreError>,
) -> (Vec<bool>, Vec<u32>, Vec<(usize, String)>) {
    let tried = RefCell::new(Vec::new());
    let mut errors = Vec::new();
    let written = write_each(
        &[0, 1, 2, 3],
        |items| {
            assert_eq!(items, [0, 1, 2, 3]);
            at_once
        },
        |item| {
            tried.borrow_mut().push(*item);
            one(*item)
        },
        |index, error| errors.push((index, error.to_string())),
    );
    (written, tried.into_inner(), errors)
}

fn odd() -> StoreError {
    StoreError::Other("odd".into())
}

fn outage() -> StoreError {
    StoreError::Unavailable("away".into())
}

#[test]
fn one_call_writes_all() {
    assert_eq!(write(Ok(()), |_| Ok(())), (vec![true; 4], vec![], vec![]));
}

#[test]
fn an_item_that_fails_does_not_affect_the_others() {
    let (written, tried, errors) =
        write(Err(odd()), |item| if item == 1 { Err(odd()) } else { Ok(()) });
    assert_eq!((written, tried), (vec![true, false, true, true], vec![0, 1, 2, 3]));
    assert_eq!(errors, [(1, odd().to_string())]);
}

#[test]
fn an_outage_ends_the_attempts() {
    let (written, tried, errors) = write(Err(outage()), |_| Ok(()));
    assert_eq!((written, tried), (vec![false; 4], vec![]));
    assert_eq!(errors, [(0, outage().to_string())]);
    let (written, tried, errors) =
        write(Err(odd()), |item| if item == 1 { Err(outage()) } else { Ok(()) });
    assert_eq!((written, tried), (vec![true, false, false, false], vec![0, 1]));
    assert_eq!(errors, [(1, outage().to_string())]);
}

#[test]
fn a_single_item_is_tried_once() {
    let mut errors = 0;
    let written =
        write_each(&[()], |_| Err(odd()), |()| panic!("it was tried already"), |_, _| errors += 1);
    assert_eq!((written, errors), (vec![false], 1));
}
