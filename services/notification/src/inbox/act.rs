//! What a reply leads to: understood where it must be, then done.

use countersign_domain::{
    confirmation::{AnswerChannel, Objection, ObjectionCategory},
    decide::CallOutcome,
    event::MessageKind,
    feedback::{FeedbackAnswer, FeedbackSource},
    ids::{DeliveryId, OrderId},
    message::{Delivery, DeliveryState, OptOutReason, Recipient},
    order::Channel,
    reply::{GatewayStatus, Reply, ReplyContent},
    survey::{Subject, SurveyState},
};
use countersign_store::{News, StoreError};
use uuid::Uuid;

use super::{
    doubtful_yes::{is_yes_by_text, yes_for_staff},
    forward::{Forwarder, Settled},
    report::Report,
};
use crate::bounces::sns_callback::Confirmed;
use crate::callbacks::twilio::wants_a_person;
use crate::understanding::{Meaning, stars, understand};

/// Deliveries to a number that are looked through for the order that a text is about.
pub(super) const RECENT: u64 = 50;
/// The key that asks for a person.
const PERSON: &str = "0";

impl Forwarder {
    pub(super) async fn act(&self, reply: &Reply) -> Result<Settled, StoreError> {
        match &reply.content {
            ReplyContent::Text {
                from,
                text,
                in_reply_to,
            } => {
                let understood = self.text(from, text, in_reply_to.as_deref()).await?;
                self.resolved(reply, understood).await
            }
            ReplyContent::Key {
                delivery,
                call_id,
                digit,
            } => {
                let understood = self.key(*delivery, call_id, digit).await?;
                self.resolved(reply, understood).await
            }
            ReplyContent::Status {
                delivery,
                generation,
                provider_id,
                status,
                code,
            } => {
                let error = code.as_ref().map_or_else(
                    || status.as_str().to_owned(),
                    |code| format!("{status}: gateway code {code}"),
                );
                let id = DeliveryId::from_uuid(*delivery);
                let now = self.inbox.store.now().await?;
                let news = self
                    .inbox
                    .store
                    .record_news(id, *generation, provider_id, *status, &error, now)
                    .await?;
                self.news(reply, news, *status, provider_id).await
            }
            ReplyContent::Report {
                channel,
                recipient,
                attempt,
                provider_id,
                status,
                code,
            } => {
                let report = Report {
                    channel: *channel,
                    recipient,
                    attempt,
                    provider_id,
                    status: *status,
                    code: code.as_deref(),
                };
                self.report(reply, &report).await
            }
            ReplyContent::StatusById {
                provider_id,
                status,
                code,
            } => {
                self.status_by_id(reply, provider_id, *status, code.clone())
                    .await
            }
            ReplyContent::Bounce {
                delivery,
                generation,
                bounce,
                code,
            } => {
                self.bounce(*delivery, *generation, *bounce, code.as_deref())
                    .await
            }
            ReplyContent::OptOut {
                recipient,
                channel,
                reason,
            } => self.opt_out(recipient, *channel, *reason).await,
            ReplyContent::Unreachable { round } => self.unreachable(reply, *round).await,
            ReplyContent::Subscription { topic, url } => {
                Ok(match self.amazon.confirm(topic, url).await {
                    Confirmed::Done => Settled::Applied("OK".to_owned()),
                    Confirmed::NotNow => Settled::Later("Amazon does not answer".to_owned()),
                    Confirmed::Never => Settled::Refused("NOT_AMAZON".to_owned()),
                })
            }
            _ => {
                let Some(order) = reply.order_id else {
                    return Ok(Settled::Refused("NO_ORDER: it names no order".to_owned()));
                };
                let settled = Settled::from(self.calls.tell(reply, order).await);
                if matches!(settled, Settled::Refused(_)) && is_yes_by_text(&reply.content) {
                    let words = (Some(order), yes_for_staff());
                    return self.resolved(reply, Some(words)).await;
                }
                Ok(settled)
            }
        }
    }

    /// Keeps what a reply was understood to mean, then does it.
    pub(super) async fn resolved(
        &self,
        reply: &Reply,
        understood: Option<(Option<OrderId>, ReplyContent)>,
    ) -> Result<Settled, StoreError> {
        let Some((order_id, content)) = understood else {
            return Ok(Settled::Refused(
                "UNKNOWN_SENDER: no message of ours went there".to_owned(),
            ));
        };
        self.inbox
            .store
            .resolve_reply(reply.id, order_id, &content)
            .await?;
        let resolved = Reply {
            order_id,
            content,
            ..reply.clone()
        };
        Box::pin(self.act(&resolved)).await
    }

