//! Lines to the system's log, by datagram to its socket.

use std::os::unix::net::UnixDatagram;

use super::format::Severity;

/// Where the system's log listens.
const SOCKET: &str = "/dev/log";

/// A connection to the system's log; made anew when the log was restarted.
pub(super) struct Syslog {
    tag: String,
    facility: u32,
    socket: Option<UnixDatagram>,
}

impl Syslog {
    pub(super) fn new(ident: &str, facility: u32) -> Self {
        let tag = format!("{ident}[{}]", std::process::id());
        Self { tag, facility, socket: None }
    }

    /// Sends a line. A system without a log, or with a busy one, loses it: the file has it too.
    pub(super) fn send(&mut self, severity: Severity, line: &[u8]) {
        let datagram = self.datagram(severity, line);
        for _attempt in 0..2 {
            if self.socket.is_none() {
                self.socket = connect();
            }
            let Some(socket) = &self.socket else { return };
            if socket.send(&datagram).is_ok() {
                return;
            }
            self.socket = None;
        }
    }

    /// The priority is the facility's code times eight plus the severity's, of RFC 5424.
    fn datagram(&self, severity: Severity, line: &[u8]) -> Vec<u8> {
        let level = match severity {
            Severity::Debug => 7,
            Severity::Verbose => 6,
            Severity::Notice => 5,
            Severity::Warning => 4,
        };
        let mut datagram = format!("<{}>{}: ", self.facility * 8 + level, self.tag).into_bytes();
        datagram.extend(line.trim_ascii_end());
        datagram
    }
}

fn connect() -> Option<UnixDatagram> {
    let socket = UnixDatagram::unbound().ok()?;
    socket.set_nonblocking(true).ok()?;
    socket.connect(SOCKET).ok()?;
    Some(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_datagram_has_priority_tag_and_line() {
        let syslog = Syslog::new("valkey", 16);
        let expected = format!("<133>valkey[{}]: text", std::process::id());
        assert_eq!(syslog.datagram(Severity::Notice, b"text\n"), expected.as_bytes());
        let datagram = Syslog::new("x", 1).datagram(Severity::Warning, b"");
        assert!(datagram.starts_with(b"<12>x["));
    }
}
