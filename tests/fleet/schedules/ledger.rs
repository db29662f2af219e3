//! What the server carries out, in its order: the states and leases of one breaker, read by
//! `MONITOR`, which also shows what scripts do.

use std::{
    collections::HashMap,
    io::{BufRead as _, BufReader, Write as _},
    net::{Ipv4Addr, TcpStream},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use crate::support::{redis::RedisServer, wait::eventually};

/// Microseconds since 1970, by the clock that the server and this process share.
pub(crate) type Moment = u64;

/// What orders the states: a number, and a token in hexadecimal.
pub(crate) type Fence = (u64, String);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) fence: Fence,
    pub(crate) state: String,
    /// 0: forever.
    pub(crate) until: Moment,
}

/// A lease from its grant to its end by the server's clock.
#[derive(Debug, Clone)]
pub(crate) struct Lease {
    /// The port of the connection that asked for it.
    pub(crate) owner: u16,
    token: String,
    pub(crate) from: Moment,
    pub(crate) until: Moment,
    /// When the server forgot it, or went on to another state.
    pub(crate) void_at: Option<Moment>,
}

#[derive(Default)]
pub(crate) struct Book {
    pub(crate) record: Option<Record>,
    pub(crate) leases: Vec<Lease>,
    /// What a connection knows: the highest fence of an answer that has certainly arrived, because
    /// the connection was used afterwards.
    pub(crate) acknowledged: HashMap<u16, Fence>,
    pub(crate) violations: Vec<String>,
    /// Answers that may not have arrived yet.
    answers: HashMap<u16, Fence>,
    /// The connection whose script is at work, and whether it only tells what it knows.
    caller: Option<(u16, bool)>,
    states: HashMap<Fence, String>,
    most_leases: usize,
    mark: String,
}

pub(crate) struct Ledger {
    book: Arc<Mutex<Book>>,
    is_attached: Arc<AtomicBool>,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Ledger {
    /// `most_leases` is how many may be valid at a time.
    pub(crate) fn of(server: &RedisServer, most_leases: u32) -> Self {
        let most_leases = most_leases as usize;
        let book = Arc::new(Mutex::new(Book { most_leases, ..Book::default() }));
        let (is_attached, ends) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
        let reader = Reader {
            port: server.port(),
            book: Arc::clone(&book),
            is_attached: Arc::clone(&is_attached),
            ends: Arc::clone(&ends),
        };
        let thread = Some(thread::spawn(move || reader.run()));
        let ledger = Self { book, is_attached, ends, thread };
        ledger.attached();
        ledger
    }

    pub(crate) fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap()
    }

    /// Waits until what the server does is read.
    pub(crate) fn attached(&self) {
        eventually("the monitor is attached", || self.is_attached.load(Ordering::SeqCst));
    }

    /// Waits until all is read that the server has carried out.
    pub(crate) fn catch_up(&self, server: &RedisServer) {
        let mark = format!("mark-{}", fastrand::u64(..));
        server.command(&["ECHO", &mark]);
        eventually("the ledger is written", || self.book().mark == mark);
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            // Its panic has failed the test already.
            let _ = thread.join();
        }
    }
}

struct Reader {
    port: u16,
    book: Arc<Mutex<Book>>,
    is_attached: Arc<AtomicBool>,
    ends: Arc<AtomicBool>,
}

impl Reader {
    fn run(self) {
        while !self.ends.load(Ordering::SeqCst) {
            if let Ok(stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)) {
                // An error is the end of the server.
                let _ = self.read(stream);
                self.is_attached.store(false, Ordering::SeqCst);
                self.book.lock().unwrap().forget();
            }
            thread::sleep(Duration::from_millis(2));
        }
    }

    fn read(&self, mut stream: TcpStream) -> std::io::Result<()> {
        stream.set_read_timeout(Some(Duration::from_millis(100)))?;
        stream.write_all(b"MONITOR\r\n")?;
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        loop {
            match reader.read_line(&mut line) {
                Ok(0) => return Ok(()),
                Ok(_) if line.starts_with("+OK") => self.is_attached.store(true, Ordering::SeqCst),
                Ok(_) => self.book.lock().unwrap().note(line.trim_end()),
                // What was read so far stays in the line.
                Err(error) if is_timeout(&error) && !self.ends.load(Ordering::SeqCst) => continue,
                Err(error) => return Err(error),
            }
            line.clear();
        }
    }
}

fn is_timeout(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{TimedOut, WouldBlock};
    matches!(error.kind(), TimedOut | WouldBlock)
}

impl Book {
    /// The state that the fleet has at this time.
    pub(crate) fn state_at(&self, now: Moment) -> &str {
        match &self.record {
            Some(record) if record.until == 0 || record.until > now => &record.state,
            Some(record) if record.state == "open" => "half_open",
            _ => "closed",
        }
    }

