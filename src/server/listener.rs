//! Listening sockets: TCP on every core for every `bind` address, and the unix socket.
//!
//! Each core has a socket of its own for each address, joined by `SO_REUSEPORT`, so that the kernel
//! spreads new connections over the cores. Accepted sockets inherit `TCP_NODELAY` and keep-alive
//! from their listener, which saves system calls for each connection.

use std::fmt;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, TcpKeepalive, Type};

use super::mailbox::Cores;
use crate::route::engine::{ShardId, SocketInfo};

/// How often a busy port is tried again at the start.
const BUSY_ATTEMPTS: u32 = 25;
/// How long is waited in between.
const BUSY_PAUSE: Duration = Duration::from_millis(10);

/// Where and how to listen. The names are those of the peers' parameters.
#[derive(Clone, Debug)]
pub struct ListenOptions {
    /// Addresses or host names; `*` is every IPv4 address, `::*` every IPv6 address, and a leading
    /// `-` means that the address may be missing on this machine.
    pub bind: Vec<String>,
    /// The TCP port; 0 for no TCP at all.
    pub port: u16,
    /// Length of the queue of connections that wait to be accepted.
    pub tcp_backlog: u32,
    /// Idle seconds before a connection is probed for being alive; 0 for never.
    pub tcp_keepalive_s: u32,
    /// Path of the unix socket, if there shall be one.
    pub unix_socket: Option<PathBuf>,
    /// Permission bits of the unix socket, if not those that the umask leaves.
    pub unix_socket_perm: Option<u32>,
    /// Name of the group that the unix socket is given to.
    pub unix_socket_group: Option<String>,
}

impl Default for ListenOptions {
    /// The peers' defaults.
    fn default() -> Self {
        Self {
            bind: vec!["*".into(), "-::*".into()],
            port: 6379,
            tcp_backlog: 511,
            tcp_keepalive_s: 300,
            unix_socket: None,
            unix_socket_perm: None,
            unix_socket_group: None,
        }
    }
}

impl ListenOptions {
    /// The kinds of sockets there will be, as the log names them.
    pub(super) fn kinds(&self) -> Vec<&'static str> {
        let tcp = (self.port != 0 && !self.bind.is_empty()).then_some("tcp");
        let unix = self.unix_socket.is_some().then_some("unix");
        tcp.into_iter().chain(unix).collect()
    }
}

/// Why the server cannot listen. Displayed as one line, worded as the peers do.
#[derive(Debug)]
pub enum ListenError {
    /// A TCP address cannot be used.
    Tcp {
        /// The `bind` argument.
        address: String,
        /// The port.
        port: u16,
        /// The call that failed.
        call: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The unix socket cannot be used.
    Unix {
        /// Its path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Neither a TCP port nor a unix socket is configured, or every address was optional and
    /// missing.
    Nowhere,
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { address, port, call, source } => write!(
                f,
                "Could not create server TCP listening socket {address}:{port}: {call}: {}",
                reason(source)
            ),
            Self::Unix { path, source } => write!(
                f,
                "Failed opening Unix socket: bind: {}: {}",
                path.display(),
                reason(source)
            ),
            Self::Nowhere => write!(f, "Configured to not listen anywhere, exiting."),
        }
    }
}

impl std::error::Error for ListenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Tcp { source, .. } | Self::Unix { source, .. } => Some(source),
            Self::Nowhere => None,
        }
    }
}

/// The error's text as `strerror` has it, without the number that Rust appends.
fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    text.split_once(" (os error").map_or(text.clone(), |(reason, _)| reason.to_owned())
}

/// The listeners of a server that runs, to be replaced. Cheap to clone.
#[derive(Clone, Default, Debug)]
pub struct Listening(Arc<Replacement>);

/// Listeners on their way to their cores.
#[derive(Default, Debug)]
struct Replacement {
    /// Counts replacements, so that a core sees by one load whether there is a new one.
    version: AtomicU64,
    /// By core: what it has not fetched yet. Never locked for longer than it takes to move a list.
    lists: Mutex<Vec<Vec<Listener>>>,
    cores: OnceLock<Cores>,
}

impl Listening {
    /// Replaces the TCP listeners of every core; the unix socket stays. When this returns the new
    /// ones listen already, and the cores are about to accept on them and to close the old ones. On
    /// an error nothing has changed.
    ///
    /// `port_is_ours` says that the port is the present one, which the old listeners still hold.
    pub fn replace_tcp(
        &self,
        options: &ListenOptions,
        port_is_ours: bool,
    ) -> Result<(), ListenError> {
        let cores = self.0.cores.get().expect("invariant: only a server that runs is told");
        let mut listeners: Vec<Vec<Listener>> = (0..cores.len()).map(|_| Vec::new()).collect();
        if options.port != 0 {
            for bind in &options.bind {
                open_tcp(options, bind, port_is_ours, &mut listeners)?;
            }
        }
        *self.lists() = listeners;
        self.0.version.fetch_add(1, Ordering::Release);
        cores.wake_all();
        Ok(())
    }

