//! TLS.

use super::{I32_MAX, TLS};
use crate::config::choice::Choice;
use crate::config::parameter::Parameter;

/// Whether clients need a certificate.
const TLS_AUTH_CLIENTS: &[Choice] = &[("no", 0), ("yes", 1), ("optional", 2)];

/// The rows of this topic.
pub(super) const PARAMETERS: &[Parameter] = &[
    Parameter::number(
        "max-new-tls-connections-per-cycle",
        (1, 1_000),
        "1",
        "TLS accepts per event loop turn",
    )
    .later(TLS),
    Parameter::choice(
        "tls-auth-clients",
        TLS_AUTH_CLIENTS,
        "yes",
        "whether client certificates are required",
    )
    .later(TLS),
    Parameter::choice(
        "tls-auth-clients-user",
        &[("off", 0), ("CN", 1), ("URI", 2)],
        "off",
        "certificate field used as ACL user",
    )
    .later(TLS),
    Parameter::number(
        "tls-auto-reload-interval",
        (0, I32_MAX),
        "0",
        "seconds between certificate reload checks",
    )
    .later(TLS),
    Parameter::text("tls-ca-cert-dir", "", "directory of trusted CAs").volatile().later(TLS),
    Parameter::text("tls-ca-cert-file", "", "file of trusted CAs").volatile().later(TLS),
    Parameter::text("tls-cert-file", "", "server certificate").volatile().later(TLS),
    Parameter::text("tls-ciphers", "", "TLS 1.2 cipher list").later(TLS),
    Parameter::text("tls-ciphersuites", "", "TLS 1.3 suites").later(TLS),
    Parameter::text("tls-client-cert-file", "", "certificate for outgoing links")
        .volatile()
        .later(TLS),
    Parameter::text("tls-client-key-file", "", "key for outgoing links").volatile().later(TLS),
    Parameter::text("tls-client-key-file-pass", "", "passphrase of outgoing key")
        .sensitive()
        .later(TLS),
    Parameter::flag("tls-cluster", "no", "TLS on the cluster bus").later(TLS),
    Parameter::text("tls-dh-params-file", "", "Diffie-Hellman parameters for old clients")
        .volatile(),
    Parameter::text("tls-key-file", "", "server private key").volatile().later(TLS),
    Parameter::text("tls-key-file-pass", "", "passphrase of server key").sensitive().later(TLS),
    Parameter::number("tls-port", (0, 65_535), "0", "TLS TCP port").later(TLS),
    Parameter::flag("tls-prefer-server-ciphers", "no", "server order wins in cipher choice")
        .later(TLS),
    Parameter::text("tls-protocols", "", "permitted TLS versions").later(TLS),
    Parameter::flag("tls-replication", "no", "TLS towards the primary").later(TLS),
    Parameter::number("tls-session-cache-size", (0, I32_MAX), "20480", "cached TLS sessions")
        .later(TLS),
    Parameter::number(
        "tls-session-cache-timeout",
        (0, I32_MAX),
        "300",
        "seconds a TLS session lives",
    )
    .later(TLS),
    Parameter::flag("tls-session-caching", "yes", "enables TLS session cache").later(TLS),
];
