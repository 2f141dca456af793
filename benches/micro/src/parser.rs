//! Requests: how much it costs to find the arguments of a command in received bytes.

use kvasir_proto::{ArgRanges, Limits, Parsed, RequestParser, append_request};

use crate::Workload;

/// Requests in the buffer that one call parses: a deep pipeline.
const PIPELINE: u64 = 100;
/// A key as the peers' benchmarks name them.
const KEY: &[u8] = b"key:000000012345";

/// The workloads of this group.
pub const WORKLOADS: &[Workload] = &[
    Workload { name: "parser/get", commands: PIPELINE, prepare: || whole(&[b"GET", KEY]) },
    Workload {
        name: "parser/set-64",
        commands: PIPELINE,
        prepare: || whole(&[b"SET", KEY, &[b'v'; 64]]),
    },
    Workload {
        name: "parser/set-1024",
        commands: PIPELINE,
        prepare: || whole(&[b"SET", KEY, &[b'v'; 1024]]),
    },
    Workload {
        name: "parser/mset-10",
        commands: PIPELINE,
        prepare: || {
            let mut arguments: Vec<&[u8]> = vec![b"MSET"];
            arguments.extend([KEY, &[b'v'; 64]].repeat(10));
            whole(&arguments)
        },
    },
    Workload {
        name: "parser/get-inline",
        commands: PIPELINE,
        prepare: || over(b"GET key:000000012345\r\n".repeat(PIPELINE as usize), 2),
    },
    Workload { name: "parser/set-64-split", commands: 1, prepare: split },
];

/// Parses `PIPELINE` copies of a request that arrived together.
fn whole(arguments: &[&[u8]]) -> Box<dyn FnMut()> {
    let mut input = Vec::new();
    for _ in 0..PIPELINE {
        append_request(&mut input, arguments.iter().copied());
    }
    over(input, arguments.len())
}

/// Parses all of `input`, requests of `arguments` arguments each.
fn over(input: Vec<u8>, arguments: usize) -> Box<dyn FnMut()> {
    let (mut parser, mut ranges) = (RequestParser::new(), ArgRanges::default());
    let limits = Limits::default();
    Box::new(move || {
        let mut rest = &input[..];
        let mut requests = 0;
        while !rest.is_empty() {
            match parser.parse(rest, &limits, &mut ranges) {
                Ok(Parsed::Complete { consumed }) => {
                    assert_eq!(ranges.view(rest).len(), arguments);
                    rest = &rest[consumed..];
                }
                other => panic!("the input is whole requests, not {other:?}"),
            }
            requests += 1;
        }
        assert_eq!(requests, PIPELINE);
    })
}

/// Parses one request that arrives in three pieces, as at the edges of receive buffers.
fn split() -> Box<dyn FnMut()> {
    let mut input = Vec::new();
    append_request(&mut input, [&b"SET"[..], KEY, &[b'v'; 64]]);
    let (mut parser, mut ranges) = (RequestParser::new(), ArgRanges::default());
    let limits = Limits::default();
    let ends = [10, 60, input.len()];
    Box::new(move || {
        let mut last = None;
        for end in ends {
            last = Some(parser.parse(&input[..end], &limits, &mut ranges));
        }
        assert_eq!(last, Some(Ok(Parsed::Complete { consumed: input.len() })));
    })
}
