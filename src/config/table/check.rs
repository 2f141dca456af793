//! Conditions on values that their kinds do not express. The texts are the peers'.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::config::choice::{SHUTDOWN_NOSAVE, SHUTDOWN_SAVE};
use crate::config::title;
use crate::config::value::Value;

/// The longest host name, its end mark included, as the peers keep it.
const HOST_NAME_MAX: usize = 256;

pub(super) fn dbfilename(value: &Value) -> Result<(), &'static str> {
    file_name(value, "dbfilename can't be empty", "dbfilename can't be a path, just a filename")
}

pub(super) fn appendfilename(value: &Value) -> Result<(), &'static str> {
    file_name(
        value,
        "appendfilename can't be empty",
        "appendfilename can't be a path, just a filename",
    )
}

pub(super) fn appenddirname(value: &Value) -> Result<(), &'static str> {
    file_name(
        value,
        "appenddirname can't be empty",
        "appenddirname can't be a path, just a dirname",
    )
}

pub(super) fn cluster_config_file(value: &Value) -> Result<(), &'static str> {
    refuse(value.bytes().is_empty(), "cluster-config-file can't be empty")
}

fn file_name(value: &Value, empty: &'static str, path: &'static str) -> Result<(), &'static str> {
    refuse(value.bytes().is_empty(), empty)?;
    refuse(value.bytes().iter().any(|byte| b"/\\".contains(byte)), path)
}

pub(super) fn shutdown_flags(value: &Value) -> Result<(), &'static str> {
    let both = SHUTDOWN_SAVE | SHUTDOWN_NOSAVE;
    refuse(
        value.code() & both == both,
        "shutdown options SAVE and NOSAVE can't be used simultaneously",
    )
}

pub(super) fn ipv4(value: &Value) -> Result<(), &'static str> {
    let text = value.string();
    refuse(!text.is_empty() && text.parse::<Ipv4Addr>().is_err(), "Invalid IPv4 address")
}

pub(super) fn ipv6(value: &Value) -> Result<(), &'static str> {
    let text = value.string();
    refuse(!text.is_empty() && text.parse::<Ipv6Addr>().is_err(), "Invalid IPv6 address")
}

pub(super) fn hostname(value: &Value) -> Result<(), &'static str> {
    let name = value.bytes();
    refuse(name.len() >= HOST_NAME_MAX, "Hostnames must be less than 256 characters")?;
    refuse(
        !name.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(byte)),
        "Hostnames may only contain alphanumeric characters, hyphens or dots",
    )
}

/// The cluster's node table gives some characters a meaning; a name must do without them.
pub(super) fn node_name(value: &Value) -> Result<(), &'static str> {
    let forbidden = |byte: &u8| b"!#$%&()*+;<>?@[]^{|}~".contains(byte);
    refuse(
        value.bytes().iter().any(forbidden),
        "Announced human node name contained invalid character",
    )
}

pub(super) fn title_template(value: &Value) -> Result<(), &'static str> {
    let known = |name: &str| title::VARIABLES.contains(&name).then(|| name.to_owned());
    refuse(
        title::expand(&value.string(), known).is_none_or(|title| title.is_empty()),
        "template format is invalid or contains unknown variables",
    )
}

fn refuse(condition: bool, reason: &'static str) -> Result<(), &'static str> {
    if condition { Err(reason) } else { Ok(()) }
}
