//! Names to addresses.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use futures_util::future::BoxFuture;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::{allow::AllowList, error::Error};

/// The addresses of a name.
pub type Addresses = BoxFuture<'static, io::Result<Vec<IpAddr>>>;

/// Who knows the addresses of a name. Tests have their own.
pub trait Lookup: Send + Sync {
    /// Looks the name up. It is asked once for each connection.
    fn lookup(&self, host: &str) -> Addresses;
}

/// The operating system's resolver.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemLookup;

impl Lookup for SystemLookup {
    fn lookup(&self, host: &str) -> Addresses {
        let host = host.to_owned();
        Box::pin(async move {
            let found = tokio::net::lookup_host((host, 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    }
}

/// Hands the connector those addresses of a name that may be reached.
pub(super) struct CheckedLookup {
    pub(super) lookup: Arc<dyn Lookup>,
    pub(super) allow: Arc<AllowList>,
    /// The port that is connected to, if the allow list names it.
    pub(super) port: Option<u16>,
}

impl Resolve for CheckedLookup {
    fn resolve(&self, name: Name) -> Resolving {
        let host = name.as_str().to_owned();
        let (found, allow, port) = (self.lookup.lookup(&host), self.allow.clone(), self.port);
        Box::pin(async move {
            let host = host.strip_suffix('.').unwrap_or(&host);
            let unresolved = || Error::Unresolved { host: host.to_owned() };
            let found = found.await.ok().filter(|found| !found.is_empty()).ok_or_else(unresolved)?;
            let permitted = found.into_iter().filter(|address| allow.permits(host, *address, port));
            // Port 0: the connector puts the URL's there.
            let permitted: Vec<SocketAddr> = permitted.map(|address| SocketAddr::new(address, 0)).collect();
            if permitted.is_empty() {
                return Err(Error::Refused { host: host.to_owned() }.into());
            }
            Ok(Box::new(permitted.into_iter()) as Addrs)
        })
    }
}