    /// A text: which order it is about is never guessed when there are several.
    async fn text(
        &self,
        from: &Recipient,
        text: &str,
        in_reply_to: Option<&str>,
    ) -> Result<Option<(Option<OrderId>, ReplyContent)>, StoreError> {
        let store = &self.inbox.store;
        let meaning = understand(text);
        let about_opting = |reason| {
            let content = ReplyContent::OptOut {
                recipient: from.clone(),
                channel: Channel::Sms,
                reason,
            };
            Ok(Some((None, content)))
        };
        match meaning {
            Meaning::Stop => return about_opting(Some(OptOutReason::StopWord)),
            Meaning::Start => return about_opting(None),
            _ => {}
        }
        let hash = store.recipient_hash(from.reveal());
        let mut recent = store.find_deliveries_to(&hash, RECENT).await?;
        if let Some(answered) = in_reply_to
            && let Some(delivery) = store.find_delivery_by_provider_id(answered).await?
            && delivery.recipient_hash == hash
        {
            recent = vec![delivery];
        }
        let Some(latest) = recent.first().map(|it| it.order_id) else {
            return Ok(None);
        };
        let words = || {
            let content = ReplyContent::Words {
                channel: "SMS".to_owned(),
                text: text.chars().take(2_000).collect(),
            };
            Ok(Some((Some(latest), content)))
        };
        let mut open = Vec::new();
        for order in distinct_orders(&recent) {
            open.extend(store.find_open_round(order).await?);
        }
        let surveys = self.open_surveys(&recent).await?;
        if let Some(stars) = stars(text)
            && let [order, more @ ..] = surveys.as_slice()
        {
            // A digit may mean a yes or stars: with several questions open it is for staff to say which.
            if !open.is_empty() || !more.is_empty() {
                return words();
            }
            let answer = FeedbackAnswer::of_stars(stars, FeedbackSource::Sms);
            return Ok(Some((Some(*order), ReplyContent::Feedback { answer })));
        }
        if let Meaning::Code(code) = &meaning {
            open.retain(|round| {
                self.link_key
                    .code_matches(round.order_id, round.round, code, &round.code_hash)
            });
        }
        let [round] = open.as_slice() else {
            return words();
        };
        let number = Some(round.round);
        let content = match meaning {
            Meaning::Yes => ReplyContent::Accept {
                round: number,
                answer_channel: AnswerChannel::Sms,
                amount: None,
            },
            Meaning::No => ReplyContent::Object {
                round: number,
                answer_channel: AnswerChannel::Sms,
                objection: unspecified(),
            },
            Meaning::Code(code) => ReplyContent::Code {
                round: number,
                answer_channel: AnswerChannel::Sms,
                code,
            },
            Meaning::Stop | Meaning::Start | Meaning::Unclear => return words(),
        };
        Ok(Some((Some(round.order_id), content)))
    }

    /// Orders of these deliveries about which the customer was asked by text message how it was, and may still say.
    async fn open_surveys(&self, recent: &[Delivery]) -> Result<Vec<OrderId>, StoreError> {
        let store = &self.inbox.store;
        let asked: Vec<Delivery> = recent
            .iter()
            .filter(|it| it.kind == MessageKind::Survey)
            .filter(|it| it.channel == Channel::Sms && it.state.is_out())
            .cloned()
            .collect();
        let mut open = Vec::new();
        if asked.is_empty() {
            return Ok(open);
        }
        let now = store.now().await?;
        for order in distinct_orders(&asked) {
            let survey = store.find_survey(order, Subject::DELIVERY).await?;
            if survey.is_some_and(|it| it.state == SurveyState::Asked && now < it.expire_time) {
                open.push(order);
            }
        }
        Ok(open)
    }

