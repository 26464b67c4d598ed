//! What asking customers how it was, and their answers, need to know.

use chrono::{DateTime, Utc};
use countersign_domain::{
    decide::{self, Context, Decision, FeedbackFacts, SurveyFacts},
    email::EmailAddress,
    feedback::FeedbackAnswer,
    order::{Channel, Order},
    phone::PhoneNumber,
    survey::Subject,
};

use crate::{
    app::{Deciding, make::Ids},
    error::ServiceError,
};

/// Up to so many stars staff follow up what was told to them about orders of types that are not surveyed.
const LOW_STARS_MAX: u32 = 2;

impl Deciding {
    pub(super) async fn survey(
        &self,
        order: &Order,
        context: &Context<'_>,
    ) -> Result<Decision, ServiceError> {
        let store = &self.store;
        let policy = self.policy(order).await?;
        let decided = store.find_survey(order.id, Subject::DELIVERY).await?;
        let said = store
            .find_feedback_about(order.id, Subject::DELIVERY)
            .await?;
        let facts = SurveyFacts {
            policy: &policy,
            decided: decided.is_some(),
            answered: said.is_some(),
            opted_out: self.opted_out(order).await?,
            last_ask_time: store.last_ask_time(&order.customer).await?,
        };
        Ok(decide::survey(order, &facts, context))
    }

    /// Whether any address that a survey could go to is not to be written to.
    async fn opted_out(&self, order: &Order) -> Result<bool, ServiceError> {
        let email = order.terms.contact.email.as_ref();
        let phone = order.customer_phone();
        let addresses = [
            (Channel::Email, email.map(EmailAddress::as_str)),
            (Channel::Sms, phone.map(PhoneNumber::as_e164)),
        ];
        for (channel, address) in addresses {
            if let Some(address) = address {
                let hash = self.store.recipient_hash(address);
                if self.store.is_opted_out(&hash, channel).await? {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    pub(super) async fn record_feedback(
        &self,
        order: &Order,
        answer: &FeedbackAnswer,
        given_by: &str,
        receive_time: Option<DateTime<Utc>>,
        context: &Context<'_>,
    ) -> Result<Decision, ServiceError> {
        let policy = self.policy(order).await?;
        let known = self
            .store
            .find_feedback_about(order.id, Subject::DELIVERY)
            .await?;
        let given_by = if given_by.is_empty() {
            context.actor
        } else {
            given_by
        };
        let rules = policy.survey.as_ref();
        let facts = FeedbackFacts {
            known: known.as_ref(),
            new_id: Ids::at(context.now).feedback(),
            low_stars_max: rules.map_or(LOW_STARS_MAX, |rules| rules.low_stars_max),
            given_by,
            // Nothing can have been received later than now.
            receive_time: receive_time.map_or(context.now, |received| received.min(context.now)),
        };
        Ok(decide::record_feedback(order, answer, &facts, context)?)
    }

    pub(super) async fn resolve_feedback(
        &self,
        order: &Order,
        resolution: &str,
        resolved_by: &str,
        context: &Context<'_>,
    ) -> Result<Decision, ServiceError> {
        let known = self
            .store
            .find_feedback_about(order.id, Subject::DELIVERY)
            .await?
            .ok_or_else(|| {
                ServiceError::not_found(format!("{}/feedback", order.id.resource_name()))
            })?;
        let resolved_by = if resolved_by.is_empty() {
            context.actor
        } else {
            resolved_by
        };
        Ok(decide::resolve_feedback(
            order,
            &known,
            resolution,
            resolved_by,
            context,
        )?)
    }
}
