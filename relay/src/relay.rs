//! Start and stop of a whole relay.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use iroh::{Endpoint, RelayUrl};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use url::Url;
use zerok_sync_shared::ids::{Incarnation, RelayId};
use zerok_sync_shared::limits::MAX_PAYLOAD;
use zerok_sync_shared::message::RelayLimits;
use zerok_sync_transport::endpoint::device_id;

use crate::access::{Access, AccessError};
use crate::attendance::Attendance;
use crate::budget::Budget;
use crate::cleanup::Cleanup;
use crate::clock::Clock;
use crate::cluster::{Cluster, Nodes};
use crate::config::{Config, DatabaseUrl};
use crate::deployment::Deployment;
use crate::driver::SessionContext;
use crate::endpoint::{self, Acceptor, EndpointError};
use crate::folder::{FolderLock, LockError};
use crate::groups::Groups;
use crate::history::History;
use crate::http::{self, Http, HttpContext, websocket::WebSockets};
use crate::identity::{self, IdentityError};
use crate::limits;
use crate::metrics::Metrics;
use crate::network::Relayed;
use crate::network::proxies::Proxies;
use crate::network::seats::Seats;
use crate::rates::{RateSettings, Rates};
use crate::storage::postgres::{NodeRow, PostgresStorage};
use crate::storage::sqlite::SqliteStorage;
use crate::storage::{Bounds, Storage, StorageError};
use crate::tls::{Tls, TlsError};
use crate::writer::{Writer, WriterContext};

/// Why a relay did not start, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data folder.
    #[error("cannot make the data folder {0}: {1}; choose another with --data-dir")]
    DataDir(PathBuf, std::io::Error),
    /// The data folder is in use.
    #[error("cannot use the data folder {0}: {1}")]
    Lock(PathBuf, LockError),
    /// The folder of the web app.
    #[error("{0} has no index.html; --web takes the folder of a built web app")]
    Web(PathBuf),
    /// Its identity.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// Who may use it.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// Its database.
    #[error("cannot open the database in {0}: {1}")]
    Storage(PathBuf, StorageError),
    /// The shared database.
    #[error("cannot use the database {0}: {1}; check --database-url")]
    Database(DatabaseUrl, StorageError),
    /// The TCP port.
    #[error("cannot listen on TCP {0}: {1}; choose another port with --port")]
    Listen(SocketAddr, std::io::Error),
    /// The operator's own listener.
    #[error("cannot listen on TCP {0}: {1}; choose another address with --metrics-bind")]
    Metrics(SocketAddr, std::io::Error),
    /// The certificate.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A port for itself.
    #[error(
        "cannot listen on the loopback interface: {0}; the relay reaches its own WebSocket there"
    )]
    Loopback(std::io::Error),
    /// The UDP port, or the way through the own WebSocket.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// A URL made of the address is not one.
    #[error("the address {0} gives no URL; set --public-url")]
    Url(SocketAddr),
}

/// A running relay.
pub struct Relay {
    http_url: Url,
    endpoint: Endpoint,
    incarnation: Incarnation,
    storage: Arc<dyn Storage>,
    websockets: WebSockets,
    shutdown: CancellationToken,
    stop_http: CancellationToken,
    sessions: TaskTracker,
    services: TaskTracker,
    writer: JoinHandle<()>,
    cluster: Option<JoinHandle<()>>,
    stop_cluster: CancellationToken,
    /// Held until everything else is closed.
    _lock: FolderLock,
}

