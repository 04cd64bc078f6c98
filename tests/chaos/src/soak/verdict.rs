//! Curves, and whether they are flat.

use serde::Serialize;

use super::Sample;
use crate::device::Kind;
use crate::fleet::Fleet;

/// Growth over the second half of a run, as a share of the mean, that is noise.
const NOISE: f64 = 0.15;
/// The same in MiB, descriptors or KiB: little growth of little is noise too.
const LITTLE: f64 = 8.0;
/// Bytes on a device's disk for one blob of half a kilobyte.
const MAX_BYTES_A_BLOB: f64 = 3_000.0;
/// Milliseconds by which a median may grow, beside doubling: faults differ from half to half.
const SLOWER_MILLIS: f64 = 250.0;
/// Points of a curve of delays.
const BUCKETS: usize = 60;

/// One measured value over time.
#[derive(Debug, Clone, Serialize)]
pub struct Curve {
    /// Which plot it belongs to.
    pub plot: &'static str,
    /// Whose.
    pub name: String,
    /// Seconds since the start, and the value.
    pub points: Vec<(f64, f64)>,
    /// Whether it is as it should be.
    pub verdict: Verdict,
}

/// Whether a curve is as it should be, and why.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Verdict {
    /// Whether.
    pub passed: bool,
    /// Why.
    pub text: String,
}

/// All curves of a run.
#[must_use]
pub fn curves(fleet: &Fleet, samples: &[Sample]) -> Vec<Curve> {
    let mut names = vec!["relay".to_owned()];
    names.extend(fleet.devices.iter().map(|device| {
        let kind = match device.setup.kind {
            Kind::Udp => "UDP",
            Kind::WebSocket => "WebSocket",
            Kind::Page => "Chromium",
        };
        format!("device ({kind})")
    }));
    let mut curves = Vec::new();
    for (index, name) in names.iter().enumerate() {
        let points = |value: fn(&(f64, f64, f64)) -> f64| -> Vec<(f64, f64)> {
            samples
                .iter()
                .filter_map(|sample| Some((sample.at, value(sample.processes.get(index)?))))
                .collect()
        };
        // A browser is so much larger that nothing else could be seen beside it.
        let page = index > 0 && fleet.devices[index - 1].setup.kind == Kind::Page;
        let (memory_plot, descriptors_plot) = if page {
            (
                "memory of the browser in MiB",
                "file descriptors of the browser",
            )
        } else {
            ("memory in MiB", "file descriptors")
        };
        let mut add = |plot, points: Vec<_>, verdict| {
            curves.push(Curve {
                plot,
                name: name.clone(),
                points,
                verdict,
            });
        };
        let memory = points(|process| process.0);
        let descriptors = points(|process| process.1);
        let disk = points(|process| process.2);
        add(memory_plot, memory.clone(), flat(&memory));
        add(descriptors_plot, descriptors.clone(), flat(&descriptors));
        if !page {
            let verdict = if index == 0 {
                flat(&disk)
            } else {
                with_the_data(&disk, fleet.position(index - 1))
            };
            add("database in KiB", disk, verdict);
        }
    }
    curves.extend(delays(fleet));
    curves
}

/// How long it took until every log was as long as everything that had been pushed by then.
fn delays(fleet: &Fleet) -> Vec<Curve> {
    let mut pushed: Vec<f64> = fleet
        .devices
        .iter()
        .flat_map(|device| device.record().promised_at.clone())
        .collect();
    pushed.sort_by(f64::total_cmp);
    let logs: Vec<Vec<(f64, u64)>> = fleet
        .devices
        .iter()
        .map(|device| device.record().positions.clone())
        .collect();
    let reached = |count: u64| -> Option<f64> {
        let times = logs.iter().map(|log| {
            let at = log.partition_point(|(_, position)| *position < count);
            log.get(at).map(|(time, _)| *time)
        });
        times
            .collect::<Option<Vec<_>>>()?
            .into_iter()
            .max_by(f64::total_cmp)
    };
    let delay = |(index, at): (usize, &f64)| {
        Some((*at, (reached(index as u64 + 1)? - at).max(0.0) * 1000.0))
    };
    let delays: Vec<_> = pushed.iter().enumerate().filter_map(delay).collect();
    let step = delays.len().div_ceil(BUCKETS).max(1);
    [("p50", 0.5), ("p99", 0.99)]
        .into_iter()
        .map(|(name, share)| {
            let points: Vec<_> = delays
                .chunks(step)
                .map(|bucket| (bucket[0].0, quantile(bucket, share)))
                .collect();
            let verdict = if share < 0.9 {
                as_fast_as_before(&delays)
            } else {
                Verdict {
                    passed: true,
                    text: "as the faults have it".to_owned(),
                }
            };
            Curve {
                plot: "delivery to all in ms",
                name: name.to_owned(),
                points,
                verdict,
            }
        })
        .collect()
}

