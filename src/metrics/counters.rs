//! Numbers that only rise.

macro_rules! counters {
    ($($(#[$doc:meta])+ $name:ident,)+) => {
        /// What a core counts, one number each. Those of the process are their sum.
        #[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
        pub struct Counters {
            $($(#[$doc])+ pub $name: u64,)+
        }

        impl Counters {
            /// Adds those of another core.
            pub fn add(&mut self, other: &Self) {
                $(self.$name += other.$name;)+
            }
        }
    };
}

counters! {
    /// Commands run.
    commands_processed,
    /// Connections accepted.
    connections_received,
    /// Connections refused.
    connections_rejected,
    /// Bytes received from clients.
    net_in,
    /// Bytes sent to clients.
    net_out,
    /// Times that bytes were received.
    reads,
    /// Times that output was given to the kernel.
    writes,
    /// Streams that were no requests.
    protocol_errors,
    /// Error replies.
    errors,
    /// Clients closed for `client-query-buffer-limit`.
    query_buffer_limit_disconnections,
    /// Clients closed for `client-output-buffer-limit`.
    output_buffer_limit_disconnections,
    /// Clients closed for `maxmemory-clients`.
    evicted_clients,
    /// Keys evicted for `maxmemory`.
    evicted_keys,
    /// Attempts to authenticate with a wrong name or password.
    failed_authentications,
    /// Attempts of transactions that were refused a lock and began again.
    transactions_retried,
    /// Rounds of the core's loop that brought something.
    cycles,
    /// Time in those rounds, nanoseconds.
    cycle_ns,
    /// Time in periodic work, nanoseconds.
    periodic_ns,
}
