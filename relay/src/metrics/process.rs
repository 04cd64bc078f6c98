//! What the operating system knows about this process, under the names that every Prometheus client gives it.

use std::fmt::Error;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;

/// The collector.
#[derive(Debug)]
pub(super) struct Process;

#[cfg(target_os = "linux")]
impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        use prometheus_client::encoding::EncodeMetric as _;
        use prometheus_client::metrics::MetricType;
        use prometheus_client::metrics::counter::ConstCounter;
        use prometheus_client::metrics::gauge::ConstGauge;
        use prometheus_client::registry::Unit;

        // Where /proc is hidden from the process, these are left out.
        let Ok(read) = read() else {
            return Ok(());
        };
        let cpu = encoder.encode_descriptor(
            "process_cpu",
            "Time spent computing",
            Some(&Unit::Seconds),
            MetricType::Counter,
        )?;
        ConstCounter::new(read.cpu_seconds).encode(cpu)?;
        let bytes = Some(Unit::Bytes);
        let seconds = Some(Unit::Seconds);
        let gauges = [
            (
                "process_resident_memory",
                "Memory in use",
                bytes,
                read.resident,
            ),
            (
                "process_start_time",
                "When the process started, since 1970",
                seconds,
                read.started,
            ),
            (
                "process_open_fds",
                "Open file descriptors",
                None,
                read.open_files,
            ),
            (
                "process_max_fds",
                "File descriptors that may be open",
                None,
                read.max_files,
            ),
            ("process_threads", "Threads", None, read.threads),
        ];
        for (name, help, unit, value) in gauges {
            let gauge = encoder.encode_descriptor(name, help, unit.as_ref(), MetricType::Gauge)?;
            ConstGauge::new(value).encode(gauge)?;
        }
        Ok(())
    }
}

#[cfg(not(target_os = "linux"))]
impl Collector for Process {
    fn encode(&self, _: DescriptorEncoder<'_>) -> Result<(), Error> {
        Ok(())
    }
}

#[cfg(target_os = "linux")]
struct Read {
    cpu_seconds: f64,
    resident: f64,
    started: f64,
    open_files: f64,
    max_files: f64,
    threads: f64,
}

#[cfg(target_os = "linux")]
fn read() -> procfs::ProcResult<Read> {
    use procfs::process::LimitValue;

    let myself = procfs::process::Process::myself()?;
    let stat = myself.stat()?;
    let ticks = procfs::ticks_per_second() as f64;
    Ok(Read {
        cpu_seconds: (stat.utime + stat.stime) as f64 / ticks,
        resident: (stat.rss * procfs::page_size()) as f64,
        started: procfs::boot_time_secs()? as f64 + stat.starttime as f64 / ticks,
        open_files: myself.fd_count()? as f64,
        max_files: match myself.limits()?.max_open_files.soft_limit {
            LimitValue::Unlimited => f64::INFINITY,
            LimitValue::Value(files) => files as f64,
        },
        threads: stat.num_threads as f64,
    })
}