impl Relay {
    /// Starts a relay; when this returns, clients can connect.
    ///
    /// # Errors
    /// [`StartError`], whose text says what to change.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        check_folders(&config)?;
        let (access, token_file) = Access::new(
            config.access,
            config.access_tokens.clone(),
            config.access_tokens_file.clone(),
        )?;
        let lock = FolderLock::wait(&config.data_dir)
            .await
            .map_err(|error| StartError::Lock(config.data_dir.clone(), error))?;
        let key = identity::load_or_create(&config.data_dir)?;
        let mut run = Incarnation([0; Incarnation::LEN]);
        getrandom::fill(&mut run.0).map_err(|_| IdentityError::NoRandomness)?;
        let groups = Arc::new(Groups::new(run));
        let (storage, shared) = open_storage(&config, &groups).await?;
        let listen_failed = |error| StartError::Listen(config.tcp_address(), error);
        let listener = TcpListener::bind(config.tcp_address())
            .await
            .map_err(listen_failed)?;
        let tcp = listener.local_addr().map_err(listen_failed)?;
        let operator_listener = match config.metrics_bind {
            Some(address) => Some(
                TcpListener::bind(address)
                    .await
                    .map_err(|error| StartError::Metrics(address, error))?,
            ),
            None => None,
        };

        let metrics = Arc::new(Metrics::default());
        metrics.live.watch_folder(&config.data_dir);
        let now = match &shared {
            Some((shared, url)) => {
                let now = shared.now().await;
                Some(now.map_err(|error| StartError::Database(url.clone(), error))?)
            }
            None => None,
        };
        let clock = Arc::new(Clock::open(&config.data_dir, now));
        let attendance = Arc::new(Attendance::new(Arc::clone(&clock), Arc::clone(&metrics)));
        let shutdown = CancellationToken::new();
        let stop_http = CancellationToken::new();
        let services = TaskTracker::new();
        let sessions = TaskTracker::new();
        let (writer, writer_task) = Writer::start(WriterContext {
            storage: Arc::clone(&storage),
            groups: Arc::clone(&groups),
            metrics: Arc::clone(&metrics),
            clock: Arc::clone(&clock),
            quota: config.group_quota,
        });

        // The endpoint finds its own relay through the port, so the port is served first.
        let deployment = Arc::new(Deployment::new(key.public(), config.open_forwarding));
        let relayed = Relayed::default();
        let websockets = WebSockets::new(
            Arc::clone(&deployment),
            access.clone(),
            relayed.clone(),
            config.websocket_rate,
            Arc::clone(&metrics),
        );
        let http = Http::new(HttpContext {
            websockets: websockets.clone(),
            proxies: Proxies::new(config.trusted_proxies.clone()),
            seats: Seats::new(config.connections_per_address),
            metrics: Arc::clone(&metrics),
            tls: Tls::start(&config, &services, &stop_http)?,
            stop: stop_http.clone(),
        });
        let router = http.router();
        services.spawn(http.clone().run(listener));
        let (own_listener, own_url) = own_way_in().await?;
        services.spawn(http.run_own(own_listener));
        let udp = SocketAddr::new(config.bind, udp_port(&config, tcp));
        let bound = endpoint::bind(key, udp, &config.public_udp, own_url).await;
        let endpoint = match bound {
            Ok(endpoint) => endpoint,
            Err(error) => {
                stop_http.cancel();
                storage.close().await;
                return Err(error.into());
            }
        };

        metrics.live.watch_endpoint(&endpoint);

