//! Rounds of confirmation.

use countersign_domain::{
    confirmation::{ConfirmationState, Round},
    ids::OrderId,
};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, DatabaseTransaction, EntityTrait, QueryFilter, QueryOrder, Value,
};

use crate::{
    Store,
    bulk::Bulk,
    data_keys::DataKeys,
    delivery_rows::padded,
    entity::confirmations,
    error::{During, StoreError},
    rows::{At, int},
    sealed::ROUNDS_DETAILS,
};

pub(crate) const CONFIRMATIONS: Bulk = Bulk {
    operation: "insert confirmations",
    table: "confirmations",
    columns: &[
        "order_id",
        "round",
        "revision",
        "mode",
        "state",
        "expire_time",
        "create_time",
        "code_hash",
        "details",
    ],
};

/// Appends a row of [`CONFIRMATIONS`].
pub(crate) fn push_round(
    values: &mut Vec<Value>,
    keys: &DataKeys,
    round: &Round,
) -> Result<(), StoreError> {
    const DOING: &str = "insert confirmations";
    let row = (round.order_id.as_uuid(), int(DOING, round.round)?);
    values.extend([
        row.0.into(),
        row.1.into(),
        int(DOING, round.revision)?.into(),
        round.mode.as_str().into(),
        round.state.as_str().into(),
        round.expire_time.into(),
        round.create_time.into(),
        round.code_hash.to_vec().into(),
        ROUNDS_DETAILS.seal_json(keys, &row, &round.details)?.into(),
    ]);
    Ok(())
}

/// Writes a round that was there before.
pub(crate) async fn update_round(
    transaction: &DatabaseTransaction,
    keys: &DataKeys,
    round: &Round,
) -> Result<(), StoreError> {
    const DOING: &str = "update a confirmation";
    let row = (round.order_id.as_uuid(), int(DOING, round.round)?);
    confirmations::Entity::update_many()
        .set(confirmations::ActiveModel {
            state: Set(round.state.as_str().to_owned()),
            details: Set(ROUNDS_DETAILS.seal_json(keys, &row, &round.details)?),
            ..Default::default()
        })
        .filter(confirmations::Column::OrderId.eq(row.0))
        .filter(confirmations::Column::Round.eq(row.1))
        .exec(transaction)
        .await
        .during(DOING)?;
    Ok(())
}

impl Store {
    /// All rounds of an order, first to last.
    pub async fn list_rounds(&self, order: OrderId) -> Result<Vec<Round>, StoreError> {
        let rows = confirmations::Entity::find()
            .filter(confirmations::Column::OrderId.eq(order.as_uuid()))
            .order_by_asc(confirmations::Column::Round)
            .all(&self.db)
            .await
            .during("list confirmations")?;
        rows.iter().map(|row| round(&self.keys, row)).collect()
    }

    /// All rounds of some orders.
    pub async fn find_rounds(&self, orders: &[OrderId]) -> Result<Vec<Round>, StoreError> {
        if orders.is_empty() {
            return Ok(Vec::new());
        }
        let ids = padded(orders.iter().map(OrderId::as_uuid).collect());
        let rows = confirmations::Entity::find()
            .filter(confirmations::Column::OrderId.is_in(ids))
            .all(&self.db)
            .await
            .during("find confirmations")?;
        rows.iter().map(|row| round(&self.keys, row)).collect()
    }

    /// One round.
    pub async fn find_round(
        &self,
        order: OrderId,
        number: u32,
    ) -> Result<Option<Round>, StoreError> {
        const DOING: &str = "find a confirmation";
        let row = confirmations::Entity::find_by_id((order.as_uuid(), int(DOING, number)?))
            .one(&self.db)
            .await
            .during(DOING)?;
        row.as_ref().map(|row| round(&self.keys, row)).transpose()
    }

    /// The round that waits for the customer, if any.
    pub async fn find_open_round(&self, order: OrderId) -> Result<Option<Round>, StoreError> {
        let row = confirmations::Entity::find()
            .filter(confirmations::Column::OrderId.eq(order.as_uuid()))
            .filter(confirmations::Column::State.eq(ConfirmationState::Open.as_str()))
            .order_by_desc(confirmations::Column::Round)
            .one(&self.db)
            .await
            .during("find the open confirmation")?;
        row.as_ref().map(|row| round(&self.keys, row)).transpose()
    }
}

pub(crate) fn round(keys: &DataKeys, row: &confirmations::Model) -> Result<Round, StoreError> {
    let at = At {
        table: "confirmations",
        row: &row.order_id,
    };
    Ok(Round {
        order_id: OrderId::from_uuid(row.order_id),
        round: at.unsigned("round", row.round)?,
        revision: at.unsigned("revision", row.revision)?,
        mode: at.word("mode", &row.mode)?,
        state: at.word("state", &row.state)?,
        expire_time: row.expire_time,
        create_time: row.create_time,
        code_hash: at.hash("code_hash", &row.code_hash)?,
        details: ROUNDS_DETAILS.open_json(keys, &(row.order_id, row.round), &row.details)?,
    })
}
