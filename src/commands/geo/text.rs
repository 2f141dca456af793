//! Positions, lengths and units in arguments and replies.

use kvasir_proto::{Encoder, number};

use super::hash::Position;
use crate::commands::arguments::is_word;
use crate::errors::CommandError;

/// A unit of length.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Unit {
    metres: f64,
}

impl Unit {
    pub(super) const METRES: Self = Self { metres: 1.0 };

    pub(super) fn parse(word: &[u8]) -> Result<Self, CommandError> {
        [("M", 1.0), ("KM", 1000.0), ("FT", 0.3048), ("MI", 1609.34)]
            .into_iter()
            .find_map(|(name, metres)| is_word(word, name).then_some(Self { metres }))
            .ok_or(CommandError::Other("ERR unsupported unit provided. please use M, KM, FT, MI"))
    }

    pub(super) fn of_metres(self, metres: f64) -> f64 {
        metres / self.metres
    }

    pub(super) fn to_metres(self, length: f64) -> f64 {
        length * self.metres
    }
}

/// A length in some unit.
pub(super) fn length(bytes: &[u8], error: &'static str) -> Result<f64, CommandError> {
    number::parse_f64(bytes).ok_or(CommandError::Other(error))
}

/// A position on the part of the globe that can be stored.
pub(super) fn position(longitude: &[u8], latitude: &[u8]) -> Result<Position, CommandError> {
    let degrees = |bytes| number::parse_f64(bytes).ok_or(CommandError::NotAFloat);
    let place = Position { longitude: degrees(longitude)?, latitude: degrees(latitude)? };
    if place.is_valid() {
        return Ok(place);
    }
    let Position { longitude, latitude } = place;
    let text = format!("ERR invalid longitude,latitude pair {longitude:.6},{latitude:.6}");
    Err(CommandError::Custom(text))
}

/// Writes a distance with four decimals, rounded as the peers do: the product with 10000, to even.
pub(super) fn encode_distance(distance: f64, reply: &mut Encoder<'_>) {
    let scaled = (distance * 10_000.0).round_ties_even();
    let text = if scaled.abs() < i64::MAX as f64 {
        let scaled = scaled as i64;
        let sign = if scaled < 0 { "-" } else { "" };
        let magnitude = scaled.unsigned_abs();
        format!("{sign}{}.{:04}", magnitude / 10_000, magnitude % 10_000)
    } else {
        format!("{distance:.4}")
    };
    reply.bulk(text.as_bytes());
}

/// Writes a position: each coordinate with at most 17 decimals.
pub(super) fn encode_position(place: Position, reply: &mut Encoder<'_>) {
    reply.array(2);
    for degrees in [place.longitude, place.latitude] {
        let text = format!("{degrees:.17}");
        let text = text.trim_end_matches('0').trim_end_matches('.');
        reply.double_text(if text == "-0" { b"0" } else { text.as_bytes() });
    }
}
