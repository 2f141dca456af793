//! The replies of the `HELP` subcommands.

use kvasir_proto::Encoder;

/// Encodes the help of a container: a head, the lines given, and how to get this help.
pub fn encode_help(container: &str, lines: &[&str], reply: &mut Encoder<'_>) {
    reply.array(lines.len() + 3);
    let head = format!("{container} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:");
    reply.simple(&head);
    for line in lines {
        reply.simple(line);
    }
    reply.simple("HELP");
    reply.simple("    Print this help.");
}
