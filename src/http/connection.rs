//! A connection: requests one after the other, until its client leaves, is late, or the server stops.

use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::http::service::Service;
use crate::http::stream::Stream;
use crate::http::track::{Stage, Track};
use crate::http::{Problem, ProblemKind, ServerLimits};
use crate::telemetry::{HttpRefusal, Metrics};

/// Longest time for which what a client still sends is read after the last answer.
const LINGER_TIME_MAX: Duration = Duration::from_secs(1);

/// How a connection ended.
enum Ended {
    /// Its client left, or hyper found a reason.
    Done,
    /// A client did not do in time what it was expected to do.
    Overdue(Stage),
    /// The server stops, and no request is in flight.
    Stopped,
}

/// Serves a connection to its end.
pub(super) async fn serve(stream: TcpStream, service: Service, stopping: watch::Receiver<bool>) {
    let (limits, metrics, track) =
        (service.limits, service.metrics.clone(), Arc::clone(&service.track));
    let stream = TokioIo::new(Stream::new(stream, Arc::clone(&track)));
    let mut builder = http1::Builder::new();
    builder.max_buf_size(limits.head_bytes_max).half_close(false);
    let mut connection = builder.serve_connection(stream, service);
    let ended = drive(&mut connection, &track, &limits, stopping).await;
    let stream = connection.into_parts().io.into_inner();
    let (reason, answer) = verdict(&ended, stream.withheld_status(), &limits);
    if let Some(reason) = reason {
        metrics.http_refused(reason);
    }
    // Whoever was not expected to send anything misses nothing.
    if answer.is_some() || matches!(ended, Ended::Done) {
        close(stream.into_inner(), answer.as_ref(), &metrics).await;
    }
}

/// Lets a connection go on until something ends it.
async fn drive(
    connection: &mut http1::Connection<TokioIo<Stream>, Service>,
    track: &Track,
    limits: &ServerLimits,
    stopping: watch::Receiver<bool>,
) -> Ended {
    let mut stop = std::pin::pin!(stopped(stopping));
    let mut overdue = std::pin::pin!(track.overdue(limits));
    let mut is_stopping = false;
    loop {
        tokio::select! {
            // What hyper has to say about an end its client or the stream has seen already.
            _ = Pin::new(&mut *connection) => return Ended::Done,
            stage = &mut overdue => return Ended::Overdue(stage),
            () = &mut stop, if !is_stopping => {
                is_stopping = true;
                if track.stage() == Stage::Idle {
                    return Ended::Stopped;
                }
                Pin::new(&mut *connection).graceful_shutdown();
            }
        }
    }
}

/// Says how the end of a connection is counted, and what its client is told about it.
fn verdict(
    ended: &Ended,
    withheld_status: Option<u16>,
    limits: &ServerLimits,
) -> (Option<HttpRefusal>, Option<Problem>) {
    match (ended, withheld_status) {
        (Ended::Done, Some(status)) => {
            let detail = "the head of the request cannot be read as HTTP/1.1";
            let problem = Problem::new(unreadable(status), detail);
            (Some(HttpRefusal::MalformedHead), Some(problem))
        }
        (Ended::Overdue(Stage::Head), _) => {
            let limit_ms = limits.header_time_max.as_millis();
            let detail = format!("the head of the request took more than {limit_ms} ms");
            let problem = Problem::new(ProblemKind::TimedOut, detail);
            (Some(HttpRefusal::HeadTime), Some(problem))
        }
        (Ended::Overdue(Stage::Idle), _) => (Some(HttpRefusal::Idle), None),
        (Ended::Overdue(Stage::Request | Stage::Answer), _) => {
            (Some(HttpRefusal::AnswerTime), None)
        }
        (Ended::Done, None) | (Ended::Stopped, _) => (None, None),
    }
}

async fn stopped(mut stopping: watch::Receiver<bool>) {
    // A server that is gone has stopped as well.
    let _ = stopping.wait_for(|is_stopping| *is_stopping).await;
}

const fn unreadable(status: u16) -> ProblemKind {
    match status {
        414 => ProblemKind::AddressTooLong,
        431 => ProblemKind::HeadTooLarge,
        _ => ProblemKind::Malformed,
    }
}

/// Ends a stream, after a last answer where there is one, which is counted here: no service ever sees it.
///
/// What the client still sends is read for a while: a system that throws it away resets the connection, and the reset
/// may overtake the answer.
pub(super) async fn close(mut stream: TcpStream, answer: Option<&Problem>, metrics: &Metrics) {
    let end = async {
        if let Some(problem) = answer {
            metrics.http_answered(problem.kind().status());
            stream.write_all(&problem.to_wire()).await?;
        }
        stream.shutdown().await?;
        let mut scrap = [0; 4096];
        while stream.read(&mut scrap).await? > 0 {}
        Ok::<_, std::io::Error>(())
    };
    // A client that has left already, or does not leave, is no concern of ours any more.
    let _ = timeout(LINGER_TIME_MAX, end).await;
}
