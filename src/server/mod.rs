//! The only place that touches the machine: executors, rings, sockets, clocks.
