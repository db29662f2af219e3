//! The thread that waits for news.
//!
//! It has a connection of its own, on which it waits in `XREAD BLOCK`. The entries are numbered, so
//! that a gap is noticed: the stream was trimmed, or the server has lost some of it.

use std::{
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::Sender,
    },
    thread,
    time::{Duration, Instant},
};

use redis::{ConnectionLike, RedisResult};

use super::{
    keys::Keys,
    message::{Message, News},
    protocol::record::Micros,
    remark_text, wire,
};
use crate::{
    store::{
        StoreError,
        redis::{Connection, Connector, RECONNECT_PAUSE},
    },
    sync::panic_message,
};

/// The timeout of one read, which bounds how long the thread outlives its fleet.
const WAIT: Duration = Duration::from_secs(1);
/// The pause after news, so that those that follow closely come together with the next read. Short
/// against the time within which an opening reaches all.
const PAUSE: Duration = Duration::from_millis(40);
/// The pause after the first error in a while: a connection that broke is made anew at once. After
/// further ones, the server is there and refuses something.
const FIRST_PAUSE: Duration = Duration::from_millis(20);

/// One entry of the stream: its id and its fields.
type StreamEntry = (String, HashMap<String, String>);
/// The number of the newest news, and the last entry of both streams.
type Places = (Option<u64>, Vec<StreamEntry>, Vec<StreamEntry>);
type Streams = Option<Vec<(String, Vec<StreamEntry>)>>;

pub(super) struct Reader {
    connection: Connection,
    keys: Keys,
    sender: Sender<Message>,
    signals: Arc<Signals>,
    /// The last entry that was read; `None` before the first connection.
    last: Option<Position>,
    /// The id of the last question that was read.
    last_question: String,
}

/// What the threads of a fleet, and those that use it, let each other know.
#[derive(Debug, Default)]
pub(super) struct Signals {
    pub(super) stop: AtomicBool,
    /// Some news cannot have been read: it is before the place from which the thread reads.
    pub(super) begin_anew: AtomicBool,
    /// From the other thread: a vote of this replica may count, or be about to be taken back.
    pub(super) has_votes: AtomicBool,
}

struct Position {
    id: String,
    serial: u64,
}

impl Reader {
    pub(super) fn new(
        connector: Arc<Connector>,
        keys: Keys,
        sender: Sender<Message>,
        signals: Arc<Signals>,
    ) -> Self {
        let connection = Connection::beside(connector, keys.news());
        Self { connection, keys, sender, signals, last: None, last_question: String::new() }
    }

    /// Reads until the fleet is gone.
    pub(super) fn run(mut self) {
        let mut is_reading = false;
        let mut last_error: Option<Instant> = None;
        while !self.signals.stop.load(Ordering::Relaxed) {
            if self.signals.begin_anew.swap(false, Ordering::Relaxed) {
                is_reading = false;
                // It may be with a server that others have left.
                self.connection.close();
            }
            let step = self.step(is_reading);
            let messages = match step {
                Ok(messages) => {
                    let began = !std::mem::replace(&mut is_reading, true);
                    let serial = self.last.as_ref().map_or(0, |last| last.serial);
                    if began { vec![Message::Reading { serial }] } else { messages }
                }
                Err(error) => {
                    is_reading = false;
                    let is_first = last_error.is_none_or(|at| at.elapsed() >= 5 * RECONNECT_PAUSE);
                    last_error = Some(Instant::now());
                    let least = if is_first { FIRST_PAUSE } else { RECONNECT_PAUSE };
                    let pause = self.connection.pause().max(least);
                    let sent = self.sender.send(Message::NotReading(error));
                    thread::sleep(pause);
                    if sent.is_err() {
                        return;
                    }
                    Vec::new()
                }
            };
            let has_news = messages.iter().any(|one| matches!(one, Message::News { .. }));
            for message in messages {
                if self.sender.send(message).is_err() {
                    return;
                }
            }
            if has_news {
                thread::sleep(PAUSE);
            }
        }
    }

    /// Begins, or reads on. A panic, as of the user's function that provides credentials, is an
    /// error like others: the thread must not end.
    fn step(&mut self, is_reading: bool) -> Result<Vec<Message>, StoreError> {
        let step = || if is_reading { self.read() } else { self.begin() };
        catch_unwind(AssertUnwindSafe(step)).unwrap_or_else(|panic| {
            // A reply may be unread.
            self.connection.close();
            let reason = format!("the reader of news panicked: {}", panic_message(&*panic));
            Err(StoreError::Other(reason.into()))
        })
    }

