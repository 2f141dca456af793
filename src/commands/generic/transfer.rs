//! A copy of a value for another shard: a large one goes in portions, so that neither core has more
//! than a moment's work at a time. The locks on both keys keep everybody else away meanwhile.

use kvasir_shard::{Assembly, ChangeKind, Key, OutOfMemory, OwnedValue, Portion};

use crate::commands::context::ShardContext;
use crate::errors::CommandError;
use crate::route::core::CoreState;
use crate::route::transaction::{Request, Transaction, shard_context};

/// What is copied, and where to.
#[derive(Clone, Copy)]
pub(super) struct Transfer<'a> {
    pub(super) from: &'a [u8],
    /// Whether the key is there for the command that copies.
    pub(super) sees: fn(&mut ShardContext<'_>, &Key<'_>) -> bool,
    pub(super) to: &'a [u8],
    /// The database of the copy.
    pub(super) db: u32,
    /// What is recorded of the copy.
    pub(super) why: ChangeKind,
    /// The command does nothing else afterwards.
    pub(super) is_last: bool,
}

/// What a shard gives of a value at first.
enum Copied {
    Whole(OwnedValue),
    Portion(Portion),
}

impl Transfer<'_> {
    /// Copies the value over whatever is there; whether there was one.
    pub(super) async fn run(
        self,
        transaction: &Transaction,
        request: &Request,
    ) -> Result<bool, CommandError> {
        let (view, sees) = (request.view, self.sees);
        let name: Box<[u8]> = self.from.into();
        let begin = move |state: &mut CoreState| {
            let mut context = shard_context(state, view);
            let key = context.key(&name);
            if !sees(&mut context, &key) {
                return None;
            }
            let portion = context.shard.copy_portion(context.db, &key, 0).map(Copied::Portion);
            portion.or_else(|| context.shard.copy(context.db, &key).map(Copied::Whole))
        };
        match transaction.on(request.owner(self.from), begin).await {
            None => return Ok(false),
            Some(Copied::Whole(value)) => {
                self.put(transaction, request, move |context, to, db, why| {
                    context.shard.put_anew(db, to, value, why)
                })
                .await?;
            }
            Some(Copied::Portion(first)) => {
                let deadline_ms = first.deadline_ms;
                let assembly = self.assemble(transaction, request, first).await?;
                self.put(transaction, request, move |context, to, db, why| {
                    context.shard.put_assembled((db, to), assembly, deadline_ms, why)
                })
                .await?;
            }
        }
        Ok(true)
    }

    /// Puts the portions of a value together in the other shard.
    async fn assemble(
        self,
        transaction: &Transaction,
        request: &Request,
        mut portion: Portion,
    ) -> Result<Assembly, CommandError> {
        let view = request.view;
        let mut assembly = None;
        loop {
            let next = portion.next;
            let add = move |state: &mut CoreState| state.shard.assemble(assembly, &portion);
            let added = transaction.on(request.owner(self.to), add).await?;
            let Some(next) = next else { return Ok(added) };
            assembly = Some(added);
            let name: Box<[u8]> = self.from.into();
            let go_on = move |state: &mut CoreState| {
                let context = shard_context(state, view);
                let key = context.key(&name);
                let portion = context.shard.copy_portion(context.db, &key, next);
                portion.expect("invariant: nobody changes it meanwhile")
            };
            portion = transaction.on(request.owner(self.from), go_on).await;
        }
    }

    /// Has the other shard put what it has got under the key.
    async fn put<F>(
        self,
        transaction: &Transaction,
        request: &Request,
        put: F,
    ) -> Result<(), CommandError>
    where
        F: FnOnce(&mut ShardContext<'_>, &Key<'_>, u32, ChangeKind) -> Result<(), OutOfMemory>,
        F: Send + 'static,
    {
        let (view, db, why) = (request.view, self.db, self.why);
        let name: Box<[u8]> = self.to.into();
        let task = move |state: &mut CoreState| -> Result<(), CommandError> {
            let mut context = shard_context(state, view);
            let key = context.key(&name);
            put(&mut context, &key, db, why)?;
            context.changed(1);
            Ok(())
        };
        let owner = request.owner(self.to);
        if self.is_last {
            let mut results = transaction.last_hop([(owner, task)]).await;
            results.pop().expect("invariant: one task, one result")
        } else {
            transaction.on(owner, task).await
        }
    }
}
