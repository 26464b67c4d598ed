//! Delivery notes and service packs.

use countersign_domain::{
    document::{DeliveryNote, ServicePack},
    ids::OrderId,
};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, DatabaseTransaction, EntityTrait, QueryFilter, QueryOrder,
    sea_query::OnConflict,
};

use crate::{
    Store,
    data_keys::DataKeys,
    entity::{delivery_notes, service_packs},
    error::{During, StoreError},
    rows::int,
    sealed::{NOTES_NOTE, PACKS_PACK},
};

/// Stores a delivery note; a revision has one, and a repetition makes no second.
pub(crate) async fn insert_delivery_note(
    transaction: &DatabaseTransaction,
    keys: &DataKeys,
    note: &DeliveryNote,
) -> Result<(), StoreError> {
    const DOING: &str = "insert a delivery note";
    let key = (note.order_id.as_uuid(), int(DOING, note.revision)?);
    let row = delivery_notes::ActiveModel {
        order_id: Set(key.0),
        revision: Set(key.1),
        note: Set(NOTES_NOTE.seal_json(keys, &key, note)?),
        create_time: Set(note.create_time),
    };
    delivery_notes::Entity::insert(row)
        .exec_without_returning(transaction)
        .await
        .during(DOING)?;
    Ok(())
}

/// Stores the service pack; a confirmed amendment makes it anew.
pub(crate) async fn put_service_pack(
    transaction: &DatabaseTransaction,
    keys: &DataKeys,
    pack: &ServicePack,
) -> Result<(), StoreError> {
    const DOING: &str = "put a service pack";
    let id = pack.order_id.as_uuid();
    let row = service_packs::ActiveModel {
        order_id: Set(id),
        pack: Set(PACKS_PACK.seal_json(keys, &id, pack)?),
        create_time: Set(pack.create_time),
    };
    service_packs::Entity::insert(row)
        .on_conflict(
            OnConflict::column(service_packs::Column::OrderId)
                .update_columns([
                    service_packs::Column::Pack,
                    service_packs::Column::CreateTime,
                ])
                .to_owned(),
        )
        .exec_without_returning(transaction)
        .await
        .during(DOING)?;
    Ok(())
}

impl Store {
    /// All delivery notes of an order, the one in force last.
    pub async fn list_delivery_notes(
        &self,
        order: OrderId,
    ) -> Result<Vec<DeliveryNote>, StoreError> {
        let rows = delivery_notes::Entity::find()
            .filter(delivery_notes::Column::OrderId.eq(order.as_uuid()))
            .order_by_asc(delivery_notes::Column::Revision)
            .all(&self.db)
            .await
            .during("list delivery notes")?;
        rows.iter()
            .map(|row| NOTES_NOTE.open_json(&self.keys, &(row.order_id, row.revision), &row.note))
            .collect()
    }

    /// The service pack of an order, once it is confirmed.
    pub async fn find_service_pack(
        &self,
        order: OrderId,
    ) -> Result<Option<ServicePack>, StoreError> {
        let row = service_packs::Entity::find_by_id(order.as_uuid())
            .one(&self.db)
            .await
            .during("find a service pack")?;
        row.map(|row| PACKS_PACK.open_json(&self.keys, &row.order_id, &row.pack))
            .transpose()
    }
}
