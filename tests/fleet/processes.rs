//! Replicas as processes: three servers of one service, and one dependency.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant, SystemTime},
};

use tower_breaker::{
    Breaker, Event, Trip,
    fleet::{Agreement, FleetHealth, RedisFleet},
};

use crate::support::{
    child::{Process, Role, RoleResult, argument, say},
    redis::RedisServer,
    wait::{MINUTE, eventually, holds_in_time},
};

pub(crate) const REPLICA: &str = "replica";
const OPEN_TIME: Duration = Duration::from_secs(3);
const LEASE: Duration = Duration::from_secs(3);

/// A dependency that counts the requests that reach it.
pub(crate) struct Upstream {
    port: u16,
    requests: Arc<AtomicU32>,
    is_healthy: Arc<AtomicBool>,
}

impl Upstream {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (requests, is_healthy) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicBool::new(true)));
        let (counted, healthy) = (Arc::clone(&requests), Arc::clone(&is_healthy));
        // It ends with the test's process.
        thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                counted.fetch_add(1, Ordering::SeqCst);
                // So that calls of several replicas overlap.
                thread::sleep(Duration::from_millis(20));
                let answer = if healthy.load(Ordering::SeqCst) { "ok" } else { "down" };
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        Self { port, requests, is_healthy }
    }

    fn requests(&self) -> u32 {
        self.requests.load(Ordering::SeqCst)
    }

    pub(crate) fn set_healthy(&self, is_healthy: bool) {
        self.is_healthy.store(is_healthy, Ordering::SeqCst);
    }
}

/// A process with a breaker, which does what it is asked.
pub(crate) struct Replica {
    process: Process,
    port: u16,
}

impl Replica {
    fn start(server: &RedisServer, upstream: &Upstream, id: &str, quorum: u32) -> Self {
        Self::start_with(server, upstream, id, quorum, OPEN_TIME)
    }

    pub(crate) fn start_with(
        server: &RedisServer,
        upstream: &Upstream,
        id: &str,
        quorum: u32,
        open_time: Duration,
    ) -> Self {
        let role = Role::new(REPLICA)
            .argument("REDIS", server.url())
            .argument("UPSTREAM", upstream.port.to_string())
            .argument("ID", id)
            .argument("QUORUM", quorum.to_string())
            .argument("OPEN_TIME", open_time.as_millis().to_string());
        let mut process = role.start();
        let port = process.line().expect("the replica says its port").parse().unwrap();
        let replica = Self { process, port };
        eventually("the replica joins", || replica.ask("health") == "joined");
        replica
    }

    pub(crate) fn ask(&self, what: &str) -> String {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).unwrap();
        stream.set_read_timeout(Some(MINUTE)).unwrap();
        writeln!(stream, "{what}").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    pub(crate) fn state(&self) -> String {
        self.ask("state")
    }

    /// When its circuit last changed its state.
    pub(crate) fn changed(&self) -> Duration {
        Duration::from_micros(self.ask("changed").parse().unwrap())
    }

    pub(crate) fn reaches(&self, state: &str) {
        eventually(state, || self.state() == state);
    }
}

/// The role of a replica: takes a line a connection, and answers it.
pub(crate) fn replica() -> RoleResult {
    let quorum = argument("QUORUM").parse()?;
    let fleet = RedisFleet::builder(&argument("REDIS"))
        .agreement(Agreement::replicas(quorum))
        .replica_id(argument("ID"))
        .lease(LEASE)
        .build()?;
    let breaker = Breaker::builder("payments")
        .trip_on(Trip::consecutive_failures(3))
        .recovery_timeout(Duration::from_millis(argument("OPEN_TIME").parse()?))
        .on_event(note_transition)
        .shared(fleet)
        .build()?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    say(&listener.local_addr()?.port().to_string());
    let upstream: u16 = argument("UPSTREAM").parse()?;
    let is_cut = Arc::new(AtomicBool::new(false));
    for stream in listener.incoming() {
        let (stream, breaker, is_cut) = (stream?, breaker.clone(), Arc::clone(&is_cut));
        thread::spawn(move || answer(stream, &breaker, upstream, &is_cut));
    }
    Ok(())
}

/// When the circuit of this process last changed its state, by its own clock.
static CHANGED: Mutex<SystemTime> = Mutex::new(SystemTime::UNIX_EPOCH);

