//! `DEBUG OBJECT`, `SDSLEN`, `STRUCTSIZE`, `HTSTATS-KEY`: one value, and how it is stored.

use kvasir_shard::ValueRef;

use super::dataset::describe_table;
use crate::commands::context::Coordination;
use crate::errors::CommandError;
use crate::route::core::{CoreState, access_stamp};
use crate::route::transaction::{Request, Transaction};

/// Runs on the shard of the key that the second argument names, if it exists.
async fn on_value<R: Send + 'static>(
    transaction: &Transaction,
    request: &Request,
    look: impl FnOnce(&mut CoreState, &kvasir_shard::Key<'_>) -> R + Send + 'static,
) -> Result<R, CommandError> {
    let bytes = request.args().at(2).to_vec();
    let db = request.view.db;
    let task = move |state: &mut CoreState| {
        let key = state.shared.map.key(&bytes);
        let exists = state.shard.peek(db, &key).is_some();
        exists.then(|| look(state, &key))
    };
    transaction.on(request.owner(request.args().at(2)), task).await.ok_or(CommandError::NoSuchKey)
}

/// Answers with a line in the peers' form. The address stands for the entry: it is the same as
/// long as the key exists.
pub(super) fn describe(transaction: Transaction, request: Request) -> Coordination {
    Box::pin(async move {
        let db = request.view.db;
        let fast = request.args().len() > 3;
        let look = move |state: &mut CoreState, key: &kvasir_shard::Key<'_>| {
            let encoding = state.shard.encoding_name(db, key).unwrap_or_default();
            let length = state.shard.peek(db, key).map_or(0, |value| serialized_length(&value));
            let stamp = state.shard.access_stamp(db, key).unwrap_or_default();
            let idle = access_stamp(state.unix_ms()).wrapping_sub(stamp);
            let length = if fast { String::new() } else { format!("serializedlength:{length} ") };
            format!(
                "Value at:0x{:x} refcount:1 encoding:{encoding} {length}lru:{stamp} \
                 lru_seconds_idle:{idle}",
                key.hash
            )
        };
        let line = on_value(&transaction, &request, look).await?;
        Ok(request.encode(|reply| reply.simple(&line)))
    })
}

/// Bytes of the value in a snapshot, without compression.
fn serialized_length(value: &ValueRef<'_>) -> usize {
    if let ValueRef::Int(value) = value {
        match value {
            -128..=127 => return 2,
            -32768..=32767 => return 3,
            -2_147_483_648..=2_147_483_647 => return 5,
            _ => {}
        }
    }
    let length = value.string_len().unwrap_or_default();
    let prefix = match length {
        0..64 => 1,
        64..16384 => 2,
        _ => 5,
    };
    prefix + length
}

/// Answers with lengths and allocations in the peers' form.
pub(super) fn lengths(transaction: Transaction, request: Request) -> Coordination {
    Box::pin(async move {
        let db = request.view.db;
        let look = move |state: &mut CoreState, key: &kvasir_shard::Key<'_>| {
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
        let look = move |state: &mut CoreState, key: &kvasir_shard::Key<'_>| {
            state.shard.element_table_stats(db, key)
        };
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
        let look = move |state: &mut CoreState, key: &kvasir_shard::Key<'_>| {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_in_a_snapshot() {
        assert_eq!(serialized_length(&ValueRef::Int(1)), 2);
        assert_eq!(serialized_length(&ValueRef::Int(1000)), 3);
        assert_eq!(serialized_length(&ValueRef::Int(-100_000)), 5);
        assert_eq!(serialized_length(&ValueRef::Bytes(b"v")), 2);
        assert_eq!(serialized_length(&ValueRef::Bytes(&[0; 64])), 66);
    }
}
