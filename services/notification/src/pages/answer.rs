//! Where the customer's answers go.

use countersign_domain::{
    confirmation::Objection, feedback::FeedbackAnswer, ids::OrderId, money::Money,
};
use countersign_store::MailboxItem;
use futures::future::BoxFuture;

/// What a customer says on the order page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CustomerAnswer {
    /// The order is right.
    Confirm {
        /// Round of confirmation that the page showed.
        round: u32,
        /// Total that the page showed; none when the round was over by the time of the answer.
        amount: Option<Money>,
    },
    /// Something is wrong.
    Object {
        /// Round of confirmation that the page showed.
        round: u32,
        /// What is wrong.
        objection: Objection,
    },
    /// How it was.
    Rate {
        /// Stars, tags and words.
        answer: FeedbackAnswer,
    },
    /// A question or a complaint.
    Ask {
        /// The customer's words.
        text: String,
    },
}

impl CustomerAnswer {
    /// The round that it answers, if it answers one.
    pub const fn round(&self) -> Option<u32> {
        match self {
            Self::Confirm { round, .. } | Self::Object { round, .. } => Some(*round),
            Self::Rate { .. } | Self::Ask { .. } => None,
        }
    }
}

/// The inbox did not take an answer; the customer is asked to try again.
#[derive(Debug, thiserror::Error)]
#[error("the inbox does not answer")]
pub struct SinkError(#[source] pub Box<dyn std::error::Error + Send + Sync>);

/// Takes what customers say and keeps it until the order-service has applied it.
pub trait AnswerSink: Send + Sync + 'static {
    /// Stores an answer. It is safe once this returns. The same event id a second time is the same answer.
    fn receive<'a>(
        &'a self,
        order: OrderId,
        event_id: &'a str,
        answer: CustomerAnswer,
    ) -> BoxFuture<'a, Result<(), SinkError>>;

    /// Answers of the order that are stored and not yet applied or refused, oldest first.
    fn pending(&self, order: OrderId) -> BoxFuture<'_, Result<Vec<CustomerAnswer>, SinkError>>;

    /// A key pressed in a call of the local mailbox: what a gateway's callback would bring.
    fn key_pressed<'a>(
        &'a self,
        call: &'a MailboxItem,
        digit: char,
    ) -> BoxFuture<'a, Result<(), SinkError>>;

    /// A text sent in answer to one of the local mailbox: what a gateway's callback would bring. `event_id` is new for
    /// each text.
    fn text_received<'a>(
        &'a self,
        answered: &'a MailboxItem,
        event_id: &'a str,
        text: &'a str,
    ) -> BoxFuture<'a, Result<(), SinkError>>;
}