    /// Lets the cores be found. To be called once.
    pub(super) fn attach(&self, cores: Cores) {
        assert!(self.0.cores.set(cores).is_ok(), "a server is started once");
    }

    /// How often the listeners have been replaced.
    pub(super) fn version(&self) -> u64 {
        self.0.version.load(Ordering::Acquire)
    }

    /// The new listeners of a core, once.
    pub(super) fn take(&self, core: ShardId) -> Vec<Listener> {
        std::mem::take(&mut self.lists()[core.index()])
    }

    fn lists(&self) -> MutexGuard<'_, Vec<Vec<Listener>>> {
        self.0.lists.lock().expect("invariant: a panic ends the process")
    }
}

/// One listening socket of one core.
#[derive(Debug)]
pub(super) struct Listener {
    socket: Socket,
    pub(super) unix: bool,
}

impl Listener {
    /// Listens no longer, from this moment on: closing it has to wait for its accept to end.
    pub(super) fn stop(&self) {
        // It fails only for a socket that does not listen.
        let _ = self.socket.shutdown(std::net::Shutdown::Both);
    }
}

impl AsRawFd for Listener {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

/// Opens all listeners: a list for each core.
///
/// The unix socket belongs to the first core, which shares its connections out like all others.
pub(super) fn open(
    options: &ListenOptions,
    shards: usize,
) -> Result<Vec<Vec<Listener>>, ListenError> {
    let mut listeners: Vec<Vec<Listener>> = (0..shards).map(|_| Vec::new()).collect();
    if options.port != 0 {
        for bind in &options.bind {
            open_tcp_patiently(options, bind, &mut listeners)?;
        }
    }
    if let Some(path) = &options.unix_socket {
        let socket = open_unix(options, path)
            .map_err(|source| ListenError::Unix { path: path.clone(), source })?;
        listeners[0].push(Listener { socket, unix: true });
    }
    if listeners.iter().all(Vec::is_empty) { Err(ListenError::Nowhere) } else { Ok(listeners) }
}

/// As [`open_tcp`] at the start, but a busy port gets a little time: the kernel takes a ring apart
/// some milliseconds after its process has ended, and with it the sockets of a server that was here
/// just now.
#[expect(clippy::disallowed_methods, reason = "there is no core yet")]
fn open_tcp_patiently(
    options: &ListenOptions,
    bind: &str,
    listeners: &mut [Vec<Listener>],
) -> Result<(), ListenError> {
    for _ in 0..BUSY_ATTEMPTS {
        match open_tcp(options, bind, false, listeners) {
            Err(ListenError::Tcp { source, .. })
                if source.kind() == io::ErrorKind::AddrInUse
                    && listeners.iter().all(Vec::is_empty) =>
            {
                std::thread::sleep(BUSY_PAUSE);
            }
            outcome => return outcome,
        }
    }
    open_tcp(options, bind, false, listeners)
}

/// Opens one address on every core. The first socket takes the port for itself, unless it is ours.
fn open_tcp(
    options: &ListenOptions,
    bind: &str,
    port_is_ours: bool,
    listeners: &mut [Vec<Listener>],
) -> Result<(), ListenError> {
    let (name, optional) = match bind.strip_prefix('-') {
        Some(name) => (name, true),
        None => (bind, false),
    };
    let fail = |(call, source): Failure| ListenError::Tcp {
        address: name.to_owned(),
        port: options.port,
        call,
        source,
    };
    let mut first = !port_is_ours;
    for listeners in listeners {
        let opened = resolve(name, options.port)
            .and_then(|address| open_tcp_socket(options, address, first));
        match opened {
            Ok(socket) => listeners.push(Listener { socket, unix: false }),
            Err((_, source)) if optional && is_missing(&source) => return Ok(()),
            Err(failure) => return Err(fail(failure)),
        }
        first = false;
    }
    Ok(())
}

/// A failed call and its error.
type Failure = (&'static str, io::Error);

/// The address that a `bind` argument means.
fn resolve(name: &str, port: u16) -> Result<SocketAddr, Failure> {
    let ip = match name {
        "*" => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        "::*" => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        _ => match name.parse() {
            Ok(ip) => ip,
            Err(_) => return resolve_host(name, port),
        },
    };
    Ok(SocketAddr::new(ip, port))
}

fn resolve_host(name: &str, port: u16) -> Result<SocketAddr, Failure> {
    let unknown = || io::Error::new(io::ErrorKind::NotFound, "Name or service not known");
    let mut addresses = (name, port).to_socket_addrs().map_err(|_| ("getaddrinfo", unknown()))?;
    addresses.next().ok_or_else(|| ("getaddrinfo", unknown()))
}

/// Whether an optional address is simply not there, as the peers judge it.
fn is_missing(error: &io::Error) -> bool {
    let missing = [
        libc::EADDRNOTAVAIL,
        libc::EAFNOSUPPORT,
        libc::EPROTONOSUPPORT,
        libc::ESOCKTNOSUPPORT,
        libc::EPFNOSUPPORT,
        libc::ENOPROTOOPT,
    ];
    error.raw_os_error().is_some_and(|number| missing.contains(&number))
}

fn open_tcp_socket(
    options: &ListenOptions,
    address: SocketAddr,
    first: bool,
) -> Result<Socket, Failure> {
    let domain = Domain::for_address(address);
    let socket =
        Socket::new(domain, Type::STREAM, Some(Protocol::TCP)).map_err(|e| ("socket", e))?;
    let set = |result: io::Result<()>| result.map_err(|e| ("setsockopt", e));
    set(socket.set_reuse_address(true))?;
    if address.is_ipv6() {
        set(socket.set_only_v6(true))?;
    }
    set(socket.set_tcp_nodelay(true))?;
    if options.tcp_keepalive_s > 0 {
        set(socket.set_tcp_keepalive(&keepalive(options.tcp_keepalive_s)))?;
    }
    // The first socket of an address takes it for itself alone, so that a port which another
    // process listens on is found to be busy even if that process shares it. Once it listens it
    // admits the other cores' sockets.
    if !first {
        set(socket.set_reuse_port(true))?;
    }
    socket.bind(&address.into()).map_err(|e| ("bind", e))?;
    let backlog = i32::try_from(options.tcp_backlog).unwrap_or(i32::MAX);
    socket.listen(backlog).map_err(|e| ("listen", e))?;
    if first {
        set(socket.set_reuse_port(true))?;
    }
    Ok(socket)
}

/// The peers' schedule: a third of the idle time between three probes.
fn keepalive(idle_s: u32) -> TcpKeepalive {
    TcpKeepalive::new()
        .with_time(Duration::from_secs(idle_s.into()))
        .with_interval(Duration::from_secs((idle_s / 3).max(1).into()))
        .with_retries(3)
}

/// Opens the unix socket in place of an old one, which a killed server leaves behind.
fn open_unix(options: &ListenOptions, path: &Path) -> io::Result<Socket> {
    if fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket()) {
        fs::remove_file(path)?;
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(path)?)?;
    if let Some(group) = &options.unix_socket_group {
        let group = group_id(&fs::read_to_string("/etc/group")?, group).ok_or_else(|| {
            io::Error::new(io::ErrorKind::NotFound, format!("there is no group '{group}'"))
        })?;
        std::os::unix::fs::chown(path, None, Some(group))?;
    }
    if let Some(mode) = options.unix_socket_perm {
        fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    }
    socket.listen(i32::try_from(options.tcp_backlog).unwrap_or(i32::MAX))?;
    Ok(socket)
}

/// The number of a group, by the lines `name:password:number:members` of the system's file.
fn group_id(file: &str, name: &str) -> Option<u32> {
    file.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok()).flatten()
    })
}

