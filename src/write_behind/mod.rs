//! Write-behind: saves the state of breakers to a store, and restores it at the start.
//!
//! A breaker only marks what changed. A thread for each store asks the marked breakers for their
//! newest snapshots and saves them. So a store that is slow, fails or hangs delays that thread and
//! nothing else, and nothing piles up but the marks.
//!
//! ```text
//!  threads of calls               threads that build, flush, drop          writer's thread
//!  ----------------               -------------------------------          ---------------
//!  Observer::on_change            Attachment: attach, flush,               Worker
//!        |                        history, drop                              |  next
//!        v                              |                                    v
//!  ChangeMarker ---- mark ---->  +-------------------------+ -- take -->  Batch: load, save,
//!                                | Inbox                   |              append
//!                   request ---> |   Schedule  (entries)   |                 |
//!                                |   Requests  (callers)   |                 v
//!                                +-------------------------+ <- conclude  StoreClient --> store
//!                                     |              ^                       |
//!                                     |   Monitor    |      begin, end of    |
//!                                     +--> Health <--+------ a call ---------+
//!                                            ^
//!                          watchdog: a call is overdue
//! ```
//!
//! # Threads
//!
//! * Threads of calls mark changes ([`ChangeMarker`]). They hold the breaker's lock, take a lock
//!   for a moment, and only if the mark is new.
//! * Threads that build, flush or drop a breaker ([`Attachment`]) pass requests to the writer and
//!   wait for the answer, within bounds.
//! * One [writer](worker) for each store, started by the first breaker on it, ends with the last.
//!   It calls the store through [`client::StoreClient`]. The [names] of a keyed group are read on
//!   a thread of their own, with a client of its own.
//! * One [watchdog] for the process reports calls that do not return. So do threads that ask for
//!   the health or pass a request.
//! * A [thread that cannot be started](threads) is started later, by whichever thread comes next,
//!   or by the [timer thread](restart). Until then there is no store to wait for: requests
//!   are refused, and marks are still taken.
//! * A forked process has none of these threads. It finds out by its number, reports an unhealthy
//!   store, and waits for nothing.
//!
//! # Life of an entry
//!
//! An [entry](entry::Entry) is one breaker on one store. Of several of one name, only the
//! [owner](owners) is saved; the others are suspended ([ownership]).
//!
//! 1. `attach` adds it to the [schedule]. If there is a breaker of its name, it takes over that
//!    one's state. Otherwise its snapshot comes from the [preload], if many breakers are built, or
//!    else from the writer. `attach` waits for that, but for no longer than the load wait; the
//!    snapshot may also come later.
//! 2. A change sets a mark and queues the entry by the time at which it is due. Marking it again is
//!    a single load. It becomes part of a [batch]: the mark is cleared, then the snapshot is
//!    encoded, so a change that the snapshot misses marks the entry again. Pending transitions are
//!    appended to the history after the snapshot is saved.
//!    A large snapshot is encoded as what has changed since the last whole one, if only counts have
//!    ([`SnapshotBase`](source::SnapshotBase)).
//! 3. What fails is retried with backoff, apart from entries that did not fail.
//! 4. When the breaker is dropped and not saved, its last snapshot takes its place, as far as there
//!    is room. The drop waits until that is saved, within bounds ([departure]). The writer saves it
//!    before it reads or saves anything else of this name. A breaker that is built meanwhile begins
//!    with it, and so does the youngest of the name that is left.
//! 5. A breaker that its group has replaced is [discarded](discard) instead: what the store holds
//!    of it is deleted with the next batch.
//!
//! # When the store
//!
//! * **fails**, the batch reports it, [health] changes and is announced, requests get an error, and
//!   the retry is scheduled. After an outage only the retry and requests call the store.
//! * **hangs**, the watchdog or a caller that waited for too long reports it. Requests are answered
//!   at once from then on, with an error. Marks are still taken.
//! * **recovers**, every breaker is saved again if nothing worked before: the store may have lost
//!   what it held. What was not read is read now, and adopted by breakers without a newer state.
//!
//! # Locks
//!
//! In this order; a thread that holds one takes only those after it.
//!
//! 1. The breaker's own lock: held by its threads when they mark, and taken by the methods of
//!    [`SnapshotSource`]. So these are never called while a lock of this module is held.
//! 2. The list of all inboxes.
//! 3. An inbox's content: the schedule, the owners and the requests. (It is also taken to ask
//!    whether a state is still to be taken over, with the lock of the breaker held that takes it.)
//! 4. The store's [health]; an entry's source, its history, and its last announcement; the preload;
//!    the start of the writer; what the thread of listeners has to deliver.
//!    None of these is taken while another of them is held.
//!
//! No lock is held during a call to the store, a call of a listener, or a reply.
//!
//! # Files
//!
//! From the bottom up: a file imports only from rows above its own. `tests/architecture` holds the
//! table against the imports.
//!
//! | file | holds |
//! |---|---|
//! | `config` | the bounds of waits, and the intervals of maintenance |
//! | `source` | what a breaker provides to be saved |
//! | `known_store` | a store, and what it says of itself |
//! | `keys`, `hashes` | the keys of what is stored, and maps by their hashes |
//! | `record` | one transition as a record of a history |
//! | `pending_history` | the transitions of one breaker that are not written yet |
//! | `health` | the state machine of a store's health |
//! | `threads` | one thread that may have to be started later |
//! | `refresh` | when a snapshot is saved again that a store would forget |
//! | `entries` | the slab of entries and their ids |
//! | `announced` | what the listeners of a breaker know of its store's health |
//! | `last_state` | what is left of a breaker that is gone |
//! | `entry` | one breaker on a store: marks, source, history |
//! | `states` | what is known about the snapshot of an entry, and what a batch does with it |
//! | `watchdog` | notices calls that do not return |
//! | `client` | the guarded calls of a store |
//! | `owners` | which of several breakers of one name is saved (data only) |
//! | `lanes` | entries that wait, ordered by time |
//! | `schedule` | what is read and saved when |
//! | `quarantine` | keeps unreadable bytes aside |
//! | `load` | one snapshot, from the store into its breaker |
//! | `early` | the same from a part of the store, while the rest cannot be read |
//! | `names` | the names of all breakers of a group in a store |
//! | `removal` | which keys belong to a breaker that is removed |
//! | `pages`, `preload` | all snapshots at once: their memory, and when they are read |
//! | `write_each` | several writes in one call, or else one by one |
//! | `batch` | one round of reading and saving |
//! | `sweep` | looks for what has expired |
//! | `maintenance` | what is done between batches and while idle |
//! | `request` | what callers ask the writer for |
//! | `load_budget` | how much the writer reads that no caller waits for |
//! | `gauges` | when gauges are recorded |
//! | `listener_thread` | a thread that calls listeners where the writer's cannot |
//! | `content`, `inbox` | what all threads share: under its lock, and around it |
//! | `inboxes` | one inbox for each store of the process |
//! | `announce` | tells the log and the listeners of a changed health |
//! | `restart` | starts writers later that could not be started |
//! | `ownership` | hands a state from one breaker of a name to the next |
//! | `departure` | parts a breaker that is dropped from its store |
//! | `discard` | removes what is stored of a breaker that its group has replaced |
//! | `flush_all` | saves everything at the end of a program |
//! | `worker` | the writer's thread |
//! | `attachment` | a breaker's end |

