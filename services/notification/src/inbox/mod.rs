//! Takes in what comes back. Stored first and answered at once; handed to the order service afterwards, again and again
//! until it is answered.

mod act;
mod bounce;
mod doubtful_yes;
pub(crate) mod forward;
pub(crate) mod orders;
mod report;
mod sink;
mod unknown;

use std::sync::Arc;

use countersign_domain::{
    ids::{OrderId, ReplyId},
    reply::{Reply, ReplyContent, ReplyState},
};
use countersign_store::{Store, StoreError};
use tokio::sync::Notify;

use crate::ids::Ids;

/// Something that came back, as pages and callbacks bring it.
#[derive(Clone, Debug)]
pub struct ReplyInput {
    /// Who brings it: `PAGE`, `MAILBOX`, `SMS_GATEWAY`, `PHONE_GATEWAY`, `ALIBABA_SMS`, `BOUNCE_FOLDER`, `MAIL_WEBHOOK`,
    /// `MAIL_SNS`; at most 32 characters.
    pub source: &'static str,
    /// The source's own id of it, at most 191 characters. The same id a second time is the same reply: a page gives each
    /// form an id when it shows it, so that pressing a button twice says it once.
    pub source_event_id: String,
    /// About which order, where that is known.
    pub order: Option<OrderId>,
    /// What was said.
    pub content: ReplyContent,
}

/// Where replies are stored. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Inbox {
    store: Store,
    ids: Arc<Ids>,
    arrived: Arc<Notify>,
}

impl Inbox {
    /// An inbox on this store.
    pub fn new(store: Store, ids: Arc<Ids>) -> Self {
        Self {
            store,
            ids,
            arrived: Arc::default(),
        }
    }

    /// Stores a reply and returns: what it leads to follows in a moment, whatever happens to this process. The time of the
    /// database at this moment decides against deadlines.
    pub async fn receive(&self, input: ReplyInput) -> Result<ReplyId, StoreError> {
        let id = self.keep(input, ReplyState::Pending, "").await?;
        self.arrived.notify_one();
        Ok(id)
    }

    /// Stores what leads to nothing, for staff to look at. It goes when settled replies go. Older programs, which do not know
    /// it, never take it up, for it is settled already.
    pub async fn park(&self, input: ReplyInput, why: &str) -> Result<ReplyId, StoreError> {
        self.keep(input, ReplyState::Refused, why).await
    }

    async fn keep(
        &self,
        input: ReplyInput,
        state: ReplyState,
        result: &str,
    ) -> Result<ReplyId, StoreError> {
        let now = self.store.now().await?;
        let reply = Reply {
            id: self.ids.make(now, ReplyId::new_v7),
            source: input.source.to_owned(),
            source_event_id: input.source_event_id,
            order_id: input.order,
            content: input.content,
            state,
            due_time: now,
            attempts: 0,
            result: result.to_owned(),
            receive_time: now,
        };
        let id = self.store.insert_reply(&reply).await?;
        tracing::info!(reply = %id, source = input.source, kind = reply.content.kind(), "stored a reply");
        Ok(id)
    }
}