/// What the engine is told of an accepted socket. An error means that the peer is gone already.
pub(super) fn describe(socket: &OwnedFd, unix: bool, path: &str) -> io::Result<SocketInfo> {
    let descriptor = socket.as_raw_fd();
    if unix {
        let name = format!("{path}:0");
        return Ok(SocketInfo {
            peer: name.clone(),
            local: name,
            descriptor,
            unix,
            loopback: true,
        });
    }
    let reference = SockRef::from(socket);
    let not_ip = || io::Error::from(io::ErrorKind::NotConnected);
    let peer = reference.peer_addr()?.as_socket().ok_or_else(not_ip)?;
    let local = reference.local_addr()?.as_socket().ok_or_else(not_ip)?;
    Ok(SocketInfo {
        peer: peer.to_string(),
        local: local.to_string(),
        descriptor,
        unix,
        loopback: peer.ip().is_loopback(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_has_the_number_in_the_third_field() {
        let file = "root:x:0:\nbroken\nwheel:x:10:root,me\nodd:x:many:\n";
        assert_eq!(group_id(file, "root"), Some(0));
        assert_eq!(group_id(file, "wheel"), Some(10));
        for missing in ["broken", "odd", "me", ""] {
            assert_eq!(group_id(file, missing), None, "{missing}");
        }
    }
}