    /// A key pressed in a call of ours: 1 is yes, 2 is no, 0 asks for a person.
    async fn key(
        &self,
        delivery: Uuid,
        call_id: &str,
        digit: &str,
    ) -> Result<Option<(Option<OrderId>, ReplyContent)>, StoreError> {
        let id = DeliveryId::from_uuid(delivery);
        let Some(delivery) = self.inbox.store.find_delivery(id).await? else {
            return Ok(None);
        };
        if digit == PERSON {
            return Ok(Some((Some(delivery.order_id), wants_a_person())));
        }
        let (outcome, objection) = match understand(digit) {
            Meaning::Yes => (CallOutcome::AnsweredConfirmed, None),
            Meaning::No => (CallOutcome::AnsweredObjected, Some(unspecified())),
            _ => (CallOutcome::AnsweredUnclear, None),
        };
        let content = ReplyContent::Call {
            round: Some(delivery.round).filter(|round| *round > 0),
            outcome,
            call_id: call_id.to_owned(),
            digits: digit.to_owned(),
            objection,
        };
        Ok(Some((Some(delivery.order_id), content)))
    }

    pub(super) async fn news(
        &self,
        reply: &Reply,
        news: News,
        status: GatewayStatus,
        call_id: &str,
    ) -> Result<Settled, StoreError> {
        let delivery = match news {
            // It may have overtaken our own record of the try.
            News::TooEarly => return Ok(Settled::Later("TOO_EARLY".to_owned())),
            News::Unknown => return self.unknown(reply).await,
            News::Old(delivery)
                if delivery.state == DeliveryState::Delivered && is_failure(status) =>
            {
                return Ok(Settled::Applied("CONFLICT: it had arrived".to_owned()));
            }
            News::Old(_) => return Ok(Settled::Applied("OLD_NEWS".to_owned())),
            News::Written(delivery) => delivery,
        };
        self.queue.ring();
        match call_outcome(&delivery, status) {
            None => Ok(Settled::Applied("OK".to_owned())),
            Some(outcome) => {
                let content = ReplyContent::Call {
                    round: Some(delivery.round),
                    outcome,
                    call_id: call_id.to_owned(),
                    digits: String::new(),
                    objection: None,
                };
                self.resolved(reply, Some((Some(delivery.order_id), content)))
                    .await
            }
        }
    }

    /// Staff are told as long as the question stands: an order that has moved on is not to be held up.
    async fn unreachable(&self, reply: &Reply, round: u32) -> Result<Settled, StoreError> {
        let Some(order) = reply.order_id else {
            return Ok(Settled::Refused("NO_ORDER: it names no order".to_owned()));
        };
        let open = self.inbox.store.find_open_round(order).await?;
        if open.is_none_or(|open| open.round != round) {
            return Ok(Settled::Refused("ROUND_OVER".to_owned()));
        }
        Ok(self.calls.tell(reply, order).await.into())
    }

    async fn opt_out(
        &self,
        recipient: &Recipient,
        channel: Channel,
        reason: Option<OptOutReason>,
    ) -> Result<Settled, StoreError> {
        let store = &self.inbox.store;
        let hash = store.recipient_hash(recipient.reveal());
        match reason {
            Some(reason) => {
                let now = store.now().await?;
                store.insert_opt_out(&hash, channel, reason, now).await?;
            }
            None => store.delete_opt_out(&hash, channel).await?,
        }
        Ok(Settled::Applied("OK".to_owned()))
    }
}

const fn is_failure(status: GatewayStatus) -> bool {
    !matches!(status, GatewayStatus::Underway | GatewayStatus::Delivered)
}

/// How a call that asked for a confirmation ended without an answer; the order's history shows it.
const fn call_outcome(delivery: &Delivery, status: GatewayStatus) -> Option<CallOutcome> {
    if delivery.round == 0 || !matches!(delivery.channel, Channel::Phone) {
        return None;
    }
    match status {
        GatewayStatus::NoAnswer => Some(CallOutcome::NoAnswer),
        GatewayStatus::Busy => Some(CallOutcome::Busy),
        GatewayStatus::Machine => Some(CallOutcome::Machine),
        GatewayStatus::Failed => Some(CallOutcome::Failed),
        GatewayStatus::Underway | GatewayStatus::Delivered | GatewayStatus::Bounced => None,
    }
}

/// The customer said no and not why: a member of staff rings back.
fn unspecified() -> Objection {
    Objection {
        category: ObjectionCategory::Other,
        line_numbers: Vec::new(),
        text: String::new(),
    }
}

/// The orders of deliveries, in their sequence.
pub(super) fn distinct_orders(deliveries: &[Delivery]) -> Vec<OrderId> {
    let mut orders = Vec::new();
    for delivery in deliveries {
        if !orders.contains(&delivery.order_id) {
            orders.push(delivery.order_id);
        }
    }
    orders
}
