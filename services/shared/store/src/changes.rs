//! Writing what was decided about one order: one transaction, on condition that the order still has the version that the
//! decision was made on.

use countersign_domain::{
    confirmation::ConfirmationState, decide::Change, ids::CommitId, number::OrderNumber,
    stock_book::net, tracking::TrackingEvent,
};
use sea_orm::{ActiveValue::Set, ColumnTrait, DatabaseTransaction, EntityTrait, QueryFilter};
use uuid::Uuid;

use crate::{
    Store,
    chain::CommitRows,
    confirmations::{CONFIRMATIONS, push_round, update_round},
    customers::change_credit,
    data_keys::DataKeys,
    documents::{insert_delivery_note, put_service_pack},
    entity::{order_lines, order_numbers, orders},
    error::{During, StoreError},
    feedback::put_feedback,
    intake::{OUTBOX, push_messages},
    lives::Life,
    order_rows::{LINES, hold_count, push_line, queue_rank},
    requests::{RequestRecord, insert_request},
    rows::int,
    sealed::{ORDERS_PRIORITY, ORDERS_PROGRESS, ORDERS_TERMS},
    stock::change_stock,
    surveys::insert_survey,
    timers::{TIMERS, delete_timer, push_timer},
    tracking::{Contact, insert_contact, insert_tracking_event},
};

/// What is written together with a change.
#[derive(Clone, Debug, Default)]
pub struct SaveExtras {
    /// The call that it answers; none for timers.
    pub request: Option<RequestRecord>,
    /// The news that caused it.
    pub tracking_event: Option<TrackingEvent>,
    /// What was said.
    pub contact: Option<Contact>,
    /// As many as the change has messages.
    pub outbox_ids: Vec<Uuid>,
    /// The process that does it by itself because a time has come: nothing is written in safe mode, or once the database lacks
    /// what the process wrote.
    pub life: Option<Life>,
}

/// What came of writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Saved {
    /// Written.
    Done,
    /// The order was changed meanwhile: read and decide again.
    Outdated,
    /// The request id was used meanwhile: look the answer up.
    Repeated,
    /// Somebody else took the goods: read the stock and decide again.
    StockTaken,
    /// The database may be an old copy: nothing happens by itself until staff have looked.
    NotNow,
}

/// Carries an outcome that must not be committed through the transaction helper.
enum Step {
    Go,
    Stop(Saved),
}

impl Store {
    /// Writes a change.
    pub async fn save(
        &self,
        commit: CommitId,
        change: &Change,
        extras: &SaveExtras,
    ) -> Result<Saved, StoreError> {
        self.save_together(commit, &[(change, extras)]).await
    }

    /// Writes changes of several orders: all or none. A call to be remembered stands with the first.
    pub async fn save_together(
        &self,
        commit: CommitId,
        changes: &[(&Change, &SaveExtras)],
    ) -> Result<Saved, StoreError> {
        self.again(|| async move {
            let transaction = self.begin_write().await?;
            match self.write_changes(&transaction, commit, changes).await {
                Ok(Step::Go) => {
                    self.commit(transaction, "commit a change").await?;
                    Ok(Saved::Done)
                }
                Ok(Step::Stop(saved)) => {
                    transaction.rollback().await.during("roll a change back")?;
                    Ok(saved)
                }
                Err(error) => {
                    self.give_up(transaction, &error).await;
                    Err(error)
                }
            }
        })
        .await
    }

    async fn write_changes(
        &self,
        transaction: &DatabaseTransaction,
        commit: CommitId,
        changes: &[(&Change, &SaveExtras)],
    ) -> Result<Step, StoreError> {
        for (change, extras) in changes {
            let step = self.write_change(transaction, change, extras).await?;
            if let Step::Stop(_) = step {
                return Ok(step);
            }
        }
        if let Some((first, _)) = changes.first() {
            let mut commit = CommitRows::new(commit, first.event.create_time);
            for (change, _) in changes {
                commit.push_event(&self.keys, &change.event)?;
            }
            commit.insert(transaction, self.backend()).await?;
        }
        // Goods may move between the orders, so only the sum must be there.
        let stock = net(changes
            .iter()
            .flat_map(|(change, _)| change.stock.iter().cloned()));
        if !change_stock(transaction, self.kind, self.backend(), &stock).await? {
            return Ok(Step::Stop(Saved::StockTaken));
        }
        Ok(Step::Go)
    }

