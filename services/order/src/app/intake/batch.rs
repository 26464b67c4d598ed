//! One batch: facts read once, each order judged, all written together.

use std::collections::HashMap;

use chrono::{DateTime, Duration, Utc};
use countersign_domain::{
    audit::Duplicate,
    decide::{self, Context, Facts},
    secrets::token_hash,
    stock_book::StockBook,
};
use countersign_proto::v1;
use countersign_store::{FIRST_GENERATION, IntakeRow, LikeOrder};

use super::Submission;
use crate::{
    app::{Deciding, make::Ids, references::Known},
    convert,
    error::ServiceError,
};

/// How far back a like order counts as a probable duplicate.
const DUPLICATE_WINDOW: Duration = Duration::hours(24);

/// A judged order and the answer to its call.
pub(super) struct Judged {
    pub(super) row: IntakeRow,
    pub(super) answer: v1::Order,
}

/// What a batch is judged by.
pub(super) struct BatchFacts {
    pub(super) now: DateTime<Utc>,
    known: Known,
    stock: StockBook,
    likes: HashMap<(String, i64), LikeOrder>,
    /// What customers on account owe now.
    exposures: HashMap<String, i64>,
}

impl Deciding {
    /// Reads all that the batch needs, side by side.
    pub(super) async fn batch_facts(
        &self,
        submissions: &[&Submission],
    ) -> Result<BatchFacts, ServiceError> {
        let mut skus: Vec<&str> = submissions
            .iter()
            .flat_map(|submission| submission.new.lines.iter().map(|line| line.sku.as_str()))
            .collect();
        skus.sort_unstable();
        skus.dedup();
        let mut customers: Vec<&str> = submissions
            .iter()
            .map(|submission| submission.new.customer.as_str())
            .collect();
        customers.sort_unstable();
        customers.dedup();
        let contents: Vec<(&str, i64)> = submissions
            .iter()
            .map(|submission| {
                (
                    submission.new.customer.as_str(),
                    submission.new.content_hash(),
                )
            })
            .collect();
        let on_account: Vec<&str> = submissions
            .iter()
            .filter(|submission| {
                submission.new.terms.payment_method
                    == countersign_domain::order::PaymentMethod::OnAccount
            })
            .map(|submission| submission.new.customer.as_str())
            .collect();
        let (now, known, stock, exposures) = tokio::try_join!(
            self.store.now(),
            self.references.know(&skus, &customers),
            self.store.find_stock(&skus),
            async {
                if on_account.is_empty() {
                    return Ok(HashMap::new());
                }
                self.store.find_credit_exposures(&on_account).await
            },
        )?;
        let likes = self
            .store
            .find_like_orders(&contents, now - DUPLICATE_WINDOW)
            .await?;
        Ok(BatchFacts {
            now,
            known,
            stock: StockBook::new(stock),
            likes: likes
                .into_iter()
                .map(|like| ((like.customer.clone(), like.content_hash), like))
                .collect(),
            exposures,
        })
    }

    /// Judges one order of a batch; what it takes from the stock the next one no longer has.
    pub(super) fn judge(
        &self,
        submission: &Submission,
        facts: &mut BatchFacts,
    ) -> Result<Judged, ServiceError> {
        let new = &submission.new;
        let ids = Ids::at(facts.now);
        let Some(policy) = facts.known.policies.current(&new.order_type) else {
            return Err(ServiceError::invalid(
                "order.order_type",
                format!(
                    "must be one of {}",
                    facts.known.policies.order_types().join(", ")
                ),
            ));
        };
        let customer = facts.known.customer(&new.customer).map(|customer| {
            let mut customer = (*customer).clone();
            if let Some(exposure) = facts.exposures.get(&customer.code) {
                customer.credit_exposure_minor = *exposure;
            }
            customer
        });
        let new = &with_customer_defaults(new, customer.as_ref());
        let duplicate_of = facts
            .likes
            .get(&(new.customer.clone(), new.content_hash()))
            .filter(|like| {
                like.caller != new.caller || like.client_reference != new.client_reference
            })
            .map(|like| Duplicate {
                order: like.id,
                own: like.caller == new.caller,
            });
        let context = Context {
            now: facts.now,
            actor: &new.caller,
            request_id: &submission.request_id,
            traceparent: submission.traceparent.as_deref(),
        };
        let (known, stock) = (&facts.known, &mut facts.stock);
        let change = decide::judge(
            ids.order(),
            new,
            &mut Facts {
                policy: &policy,
                rules: &known.policies.rules,
                customer: customer.as_ref(),
                product: &|sku| known.product(sku),
                prices: &|sku| known.prices(sku),
                stock,
                duplicate_of,
                link_key: &self.link_key,
                hold_id: &mut || ids.hold(),
            },
            &context,
        )?;
        if change.credit_minor != 0 {
            *facts.exposures.entry(new.customer.clone()).or_insert(0) += change.credit_minor;
        }
        facts
            .likes
            .entry((new.customer.clone(), new.content_hash()))
            .or_insert_with(|| LikeOrder {
                id: change.order.id,
                customer: new.customer.clone(),
                content_hash: new.content_hash(),
                caller: new.caller.clone(),
                client_reference: new.client_reference.clone(),
            });
        let mut answer = convert::order::to_proto(&change.order);
        let token = self.link_key.link_token(change.order.id, FIRST_GENERATION);
        Ok(Judged {
            row: IntakeRow {
                request: ids.record(&submission.key, convert::order::to_memory(&mut answer)),
                link_hash: token_hash(&token),
                outbox_ids: ids.outbox(change.messages.len()),
                change,
            },
            answer,
        })
    }

    /// Judges without storing.
    pub(crate) async fn preview(&self, submission: Submission) -> Result<v1::Order, ServiceError> {
        let mut facts = self.batch_facts(&[&submission]).await?;
        Ok(self.judge(&submission, &mut facts)?.answer)
    }
}

/// Fills in what the customer's record says and the order does not.
fn with_customer_defaults(
    new: &decide::NewOrder,
    customer: Option<&countersign_domain::customer::Customer>,
) -> decide::NewOrder {
    let mut new = new.clone();
    let Some(profile) = customer.map(|customer| &customer.profile) else {
        return new;
    };
    let terms = &mut new.terms;
    terms.customer_tier.clone_from(&profile.tier);
    if let Some(locale) = profile.locale.as_ref().filter(|_| !new.given.locale) {
        terms.locale = locale.clone();
    }
    if let Some(zone) = profile.time_zone.filter(|_| !new.given.time_zone) {
        terms.time_zone = zone;
    }
    if let Some(shortage) = profile
        .shortage_policy
        .filter(|_| !new.given.shortage_policy)
    {
        terms.shortage_policy = shortage;
    }
    let contact = &mut terms.contact;
    if contact.email.is_none() && contact.phone.is_none() {
        contact.email.clone_from(&profile.email);
        contact.phone.clone_from(&profile.phone);
    }
    if contact.preferred_channel.is_none() {
        contact.preferred_channel = profile.preferred_channel;
    }
    new
}
