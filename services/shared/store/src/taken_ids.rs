//! One id of a gateway for two messages (RELIABILITY, D-21): by it the fate of one would be told of the other. The first one
//! keeps it, whichever process sent it and whenever; the second is in doubt.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Duration, Utc};
use countersign_domain::{
    ids::DeliveryId,
    message::{AttemptOutcome, DeliveryState},
    order::Channel,
};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DatabaseTransaction, EntityTrait, QueryFilter, QueryOrder,
    QuerySelect, Statement,
};
use uuid::Uuid;

use crate::{
    Store,
    attempt_results::{Finish, NextStep, Verdict},
    bulk::{JsonType, json_parts, json_rows},
    connection::DatabaseKind,
    delivery_rows::padded,
    entity::{attempts, deliveries},
    error::{During, StoreError},
    retention::first_key,
    rows::cut,
};

/// What is written where the gateway has given the id to another message before.
#[derive(Clone, Debug)]
pub struct IfTaken {
    /// What the account is for.
    pub channel: Channel,
    /// Name of the account that gave the id; another one may give the same.
    pub gateway: String,
    /// What the try came to then.
    pub outcome: AttemptOutcome,
    /// Code and explanation in our own words.
    pub error: String,
    /// What is to become of the delivery then.
    pub verdict: Verdict,
    /// What it means for the next channel.
    pub next: NextStep,
}

/// Without it a long list would be answered by reading the whole table.
const HINT: &str = " FORCE INDEX (ix_deliveries_provider)";
const DOING: &str = "look for a gateway's ids";
/// How long a message's id is its own. A gateway that is set up anew may count from one again.
const REMEMBERED: Duration = Duration::days(30);

impl Store {
    /// Takes ids away from those of `written` that bear another message's, and answers what is to be written of them instead.
    ///
    /// To be called after the ids have been written: two transactions that write one id at a time each meet the other's
    /// row here, wait for it, and one of them is run again; so no constraint is needed, which rows of the past might break.
    pub(crate) async fn take_back_ids(
        &self,
        transaction: &DatabaseTransaction,
        written: &[&Finish],
        now: DateTime<Utc>,
    ) -> Result<Vec<Finish>, StoreError> {
        let mut places: HashMap<Uuid, usize> = HashMap::new();
        let mut rows: Vec<(String, String)> = Vec::new();
        for (place, finish) in written.iter().enumerate() {
            if let (Some(id), Some(_)) = (&finish.provider_id, &finish.if_taken) {
                let key = finish.delivery.as_uuid();
                places.insert(key, place);
                rows.push((cut(id, 128), key.simple().to_string()));
            }
        }
        // In one sequence for all, so that few get into each other's way.
        rows.sort_unstable();
        let mut others: Vec<(Uuid, Uuid)> = Vec::new();
        for part in json_parts(DOING, &rows)? {
            let sql = lookup_sql(self.kind);
            let found = transaction
                .query_all_raw(Statement::from_sql_and_values(
                    self.backend(),
                    sql,
                    [part.into(), first_key(now - REMEMBERED).into()],
                ))
                .await
                .during(DOING)?;
            for row in found {
                let own: String = row.try_get("", "own").during(DOING)?;
                let other: Uuid = row.try_get("", "other").during(DOING)?;
                if let Ok(own) = Uuid::try_parse(&own) {
                    others.push((own, other));
                }
            }
        }
        if others.is_empty() {
            return Ok(Vec::new());
        }
        let accounts = accounts_of(transaction, &others).await?;
        let mut taken: HashSet<Uuid> = HashSet::new();
        let mut instead = Vec::new();
        for finish in written {
            let own = finish.delivery.as_uuid();
            let (Some(place), Some(if_taken)) = (places.get(&own), &finish.if_taken) else {
                continue;
            };
            let had_before = others.iter().any(|(mine, other)| {
                // Of two that are written together the first one keeps it.
                let came_before = places.get(other).is_none_or(|it| it < place);
                *mine == own
                    && came_before
                    && !taken.contains(other)
                    && accounts.get(other) == Some(&if_taken.gateway)
            });
            if had_before {
                taken.insert(own);
                instead.push(Finish {
                    outcome: if_taken.outcome,
                    error: if_taken.error.clone(),
                    provider_id: None,
                    verdict: if_taken.verdict,
                    next: if_taken.next,
                    if_taken: None,
                    ..(*finish).clone()
                });
            }
        }
        if !taken.is_empty() {
            deliveries::Entity::update_many()
                .col_expr(
                    deliveries::Column::ProviderId,
                    Option::<String>::None.into(),
                )
                .filter(deliveries::Column::Id.is_in(padded(taken.into_iter().collect())))
                .exec(transaction)
                .await
                .during("take a gateway's id back")?;
        }
        Ok(instead)
    }