    /// Finds the place from which to read: after the last entry. Once the thread knows it, all
    /// states are read; what happens from here on is news.
    fn begin(&mut self) -> Result<Vec<Message>, StoreError> {
        let keys = &self.keys;
        let (newest_serial, newest, question): Places = self.connection.call(|connection| {
            let mut pipeline = redis::pipe();
            // Before the stream, so that no entry is missing between the two.
            pipeline.cmd("HGET").arg(keys.shard()).arg("news");
            for stream in [keys.news(), keys.questions()] {
                let newest = pipeline.cmd("XREVRANGE").arg(stream);
                newest.arg("+").arg("-").arg("COUNT").arg(1);
            }
            pipeline.query(connection)
        })?;
        let question = question.into_iter().next();
        self.last_question = question.map_or_else(|| "0-0".to_owned(), |(id, _)| id);
        let position = match newest.first() {
            Some((id, fields)) => Position { id: id.clone(), serial: serial(fields) },
            // There was none yet, or the stream was evicted or deleted.
            None => Position { id: "0-0".to_owned(), serial: newest_serial.unwrap_or(0) },
        };
        self.last = Some(position);
        Ok(Vec::new())
    }

    fn read(&mut self) -> Result<Vec<Message>, StoreError> {
        let Some(last) = &mut self.last else { return Ok(Vec::new()) };
        let (keys, ids) = (&self.keys, [&*last.id, &*self.last_question]);
        let (streams, time) =
            self.connection.block(WAIT, |connection| read_after(connection, keys, ids))?;
        let received = Instant::now();
        let (news, questions): (Vec<_>, Vec<_>) =
            streams.into_iter().flatten().partition(|(stream, _)| stream == keys.news());
        let mut messages = Vec::new();
        for (id, fields) in questions.into_iter().flat_map(|(_, entries)| entries) {
            messages.extend(parse_question(&fields));
            self.last_question = id;
        }
        let entries = news.into_iter().flat_map(|(_, entries)| entries);
        let mut news = Vec::new();
        let mut has_gap = false;
        for (id, fields) in entries {
            let serial = serial(&fields);
            has_gap |= serial != last.serial + 1;
            *last = Position { id, serial };
            news.extend(parse(&fields));
        }
        let serial = last.serial;
        if has_gap {
            messages.push(Message::Gap { serial });
        } else if !news.is_empty() {
            messages.push(Message::News { news, now: time, received, serial });
        }
        Ok(messages)
    }
}

/// Reads what comes after the entries of these ids, news and questions, and the time.
fn read_after(
    connection: &mut dyn ConnectionLike,
    keys: &Keys,
    ids: [&str; 2],
) -> RedisResult<(Streams, Micros)> {
    let mut pipeline = redis::pipe();
    let wait = u64::try_from(WAIT.as_millis()).unwrap_or(u64::MAX);
    pipeline.cmd("XREAD").arg("COUNT").arg(1000).arg("BLOCK").arg(wait);
    pipeline.arg("STREAMS").arg(keys.news()).arg(keys.questions()).arg(&ids[..]);
    pipeline.cmd("TIME");
    let (streams, (seconds, micros)): (Streams, (Micros, Micros)) = pipeline.query(connection)?;
    Ok((streams, seconds * 1_000_000 + micros))
}

fn serial(fields: &HashMap<String, String>) -> u64 {
    fields.get("i").and_then(|serial| serial.parse().ok()).unwrap_or(0)
}

fn parse(fields: &HashMap<String, String>) -> Option<News> {
    let field = |name: &str| fields.get(name).map(String::as_str);
    let by_hand = field("h").unwrap_or("0");
    let record = [field("n")?, field("t")?, field("s")?, field("u")?, field("o")?, by_hand];
    let lasts = field("d").and_then(|lasts| lasts.parse().ok());
    // Releases that do not know the field leave it out.
    let remark = field("r").and_then(remark_text::read);
    Some(News { name: field("b")?.into(), record: wire::parse_record(record)?, lasts, remark })
}

fn parse_question(fields: &HashMap<String, String>) -> Option<Message> {
    let question = u64::from_str_radix(fields.get("q")?, 16).ok()?;
    Some(Message::Asked { question, name: fields.get("b")?.as_str().into() })
}
