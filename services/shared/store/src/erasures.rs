//! Erasing a customer's data: the record of it, and the steps. Each step may be cut off and is done again.

use chrono::{DateTime, Utc};
use countersign_domain::{
    chain::{EntryKind, erasure_hash},
    erasure::{ErasureState, pseudonym},
    ids::{ErasureId, OrderId},
    order::OrderState,
};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, Condition, ConnectionTrait, DatabaseTransaction, EntityTrait,
    QueryFilter, QueryOrder, QuerySelect, Statement,
};
use uuid::Uuid;

use crate::{
    Store,
    chain::{CommitRows, fresh_commit},
    entity::{customers, erasures, orders},
    error::{During, StoreError},
    policies::{ReferenceKind, bump},
    rows::{cut, json_text},
    sealed::ERASURES_REASON,
};

mod acts;
mod check;
mod obstacles;
mod order;
mod record;
mod scan;

pub use obstacles::Obstacles;
pub(crate) use record::reason_of;
pub use record::{Erasure, ErasureReport, TableReport};

use obstacles::{end_outdated_of, obstacles};
use record::{erasure, report_of};

const DOING: &str = "erase a customer";
/// Orders of a batch; each is a transaction of its own.
const ORDERS: u64 = 20;

/// An erasure that is asked for.
#[derive(Clone, Debug)]
pub struct NewErasure {
    /// In order of time.
    pub id: ErasureId,
    /// SHA-256 over caller, method and request id.
    pub request_hash: [u8; 32],
    /// The customer's code.
    pub customer: String,
    /// Keyed hash of the code, as it is put on record.
    pub customer_hash: [u8; 32],
    /// Hashes of the code under the other keys that are taken: an erasure from before the key was changed has one of them.
    pub other_hashes: Vec<[u8; 32]>,
    /// Who.
    pub actor: String,
    /// Why.
    pub reason: String,
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

impl NewErasure {
    /// Each hash that an erasure of the same customer may be on record under.
    fn hashes(&self) -> Vec<Vec<u8>> {
        let all = std::iter::once(&self.customer_hash).chain(&self.other_hashes);
        all.map(|hash| hash.to_vec()).collect()
    }
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
        let hashes = new.hashes();
        let same_or_running = Condition::any()
            .add(erasures::Column::RequestHash.eq(new.request_hash.to_vec()))
            .add(
                Condition::all()
                    .add(erasures::Column::CustomerHash.is_in(hashes.clone()))
                    .add(erasures::Column::State.ne(ErasureState::Done.as_str())),
            );
        let before = erasures::Entity::find()
            .filter(same_or_running)
            .order_by_asc(erasures::Column::Id)
            .one(transaction)
            .await
            .during(DOING)?;
        if let Some(row) = before {
            return Ok(if hashes.contains(&row.customer_hash) {
                ErasureBegun::Begun(Box::new(erasure(&self.keys, row)?))
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
        // Also when it is only asked: they are over, whoever finds it out.
        end_outdated_of(transaction, &new.customer, now).await?;
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
            reason: String::new(),
            sealed_reason: Some(ERASURES_REASON.seal_text(&self.keys, &id, &reason)?),
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
        Ok(ErasureBegun::Begun(Box::new(erasure(&self.keys, row)?)))
    }

    /// Goes on with an erasure for one batch, and answers it as it stands then. Several processes may do so at once.
    /// `link_hashes` tells the hashes that an order's link may have.
    pub async fn go_on_erasing(
        &self,
        id: ErasureId,
        link_hashes: &(dyn Fn(OrderId) -> Vec<[u8; 32]> + Send + Sync),
        now: DateTime<Utc>,
    ) -> Result<Option<Erasure>, StoreError> {
        let row = erasures::Entity::find_by_id(id.as_uuid())
            .one(&self.db)
            .await
            .during(DOING)?;
        let Some(row) = row else { return Ok(None) };
        let current = erasure(&self.keys, row.clone())?;
        match current.state {
            ErasureState::Done => return Ok(Some(current)),
            ErasureState::Replies => {
                if self.erase_loose_replies(&row, current.report).await? {
                    self.move_erasure(&row, ErasureState::Orders).await?;
                }
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
                        self.erase_order(&current, OrderId::from_uuid(*order), link_hashes, now)
                            .await?;
                    }
                }
                if found.is_empty() {
                    self.move_erasure(&row, ErasureState::Rest).await?;
                }
            }
            ErasureState::Rest => self.erase_rest(&row).await?,
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
    async fn erase_rest(&self, row: &erasures::Model) -> Result<(), StoreError> {
        let id = ErasureId::from_uuid(row.id);
        self.erase_requests(id, &row.customer).await?;
        let (kind, backend, code) = (self.kind, self.backend(), row.customer.clone());
        let asked = row.create_time;
        self.write(|transaction| {
            let code = code.clone();
            Box::pin(async move {
                // A record that was made since is another matter.
                for sql in [
                    "DELETE FROM customers WHERE code = ? AND create_time <= ?",
                    "DELETE FROM surveyed_customers WHERE customer = ? AND ask_time <= ?",
                ] {
                    transaction
                        .execute_raw(Statement::from_sql_and_values(
                            backend,
                            sql,
                            [code.as_str().into(), asked.into()],
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
        report.orders = report_of(row)?.orders;
        let left = report.left();
        let done = left == 0;
        let text = json_text(DOING, &report)?;
        // It took a while, and anchors go by when it was done.
        let now = self.now().await?;
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
            tracing::warn!(erasure = %id, left, "something came in while a customer was erased; it is erased as well");
            self.erase_late_rows(id).await?;
            let state = ErasureState::Orders.as_str();
            update = update.col_expr(erasures::Column::State, state.into());
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

/// Counts an erased order in the record, in the order's own transaction.
async fn count_order(transaction: &DatabaseTransaction, id: ErasureId) -> Result<(), StoreError> {
    let row = erasures::Entity::find_by_id(id.as_uuid())
        .lock_exclusive()
        .one(transaction)
        .await
        .during(DOING)?;
    let Some(row) = row else { return Ok(()) };
    let mut report = report_of(&row)?;
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
