//! Listener endpoints: `NAME://host:port`.

use super::ConfigError;
use std::fmt;

/// A listener, or where a listener is advertised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The listener's name, in capitals.
    pub name: String,
    /// A host name or an address; empty for all interfaces.
    pub host: String,
    /// 0 picks a free one.
    pub port: u16,
}

impl Endpoint {
    /// Whether the host names no particular interface.
    pub fn is_wildcard(&self) -> bool {
        self.host.is_empty() || self.host == "0.0.0.0" || self.host == "::"
    }

    /// Reads one endpoint of the property `property`.
    pub fn parse(property: &str, text: &str) -> Result<Endpoint, ConfigError> {
        let refusal = || ConfigError::Invalid {
            name: property.to_owned(),
            value: text.to_owned(),
            wanted: "NAME://host:port, for instance PLAINTEXT://127.0.0.1:9092".to_owned(),
        };
        let (name, address) = text.split_once("://").ok_or_else(refusal)?;
        let (host, port) = address.rsplit_once(':').ok_or_else(refusal)?;
        let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        if name.is_empty() || (bracketed.is_none() && host.contains(':')) {
            return Err(refusal());
        }
        let port = port.parse().map_err(|_| refusal())?;
        Ok(Endpoint { name: name.to_ascii_uppercase(), host: bracketed.unwrap_or(host).to_owned(), port })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "{}://[{}]:{}", self.name, self.host, self.port)
        } else {
            write!(f, "{}://{}:{}", self.name, self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_read_as_kafka_writes_them() {
        for text in
            ["PLAINTEXT://127.0.0.1:9092", "EXTERNAL://[::1]:0", "PLAINTEXT://:9092", "A://broker-1.local:1"]
        {
            assert_eq!(Endpoint::parse("listeners", text).unwrap().to_string(), text);
        }
        for bad in ["127.0.0.1:9092", "PLAINTEXT://host", "PLAINTEXT://host:99999", "://h:1", "A://::1:9092"]
        {
            let error = Endpoint::parse("listeners", bad).unwrap_err().to_string();
            assert!(error.contains("listeners") && error.contains(bad), "{error}");
        }
    }
}