    /// Everything of a change but its event and the stock.
    async fn write_change(
        &self,
        transaction: &DatabaseTransaction,
        change: &Change,
        extras: &SaveExtras,
    ) -> Result<Step, StoreError> {
        let (backend, keys) = (self.backend(), &self.keys);
        let now = change.event.create_time;
        if let Some(life) = &extras.life
            && !self.look_in(transaction, Some(life)).await?.may_send()
        {
            return Ok(Step::Stop(Saved::NotNow));
        }
        if let Some(request) = &extras.request {
            match insert_request(transaction, keys, request, now).await {
                Err(error) if error.is_unique_violation() => {
                    return Ok(Step::Stop(Saved::Repeated));
                }
                result => result?,
            }
        }
        if !update_order(transaction, keys, change).await? {
            return Ok(Step::Stop(Saved::Outdated));
        }
        self.write_lines(transaction, change).await?;
        if let Some(number) = &change.order.order_number
            && change
                .event
                .details
                .changes
                .iter()
                .any(|field| field.field == "order_number")
        {
            insert_number(transaction, number, change).await?;
        }
        let mut messages = Vec::new();
        push_messages(&mut messages, keys, change, &extras.outbox_ids)?;
        OUTBOX.insert(transaction, backend, messages).await?;
        let mut opened = Vec::new();
        for round in &change.rounds {
            if round.state == ConfirmationState::Open && round.create_time == now {
                push_round(&mut opened, keys, round)?;
            } else {
                update_round(transaction, keys, round).await?;
            }
        }
        CONFIRMATIONS.insert(transaction, backend, opened).await?;
        for timer in &change.timers_cleared {
            delete_timer(transaction, timer).await?;
        }
        let mut timers = Vec::new();
        for timer in &change.timers_set {
            push_timer(&mut timers, timer)?;
        }
        TIMERS.insert(transaction, backend, timers).await?;
        if let Some(note) = &change.delivery_note {
            insert_delivery_note(transaction, keys, note).await?;
        }
        if let Some(pack) = &change.service_pack {
            put_service_pack(transaction, keys, pack).await?;
        }
        if let Some(survey) = &change.survey
            && !insert_survey(transaction, survey).await?
        {
            return Ok(Step::Stop(Saved::Outdated));
        }
        if let Some(feedback) = &change.feedback {
            put_feedback(transaction, keys, backend, feedback).await?;
        }
        if let Some(event) = &extras.tracking_event {
            insert_tracking_event(transaction, keys, change.order.id, event).await?;
        }
        if let Some(contact) = &extras.contact {
            insert_contact(transaction, keys, contact).await?;
        }
        change_credit(
            transaction,
            backend,
            &change.order.customer,
            change.credit_minor,
        )
        .await?;
        Ok(Step::Go)
    }

