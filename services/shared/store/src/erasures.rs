//! Erasing a customer's data: the record of it, and the steps. Each step may be cut off and is done again.

use chrono::{DateTime, Utc};
use countersign_domain::{
    chain::{EntryKind, erasure_hash},
    erasure::{ErasureState, pseudonym},
    ids::{DeliveryId, ErasureId, OrderId},
    message::DeliveryState,
    order::OrderState,
};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, Condition, ConnectionTrait, DatabaseTransaction, EntityTrait,
    QueryFilter, QueryOrder, QuerySelect, Statement,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    Store,
    chain::{CommitRows, fresh_commit},
    entity::{customers, deliveries, erasures, orders, outbox},
    error::{During, StoreError},
    policies::{ReferenceKind, bump},
    rows::{At, cut, json_text},
};

mod check;
mod order;
mod scan;

const DOING: &str = "erase a customer";
/// Orders of a batch; each is a transaction of its own.
const ORDERS: u64 = 20;
/// Obstacles that are named.
const NAMED: u64 = 10;

/// An erasure that is asked for.
#[derive(Clone, Debug)]
pub struct NewErasure {
    /// In order of time.
    pub id: ErasureId,
    /// SHA-256 over caller, method and request id.
    pub request_hash: [u8; 32],
    /// The customer's code.
    pub customer: String,
    /// Keyed hash of the code.
    pub customer_hash: [u8; 32],
    /// Who.
    pub actor: String,
    /// Why.
    pub reason: String,
}

/// An erasure as it stands. Nothing in it tells who the customer was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Erasure {
    /// Which.
    pub id: ErasureId,
    /// Keyed hash of the customer's code.
    pub customer_hash: [u8; 32],
    /// How far it has come.
    pub state: ErasureState,
    /// Who.
    pub actor: String,
    /// Why.
    pub reason: String,
    /// What was found by the check at the end.
    pub report: ErasureReport,
    /// When it was asked for.
    pub create_time: DateTime<Utc>,
    /// When nothing was left.
    pub finish_time: Option<DateTime<Utc>>,
}

/// What an erasure came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErasureReport {
    /// Orders that were erased.
    pub orders: u64,
    /// Rows that were looked at afterwards, and those in which something was left.
    pub tables: Vec<TableReport>,
}

impl ErasureReport {
    /// Rows in which something was left.
    pub fn left(&self) -> u64 {
        self.tables.iter().map(|table| table.left).sum()
    }
}

/// What was found in a table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableReport {
    /// Which.
    pub table: String,
    /// Rows that were looked at.
    pub looked_at: u64,
    /// Rows in which something was left.
    pub left: u64,
}

/// What stands in the way of an erasure: the first of each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Obstacles {
    /// Orders that are not at their end.
    pub orders: Vec<(OrderId, OrderState)>,
    /// Messages under way.
    pub messages: Vec<DeliveryId>,
    /// Changes whose messages are not yet made.
    pub unsent: Vec<OrderId>,
}

impl Obstacles {
    /// Nothing stands in the way.
    pub const fn is_empty(&self) -> bool {
        self.orders.is_empty() && self.messages.is_empty() && self.unsent.is_empty()
    }
}

/// What came of asking for an erasure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ErasureBegun {
    /// It has begun, now or by an earlier call.
    Begun(Box<Erasure>),
    /// It may be done; nothing was written.
    Possible,
    /// Neither a record nor an order has such a customer.
    NotFound,
    /// It may not be done yet.
    Refused(Obstacles),
    /// The request id was used for another customer.
    OtherRequest,
}

impl Store {
    /// Begins to erase a customer's data, or says what stands in the way.
    pub async fn begin_erasure(
        &self,
        new: &NewErasure,
        validate_only: bool,
        now: DateTime<Utc>,
    ) -> Result<ErasureBegun, StoreError> {
        let begun = || async move {
            let transaction = self.begin_write().await?;
            let result = self.begin_in(&transaction, new, validate_only, now).await;
            self.conclude(transaction, result).await
        };
        match self.again(begun).await {
            // A rival with the same request id was faster: its record is found.
            Err(error) if error.is_unique_violation() => self.again(begun).await,
            result => result,
        }
    }

