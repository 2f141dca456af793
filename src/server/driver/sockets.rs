//! The sockets of a core, and what is in flight on each.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use crate::route::engine::ConnectionKey;
use crate::server::ring::{Kind, Token};

/// The state of a connection's multishot receive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Receive {
    /// None is in flight.
    Off,
    /// In flight.
    On,
    /// In flight, and a cancellation is on its way.
    Stopping,
}

/// One connection, as the kernel side sees it.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts, not states of one machine")]
pub(super) struct Socket {
    descriptor: OwnedFd,
    pub(super) receive: Receive,
    /// Whether the engine wants to read.
    pub(super) reading: bool,
    /// Whether the peer's stream has ended or failed.
    pub(super) ended: bool,
    /// Whether a send is in flight.
    pub(super) sending: bool,
    /// Whether the engine has reported the connection while a send was in flight.
    pub(super) unsettled: bool,
    /// Whether it is to be closed as soon as nothing is in flight.
    pub(super) closing: bool,
    /// Whether something has been received that has not been handled yet.
    pub(super) has_news: bool,
}

impl Socket {
    pub(super) fn new(descriptor: OwnedFd) -> Self {
        Self {
            descriptor,
            receive: Receive::Off,
            reading: true,
            ended: false,
            sending: false,
            unsettled: false,
            closing: false,
            has_news: false,
        }
    }

    pub(super) fn descriptor(&self) -> RawFd {
        self.descriptor.as_raw_fd()
    }

    /// Whether a receive shall be started now.
    pub(super) fn wants_receive(&self) -> bool {
        self.receive == Receive::Off && self.reading && !self.ended && !self.closing
    }

    /// Whether the descriptor may be closed: the kernel has no operation on it any more.
    pub(super) fn is_finished(&self) -> bool {
        self.closing && self.receive == Receive::Off && !self.sending
    }
}

/// A place for a socket; its generation counts the sockets that it has held.
#[derive(Default, Debug)]
struct Slot {
    generation: u32,
    socket: Option<Socket>,
}

/// Sockets by the keys that the engine has chosen for them: small and dense, so an array.
#[derive(Default, Debug)]
pub(super) struct Sockets {
    slots: Vec<Slot>,
    count: usize,
}

impl Sockets {
    pub(super) fn insert(&mut self, key: ConnectionKey, socket: Socket) {
        let index = key.0 as usize;
        if index >= self.slots.len() {
            self.slots.resize_with(index + 1, Slot::default);
        }
        let previous = self.slots[index].socket.replace(socket);
        assert!(previous.is_none(), "invariant: a key is free before it is used again");
        self.count += 1;
    }

    /// Takes a socket out; dropping it closes the descriptor.
    pub(super) fn remove(&mut self, key: ConnectionKey) -> Socket {
        let slot = &mut self.slots[key.0 as usize];
        slot.generation = slot.generation.wrapping_add(1);
        self.count -= 1;
        slot.socket.take().expect("invariant: only a socket that is there is removed")
    }

    pub(super) fn get_mut(&mut self, key: ConnectionKey) -> Option<&mut Socket> {
        self.slots.get_mut(key.0 as usize)?.socket.as_mut()
    }

    /// The socket for which an operation was started. It is still there, because a socket is only
    /// removed after its last operation.
    pub(super) fn of(&mut self, token: Token) -> &mut Socket {
        let slot = &mut self.slots[token.index() as usize];
        assert!(token.is_of(slot.generation), "invariant: a key is not reused during an operation");
        slot.socket.as_mut().expect("invariant: a socket outlives its operations")
    }

    /// The socket of an operation whose completion may come after the socket's end.
    pub(super) fn of_late(&mut self, token: Token) -> Option<&mut Socket> {
        let slot = self.slots.get_mut(token.index() as usize)?;
        if token.is_of(slot.generation) { slot.socket.as_mut() } else { None }
    }

    /// Names an operation on the socket that is now at `key`.
    pub(super) fn token(&self, kind: Kind, key: ConnectionKey) -> Token {
        Token::new(kind, key.0, self.slots[key.0 as usize].generation)
    }

    pub(super) fn any_sending(&self) -> bool {
        self.slots.iter().filter_map(|slot| slot.socket.as_ref()).any(|socket| socket.sending)
    }

    /// Checks what must hold between rounds.
    #[cfg(test)]
    pub(super) fn verify(&self) {
        let sockets = || self.slots.iter().filter_map(|slot| slot.socket.as_ref());
        assert_eq!(sockets().count(), self.count);
        for socket in sockets() {
            assert!(!socket.is_finished(), "a finished socket is removed");
            assert!(!socket.unsettled || socket.sending, "only a send defers settling");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket() -> Socket {
        Socket::new(std::os::unix::net::UnixStream::pair().unwrap().0.into())
    }

    #[test]
    fn a_late_completion_does_not_reach_the_next_socket_of_its_key() {
        let (mut sockets, key) = (Sockets::default(), ConnectionKey(3));
        sockets.insert(key, socket());
        let first = sockets.token(Kind::Receive, key);
        assert!(sockets.of_late(first).is_some());
        sockets.remove(key);
        assert!(sockets.of_late(first).is_none());
        sockets.insert(key, socket());
        assert!(sockets.of_late(first).is_none());
        let second = sockets.token(Kind::Receive, key);
        assert!(sockets.of_late(second).is_some());
        sockets.verify();
    }

    #[test]
    fn a_socket_is_finished_only_when_nothing_is_in_flight() {
        let mut socket = socket();
        assert!(socket.wants_receive() && !socket.is_finished());
        socket.receive = Receive::Stopping;
        socket.sending = true;
        socket.closing = true;
        assert!(!socket.is_finished() && !socket.wants_receive());
        socket.receive = Receive::Off;
        assert!(!socket.is_finished());
        socket.sending = false;
        assert!(socket.is_finished());
    }
}