mod announce;
mod announced;
mod attachment;
mod batch;
mod client;
mod config;
mod content;
mod departure;
#[cfg(feature = "keyed")]
mod discard;
mod early;
mod entries;
mod entry;
mod flush_all;
mod gauges;
mod hashes;
mod health;
mod inbox;
mod inboxes;
mod keys;
mod known_store;
mod lanes;
mod last_state;
mod listener_thread;
mod load;
mod load_budget;
mod maintenance;
#[cfg(feature = "keyed")]
mod names;
mod owners;
mod ownership;
mod pages;
mod pending_history;
mod preload;
mod quarantine;
mod record;
mod refresh;
mod removal;
mod request;
mod restart;
mod schedule;
mod source;
mod states;
mod sweep;
mod threads;
mod watchdog;
mod worker;
mod write_each;

#[cfg(test)]
mod tests;

pub(crate) use attachment::{Attachment, ChangeMarker, FirstSteps};
pub(crate) use config::{LONGEST_LOAD, WriteBehindConfig};
pub(crate) use flush_all::flush_all;
pub(crate) use known_store::KnownStore;
pub(crate) use load::warn_older_counts;
#[cfg(feature = "keyed")]
pub(crate) use names::{NameSearch, NamesWanted};
pub(crate) use source::{
    EncodedSnapshot, Part, RestoreError, SaveSettings, SnapshotBase, SnapshotSource, TakeOver,
};