        let http_url = match &config.public_url {
            Some(url) => url.clone(),
            None => default_url(&config, tcp)?,
        };
        let nodes = Arc::new(Nodes::default());
        let stop_cluster = CancellationToken::new();
        let cluster = shared.map(|(storage, _)| {
            if config.public_url.is_none() {
                tracing::warn!(
                    "other nodes tell devices {http_url} for this one; set --public-url"
                );
            }
            let cluster = Cluster {
                storage,
                groups: Arc::clone(&groups),
                attendance: Arc::clone(&attendance),
                nodes: Arc::clone(&nodes),
                deployment: Arc::clone(&deployment),
                clock: Arc::clone(&clock),
                metrics: Arc::clone(&metrics),
                shutdown: shutdown.clone(),
                stop: stop_cluster.clone(),
            };
            let (endpoint, public_udp) = (endpoint.clone(), config.public_udp.clone());
            let relay_url: String = http_url.clone().into();
            tokio::spawn(cluster.run(move || NodeRow {
                endpoint_id: device_id(endpoint.id()),
                relay_url: relay_url.clone(),
                udp_addrs: http::udp_addresses(&endpoint, &public_udp, false),
            }))
        });
        let context = SessionContext {
            storage: Arc::clone(&storage),
            writer: writer.clone(),
            groups,
            attendance: Arc::clone(&attendance),
            metrics: Arc::clone(&metrics),
            clock: Arc::clone(&clock),
            access: access.clone(),
            rates: Arc::new(Rates::new(RateSettings {
                device_messages: config.device_messages,
                device_bytes: config.device_bytes,
                total_messages: config.total_messages,
                total_bytes: config.total_bytes,
                groups_per_day: config.groups_per_day,
            })),
            sending: Arc::new(Budget::new(limits::SENDING)),
            receiving: Arc::new(Budget::new(limits::RECEIVING)),
            slow_reader: config.slow_reader,
            max_groups: config.max_groups,
            inactive_after: config.inactive_after,
            group_quota: config.group_quota,
            max_blob_ttl: config.max_blob_ttl.as_secs().max(1),
            shutdown: shutdown.clone(),
        };
        let limits = RelayLimits {
            max_payload: u32::try_from(MAX_PAYLOAD).unwrap_or(u32::MAX),
            default_ttl: config.blob_ttl.min(config.max_blob_ttl).as_secs().max(1),
            group_quota: config.group_quota,
        };
        let incarnation = storage.incarnation();
        services.spawn({
            let over = shutdown.clone();
            let attendance = Arc::clone(&attendance);
            async move { attendance.run(over).await }
        });
        if let Some(file) = token_file {
            services.spawn(file.follow(shutdown.clone()));
        }
        let history = Arc::new(History::new(Arc::clone(&metrics)));
        services.spawn(Arc::clone(&history).run(shutdown.clone()));
        let operator = router.open(http::Services {
            access,
            storage: Arc::clone(&storage),
            holdings: http::Holdings::of(Arc::clone(&storage)),
            writer,
            metrics: Arc::clone(&metrics),
            clock: Arc::clone(&clock),
            endpoint: endpoint.clone(),
            nodes,
            limits,
            public_url: config.public_url.clone(),
            public_udp: config.public_udp.clone(),
            tcp,
            tls: config.serves_tls(),
            web: config.web.clone(),
            invite_rate: config.invite_rate,
            private_numbers: operator_listener.is_some(),
            history,
            started: Instant::now(),
            shutdown: shutdown.clone(),
        });
        if let Some(listener) = operator_listener {
            services.spawn(http::serve_operator(listener, operator, stop_http.clone()));
        }
        let acceptor = Acceptor {
            context,
            limits,
            incarnation,
            relayed,
            seats: Seats::new(config.connections_per_address),
            tasks: sessions.clone(),
        };
        services.spawn(acceptor.run(endpoint.clone()));
        let cleanup = Cleanup {
            storage: Arc::clone(&storage),
            attendance,
            metrics,
            clock,
            every: config.cleanup_interval,
            delete_acked: config.delete_acked,
            inactive_after: config.inactive_after,
            noted_at: tokio::time::Instant::now(),
            shutdown: shutdown.clone(),
        };
        services.spawn(cleanup.run());

