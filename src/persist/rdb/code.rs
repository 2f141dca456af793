//! The numbers of the value types and of the special forms of a length.

/// A string.
pub(super) const STRING: u8 = 0;
/// A list, element by element.
pub(super) const LIST: u8 = 1;
/// A set, member by member.
pub(super) const SET: u8 = 2;
/// A sorted set with scores as text.
pub(super) const ZSET: u8 = 3;
/// A hash, field by field.
pub(super) const HASH: u8 = 4;
/// A sorted set with scores as binary doubles.
pub(super) const ZSET_2: u8 = 5;
/// A module's value of a form that was never released.
pub(super) const MODULE_PRE_GA: u8 = 6;
/// A module's value.
pub(super) const MODULE_2: u8 = 7;
/// A hash as a zipmap (before Redis 2.6).
pub(super) const HASH_ZIPMAP: u8 = 9;
/// A list as a ziplist.
pub(super) const LIST_ZIPLIST: u8 = 10;
/// A set of integers.
pub(super) const SET_INTSET: u8 = 11;
/// A sorted set as a ziplist.
pub(super) const ZSET_ZIPLIST: u8 = 12;
/// A hash as a ziplist.
pub(super) const HASH_ZIPLIST: u8 = 13;
/// A list of ziplists.
pub(super) const LIST_QUICKLIST: u8 = 14;
/// A stream of listpacks.
pub(super) const STREAM: u8 = 15;
/// A hash as a listpack.
pub(super) const HASH_LISTPACK: u8 = 16;
/// A sorted set as a listpack.
pub(super) const ZSET_LISTPACK: u8 = 17;
/// A list of listpacks and of plain elements.
pub(super) const LIST_QUICKLIST_2: u8 = 18;
/// A stream that knows its first and its largest deleted entry.
pub(super) const STREAM_2: u8 = 19;
/// A set as a listpack.
pub(super) const SET_LISTPACK: u8 = 20;
/// A stream whose consumers know when they were last active.
pub(super) const STREAM_3: u8 = 21;
/// From version 80 on: Valkey's hash with field deadlines. Before: that of Redis 7.4's candidates.
pub(super) const HASH_DEADLINES: u8 = 22;
/// Redis 7.4's candidates: a hash with field deadlines as a listpack.
pub(super) const HASH_LISTPACK_DEADLINES_RC: u8 = 23;
/// Redis: a hash with field deadlines.
pub(super) const HASH_REDIS_DEADLINES: u8 = 24;
/// Redis: a hash with field deadlines as a listpack.
pub(super) const HASH_LISTPACK_DEADLINES: u8 = 25;

/// A length of 32 bits, in the byte order of the network.
pub(super) const LEN_32: u8 = 0x80;
/// A length of 64 bits, in the byte order of the network.
pub(super) const LEN_64: u8 = 0x81;
/// Not a length: a string in the special form that the low six bits tell.
pub(super) const LEN_SPECIAL: u8 = 0xC0;
/// A string that is an integer of 8 bits.
pub(super) const STRING_INT8: u8 = 0;
/// A string that is an integer of 16 bits.
pub(super) const STRING_INT16: u8 = 1;
/// A string that is an integer of 32 bits.
pub(super) const STRING_INT32: u8 = 2;
/// A string compressed by LZF.
pub(super) const STRING_LZF: u8 = 3;

/// A node of a list that is one element.
pub(super) const NODE_PLAIN: u64 = 1;
/// A node of a list that is a listpack.
pub(super) const NODE_PACKED: u64 = 2;

/// In a file: the keys of a cluster slot, of which there are so many.
pub(super) const OP_SLOT_INFO: u8 = 244;
/// In a file: a library of functions.
pub(super) const OP_FUNCTION: u8 = 245;
/// In a file: a library of functions as candidates of Redis 7.0 wrote it.
pub(super) const OP_FUNCTION_PRE_GA: u8 = 246;
/// In a file: data of a module beside the keys.
pub(super) const OP_MODULE_AUX: u8 = 247;
/// In a file: the seconds since the next key was used.
pub(super) const OP_IDLE: u8 = 248;
/// In a file: how often the next key is used.
pub(super) const OP_FREQUENCY: u8 = 249;
/// In a file: a name and a text about the file.
pub(super) const OP_AUX: u8 = 250;
/// In a file: how many keys the database has.
pub(super) const OP_RESIZE_DB: u8 = 251;
/// In a file: when the next key expires, in milliseconds.
pub(super) const OP_EXPIRE_MS: u8 = 252;
/// In a file: when the next key expires, in seconds.
pub(super) const OP_EXPIRE_S: u8 = 253;
/// In a file: the database of the keys that follow.
pub(super) const OP_SELECT_DB: u8 = 254;
/// In a file: the end, which the checksum follows.
pub(super) const OP_EOF: u8 = 255;
