//! What is left of the data when a server is killed, its disk is full or its log is torn.
//!
//! Clients write all that can be logged: single commands of every type, commands on keys of several
//! shards, transactions and scripts on one shard and on several, what chance decides (`SPOP`), what
//! the clock decides (keys that expire). Each remembers what it has sent and what it was answered.
//! After every kill the server starts again on the same directory, and what it then has must be
//! explained ([`author::Author::judge`]): the keys of each client are as after some number of its
//! operations, all of them whole and in order; under `appendfsync always` that number includes
//! every acknowledged one, under `everysec` every one that was flushed by the server's own word
//! (`WAITAOF`). Amounts that all clients move between the same accounts must come to exactly what
//! those numbers say.
//!
//! SIGKILL leaves the system's page cache alone. So what a loss of power would take is tested in
//! two more ways: the system is asked, without the server's help, whether what was acknowledged has
//! left its cache (`files::unflushed_pages`); and logs are cut where a loss of power could have.
//!
//! `KVASIR_SEED=N` repeats a run's commands (not its timing), `KVASIR_KILLS=N` makes it longer.

mod author;
mod faults;
mod files;
mod kills;
mod model;
mod tails;

#[test]
fn always_with_one_shard() {
    kills::run(1, "always");
}

#[test]
fn always_with_two_shards() {
    kills::run(2, "always");
}

#[test]
fn every_second_with_one_shard() {
    kills::run(1, "everysec");
}

#[test]
fn every_second_with_two_shards() {
    kills::run(2, "everysec");
}

#[test]
fn turned_on_with_one_shard() {
    kills::turn_on(1);
}

#[test]
fn turned_on_with_two_shards() {
    kills::turn_on(2);
}

#[test]
fn torn_tails_with_one_shard() {
    tails::run(1);
}

#[test]
fn torn_tails_with_two_shards() {
    tails::run(2);
}

#[test]
fn full_disk_with_one_shard() {
    faults::full_disk(1);
}

#[test]
fn full_disk_with_two_shards() {
    faults::full_disk(2);
}

#[test]
fn failing_writes() {
    faults::failing_writes(2);
}

#[test]
fn fatal_errors_with_one_shard() {
    faults::fatal(1);
}

#[test]
fn fatal_errors_with_two_shards() {
    faults::fatal(2);
}

#[test]
fn failing_rewrites_with_one_shard() {
    faults::failing_rewrites(1);
}

#[test]
fn failing_rewrites_with_two_shards() {
    faults::failing_rewrites(2);
}

#[test]
fn a_log_that_is_begun_late() {
    faults::late_log(2);
}

#[test]
fn reads_go_on_during_a_flush() {
    faults::reads_during_a_flush(1);
}

#[test]
fn acknowledged_is_flushed_under_always() {
    faults::acknowledged_is_flushed("always", 2);
}

#[test]
fn acknowledged_is_flushed_under_everysec() {
    faults::acknowledged_is_flushed("everysec", 2);
}
