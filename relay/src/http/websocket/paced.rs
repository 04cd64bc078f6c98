//! The bytes of one WebSocket: read no faster than is allowed, and cut if they are not taken.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use iroh_relay::ExportKeyingMaterial;
use iroh_relay::server::streams::{Bucket, MaybeTlsStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Duration, Sleep, sleep, sleep_until};

use crate::limits;

/// How often an allowance grows.
const REFILL: Duration = Duration::from_millis(100);

/// A connection whose sender waits when it is too fast, and that ends when its reader is too slow.
///
/// What is too fast is not read, so that it stays in the sender's own buffers, and nothing is lost.
#[derive(Debug)]
pub(super) struct Paced {
    inner: MaybeTlsStream,
    bucket: Option<Bucket>,
    refilled: Option<Pin<Box<Sleep>>>,
    stalled: Option<Pin<Box<Sleep>>>,
}

impl Paced {
    /// `rate` is in bytes a second; 0 means no limit.
    pub fn new(inner: MaybeTlsStream, rate: u64) -> Self {
        let rate = i64::try_from(rate).unwrap_or(i64::MAX);
        // The bucket refuses only what is not positive: no limit, or so little that nothing would ever pass.
        let bucket = (rate > 0).then(|| Bucket::new(rate, rate.max(10), REFILL).ok());
        Self {
            inner,
            bucket: bucket.flatten(),
            refilled: None,
            stalled: None,
        }
    }

    /// Ends the limit, for a client that turned out to be one of this deployment.
    pub fn set_unlimited(&mut self) {
        self.bucket = None;
        self.refilled = None;
    }

    /// Gives a write that waits its deadline.
    fn write<T>(
        &mut self,
        context: &mut Context<'_>,
        result: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if result.is_ready() {
            self.stalled = None;
            return result;
        }
        let stalled = self
            .stalled
            .get_or_insert_with(|| Box::pin(sleep(limits::WEBSOCKET_WRITE_TIMEOUT)));
        ready!(stalled.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl ExportKeyingMaterial for Paced {
    fn export_keying_material<T: AsMut<[u8]>>(
        &self,
        output: T,
        label: &[u8],
        context: Option<&[u8]>,
    ) -> Option<T> {
        self.inner.export_keying_material(output, label, context)
    }
}

impl AsyncRead for Paced {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Some(refilled) = &mut this.refilled {
            ready!(refilled.as_mut().poll(context));
            this.refilled = None;
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.inner).poll_read(context, buffer))?;
        let read = buffer.filled().len() - before;
        if let Some(bucket) = &mut this.bucket
            && let Err(until) = bucket.consume(read)
        {
            this.refilled = Some(Box::pin(sleep_until(until)));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Paced {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.inner).poll_write(context, bytes);
        this.write(context, result)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.inner).poll_write_vectored(context, slices);
        this.write(context, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.inner).poll_flush(context);
        this.write(context, result)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.inner).poll_shutdown(context);
        this.write(context, result)
    }
}
