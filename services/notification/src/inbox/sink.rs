//! The pages' way into the inbox.

use countersign_domain::{
    confirmation::AnswerChannel, ids::OrderId, message::Recipient, reply::ReplyContent,
};
use countersign_store::MailboxItem;
use futures::future::BoxFuture;

use super::{Inbox, ReplyInput};
use crate::pages::{AnswerSink, CustomerAnswer, SinkError};

/// Where the pages' replies come from.
const PAGE: &str = "PAGE";
/// Where the replies of the local mailbox come from.
const MAILBOX: &str = "MAILBOX";

impl AnswerSink for Inbox {
    fn receive<'a>(
        &'a self,
        order: OrderId,
        event_id: &'a str,
        answer: CustomerAnswer,
    ) -> BoxFuture<'a, Result<(), SinkError>> {
        Box::pin(self.keep_answer(PAGE, event_id.to_owned(), Some(order), content(answer)))
    }

    fn pending(&self, order: OrderId) -> BoxFuture<'_, Result<Vec<CustomerAnswer>, SinkError>> {
        Box::pin(async move {
            let replies = self
                .store
                .find_pending_replies(order)
                .await
                .map_err(|error| SinkError(Box::new(error)))?;
            Ok(replies
                .into_iter()
                .filter_map(|reply| answer(reply.content))
                .collect())
        })
    }

    fn key_pressed<'a>(
        &'a self,
        call: &'a MailboxItem,
        digit: char,
    ) -> BoxFuture<'a, Result<(), SinkError>> {
        let content = ReplyContent::Key {
            delivery: call.id,
            call_id: format!("mailbox-{}", call.id),
            digit: digit.to_string(),
        };
        let event = format!("{}-{digit}", call.id);
        Box::pin(self.keep_answer(MAILBOX, event, Some(call.order_id), content))
    }

    fn text_received<'a>(
        &'a self,
        answered: &'a MailboxItem,
        event_id: &'a str,
        text: &'a str,
    ) -> BoxFuture<'a, Result<(), SinkError>> {
        let content = ReplyContent::Text {
            from: Recipient::new(answered.recipient.as_str()),
            text: text.to_owned(),
            in_reply_to: Some(format!("mailbox-{}", answered.id)),
        };
        Box::pin(self.keep_answer(
            MAILBOX,
            event_id.to_owned(),
            Some(answered.order_id),
            content,
        ))
    }
}

impl Inbox {
    async fn keep_answer(
        &self,
        source: &'static str,
        source_event_id: String,
        order: Option<OrderId>,
        content: ReplyContent,
    ) -> Result<(), SinkError> {
        let input = ReplyInput {
            source,
            source_event_id,
            order,
            content,
        };
        // The trait's method of the same name is for pages; this is the inbox's own.
        Self::receive(self, input)
            .await
            .map(|_| ())
            .map_err(|error| SinkError(Box::new(error)))
    }
}

fn content(answer: CustomerAnswer) -> ReplyContent {
    match answer {
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
    }
}

/// A stored reply as the page shows it; by whatever way it came.
fn answer(content: ReplyContent) -> Option<CustomerAnswer> {
    match content {
        ReplyContent::Accept { round, amount, .. } => Some(CustomerAnswer::Confirm {
            round: round?,
            amount,
        }),
        ReplyContent::Code { round, .. } => Some(CustomerAnswer::Confirm {
            round: round?,
            amount: None,
        }),
        ReplyContent::Object {
            round, objection, ..
        } => Some(CustomerAnswer::Object {
            round: round?,
            objection,
        }),
        ReplyContent::Feedback { answer } => Some(CustomerAnswer::Rate { answer }),
        ReplyContent::Words { text, .. } => Some(CustomerAnswer::Ask { text }),
        _ => None,
    }
}
