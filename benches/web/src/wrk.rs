//! Runs wrk and reads its report.

use std::{ffi::OsStr, process::Command};

use crate::{Failure, is_there};

/// The figures of one run.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Figures {
    pub(crate) requests: f64,
    pub(crate) requests_per_second: f64,
    pub(crate) p99_micros: f64,
}

/// Runs wrk for `seconds`, with one thread and 32 connections. An error unless the share of
/// requests that failed is about the expected one.
pub(crate) fn run(url: &str, seconds: u32, fails: f64) -> Result<Figures, Failure> {
    let duration = format!("-d{seconds}s");
    let output = on_processor(1, "wrk")
        .args(["-t1", "-c32", &duration, "--latency", url])
        .output()
        .map_err(|error| format!("wrk (Debian, Ubuntu: apt-get install wrk): {error}"))?;
    let report = String::from_utf8_lossy(&output.stdout);
    let failed = failed_share(&report);
    if report.contains("Socket errors") || failed.is_none_or(|share| (share - fails).abs() > 0.001)
    {
        return Err(format!("other requests failed than those that are to:\n{report}").into());
    }
    parse(&report).ok_or_else(|| format!("cannot read the report of wrk:\n{report}").into())
}

fn parse(report: &str) -> Option<Figures> {
    Some(Figures {
        requests: requests(report)?,
        requests_per_second: after(report, "Requests/sec:")?.parse().ok()?,
        p99_micros: micros(after(report, "99%")?)?,
    })
}

fn after<'a>(report: &'a str, label: &str) -> Option<&'a str> {
    let mut lines = report.lines().map(str::trim);
    lines.find_map(|line| line.strip_prefix(label)).map(str::trim)
}

/// The share of the responses whose status is neither 2xx nor 3xx.
fn failed_share(report: &str) -> Option<f64> {
    let failed = after(report, "Non-2xx or 3xx responses:");
    Some(failed.map_or(Some(0.0), |number| number.parse().ok())? / requests(report)?)
}

fn requests(report: &str) -> Option<f64> {
    report.lines().find_map(|line| {
        let (number, _) = line.trim().split_once(" requests in ")?;
        number.parse().ok()
    })
}

fn micros(time: &str) -> Option<f64> {
    let number = time.find(char::is_alphabetic)?;
    let factor = match &time[number..] {
        "us" => 1.0,
        "ms" => 1e3,
        "s" => 1e6,
        _ => return None,
    };
    Some(time[..number].parse::<f64>().ok()? * factor)
}

/// A command pinned to one processor, or unpinned without taskset.
pub(crate) fn on_processor(processor: usize, program: impl AsRef<OsStr>) -> Command {
    if !is_there("taskset") {
        return Command::new(program);
    }
    let mut command = Command::new("taskset");
    command.arg("-c").arg(processor.to_string()).arg(program);
    command
}

pub(crate) fn median(figures: impl Iterator<Item = f64>) -> f64 {
    quartile(figures, 2)
}

/// The figure that this many quarters of the others, at most three, do not exceed.
pub(crate) fn quartile(figures: impl Iterator<Item = f64>, quarters: usize) -> f64 {
    let mut figures: Vec<f64> = figures.collect();
    figures.sort_by(f64::total_cmp);
    figures[figures.len() * quarters / 4]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_of_wrk_is_parsed() {
        let report = "  Latency Distribution\n     50%  262.00us\n     99%    1.24ms\n\
                    \x20 100 requests in 5.00s\nRequests/sec: 117381.43\nTransfer/sec:  14.55MB\n";
        let figures = parse(report).expect("figures");
        assert!((figures.requests_per_second - 117_381.43).abs() < 1e-6);
        assert!((figures.requests - 100.0).abs() < 1e-6);
        assert!((figures.p99_micros - 1240.0).abs() < 1e-6);
        assert!(parse("unable to connect").is_none());
        assert_eq!(failed_share(report), Some(0.0));
        let report = format!("{report}  Non-2xx or 3xx responses: 2\n");
        assert_eq!(failed_share(&report), Some(0.02));
        assert_eq!(failed_share("unable to connect"), None);
    }
}
