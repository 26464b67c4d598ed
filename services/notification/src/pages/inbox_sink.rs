//! Hands what customers say to the worker's inbox.

use countersign_domain::{
    confirmation::AnswerChannel,
    ids::OrderId,
    message::Recipient,
    reply::{Reply, ReplyContent},
};
use countersign_store::{MailboxItem, Store, StoreError};
use futures::future::BoxFuture;

use super::answer::{AnswerSink, CustomerAnswer, SinkError};
use crate::inbox::{Inbox, ReplyInput};

/// The word that stands for the order page in the inbox.
const PAGE: &str = "PAGE";

/// The worker's inbox behind the pages, with the store that it writes to.
#[derive(Clone, Debug)]
pub struct InboxSink {
    inbox: Inbox,
    store: Store,
}

impl InboxSink {
    /// `store` is the one that the inbox was made with.
    pub const fn new(inbox: Inbox, store: Store) -> Self {
        Self { inbox, store }
    }

    async fn store_reply(
        &self,
        source: &'static str,
        event_id: &str,
        order: OrderId,
        content: ReplyContent,
    ) -> Result<(), SinkError> {
        let input = ReplyInput {
            source,
            source_event_id: event_id.to_owned(),
            order: Some(order),
            content,
        };
        self.inbox.receive(input).await.map(|_| ()).map_err(failed)
    }
}

fn failed(error: StoreError) -> SinkError {
    SinkError(Box::new(error))
}

/// What a reply from a page says; none for what other ways brought.
fn answer(reply: Reply) -> Option<CustomerAnswer> {
    match reply.content {
        ReplyContent::Accept {
            round: Some(round),
            amount,
            ..
        } => Some(CustomerAnswer::Confirm { round, amount }),
        ReplyContent::Object {
            round: Some(round),
            objection,
            ..
        } => Some(CustomerAnswer::Object { round, objection }),
        ReplyContent::Feedback { answer } => Some(CustomerAnswer::Rate { answer }),
        ReplyContent::Words { text, .. } => Some(CustomerAnswer::Ask { text }),
        _ => None,
    }
}

impl AnswerSink for InboxSink {
    fn receive<'a>(
        &'a self,
        order: OrderId,
        event_id: &'a str,
        answer: CustomerAnswer,
    ) -> BoxFuture<'a, Result<(), SinkError>> {
        let content = match answer {
            CustomerAnswer::Confirm { round, amount } => ReplyContent::Accept {
                round: Some(round),
                answer_channel: AnswerChannel::Link,
                amount,
            },
            CustomerAnswer::Object { round, objection } => ReplyContent::Object {
                round: Some(round),
                answer_channel: AnswerChannel::Link,
                objection,
            },
            CustomerAnswer::Rate { answer } => ReplyContent::Feedback { answer },
            CustomerAnswer::Ask { text } => ReplyContent::Words {
                channel: PAGE.to_owned(),
                text,
            },
        };
        Box::pin(self.store_reply(PAGE, event_id, order, content))
    }

    fn pending(&self, order: OrderId) -> BoxFuture<'_, Result<Vec<CustomerAnswer>, SinkError>> {
        Box::pin(async move {
            let replies = self
                .store
                .find_pending_replies(order)
                .await
                .map_err(failed)?;
            Ok(replies.into_iter().filter_map(answer).collect())
        })
    }

    fn key_pressed<'a>(
        &'a self,
        call: &'a MailboxItem,
        digit: char,
    ) -> BoxFuture<'a, Result<(), SinkError>> {
        let content = ReplyContent::Key {
            delivery: call.id,
            call_id: call.id.to_string(),
            digit: digit.to_string(),
        };
        Box::pin(async move {
            // A gateway, too, tells a key of a call once.
            let event_id = format!("{}:{digit}", call.id);
            self.store_reply("PHONE_MAILBOX", &event_id, call.order_id, content)
                .await
        })
    }

    fn text_received<'a>(
        &'a self,
        answered: &'a MailboxItem,
        event_id: &'a str,
        text: &'a str,
    ) -> BoxFuture<'a, Result<(), SinkError>> {
        let content = ReplyContent::Text {
            from: Recipient::new(answered.recipient.clone()),
            text: text.to_owned(),
            in_reply_to: Some(answered.id.to_string()),
        };
        Box::pin(self.store_reply("SMS_MAILBOX", event_id, answered.order_id, content))
    }
}
