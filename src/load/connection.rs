//! A connection: one question after another over HTTP/1.1, each with a time limit and a size limit.

use std::io::ErrorKind;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{CONTENT_TYPE, HOST};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::load::Target;

/// Why a question to a node was not answered as the interface promises.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens there.
    #[error("no connection to {target}: {detail}")]
    Connect {
        /// The node.
        target: String,
        /// What the operating system says.
        detail: String,
    },
    /// No answer came in time.
    #[error("no answer to {path} within {limit_ms} ms")]
    TimedOut {
        /// What was asked for.
        path: String,
        /// How long it was waited for.
        limit_ms: u64,
    },
    /// The connection broke before the answer was complete.
    #[error("the connection broke during {path}: {detail}")]
    Broken {
        /// What was asked for.
        path: String,
        /// What broke.
        detail: String,
    },
    /// The answer is longer than any that is expected.
    #[error("the answer to {path} is longer than {bytes_max} bytes")]
    TooLarge {
        /// What was asked for.
        path: String,
        /// The limit.
        bytes_max: usize,
    },
    /// The answer is not of the promised form.
    #[error("the answer to {path} cannot be read: {detail}")]
    Unreadable {
        /// What was asked for.
        path: String,
        /// What is wrong with it.
        detail: String,
    },
    /// The node answered with a status that the question does not have.
    #[error("the answer to {path} is status {status}: {detail}")]
    Status {
        /// What was asked for.
        path: String,
        /// The status.
        status: u16,
        /// What the node says about it.
        detail: String,
    },
}

impl ClientError {
    /// Says whether the node may simply have died: a new connection can succeed.
    #[must_use]
    pub const fn is_lost(&self) -> bool {
        matches!(self, Self::Connect { .. } | Self::TimedOut { .. } | Self::Broken { .. })
    }
}

/// What is asked.
#[derive(Clone, Debug)]
pub(super) struct Question {
    pub(super) path: String,
    /// What is posted; nothing where something is only read.
    pub(super) body: Option<Bytes>,
    /// Longest answer.
    pub(super) bytes_max: usize,
}

/// What came back.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Bytes,
}

/// An open connection; after an error it is of no further use.
pub(super) struct Connection {
    authority: String,
    sender: SendRequest<Full<Bytes>>,
    limit: Duration,
}

impl Connection {
    /// Connects; `limit` is for this and for every question.
    pub(super) async fn open(target: &Target, limit: Duration) -> Result<Self, ClientError> {
        let refused = |detail: String| ClientError::Connect { target: target.to_string(), detail };
        let connect = async || -> std::io::Result<TcpStream> {
            let stream = TcpStream::connect(target.authority()).await?;
            stream.set_nodelay(true)?;
            // NOTE: where nobody listens on a port of the range that is given to connections, one may be connected
            // to itself, and would keep the port from the node.
            let is_own = stream.local_addr()? == stream.peer_addr()?;
            if is_own { Err(ErrorKind::ConnectionRefused.into()) } else { Ok(stream) }
        };
        let connected = tokio::time::timeout(limit, connect()).await;
        let stream = connected.map_err(|_| refused("it does not answer".to_owned()))?;
        let stream = stream.map_err(|error| refused(error.to_string()))?;
        let shaken = handshake(TokioIo::new(stream)).await;
        let (sender, connection) = shaken.map_err(|error| refused(error.to_string()))?;
        // It ends when the sender is dropped; what breaks it is told to whoever waits for an answer.
        tokio::spawn(connection);
        Ok(Self { authority: target.authority().to_owned(), sender, limit })
    }

    /// Asks and waits for the whole answer.
    pub(super) async fn ask(&mut self, question: &Question) -> Result<Answer, ClientError> {
        let limit = self.limit;
        let path = question.path.clone();
        let answered = tokio::time::timeout(limit, self.exchange(question)).await;
        let limit_ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        answered.unwrap_or(Err(ClientError::TimedOut { path, limit_ms }))
    }

    async fn exchange(&mut self, question: &Question) -> Result<Answer, ClientError> {
        let path = &question.path;
        let broken = |error: &dyn std::error::Error| ClientError::Broken {
            path: path.clone(),
            detail: with_cause(error),
        };
        let request = Request::builder()
            .method(if question.body.is_some() { "POST" } else { "GET" })
            .uri(path)
            .header(HOST, &self.authority)
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(question.body.clone().unwrap_or_default()));
        let request = request.map_err(|error| broken(&error))?;
        self.sender.ready().await.map_err(|error| broken(&error))?;
        let response = self.sender.send_request(request).await.map_err(|error| broken(&error))?;
        let status = response.status().as_u16();
        let body = Limited::new(response.into_body(), question.bytes_max).collect().await;
        let body = body.map_err(|error| {
            if error.is::<LengthLimitError>() {
                ClientError::TooLarge { path: path.clone(), bytes_max: question.bytes_max }
            } else {
                broken(error.as_ref())
            }
        })?;
        Ok(Answer { status, body: body.to_bytes() })
    }
}

fn with_cause(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"))
}