    async fn begin_in(
        &self,
        transaction: &DatabaseTransaction,
        new: &NewErasure,
        validate_only: bool,
        now: DateTime<Utc>,
    ) -> Result<ErasureBegun, StoreError> {
        let same_or_running = Condition::any()
            .add(erasures::Column::RequestHash.eq(new.request_hash.to_vec()))
            .add(
                Condition::all()
                    .add(erasures::Column::CustomerHash.eq(new.customer_hash.to_vec()))
                    .add(erasures::Column::State.ne(ErasureState::Done.as_str())),
            );
        let before = erasures::Entity::find()
            .filter(same_or_running)
            .order_by_asc(erasures::Column::Id)
            .one(transaction)
            .await
            .during(DOING)?;
        if let Some(row) = before {
            return Ok(if row.customer_hash == new.customer_hash {
                ErasureBegun::Begun(Box::new(erasure(row)?))
            } else {
                ErasureBegun::OtherRequest
            });
        }
        let known = customers::Entity::find_by_id(new.customer.as_str())
            .one(transaction)
            .await
            .during(DOING)?
            .is_some()
            || orders::Entity::find()
                .select_only()
                .column(orders::Column::Id)
                .filter(orders::Column::Customer.eq(new.customer.as_str()))
                .limit(1)
                .into_tuple::<Uuid>()
                .one(transaction)
                .await
                .during(DOING)?
                .is_some();
        if !known {
            return Ok(ErasureBegun::NotFound);
        }
        let obstacles = obstacles(transaction, &new.customer).await?;
        if !obstacles.is_empty() {
            return Ok(ErasureBegun::Refused(obstacles));
        }
        if validate_only {
            return Ok(ErasureBegun::Possible);
        }
        let (actor, reason) = (cut(&new.actor, 64), cut(&new.reason, 500));
        let id = new.id.as_uuid();
        let hash = erasure_hash(id, &new.customer_hash, &actor, &reason, now);
        let row = erasures::Model {
            id,
            request_hash: new.request_hash.to_vec(),
            customer_hash: new.customer_hash.to_vec(),
            customer: new.customer.clone(),
            state: ErasureState::Replies.as_str().to_owned(),
            actor,
            reason,
            report: json_text(DOING, &ErasureReport::default())?,
            create_time: now,
            finish_time: None,
        };
        erasures::Entity::insert(erasures::ActiveModel::from(row.clone()))
            .exec_without_returning(transaction)
            .await
            .during(DOING)?;
        let mut commit = CommitRows::new(fresh_commit(now), now);
        commit.push_entry(EntryKind::Erasure, &id.to_string(), None, hash);
        commit.insert(transaction, self.backend()).await?;
        Ok(ErasureBegun::Begun(Box::new(erasure(row)?)))
    }

    /// One erasure.
    pub async fn find_erasure(&self, id: ErasureId) -> Result<Option<Erasure>, StoreError> {
        erasures::Entity::find_by_id(id.as_uuid())
            .one(&self.db)
            .await
            .during("find an erasure")?
            .map(erasure)
            .transpose()
    }

    /// The last erasure of a customer.
    pub async fn find_last_erasure(
        &self,
        customer_hash: &[u8; 32],
    ) -> Result<Option<Erasure>, StoreError> {
        erasures::Entity::find()
            .filter(erasures::Column::CustomerHash.eq(customer_hash.to_vec()))
            .order_by_desc(erasures::Column::Id)
            .one(&self.db)
            .await
            .during("find an erasure")?
            .map(erasure)
            .transpose()
    }

    /// Erasures that are not done, oldest first.
    pub async fn list_unfinished_erasures(&self) -> Result<Vec<Erasure>, StoreError> {
        erasures::Entity::find()
            .filter(erasures::Column::State.ne(ErasureState::Done.as_str()))
            .order_by_asc(erasures::Column::Id)
            .limit(100)
            .all(&self.db)
            .await
            .during("list erasures")?
            .into_iter()
            .map(erasure)
            .collect()
    }

    /// Erasures that were done since a time.
    pub async fn list_erasures_since(
        &self,
        since: Option<DateTime<Utc>>,
    ) -> Result<Vec<Erasure>, StoreError> {
        let since = since.unwrap_or(DateTime::UNIX_EPOCH);
        erasures::Entity::find()
            .filter(erasures::Column::FinishTime.gte(since))
            .order_by_asc(erasures::Column::Id)
            .all(&self.db)
            .await
            .during("list erasures")?
            .into_iter()
            .map(erasure)
            .collect()
    }

