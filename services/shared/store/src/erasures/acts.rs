//! What staff did, and said of it, about an order that is erased.

use countersign_domain::{
    chain::{Salt, act_commitment},
    erasure::ERASED,
    ids::DeliveryId,
    order::Order,
};
use sea_orm::{ActiveValue::Set, ColumnTrait, DatabaseTransaction, EntityTrait, QueryFilter};

use super::DOING;
use crate::{
    data_keys::DataKeys,
    entity::{audit_entries, deliveries, operator_acts},
    error::{During, StoreError},
    operator_acts::fingerprint,
    opt_outs::recipient_subject,
    sealed::ACTS_REASON,
};

/// What staff did about the order's messages and their recipients: that it was done stays, and by whom. That a recipient does
/// not want to be written to stays as well, under a keyed hash: else the next order would write to it.
pub(super) async fn erase_acts(
    transaction: &DatabaseTransaction,
    keys: &DataKeys,
    order: &Order,
    messages: &[deliveries::Model],
) -> Result<(), StoreError> {
    let mut subjects: Vec<String> = Vec::new();
    // Messages that retention has taken tell no recipient any more; the order does, and the acts on them know the order.
    let contact = &order.terms.contact;
    let addresses = [
        contact.email.as_ref().map(|it| it.as_str().to_owned()),
        contact.phone.as_ref().map(|it| it.as_e164().to_owned()),
    ];
    for address in addresses.into_iter().flatten() {
        let hash = keys.lookup().recipient_hash(&address);
        subjects.push(recipient_subject(&hash));
    }
    for row in messages {
        subjects.push(DeliveryId::from_uuid(row.id).resource_name());
        if row.recipient_hash.iter().any(|byte| *byte != 0) {
            subjects.push(recipient_subject(&row.recipient_hash));
        }
    }
    subjects.sort_unstable();
    subjects.dedup();
    for subject in subjects {
        let rows = operator_acts::Entity::find()
            .filter(operator_acts::Column::Subject.eq(subject.as_str()))
            .all(transaction)
            .await
            .during(DOING)?;
        for row in rows {
            erase_act(transaction, keys, row).await?;
        }
    }
    let rows = operator_acts::Entity::find()
        .filter(operator_acts::Column::OrderId.eq(order.id.as_uuid()))
        .all(transaction)
        .await
        .during(DOING)?;
    for row in rows {
        erase_act(transaction, keys, row).await?;
    }
    Ok(())
}

async fn erase_act(
    transaction: &DatabaseTransaction,
    keys: &DataKeys,
    row: operator_acts::Model,
) -> Result<(), StoreError> {
    let key = row.id.to_string();
    let entry = audit_entries::Entity::find()
        .filter(audit_entries::Column::Kind.eq("ACT"))
        .filter(audit_entries::Column::EntryKey.eq(key.as_str()))
        .one(transaction)
        .await
        .during(DOING)?;
    if let Some(entry) = entry
        && let Some(salt) = entry.salt.and_then(|salt| Salt::try_from(salt).ok())
    {
        let commitment = act_commitment(
            &salt,
            &row.subject,
            &fingerprint(keys, &row)?,
            &ACTS_REASON.open_text(keys, &row.id, &row.reason)?,
            &row.result,
        );
        audit_entries::Entity::update_many()
            .set(audit_entries::ActiveModel {
                salt: Set(None),
                commitment: Set(Some(commitment.to_vec())),
                ..Default::default()
            })
            .filter(audit_entries::Column::CommitId.eq(entry.commit_id))
            .filter(audit_entries::Column::Ordinal.eq(entry.ordinal))
            .exec(transaction)
            .await
            .during(DOING)?;
    }
    let subject = if row.subject.starts_with("recipients/") {
        format!("recipients/{ERASED}")
    } else {
        row.subject
    };
    operator_acts::Entity::update_many()
        .set(operator_acts::ActiveModel {
            subject: Set(subject),
            fingerprint: Set(vec![0; 32]),
            reason: Set(Vec::new()),
            ..Default::default()
        })
        .filter(operator_acts::Column::Id.eq(row.id))
        .exec(transaction)
        .await
        .during(DOING)?;
    Ok(())
}