    /// Writes the lines: all anew where they were replaced, else their counters.
    async fn write_lines(
        &self,
        transaction: &DatabaseTransaction,
        change: &Change,
    ) -> Result<(), StoreError> {
        let order = &change.order;
        let counted = !change.stock.is_empty()
            || change
                .event
                .details
                .changes
                .iter()
                .any(|field| field.field.starts_with("lines"))
            || change.order.state != change.event.from_state;
        if change.lines_replaced {
            order_lines::Entity::delete_many()
                .filter(order_lines::Column::OrderId.eq(order.id.as_uuid()))
                .exec(transaction)
                .await
                .during("replace order lines")?;
            let mut values = Vec::new();
            for line in &order.lines {
                push_line(&mut values, &self.keys, order.id, line)?;
            }
            return LINES.insert(transaction, self.backend(), values).await;
        }
        if !counted {
            return Ok(());
        }
        let before = order_lines::Entity::find()
            .filter(order_lines::Column::OrderId.eq(order.id.as_uuid()))
            .all(transaction)
            .await
            .during("read order lines")?;
        for line in &order.lines {
            let counters = &line.counters;
            let number = int("update order lines", line.line_number)?;
            let same = before.iter().any(|row| {
                row.line_number == number
                    && row.warehouse == line.warehouse
                    && (row.cancelled, row.reserved, row.picked, row.packed)
                        == (
                            counters.cancelled,
                            counters.reserved,
                            counters.picked,
                            counters.packed,
                        )
                    && (row.shipped, row.delivered, row.returned)
                        == (counters.shipped, counters.delivered, counters.returned)
            });
            if same {
                continue;
            }
            order_lines::Entity::update_many()
                .set(order_lines::ActiveModel {
                    warehouse: Set(line.warehouse.clone()),
                    cancelled: Set(counters.cancelled),
                    reserved: Set(counters.reserved),
                    picked: Set(counters.picked),
                    packed: Set(counters.packed),
                    shipped: Set(counters.shipped),
                    delivered: Set(counters.delivered),
                    returned: Set(counters.returned),
                    ..Default::default()
                })
                .filter(order_lines::Column::OrderId.eq(order.id.as_uuid()))
                .filter(order_lines::Column::LineNumber.eq(number))
                .exec(transaction)
                .await
                .during("update order lines")?;
        }
        Ok(())
    }
}

/// Writes the order's row if it still has the version before. The version in the condition stands for the state too: no
/// state changes without it.
async fn update_order(
    transaction: &DatabaseTransaction,
    keys: &DataKeys,
    change: &Change,
) -> Result<bool, StoreError> {
    const DOING: &str = "update an order";
    let order = &change.order;
    let id = order.id.as_uuid();
    let mut row = orders::ActiveModel {
        order_number: Set(order.order_number.as_ref().map(OrderNumber::digits)),
        revision: Set(int(DOING, order.revision)?),
        version: Set(order.version),
        state: Set(order.state.as_str().to_owned()),
        policy_version: Set(int(DOING, order.policy_version.version)?),
        handler: Set(order.handler.clone()),
        total_minor: Set(order.total.minor),
        queue_rank: Set(queue_rank(order.priority.score)),
        hold_count: Set(hold_count(order)),
        promised_delivery_time: Set(order.promised_delivery_time),
        update_time: Set(order.update_time),
        confirm_time: Set(order.confirm_time),
        deliver_time: Set(order.deliver_time),
        priority: Set(ORDERS_PRIORITY.seal_json(keys, &id, &order.priority)?),
        progress: Set(ORDERS_PROGRESS.seal_json(keys, &id, &order.progress)?),
        ..Default::default()
    };
    if change.terms_changed {
        row.terms = Set(ORDERS_TERMS.seal_json(keys, &id, &order.terms)?);
    }
    if change.lines_replaced {
        row.content_hash = Set(order.content_hash());
    }
    let updated = orders::Entity::update_many()
        .set(row)
        .filter(orders::Column::Id.eq(id))
        .filter(orders::Column::Version.eq(order.version - 1))
        .exec(transaction)
        .await
        .during(DOING)?;
    Ok(updated.rows_affected == 1)
}

/// Claims the formal number; an order has one for ever, a number one order.
async fn insert_number(
    transaction: &DatabaseTransaction,
    number: &OrderNumber,
    change: &Change,
) -> Result<(), StoreError> {
    let row = order_numbers::ActiveModel {
        order_number: Set(number.digits()),
        order_id: Set(change.order.id.as_uuid()),
    };
    order_numbers::Entity::insert(row)
        .exec_without_returning(transaction)
        .await
        .during("insert an order number")?;
    Ok(())
}
