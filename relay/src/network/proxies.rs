//! Who a request comes from, when proxies stand between: `X-Forwarded-For`, `Forwarded` (RFC 7239), `X-Forwarded-Proto`.
//!
//! Anybody can send these headers, so only those are believed that a trusted proxy sends, and of a list of addresses only
//! the part that trusted proxies wrote: it is read from its end, up to the first address that is no trusted proxy.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};

use axum::http::header::FORWARDED;
use axum::http::{HeaderMap, HeaderName, HeaderValue};

use super::{Network, TrustedProxy};

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Who sent a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Client {
    /// `None` behind a trusted proxy that does not say.
    pub network: Option<Network>,
    /// Whether the client itself used TLS.
    pub https: bool,
    /// Whether a trusted proxy carries the request, whose connection serves many.
    pub proxied: bool,
}

/// The proxies that are believed.
#[derive(Debug, Default)]
pub(crate) struct Proxies {
    trusted: Vec<TrustedProxy>,
    told: AtomicBool,
}

impl Proxies {
    pub fn new(trusted: Vec<TrustedProxy>) -> Self {
        Self {
            trusted,
            told: AtomicBool::new(false),
        }
    }

    /// Whether somebody who connects is one of them.
    pub fn trust(&self, peer: IpAddr) -> bool {
        self.trusted.iter().any(|proxy| proxy.covers(peer))
    }

    /// Who sent a request that came from `peer`, over TLS or not.
    pub fn client(&self, peer: IpAddr, tls: bool, headers: &HeaderMap) -> Client {
        if !self.trust(peer) {
            self.notice(peer, headers);
            return Client {
                network: Some(Network::of(peer)),
                https: tls,
                proxied: false,
            };
        }
        let address = match list(headers, &FORWARDED_FOR) {
            Some(list) => self.outermost(hops(&list).map(|hop| plain_address(hop?))),
            None => list(headers, &FORWARDED).and_then(|list| {
                self.outermost(hops(&list).map(|hop| quoted_address(parameter(hop?, "for")?)))
            }),
        };
        let proto = last(headers, &FORWARDED_PROTO).or_else(|| {
            let list = last(headers, &FORWARDED)?;
            parameter(list, "proto")
        });
        Client {
            network: address.map(Network::of),
            https: proto.map_or(tls, |proto| proto.eq_ignore_ascii_case("https")),
            proxied: true,
        }
    }

    /// The first address from the end that is no trusted proxy; the first of all if every one is. `None` if a trusted
    /// proxy hides it.
    fn outermost(&self, hops: impl Iterator<Item = Option<IpAddr>>) -> Option<IpAddr> {
        let mut outermost = None;
        for hop in hops {
            outermost = Some(hop?);
            if !self.trust(hop?) {
                break;
            }
        }
        outermost
    }

    /// A proxy that was not told of makes everybody look like one client; say so once.
    fn notice(&self, peer: IpAddr, headers: &HeaderMap) {
        let forwarded = headers.contains_key(FORWARDED_FOR) || headers.contains_key(FORWARDED);
        if forwarded && Network::of(peer).is_internal() && !self.told.swap(true, Ordering::Relaxed)
        {
            tracing::warn!(
                "requests with X-Forwarded-For come from a private address that is not trusted; if it is your proxy, \
                 name it with --trusted-proxies, so that limits count clients and not the proxy"
            );
        }
    }
}

/// All values of a header as one list. A client can put any bytes in front of what proxies append, and that must not make
/// their words disappear.
fn list(headers: &HeaderMap, name: &HeaderName) -> Option<Vec<u8>> {
    let values: Vec<&[u8]> = headers
        .get_all(name)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    (!values.is_empty()).then(|| values.join(&b','))
}

/// The elements of a list, from its end; `None` for one that is no text.
fn hops(list: &[u8]) -> impl Iterator<Item = Option<&str>> {
    list.rsplit(|byte| *byte == b',')
        .map(|hop| std::str::from_utf8(hop).ok())
}

/// The last element of a list: what the nearest proxy wrote.
fn last<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let value = headers.get_all(name).iter().next_back()?;
    hops(value.as_bytes()).next()?.map(str::trim)
}

/// `203.0.113.7`, `2001:db8::1`, and both with a port as some proxies write them.
fn plain_address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(text);
    bare.parse()
        .ok()
        .or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))
}

/// As `Forwarded` has it: IPv6 in quotes and brackets, `unknown` or `_name` if it is hidden.
fn quoted_address(text: &str) -> Option<IpAddr> {
    plain_address(text.trim_matches('"'))
}

