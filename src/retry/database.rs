use std::{borrow::Cow, error::Error as StdError, fmt, marker::PhantomData};

use super::{
    condition::{RetryWhen, sealed::Sealed},
    inspect::{
        AsCause, is_rejection,
        kind::{IsError, Opaque},
    },
    network::{is_refused, is_transient},
};
use crate::{classify::is_request_error, error::causes, outcome::Outcome};

/// Returns the SQLSTATE of an error, or of one of its sources.
pub type SqlStateOf = for<'a> fn(&'a (dyn StdError + 'static)) -> Option<Cow<'a, str>>;

/// Retries transactions that a database has rolled back or refused. Created by
/// [`RetryPolicy::database`](super::RetryPolicy::database), which lists the errors.
///
/// `K` is the kind of the error; the compiler infers it.
pub struct Database<K = IsError> {
    sqlstate: SqlStateOf,
    pub(super) idempotent: bool,
    kind: PhantomData<fn() -> K>,
}

/// What an error says about the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    /// The work was not done, and another attempt may succeed.
    None,
    /// The work may have been done.
    Unknown,
    /// Another attempt would end like this one.
    Final,
}

impl Effect {
    fn of_sqlstate(code: &str) -> Self {
        match code {
            // Transaction rollback. 40002 is a constraint that does not hold at the commit.
            "40000" | "40001" | "40P01"
            // A lock, or an object, that another session holds.
            | "55P03" | "55006"
            // Resources other than the disk.
            | "53000" | "53200" | "53300"
            // The server shuts down, starts, or has ended an idle session.
            | "57P01" | "57P03" | "57P05"
            // There was no connection yet.
            | "08001" | "08004" => Self::None,
            // The connection was lost, perhaps after the commit.
            "40003" | "08000" | "08003" | "08006" | "08007" | "57P02" => Self::Unknown,
            _ => Self::Final,
        }
    }
}

impl<K> Database<K> {
    pub(super) fn new(sqlstate: SqlStateOf) -> Self {
        Self { sqlstate, idempotent: false, kind: PhantomData }
    }

    fn effect(&self, error: &(dyn StdError + 'static)) -> Effect {
        if is_request_error(error) {
            return Effect::Final;
        }
        if let Some(code) = causes(error).find_map(self.sqlstate) {
            return Effect::of_sqlstate(&code);
        }
        if is_refused(error) {
            Effect::None
        } else if is_transient(error) {
            Effect::Unknown
        } else {
            Effect::Final
        }
    }
}

impl<K> Sealed for Database<K> {}

impl<K, Request, T, E> RetryWhen<Request, T, E> for Database<K>
where
    E: AsCause<K>,
{
    fn outcome(&self, _: &Request, result: &Result<T, E>) -> Option<Outcome> {
        if is_rejection::<_, _, Opaque, K>(result) {
            return None;
        }
        let Err(error) = result else { return Some(Outcome::Success) };
        match error.as_cause().map_or(Effect::Final, |cause| self.effect(cause)) {
            Effect::None => Some(Outcome::failure()),
            Effect::Unknown => self.idempotent.then(Outcome::failure),
            Effect::Final => Some(Outcome::Ignore),
        }
    }
}

impl<K> Clone for Database<K> {
    fn clone(&self) -> Self {
        Self { kind: PhantomData, ..*self }
    }
}

impl<K> fmt::Debug for Database<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database").field("idempotent", &self.idempotent).finish_non_exhaustive()
    }
}
