//! The page in a real browser: Chromium, driven by `browser/page.mjs`.
//!
//! It needs `chromium`, `node`, and the packages of `browser/package.json` (`npm ci` there). With
//! `TOWER_BREAKER_SCREENSHOTS` set to a folder, screenshots go there.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    process::Command,
    sync::Arc,
    time::Duration,
};

use axum::{Json, Router, extract::State as Extracted, http::StatusCode, routing::post};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use serde::Deserialize;
use tokio::{net::TcpListener, sync::Mutex, task::JoinSet};
use tower_breaker::{
    Config, KeyedBreakers, ManualChange, MemoryStore, Registry, Trip, Window, admin::Admin,
};

use super::{
    TOKEN,
    fleet::replica,
    support::{
        redis::RedisServer,
        skip::{self, is_installed},
    },
};

/// What the script checks, in its order.
const CHECKS: [&str; 15] = [
    "every breaker is a row with its state as a word, and the page is live",
    "a trip shows at once, with why, since, and a countdown",
    "an answer that arrives after a later event does not undo it",
    "names are text, whatever they hold",
    "a circuit is forced open with a note, and reset",
    "the history is shown on demand",
    "the list is filtered, searched and sorted",
    "the keyboard alone is enough",
    "a lost connection is shown, and so is its return",
    "a thousand breakers: an event changes one row",
    "groups are named and chosen, and what is not listed is found by its name",
    "what each replica of a fleet says is shown on demand",
    "a host name that points here reads nothing",
    "axe finds nothing serious, in both themes, on desktop and phone",
    "a read-only service has no buttons for changes, and no request leaves the server",
];

/// A server that can be stopped, with all its connections, and started again on its port.
struct Server {
    router: Router,
    address: SocketAddr,
    tasks: JoinSet<()>,
}

