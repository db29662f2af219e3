//! What a worker sends its jobs to.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::{
    Router,
    http::{HeaderMap, StatusCode},
    routing::{get, post},
};
use tokio::{net::TcpListener, runtime::Runtime};

/// An upstream that takes note of every job. It fails while it is down, and always refuses the
/// jobs whose payload begins with `refused`.
pub(super) struct Upstream {
    runtime: Runtime,
    port: u16,
    log: Arc<Mutex<Log>>,
}

#[derive(Default)]
pub(super) struct Log {
    pub(super) is_down: bool,
    /// Every delivery.
    pub(super) deliveries: Vec<Delivery>,
    /// The health checks while it was down.
    pub(super) failed_checks: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Delivery {
    pub(super) job: u64,
    pub(super) attempt: u32,
    pub(super) status: u16,
}

impl Upstream {
    pub(super) fn start() -> Self {
        let runtime = Runtime::new().unwrap();
        let log = Arc::new(Mutex::new(Log::default()));
        let (jobs, checks) = (Arc::clone(&log), Arc::clone(&log));
        let router = Router::new()
            .route(
                "/jobs",
                post(async move |head: HeaderMap, job: String| lock(&jobs).take(&head, &job)),
            )
            .route("/health", get(async move || lock(&checks).check()));
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let port = listener.local_addr().unwrap().port();
        runtime.spawn(async move { axum::serve(listener, router).await });
        Self { runtime, port, log }
    }

    pub(super) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(super) fn log(&self) -> MutexGuard<'_, Log> {
        lock(&self.log)
    }

    pub(super) fn stop(self) {
        self.runtime.shutdown_background();
    }
}

fn lock(log: &Mutex<Log>) -> MutexGuard<'_, Log> {
    log.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Log {
    fn take(&mut self, head: &HeaderMap, payload: &str) -> StatusCode {
        let number = |name: &str| head[name].to_str().unwrap().parse::<u64>().unwrap();
        let status = if self.is_down {
            StatusCode::BAD_GATEWAY
        } else if payload.starts_with("refused") {
            StatusCode::UNPROCESSABLE_ENTITY
        } else {
            StatusCode::OK
        };
        let attempt = u32::try_from(number("x-attempt")).unwrap();
        let job = number("idempotency-key");
        self.deliveries.push(Delivery { job, attempt, status: status.as_u16() });
        status
    }

    fn check(&mut self) -> StatusCode {
        self.failed_checks += usize::from(self.is_down);
        if self.is_down { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK }
    }

    /// The jobs that were taken, in order.
    pub(super) fn done(&self) -> Vec<u64> {
        self.deliveries.iter().filter(|done| done.status == 200).map(|done| done.job).collect()
    }
}
