//! What the replicas of a fleet and their server tell each other, and what follows from it: pure,
//! told the time, and free of I/O.
//!
//! From the bottom up: a [`Fence`](fence::Fence) orders the states of a breaker, a
//! [`Record`](record::Record) is one of them, a [`FleetCommand`](command::FleetCommand) asks the
//! server for another one, and a [`Member`](member::Member) is a replica's side of one breaker. The
//! server's side is a Lua script; in the tests, a [reference](tests/server.rs) of it is
//! model-checked together with the members, and the script is held to the reference on a real
//! server.
//!
//! # Rules
//!
//! * **Fence.** Each state has a number and a token, and is ordered by both. The server gives
//!   `max(stored, seen) + 1` and a fresh token, where `seen` is the highest that the caller knows.
//!   So two states never have the same fence, even if the server has forgotten what it knew.
//! * **Only a higher fence changes a replica.** A missing key says nothing, and old news says
//!   nothing. A replica that joins again tells the server the highest record that it knows.
//! * **Conditional.** A vote or a probe's result applies to the state that its caller has seen. If
//!   the server has a newer one, the command changes nothing, and answers with the newer one.
//!   A command that is sent again because its answer was lost is therefore harmless.
//! * **Deadline.** A command says until when its caller waits for the answer, by the server's
//!   clock. The server ignores it afterwards: a server that stood still does not carry out what the
//!   fleet has long decided otherwise.
//! * **Remaining times travel.** The server's clock decides until when a state lasts. Replicas'
//!   clocks are never compared.
//! * **Clocks that step.** The server keeps of each state, vote and lease how long it lasts in all,
//!   and shortens what its clock, once it has gone back, would make last longer. A replica that
//!   sees the server's clock step casts its votes again and renews its leases, with what is left of
//!   them by its own clock. So it does after the server has forgotten them.
//! * **Agreement.** A trip is a vote against the present state. It opens the circuit of the fleet
//!   when enough replicas have voted whose own open time still runs. The replica that tripped is
//!   open at once in any case.
//! * **Recovery alone.** A replica that cannot reach the server probes without a lease. If the
//!   probe succeeds, it closes the circuit of the fleet too, once the server is back, if that is
//!   still half-open in the state that the replica knows.
//! * **Leases.** The probes of the fleet are bounded by leases: a token with an expiry. A result
//!   counts if its lease is the server's and has not expired. A lease that was granted by a server
//!   that has forgotten it counts for nothing.

pub(crate) mod clock;
pub(crate) mod command;
pub(crate) mod counts;
pub(crate) mod fence;
pub(crate) mod member;
pub(crate) mod record;

#[cfg(test)]
pub(crate) mod tests;
