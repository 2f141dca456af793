//! Requests: any bytes, in any pieces, give the same requests and the same error as in one piece;
//! no panic; memory bounded by the bytes received.
//!
//! An input is a byte of limits, a byte that counts the piece lengths, those, and the stream. The
//! piece lengths are used in turn until the stream ends.
#![no_main]

use kvasir_proto::request::NEEDED_STEP;
use kvasir_proto::{ArgRanges, Limits, Parsed, ProtocolError, RequestParser, append_request};

/// What a connection made of a stream.
#[derive(Debug, Default, PartialEq)]
struct Seen {
    requests: Vec<Vec<Vec<u8>>>,
    consumed: usize,
    error: Option<ProtocolError>,
}

/// Gives the stream to a parser in pieces of the lengths given, or in one when there are none.
fn run(stream: &[u8], pieces: &[u8], limits: &Limits) -> Seen {
    let mut parser = RequestParser::new();
    let mut args = ArgRanges::default();
    let mut seen = Seen::default();
    let mut lengths = pieces.iter().cycle();
    let mut received = 0;
    while received < stream.len() {
        received = match lengths.next() {
            None => stream.len(),
            Some(&length) => (received + 1 + usize::from(length)).min(stream.len()),
        };
        loop {
            let input = &stream[seen.consumed..received];
            let result = parser.parse(input, limits, &mut args);
            assert!(parser.allocated_bytes() <= 512 + 32 * input.len(), "memory is bounded");
            match result {
                Ok(Parsed::Complete { consumed }) => {
                    let view = args.view(&input[..consumed]);
                    assert!(!view.is_empty() && consumed > 0);
                    seen.requests.push(view.iter().map(<[u8]>::to_vec).collect());
                    seen.consumed += consumed;
                }
                Ok(Parsed::Empty { consumed }) => {
                    assert!(consumed > 0);
                    seen.consumed += consumed;
                }
                Ok(Parsed::Incomplete { needed }) => {
                    let reserved_at_most = 2 * input.len() + NEEDED_STEP;
                    assert!(needed > input.len() && needed <= reserved_at_most);
                    break;
                }
                Err(error) => {
                    seen.error = Some(error);
                    return seen;
                }
            }
        }
    }
    seen
}

/// What was read, sent as clients do, is read as the same.
fn check_round_trip(requests: &[Vec<Vec<u8>>]) {
    let mut stream = Vec::new();
    for request in requests {
        append_request(&mut stream, request.iter().map(Vec::as_slice));
    }
    let again = run(&stream, &[], &Limits::default());
    assert_eq!((again.requests.as_slice(), again.error), (requests, None));
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let [limits, count, rest @ ..] = data else { return };
    let (pieces, stream) = rest.split_at(rest.len().min(usize::from(*count)));
    let limits = Limits {
        max_bulk_len: if limits & 2 == 0 { 512 * 1024 * 1024 } else { 1000 },
        max_multibulk: if limits & 4 == 0 { i32::MAX as u32 } else { 12 },
        authenticated: limits & 1 == 0,
    };
    let whole = run(stream, &[], &limits);
    assert_eq!(run(stream, pieces, &limits), whole, "pieces of {pieces:?}");
    assert_eq!(run(stream, &[0], &limits), whole, "byte by byte");
    check_round_trip(&whole.requests);
});