/// So much of the delays is not longer.
fn quantile(delays: &[(f64, f64)], share: f64) -> f64 {
    let mut sorted: Vec<_> = delays.iter().map(|(_, delay)| *delay).collect();
    sorted.sort_by(f64::total_cmp);
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an index"
    )]
    let index = (sorted.len().saturating_sub(1) as f64 * share).round() as usize;
    sorted.get(index).copied().unwrap_or(0.0)
}

/// Whether the median of the second half is about that of the first: within a half, every fault has had its turn.
fn as_fast_as_before(delays: &[(f64, f64)]) -> Verdict {
    let (first, second) = delays.split_at(delays.len() / 2);
    let (before, after) = (quantile(first, 0.5), quantile(second, 0.5));
    Verdict {
        passed: !second.is_empty() && after < 2.0 * before + SLOWER_MILLIS,
        text: format!("median {before:.0} ms in the first half, {after:.0} ms in the second"),
    }
}

/// Flat, up to noise.
fn flat(points: &[(f64, f64)]) -> Verdict {
    let half = &points[points.len() / 2..];
    let Some((slope, mean)) = fit(half) else {
        return Verdict {
            passed: false,
            text: "not enough was measured".to_owned(),
        };
    };
    let length = half[half.len() - 1].0 - half[0].0;
    let growth = slope * length;
    let passed = growth < LITTLE.max(mean * NOISE);
    Verdict {
        passed,
        text: format!(
            "{} ({growth:+.1} over the second half, mean {mean:.1})",
            if passed { "flat" } else { "grows" }
        ),
    }
}

/// Grows with what it holds, and no faster.
fn with_the_data(points: &[(f64, f64)], blobs: u64) -> Verdict {
    #[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
    let bytes = points.last().map_or(0.0, |(_, kib)| kib * 1024.0) / blobs.max(1) as f64;
    // The write-ahead log is of a size of its own.
    let passed =
        bytes < MAX_BYTES_A_BLOB || points.last().is_some_and(|(_, kib)| *kib < 8.0 * 1024.0);
    Verdict {
        passed,
        text: format!("{bytes:.0} bytes for each of {blobs} blobs"),
    }
}

/// Least squares: slope and mean.
fn fit(points: &[(f64, f64)]) -> Option<(f64, f64)> {
    if points.len() < 3 {
        return None;
    }
    #[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
    let count = points.len() as f64;
    let (sum_x, sum_y) = points
        .iter()
        .fold((0.0, 0.0), |(x, y), point| (x + point.0, y + point.1));
    let (mean_x, mean_y) = (sum_x / count, sum_y / count);
    let over = points
        .iter()
        .map(|(x, y)| (x - mean_x) * (y - mean_y))
        .sum::<f64>();
    let under = points
        .iter()
        .map(|(x, _)| (x - mean_x).powi(2))
        .sum::<f64>();
    (under > 0.0).then(|| (over / under, mean_y))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_fitted_and_growth_is_told_from_noise() {
        let line: Vec<_> = (0..100)
            .map(|n| (f64::from(n), 3.0 + 0.5 * f64::from(n)))
            .collect();
        let (slope, mean) = fit(&line).unwrap();
        assert!((slope - 0.5).abs() < 1e-9 && (mean - 27.75).abs() < 1e-9);
        assert!(!flat(&line).passed);
        let noise: Vec<_> = (0..100)
            .map(|n| (f64::from(n), 50.0 + f64::from(n % 7)))
            .collect();
        assert!(flat(&noise).passed);
        assert!(!flat(&[]).passed);
    }
}
