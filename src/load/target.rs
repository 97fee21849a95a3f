//! The target: which node is driven.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

/// Where a node listens: host and port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    authority: String,
}

/// A text that is not the address of a node.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} is no address of a node: expected one like http://127.0.0.1:8645")]
pub struct TargetError {
    /// The text that was given.
    pub found: String,
}

impl Target {
    /// Returns host and port.
    #[must_use]
    pub fn authority(&self) -> &str {
        &self.authority
    }
}

impl From<SocketAddr> for Target {
    fn from(address: SocketAddr) -> Self {
        Self { authority: address.to_string() }
    }
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        let wrong = || TargetError { found: text.to_owned() };
        let uri: hyper::Uri = text.parse().map_err(|_| wrong())?;
        let is_plain = uri.scheme_str() == Some("http") && matches!(uri.path(), "" | "/");
        let authority = uri.authority().filter(|_| is_plain && uri.query().is_none());
        let authority = authority.filter(|authority| !authority.as_str().contains('@'));
        let authority = authority.ok_or_else(wrong)?;
        let port = authority.port_u16().unwrap_or(80);
        Ok(Self { authority: format!("{}:{port}", authority.host()) })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}", self.authority)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_plain_http_address() {
        for (text, expected) in [
            ("http://127.0.0.1:8645", "127.0.0.1:8645"),
            ("http://node.example:1/", "node.example:1"),
            ("http://[::1]:9", "[::1]:9"),
            ("http://node", "node:80"),
        ] {
            let target: Target = text.parse().expect("an address");
            assert_eq!(target.authority(), expected);
        }
        for text in ["", "127.0.0.1:8645", "https://a:1", "http://a:1/v1", "http://u@a:1", "ftp:"] {
            assert_eq!(text.parse::<Target>(), Err(TargetError { found: text.to_owned() }));
        }
    }
}
