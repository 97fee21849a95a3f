//! The stream under a connection: notes when a head begins and when an answer has left.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::http::track::{Stage, Track};

/// A TCP stream that tells a track what passes.
pub(super) struct Stream {
    inner: TcpStream,
    track: Arc<Track>,
    /// What hyper answers of itself to a head that it cannot read; a problem takes its place.
    withheld: Vec<u8>,
}

impl Stream {
    pub(super) fn new(stream: TcpStream, track: Arc<Track>) -> Self {
        Self { inner: stream, track, withheld: Vec::new() }
    }

    /// Returns the status code of the answer that was withheld.
    pub(super) fn withheld_status(&self) -> Option<u16> {
        let line = self.withheld.strip_prefix(b"HTTP/1.1 ")?;
        std::str::from_utf8(line.get(..3)?).ok()?.parse().ok()
    }

    /// Returns the stream itself.
    pub(super) fn into_inner(self) -> TcpStream {
        self.inner
    }

    /// Says whether no answer is due: what is written then is hyper's own.
    fn is_between_answers(&self) -> bool {
        matches!(self.track.stage(), Stage::Idle | Stage::Head)
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.inner).poll_read(context, buffer);
        let has_read = buffer.filled().len() > before;
        if has_read && self.track.stage() == Stage::Idle {
            self.track.enter(Stage::Head);
        }
        read
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.is_between_answers() {
            self.withheld.extend_from_slice(bytes);
            return Poll::Ready(Ok(bytes.len()));
        }
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.is_between_answers() {
            for slice in slices {
                self.withheld.extend_from_slice(slice);
            }
            return Poll::Ready(Ok(slices.iter().map(|slice| slice.len()).sum()));
        }
        Pin::new(&mut self.inner).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    /// Hyper flushes when everything that it holds went through `poll_write`.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.inner).poll_flush(context);
        if matches!(flushed, Poll::Ready(Ok(()))) && self.track.stage() == Stage::Answer {
            self.track.enter(Stage::Idle);
        }
        flushed
    }

    /// Leaves the stream open: the connection ends it after it has read what is still on its way.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
