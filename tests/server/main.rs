//! Commands about connections and the server, at one shard and at two.

mod client;
mod config;
mod connection;
mod debug;
mod limits;
mod start;

use kvasir_testing::{Program, Server};

/// Runs a test on a server of one shard, and on one of two.
fn at_one_and_two_shards(test: impl Fn(&Server)) {
    for shards in [1, 2] {
        let arguments = ["--enable-debug-command", "yes", "--enable-protected-configs", "yes"];
        let server = Server::builder(Program::Kvasir).shards(shards).args(&arguments).start();
        test(&server);
    }
}
