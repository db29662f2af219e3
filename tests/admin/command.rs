//! The command `tower-breaker` against a service.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::SocketAddr,
    process::{Command, Output, Stdio},
    thread::JoinHandle,
    time::Duration,
};

use axum::Router;
use serde_json::Value;
use tokio::{net::TcpListener, task::spawn_blocking};
use tower_breaker::{KeyedBreakers, MemoryStore, Registry, State, admin::Admin};

use super::TOKEN;

async fn serve(admin: Admin) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router: Router = Router::new().nest_service("/admin", admin);
    tokio::spawn(async { axum::serve(listener, router).await });
    address
}

fn registry() -> Registry {
    let registry = Registry::builder().store(MemoryStore::new()).build().unwrap();
    for name in ["payments", "../x y/é", "\u{1b}[2J\n"] {
        registry.get_or_create(name).unwrap();
    }
    registry
}

fn command(url: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tower-breaker"));
    command.args(["--url", url]).env("USER", "on-call");
    for variable in ["TOWER_BREAKER_TOKEN", "TOWER_BREAKER_URL", "http_proxy", "ALL_PROXY"] {
        command.env_remove(variable);
    }
    command
}

async fn run(mut command: Command) -> Output {
    spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// The exit code, the output, and the error.
async fn outcome(url: &str, token: Option<&str>, arguments: &[&str]) -> (i32, String, String) {
    let mut command = command(url);
    command.args(arguments).envs(token.map(|token| ("TOWER_BREAKER_TOKEN", token)));
    let Output { status, stdout, stderr } = run(command).await;
    (status.code().unwrap(), text(&stdout).to_owned(), text(&stderr).to_owned())
}

#[tokio::test]
async fn breakers_are_listed_changed_and_their_histories_shown() {
    let registry = registry();
    let address = serve(Admin::new(&registry).token(TOKEN)).await;
    // With and without a final slash.
    for (url, name) in [
        (format!("http://{address}/admin"), "payments"),
        (format!("http://{address}/admin/"), "../x y/é"),
    ] {
        let breaker = registry.get(name).unwrap();
        let run = async |arguments: &[&str]| {
            let (code, out, error) = outcome(&url, Some(TOKEN), arguments).await;
            assert_eq!((code, &*error), (0, ""), "{arguments:?}: {out}");
            out
        };
        for (action, state) in [
            ("force-open", State::ForcedOpen),
            ("disable", State::Disabled),
            ("metrics-only", State::MetricsOnly),
        ] {
            let row = run(&[action, name, "--note", "INC-4711", "--for", "1h 15m"]).await;
            assert_eq!(breaker.state(), state);
            let snapshot = breaker.snapshot();
            assert_eq!(snapshot.by.as_deref(), Some("on-call"), "from $USER");
            assert_eq!(snapshot.note.as_deref(), Some("INC-4711"));
            let lasts = snapshot.manual_until.unwrap().duration_since(snapshot.since.unwrap());
            assert_eq!(lasts.unwrap().as_secs(), 75 * 60);
            assert!(row.contains(state.as_str()) && row.contains("INC-4711"), "{row}");
        }
        let list = run(&["list"]).await;
        let row =
            list.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{list}"));
        assert!(row.contains("metrics_only") && row.contains("INC-4711"), "{list}");
        assert!(list.contains("\\u{1b}[2J\\n  closed") && !list.contains('\u{1b}'), "{list}");
        run(&["reset", name, "--by", "deploy"]).await;
        assert_eq!(breaker.state(), State::Closed);

        let history = run(&["history", name, "--limit", "2"]).await;
        let lines: Vec<_> = history.lines().collect();
        assert_eq!(lines.len(), 3, "{history}");
        assert!(lines[1].contains("reset") && lines[1].contains("deploy"), "{history}");
        let json: Value = serde_json::from_str(&run(&["history", name, "--json"]).await).unwrap();
        assert_eq!(json["entries"].as_array().unwrap().len(), 4);
        let json: Value = serde_json::from_str(&run(&["--json", "list"]).await).unwrap();
        assert_eq!(json["breakers"].as_array().unwrap().len(), 3);
    }
}

#[tokio::test]
async fn a_large_group_is_listed_whole_and_its_keys_are_tripped() {
    let hosts = KeyedBreakers::builder("upstream").build().unwrap();
    for key in 0..6000 {
        drop(hosts.get_or_create(&format!("{key:04}.example")));
    }
    let url = serve(Admin::new(registry()).group(&hosts).token(TOKEN)).await;
    let url = format!("http://{url}/admin");
    let run = async |arguments: &[&str]| {
        let (code, out, error) = outcome(&url, Some(TOKEN), arguments).await;
        assert_eq!((code, &*error), (0, ""), "{arguments:?}: {out}");
        out
    };
    let json: Value = serde_json::from_str(&run(&["list", "--json"]).await).unwrap();
    assert_eq!(json["breakers"].as_array().unwrap().len(), 6003);
    assert_eq!(json["next"], Value::Null);
    let list = run(&["list", "--group", "upstream"]).await;
    assert_eq!(list.lines().count(), 6001);
    let list = run(&["list", "--group", "upstream", "--search", "99.EXAMPLE"]).await;
    assert_eq!(list.lines().count(), 61);
    let row = run(&["trip", "upstream:0042.example", "--note", "INC-1"]).await;
    assert!(row.contains("open") && row.contains("INC-1"), "{row}");
    assert_eq!(hosts.get("0042.example").unwrap().state(), State::Open);
    let (code, _, error) = outcome(&url, None, &["list", "--group", "unknown"]).await;
    assert_eq!(code, 4, "{error}");
}

#[tokio::test]
async fn the_exit_code_says_what_is_wrong() {
    let registry = registry();
    let url = format!("http://{}/admin", serve(Admin::new(&registry).token(TOKEN)).await);
    let read_only = format!("http://{}/admin", serve(Admin::new(&registry)).await);
    let elsewhere = url.replace("/admin", "/elsewhere");
    let nothing = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    for (url, token, arguments, code, part) in [
        (&url, None, &["reset", "payments"][..], 3, "TOWER_BREAKER_TOKEN"),
        (&url, Some("wrong"), &["reset", "payments"], 3, "the token is wrong"),
        (&read_only, Some(TOKEN), &["reset", "payments"], 3, "read-only"),
        (&url, Some(TOKEN), &["reset", "payment"], 4, "no circuit breaker"),
        (&url, None, &["history", "payment"], 4, "no circuit breaker"),
        (&url, Some(TOKEN), &["disable", "payments", "--for", "soon"], 1, "not a change"),
        (&url, Some(TOKEN), &["disable", "payments", "--for", "0s"], 1, "longer than 0"),
        (&url, None, &["history", "payments", "--limit", "0"], 2, "--limit"),
        (&url, None, &["explode", "payments"], 2, "Usage:"),
        (&nothing, None, &["list"], 5, "no admin service answers at"),
        (&nothing, None, &["watch"], 5, "no admin service answers at"),
        (&elsewhere, None, &["list"], 1, "is no admin service"),
        (&"not a url".to_owned(), None, &["list"], 1, "is no URL"),
    ] {
        let (found, out, error) = outcome(url, token, arguments).await;
        assert_eq!((found, &*out), (code, ""), "{arguments:?}: {error}");
        assert!(error.contains(part) && !error.contains(TOKEN), "{arguments:?}: {error}");
    }
    let payments = registry.get("payments").unwrap();
    assert_eq!(payments.snapshot().reason, None);
    assert_eq!(registry.breakers().len(), 3);
}

#[tokio::test]
async fn a_token_is_read_from_a_file() {
    let registry = registry();
    let url = format!("http://{}/admin", serve(Admin::new(&registry).token(TOKEN)).await);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    fs::write(&file, format!("{TOKEN}\n")).unwrap();
    let with_file = |file| {
        let mut command = command(&url);
        command.args(["force-open", "payments", "--token-file"]).arg(file);
        run(command)
    };
    assert_eq!(with_file(folder.path().join("missing")).await.status.code(), Some(1));
    let output = with_file(file).await;
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(registry.get("payments").unwrap().state(), State::ForcedOpen);
}

#[tokio::test(flavor = "multi_thread")]
async fn transitions_are_watched_as_they_happen_also_after_a_stream_has_ended() {
    let registry = registry();
    let admin = Admin::new(&registry);
    let url = format!("http://{}/admin", serve(admin.clone()).await);
    let breaker = registry.get("payments").unwrap();
    // It is not known when the command listens, so there is always another transition to come.
    let acting = tokio::spawn(async move {
        loop {
            breaker.reset();
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    for json in [false, true] {
        let mut command = command(&url);
        command.args(["watch", "--count", "2"]).args(json.then_some("--json"));
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let first = spawn_blocking(move || (lines.next().unwrap().unwrap(), lines));
        let (first, mut lines) = first.await.unwrap();
        if json {
            let event: Value = serde_json::from_str(&first).unwrap();
            assert_eq!((&event["name"], &event["reason"]), (&"payments".into(), &"reset".into()));
        } else {
            assert!(first.contains("payments  closed -> closed  reset"), "{first}");
        }
        admin.close_event_streams();
        let status = spawn_blocking(move || {
            assert!(lines.next().unwrap().unwrap().contains("payments"));
            child.wait().unwrap()
        });
        assert_eq!(status.await.unwrap().code(), Some(0));
    }
    acting.abort();
}

/// A service that answers each request for events with one of these streams, of this type, and then
/// with none. Returns its URL and the requests.
fn scripted(
    kind: &'static str,
    streams: &'static [&'static str],
) -> (String, JoinHandle<Vec<String>>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let serve = move || {
        let answer = |stream: &&str| {
            let (mut connection, _) = listener.accept().unwrap();
            let mut lines = BufReader::new(connection.try_clone().unwrap()).lines();
            let request = lines.next().unwrap().unwrap();
            while !lines.next().unwrap().unwrap().is_empty() {}
            let head = format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: {kind}");
            connection.write_all(format!("{head}\r\n\r\n{stream}").as_bytes()).unwrap();
            request
        };
        streams.iter().map(answer).collect()
    };
    (url, std::thread::spawn(serve))
}

/// A transition between two streams is in the second one, or else there is a note.
#[tokio::test]
async fn nothing_is_lost_silently_between_two_streams() {
    const NOTE: &str = "connected again; what happened meanwhile is in the histories\n";
    const HELLO: &str = "event: hello\ndata: {\"now\": 1.0, \"resumed\": false}\n\n\
                         event: bye\ndata: {\"now\": 2.0, \"after\": \"a&b\"}\n\n";
    const LOST: &str = "event: hello\ndata: {\"now\": 1.0, \"resumed\": false}\n\n";
    const RESUMED: &str = "event: hello\ndata: {\"now\": 3.0, \"resumed\": true}\n\n\
                           event: transition\ndata: {\"event\": {\"name\": \"payments\"}}\n\n";
    const ANEW: &str = "event: hello\ndata: {\"now\": 3.0, \"resumed\": false}\n\n\
                        event: transition\ndata: {\"event\": {\"name\": \"payments\"}}\n\n";
    for (streams, after, note) in [
        (&[HELLO, RESUMED], "/events?after=a%26b ", ""),
        (&[HELLO, ANEW], "/events?after=a%26b ", NOTE),
        (&[LOST, ANEW], "/events ", NOTE),
    ] {
        let (url, service) = scripted("text/event-stream", streams);
        let (code, out, error) = outcome(&url, None, &["watch", "--count", "1"]).await;
        assert!(code == 0 && out.contains("payments"), "{out}");
        assert_eq!(error, note);
        let requests = service.join().unwrap();
        assert!(requests[0].starts_with("GET /events HTTP"), "{requests:?}");
        assert!(requests[1].starts_with(&format!("GET {after}")), "{requests:?}");
    }
}

#[tokio::test]
async fn a_page_is_not_watched() {
    let (url, service) = scripted("text/html", &["<p>event: hello</p>"]);
    let (code, out, error) = outcome(&url, None, &["watch"]).await;
    assert_eq!((code, &*out), (1, ""), "{error}");
    assert!(error.contains("is no admin service"), "{error}");
    assert_eq!(service.join().unwrap().len(), 1);
}

#[tokio::test]
async fn completions_name_every_command() {
    for shell in ["bash", "zsh", "fish"] {
        let (code, script, _) = outcome("http://unused", None, &["completions", shell]).await;
        assert_eq!(code, 0);
        for name in
            ["inspect", "list", "history", "watch", "trip", "force-open", "metrics-only", "reset"]
        {
            assert!(script.contains(name), "{shell}: {name}");
        }
    }
}
