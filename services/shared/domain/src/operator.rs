//! What staff may do about messages that were given up (RELIABILITY 3.9).

use crate::{
    code::codes,
    message::{Delivery, DeliveryState},
};

/// A bulk of more than so many needs a second person.
pub const ALONE_MAX: u32 = 100;
/// The most that one bulk takes.
pub const BULK_MAX: u32 = 500;
/// Milliseconds between two messages of a bulk through the same gateway: ten a second.
pub const BULK_SPACING_MS: i64 = 100;

codes! {
    /// What a member of staff did.
    pub enum ActKind {
        /// Had a message sent once more.
        Requeue = "REQUEUE",
        /// Had many messages sent once more.
        RequeueMany = "REQUEUE_MANY",
        /// Found that a message in doubt was sent.
        ResolveSent = "RESOLVE_SENT",
        /// Found that a message in doubt was not sent.
        ResolveNotSent = "RESOLVE_NOT_SENT",
        /// Stopped the use of a gateway.
        HoldGateway = "HOLD_GATEWAY",
        /// Let a gateway be used again.
        ReleaseGateway = "RELEASE_GATEWAY",
        /// Allowed a channel to a recipient.
        AllowContact = "ALLOW_CONTACT",
        /// Forbade a channel to a recipient.
        DenyContact = "DENY_CONTACT",
        /// Had a partner told of orders from now on.
        CreateWebhook = "CREATE_WEBHOOK",
        /// Changed where or of what a partner is told, or whether at all.
        UpdateWebhook = "UPDATE_WEBHOOK",
        /// Had a partner told no more.
        DeleteWebhook = "DELETE_WEBHOOK",
        /// Made a new key for a partner's endpoint.
        RotateWebhook = "ROTATE_WEBHOOK",
        /// Had a partner told again of what had happened.
        ReplayWebhook = "REPLAY_WEBHOOK",
        /// Sent a partner a trial event.
        TestWebhook = "TEST_WEBHOOK",
        /// Had nothing sent any more, by any channel.
        EnterSafeMode = "ENTER_SAFE_MODE",
        /// Had messages sent again.
        LeaveSafeMode = "LEAVE_SAFE_MODE",
        /// Found a message at its carrier, after a restore.
        Reconcile = "RECONCILE",
        /// Wrote a version of a message's words.
        CreateTemplate = "CREATE_TEMPLATE",
        /// Had messages written with a version from then on.
        ActivateTemplate = "ACTIVATE_TEMPLATE",
        /// Had messages written with the words of the program or the folder again.
        DeactivateTemplate = "DEACTIVATE_TEMPLATE",
    }
}

codes! {
    /// What came of an act.
    pub enum ActOutcome {
        /// It was done.
        Done = "DONE",
        /// Somebody had done it before; nothing was changed.
        Already = "ALREADY",
    }
}

codes! {
    /// Why a message is not sent once more.
    pub enum RequeueRefusal {
        /// It is on its way, or it was sent.
        NotDead = "NOT_DEAD",
        /// Perhaps it was sent: somebody must say first whether it was.
        InDoubt = "IN_DOUBT",
        /// The customer gave no address for the channel.
        NoAddress = "NO_ADDRESS",
        /// The recipient does not want to be written to.
        OptedOut = "OPTED_OUT",
        /// The order is called off or rejected.
        OrderEnded = "ORDER_ENDED",
        /// The order has a newer revision.
        NewerRevision = "NEWER_REVISION",
        /// The round of confirmation that it asks for is over.
        RoundOver = "ROUND_OVER",
        /// There is no such order any more.
        OrderGone = "ORDER_GONE",
        /// A newer version of the program wrote it.
        Unreadable = "UNREADABLE",
    }
}

codes! {
    /// Why other words are not put in force.
    pub enum TemplateRefusal {
        /// Somebody else changed it since the caller looked.
        ActiveChanged = "ACTIVE_CHANGED",
    }
}

