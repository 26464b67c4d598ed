//! Hands stored replies on, again and again until each is answered.

use std::time::Duration;

use chrono::TimeDelta;
use countersign_domain::reply::{Reply, ReplyState};
use countersign_runtime::clock::SharedClock;
use countersign_store::StoreError;
use tokio_util::sync::CancellationToken;

use super::{
    Inbox,
    orders::{OrderCalls, Told},
};
use crate::{
    bell::Bell, bounces::sns_callback::Amazon, failpoint, metrics::Metrics, poll::Poll,
    transport::Transports,
};

/// Replies that are worked on together.
const BATCH: u64 = 32;
/// Longest wait between two tries, in seconds.
const WAIT_MAX: u64 = 300;
/// How long a claimed reply belongs to its taker: longer than the call's own limit.
const LEASE: TimeDelta = TimeDelta::seconds(30);

/// What is to become of a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Settled {
    /// Done.
    Applied(String),
    /// Will never be done.
    Refused(String),
    /// To be tried again.
    Later(String),
}

/// What customers said waits as long as the order service does not take it, and nobody would know.
fn tell_operator(reply: &Reply, result: &str) {
    // The pauses double, too, so it is said a few times of each reply.
    if reply.attempts < 2 || !reply.attempts.is_power_of_two() {
        return;
    }
    let (reply, tries) = (reply.id, reply.attempts);
    match result {
        "Unauthenticated" | "PermissionDenied" => tracing::error!(
            %reply, tries, result,
            "notification.order_service_url refuses what customers said, and it waits: see [client], and the role WORKER"
        ),
        "Unavailable" | "Unknown" | "DeadlineExceeded" => tracing::warn!(
            %reply, tries, result,
            "notification.order_service_url does not answer, and what customers said waits"
        ),
        _ => tracing::debug!(%reply, tries, result, "a reply is tried again"),
    }
}

impl From<Told> for Settled {
    fn from(told: Told) -> Self {
        match told {
            Told::Done => Self::Applied("OK".to_owned()),
            Told::Never(why) => Self::Refused(why),
            Told::NotNow(why) => Self::Later(why),
        }
    }
}

/// Works through the inbox.
pub(crate) struct Forwarder {
    pub(crate) inbox: Inbox,
    /// Asked when a report must be confirmed.
    pub(crate) transports: Transports,
    /// Told that its topics are welcome.
    pub(crate) amazon: Amazon,
    pub(crate) clock: SharedClock,
    pub(crate) metrics: Metrics,
    pub(crate) calls: OrderCalls,
    pub(crate) poll: Poll,
    /// Told when the queue of deliveries may have changed.
    pub(crate) queue: Bell,
    pub(crate) link_key: countersign_domain::secrets::LinkKey,
}

impl Forwarder {
    /// Runs until the soft stage.
    pub(crate) async fn run(self, soft: CancellationToken) {
        while !soft.is_cancelled() {
            match self.round().await {
                Ok(0) => {}
                Ok(_) => continue,
                Err(error) => {
                    tracing::warn!(error = %error, "working through the inbox failed; it is tried again");
                }
            }
            tokio::select! {
                () = soft.cancelled() => {}
                () = self.inbox.arrived.notified() => {}
                () = tokio::time::sleep(self.poll.get()) => {}
            }
        }
    }

    async fn round(&self) -> Result<usize, StoreError> {
        let store = &self.inbox.store;
        let now = store.now().await?;
        let replies = store.claim_replies(now, LEASE, BATCH).await?;
        let count = replies.len();
        if count > 0 {
            failpoint::hit("reply_claimed");
        }
        let settled = replies.into_iter().map(|reply| self.settle(reply));
        for result in futures::future::join_all(settled).await {
            result?;
        }
        Ok(count)
    }

    async fn settle(&self, reply: Reply) -> Result<(), StoreError> {
        let store = &self.inbox.store;
        let settled = match self.act(&reply).await {
            Ok(settled) => settled,
            Err(error) => Settled::Later(error.to_string()),
        };
        failpoint::hit("reply_told");
        let written = match settled {
            Settled::Applied(result) => {
                store
                    .finish_reply(reply.id, ReplyState::Applied, &result)
                    .await
            }
            Settled::Refused(result) => {
                tracing::info!(reply = %reply.id, result, "a reply changes nothing");
                store
                    .finish_reply(reply.id, ReplyState::Refused, &result)
                    .await
            }
            Settled::Later(result) => {
                tell_operator(&reply, &result);
                let doubled = 1_u64 << reply.attempts.clamp(1, 9).saturating_sub(1);
                let wait =
                    Duration::from_secs(doubled.min(WAIT_MAX)).mul_f64(self.inbox.ids.jitter());
                let now = store.now().await?;
                store.retry_reply(reply.id, now + wait, &result).await
            }
        };
        failpoint::hit("reply_settled");
        written
    }
}
