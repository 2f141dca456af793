//! Tests of the snapshot as a whole.

use super::*;

fn names(config: &Config, patterns: &[&str]) -> Vec<String> {
    let patterns: Vec<&[u8]> = patterns.iter().map(|pattern| pattern.as_bytes()).collect();
    let found = config.get(&patterns);
    found.into_iter().map(|(name, _)| String::from_utf8(name).unwrap()).collect()
}

#[test]
fn get_takes_names_and_patterns() {
    let config = Config::default();
    assert_eq!(names(&config, &["PORT", "port", "nosuch"]), ["PORT"]);
    assert_eq!(names(&config, &["*of"]), ["replicaof", "slaveof"]);
    assert_eq!(names(&config, &["maxmemory", "maxmemory-s*", "BIND"]), {
        ["maxmemory", "maxmemory-samples", "BIND"]
    });
    assert_eq!(names(&config, &["key-load-*"]), [""; 0]);
    assert_eq!(names(&config, &["key-load-delay"]), ["key-load-delay"]);
}

#[test]
fn typed_fields_hold_the_defaults() {
    let config = Config::default();
    assert_eq!(config.network.port, 6379);
    assert_eq!(config.network.bind, ["*", "-::*"]);
    assert_eq!(config.process.databases, 16);
    assert_eq!(config.clients.bulk_bytes_max, 512 << 20);
    assert_eq!(config.clients.output_limits[2].soft_seconds, 60);
    assert_eq!(config.log.level, choice::LogLevel::Notice);
    assert_eq!(config.log.syslog_facility, 16);
    assert_eq!(config.memory.policy, choice::MaxmemoryPolicy::NoEviction);
    assert_eq!(*config.monitoring.latency_percentiles, [50.0, 99.0, 99.9]);
}

#[test]
fn shards_follow_the_cores_unless_they_are_given() {
    let shards = |text: &str| Config::from_text(text).unwrap().process.shard_count(8);
    assert_eq!(shards(""), 8);
    assert_eq!(shards("shards 3"), 3);
    assert_eq!(shards("io-threads 4"), 4);
    assert_eq!(shards("shards 3\nio-threads 4"), 3);
    assert_eq!(Config::default().process.shard_count(0), 1);
}

#[test]
fn what_has_no_effect_yet_is_said() {
    assert_eq!(Config::default().notices(), [""; 0]);
    let notices = Config::from_text("rdb-del-sync-files yes").unwrap().notices();
    assert_eq!(
        notices,
        ["'rdb-del-sync-files' is stored but has no effect yet: persistence will come in a \
             later version"]
    );
}

#[test]
fn dangerous_actions() {
    assert!(!Config::permits(ProtectedAction::Nobody, true));
    assert!(Config::permits(ProtectedAction::Everybody, false));
    assert!(Config::permits(ProtectedAction::Local, true));
    assert!(!Config::permits(ProtectedAction::Local, false));
}
