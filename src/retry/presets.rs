//! The policies that know what to retry.

use std::{error::Error as StdError, time::Duration};

use http::Method;

use super::{
    backoff::Delays,
    database::{Database, SqlStateOf},
    network::Network,
    policy::RetryPolicy,
};
use crate::classify::Statuses;

impl<K> RetryPolicy<Network<K>> {
    /// For requests and responses of the `http` crate: retries what fails because of the network.
    ///
    /// - Errors that are [transient](super::is_transient), or have such a source.
    /// - The statuses 408, 429, 502, 503 and 504, which describe a moment or a connection. Not 500:
    ///   the server failed to handle this request, with unknown side effects, and is likely to fail
    ///   again.
    /// - Only requests with an idempotent method (RFC 9110, section 9.2.2: GET, HEAD, OPTIONS,
    ///   TRACE, PUT, DELETE). With any other method, the server may have done the work already. A
    ///   refused connection is retried with every method, because the request was not sent.
    /// - Not rejections, and not [errors of the request itself](crate::classify::is_request_error).
    ///
    /// [The table](crate::classify#statuses) compares it with the classifiers and the other
    /// presets. The second attempt follows after 50 to 100 ms, the third and last after another
    /// 100 to 200 ms, plus the [`Retry-After`](crate::classify::retry_after) of a 429 or 503 if
    /// that is at most 30 s.
    ///
    /// Sources: the statuses are those that Polly, the AWS SDKs and reqwest-retry agree on,
    /// without 500; the number of attempts is that of the AWS SDKs.
    #[must_use]
    pub fn network() -> Self {
        Self::when(Network::new())
    }

    /// For requests and responses of the `http` crate, to an API that limits its callers: retries
    /// what [`network`](Self::network) retries, with the delays that a limit asks for.
    ///
    /// - A 429 is retried with every method: the server refused the request instead of handling
    ///   it. Everything else needs an idempotent method, as with `network`.
    /// - Five attempts. The delays are 1 to 2 s, 2 to 4 s, 4 to 8 s and 8 to 16 s, plus the
    ///   [`Retry-After`](crate::classify::retry_after) of a 429 or 503, so that callers whose
    ///   limit ends at the same moment do not return together. With more attempts, a delay is at
    ///   most 20 to 40 s.
    /// - A `Retry-After` of up to 60 s is waited for, since limits are mostly counted by the
    ///   minute. A response with a longer one [is returned](Self::max_retry_after).
    ///
    /// A request that keeps failing does so only after 15 to 30 s of delays, so the preset suits
    /// jobs rather than the requests of users.
    ///
    /// A server that refuses with another status needs
    /// [`also_statuses`](RetryPolicy::also_statuses): GitHub uses 403 too, for example.
    ///
    /// Sources: 429 is defined by RFC 6585, section 4. The AWS SDKs start at 1 s after a throttled
    /// call, double the delay up to 20 s, and add jitter; Google's client libraries begin with 1 s
    /// too.
    ///
    /// ```
    /// use tower_breaker::{RetryPolicy, retry::Network};
    ///
    /// let policy: RetryPolicy<Network> = RetryPolicy::rate_limited().max_attempts(3);
    /// ```
    #[must_use]
    pub fn rate_limited() -> Self {
        let mut policy = Self::when(Network::new()).max_attempts(5);
        policy.when.repeats_throttled = true;
        policy.max_retry_after = Duration::from_secs(60);
        policy.delays = Delays::rate_limited();
        policy
    }
}

impl<K, Q> RetryPolicy<Network<K>, Q> {
    /// Also retries responses with these statuses, for requests with the same methods.
    ///
    /// ```
    /// use tower_breaker::{RetryPolicy, retry::Network};
    ///
    /// let policy: RetryPolicy<Network> = RetryPolicy::network().also_statuses(500..=501);
    /// ```
    #[must_use]
    pub fn also_statuses(mut self, statuses: impl Statuses) -> Self {
        self.when.statuses = self.when.statuses.failure(statuses);
        self
    }

