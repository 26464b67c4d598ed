//! Accounts at gateways and relays: which of them all replicas leave alone for now.

use std::convert::Infallible;

use chrono::{DateTime, Utc};
use countersign_domain::{
    message::GatewayState,
    operator::{ActKind, ActOutcome},
    order::Channel,
};
use sea_orm::{ColumnTrait, Condition, DatabaseTransaction, EntityTrait, QueryFilter, QueryOrder};

use crate::{
    ActCall, Acted, Store,
    bulk::Bulk,
    entity::gateways,
    error::{During, StoreError},
    operator_acts::{Acts, Earlier, Entry, earlier, gateway_subject},
    rows::{At, cut},
    sealed::GATEWAYS_REASON,
};

/// Who holds a gateway when the worker does it by itself, because its set-up is wrong.
pub const SYSTEM: &str = "system";

const GATEWAYS: Bulk = Bulk {
    operation: "register gateways",
    table: "gateways",
    columns: &[
        "name",
        "channel",
        "state",
        "reason",
        "since_time",
        "until_time",
        "changed_by",
    ],
};

/// How an account at a gateway stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayRecord {
    /// Name of the account, such as "sms-gateway".
    pub name: String,
    /// What it carries.
    pub channel: Channel,
    /// Whether it is used.
    pub state: GatewayState,
    /// Why it is held; empty when it is not.
    pub reason: String,
    /// Since when it stands so.
    pub since_time: DateTime<Utc>,
    /// When a hold ends by itself; absent: when somebody releases it.
    pub until_time: Option<DateTime<Utc>>,
    /// [`SYSTEM`] or the member of staff.
    pub changed_by: String,
}

impl GatewayRecord {
    /// Whether it must not be used now.
    pub fn is_held_at(&self, now: DateTime<Utc>) -> bool {
        self.state == GatewayState::Held && self.until_time.is_none_or(|until| until > now)
    }
}

impl Store {
    /// Makes accounts known, so that staff see and may hold them. What is known stays as it is.
    pub async fn register_gateways(
        &self,
        accounts: &[(String, Channel)],
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let (kind, backend) = (self.kind, self.backend());
        let reasons = accounts
            .iter()
            .map(|(name, _)| GATEWAYS_REASON.seal_text(&self.keys, name.as_str(), ""))
            .collect::<Result<Vec<_>, _>>()?;
        self.write(|transaction| {
            let mut values = Vec::new();
            for ((name, channel), reason) in accounts.iter().zip(&reasons) {
                values.extend([
                    name.as_str().into(),
                    channel.as_str().into(),
                    GatewayState::Open.as_str().into(),
                    reason.clone().into(),
                    now.into(),
                    Option::<DateTime<Utc>>::None.into(),
                    SYSTEM.into(),
                ]);
            }
            Box::pin(async move {
                GATEWAYS
                    .insert_new(transaction, kind, backend, values)
                    .await
                    .map(|_| ())
            })
        })
        .await
    }

    /// Every replica stops using the account: until the time given, or until it is released. False when there is no such
    /// account, or the system would overrule a member of staff.
    pub async fn hold_gateway(
        &self,
        name: &str,
        reason: &str,
        until: Option<DateTime<Utc>>,
        by: &str,
        now: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        self.set_gateway(name, GatewayState::Held, reason, until, by, now)
            .await
    }

    /// The account may be used again; the first messages try it out. False when there is no such account, or the system
    /// would overrule a member of staff.
    pub async fn release_gateway(
        &self,
        name: &str,
        by: &str,
        now: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        self.set_gateway(name, GatewayState::Open, "", None, by, now)
            .await
    }

    async fn set_gateway(
        &self,
        name: &str,
        state: GatewayState,
        reason: &str,
        until: Option<DateTime<Utc>>,
        by: &str,
        now: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        let mut of = Condition::all().add(gateways::Column::Name.eq(name));
        if by == SYSTEM && state == GatewayState::Open {
            of = of
                .add(gateways::Column::State.eq(GatewayState::Held.as_str()))
                .add(gateways::Column::ChangedBy.eq(SYSTEM));
        } else if by == SYSTEM {
            of = of.add(
                Condition::any()
                    .add(gateways::Column::State.eq(GatewayState::Open.as_str()))
                    .add(gateways::Column::ChangedBy.eq(SYSTEM)),
            );
        }
        let reason = GATEWAYS_REASON.seal_text(&self.keys, name, &cut(reason, 250))?;
        let by = cut(by, 100);
        self.write(|transaction| {
            let (of, reason, by) = (of.clone(), reason.clone(), by.clone());
            Box::pin(
                async move { write_state(transaction, of, state, reason, until, by, now).await },
            )
        })
        .await
    }

