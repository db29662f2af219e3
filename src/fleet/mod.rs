//! Breakers that the replicas of a service share through a Redis server.
//!
//! ```no_run
//! use tower_breaker::{CircuitBreakerLayer, fleet::RedisFleet};
//!
//! let fleet = RedisFleet::open("redis://redis.internal")?;
//! let layer = CircuitBreakerLayer::builder("payments").shared(fleet).build()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Breakers of one name on one server are one: if the circuit opens on one replica, it opens on
//! all; one probe for the whole fleet finds out whether the dependency is back; and when it
//! succeeds, all close. States that are set by hand, with what the
//! [change](crate::ManualChange) says, resets, and the step of the backoff hold for all replicas.
//! All of them should have the same settings.
//!
//! All breakers of a [`Registry`](crate::Registry) are shared by
//! [`RegistryBuilder::shared`](crate::registry::RegistryBuilder::shared), and those of a group of
//! keys by `KeyedBreakersBuilder::shared` (feature `keyed`).
//!
//! # What a call meets
//!
//! Calls never wait for the server. A replica counts its own calls, decides at once by its own
//! rules, and tells the others in the background.
//!
//! * **Opening.** A replica that trips is open at once. Its trip is a vote; [`Agreement`] says how
//!   many it takes to open the circuit of all. A vote counts for as long as its voter's own open
//!   time runs.
//! * **Counting.** Each replica counts its own calls. With [`FleetCounts::Shared`], rules over time
//!   windows count those of all as well. A replica whose own calls are good does not trip by them.
//! * **Half-open.** [`half_open_max_calls`](crate::Config::half_open_max_calls) holds for all
//!   replicas together: a probe needs a lease. A replica that has had a call within the last second
//!   fetches one in the background as soon as the open time has ended. One that has not fetches it
//!   once a call has met the half-open circuit, so that call is rejected and a later one is the
//!   probe. A lease that has not been used for a second goes back, and the next one is kept for
//!   twice as long, up to an hour, while no other replica has calls: a circuit that is called once
//!   a minute rejects some seven calls before one is the probe. If a replica dies while it probes,
//!   its lease [expires](RedisFleetBuilder::lease).
//! * **Closing.** [`success_threshold`](crate::Config::success_threshold) and
//!   [`half_open_failure_rate`](crate::Config::half_open_failure_rate) count the probes of all.
//! * **Start.** [`build`](crate::BreakerBuilder::build) waits up to a second for the fleet's state,
//!   so that the first call of a new replica meets it. It replaces what a [store](crate::store)
//!   held. A server that knows no state of the breaker gets the one that was restored: an open
//!   one, one set by hand, or with [`Agreement::any`] a half-open one, whose probes need leases
//!   from then on. Where replicas must agree, a half-open one is each replica's own.
//!
//! A health check that recovers early (feature `health-check`) does not end the open time of the
//! fleet. It ends that of a replica that is open alone: its vote did not suffice, or the server
//! cannot be reached.
//!
//! # For operators
//!
//! [`RedisFleet::replicas`] lists the replicas and when each was last heard of, and
//! [`Breaker::fleet_views`](crate::Breaker::fleet_views) asks them how they see a breaker: its
//! state, since when and why, its counts, and whether the state is a replica's own or that of the
//! fleet. The server keeps no views: 1,000 replicas of 10,000 breakers would have ten million.
//! Give each replica an [id](RedisFleetBuilder::replica_id) that says where it runs.
//!
//! # When the server
//!
//! * **cannot be reached**, does not answer, or refuses commands: each replica decides alone, as a
//!   breaker that is not shared, keeps trying, and joins again. What it has decided meanwhile the
//!   others learn then: a trip, a state set by hand, and that the dependency is back.
//!   [`Breaker::fleet_health`](crate::Breaker::fleet_health) says so, the log at WARN, and the
//!   gauge `circuit_breaker_fleet_joined`.
//! * **has forgotten** what it knew, because it was emptied or an older copy of it has taken over:
//!   the replicas tell it. Each state has a fence, a number with a random token, and only a state
//!   with a higher one replaces another. This is noticed within a second.
//! * **evicts keys**, or the key of a breaker is deleted: what lasts is sent again, some ten
//!   seconds later on average. Numbers of fences grow over all breakers, so the next state of a
//!   breaker whose key is gone follows the last one, also where a replica that starts meanwhile
//!   does not know it.
//! * **stood still**: it ignores commands that their callers have given up.
//! * **is full** (`maxmemory` without eviction): it refuses whatever takes memory, as a whole, so a
//!   trip is stored and published, or neither. Replicas decide alone until it has room, and tell
//!   it then.
//! * **holds something else** under the key of a breaker: that breaker decides alone, and a warning
//!   in the log and its [`fleet_health`](crate::Breaker::fleet_health) say so; the others stay
//!   joined. It joins once the key is deleted.
//!
//! A replica whose thread of the fleet does nothing for more than five seconds, because the server
//! keeps it waiting with a longer timeout or the process has too little CPU time, lets its own
//! calls be probes until the thread works again.
//!
//! A breaker that is dropped gives its leases back and takes its vote back in the background. If a
//! vote of this replica counts, the drop of the last handle and breaker of the fleet waits until it
//! is taken back, for up to half a second. Otherwise, a process that ends does not wait for the
//! server: what it has decided in its last moments may not reach the others, and the leases of its
//! probes hold until they [expire](RedisFleetBuilder::lease). If it ends without dropping its fleet
//! and breakers, its votes count for their open time.
//!
//! So a program that sets a state and ends must not do that at once. It first calls
//! [`Breaker::fleet_views`](crate::Breaker::fleet_views): a breaker tells the fleet what it has
//! decided before it asks the others.
//!
//! A process that is forked after its first breaker of a fleet was built has no threads of the
//! fleet. Its breakers decide alone: [`fleet_health`](crate::Breaker::fleet_health) says so,
//! questions of operators end with an error, and a circuit that the fleet had opened when the
//! process was forked rejects calls for up to five seconds longer: from the first one that would be
//! a probe. Build breakers after daemonizing.
//!
//! Replicas' clocks are not compared; until when a state lasts, the server's clock decides. If it
//! goes back, a state lasts for its own time again at most, and no circuit stays open for longer
//! than the longest open time of its replica's settings. Within a second, the replicas that know
//! the state put its end right by their own clocks, so that one that starts meanwhile does not wait
//! longer than they do. Each replica corrects its own votes and leases by its own clock, also if
//! the server's clock jumps ahead.
//!
//! # On the server
//!
//! Redis 6.2 or later: one server, one that sentinels watch, or a Redis Cluster. The
//! [table of servers](crate::store::RedisStore#servers) has the URLs, and what is tested.
//!
//! A closed breaker that has never opened has no key. Otherwise it has a hash,
//! `circuit_breaker:{0}:fleet:{name}:breaker`, which expires a day after it was last valid. Beside
//! these, under `circuit_breaker:{0}:fleet:`, there are `shard`, the stream `news` of about ten
//! thousand entries, the sorted set `replicas` with an entry for each, the stream `questions` of
//! about a hundred, for ten seconds after a question of an operator a hash `answers:{number}`, and
//! with [`FleetCounts::Shared`] for each breaker with calls a hash `{name}:counts` of at most 42
//! numbers a rule, which expires with the longest window. The first four expire eight days after
//! the last replica was there. Only a state set by hand without an end stays until it is reset.
//! The braces hold the number of the shard, so a cluster keeps all keys of a shard on one node.
//! With [`shards`](RedisFleetBuilder::shards), breakers spread over several nodes.
//!
//! A user needs no more than this:
//!
//! ```text
//! ACL SETUSER breakers on >secret ~circuit_breaker:{*}:fleet:* +eval +evalsha +time +xread
//!     +xrevrange +xadd +hget +hgetall +hset +hsetnx +hdel +hincrby +hlen +persist +pexpire
//!     +pexpireat +zadd +zcount +zrange +zrem +zremrangebyscore
//! ```
//!
//! and `+role` on a server that sentinels watch, `+cluster|slots` in a cluster, or `+select` to use
//! another database than 0.
//!
//! At rest, each replica sends three commands a second. A transition costs one script, and each
//! replica one read. What many breakers have to send at once shares round trips, in pipelines whose
//! size follows from how long the server takes. With [`FleetCounts::Shared`], a replica with calls
//! sends ten scripts a second for up to a hundred breakers.
#![doc = include_str!("operations.md")]

mod agent;
mod agreement;
mod attached;
mod counting;
mod counts;
mod entry;
mod health;
mod home;
mod inquiries;
mod keys;
mod leases;
mod leaving;
mod membership;
mod message;
mod news;
mod pace;
mod protocol;
mod questions;
mod redis_fleet;
mod remark_text;
mod replica;
mod retry_pause;
mod rounds;
mod settings;
mod threads;
mod translate;
mod transport;
mod view_text;
mod wire;
mod withdrawal;

#[cfg(test)]
mod tests;

pub(crate) use self::membership::Membership;
pub use self::{
    agreement::Agreement,
    counts::FleetCounts,
    health::FleetHealth,
    redis_fleet::{RedisFleet, RedisFleetBuilder},
    replica::{BreakerView, FleetError, FleetReplica, FleetView},
};