impl Server {
    async fn start(router: Router) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut server = Self { router, address, tasks: JoinSet::new() };
        server.accept(listener);
        server
    }

    async fn stop(&mut self) {
        self.tasks.shutdown().await;
    }

    async fn start_again(&mut self) {
        // The port may be in use for a moment.
        let listener = loop {
            match TcpListener::bind(self.address).await {
                Ok(listener) => break listener,
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        };
        self.accept(listener);
    }

    fn accept(&mut self, listener: TcpListener) {
        let router = self.router.clone();
        self.tasks.spawn(async move {
            // Dropped, and with it aborted, together with this task.
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let service = TowerToHyperService::new(router.clone());
                connections.spawn(async move {
                    let server = auto::Builder::new(TokioExecutor::new());
                    let _ = server.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
    }
}

/// What the script has the test do.
#[derive(Clone)]
struct Control {
    server: Arc<Mutex<Server>>,
    few: Registry,
    many: Registry,
}

#[derive(Deserialize)]
struct Order {
    act: String,
    name: Option<String>,
}

async fn control(
    Extracted(Control { server, few, many }): Extracted<Control>,
    Json(Order { act, name }): Json<Order>,
) -> Result<(), StatusCode> {
    let name = name.unwrap_or_default();
    let breaker = || few.get(&name).or_else(|| many.get(&name)).ok_or(StatusCode::NOT_FOUND);
    match &*act {
        "stop" => server.lock().await.stop().await,
        "start" => server.lock().await.start_again().await,
        "trip" => breaker()?.trip(),
        "reset" => breaker()?.reset(),
        "flush" => breaker()?.flush().await.map_err(|_| StatusCode::CONFLICT)?,
        "fail" => breaker()?.try_acquire().map_err(|_| StatusCode::CONFLICT)?.failure(),
        "succeed" => breaker()?.try_acquire().map_err(|_| StatusCode::CONFLICT)?.success(),
        "state" if breaker()?.state().as_str() == "closed" => {}
        "state" => return Err(StatusCode::CONFLICT),
        _ => return Err(StatusCode::BAD_REQUEST),
    }
    Ok(())
}

/// Breakers in all states, and with names that a page must not believe.
fn few() -> Registry {
    let mut config = Config::default();
    config.trip_on =
        vec![Trip::failure_rate(0.5, Window::calls(50)), Trip::consecutive_failures(10)];
    // Longer than the test takes.
    config.recovery_timeout = Duration::from_secs(2 * 3600);
    let mut soon = config.clone();
    soon.recovery_timeout = Duration::from_secs(300);
    let mut rows = Config::default();
    rows.recovery_timeout = Duration::from_secs(3600);
    let registry = Registry::builder()
        .defaults(config)
        .breaker("inventory", rows)
        .breaker("payments", soon)
        .store(MemoryStore::new())
        .build()
        .unwrap();
    let make = |name: &str| registry.get_or_create(name).unwrap();
    let calls = |name: &str, failures: usize, of: usize| {
        for call in 0..of {
            let Ok(permit) = make(name).try_acquire() else { return };
            if call * failures / of == (call + 1) * failures / of {
                permit.success();
            } else {
                permit.failure();
            }
        }
    };
    calls("checkout", 1, 50);
    calls("inventory", 5, 5);
    calls("mail", 7, 50);
    calls("payments", 0, 50);
    calls("search", 24, 40);
    let by = |note: &str| ManualChange::new().by("on-call").note(note);
    let hour = Duration::from_secs(3600);
    make("fraud-scores").force_open_with(by("Wrong scores since 14:10, INC-4711").lasting(hour));
    make("geo").disable_with(by("Load test until tonight"));
    make("recommendations").metrics_only_with(by("New thresholds on trial"));
    calls("recommendations", 9, 50);
    make("<img src=x onerror=alert(1)>");
    make("../x y/é");
    make("line\nbreak\u{202e}drow");
    registry
}

fn many() -> Registry {
    let registry = Registry::builder().build().unwrap();
    for number in 0..1000 {
        registry.get_or_create(format!("host-{number:04}.example")).unwrap();
    }
    registry
}

/// Open for longer than the test takes.
fn patient() -> Config {
    let mut config = Config::default();
    config.recovery_timeout = Duration::from_secs(2 * 3600);
    config
}

/// More breakers than the page lists, two of them open.
fn keyed() -> KeyedBreakers {
    let hosts = KeyedBreakers::builder("<b>upstream").config(patient()).build().unwrap();
    for number in 0..1500 {
        drop(hosts.get_or_create(&format!("host-{number:04}.example")));
    }
    for number in [1234, 1499] {
        hosts.get(&format!("host-{number}.example")).unwrap().trip();
    }
    hosts
}

fn tenants() -> KeyedBreakers {
    let tenants = KeyedBreakers::builder("tenants").config(patient()).max_open_ratio(0.5);
    let tenants = tenants.build().unwrap();
    tenants.get_or_create("acme").unwrap().trip();
    tenants
}

fn browser_folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/admin/browser")
}

/// What is missing for the test.
fn missing() -> Option<&'static str> {
    if !is_installed("chromium") {
        Some("chromium is missing (Debian: apt-get install chromium)")
    } else if !is_installed("node") {
        Some("node is missing (Debian: apt-get install nodejs)")
    } else if !browser_folder().join("node_modules/playwright-core").exists() {
        Some("playwright-core is missing (npm ci --prefix tests/admin/browser)")
    } else {
        None
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_works_in_a_browser() {
    if let Some(what) = missing() {
        return skip::missing(what);
    }
    let (few, many) = (few(), many());
    let admin = |registry: &Registry| Admin::new(registry).token(TOKEN).vital("payments");
    let router = Router::new()
        .nest_service("/admin", admin(&few))
        .nest_service("/many", admin(&many))
        .nest_service("/keyed", admin(&few).group(&keyed()))
        .nest_service("/grouped", admin(&few).group(&tenants()))
        .nest_service("/read-only", Admin::new(&few));
    let fleet = RedisServer::start();
    let replicas = fleet.as_ref().map(|fleet| ["first", "<i>second"].map(|id| replica(fleet, id)));
    let router = match &replicas {
        Some([first, second]) => {
            for _ in 0..3 {
                second.try_acquire().unwrap().failure();
            }
            router.nest_service("/fleet", Admin::new(first).token(TOKEN))
        }
        None => router,
    };
    let server = Server::start(router).await;
    let url = format!("http://{}", server.address);
    let control_state = Control { server: Arc::new(Mutex::new(server)), few, many };
    let order = Router::new().route("/", post(control)).with_state(control_state);
    let controls = Server::start(order).await;
    let control_url = format!("http://{}", controls.address);

    let has_fleet = replicas.is_some();
    let run = tokio::task::spawn_blocking(move || {
        Command::new("node")
            .arg(browser_folder().join("page.mjs"))
            .env("PAGE_URL", url)
            .env("CONTROL_URL", control_url)
            .env("TOKEN", TOKEN)
            .env("FLEET", if has_fleet { "1" } else { "" })
            .output()
            .unwrap()
    });
    let output = run.await.unwrap();
    let (said, failed) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    println!("{said}\n{failed}");
    let good: Vec<&str> = said.lines().filter_map(|line| line.strip_prefix("ok: ")).collect();
    assert_eq!(good, CHECKS, "{failed}");
    assert!(output.status.success(), "{failed}");
}
