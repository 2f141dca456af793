//! What starts and watches the process is told how it is: systemd, through the socket that it
//! names in `NOTIFY_SOCKET` (`sd_notify(3)`).

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use crate::config::choice::Supervised;

/// The supervisor of this process, if it has one that wants to be told.
#[derive(Debug)]
pub struct Supervisor {
    address: Option<SocketAddr>,
}

impl Supervisor {
    /// The one that `supervised` names and `notify_socket`, the environment's `NOTIFY_SOCKET`, is
    /// of. What is missing is no reason not to start, but the log says so.
    pub fn new(supervised: Supervised, notify_socket: Option<OsString>) -> Self {
        let wanted = matches!(supervised, Supervised::Systemd | Supervised::Auto);
        let named = notify_socket.filter(|_| wanted);
        match (supervised, &named) {
            (Supervised::Systemd, None) => tracing::warn!(
                "systemd supervision requested or auto-detected, but Kvasir is not running under \
                 systemd: NOTIFY_SOCKET is not set"
            ),
            (Supervised::Upstart, _) => {
                tracing::warn!("supervision by upstart has no effect: systemd alone is told");
            }
            _ => {}
        }
        let address = named.and_then(|name| match address_of(&name) {
            Ok(address) => Some(address),
            Err(error) => {
                tracing::warn!("Can't use NOTIFY_SOCKET: {error}");
                None
            }
        });
        Self { address }
    }

    /// The server accepts connections.
    pub fn ready(&self) {
        self.tell("STATUS=Ready to accept connections\nREADY=1\n");
    }

    /// The server is about to end.
    pub fn stopping(&self) {
        self.tell("STOPPING=1\n");
    }

    fn tell(&self, state: &str) {
        let Some(address) = &self.address else { return };
        let sent = UnixDatagram::unbound()
            .and_then(|socket| socket.send_to_addr(state.as_bytes(), address));
        if let Err(error) = sent {
            tracing::warn!("Can't tell systemd: {error}");
        }
    }
}

/// A path, or with an `@` before it a name in the abstract namespace.
fn address_of(name: &OsStr) -> io::Result<SocketAddr> {
    match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        path => SocketAddr::from_pathname(OsStr::from_bytes(path)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 256];
        let len = socket.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..len]).into_owned()
    }

    #[test]
    fn systemd_is_told_at_a_path_and_at_an_abstract_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let name = format!("kvasir-supervisor-test-{}", std::process::id());
        let at_name = SocketAddr::from_abstract_name(&name).unwrap();
        let sockets = [
            (UnixDatagram::bind(&path).unwrap(), path.into_os_string()),
            (UnixDatagram::bind_addr(&at_name).unwrap(), format!("@{name}").into()),
        ];
        for (socket, address) in sockets {
            let supervisor = Supervisor::new(Supervised::Auto, Some(address));
            supervisor.ready();
            assert_eq!(told(&socket), "STATUS=Ready to accept connections\nREADY=1\n");
            supervisor.stopping();
            assert_eq!(told(&socket), "STOPPING=1\n");
        }
    }

    #[test]
    fn nobody_is_told_unasked_or_without_an_address() {
        let address = || Some(OsString::from("/run/notify"));
        assert!(Supervisor::new(Supervised::Nobody, address()).address.is_none());
        assert!(Supervisor::new(Supervised::Systemd, None).address.is_none());
        let supervisor = Supervisor::new(Supervised::Systemd, Some("/nonexistent/notify".into()));
        supervisor.ready();
    }
}