fn note_transition(event: &Event) {
    if let Event::Transition(transition) = event {
        *CHANGED.lock().unwrap() = transition.at;
    }
}

fn answer(stream: TcpStream, breaker: &Breaker, upstream: u16, is_cut: &AtomicBool) {
    let mut line = String::new();
    let mut reader = BufReader::new(stream);
    if reader.read_line(&mut line).is_err() {
        return;
    }
    let answer = match line.trim() {
        "state" => breaker.state().to_string(),
        "health" if breaker.fleet_health() == FleetHealth::Joined => "joined".to_owned(),
        "changed" => since_1970(*CHANGED.lock().unwrap()).as_micros().to_string(),
        "reset" => {
            breaker.reset();
            String::new()
        }
        "call" => call(breaker, upstream, is_cut.load(Ordering::SeqCst)).to_owned(),
        "hang" => {
            // A probe that is out until the process is killed.
            let permit = breaker.try_acquire();
            let answer = if permit.is_ok() { "admitted" } else { "rejected" };
            std::mem::forget(permit);
            answer.to_owned()
        }
        "cut" | "mend" => {
            is_cut.store(line.trim() == "cut", Ordering::SeqCst);
            String::new()
        }
        other => format!("not so: {other}"),
    };
    let _ = reader.get_mut().write_all(answer.as_bytes());
}

fn since_1970(time: SystemTime) -> Duration {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap()
}

fn call(breaker: &Breaker, upstream: u16, is_cut: bool) -> &'static str {
    let Ok(permit) = breaker.try_acquire() else { return "rejected" };
    if is_cut {
        permit.failure();
        return "failed";
    }
    let mut answer = String::new();
    let asked = TcpStream::connect((Ipv4Addr::LOCALHOST, upstream))
        .and_then(|mut stream| stream.read_to_string(&mut answer));
    if asked.is_ok() && answer == "ok" {
        permit.success();
        "ok"
    } else {
        permit.failure();
        "failed"
    }
}

fn start_three(server: &RedisServer, upstream: &Upstream, quorum: u32) -> [Replica; 3] {
    ["a", "b", "c"].map(|id| Replica::start(server, upstream, id, quorum))
}

pub(crate) fn trip(replica: &Replica) {
    for _ in 0..3 {
        assert_eq!(replica.ask("call"), "failed");
    }
    assert_eq!(replica.state(), "open");
}

#[needs::programs("redis-server")]
#[test]
fn three_processes_trip_together_probe_once_and_recover_together() {
    let Some(server) = RedisServer::start() else { return };
    let upstream = Upstream::start();
    let [first, second, idle] = start_three(&server, &upstream, 1);
    upstream.set_healthy(false);
    trip(&first);
    let tripped = Instant::now();
    second.reaches("open");
    idle.reaches("open");
    println!("open on all three after {:?}", tripped.elapsed());
    assert_eq!(second.ask("call"), "rejected");
    assert_eq!(upstream.requests(), 3);

    // While the dependency is down, one probe at a time finds that out, for all.
    for replica in [&first, &second] {
        replica.reaches("half_open");
    }
    let before = upstream.requests();
    eventually("a probe fails", || {
        [&first, &second].into_iter().any(|replica| replica.ask("call") == "failed")
    });
    for replica in [&first, &second, &idle] {
        replica.reaches("open");
    }
    assert_eq!(upstream.requests() - before, 1);

    // One is killed, and starts again open.
    let Replica { process, .. } = second;
    process.kill();
    let second = Replica::start(&server, &upstream, "b", 1);
    assert_eq!(second.state(), "open");

    upstream.set_healthy(true);
    for replica in [&first, &second] {
        replica.reaches("half_open");
    }
    let before = upstream.requests();
    let probes = thread::scope(|scope| {
        let callers = [&first, &second].map(|replica| {
            scope.spawn(move || {
                let mut probes = 0;
                // Until the circuit is closed, each call that is admitted is a probe.
                eventually("the circuit closes", || {
                    if replica.state() == "closed" {
                        return true;
                    }
                    probes += u32::from(replica.ask("call") == "ok");
                    false
                });
                probes
            })
        });
        callers.map(|caller| caller.join().unwrap()).iter().sum::<u32>()
    });
    idle.reaches("closed");
    // A caller may see half-open and call just as the circuit has closed.
    println!("{probes} calls before the circuit was seen closed");
    assert!(probes >= 1 && upstream.requests() - before == probes, "{probes}");
    // It has made no call so far.
    assert_eq!(idle.ask("call"), "ok");
}