    fn fence(&self) -> Fence {
        self.record.as_ref().map_or((0, String::new()), |record| record.fence.clone())
    }

    /// Takes note of a line: `+1700000000.123456 [0 127.0.0.1:5000] "HSET" "key" ..`, or `[0 lua]`.
    fn note(&mut self, line: &str) {
        let Some((head, rest)) = line.split_once("] ") else { return };
        let Some((time, client)) = head.trim_start_matches('+').split_once(" [0 ") else { return };
        let now = time.replace('.', "").parse().unwrap();
        let words: Vec<&str> = rest.trim_matches('"').split("\" \"").collect();
        if client == "lua" {
            if words.get(1).is_some_and(|key| key.ends_with(":payments:breaker")) {
                self.note_change(now, &words);
            }
            return;
        }
        let port: u16 = client.rsplit(':').next().unwrap().parse().unwrap_or(0);
        if let Some((before, _)) = self.caller.take() {
            let fence = self.fence();
            self.answers.insert(before, fence);
        }
        if let Some(fence) = self.answers.remove(&port) {
            let known = self.acknowledged.entry(port).or_default();
            *known = known.clone().max(fence);
        }
        match words[0] {
            "ECHO" => words[1].clone_into(&mut self.mark),
            "FLUSHALL" => self.forget_states(now),
            "EVAL" | "EVALSHA" if words.iter().any(|key| key.ends_with(":payments:breaker")) => {
                self.caller = Some((port, words.contains(&"join")));
            }
            _ => {}
        }
    }

    /// The server is gone.
    fn forget(&mut self) {
        self.answers.clear();
        self.caller = None;
        self.forget_states(super::now());
    }

    fn forget_states(&mut self, now: Moment) {
        self.record = None;
        self.void_leases(now);
    }

    fn void_leases(&mut self, now: Moment) {
        for lease in self.leases.iter_mut().filter(|lease| lease.void_at.is_none()) {
            lease.void_at = Some(now);
        }
    }

    fn note_change(&mut self, now: Moment, words: &[&str]) {
        match words {
            ["HSET", _, "n", number, "t", token, "s", state, "u", until, ..] => {
                let fence = (number.parse().unwrap(), (*token).to_owned());
                let until = until.parse().unwrap();
                // Leases belong to the state before.
                self.void_leases(now);
                self.note_record(Record { fence, state: (*state).to_owned(), until });
            }
            ["HSET", _, "u", until] => {
                if let Some(record) = &mut self.record {
                    record.until = until.parse().unwrap();
                }
            }
            ["HSET", _, field, time] if field.starts_with("l:") => {
                // Until when, and how long in all.
                let until = time.split(' ').next().unwrap();
                self.note_lease(now, &field[2..], until.parse().unwrap());
            }
            ["HDEL", _, field] if field.starts_with("l:") => {
                for lease in self.leases.iter_mut().filter(|lease| lease.token == field[2..]) {
                    lease.void_at.get_or_insert(now);
                    lease.until = lease.until.min(now);
                }
            }
            ["DEL", _] => self.void_leases(now),
            _ => {}
        }
    }

    fn note_record(&mut self, record: Record) {
        if let Some(before) = &self.record
            && before.fence >= record.fence
        {
            self.violations.push(format!("{record:?} follows {before:?}"));
        }
        if let Some((port, false)) = self.caller
            && let Some(known) = self.acknowledged.get(&port)
            && *known >= record.fence
        {
            self.violations.push(format!("{record:?} is new, and its maker knows {known:?}"));
        }
        let state = self.states.entry(record.fence.clone()).or_insert_with(|| record.state.clone());
        if *state != record.state {
            self.violations.push(format!("two states have one fence: {state} and {record:?}"));
        }
        self.record = Some(record);
    }

    fn note_lease(&mut self, now: Moment, token: &str, until: Moment) {
        let owner = self.caller.map_or(0, |(port, _)| port);
        let is_live = |lease: &Lease| lease.void_at.is_none() && lease.until > now;
        match self.leases.iter_mut().find(|lease| lease.token == token && is_live(lease)) {
            Some(lease) if lease.owner == owner => lease.until = until,
            Some(lease) => {
                self.violations.push(format!("two replicas have one lease: {owner} and {lease:?}"));
            }
            None => {
                let token = token.to_owned();
                self.leases.push(Lease { owner, token, from: now, until, void_at: None });
            }
        }
        let live = self.leases.iter().filter(|lease| is_live(lease)).count();
        if live > self.most_leases {
            self.violations.push(format!("{live} leases at once"));
        }
    }
}
