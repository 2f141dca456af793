//! DUMP payloads: the type's number, the value, then the version in two bytes and the checksum of
//! all that in eight.

pub use crate::config::choice::VersionCheck;

use super::error::RdbError;
use super::write::file::write_function;
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
    append_footer(&mut payload, version);
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
    let (body, version) = unseal(payload, check, footer)?;
    let mut input = Input::new(body);
    let value = input.byte().and_then(|value_type| read_value(&mut input, value_type, version));
    value.map_err(DumpError::Value)
}

/// The payload without its footer, and the version that this tells.
fn unseal(
    payload: &[u8],
    check: VersionCheck,
    footer: Checksum,
) -> Result<(&[u8], u16), DumpError> {
    let (sealed, checksum) = payload.split_last_chunk().ok_or(DumpError::Footer)?;
    let (body, version) = sealed.split_last_chunk().ok_or(DumpError::Footer)?;
    let version = u16::from_le_bytes(*version);
    let is_intact = u64::from_le_bytes(*checksum) == crc64::update(0, sealed);
    let is_accepted = footer == Checksum::Ignored || is_intact;
    if !check.accepts(version) || !is_accepted {
        return Err(DumpError::Footer);
    }
    Ok((body, version))
}

/// The code of libraries of functions as a payload (`FUNCTION DUMP`): each as in a file, and then
/// the footer.
pub fn seal_functions<'a>(
    libraries: impl Iterator<Item = &'a [u8]>,
    options: WriteOptions,
) -> Vec<u8> {
    let mut payload = Vec::new();
    for library in libraries {
        write_function(&mut payload, library, options);
    }
    append_footer(&mut payload, VERSION);
    payload
}

fn append_footer(payload: &mut Vec<u8>, version: u16) {
    payload.extend_from_slice(&version.to_le_bytes());
    let checksum = crc64::update(0, payload);
    payload.extend_from_slice(&checksum.to_le_bytes());
}

/// Why a payload of libraries was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FunctionsError {
    /// The version or the checksum is wrong, or the payload is too short for either.
    Footer,
    /// It has something else.
    OtherType,
    /// It comes from a candidate of Redis 7.0.
    Preview,
    /// The code of a library cannot be read.
    Damaged,
}

/// Reads the code of the libraries in a payload.
pub fn open_functions(
    payload: &[u8],
    check: VersionCheck,
    footer: Checksum,
) -> Result<Vec<Vec<u8>>, FunctionsError> {
    let (body, _) = unseal(payload, check, footer).map_err(|_| FunctionsError::Footer)?;
    let mut input = Input::new(body);
    let mut libraries = Vec::new();
    while input.offset() < body.len() as u64 {
        match input.byte().map_err(|_| FunctionsError::Damaged)? {
            code::OP_FUNCTION => {
                libraries.push(input.string_owned().map_err(|_| FunctionsError::Damaged)?);
            }
            code::OP_FUNCTION_PRE_GA => return Err(FunctionsError::Preview),
            _ => return Err(FunctionsError::OtherType),
        }
    }
    Ok(libraries)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(payload: &[u8]) -> Result<Vec<Vec<u8>>, FunctionsError> {
        open_functions(payload, VersionCheck::Strict, Checksum::Verified)
    }

    #[test]
    fn libraries_come_back_as_they_were() {
        let long = b"#!lua name=l\n".repeat(20);
        for compress in [false, true] {
            let options = WriteOptions { compress };
            for libraries in [&[][..], &[&b"a"[..], &long, b""]] {
                let payload = seal_functions(libraries.iter().copied(), options);
                assert_eq!(open(&payload).unwrap(), libraries);
            }
        }
        assert_eq!(seal_functions(std::iter::empty(), WriteOptions { compress: true }).len(), 10);
    }

    #[test]
    fn other_payloads_are_refused() {
        let sealed = |body: &[u8]| {
            let mut payload = body.to_vec();
            append_footer(&mut payload, VERSION);
            payload
        };
        assert_eq!(open(b"bad_payload"), Err(FunctionsError::Footer));
        assert_eq!(open(b""), Err(FunctionsError::Footer));
        assert_eq!(open(&sealed(b"\0\x01k")), Err(FunctionsError::OtherType));
        assert_eq!(open(&sealed(b"\xf6\x01k")), Err(FunctionsError::Preview));
        assert_eq!(open(&sealed(b"\xf5\x05k")), Err(FunctionsError::Damaged));
        assert_eq!(open(&sealed(b"\xf5\xff")), Err(FunctionsError::Damaged));
    }
}
