//! One simulated connection: what the kernel and the driver would know of it.

/// A client's connection as its core's driver sees it, and the bytes on their way.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts, not states of one machine")]
pub(crate) struct Socket {
    /// The client at the other end, and which of its connections this is.
    pub(crate) client: usize,
    pub(crate) incarnation: u64,
    /// Bytes that the client has sent and the core is to receive.
    pub(crate) inbound: Vec<u8>,
    /// How many of them the core has received all the same, to be removed together.
    pub(crate) taken: usize,
    /// The client sends nothing after these.
    pub(crate) finished: bool,
    /// The connection is broken.
    pub(crate) broken: bool,
    /// The client takes no output at the moment.
    pub(crate) stalled: bool,
    /// Whether the engine has been told that nothing more will come.
    pub(crate) ended: bool,
    /// Whether the engine wants to read, as it last said.
    pub(crate) reading: bool,
    /// The output in flight and how much of it is through.
    pub(crate) sending: Option<(Vec<u8>, usize)>,
    /// Whether the engine has reported the connection while a send was in flight.
    pub(crate) unsettled: bool,
    /// Whether it is to be closed as soon as nothing is in flight.
    pub(crate) closing: bool,
}

impl Socket {
    pub(crate) fn new(client: usize, incarnation: u64) -> Self {
        Self {
            client,
            incarnation,
            inbound: Vec::new(),
            taken: 0,
            finished: false,
            broken: false,
            stalled: false,
            ended: false,
            reading: true,
            sending: None,
            unsettled: false,
            closing: false,
        }
    }

    /// Whether the core's driver has something to do about it.
    pub(crate) fn has_event(&self) -> bool {
        self.closing || self.can_send() || self.can_receive() || self.can_end() || self.can_fail()
    }

    /// Whether output in flight can move on.
    pub(crate) fn can_send(&self) -> bool {
        self.sending.is_some() && !self.stalled && !self.broken
    }

    /// Whether bytes can be received.
    pub(crate) fn can_receive(&self) -> bool {
        self.listens() && !self.broken && !self.inbound.is_empty()
    }

    /// Whether the end of the client's stream can be noticed.
    pub(crate) fn can_end(&self) -> bool {
        self.listens() && !self.broken && self.finished && self.inbound.is_empty()
    }

    /// Whether a broken connection can be noticed: something must be in flight on it.
    pub(crate) fn can_fail(&self) -> bool {
        self.broken && !self.closing && (self.reading && !self.ended || self.sending.is_some())
    }

    fn listens(&self) -> bool {
        self.reading && !self.ended && !self.closing
    }
}
