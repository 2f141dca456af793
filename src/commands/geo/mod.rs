//! Places on the globe, kept as members of sorted sets whose scores are geohashes.

mod area;
mod hash;
mod member;
mod radius;
mod search;
mod shape;
mod text;

use super::definition::Command;

/// The commands of the family, by name.
pub(super) const COMMANDS: &[&Command] = &[
    &member::GEOADD,
    &member::GEODIST,
    &member::GEOHASH,
    &member::GEOPOS,
    &radius::GEORADIUS,
    &radius::GEORADIUS_RO,
    &radius::GEORADIUSBYMEMBER,
    &radius::GEORADIUSBYMEMBER_RO,
    &area::GEOSEARCH,
    &area::GEOSEARCHSTORE,
];
