//! What carries requests to other servers for the cores, which never wait for a connection.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// Requests for another server, to be sent in one go.
#[derive(Debug)]
pub struct Delivery {
    /// Where that server is.
    pub target: Target,
    /// How long connecting, sending, and waiting for a reply may take, each.
    pub patience: Duration,
    /// What is said first, each encoded: how the client authenticates.
    pub greeting: Option<Vec<u8>>,
    /// The database that the requests are for.
    pub db: i64,
    /// The requests, each encoded.
    pub requests: Vec<Vec<u8>>,
}

/// The address of a server: a name or an address, and a port, as the client has written them.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
#[expect(missing_docs, reason = "the doc says what the two are")]
pub struct Target {
    pub host: String,
    pub port: String,
}

/// What became of a delivery.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Outcome {
    /// For each request whether it is known to have been carried out.
    pub accepted: Vec<bool>,
    /// The first thing that went wrong.
    pub failure: Option<Failure>,
}

impl Outcome {
    /// Notes that something went wrong, if it is the first.
    pub fn note(&mut self, failure: Option<Failure>) {
        self.failure = self.failure.take().or(failure);
    }
}

/// What went wrong with a delivery.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Failure {
    /// There is no connection.
    Connect,
    /// Not everything could be sent in time.
    Write,
    /// A reply has not come in time.
    Read,
    /// The server has refused a request, with this error.
    Refused(Vec<u8>),
}

/// Where the outcome of a delivery shows once it is known.
pub type Receipt = Arc<OnceLock<Outcome>>;

/// The connections of a process to other servers. A simulation has none, or some of its own.
pub trait Carrier: Send + Sync {
    /// Begins to carry out a delivery. It is given back when there are too many others.
    fn carry(&self, delivery: Delivery) -> Result<Receipt, Delivery>;

    /// How many connections are kept for the next delivery.
    fn connections(&self) -> usize;
}
