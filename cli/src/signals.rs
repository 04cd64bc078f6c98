//! Ctrl-C and SIGTERM end a command in order.

use crate::failure::Failure;

/// The command's result, or `interrupted` when it was; then it is dropped where it was.
pub async fn or_interrupted(
    command: impl Future<Output = Result<u8, Failure>>,
    interrupted: u8,
) -> Result<u8, Failure> {
    tokio::select! {
        result = command => result,
        () = stop_signal() => Ok(interrupted),
    }
}

#[cfg(unix)]
async fn stop_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let listen = || {
        Ok::<_, std::io::Error>((
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
        ))
    };
    match listen() {
        Ok((mut interrupt, mut terminate)) => {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        }
        // Then signals end the process without order, which loses nothing either.
        Err(_) => std::future::pending().await,
    }
}

#[cfg(not(unix))]
async fn stop_signal() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending().await
    }
}