    /// What a member of staff does to an account, with the record of it: holds it, until the time given or until it is
    /// released, or releases it. Answers the account as it stands now.
    pub async fn operate_gateway(
        &self,
        name: &str,
        state: GatewayState,
        until: Option<DateTime<Utc>>,
        call: &ActCall,
        now: DateTime<Utc>,
    ) -> Result<Acted<GatewayRecord, Infallible>, StoreError> {
        let acted = self
            .act(|| async move {
                let transaction = self.begin_write().await?;
                let result = self
                    .operate_in(&transaction, name, state, until, call, now)
                    .await;
                self.conclude(transaction, result).await
            })
            .await?;
        let found = self.list_gateways().await?.into_iter();
        Ok(match acted {
            Acted::Answered((), outcome) => found
                .into_iter()
                .find(|it| it.name == name)
                .map_or(Acted::NotFound, |it| Acted::Answered(it, outcome)),
            Acted::NotFound => Acted::NotFound,
            Acted::OtherRequest => Acted::OtherRequest,
            Acted::Refused(never) => match never {},
        })
    }

    async fn operate_in(
        &self,
        transaction: &DatabaseTransaction,
        name: &str,
        state: GatewayState,
        until: Option<DateTime<Utc>>,
        call: &ActCall,
        now: DateTime<Utc>,
    ) -> Result<Acted<(), Infallible>, StoreError> {
        match earlier::<()>(transaction, &self.keys, call).await? {
            Earlier::Other => return Ok(Acted::OtherRequest),
            Earlier::Same((), outcome) => return Ok(Acted::Answered((), outcome)),
            Earlier::None => {}
        }
        let (action, reason) = match state {
            GatewayState::Held => (ActKind::HoldGateway, cut(&call.reason, 250)),
            GatewayState::Open => (ActKind::ReleaseGateway, String::new()),
        };
        let of = Condition::all().add(gateways::Column::Name.eq(name));
        let reason = GATEWAYS_REASON.seal_text(&self.keys, name, &reason)?;
        let by = cut(&call.actor, 100);
        if !write_state(transaction, of, state, reason, until, by, now).await? {
            return Ok(Acted::NotFound);
        }
        let entry = Entry {
            subject: &gateway_subject(name),
            action,
            generation: 0,
            outcome: ActOutcome::Done,
            result: &(),
        };
        let mut acts = Acts::default();
        call.push(&mut acts, &self.keys, &entry, now)?;
        self.insert_acts(transaction, acts).await?;
        Ok(Acted::Answered((), ActOutcome::Done))
    }

    /// All accounts, by name.
    pub async fn list_gateways(&self) -> Result<Vec<GatewayRecord>, StoreError> {
        gateways::Entity::find()
            .order_by_asc(gateways::Column::Name)
            .all(&self.db)
            .await
            .during("list gateways")?
            .into_iter()
            .map(|row| {
                let at = At {
                    table: "gateways",
                    row: &row.name,
                };
                Ok(GatewayRecord {
                    channel: at.word("channel", &row.channel)?,
                    state: at.word("state", &row.state)?,
                    reason: GATEWAYS_REASON.open_text(
                        &self.keys,
                        row.name.as_str(),
                        &row.reason,
                    )?,
                    since_time: row.since_time,
                    until_time: row.until_time,
                    changed_by: row.changed_by,
                    name: row.name,
                })
            })
            .collect()
    }
}

async fn write_state(
    transaction: &DatabaseTransaction,
    of: Condition,
    state: GatewayState,
    reason: Vec<u8>,
    until: Option<DateTime<Utc>>,
    by: String,
    now: DateTime<Utc>,
) -> Result<bool, StoreError> {
    let updated = gateways::Entity::update_many()
        .col_expr(gateways::Column::State, state.as_str().into())
        .col_expr(gateways::Column::Reason, reason.into())
        .col_expr(gateways::Column::SinceTime, now.into())
        .col_expr(gateways::Column::UntilTime, until.into())
        .col_expr(gateways::Column::ChangedBy, by.into())
        .filter(of)
        .exec(transaction)
        .await
        .during("hold or release a gateway")?;
    Ok(updated.rows_affected > 0)
}
