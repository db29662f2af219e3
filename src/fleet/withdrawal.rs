//! Counts of breakers that a replica takes back.

use super::{
    protocol::counts::{Bucket, Series},
    transport::{Transport, is_of_one_key},
    wire,
};
use crate::store::{
    StoreError,
    redis::{Script, run_calls},
};

/// What is taken back of one breaker's counts.
pub(super) struct Withdrawal<'a> {
    pub(super) name: &'a str,
    pub(super) series: Series,
    pub(super) buckets: &'a [Bucket],
}

impl Transport {
    /// Takes counts back, all at once. If the answer is lost, they are not taken back again: no
    /// call of another replica may be missing.
    pub(super) fn withdraw(&mut self, withdrawals: &[Withdrawal<'_>]) -> Result<(), StoreError> {
        if withdrawals.is_empty() {
            return Ok(());
        }
        let script = Script::new(include_str!("redis/withdraw.lua"));
        let Self { connection, keys, .. } = self;
        let withdrawn = connection.call(|connection| {
            let replies = run_calls(connection, withdrawals, |form, withdrawal| {
                let Withdrawal { name, series: Series { fence, begun }, buckets } = withdrawal;
                let fence = format!("{}:{}", fence.number, wire::token(fence.token));
                let mut arguments = vec![fence, begun.to_string()];
                for Bucket { rule, number, tally } in *buckets {
                    arguments.push(format!("{}:{number}", rule.name()));
                    arguments.extend([tally.calls, tally.bad].map(|count| count.to_string()));
                }
                let arguments: Vec<&[u8]> = arguments.iter().map(String::as_bytes).collect();
                script.command(form, &[keys.counts(name).as_bytes()], &arguments)
            })?;
            for reply in replies {
                // The next counts meet what is wrong with one key.
                match reply.extract_error() {
                    Err(error) if !is_of_one_key(&error) => {
                        return Err(script.name_what_is_denied(error));
                    }
                    _ => {}
                }
            }
            Ok(())
        });
        self.unless_broken(withdrawn)
    }
}