#[needs::programs("redis-server")]
#[test]
fn one_probe_in_all_by_the_upstreams_own_count() {
    let Some(server) = RedisServer::start() else { return };
    let upstream = Upstream::start();
    let replicas = start_three(&server, &upstream, 1);
    upstream.set_healthy(false);
    trip(&replicas[0]);
    for replica in &replicas {
        replica.reaches("half_open");
    }
    let before = upstream.requests();
    // All three ask at once, again and again, until the probe has failed.
    thread::scope(|scope| {
        for replica in &replicas {
            scope.spawn(move || {
                eventually("open", || {
                    replica.ask("call");
                    replica.state() == "open"
                });
            });
        }
    });
    assert_eq!(upstream.requests() - before, 1);
}

#[needs::programs("redis-server")]
#[test]
fn a_replica_that_is_killed_while_it_probes_delays_the_recovery_by_its_lease() {
    let Some(server) = RedisServer::start() else { return };
    let upstream = Upstream::start();
    let [first, second, third] = start_three(&server, &upstream, 1);
    upstream.set_healthy(false);
    trip(&first);
    upstream.set_healthy(true);
    first.reaches("half_open");
    eventually("it probes", || first.ask("hang") == "admitted");
    let Replica { process, .. } = first;
    process.kill();
    let killed = Instant::now();
    eventually("another probes", || second.ask("call") == "ok");
    let delay = killed.elapsed();
    println!("another replica probed {delay:?} after the first was killed");
    // Without an end of the lease, the recovery would wait for the timeout of the probe, a minute.
    assert!(delay < LEASE + Duration::from_secs(10), "{delay:?}");
    second.reaches("closed");
    third.reaches("closed");
}

#[needs::programs("redis-server")]
#[test]
fn with_one_replica_cut_off_and_one_idle_the_third_keeps_serving() {
    let Some(server) = RedisServer::start() else { return };
    let upstream = Upstream::start();
    let [cut_off, busy, idle] = start_three(&server, &upstream, 2);
    cut_off.ask("cut");
    trip(&cut_off);
    let before = upstream.requests();
    let until = Instant::now() + 2 * OPEN_TIME;
    let mut good = 0;
    while Instant::now() < until {
        cut_off.ask("call");
        assert_eq!(busy.ask("call"), "ok");
        good += 1;
    }
    assert_eq!((busy.state(), idle.state()), ("closed".into(), "closed".into()));
    assert_eq!(upstream.requests() - before, good);
    // A replica that is killed takes its vote with it only once that has lapsed, and no other one.
    let Replica { process, .. } = cut_off;
    process.kill();
    assert_eq!((busy.ask("call"), idle.ask("call")), ("ok".into(), "ok".into()));
}

#[needs::programs("redis-server")]
#[test]
fn a_replica_whose_own_network_is_cut_does_not_take_the_fleet_down() {
    let Some(server) = RedisServer::start() else { return };
    let upstream = Upstream::start();
    let [cut_off, second, third] = start_three(&server, &upstream, 2);
    cut_off.ask("cut");
    trip(&cut_off);
    // Long enough for its probes to fail, and for its vote to be cast again.
    let until = Instant::now() + 2 * OPEN_TIME;
    while Instant::now() < until {
        cut_off.ask("call");
        assert_eq!((second.ask("call"), third.ask("call")), ("ok".into(), "ok".into()));
    }
    // It recovers by itself once its network is back, and is cut off again.
    cut_off.ask("mend");
    eventually("its calls succeed again", || cut_off.ask("call") == "ok");
    assert_eq!(cut_off.state(), "closed");
    cut_off.ask("cut");
    trip(&cut_off);
    assert_eq!((second.ask("call"), third.ask("call")), ("ok".into(), "ok".into()));
    upstream.set_healthy(false);
    // Together with its vote, another one suffices; without it, as it lapses now and then, two do.
    let opened = holds_in_time(|| {
        second.ask("call");
        third.ask("call");
        second.state() == "open" && third.state() == "open"
    });
    assert!(opened);
}