    /// Codes of customers that have orders, in their order.
    pub async fn list_order_customers(
        &self,
        after: &str,
        limit: u64,
    ) -> Result<Vec<String>, StoreError> {
        orders::Entity::find()
            .select_only()
            .column(orders::Column::Customer)
            .distinct()
            .filter(orders::Column::Customer.gt(after))
            .order_by_asc(orders::Column::Customer)
            .limit(limit)
            .into_tuple()
            .all(&self.db)
            .await
            .during("list customers of orders")
    }

    /// Goes on with an erasure for one batch, and answers it as it stands then. Several processes may do so at once.
    /// `link_hash` tells the hash of an order's link.
    pub async fn go_on_erasing(
        &self,
        id: ErasureId,
        link_hash: &(dyn Fn(OrderId) -> [u8; 32] + Send + Sync),
        now: DateTime<Utc>,
    ) -> Result<Option<Erasure>, StoreError> {
        let row = erasures::Entity::find_by_id(id.as_uuid())
            .one(&self.db)
            .await
            .during(DOING)?;
        let Some(row) = row else { return Ok(None) };
        let current = erasure(row.clone())?;
        match current.state {
            ErasureState::Done => return Ok(Some(current)),
            ErasureState::Replies => {
                self.erase_loose_replies(&row).await?;
                self.move_erasure(&row, ErasureState::Orders).await?;
            }
            ErasureState::Orders => {
                let found: Vec<(Uuid, String)> = orders::Entity::find()
                    .select_only()
                    .column(orders::Column::Id)
                    .column(orders::Column::State)
                    .filter(orders::Column::Customer.eq(row.customer.as_str()))
                    .filter(orders::Column::CreateTime.lte(row.create_time))
                    .limit(ORDERS)
                    .into_tuple()
                    .all(&self.db)
                    .await
                    .during(DOING)?;
                let open = |state: &str| {
                    let state = state.parse::<OrderState>();
                    state.is_ok_and(|state| !state.is_terminal())
                };
                for (order, state) in &found {
                    // One that came in while the erasure began is erased when it has come to its end.
                    if !open(state) {
                        self.erase_order(&current, OrderId::from_uuid(*order), link_hash, now)
                            .await?;
                    }
                }
                if found.is_empty() {
                    self.move_erasure(&row, ErasureState::Rest).await?;
                }
            }
            ErasureState::Rest => self.erase_rest(&row, now).await?,
        }
        self.find_erasure(id).await
    }

    async fn move_erasure(
        &self,
        row: &erasures::Model,
        next: ErasureState,
    ) -> Result<(), StoreError> {
        erasures::Entity::update_many()
            .col_expr(erasures::Column::State, next.as_str().into())
            .filter(erasures::Column::Id.eq(row.id))
            .filter(erasures::Column::State.eq(row.state.as_str()))
            .exec(&self.db)
            .await
            .during(DOING)?;
        Ok(())
    }

    /// Remembered calls, the customer's record, and the check that nothing is left.
    async fn erase_rest(
        &self,
        row: &erasures::Model,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let id = ErasureId::from_uuid(row.id);
        self.erase_requests(id, &row.customer).await?;
        let (kind, backend, code) = (self.kind, self.backend(), row.customer.clone());
        self.write(|transaction| {
            let code = code.clone();
            Box::pin(async move {
                for sql in [
                    "DELETE FROM customers WHERE code = ?",
                    "DELETE FROM surveyed_customers WHERE customer = ?",
                ] {
                    transaction
                        .execute_raw(Statement::from_sql_and_values(
                            backend,
                            sql,
                            [code.as_str().into()],
                        ))
                        .await
                        .during(DOING)?;
                }
                bump(transaction, kind, ReferenceKind::Customers).await
            })
        })
        .await?;
        let mut report = self
            .check_erasure(id, &row.customer, row.create_time)
            .await?;
        report.orders = erasure(row.clone())?.report.orders;
        let left = report.left();
        let done = left == 0;
        let text = json_text(DOING, &report)?;
        let mut update = erasures::Entity::update_many()
            .col_expr(erasures::Column::Report, text.into())
            .filter(erasures::Column::Id.eq(row.id))
            .filter(erasures::Column::State.eq(ErasureState::Rest.as_str()));
        if done {
            update = update
                .col_expr(erasures::Column::State, ErasureState::Done.as_str().into())
                .col_expr(erasures::Column::Customer, "".into())
                .col_expr(erasures::Column::FinishTime, now.into());
        } else {
            tracing::error!(erasure = %id, left, "an erasure has left something behind; it is tried again");
        }
        update.exec(&self.db).await.during(DOING)?;
        Ok(())
    }

