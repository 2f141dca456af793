//! `DEBUG OBJECT`, `SDSLEN`, `STRUCTSIZE`, `HTSTATS-KEY`: one value, and how it is stored.

use kvasir_shard::{Key, Overdue, ValueRef};

use super::dataset::describe_table;
use crate::commands::arguments::is_word;
use crate::commands::context::Coordination;
use crate::errors::CommandError;
use crate::persist::owned;
use crate::persist::rdb::{WriteOptions, write_value};
use crate::route::core::{CoreState, access_stamp};
use crate::route::transaction::{Request, Transaction};

/// Runs on the shard of the key that the second argument names, if it exists.
async fn on_value<R: Send + 'static>(
    transaction: &Transaction,
    request: &Request,
    look: impl FnOnce(&mut CoreState, &Key<'_>) -> R + Send + 'static,
) -> Result<R, CommandError> {
    let bytes = request.args().at(2).to_vec();
    let db = request.view.db;
    let task = move |state: &mut CoreState| {
        let key = state.shared.map.key(&bytes);
        // Also what is due and has not been removed yet.
        state.shard.set_overdue(Overdue::Live);
        let exists = state.shard.peek(db, &key).is_some();
        let seen = exists.then(|| look(state, &key));
        state.shard.set_overdue(state.overdue());
        seen
    };
    transaction.on(request.owner(request.args().at(2)), task).await.ok_or(CommandError::NoSuchKey)
}

/// Answers with a line in the peers' form. The address stands for the entry: it is the same as
/// long as the key exists.
pub(super) fn describe(transaction: Transaction, request: Request) -> Coordination {
    Box::pin(async move {
        let db = request.view.db;
        let fast = request.args().get(3).is_some_and(|word| is_word(word, "FAST"));
        let look = move |state: &mut CoreState, key: &Key<'_>| describe_value(state, db, key, fast);
        let line = on_value(&transaction, &request, look).await?;
        Ok(request.encode(|reply| reply.simple(&line)))
    })
}

fn describe_value(state: &mut CoreState, db: u32, key: &Key<'_>, fast: bool) -> String {
    let encoding = state.shard.encoding_name(db, key).unwrap_or_default();
    let mut line = format!("Value at:0x{:x} refcount:1 encoding:{encoding}", key.hash);
    if !fast {
        let length = serialized_length(state, db, key);
        line = format!("{line} serializedlength:{length}");
    }
    let stamp = state.shard.access_stamp(db, key).unwrap_or_default();
    let idle = access_stamp(state.unix_ms()).wrapping_sub(stamp);
    let frequency = state.shard.frequency(db, key).unwrap_or_default();
    let minutes = stamp >> u8::BITS;
    line = format!(
        "{line} lru:{stamp} lru_seconds_idle:{idle} lfu_freq:{frequency} \
         lfu_access_time_minutes:{minutes}"
    );
    if encoding == "quicklist" {
        line += &describe_blocks(state, db, key, fast);
    }
    line
}

/// Bytes of the value in a snapshot. O(elements).
fn serialized_length(state: &mut CoreState, db: u32, key: &Key<'_>) -> usize {
    let Some(value) = state.shard.copy(db, key) else { return 0 };
    let mut written = Vec::new();
    let options = WriteOptions { compress: state.value_settings.dump_compresses };
    write_value(&mut written, &owned::to_dump(value.data), options);
    written.len()
}

/// What the peers tell of the nodes of a list that is no listpack: here its blocks.
fn describe_blocks(state: &mut CoreState, db: u32, key: &Key<'_>, fast: bool) -> String {
    let config = state.shared.config.load();
    let limits = &config.encodings;
    let (size, is_compressed) = (limits.list_node_size, limits.list_compress_depth > 0);
    let Ok(Some(list)) = state.shard.list_at(db, key, false) else { return String::new() };
    let Some(list) = list.as_large() else { return String::new() };
    let average = list.len() as f64 / list.blocks() as f64;
    let mut line = format!(
        " ql_nodes:{} ql_avg_node:{average:.2} ql_listpack_max:{size} ql_compressed:{}",
        list.blocks(),
        u8::from(is_compressed)
    );
    if !fast {
        line = format!("{line} ql_uncompressed_size:{}", list.listpack_bytes());
    }
    line
}

/// Answers with lengths and allocations in the peers' form.
pub(super) fn lengths(transaction: Transaction, request: Request) -> Coordination {
    Box::pin(async move {
        let db = request.view.db;
        let look = move |state: &mut CoreState, key: &Key<'_>| {
            let size = state.shard.entry_size(db, key).unwrap_or_default();
            match state.shard.peek(db, key) {
                None | Some(ValueRef::Int(_)) => None,
                Some(value) => Some((key.bytes.len(), value.string_len()?, size)),
            }
        };
        let (key, value, size) = on_value(&transaction, &request, look)
            .await?
            .ok_or(CommandError::Other("ERR Not an sds encoded string."))?;
        let line = format!(
            "key_sds_len:{key} key_sds_avail:0 obj_alloc:{size} val_sds_len:{value} \
             val_sds_avail:0 val_alloc:0"
        );
        Ok(request.encode(|reply| reply.simple(&line)))
    })
}

/// Answers with figures on the table of a large collection.
pub(super) fn table_stats(transaction: Transaction, request: Request) -> Coordination {
    Box::pin(async move {
        let db = request.view.db;
        let full = request.args().len() > 3;
        let look =
            move |state: &mut CoreState, key: &Key<'_>| state.shard.element_table_stats(db, key);
        let stats = on_value(&transaction, &request, look).await?.ok_or(CommandError::Other(
            "ERR The value stored at the specified key is not represented using an hash table",
        ))?;
        let text = describe_table(&[stats], full).join("\n") + "\n";
        Ok(request.encode(|reply| reply.verbatim(*b"txt", text.as_bytes())))
    })
}

/// Writes how a small collection is stored to the log, and answers as the peers do.
pub(super) fn packed(transaction: Transaction, request: Request) -> Coordination {
    Box::pin(async move {
        let db = request.view.db;
        let look = move |state: &mut CoreState, key: &Key<'_>| {
            let is_packed = state.shard.encoding_name(db, key) == Some("listpack");
            let bytes = state.shard.entry_size(db, key).unwrap_or_default();
            is_packed.then(|| tracing::info!("DEBUG LISTPACK: {bytes} bytes in one block"))
        };
        on_value(&transaction, &request, look)
            .await?
            .ok_or(CommandError::Other("ERR Not a listpack encoded object."))?;
        Ok(request.encode(|reply| reply.simple("Listpack structure printed on stdout")))
    })
}

/// Answers with sizes in the peers' form: those of this server's structures.
pub(super) fn structure_sizes(_: Transaction, request: Request) -> Coordination {
    let line = format!(
        "bits:{} robj:{} connection:{} batch:{}",
        usize::BITS,
        size_of::<ValueRef<'_>>(),
        size_of::<crate::route::connection::Connection>(),
        size_of::<crate::route::message::Batch>(),
    );
    Box::pin(async move { Ok(request.encode(|reply| reply.bulk(line.as_bytes()))) })
}
