//! An HTTP service and a page for operators: what is open, since when, why and until when; and the
//! means to change it.
//!
//! [`Admin`] is a `tower::Service` over the types of [`http`]. It nests into an axum router at any
//! prefix, and hyper serves it alone:
//!
//! ```
//! use axum::Router;
//! use tower_breaker::{Registry, admin::Admin};
//!
//! let registry = Registry::builder().build()?;
//! let payments = registry.get_or_create("payments")?;
//!
//! let admin = Admin::new(registry).token("a long random secret").vital("payments");
//! let router: Router = Router::new().nest_service("/admin", admin);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Requests
//!
//! | request | answer |
//! |---|---|
//! | `GET /` | the page, which needs nothing from outside |
//! | `GET /breakers` | the breakers with their states, a page at a time |
//! | `GET /breakers/{id}` | one of them, and what each replica of its fleet says about it |
//! | `GET /breakers/{id}/history` | its transitions, newest first: `limit` (1 to 1,000, default 100), `before` |
//! | `GET /events` | transitions and other events as they happen, as server-sent events |
//! | `POST /breakers/{id}/trip` | opens the circuit as if a rule had tripped; it recovers as usual |
//! | `POST /breakers/{id}/force-open` | rejects every call, as [`Breaker::force_open_with`] does |
//! | `POST /breakers/{id}/disable` | admits every call and records none |
//! | `POST /breakers/{id}/metrics-only` | records every call and never opens |
//! | `POST /breakers/{id}/reset` | closes, and clears the counts |
//! | `GET /health` | 200, also while circuits are open; 503 only while a [vital](Admin::vital) one is |
//! | `GET /openapi.json` | this as an `OpenAPI` document |
//!
//! An `id` is the name of a breaker in base64url without padding, so it is safe in URLs whatever
//! the name holds. `/breakers` has them.
//!
//! `/breakers` takes `group` (the id of a [group](Admin::group); `-` for the breakers that are in
//! none), `search` (what a name contains), `order` (`name`, or `urgency`: not closed ones first),
//! `limit` (1 to 10,000, default 1,000) and `after` (the `next` of the page before). Its answer has
//! the number of breakers in `total`, and each group with its counts.
//!
//! The body of a change is JSON, `{"note": "incident 4711", "by": "on-call", "for": "30m"}`: why,
//! who, and how long. Each of the three may be left out. A note has at most 250 characters, a name
//! 50. A trip and a reset have no `for`.
//!
//! # Who may change what
//!
//! Without a [token](Admin::token) or a [guard](Admin::guard), the service is read-only. Requests
//! that a browser makes for another site change nothing, whatever their credentials
//! (`Sec-Fetch-Site`, and where a browser does not send it, `Origin` and `Host`).
//!
//! Reads need no credentials: if the names and notes of your breakers are not public, put the
//! service behind a layer of your own that asks for some. An internal address keeps programs out,
//! but not a page from outside in a browser inside, whose host name points to that address: see
//! [`Admin::allowed_hosts`] for what is refused by default, and list your own hosts there.
//!
//! # Limits
//!
//! A request's body may have 16 kB. `/health` names at most 1,000 open circuits, the vital ones
//! first. `/breakers/{id}` waits at most two seconds for the fleet of a shared breaker; each such
//! request costs each replica two commands. [A limited number](Admin::max_listeners) of event
//! streams is open at once, and one whose client does not read holds a few events, not all that it
//! misses. Such a client gets the event `resync`, and reads everything again.
//!
//! [`Breaker::force_open_with`]: crate::Breaker::force_open_with

mod access;
mod answer;
mod body;
mod change;
mod events;
mod fleet;
mod future;
mod group;
mod host;
mod id;
mod list;
mod problem;
mod query;
mod read_body;
mod resume;
mod routes;
mod same_site;
mod service;
mod source;
mod view;

#[cfg(test)]
mod tests;

pub use self::{body::AdminBody, future::AdminFuture, service::Admin, source::AdminSource};
