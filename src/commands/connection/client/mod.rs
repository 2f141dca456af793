//! `CLIENT`: what is known of a connection, and what it asks for itself and others.
//!
//! | module | what it holds |
//! |---|---|
//! | [`identity`] | id, name, library, capabilities |
//! | [`describe`] | the line that describes a client, and `INFO` |
//! | [`filter`] | which clients `LIST` and `KILL` mean |
//! | [`others`] | `LIST`, `KILL`, `UNBLOCK`: what visits every core's connections |
//! | [`modes`] | switches of a connection |
//! | [`pause`] | `PAUSE` and `UNPAUSE` |
//! | [`tracking`] | client-side caching |

mod describe;
mod filter;
pub(super) mod identity;
mod modes;
mod others;
mod pause;
mod tracking;

use crate::commands::definition::{Arity, Command, Group};
use crate::commands::help::help;

use describe::CLIENT_INFO;
use identity::{CLIENT_CAPA, CLIENT_GETNAME, CLIENT_ID, CLIENT_SETINFO, CLIENT_SETNAME};
use modes::{CLIENT_IMPORT_SOURCE, CLIENT_NO_EVICT, CLIENT_NO_TOUCH, CLIENT_REPLY};
use others::{CLIENT_KILL, CLIENT_LIST, CLIENT_UNBLOCK};
use pause::{CLIENT_PAUSE, CLIENT_UNPAUSE};
use tracking::{CLIENT_CACHING, CLIENT_GETREDIR, CLIENT_TRACKING, CLIENT_TRACKINGINFO};

pub(super) const CLIENT: Command = Command {
    name: "client",
    summary: "A container for client connection commands.",
    complexity: "Depends on subcommand.",
    since: "2.4.0",
    group: Group::Connection,
    arity: Arity::at_least(2),
    subcommands: &[
        &CLIENT_CACHING,
        &CLIENT_CAPA,
        &CLIENT_GETNAME,
        &CLIENT_GETREDIR,
        &CLIENT_HELP,
        &CLIENT_ID,
        &CLIENT_IMPORT_SOURCE,
        &CLIENT_INFO,
        &CLIENT_KILL,
        &CLIENT_LIST,
        &CLIENT_NO_EVICT,
        &CLIENT_NO_TOUCH,
        &CLIENT_PAUSE,
        &CLIENT_REPLY,
        &CLIENT_SETINFO,
        &CLIENT_SETNAME,
        &CLIENT_TRACKING,
        &CLIENT_TRACKINGINFO,
        &CLIENT_UNBLOCK,
        &CLIENT_UNPAUSE,
    ],
    ..Command::BASE
};

pub(super) const CLIENT_HELP: Command = help(Group::Connection, "5.0.0", CLIENT_HELP_LINES);

const CLIENT_HELP_LINES: &[&str] = &[
    "CACHING (YES|NO)",
    "    Track, or do not track, the keys of the next command (OPTIN, OPTOUT).",
    "CAPA <option> [<option> ...]",
    "    Tell what this client can do. Options:",
    "    * REDIRECT: follow a redirection to another server.",
    "GETNAME",
    "    The name of this connection.",
    "GETREDIR",
    "    The id of the client that receives invalidations for this one.",
    "ID",
    "    The id of this connection.",
    "IMPORT-SOURCE (ON|OFF)",
    "    This client copies data from elsewhere: it sees expired keys too.",
    "INFO",
    "    A line that describes this connection.",
    "KILL <ip:port>",
    "    Close the connection from this address.",
    "KILL <filter> <value> [<filter> <value> ...]",
    "    Close the connections that pass every filter of LIST (default: SKIPME YES).",
    "LIST [<filter> <value> ...]",
    "    A line for each connection that passes every filter:",
    "    * ID <client-id> [<client-id> ...], TYPE (NORMAL|PRIMARY|REPLICA|PUBSUB),",
    "      USER <username>, ADDR <ip:port>, LADDR <ip:port>, IP <ip>, NAME <name>,",
    "      FLAGS <flags>, CAPA <capa>, DB <index>, LIB-NAME <name>, LIB-VER <version>,",
    "      each also with NOT- before it.",
    "    * IDLE <seconds>, MAXAGE <seconds>: idle or connected for at least so long.",
    "    * SKIPME (YES|NO): leave this connection out.",
    "NO-EVICT (ON|OFF)",
    "    Spare this connection when client memory is short.",
    "NO-TOUCH (ON|OFF)",
    "    Commands of this connection leave access times alone.",
    "PAUSE <timeout> [WRITE|ALL]",
    "    Hold back all commands, or those that write, for <timeout> milliseconds.",
    "REPLY (ON|OFF|SKIP)",
    "    Which replies this connection receives.",
    "SETINFO (LIB-NAME <name>|LIB-VER <version>)",
    "    Tell which library this client uses.",
    "SETNAME <name>",
    "    Name this connection.",
    "TRACKING (ON|OFF) [REDIRECT <id>] [BCAST] [PREFIX <prefix> [...]]",
    "         [OPTIN] [OPTOUT] [NOLOOP]",
    "    Client-side caching.",
    "TRACKINGINFO",
    "    How this connection uses client-side caching.",
    "UNBLOCK <client-id> [TIMEOUT|ERROR]",
    "    End the blocking command of another client.",
    "UNPAUSE",
    "    End a PAUSE.",
];
