//! DUMP payloads: the type's number, the value, then the version in two bytes and the checksum of
//! all that in eight.

pub use crate::config::choice::VersionCheck;

use super::error::RdbError;
use super::{
    Input, VERSION, VERSION_FIELD_DEADLINES, VERSION_REDIS_8, Value, WriteOptions, code, crc64,
    read_value, write_type, write_value,
};

impl VersionCheck {
    /// Whether payloads and files of this version are read.
    pub(super) fn accepts(self, version: u16) -> bool {
        let is_known = version <= VERSION_REDIS_8 || version == VERSION_FIELD_DEADLINES;
        self == Self::Relaxed || is_known
    }
}

/// Why a payload was refused.
#[derive(Debug)]
pub enum DumpError {
    /// The version or the checksum is wrong, or the payload is too short for either.
    Footer,
    /// The value cannot be read.
    Value(RdbError),
}

/// A value as a payload.
pub fn seal(value: &Value, options: WriteOptions) -> Vec<u8> {
    let value_type = write_type(value);
    let mut payload = vec![value_type];
    write_value(&mut payload, value, options);
    let needs_valkey = value_type == code::HASH_DEADLINES;
    let version = if needs_valkey { VERSION_FIELD_DEADLINES } else { VERSION };
    payload.extend_from_slice(&version.to_le_bytes());
    let checksum = crc64::update(0, &payload);
    payload.extend_from_slice(&checksum.to_le_bytes());
    payload
}

/// Reads a payload. What follows the value is ignored, as in the peers.
pub fn open(payload: &[u8], check: VersionCheck) -> Result<Value, DumpError> {
    open_with(payload, check, Checksum::Verified)
}

/// Whether the footer's checksum matters.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Checksum {
    /// It must be right.
    #[default]
    Verified,
    /// It is not looked at: for tests of damaged values.
    Ignored,
}

/// As [`open`], perhaps without looking at the checksum.
pub fn open_with(
    payload: &[u8],
    check: VersionCheck,
    footer: Checksum,
) -> Result<Value, DumpError> {
    let (sealed, checksum) = payload.split_last_chunk().ok_or(DumpError::Footer)?;
    let (body, version) = sealed.split_last_chunk().ok_or(DumpError::Footer)?;
    let version = u16::from_le_bytes(*version);
    let is_intact = u64::from_le_bytes(*checksum) == crc64::update(0, sealed);
    let is_accepted = footer == Checksum::Ignored || is_intact;
    if !check.accepts(version) || !is_accepted {
        return Err(DumpError::Footer);
    }
    let mut input = Input::new(body);
    let value = input.byte().and_then(|value_type| read_value(&mut input, value_type, version));
    value.map_err(DumpError::Value)
}
