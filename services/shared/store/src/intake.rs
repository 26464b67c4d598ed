//! Taking a batch of judged orders in: one transaction, multi-row statements, one stock update.

use chrono::{DateTime, Utc};
use countersign_domain::{decide::Change, ids::CommitId, stock_book::net};
use futures::future::BoxFuture;
use sea_orm::{DatabaseTransaction, Value};
use uuid::Uuid;

use crate::{
    Store,
    bulk::Bulk,
    chain::CommitRows,
    confirmations::{CONFIRMATIONS, push_round},
    customers::change_credit,
    data_keys::DataKeys,
    error::{During, StoreError},
    links::{LINKS, push_link},
    order_rows::{LINES, ORDERS, push_line, push_order},
    requests::{REQUESTS, RequestRecord, push_request},
    rows::int,
    sealed::OUTBOX_DETAILS,
    stock::change_stock,
    timers::{TIMERS, push_timer},
};

pub(crate) const OUTBOX: Bulk = Bulk {
    operation: "insert outbox",
    table: "outbox",
    columns: &[
        "id",
        "order_id",
        "seq",
        "kind",
        "revision",
        "details",
        "create_time",
    ],
};

/// Orders that are worked on without letting others have their turn: about a millisecond. Under overload a refusal would
/// have to wait for a whole batch otherwise.
pub const ORDERS_AT_A_STRETCH: usize = 32;

/// A judged order, ready to be stored.
#[derive(Clone, Debug)]
pub struct IntakeRow {
    /// What was decided.
    pub change: Change,
    /// The call that it answers.
    pub request: RequestRecord,
    /// Hash of the customer's link.
    pub link_hash: [u8; 32],
    /// As many as the change has messages.
    pub outbox_ids: Vec<Uuid>,
}

/// Why a batch was not stored. Nothing of it was.
#[derive(Debug, thiserror::Error)]
pub enum IntakeFailure {
    /// A request id or a client reference is there already.
    #[error("a request id or client reference is there already")]
    Duplicate,
    /// Somebody else took goods that the batch counted on.
    #[error("somebody else took goods that the batch counted on")]
    StockTaken,
    /// Something else.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Appends a row of [`OUTBOX`] for each message.
pub(crate) fn push_messages(
    values: &mut Vec<Value>,
    keys: &DataKeys,
    change: &Change,
    ids: &[Uuid],
) -> Result<(), StoreError> {
    const DOING: &str = "insert outbox";
    for (message, id) in change.messages.iter().zip(ids) {
        values.extend([
            (*id).into(),
            message.order_id.as_uuid().into(),
            int(DOING, message.seq)?.into(),
            message.kind.as_str().into(),
            int(DOING, message.revision)?.into(),
            OUTBOX_DETAILS.seal_json(keys, id, &message.details)?.into(),
            change.event.create_time.into(),
        ]);
    }
    Ok(())
}

impl Store {
    /// Stores a batch whole or not at all. A victim of a deadlock is not run again here: the caller may have to decide
    /// anew on other facts.
    pub async fn insert_orders(
        &self,
        commit: CommitId,
        rows: &[IntakeRow],
        now: DateTime<Utc>,
    ) -> Result<(), IntakeFailure> {
        let batch = Batch::of(&self.keys, commit, rows, now).await?;
        let whole = Box::pin(self.insert_batch(batch, rows));
        self.bounded("store a batch of orders", whole).await
    }

    async fn insert_batch(&self, batch: Batch, rows: &[IntakeRow]) -> Result<(), IntakeFailure> {
        let transaction = self.begin_write().await?;
        let written = self.write_batch(&transaction, batch, rows).await;
        match written {
            Ok(true) => {
                self.commit(transaction, "commit a batch of orders").await?;
                Ok(())
            }
            Ok(false) => {
                transaction.rollback().await.during("roll a batch back")?;
                Err(IntakeFailure::StockTaken)
            }
            Err(error) => {
                self.give_up(transaction, &error).await;
                if error.is_unique_violation() {
                    Err(IntakeFailure::Duplicate)
                } else {
                    Err(error.into())
                }
            }
        }
    }

    fn write_batch<'a>(
        &'a self,
        transaction: &'a DatabaseTransaction,
        batch: Batch,
        rows: &'a [IntakeRow],
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(async move {
            let backend = self.backend();
            // The requests come first: a rival with the same id waits on its row, not in the middle of the work.
            REQUESTS
                .insert(transaction, backend, batch.requests)
                .await?;
            ORDERS.insert(transaction, backend, batch.orders).await?;
            LINES.insert(transaction, backend, batch.lines).await?;
            batch.commit.insert(transaction, backend).await?;
            OUTBOX.insert(transaction, backend, batch.outbox).await?;
            CONFIRMATIONS
                .insert(transaction, backend, batch.rounds)
                .await?;
            TIMERS.insert(transaction, backend, batch.timers).await?;
            LINKS.insert(transaction, backend, batch.links).await?;
            for (customer, minor) in credits(rows) {
                change_credit(transaction, backend, customer, minor).await?;
            }
            // The stock comes last: its rows are what batches wait for each other on.
            let deltas = net(rows.iter().flat_map(|row| row.change.stock.iter().cloned()));
            change_stock(transaction, self.kind, backend, &deltas).await
        })
    }
}

/// What each customer owes more by the batch, in the order of their codes.
fn credits(rows: &[IntakeRow]) -> std::collections::BTreeMap<&str, i64> {
    let mut credits = std::collections::BTreeMap::new();
    for row in rows {
        if row.change.credit_minor != 0 {
            *credits
                .entry(row.change.order.customer.as_str())
                .or_insert(0) += row.change.credit_minor;
        }
    }
    credits
}

/// What a batch writes, sealed.
struct Batch {
    commit: CommitRows,
    requests: Vec<Value>,
    orders: Vec<Value>,
    lines: Vec<Value>,
    outbox: Vec<Value>,
    rounds: Vec<Value>,
    timers: Vec<Value>,
    links: Vec<Value>,
}

impl Batch {
    /// Sealing takes a while: no transaction is open meanwhile, and others have their turn in between.
    async fn of(
        keys: &DataKeys,
        commit: CommitId,
        rows: &[IntakeRow],
        now: DateTime<Utc>,
    ) -> Result<Self, StoreError> {
        let mut batch = Self {
            commit: CommitRows::new(commit, now),
            requests: Vec::new(),
            orders: Vec::new(),
            lines: Vec::new(),
            outbox: Vec::new(),
            rounds: Vec::new(),
            timers: Vec::new(),
            links: Vec::new(),
        };
        for some in rows.chunks(ORDERS_AT_A_STRETCH) {
            for row in some {
                batch.push(keys, row, now)?;
                batch.commit.push_event(keys, &row.change.event)?;
            }
            tokio::task::yield_now().await;
        }
        Ok(batch)
    }

    fn push(
        &mut self,
        keys: &DataKeys,
        row: &IntakeRow,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let change = &row.change;
        push_request(&mut self.requests, keys, &row.request, now)?;
        push_order(&mut self.orders, keys, &change.order)?;
        for line in &change.order.lines {
            push_line(&mut self.lines, keys, change.order.id, line)?;
        }
        push_messages(&mut self.outbox, keys, change, &row.outbox_ids)?;
        for round in &change.rounds {
            push_round(&mut self.rounds, keys, round)?;
        }
        for timer in &change.timers_set {
            push_timer(&mut self.timers, timer)?;
        }
        push_link(&mut self.links, &row.link_hash, change.order.id, now);
        Ok(())
    }
}
