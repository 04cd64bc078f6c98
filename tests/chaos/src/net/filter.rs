//! Makes the UDP proxy the only way to the relay.
//!
//! QUIC with NAT traversal tells both sides every address that each of them has, inside the encryption, and moves to the fastest.
//! On one machine all of them can be reached directly, so a slow proxy would be left at once. Real networks don't allow that:
//! a relay behind a port mapping is not reached around it. The same is done here with a filter on the relay's socket, which
//! lets only the proxy through.

use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
use socket2::{SockFilter, Socket};

use super::owner;

/// Where the UDP proxy sends from.
pub const PROXY: Ipv4Addr = Ipv4Addr::new(127, 0, 1, 1);

/// Load a word from an absolute offset.
const LOAD_WORD: u16 = 0x20;
/// Jump if equal to a constant.
const JUMP_EQUAL: u16 = 0x15;
/// Return a constant: so many bytes of the packet are kept.
const RETURN: u16 = 0x06;
/// Offsets from here on count from the IP header; the source address is 12 bytes into it.
const IP_SOURCE: u32 = 0xFFF0_0000 + 12;

/// Lets only packets of the proxy reach the UDP sockets of a process that we started; gives the port of the socket.
///
/// # Errors
/// When it has none, or the kernel does not let us touch it.
pub fn only_through_proxy(pid: u32) -> Result<u16> {
    let table = owner::sockets("udp");
    let sockets: Vec<(i32, u16)> = owner::descriptors(pid)
        .into_iter()
        .filter_map(|(number, inode)| {
            let socket = table.iter().find(|socket| socket.inode == inode)?;
            Some((number, socket.local))
        })
        .collect();
    ensure!(!sockets.is_empty(), "the process has no UDP socket");
    let process = i32::try_from(pid)
        .ok()
        .and_then(Pid::from_raw)
        .context("no process id")?;
    let handle = pidfd_open(process, PidfdFlags::empty())?;
    let filter = [
        SockFilter::new(LOAD_WORD, 0, 0, IP_SOURCE),
        SockFilter::new(JUMP_EQUAL, 0, 1, PROXY.to_bits()),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
        SockFilter::new(RETURN, 0, 0, 0),
    ];
    for (number, _) in &sockets {
        let copy: OwnedFd = pidfd_getfd(&handle, *number, PidfdGetfdFlags::empty())
            .context("the kernel does not let us touch the relay's socket")?;
        Socket::from(copy).attach_filter(&filter)?;
    }
    Ok(sockets[0].1)
}