    /// The ids by which gateways know other messages to this recipient, of the last `limit` ones: a message in doubt that is
    /// looked for is none of these.
    pub async fn find_ids_of_others(
        &self,
        recipient_hash: &[u8; 32],
        message: DeliveryId,
        limit: u64,
    ) -> Result<HashSet<String>, StoreError> {
        let found: Vec<(Uuid, Option<String>)> = deliveries::Entity::find()
            .select_only()
            .columns([deliveries::Column::Id, deliveries::Column::ProviderId])
            .filter(deliveries::Column::RecipientHash.eq(recipient_hash.to_vec()))
            .order_by_desc(deliveries::Column::Id)
            .limit(limit)
            .into_tuple()
            .all(&self.db)
            .await
            .during("find the gateways' ids of other messages")?;
        Ok(found
            .into_iter()
            .filter(|(id, _)| *id != message.as_uuid())
            .filter_map(|(_, provider_id)| provider_id)
            .collect())
    }
}

/// Takes an id back that a delivery was just given by news or by the answer to a question, if another message of its account
/// bears it: what was told counts, but by the id the fate of one would be told of the other. `before` is what it had. Answers
/// whether it was another's. To be called after the id has been written, as [`Store::take_back_ids`] is.
pub(crate) async fn take_back_id(
    transaction: &DatabaseTransaction,
    own: Uuid,
    gateway: Option<&str>,
    id: &str,
    before: Option<String>,
    now: DateTime<Utc>,
) -> Result<bool, StoreError> {
    let others: Vec<Uuid> = deliveries::Entity::find()
        .select_only()
        .column(deliveries::Column::Id)
        .filter(deliveries::Column::ProviderId.eq(id))
        .filter(deliveries::Column::Id.ne(own))
        .filter(deliveries::Column::Id.gt(first_key(now - REMEMBERED)))
        .lock_exclusive()
        .into_tuple()
        .all(transaction)
        .await
        .during(DOING)?;
    if others.is_empty() {
        return Ok(false);
    }
    let pairs: Vec<(Uuid, Uuid)> = others.iter().chain([&own]).map(|it| (own, *it)).collect();
    let accounts = accounts_of(transaction, &pairs).await?;
    let gateway = gateway.or_else(|| accounts.get(&own).map(String::as_str));
    if !others
        .iter()
        .any(|other| accounts.get(other).map(String::as_str) == gateway)
    {
        return Ok(false);
    }
    tracing::error!(delivery = %DeliveryId::from_uuid(own), gateway, "the gateway gave one id to two messages; the second goes without");
    deliveries::Entity::update_many()
        .col_expr(deliveries::Column::ProviderId, before.into())
        .filter(deliveries::Column::Id.eq(own))
        .exec(transaction)
        .await
        .during("take a gateway's id back")?;
    Ok(true)
}

/// Which other deliveries bear the ids that these were given; nearly always none.
fn lookup_sql(kind: DatabaseKind) -> String {
    let columns = [("provider", JsonType::Text), ("own", JsonType::Key)];
    let rows = json_rows(kind, &columns);
    let (join, hint, lock) = match kind {
        DatabaseKind::Sqlite => ("JOIN", "", ""),
        // MySQL wants to lock the rows of the parameter, too, and fails; MariaDB knows no OF.
        DatabaseKind::MySql => ("STRAIGHT_JOIN", HINT, " FOR UPDATE OF t"),
        DatabaseKind::MariaDb => ("STRAIGHT_JOIN", HINT, " FOR UPDATE"),
    };
    format!(
        "SELECT n.own AS own, t.id AS other FROM {rows} {join} deliveries AS t{hint} \
         ON t.provider_id = n.provider WHERE t.id <> UNHEX(n.own) AND t.id > ?{lock}"
    )
}

/// The account that each delivery's last try was made through.
async fn accounts_of(
    transaction: &DatabaseTransaction,
    others: &[(Uuid, Uuid)],
) -> Result<HashMap<Uuid, String>, StoreError> {
    let ids: Vec<Uuid> = others.iter().map(|(_, other)| *other).collect();
    let tries: Vec<(Uuid, String)> = attempts::Entity::find()
        .select_only()
        .columns([attempts::Column::DeliveryId, attempts::Column::Gateway])
        .filter(attempts::Column::DeliveryId.is_in(padded(ids)))
        .order_by_asc(attempts::Column::Number)
        .into_tuple()
        .all(transaction)
        .await
        .during(DOING)?;
    Ok(tries.into_iter().collect())
}

impl Finish {
    /// How its delivery stands once it is written.
    pub(crate) const fn state(&self) -> DeliveryState {
        match self.verdict {
            Verdict::End(state) => state,
            Verdict::Again(_) => DeliveryState::Ready,
        }
    }
}
