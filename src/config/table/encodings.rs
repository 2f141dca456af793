//! Up to which size values have their compact encodings.

use super::{I32_MAX, I32_MIN, I64_MAX};
use crate::config::parameter::Parameter;

/// The rows of this topic.
pub(super) const PARAMETERS: &[Parameter] = &[
    Parameter::number(
        "hash-max-listpack-entries",
        (0, I64_MAX),
        "512",
        "fields before compact hash converts",
    )
    .alias("hash-max-ziplist-entries")
    .works(|c, v| c.encodings.hash_entries_max = v.number()),
    Parameter::memory(
        "hash-max-listpack-value",
        (0, I64_MAX),
        "64",
        "field bytes before compact hash converts",
    )
    .alias("hash-max-ziplist-value")
    .works(|c, v| c.encodings.hash_value_bytes_max = v.number()),
    Parameter::number("list-max-listpack-size", (I32_MIN, I32_MAX), "-2", "list node size limit")
        .alias("list-max-ziplist-size")
        .works(|c, v| c.encodings.list_node_size = v.number()),
    Parameter::number("list-compress-depth", (0, I32_MAX), "0", "uncompressed nodes at list ends")
        .works(|c, v| c.encodings.list_compress_depth = v.number()),
    Parameter::number(
        "set-max-intset-entries",
        (0, I64_MAX),
        "512",
        "integers before intset converts",
    )
    .works(|c, v| c.encodings.intset_entries_max = v.number()),
    Parameter::number(
        "set-max-listpack-entries",
        (0, I64_MAX),
        "128",
        "members before compact set converts",
    )
    .works(|c, v| c.encodings.set_entries_max = v.number()),
    Parameter::number(
        "set-max-listpack-value",
        (0, I64_MAX),
        "64",
        "member bytes before compact set converts",
    )
    .works(|c, v| c.encodings.set_value_bytes_max = v.number()),
    Parameter::number(
        "zset-max-listpack-entries",
        (0, I64_MAX),
        "128",
        "members before compact zset converts",
    )
    .alias("zset-max-ziplist-entries")
    .works(|c, v| c.encodings.zset_entries_max = v.number()),
    Parameter::memory(
        "zset-max-listpack-value",
        (0, I64_MAX),
        "64",
        "member bytes before compact zset converts",
    )
    .alias("zset-max-ziplist-value")
    .works(|c, v| c.encodings.zset_value_bytes_max = v.number()),
    Parameter::memory("stream-node-max-bytes", (0, I64_MAX), "4096", "bytes per stream node")
        .works(|c, v| c.encodings.stream_node_bytes_max = v.number()),
    Parameter::number("stream-node-max-entries", (0, I64_MAX), "100", "entries per stream node")
        .works(|c, v| c.encodings.stream_node_entries_max = v.number()),
    Parameter::memory(
        "hll-sparse-max-bytes",
        (0, I64_MAX),
        "3000",
        "size before sparse HyperLogLog goes dense",
    )
    .works(|c, v| c.encodings.hll_sparse_bytes_max = v.number()),
];
