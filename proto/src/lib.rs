//! RESP2, RESP3 and inline requests, and replies: bytes to arguments and back. No I/O, no command.
