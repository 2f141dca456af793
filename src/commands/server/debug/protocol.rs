//! `DEBUG PROTOCOL`: a reply of each type, the same as the peers', for tests of clients.

use kvasir_proto::{Encoder, Resp};

use crate::commands::context::Coordination;
use crate::errors::CommandError;
use crate::route::transaction::{Request, Transaction};

/// Answers with the sample of the type that the client names.
pub(super) fn sample(_: Transaction, request: Request) -> Coordination {
    Box::pin(async move {
        let name = request.args().at(2).to_ascii_lowercase();
        if name == b"push" && request.view.resp == Resp::V2 {
            return Err(CommandError::Other("ERR RESP2 is not supported by this command"));
        }
        let mut known = true;
        let reply = request.encode(|reply| known = write(&name, reply));
        if known {
            return Ok(reply);
        }
        Err(CommandError::Other(
            "ERR Wrong protocol type name. Please use one of the following: \
             string|integer|double|bignum|null|array|set|map|attrib|push|verbatim|true|false",
        ))
    })
}

/// Writes the sample; false for an unknown name.
fn write(name: &[u8], reply: &mut Encoder<'_>) -> bool {
    match name {
        b"string" => reply.bulk(b"Hello World"),
        b"integer" => reply.integer(12345),
        b"double" => reply.double_text(b"3.141"),
        b"bignum" => reply.big_number(b"1234567999999999999999999999999999999"),
        b"null" => reply.null(),
        b"array" => {
            reply.array(3);
            (0..3).for_each(|value| reply.integer(value));
        }
        b"set" => {
            reply.set(3);
            (0..3).for_each(|value| reply.integer(value));
        }
        b"map" => {
            reply.map(3);
            for value in 0..3 {
                reply.integer(value);
                reply.boolean(value == 1);
            }
        }
        b"attrib" => {
            if reply.resp() == Resp::V3 {
                reply.attribute(1);
                reply.bulk(b"key-popularity");
                reply.array(2);
                reply.bulk(b"key:123");
                reply.integer(90);
            }
            reply.bulk(b"Some real reply following the attribute");
        }
        b"push" => {
            reply.bulk(b"Some real reply following the push reply");
            reply.push(2);
            reply.bulk(b"server-cpu-usage");
            reply.integer(42);
        }
        b"verbatim" => reply.verbatim(*b"txt", b"This is a verbatim\nstring"),
        b"true" => reply.boolean(true),
        b"false" => reply.boolean(false),
        _ => return false,
    }
    true
}
