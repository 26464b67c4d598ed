//! What gateways tell of messages afterwards, in whatever sequence they tell it.

use chrono::{DateTime, Utc};
use countersign_domain::{
    ids::DeliveryId,
    message::{Delivery, DeliveryState},
    order::Channel,
    reply::GatewayStatus,
};
use sea_orm::{ActiveValue::Set, ColumnTrait, EntityTrait, QueryFilter};
use uuid::Uuid;

use crate::{
    Store,
    attempt_results::hurry,
    delivery_rows::{Standing, delivery, lock_orders_deliveries},
    entity::deliveries,
    error::{During, StoreError},
    gates::open_gates,
    rows::cut,
    taken_ids::take_back_id,
};

/// What came of a gateway's news.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// There is no such message.
    Unknown,
    /// The worker is just sending it and has not written its result yet: tell again in a moment.
    TooEarly,
    /// It tells nothing new; a message that has arrived stays arrived.
    Old(Box<Delivery>),
    /// Written; the delivery as it stands now.
    Written(Box<Delivery>),
}

impl Store {
    /// Writes what a gateway tells of a message. A message that failed after it was taken over makes the next channel due.
    pub async fn record_news(
        &self,
        id: DeliveryId,
        generation: u32,
        provider_id: &str,
        status: GatewayStatus,
        error: &str,
        now: DateTime<Utc>,
    ) -> Result<News, StoreError> {
        const DOING: &str = "record a gateway's news";
        let Some(found) = self.find_delivery(id).await? else {
            return Ok(News::Unknown);
        };
        if found.generation != generation {
            return Ok(News::Unknown);
        }
        let order = found.order_id.as_uuid();
        let (provider_id, error) = (cut(provider_id, 128), cut(error, 250));
        self.write(|transaction| {
            let (provider_id, error) = (provider_id.clone(), error.clone());
            let keys = self.keys.clone();
            Box::pin(async move {
                let mut rows = lock_orders_deliveries(transaction, vec![order]).await?;
                let Some(place) = rows.iter().position(|row| row.id == id.as_uuid()) else {
                    return Ok(News::Unknown);
                };
                let Some(row) = rows.get_mut(place) else {
                    return Ok(News::Unknown);
                };
                let before: DeliveryState = row.state.parse().unwrap_or(DeliveryState::Dead);
                if before == DeliveryState::Leased {
                    return Ok(News::TooEarly);
                }
                let is_letter = row.channel == Channel::Email.as_str();
                let Some(after) = next_state(before, row.attempts > 0, is_letter, status) else {
                    return Ok(News::Old(Box::new(delivery(&keys, row.clone())?)));
                };
                after.as_str().clone_into(&mut row.state);
                row.finish_time = Some(now);
                row.lease_token = None;
                // A bounce does not know by what id the relay took the letter over.
                let before_it = row.provider_id.clone();
                if !provider_id.is_empty() {
                    row.provider_id = Some(provider_id);
                }
                row.last_error = error;
                let failed =
                    (after == DeliveryState::Failed).then_some((row.order_id, row.seq, row.step));
                let mut written = row.clone();
                deliveries::Entity::update_many()
                    .set(deliveries::ActiveModel {
                        state: Set(written.state.clone()),
                        finish_time: Set(written.finish_time),
                        lease_token: Set(Option::<Uuid>::None),
                        provider_id: Set(written.provider_id.clone()),
                        last_error: Set(written.last_error.clone()),
                        ..Default::default()
                    })
                    .filter(deliveries::Column::Id.eq(written.id))
                    .exec(transaction)
                    .await
                    .during(DOING)?;
                // A relay's ids say nothing, and one that it had before was looked at then.
                if !is_letter
                    && written.provider_id != before_it
                    && let Some(id) = &written.provider_id
                    && take_back_id(transaction, written.id, None, id, before_it.clone(), now)
                        .await?
                {
                    written.provider_id = before_it;
                }
                let rows: Vec<Standing> = rows.iter().map(Standing::from).collect();
                hurry(transaction, &rows, failed.as_slice(), now).await?;
                open_gates(transaction, &keys, &rows, now).await?;
                Ok(News::Written(Box::new(delivery(&keys, written)?)))
            })
        })
        .await
    }
}

/// What becomes of a delivery; nothing when the news is old.
const fn next_state(
    before: DeliveryState,
    tried: bool,
    is_letter: bool,
    status: GatewayStatus,
) -> Option<DeliveryState> {
    // The gateway cannot know a message that we never tried to send.
    if !tried {
        return None;
    }
    match (before, status) {
        // A mail server may take a letter over and send it back later.
        (
            DeliveryState::Ready
            | DeliveryState::Sent
            | DeliveryState::InDoubt
            | DeliveryState::Delivered,
            GatewayStatus::Bounced,
        )
        | (
            DeliveryState::Ready | DeliveryState::Sent | DeliveryState::InDoubt,
            GatewayStatus::Failed
            | GatewayStatus::NoAnswer
            | GatewayStatus::Busy
            | GatewayStatus::Machine,
        ) => Some(DeliveryState::Failed),
        (DeliveryState::Delivered, _) | (_, GatewayStatus::Bounced) => None,
        // Relays tell in any sequence: a letter that came back did not arrive, whatever was told before.
        (DeliveryState::Failed, GatewayStatus::Delivered) if is_letter => None,
        (_, GatewayStatus::Delivered) => Some(DeliveryState::Delivered),
        (DeliveryState::Ready | DeliveryState::InDoubt, GatewayStatus::Underway) => {
            Some(DeliveryState::Sent)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn news_in_any_sequence_never_goes_back() {
        use DeliveryState::{Delivered, Failed, InDoubt, Ready, Sent};
        let next = |before, status| next_state(before, true, false, status);
        assert_eq!(next(Sent, GatewayStatus::Delivered), Some(Delivered));
        assert_eq!(next(Delivered, GatewayStatus::Underway), None);
        assert_eq!(next(Delivered, GatewayStatus::Failed), None);
        assert_eq!(next(Failed, GatewayStatus::Underway), None);
        assert_eq!(next(Failed, GatewayStatus::Delivered), Some(Delivered));
        assert_eq!(next(Ready, GatewayStatus::Underway), Some(Sent));
        assert_eq!(next(InDoubt, GatewayStatus::NoAnswer), Some(Failed));
        assert_eq!(
            next_state(Ready, false, false, GatewayStatus::Delivered),
            None
        );
    }

    #[test]
    fn e_17_a_letter_that_came_back_stays_so_whatever_was_told_before() {
        use DeliveryState::{Delivered, Failed, InDoubt, Ready, Sent, Superseded};
        let next = |before, status| next_state(before, true, true, status);
        for before in [Ready, Sent, InDoubt, Delivered] {
            assert_eq!(next(before, GatewayStatus::Bounced), Some(Failed));
        }
        assert_eq!(next(Failed, GatewayStatus::Bounced), None);
        assert_eq!(next(Superseded, GatewayStatus::Bounced), None);
        assert_eq!(next(Failed, GatewayStatus::Delivered), None);
        assert_eq!(next(Sent, GatewayStatus::Delivered), Some(Delivered));
        assert_eq!(next_state(Ready, false, true, GatewayStatus::Bounced), None);
    }
}