    /// Also retries these errors, for requests with the same methods. The function is called for
    /// the error and for each of its sources. Default: none. A second call replaces the function.
    ///
    /// An example is a connection that the server closes before the response begins: hyper has an
    /// error of its own for it, without an `io::Error` as its source.
    ///
    /// ```
    /// use tower_breaker::RetryPolicy;
    /// use tower_breaker::retry::Network;
    ///
    /// let policy: RetryPolicy<Network> = RetryPolicy::network().also_errors(|cause| {
    ///     cause.downcast_ref().is_some_and(hyper::Error::is_incomplete_message)
    /// });
    /// ```
    #[must_use]
    pub fn also_errors(mut self, errors: fn(&(dyn StdError + 'static)) -> bool) -> Self {
        self.when.errors = errors;
        self
    }

    /// Also retries requests with these methods. Use it only if sending such a request twice has
    /// the same effect as sending it once. Default: none. A second call replaces the function.
    #[must_use]
    pub fn also_methods(mut self, methods: fn(&Method) -> bool) -> Self {
        self.when.methods = methods;
        self
    }
}

impl<K> RetryPolicy<Database<K>> {
    /// For transactions on a database: retries those that the database has rolled back or refused.
    ///
    /// `sqlstate` returns the SQLSTATE of an error. It is called for the error and for each of its
    /// sources. This crate depends on no database client, so the closure looks into the client's
    /// error:
    ///
    /// | client | closure |
    /// |---|---|
    /// | sqlx | `\|cause\| cause.downcast_ref::<sqlx::Error>()?.as_database_error()?.code()` |
    /// | tokio-postgres | `\|cause\| Some(cause.downcast_ref::<tokio_postgres::Error>()?.code()?.code().into())` |
    /// | diesel | maps the `DatabaseErrorKind`: `SerializationFailure` to `Some("40001".into())`, `ClosedConnection` to `Some("08006".into())` |
    ///
    /// Where a database has no SQLSTATE for a condition, return the one that means the same:
    /// `55P03` for SQLite's `SQLITE_BUSY` and for error 1205 of MySQL, and `53300` for a connection
    /// pool that timed out.
    ///
    /// | SQLSTATE | meaning | retried |
    /// |---|---|---|
    /// | `40001`, `40P01`, `40000` | serialization failure, deadlock, rollback | yes |
    /// | `55P03`, `55006` | lock not available, object in use | yes |
    /// | `53000`, `53200`, `53300` | out of resources, memory or connections | yes |
    /// | `57P01`, `57P03`, `57P05` | shutting down, starting up, session ended while idle | yes |
    /// | `08001`, `08004` | no connection was made | yes |
    /// | an `io::Error` that the connection was refused | no connection was made | yes |
    /// | `40003`, `08000`, `08003`, `08006`, `08007`, `57P02` | the connection was lost | if [idempotent](RetryPolicy::idempotent) |
    /// | another [transient](super::is_transient) error, a timeout for example | the connection was lost | if [idempotent](RetryPolicy::idempotent) |
    /// | all others, such as a constraint violation, a full disk, an error in the statement | | no |
    ///
    /// - **One call is one transaction**, with all of its statements: after a rollback, it has to
    ///   begin anew. Outside of a transaction, it is one statement.
    /// - **A connection that was lost** leaves it open whether the transaction was committed, so
    ///   sending it again may do the work twice. [`idempotent`](RetryPolicy::idempotent) says that
    ///   this is harmless.
    /// - Five attempts. The delays are 50 to 100 ms, 100 to 200 ms, 200 to 400 ms and 400 to
    ///   800 ms: conflicting transactions are apart by then, and a database that restarts has
    ///   nearly 2 s. With more attempts, a delay is at most 5 to 10 s.
    /// - Not rejections, nor [errors of the request itself](crate::classify::is_request_error).
    ///
    /// A breaker below counts each attempt. Conflicts and constraint violations come from a
    /// database that works, so let [its classifier](crate::CircuitBreakerLayer::classify) take them
    /// for successes, or many transactions that conflict open the circuit.
    ///
    /// Sources: PostgreSQL's documentation, section 13.5 ("Serialization Failure Handling") and
    /// appendix A; MySQL's reference manual, "Deadlocks in InnoDB"; the transient errors of Npgsql
    /// and EF Core, without full disks, and without lost connections unless asked for.
    ///
    /// ```
    /// use tower_breaker::{RetryPolicy, retry::Database};
    ///
    /// #[derive(Debug)]
    /// struct DatabaseError {
    ///     code: String,
    /// }
    ///
    /// # impl std::fmt::Display for DatabaseError {
    /// #     fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
    /// #         write!(f, "error {}", self.code)
    /// #     }
    /// # }
    /// impl std::error::Error for DatabaseError {}
    ///
    /// let policy: RetryPolicy<Database> = RetryPolicy::database(|cause| {
    ///     Some(cause.downcast_ref::<DatabaseError>()?.code.as_str().into())
    /// });
    /// ```
    #[must_use]
    #[expect(clippy::doc_markdown, reason = "names of databases")]
    pub fn database(sqlstate: SqlStateOf) -> Self {
        Self::when(Database::new(sqlstate)).max_attempts(5)
    }
}

impl<K, Q> RetryPolicy<Database<K>, Q> {
    /// Doing the work twice has the same effect as doing it once, so it is also retried after
    /// errors that leave it open whether it was done.
    ///
    /// ```
    /// use tower_breaker::{RetryPolicy, retry::Database};
    ///
    /// let policy: RetryPolicy<Database> = RetryPolicy::database(|_| None).idempotent();
    /// ```
    #[must_use]
    pub fn idempotent(mut self) -> Self {
        self.when.idempotent = true;
        self
    }
}
