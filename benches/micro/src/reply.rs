//! Replies: how much it costs to encode the common ones into a connection's output.

use std::hint::black_box;

use kvasir_proto::{Encoder, Resp};

use crate::Workload;

/// Replies that one call encodes into the same output: those of a deep pipeline.
const PIPELINE: u64 = 100;

/// The workloads of this group.
pub const WORKLOADS: &[Workload] = &[
    Workload {
        name: "reply/ok",
        commands: PIPELINE,
        prepare: || {
            encoding(|encoder| {
                encoder.ok();
            })
        },
    },
    Workload {
        name: "reply/null",
        commands: PIPELINE,
        prepare: || {
            encoding(|encoder| {
                encoder.null();
            })
        },
    },
    Workload {
        name: "reply/bulk-64",
        commands: PIPELINE,
        prepare: || {
            let value = [b'v'; 64];
            encoding(move |encoder| encoder.bulk(black_box(&value)))
        },
    },
    Workload {
        name: "reply/integer",
        commands: PIPELINE,
        prepare: || encoding(|encoder| encoder.integer(black_box(123_456_789))),
    },
    Workload {
        name: "reply/array-of-10",
        commands: PIPELINE,
        prepare: || {
            let value = [b'v'; 64];
            encoding(move |encoder| {
                encoder.array(10);
                for _ in 0..10 {
                    encoder.bulk(black_box(&value));
                }
            })
        },
    },
];

/// Encodes `PIPELINE` times what `encode` appends, into an output that has its memory already.
fn encoding(encode: impl Fn(&mut Encoder<'_>) + 'static) -> Box<dyn FnMut()> {
    let mut out = Vec::new();
    Box::new(move || {
        out.clear();
        let mut encoder = Encoder::new(&mut out, Resp::V2);
        for _ in 0..PIPELINE {
            encode(&mut encoder);
        }
        assert!(out.ends_with(b"\r\n"));
        black_box(&out);
    })
}
