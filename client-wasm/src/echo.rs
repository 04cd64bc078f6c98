//! What the latency of a push is compared with: an echo between two pages over nothing but iroh, through the same relay,
//! with the same TLS and the same transport settings.

use iroh::endpoint::{Connection, RecvStream, SendStream};
use iroh::{Endpoint, EndpointAddr, RelayMap, RelayMode, RelayUrl, SecretKey};
use js_sys::Error;
use wasm_bindgen::prelude::wasm_bindgen;
use zerok_sync_transport::endpoint::builder;

const ALPN: &[u8] = b"0k-sync/bench/echo";
/// Every message has this length.
const MESSAGE: usize = 1024;

/// The page that answers.
#[wasm_bindgen]
pub struct EchoServer {
    endpoint: Endpoint,
}

#[wasm_bindgen]
impl EchoServer {
    /// Starts to answer, through the relay at this URL.
    ///
    /// # Errors
    /// When the endpoint can't be made.
    pub async fn start(relay_url: String) -> Result<EchoServer, Error> {
        let endpoint = bind(&relay_url).await?;
        endpoint.online().await;
        let accepting = endpoint.clone();
        wasm_bindgen_futures::spawn_local(async move {
            while let Some(incoming) = accepting.accept().await {
                if let Ok(connection) = incoming.await {
                    wasm_bindgen_futures::spawn_local(answer(connection));
                }
            }
        });
        Ok(Self { endpoint })
    }

    /// Whom a client connects to.
    #[wasm_bindgen(getter)]
    #[must_use]
    pub fn id(&self) -> String {
        self.endpoint.id().to_string()
    }
}

async fn answer(connection: Connection) {
    let Ok((mut send, mut recv)) = connection.accept_bi().await else {
        return;
    };
    let mut message = [0; MESSAGE];
    while recv.read_exact(&mut message).await.is_ok() && send.write_all(&message).await.is_ok() {}
}

/// The page that asks.
#[wasm_bindgen]
pub struct EchoClient {
    // Closed when it is dropped.
    _endpoint: Endpoint,
    _connection: Connection,
    streams: (SendStream, RecvStream),
}

#[wasm_bindgen]
impl EchoClient {
    /// Connects to a server through the relay at this URL.
    ///
    /// # Errors
    /// When the server can't be reached.
    pub async fn connect(relay_url: String, id: String) -> Result<EchoClient, Error> {
        let endpoint = bind(&relay_url).await?;
        let url: RelayUrl = relay_url.parse().map_err(failed)?;
        let server = EndpointAddr::new(id.parse().map_err(failed)?).with_relay_url(url);
        let connection = endpoint.connect(server, ALPN).await.map_err(failed)?;
        let streams = connection.open_bi().await.map_err(failed)?;
        Ok(Self {
            _endpoint: endpoint,
            _connection: connection,
            streams,
        })
    }

    /// Sends a message and waits until it is back.
    ///
    /// # Errors
    /// When the connection has ended.
    #[wasm_bindgen(js_name = roundTrip)]
    pub async fn round_trip(&mut self) -> Result<(), Error> {
        let (send, recv) = &mut self.streams;
        let mut message = [7; MESSAGE];
        send.write_all(&message).await.map_err(failed)?;
        recv.read_exact(&mut message).await.map_err(failed)
    }
}

async fn bind(relay_url: &str) -> Result<Endpoint, Error> {
    let url: RelayUrl = relay_url.parse().map_err(failed)?;
    let mut key = [0; 32];
    getrandom::fill(&mut key).map_err(failed)?;
    let endpoint = builder(SecretKey::from_bytes(&key)).alpns(vec![ALPN.to_vec()]);
    endpoint
        .relay_mode(RelayMode::Custom(RelayMap::from(url)))
        .bind()
        .await
        .map_err(failed)
}

fn failed(error: impl ToString) -> Error {
    Error::new(&error.to_string())
}
