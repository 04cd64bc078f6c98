//! What connections cost on which nothing happens: memory and CPU time of the relay's process for each device that is
//! connected and subscribes, beside those of a process that holds as many bare iroh connections with the same settings.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use iroh::endpoint::{Connection, RecvStream, RelayMode, SendStream};
use iroh::{Endpoint, EndpointAddr, SecretKey};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};
use zerok_sync_shared::message::{ALPN, Message, Subscribe};
use zerok_sync_tests::measure::{cpu_time, memory};
use zerok_sync_transport::endpoint as transport;

use crate::Common;
use crate::devices::{self, Way};
use crate::report::Report;
use crate::target::Target;

#[derive(clap::Args)]
pub struct Args {
    /// Connections
    #[arg(long, default_value_t = 1000)]
    connections: usize,
    /// Devices of one group
    #[arg(long, default_value_t = 5)]
    per_group: u64,
    /// How long they are watched doing nothing
    #[arg(long, default_value_t = 20)]
    seconds: u64,
}

/// What a number of connections cost.
struct Cost {
    bytes: f64,
    cpus: f64,
}

pub async fn run(args: &Args, common: &Common) -> Result<Report> {
    anyhow::ensure!(
        common.way == Way::Udp,
        "bare connections are compared over {} only",
        Way::Udp.name()
    );
    let relay = relay(args, common).await?;
    let bare = bare(args, common).await?;
    let count = args.connections as f64;
    let mut report = Report::new("idle");
    report.add("connections", args.connections);
    report.add("devices_per_endpoint", common.sharing);
    report.number("relay_kib_each", relay.bytes / count / 1024.0);
    report.number("bare_iroh_kib_each", bare.bytes / count / 1024.0);
    report.number(
        "beyond_iroh_kib_each",
        (relay.bytes - bare.bytes) / count / 1024.0,
    );
    report.number("relay_cpu_percent", relay.cpus * 100.0);
    report.number("bare_iroh_cpu_percent", bare.cpus * 100.0);
    Ok(report)
}

async fn relay(args: &Args, common: &Common) -> Result<Cost> {
    let target = Target::start(common).await?;
    // One that comes and stays, so that what is made once is not counted.
    let first = devices::connect(&target.url, 1, common).await?;
    let _first = devices::sessions(&first, |_| u64::MAX).await?;
    let before = settled(target.pid()?).await;
    println!("{} devices are connecting to the relay …", args.connections);
    let peers = devices::connect(&target.url, args.connections, common).await?;
    let group_of = |at: usize| at as u64 / args.per_group.max(1);
    let mut streams = devices::sessions(&peers, group_of).await?;
    for stream in &mut streams {
        let subscribe = Subscribe {
            after_cursor: 0,
            window: 1 << 20,
        };
        stream.send(&Message::Subscribe(subscribe)).await?;
        let Message::CaughtUp { .. } = stream.receive().await? else {
            bail!("the group is not empty")
        };
    }
    let cost = watch(target.pid()?, before, args).await?;
    target.stop().await?;
    Ok(cost)
}

async fn bare(args: &Args, common: &Common) -> Result<Cost> {
    let (mut child, address) = spawn_bare().await?;
    let pid = child.id().context("the bare endpoint has ended")?;
    let _first = open(&endpoint().await?, &address).await?;
    let before = settled(pid).await;
    println!("{} bare connections are opened …", args.connections);
    let sharing = common.sharing.max(1);
    let open: Vec<_> = stream::iter(0..args.connections.div_ceil(sharing))
        .map(|at| {
            let (address, count) = (
                address.clone(),
                sharing.min(args.connections - at * sharing),
            );
            async move {
                let endpoint = endpoint().await?;
                let mut connections = Vec::with_capacity(count);
                for _ in 0..count {
                    connections.push(open(&endpoint, &address).await?);
                }
                anyhow::Ok((endpoint, connections))
            }
        })
        .buffered(32)
        .try_collect()
        .await?;
    let cost = watch(pid, before, args).await?;
    drop(open);
    child.kill().await?;
    Ok(cost)
}

async fn watch(pid: u32, before: u64, args: &Args) -> Result<Cost> {
    let bytes = settled(pid).await.saturating_sub(before) as f64;
    let (cpu, started) = (cpu_time(pid), Instant::now());
    sleep(Duration::from_secs(args.seconds)).await;
    let used = cpu_time(pid).saturating_sub(cpu).as_secs_f64();
    Ok(Cost {
        bytes,
        cpus: used / started.elapsed().as_secs_f64(),
    })
}

/// The memory of a process once it has stopped changing much, or after half a minute.
async fn settled(pid: u32) -> u64 {
    let mut last = memory(pid);
    for _ in 0..15 {
        sleep(Duration::from_secs(2)).await;
        let now = memory(pid);
        if now.abs_diff(last) <= now / 200 {
            return now;
        }
        last = now;
    }
    last
}

async fn endpoint() -> Result<Endpoint> {
    let builder = transport::builder(SecretKey::generate())
        .relay_mode(RelayMode::Disabled)
        .clear_ip_transports()
        .bind_addr(std::net::SocketAddr::from(([127, 0, 0, 1], 0)))?;
    Ok(builder.bind().await?)
}

async fn open(
    endpoint: &Endpoint,
    address: &EndpointAddr,
) -> Result<(Connection, SendStream, RecvStream)> {
    let patience = Duration::from_secs(60);
    let connection = timeout(patience, endpoint.connect(address.clone(), ALPN)).await??;
    let (mut send, mut receive) = connection.open_bi().await?;
    send.write_all(b"1").await?;
    let mut echo = [0];
    timeout(patience, receive.read_exact(&mut echo)).await??;
    Ok((connection, send, receive))
}

async fn spawn_bare() -> Result<(Child, EndpointAddr)> {
    let mut child = Command::new(std::env::current_exe()?)
        .arg("bare")
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let stdout = child.stdout.take().context("no standard output")?;
    let line = BufReader::new(stdout).lines().next_line().await?;
    let line = line.context("the bare endpoint does not start")?;
    let (id, address) = line.split_once(' ').context("no address")?;
    let address = EndpointAddr::new(id.parse()?).with_ip_addr(address.parse()?);
    Ok((child, address))
}

/// A process with an endpoint that echoes the first byte of each connection's stream and then holds it.
pub async fn bare_endpoint() -> Result<()> {
    let endpoint = endpoint().await?;
    let address = *endpoint.bound_sockets().first().context("no socket")?;
    let mut out = tokio::io::stdout();
    out.write_all(format!("{} {address}\n", endpoint.id()).as_bytes())
        .await?;
    out.flush().await?;
    while let Some(incoming) = endpoint.accept().await {
        tokio::spawn(async move {
            let connection = incoming.await?;
            let (mut send, mut receive) = connection.accept_bi().await?;
            let mut byte = [0];
            receive.read_exact(&mut byte).await?;
            send.write_all(&byte).await?;
            connection.closed().await;
            anyhow::Ok(())
        });
    }
    Ok(())
}