/// The value of one parameter in an element of `Forwarded`.
fn parameter<'a>(element: &'a str, name: &str) -> Option<&'a str> {
    element.split(';').find_map(|pair| {
        let (key, value) = pair.split_once('=')?;
        key.trim().eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROXY: &str = "10.0.0.1";

    fn client(peer: &str, headers: &[(&str, &str)]) -> Client {
        let proxies = Proxies::new(vec!["10.0.0.0/8".parse().unwrap()]);
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
            map.append(name.parse::<HeaderName>().unwrap(), value);
        }
        proxies.client(peer.parse().unwrap(), false, &map)
    }

    fn at(text: &str) -> Option<Network> {
        Some(Network::of(text.parse().unwrap()))
    }

    #[test]
    fn nobody_but_a_trusted_proxy_is_believed() {
        let headers = [
            ("x-forwarded-for", "203.0.113.9"),
            ("forwarded", "for=203.0.113.9;proto=https"),
            ("x-forwarded-proto", "https"),
        ];
        let seen = client("198.51.100.1", &headers);
        assert_eq!(seen.network, at("198.51.100.1"));
        assert!(!seen.https && !seen.proxied);
        let seen = client(PROXY, &headers);
        assert_eq!(seen.network, at("203.0.113.9"));
        assert!(seen.https && seen.proxied);
    }

    #[test]
    fn only_what_trusted_proxies_wrote_counts() {
        let through = |list: &str| client(PROXY, &[("x-forwarded-for", list)]).network;
        assert_eq!(through("1.1.1.1, 203.0.113.9"), at("203.0.113.9"));
        assert_eq!(through("1.1.1.1, 203.0.113.9, 10.0.0.2"), at("203.0.113.9"));
        assert_eq!(
            through("10.9.9.9, 10.0.0.2"),
            at("10.9.9.9"),
            "a client beside the proxy"
        );
        assert_eq!(through("203.0.113.9:4711"), at("203.0.113.9"));
        assert_eq!(through("[2001:db8::7]:4711"), at("2001:db8::7"));
        assert_eq!(through("2001:db8::7"), at("2001:db8::7"));
        assert_eq!(through("1.1.1.1, unknown"), None);
        assert_eq!(through("1.1.1.1, unknown, 10.0.0.2"), None);
        assert_eq!(through(""), None);
        assert_eq!(client(PROXY, &[]).network, None);
        let lines = [
            ("x-forwarded-for", "1.1.1.1"),
            ("x-forwarded-for", "203.0.113.9"),
        ];
        assert_eq!(client(PROXY, &lines).network, at("203.0.113.9"));
    }

    #[test]
    fn what_a_client_puts_in_front_hides_nothing() {
        let through = |own: &[u8]| {
            let proxies = Proxies::new(vec!["10.0.0.0/8".parse().unwrap()]);
            let value = [own, b", 203.0.113.9"].concat();
            let mut map = HeaderMap::new();
            map.append(FORWARDED_FOR, HeaderValue::from_bytes(&value).unwrap());
            map.append(FORWARDED, HeaderValue::from_static("for=1.1.1.1"));
            proxies.client(PROXY.parse().unwrap(), false, &map).network
        };
        for own in [b"\xff".as_slice(), b"1.1.1.1", b",,", "ü".as_bytes()] {
            assert_eq!(through(own), at("203.0.113.9"), "{own:?}");
        }
        let hostile = [("x-forwarded-for", "ü"), ("forwarded", "for=1.1.1.1")];
        assert_eq!(client(PROXY, &hostile).network, None);
    }

    #[test]
    fn forwarded_is_read_as_the_rfc_has_it() {
        let through = |list: &str| client(PROXY, &[("forwarded", list)]);
        let seen = through("for=1.1.1.1, For=\"[2001:db8::7]:80\";Proto=HTTPS;by=10.0.0.1");
        assert_eq!(seen.network, at("2001:db8::7"));
        assert!(seen.https);
        assert_eq!(through("for=_hidden").network, None);
        assert_eq!(through("proto=https").network, None);
        assert_eq!(
            through("for=203.0.113.9, for=10.0.0.2").network,
            at("203.0.113.9")
        );
    }

    #[test]
    fn the_scheme_is_the_nearest_proxys_word() {
        let https = |value: &str| client(PROXY, &[("x-forwarded-proto", value)]).https;
        assert!(https("https") && https("HTTPS") && https("http, https"));
        assert!(!https("http") && !https("https, http"));
    }
}
