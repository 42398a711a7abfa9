//! Taking an address, and giving it back.

use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::{TcpListener, UnixListener, UnixStream};

use super::{BoundAddress, ServerError};
use crate::config::ListenAddress;

/// How long a Unix socket's owner may take to be noticed. One that is alive and does not accept
/// has a full queue, which is sign enough.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

/// One address, held.
#[derive(Debug)]
pub(super) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener, SocketFile),
}

impl Listener {
    pub(super) async fn bind(address: &ListenAddress, port: u16) -> Result<Self, ServerError> {
        match address {
            ListenAddress::Tcp(host) => match TcpListener::bind((&**host, port)).await {
                Ok(listener) => Ok(Self::Tcp(listener)),
                Err(error) => {
                    // An IPv6 address is told from its port by brackets.
                    let host =
                        if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
                    let reason = tcp_reason(&error, port);
                    Err(ServerError::Listen { address: format!("{host}:{port}"), reason, error })
                }
            },
            ListenAddress::Unix(path) => match bind_unix(path).await {
                Ok((listener, file)) => Ok(Self::Unix(listener, file)),
                Err(error) => {
                    let reason = unix_reason(&error);
                    Err(ServerError::Listen { address: address.to_string(), reason, error })
                }
            },
        }
    }

    pub(super) fn address(&self) -> BoundAddress {
        match self {
            Self::Tcp(listener) => {
                BoundAddress::Tcp(listener.local_addr().expect("a bound socket has an address"))
            }
            Self::Unix(_, file) => BoundAddress::Unix(file.path.clone()),
        }
    }
}

fn tcp_reason(error: &io::Error, port: u16) -> String {
    match error.kind() {
        ErrorKind::AddrInUse => "address already in use; choose another with -port, or stop the \
                                 process that holds it"
            .to_owned(),
        ErrorKind::PermissionDenied => {
            format!("port {port} needs privileges; choose one from 1024 up with -port")
        }
        ErrorKind::AddrNotAvailable => {
            "no interface of this machine has this address; see -listen".to_owned()
        }
        _ => format!("{error}; see -listen"),
    }
}

fn unix_reason(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::AddrInUse => "address already in use; choose another path with -listen, or \
                                 stop the process that holds it"
            .to_owned(),
        ErrorKind::AlreadyExists => "a file that is no socket stands there; choose another path \
                                     with -listen"
            .to_owned(),
        ErrorKind::NotFound => "there is no such directory; create it, or choose another path \
                                with -listen"
            .to_owned(),
        _ => format!("{error}; choose another path with -listen"),
    }
}

/// Binds a Unix socket. A socket file that nobody listens behind, as a killed server leaves it,
/// is replaced. Two servers that find the same such file in the same moment may both replace it;
/// the first then loses its address, as after an `rm`.
async fn bind_unix(path: &Path) -> io::Result<(UnixListener, SocketFile)> {
    match std::fs::symlink_metadata(path) {
        Ok(file) if !file.file_type().is_socket() => {
            return Err(ErrorKind::AlreadyExists.into());
        }
        Ok(_) => {
            let probe = tokio::time::timeout(PROBE_TIMEOUT, UnixStream::connect(path)).await;
            match probe {
                Ok(Err(error)) if error.kind() == ErrorKind::ConnectionRefused => {
                    tracing::info!(path = %path.display(), "replaced a stale socket file");
                    std::fs::remove_file(path)?;
                }
                Ok(Err(error)) if error.kind() == ErrorKind::NotFound => {}
                Ok(Err(error)) if error.kind() == ErrorKind::PermissionDenied => return Err(error),
                _ => return Err(ErrorKind::AddrInUse.into()),
            }
        }
        Err(_) => {}
    }
    let listener = UnixListener::bind(path)?;
    let identity = identity(path)?;
    Ok((listener, SocketFile { path: path.to_owned(), identity }))
}

/// A socket's file, removed when its server ends.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

/// Device and inode: which file a path names.
fn identity(path: &Path) -> io::Result<(u64, u64)> {
    std::fs::symlink_metadata(path).map(|file| (file.dev(), file.ino()))
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // A successor's file, if the path was taken over, is not ours to remove.
        if identity(&self.path).is_ok_and(|found| found == self.identity)
            && let Err(error) = std::fs::remove_file(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove the socket file");
        }
    }
}
