//! The yardstick of the benchmark: what a good programmer writes by hand, one transaction per order. It writes the same rows
//! as [`Store::insert_orders`], so that the two can be compared; nothing else uses it.

use countersign_domain::{ids::CommitId, stock_book::net};
use sea_orm::{ConnectionTrait, Statement, Value};

use crate::{
    Store,
    bulk::Bulk,
    chain::{COMMITS, CommitRows},
    confirmations::{CONFIRMATIONS, push_round},
    error::{During, StoreError},
    intake::{IntakeRow, OUTBOX, push_messages},
    links::{LINKS, push_link},
    order_rows::{EVENTS, LINES, ORDERS, push_line, push_order},
    requests::{REQUESTS, push_request},
    timers::{TIMERS, push_timer},
};

impl Store {
    /// Stores one order in a transaction of its own: one INSERT a table, one conditional UPDATE for each line's stock.
    /// False when the stock did not suffice.
    pub async fn insert_order_plainly(
        &self,
        commit: CommitId,
        row: &IntakeRow,
    ) -> Result<bool, StoreError> {
        let change = &row.change;
        let order = &change.order;
        let now = order.create_time;
        let transaction = self.begin_write().await?;
        let insert = |bulk: &'static Bulk, values: Vec<Value>| {
            let transaction = &transaction;
            async move {
                if values.is_empty() {
                    return Ok(());
                }
                let sql = bulk.sql(values.len() / bulk.columns.len());
                transaction
                    .execute_raw(Statement::from_sql_and_values(self.backend(), sql, values))
                    .await
                    .during(bulk.operation)
                    .map(|_| ())
            }
        };
        let mut values = Vec::new();
        push_request(&mut values, &self.keys, &row.request, now)?;
        insert(&REQUESTS, values).await?;
        let mut values = Vec::new();
        push_order(&mut values, &self.keys, order)?;
        insert(&ORDERS, values).await?;
        let mut values = Vec::new();
        for line in &order.lines {
            push_line(&mut values, &self.keys, order.id, line)?;
        }
        insert(&LINES, values).await?;
        let mut commit = CommitRows::new(commit, now);
        commit.push_event(&self.keys, &change.event)?;
        insert(&COMMITS, commit.commit_row()).await?;
        insert(&EVENTS, commit.into_events()).await?;
        let mut values = Vec::new();
        push_messages(&mut values, &self.keys, change, &row.outbox_ids)?;
        insert(&OUTBOX, values).await?;
        let mut values = Vec::new();
        for round in &change.rounds {
            push_round(&mut values, &self.keys, round)?;
        }
        insert(&CONFIRMATIONS, values).await?;
        let mut values = Vec::new();
        for timer in &change.timers_set {
            push_timer(&mut values, timer)?;
        }
        insert(&TIMERS, values).await?;
        let mut values = Vec::new();
        push_link(&mut values, &row.link_hash, order.id, now);
        insert(&LINKS, values).await?;
        // Sorted, so that two orders cannot wait for each other.
        for delta in net(change.stock.iter().cloned()) {
            let updated = transaction
                .execute_raw(Statement::from_sql_and_values(
                    self.backend(),
                    "UPDATE stock SET reserved = reserved + ? \
                     WHERE sku = ? AND warehouse = ? AND reserved + ? <= on_hand",
                    [
                        delta.reserved.into(),
                        delta.sku.into(),
                        delta.warehouse.into(),
                        delta.reserved.into(),
                    ],
                ))
                .await
                .during("reserve stock")?;
            if updated.rows_affected() != 1 {
                transaction.rollback().await.during("roll back")?;
                return Ok(false);
            }
        }
        transaction.commit().await.during("commit")?;
        Ok(true)
    }
}
