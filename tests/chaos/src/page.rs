//! Pages in Chromium as devices: a Node script drives the browser, and this process serves the page's files.
//!
//! The files do not come from the relay: a page has to open while the relay is off, as an installed web app does.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// The page's files, served on a port that stays while the harness runs: it is part of the origin of what a page stores.
#[derive(Debug)]
pub struct Pages {
    port: u16,
    tests: PathBuf,
    task: JoinHandle<()>,
}

impl Pages {
    /// Starts serving.
    ///
    /// # Errors
    /// When the page is not built.
    pub async fn serve() -> Result<Self> {
        let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../browser");
        let files = tests.join("page/dist");
        ensure!(
            files.join("index.html").is_file(),
            "the page is not built: `cargo xtask chaos` builds it, `--no-browser` goes without"
        );
        let tests = tests.canonicalize()?;
        let files = Arc::new(files.canonicalize()?);
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let port = listener.local_addr()?.port();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let files = files.clone();
                // A browser that goes away in the middle asks again.
                tokio::spawn(async move { answer(stream, &files).await.ok() });
            }
        });
        Ok(Self { port, tests, task })
    }

    /// The program that drives a page, without its profile.
    #[must_use]
    pub fn command(&self) -> Vec<String> {
        let tests = self.tests.display();
        vec![
            "node".to_owned(),
            "--import".to_owned(),
            format!("{tests}/node_modules/tsx/dist/loader.mjs"),
            format!("{tests}/chaos/device.ts"),
            format!("http://localhost:{}/", self.port),
        ]
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(mut stream: TcpStream, files: &Path) -> Result<()> {
    let (read, mut write) = stream.split();
    let mut lines = BufReader::new(read).lines();
    let first = lines.next_line().await?.context("no request")?;
    while lines
        .next_line()
        .await?
        .is_some_and(|line| !line.is_empty())
    {}
    let path = first.split(' ').nth(1).unwrap_or("/");
    let path = path
        .split('?')
        .next()
        .unwrap_or("/")
        .trim_start_matches('/');
    let path = if path.is_empty() { "index.html" } else { path };
    // Only names of files that are there, nothing that leads elsewhere.
    let body = match files.join(path).canonicalize() {
        Ok(file) if file.starts_with(files) => tokio::fs::read(file).await.ok(),
        _ => None,
    };
    let (status, body) = body.map_or(("404 Not Found", Vec::new()), |body| ("200 OK", body));
    let kind = match path.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript",
        Some("wasm") => "application/wasm",
        _ => "application/octet-stream",
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nCache-Control: no-cache\r\nConnection: close\r\n\r\n",
        body.len()
    );
    write.write_all(head.as_bytes()).await?;
    write.write_all(&body).await?;
    Ok(write.shutdown().await?)
}
