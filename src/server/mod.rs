//! The only place that touches the machine: executors, rings, sockets, clocks.
//!
//! Each shard is a thread pinned to a processor, with a glommio executor for its tasks. On it runs
//! the `driver`, which moves bytes between the clients' sockets and the shard's
//! [`Engine`](crate::route::engine::Engine), and messages between the engines of all cores.
//!
//! - `runtime`: starting and ending the process; `probe`: what it needs of the machine.
//! - `driver`: a core's loop; `ring` and `buffers`: its `io_uring`; `mailbox`: the other cores.
//! - `carrier`: connections to other servers.
//! - `listener`: where clients connect. `clock`: the time. `usage`: what the process uses of the
//!   machine. `process`: what the process is to the system. `sys`: system calls.

mod buffers;
pub mod carrier;
pub mod clock;
mod driver;
pub mod listener;
mod mailbox;
pub mod probe;
pub mod process;
mod ring;
pub mod runtime;
mod sys;
pub mod usage;