        Ok(Self {
            http_url,
            endpoint,
            incarnation,
            storage,
            websockets,
            shutdown,
            stop_http,
            sessions,
            services,
            writer: writer_task,
            cluster,
            stop_cluster,
            _lock: lock,
        })
    }

    /// The URL to give to clients, without a slash at its end.
    #[must_use]
    pub fn http_url(&self) -> &str {
        self.http_url.as_str().trim_end_matches('/')
    }

    /// Who this relay is.
    #[must_use]
    pub fn endpoint_id(&self) -> RelayId {
        device_id(self.endpoint.id())
    }

    /// The life of its database.
    #[must_use]
    pub fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// Says goodbye to everyone, stores what has arrived, and lets go of ports and files.
    pub async fn shutdown(self) {
        self.shutdown.cancel();
        self.sessions.close();
        if timeout(limits::SHUTDOWN_TIMEOUT, self.sessions.wait())
            .await
            .is_err()
        {
            tracing::warn!("some sessions did not end in time");
        }
        // While the WebSocket still stands, so that those who came through it are told.
        let _ = timeout(limits::SHUTDOWN_TIMEOUT, self.endpoint.close()).await;
        self.stop_http.cancel();
        self.websockets.shutdown().await;
        self.services.close();
        let _ = timeout(limits::SHUTDOWN_TIMEOUT, self.services.wait()).await;
        // Ends by itself when the last session has: what was accepted is written first.
        if timeout(limits::SHUTDOWN_TIMEOUT, self.writer)
            .await
            .is_err()
        {
            tracing::warn!("the writer did not end in time");
        }
        // After the writer, so that the other nodes hear of what it stored last.
        self.stop_cluster.cancel();
        if let Some(cluster) = self.cluster {
            let _ = timeout(limits::SHUTDOWN_TIMEOUT, cluster).await;
        }
        self.storage.close().await;
    }
}

/// The storage; and once more as what it is if it can be shared.
type Opened = (
    Arc<dyn Storage>,
    Option<(Arc<PostgresStorage>, DatabaseUrl)>,
);

async fn open_storage(config: &Config, groups: &Arc<Groups>) -> Result<Opened, StartError> {
    let Some(url) = &config.database_url else {
        let storage = SqliteStorage::open(&config.data_dir)
            .await
            .map_err(|error| StartError::Storage(config.data_dir.clone(), error))?;
        let storage = storage.bounded(Bounds {
            max_storage: config.max_storage,
            min_free_disk: config.min_free_disk,
        });
        return Ok((Arc::new(storage), None));
    };
    let storage = PostgresStorage::open(url.expose(), groups)
        .await
        .map_err(|error| StartError::Database(url.clone(), error))?;
    let storage = Arc::new(storage.bounded(config.max_storage));
    let shared = Some((Arc::clone(&storage), url.clone()));
    Ok((storage, shared))
}

fn check_folders(config: &Config) -> Result<(), StartError> {
    std::fs::create_dir_all(&config.data_dir)
        .map_err(|error| StartError::DataDir(config.data_dir.clone(), error))?;
    let has_app = |web: &Path| web.join("index.html").is_file();
    match &config.web {
        Some(web) if !has_app(web) => Err(StartError::Web(web.clone())),
        _ => Ok(()),
    }
}

/// The UDP port that was asked for, else the number of the TCP port if it is free, else any.
fn udp_port(config: &Config, tcp: SocketAddr) -> u16 {
    config
        .udp_port
        .unwrap_or_else(|| match UdpSocket::bind((config.bind, tcp.port())) {
            Ok(_) => tcp.port(),
            Err(_) => 0,
        })
}

/// How the process reaches its own WebSocket: a port of the loopback interface.
async fn own_way_in() -> Result<(TcpListener, RelayUrl), StartError> {
    let v4 = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let listener = match TcpListener::bind(v4).await {
        Ok(listener) => Ok(listener),
        Err(_) => TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).await,
    };
    let failed = |error| StartError::Loopback(error);
    let listener = listener.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let url = format!("http://{address}/");
    let url = url.parse().map_err(|_| StartError::Url(address))?;
    Ok((listener, url))
}

fn default_url(config: &Config, tcp: SocketAddr) -> Result<Url, StartError> {
    let scheme = if config.serves_tls() { "https" } else { "http" };
    let (ip, port) = (tcp.ip(), tcp.port());
    let text = match config.acme_domain.first() {
        Some(name) => format!("{scheme}://{name}:{port}/"),
        None if ip.is_unspecified() || ip.is_loopback() => format!("{scheme}://localhost:{port}/"),
        None => format!("{scheme}://{tcp}/"),
    };
    Url::parse(&text).map_err(|_| StartError::Url(tcp))
}