impl RequeueRefusal {
    /// For people: what stands in the way.
    pub const fn words(self) -> &'static str {
        match self {
            Self::NotDead => "only a message that is DEAD or FAILED can be requeued",
            Self::InDoubt => "the message may have been sent: resolve it first as sent or not sent",
            Self::NoAddress => "the order has no address for this channel",
            Self::OptedOut => {
                "the recipient does not want to be written to by this channel, or the address has bounced for good \
                 (SetContactPreferences lifts it)"
            }
            Self::OrderEnded => "the order is called off or rejected",
            Self::NewerRevision => {
                "the order has a newer revision; the message is about an older one"
            }
            Self::RoundOver => "the round of confirmation that the message asks for is over",
            Self::OrderGone => "the order of the message is not there",
            Self::Unreadable => "this version of the program does not know this kind of message",
        }
    }
}

/// Whether a message may be sent once more: `in_the_way` is what the order and the recipient have against it.
pub fn may_requeue(
    delivery: &Delivery,
    in_the_way: Option<RequeueRefusal>,
) -> Result<(), RequeueRefusal> {
    match delivery.state {
        DeliveryState::InDoubt => return Err(RequeueRefusal::InDoubt),
        DeliveryState::Dead | DeliveryState::Failed => {}
        _ => return Err(RequeueRefusal::NotDead),
    }
    if delivery.recipient.reveal().is_empty() {
        return Err(RequeueRefusal::NoAddress);
    }
    in_the_way.map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use uuid::Uuid;

    use super::*;
    use crate::{
        event::{MessageDetails, MessageKind},
        ids::{DeliveryId, OrderId},
        message::Recipient,
        order::Channel,
    };

    fn delivery(state: DeliveryState, recipient: &str) -> Delivery {
        Delivery {
            id: DeliveryId::from_uuid(Uuid::from_u128(1)),
            order_id: OrderId::from_uuid(Uuid::from_u128(2)),
            seq: 1,
            kind: MessageKind::Acknowledgement,
            revision: 1,
            round: 0,
            channel: Channel::Email,
            step: 1,
            generation: 1,
            recipient: Recipient::new(recipient),
            recipient_hash: [0; 32],
            state,
            due_time: DateTime::UNIX_EPOCH,
            attempts: 0,
            provider_id: None,
            last_error: String::new(),
            template_version: None,
            details: MessageDetails::default(),
            create_time: DateTime::UNIX_EPOCH,
            finish_time: None,
        }
    }

    #[test]
    fn codes_are_pinned() {
        let words: Vec<&str> = ActKind::ALL.iter().map(|it| it.as_str()).collect();
        assert_eq!(
            words.join(" "),
            "REQUEUE REQUEUE_MANY RESOLVE_SENT RESOLVE_NOT_SENT HOLD_GATEWAY RELEASE_GATEWAY ALLOW_CONTACT DENY_CONTACT \
             CREATE_WEBHOOK UPDATE_WEBHOOK DELETE_WEBHOOK ROTATE_WEBHOOK REPLAY_WEBHOOK TEST_WEBHOOK \
             ENTER_SAFE_MODE LEAVE_SAFE_MODE RECONCILE CREATE_TEMPLATE ACTIVATE_TEMPLATE \
             DEACTIVATE_TEMPLATE"
        );
        let words: Vec<&str> = ActOutcome::ALL.iter().map(|it| it.as_str()).collect();
        assert_eq!(words.join(" "), "DONE ALREADY");
    }

    #[test]
    fn only_what_was_given_up_is_sent_once_more() {
        for &state in DeliveryState::ALL {
            let wanted = match state {
                DeliveryState::Dead | DeliveryState::Failed => Ok(()),
                DeliveryState::InDoubt => Err(RequeueRefusal::InDoubt),
                _ => Err(RequeueRefusal::NotDead),
            };
            assert_eq!(may_requeue(&delivery(state, "a@example.com"), None), wanted);
        }
    }

    #[test]
    fn what_stands_in_the_way_is_named() {
        let dead = delivery(DeliveryState::Dead, "a@example.com");
        for &reason in RequeueRefusal::ALL {
            assert_eq!(may_requeue(&dead, Some(reason)), Err(reason));
        }
        let nowhere = delivery(DeliveryState::Failed, "");
        assert_eq!(may_requeue(&nowhere, None), Err(RequeueRefusal::NoAddress));
    }
}
