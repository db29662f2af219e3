//! Exports the metrics of a circuit breaker with OpenTelemetry.
//!
//! `cargo run --manifest-path examples/opentelemetry/Cargo.toml`
//!
//! tower-breaker records with the `metrics` facade, and the crate metrics-exporter-otel forwards
//! what it records to a meter of OpenTelemetry. The exporter here keeps everything in memory, so
//! that the numbers can be shown and checked; a program uses that of opentelemetry-otlp instead.
//! The exit code is 1 if the numbers are not those of the calls.

use std::{
    collections::BTreeMap,
    error::Error,
    process::ExitCode,
    thread::sleep,
    time::{Duration, Instant},
};

use metrics::KeyName;
use metrics_exporter_otel::OpenTelemetryRecorder;
use opentelemetry::{KeyValue, metrics::MeterProvider};
use opentelemetry_sdk::metrics::{
    InMemoryMetricExporter, PeriodicReader, SdkMeterProvider,
    data::{AggregatedMetrics, Metric, MetricData},
};
use tower_breaker::{Breaker, Trip, config::CallMetrics};

const DURATION: &str = "circuit_breaker_call_duration_seconds";

/// What the calls below have to add up to.
const EXPECTED: [(&str, f64); 6] = [
    (r#"circuit_breaker_calls_total{name="payments",outcome="success"}"#, 5.0),
    (r#"circuit_breaker_calls_total{name="payments",outcome="failure"}"#, 3.0),
    (r#"circuit_breaker_calls_total{name="payments",outcome="rejected"}"#, 2.0),
    (r#"circuit_breaker_state{name="payments",state="open"}"#, 1.0),
    (r#"circuit_breaker_state{name="payments",state="closed"}"#, 0.0),
    (r#"circuit_breaker_call_duration_seconds{name="payments",outcome="success"}"#, 5.0),
];

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let exporter = InMemoryMetricExporter::default();
    let reader = PeriodicReader::builder(exporter.clone()).build();
    let provider = SdkMeterProvider::builder().with_reader(reader).build();
    let recorder = OpenTelemetryRecorder::new(provider.meter("tower-breaker"));
    recorder.set_histogram_bounds(&KeyName::from(DURATION), vec![0.001, 0.01, 0.1, 1.0, 10.0]);
    metrics::set_global_recorder(recorder)?;

    let breaker = Breaker::builder("payments")
        .trip_on(Trip::consecutive_failures(3))
        .call_metrics(CallMetrics::Durations)
        .build()?;
    for call in 0..8 {
        let permit = breaker.try_acquire()?;
        sleep(Duration::from_millis(3));
        if call < 5 { permit.success() } else { permit.failure() }
    }
    let rejected = (0..2).filter(|_| breaker.try_acquire().is_err()).count();
    println!("5 calls succeeded, 3 failed, and {rejected} were rejected. OpenTelemetry has:");

    // Breakers are reported within a second.
    let began = Instant::now();
    let mut exported = BTreeMap::new();
    while began.elapsed() < Duration::from_secs(10) && !is_complete(&exported) {
        sleep(Duration::from_millis(200));
        exporter.reset();
        provider.force_flush()?;
        exported = read(&exporter)?;
    }
    for (series, value) in exported.iter().filter(|(_, value)| **value > 0.0) {
        println!("  {series} {value}");
    }
    provider.shutdown()?;
    if is_complete(&exported) {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("expected {EXPECTED:#?}");
    Ok(ExitCode::FAILURE)
}

fn is_complete(exported: &BTreeMap<String, f64>) -> bool {
    EXPECTED.iter().all(|(series, value)| {
        exported.get(*series).is_some_and(|found| (found - value).abs() < f64::EPSILON)
    })
}

/// The values by name and attributes; of a histogram, the number of its values. Values of the same
/// series add up.
fn read(exporter: &InMemoryMetricExporter) -> Result<BTreeMap<String, f64>, Box<dyn Error>> {
    let mut values = BTreeMap::new();
    for resource in exporter.get_finished_metrics()? {
        for metric in resource.scope_metrics().flat_map(|scope| scope.metrics()) {
            read_metric(metric, &mut values);
        }
    }
    Ok(values)
}

#[expect(clippy::cast_precision_loss, reason = "small numbers")]
fn read_metric(metric: &Metric, values: &mut BTreeMap<String, f64>) {
    let mut add = |attributes: Vec<&KeyValue>, value: f64| {
        let mut labels: Vec<_> =
            attributes.iter().map(|it| format!("{}={:?}", it.key, it.value.as_str())).collect();
        labels.sort_unstable();
        let series = format!("{}{{{}}}", metric.name(), labels.join(","));
        *values.entry(series).or_default() += value;
    };
    match metric.data() {
        AggregatedMetrics::U64(MetricData::Sum(sum)) => {
            sum.data_points().for_each(|it| add(it.attributes().collect(), it.value() as f64));
        }
        AggregatedMetrics::F64(MetricData::Gauge(gauge)) => {
            gauge.data_points().for_each(|it| add(it.attributes().collect(), it.value()));
        }
        AggregatedMetrics::F64(MetricData::Histogram(histogram)) => {
            let points = histogram.data_points();
            points.for_each(|it| add(it.attributes().collect(), it.count() as f64));
        }
        _ => {}
    }
}
