//! Whose socket is at the other end: `/proc` knows.
//!
//! All devices of a group share one URL, because an invite carries it. So the proxies cannot tell devices apart by port, and ask
//! the kernel instead.

use std::collections::HashSet;
use std::fs;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time;

use super::lane::Lane;

/// How often a socket is looked for: a process may have been started a moment ago.
const ATTEMPTS: u32 = 5;

/// Processes and their lanes.
#[derive(Debug)]
pub struct Owners {
    processes: Mutex<Vec<(u32, Arc<Lane>)>>,
    others: Arc<Lane>,
}

impl Default for Owners {
    fn default() -> Self {
        Self {
            processes: Mutex::default(),
            others: Arc::new(Lane::new("others")),
        }
    }
}

impl Owners {
    /// A process, with all that descend from it, uses this lane.
    pub fn add(&self, pid: u32, lane: Arc<Lane>) {
        self.lock().push((pid, lane));
    }

    /// A process is gone; its number may come again.
    pub fn remove(&self, pid: u32) {
        self.lock().retain(|(known, _)| *known != pid);
    }

    /// The lane of whatever no process of ours owns.
    #[must_use]
    pub fn others(&self) -> Arc<Lane> {
        self.others.clone()
    }

    /// The lane of a TCP connection from one port to another.
    pub async fn of_tcp(&self, from: u16, to: u16) -> Arc<Lane> {
        self.find(|| {
            sockets("tcp")
                .into_iter()
                .find(|socket| socket.local == from && socket.remote == to)
        })
        .await
    }

    /// The lane of a UDP socket.
    pub async fn of_udp(&self, port: u16) -> Arc<Lane> {
        self.find(|| {
            sockets("udp")
                .into_iter()
                .find(|socket| socket.local == port)
        })
        .await
    }

    async fn find(&self, socket: impl Fn() -> Option<Socket>) -> Arc<Lane> {
        for attempt in 0..ATTEMPTS {
            if attempt > 0 {
                time::sleep(Duration::from_millis(10)).await;
            }
            let Some(socket) = socket() else { continue };
            let processes = self.lock().clone();
            for (root, lane) in processes {
                if tree(root)
                    .into_iter()
                    .any(|pid| inodes(pid).contains(&socket.inode))
                {
                    return lane;
                }
            }
        }
        self.others()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<(u32, Arc<Lane>)>> {
        self.processes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// A line of `/proc/net/tcp` or `/proc/net/udp`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Socket {
    /// Its port.
    pub local: u16,
    /// The port that it is connected to, or 0.
    pub remote: u16,
    /// Its number in the kernel.
    pub inode: u64,
}

/// All IPv4 sockets of a kind.
#[must_use]
pub fn sockets(kind: &str) -> Vec<Socket> {
    let table = fs::read_to_string(format!("/proc/net/{kind}")).unwrap_or_default();
    table.lines().skip(1).filter_map(parse_socket).collect()
}

fn parse_socket(line: &str) -> Option<Socket> {
    let fields: Vec<_> = line.split_whitespace().collect();
    let port = |field: &str| u16::from_str_radix(field.split_once(':')?.1, 16).ok();
    Some(Socket {
        local: port(fields.get(1)?)?,
        remote: port(fields.get(2)?)?,
        inode: fields.get(9)?.parse().ok()?,
    })
}

/// The descriptors of a process that are sockets: number and inode.
#[must_use]
pub fn descriptors(pid: u32) -> Vec<(i32, u64)> {
    let Ok(folder) = fs::read_dir(format!("/proc/{pid}/fd")) else {
        return Vec::new();
    };
    let socket = |entry: fs::DirEntry| {
        let target = fs::read_link(entry.path()).ok()?;
        let inode = target
            .to_str()?
            .strip_prefix("socket:[")?
            .strip_suffix(']')?;
        Some((
            entry.file_name().to_str()?.parse().ok()?,
            inode.parse().ok()?,
        ))
    };
    folder.flatten().filter_map(socket).collect()
}

fn inodes(pid: u32) -> HashSet<u64> {
    descriptors(pid)
        .into_iter()
        .map(|(_, inode)| inode)
        .collect()
}

/// A process and all that descend from it, parents first.
#[must_use]
pub fn tree(root: u32) -> Vec<u32> {
    let parents: Vec<(u32, u32)> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
            Some((pid, parent(pid)?))
        })
        .collect();
    let mut found = vec![root];
    let mut next = 0;
    while let Some(&known) = found.get(next) {
        found.extend(
            parents
                .iter()
                .filter(|(_, parent)| *parent == known)
                .map(|(pid, _)| pid),
        );
        next += 1;
    }
    found
}

fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything, parentheses too.
    stat.rsplit_once(')')?
        .1
        .split_whitespace()
        .nth(1)?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_kernels_table_is_read() {
        let line = "   1: 0100007F:C350 0100007F:1F90 01 00000000:00000000 00:00000000 00000000  1000        0 424242 1 0000";
        let socket = parse_socket(line);
        let expected = Socket {
            local: 50_000,
            remote: 8080,
            inode: 424_242,
        };
        assert_eq!(socket, Some(expected));
        assert_eq!(parse_socket("nothing"), None);
    }

    #[tokio::test]
    async fn the_owner_of_a_socket_is_found() {
        let owners = Owners::default();
        owners.add(std::process::id(), Arc::new(Lane::new("self")));
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0))
            .await
            .unwrap();
        let to = listener.local_addr().unwrap().port();
        let stream = tokio::net::TcpStream::connect(("127.0.0.1", to))
            .await
            .unwrap();
        let from = stream.local_addr().unwrap().port();
        assert_eq!(owners.of_tcp(from, to).await.name, "self");
        let udp = tokio::net::UdpSocket::bind(("0.0.0.0", 0)).await.unwrap();
        assert_eq!(
            owners.of_udp(udp.local_addr().unwrap().port()).await.name,
            "self"
        );
        owners.remove(std::process::id());
        assert_eq!(owners.of_tcp(from, to).await.name, "others");
    }
}
