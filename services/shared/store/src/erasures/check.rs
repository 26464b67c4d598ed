//! Looking through every table for what an erasure should have taken away.

use chrono::{DateTime, Utc};
use countersign_domain::{
    erasure::{erase_note, erase_round, is_clean},
    event::EventKind,
    ids::{DeliveryId, ErasureId, OrderId},
};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
use uuid::Uuid;

use super::{
    DOING, ErasureReport, TableReport,
    order::{note, order_keys},
    pseudonym_of,
};
use crate::{
    Store,
    confirmations::round,
    delivery_rows::padded,
    entity::{
        attempts, confirmations, contacts, customers, deliveries, delivery_notes, feedback,
        mailbox, operator_acts, order_events, order_lines, orders, outbox, replies,
        surveyed_customers, surveys, tracking_events,
    },
    error::{During, StoreError},
};

/// Orders of a page.
const ORDERS: u64 = 50;

impl ErasureReport {
    fn count(&mut self, table: &str, looked_at: usize, left: usize) {
        let (looked_at, left) = (looked_at as u64, left as u64);
        match self.tables.iter_mut().find(|it| it.table == table) {
            Some(known) => {
                known.looked_at += looked_at;
                known.left += left;
            }
            None => self.tables.push(TableReport {
                table: table.to_owned(),
                looked_at,
                left,
            }),
        }
    }

    fn rows<T>(&mut self, table: &str, rows: &[T], is_left: impl Fn(&T) -> bool) {
        let left = rows.iter().filter(|row| is_left(row)).count();
        self.count(table, rows.len(), left);
    }
}

macro_rules! by_order {
    ($store:expr, $table:ident, $ids:expr) => {
        $table::Entity::find()
            .filter($table::Column::OrderId.is_in(order_keys($ids)))
            .all(&$store.db)
            .await
            .during(DOING)?
    };
}

impl Store {
    /// Goes through everything that belongs to the orders of an erasure, and looks for the customer's code.
    pub(super) async fn check_erasure(
        &self,
        id: ErasureId,
        code: &str,
        until: DateTime<Utc>,
    ) -> Result<ErasureReport, StoreError> {
        let mut report = ErasureReport::default();
        let pseudonym = pseudonym_of(id);
        let mut after = Uuid::nil();
        loop {
            let page: Vec<Uuid> = orders::Entity::find()
                .select_only()
                .column(orders::Column::Id)
                .filter(orders::Column::Customer.eq(pseudonym.as_str()))
                .filter(orders::Column::Id.gt(after))
                .order_by_asc(orders::Column::Id)
                .limit(ORDERS)
                .into_tuple()
                .all(&self.db)
                .await
                .during(DOING)?;
            let Some(last) = page.last() else { break };
            after = *last;
            let ids: Vec<OrderId> = page.into_iter().map(OrderId::from_uuid).collect();
            self.check_orders(&mut report, &ids, &pseudonym).await?;
        }
        let record = customers::Entity::find_by_id(code)
            .one(&self.db)
            .await
            .during(DOING)?;
        // A record that was made afterwards is another matter.
        let record = record.filter(|row| row.create_time <= until);
        report.rows("customers", &record.map_or(vec![], |row| vec![row]), |_| {
            true
        });
        let asked = surveyed_customers::Entity::find_by_id(code)
            .one(&self.db)
            .await
            .during(DOING)?;
        let asked = asked.filter(|row| row.ask_time <= until);
        let asked = asked.map_or(vec![], |row| vec![row]);
        report.rows("surveyed_customers", &asked, |_| true);
        let named: Vec<Uuid> = orders::Entity::find()
            .select_only()
            .column(orders::Column::Id)
            .filter(orders::Column::Customer.eq(code))
            .filter(orders::Column::CreateTime.lte(until))
            .limit(100)
            .into_tuple()
            .all(&self.db)
            .await
            .during(DOING)?;
        report.rows("orders", &named, |_| true);
        let (looked_at, left) = self.count_requests(id, code).await?;
        report.count(
            "requests",
            usize::try_from(looked_at).unwrap_or(usize::MAX),
            usize::try_from(left).unwrap_or(usize::MAX),
        );
        Ok(report)
    }

    async fn check_orders(
        &self,
        report: &mut ErasureReport,
        ids: &[OrderId],
        pseudonym: &str,
    ) -> Result<(), StoreError> {
        let found = self.find_orders(ids).await?;
        report.rows("orders", &found, |order| !is_clean(order));
        let rows = by_order!(self, order_lines, ids);
        report.rows("order_lines", &rows, |row| row.extras.is_some());
        let rows = by_order!(self, order_events, ids);
        report.rows("order_events", &rows, |row| {
            row.kind != EventKind::Erased.as_str()
                && (row.salt.is_some() || !row.details.is_empty())
        });
        let rows = by_order!(self, confirmations, ids);
        let mut left = 0;
        for row in &rows {
            let details = round(&self.keys, row)?.details;
            left += usize::from(erase_round(&details) != details);
        }
        report.count("confirmations", rows.len(), left);
        let rows = by_order!(self, delivery_notes, ids);
        let mut left = 0;
        for row in &rows {
            let note = note(&self.keys, row)?;
            left += usize::from(erase_note(&note) != note);
        }
        report.count("delivery_notes", rows.len(), left);
        let rows = by_order!(self, tracking_events, ids);
        report.rows("tracking_events", &rows, |row| !row.details.is_empty());
        let rows = by_order!(self, contacts, ids);
        report.rows("contacts", &rows, |row| !row.summary.is_empty());
        report.rows("replies", &by_order!(self, replies, ids), |_| true);
        report.rows("mailbox", &by_order!(self, mailbox, ids), |_| true);
        report.rows("outbox", &by_order!(self, outbox, ids), |_| true);
        let rows = by_order!(self, surveys, ids);
        report.rows("surveys", &rows, |row| row.customer != pseudonym);
        let rows = by_order!(self, feedback, ids);
        report.rows("feedback", &rows, |row| {
            row.customer != pseudonym
                || !row.words.is_empty()
                || !row.given_by.is_empty()
                || row.resolution.as_ref().is_some_and(|it| !it.is_empty())
        });
        let acts = by_order!(self, operator_acts, ids);
        report.rows("operator_acts", &acts, |row| !row.reason.is_empty());
        let messages = by_order!(self, deliveries, ids);
        report.rows("deliveries", &messages, |row| {
            !row.recipient.is_empty()
                || row.recipient_hash.iter().any(|byte| *byte != 0)
                || row.provider_id.is_some()
                || !row.last_error.is_empty()
                || !row.details.is_empty()
        });
        for chunk in messages.chunks(100) {
            let keys: Vec<Uuid> = chunk.iter().map(|row| row.id).collect();
            let subjects = keys
                .iter()
                .map(|id| DeliveryId::from_uuid(*id).resource_name());
            let acts = operator_acts::Entity::find()
                .filter(operator_acts::Column::Subject.is_in(subjects))
                .all(&self.db)
                .await
                .during(DOING)?;
            report.rows("operator_acts", &acts, |row| !row.reason.is_empty());
            let tries = attempts::Entity::find()
                .filter(attempts::Column::DeliveryId.is_in(padded(keys)))
                .all(&self.db)
                .await
                .during(DOING)?;
            report.rows("attempts", &tries, |row| !row.error.is_empty());
        }
        Ok(())
    }
}