    /// Looks through all tables for what a done erasure should have erased. `code` is the customer's.
    pub async fn verify_erasure(
        &self,
        done: &Erasure,
        code: &str,
    ) -> Result<ErasureReport, StoreError> {
        let mut report = self.check_erasure(done.id, code, done.create_time).await?;
        report.orders = done.report.orders;
        Ok(report)
    }
}

async fn obstacles(
    transaction: &DatabaseTransaction,
    customer: &str,
) -> Result<Obstacles, StoreError> {
    let terminal = OrderState::ALL.iter().filter(|state| state.is_terminal());
    let open: Vec<(Uuid, String)> = orders::Entity::find()
        .select_only()
        .column(orders::Column::Id)
        .column(orders::Column::State)
        .filter(orders::Column::Customer.eq(customer))
        .filter(orders::Column::State.is_not_in(terminal.map(|state| state.as_str())))
        .order_by_asc(orders::Column::Id)
        .limit(NAMED)
        .into_tuple()
        .all(transaction)
        .await
        .during(DOING)?;
    let orders = open
        .into_iter()
        .map(|(id, state)| {
            let at = At {
                table: "orders",
                row: &id,
            };
            Ok((OrderId::from_uuid(id), at.word("state", &state)?))
        })
        .collect::<Result<Vec<_>, StoreError>>()?;
    let backend = transaction.get_database_backend();
    let under_way: Vec<&str> = DeliveryState::ALL
        .iter()
        .filter(|state| !state.is_finished())
        .map(|state| state.as_str())
        .collect();
    let marks = vec!["?"; under_way.len()].join(",");
    let mut values: Vec<sea_orm::Value> = vec![customer.into()];
    values.extend(under_way.iter().map(|state| (*state).into()));
    let messages = deliveries::Entity::find()
        .from_raw_sql(Statement::from_sql_and_values(
            backend,
            format!(
                "SELECT d.* FROM orders o JOIN deliveries d ON d.order_id = o.id \
                 WHERE o.customer = ? AND d.state IN ({marks}) LIMIT {NAMED}"
            ),
            values,
        ))
        .all(transaction)
        .await
        .during(DOING)?;
    let unsent = outbox::Entity::find()
        .from_raw_sql(Statement::from_sql_and_values(
            backend,
            format!(
                "SELECT x.* FROM outbox x JOIN orders o ON o.id = x.order_id WHERE o.customer = ? LIMIT {NAMED}"
            ),
            [customer.into()],
        ))
        .all(transaction)
        .await
        .during(DOING)?;
    Ok(Obstacles {
        orders,
        messages: messages
            .iter()
            .map(|row| DeliveryId::from_uuid(row.id))
            .collect(),
        unsent: unsent
            .iter()
            .map(|row| OrderId::from_uuid(row.order_id))
            .collect(),
    })
}

fn erasure(row: erasures::Model) -> Result<Erasure, StoreError> {
    let at = At {
        table: "erasures",
        row: &row.id,
    };
    Ok(Erasure {
        id: ErasureId::from_uuid(row.id),
        customer_hash: at.hash("customer_hash", &row.customer_hash)?,
        state: at.word("state", &row.state)?,
        report: at.json("report", &row.report)?,
        actor: row.actor,
        reason: row.reason,
        create_time: row.create_time,
        finish_time: row.finish_time,
    })
}

/// Counts an erased order in the record, in the order's own transaction.
async fn count_order(transaction: &DatabaseTransaction, id: ErasureId) -> Result<(), StoreError> {
    let row = erasures::Entity::find_by_id(id.as_uuid())
        .lock_exclusive()
        .one(transaction)
        .await
        .during(DOING)?;
    let Some(row) = row else { return Ok(()) };
    let mut report = erasure(row)?.report;
    report.orders += 1;
    erasures::Entity::update_many()
        .set(erasures::ActiveModel {
            report: Set(json_text(DOING, &report)?),
            ..Default::default()
        })
        .filter(erasures::Column::Id.eq(id.as_uuid()))
        .exec(transaction)
        .await
        .during(DOING)?;
    Ok(())
}

/// What orders of an erasure have in the place of the customer's code.
fn pseudonym_of(id: ErasureId) -> String {
    pseudonym(id)
}
