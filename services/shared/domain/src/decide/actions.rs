//! What may come next, and why what may not.

use std::fmt;

use super::Refusal;
use crate::{hold::HoldReason, order::OrderState};

use OrderState as S;

/// A command on an order; named like the RPC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    missing_docs,
    reason = "each is documented at its RPC in order_service.proto"
)]
pub enum Action {
    AuditOrder,
    ApproveOrder,
    RejectOrder,
    HoldOrder,
    ReleaseOrderHold,
    AssignOrder,
    PrioritizeOrder,
    AmendOrder,
    MergeOrders,
    CancelOrder,
    CreateConfirmation,
    AcceptConfirmation,
    RejectConfirmation,
    AllocateOrder,
    RecordOrderProgress,
}

const OPEN: &[OrderState] = &[
    S::UnderAudit,
    S::AwaitingConfirmation,
    S::Objected,
    S::Confirmed,
    S::Allocated,
    S::PartiallyAllocated,
    S::Backordered,
    S::Picking,
    S::Packed,
    S::Dispatched,
    S::Delivered,
];
const NOT_SHIPPED: &[OrderState] = &[
    S::UnderAudit,
    S::AwaitingConfirmation,
    S::Objected,
    S::Confirmed,
    S::Allocated,
    S::PartiallyAllocated,
    S::Backordered,
    S::Picking,
    S::Packed,
];
const AMENDABLE: &[OrderState] = &[
    S::UnderAudit,
    S::AwaitingConfirmation,
    S::Objected,
    S::Confirmed,
    S::Allocated,
    S::PartiallyAllocated,
    S::Backordered,
];
const MERGEABLE: &[OrderState] = &[
    S::UnderAudit,
    S::AwaitingConfirmation,
    S::Confirmed,
    S::Allocated,
    S::PartiallyAllocated,
    S::Backordered,
];
const MOVING: &[OrderState] = &[
    S::Confirmed,
    S::Allocated,
    S::PartiallyAllocated,
    S::Backordered,
    S::Picking,
    S::Packed,
    S::Dispatched,
];

impl Action {
    /// Every action, in the order of an order's life.
    pub const ALL: &'static [Self] = &[
        Self::AuditOrder,
        Self::ApproveOrder,
        Self::RejectOrder,
        Self::HoldOrder,
        Self::ReleaseOrderHold,
        Self::AssignOrder,
        Self::PrioritizeOrder,
        Self::AmendOrder,
        Self::MergeOrders,
        Self::CancelOrder,
        Self::CreateConfirmation,
        Self::AcceptConfirmation,
        Self::RejectConfirmation,
        Self::AllocateOrder,
        Self::RecordOrderProgress,
    ];

    /// States in which it may be asked for.
    pub const fn states(self) -> &'static [OrderState] {
        match self {
            Self::AuditOrder | Self::ApproveOrder => &[S::UnderAudit],
            Self::RejectOrder => &[S::UnderAudit, S::AwaitingConfirmation, S::Objected],
            Self::HoldOrder
            | Self::ReleaseOrderHold
            | Self::AssignOrder
            | Self::PrioritizeOrder => OPEN,
            Self::AmendOrder => AMENDABLE,
            Self::MergeOrders => MERGEABLE,
            Self::CancelOrder => NOT_SHIPPED,
            Self::CreateConfirmation => &[S::AwaitingConfirmation, S::Objected],
            Self::AcceptConfirmation | Self::RejectConfirmation => &[S::AwaitingConfirmation],
            Self::AllocateOrder => &[S::Confirmed, S::PartiallyAllocated, S::Backordered],
            Self::RecordOrderProgress => MOVING,
        }
    }

    /// Whether it moves the order on, so that a hold stops it. Calling off, refusing, changing and what looks after
    /// holds themselves stay possible: they are how a held order is put right.
    pub const fn moves(self) -> bool {
        matches!(
            self,
            Self::ApproveOrder
                | Self::MergeOrders
                | Self::CreateConfirmation
                | Self::AcceptConfirmation
                | Self::AllocateOrder
                | Self::RecordOrderProgress
        )
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Whether an action may come next, with the reason when it may not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowedAction {
    /// Which.
    pub action: Action,
    /// Why not; absent when it may.
    pub refusal: Option<String>,
}

/// Every action with the reason for what may not come next: it follows from the state and the holds alone.
pub fn allowed_actions(state: OrderState, holds: &[HoldReason]) -> Vec<AllowedAction> {
    Action::ALL
        .iter()
        .map(|&action| AllowedAction {
            action,
            refusal: if !action.states().contains(&state) {
                Some(format!("the order is {state}"))
            } else if action.moves() && !holds.is_empty() {
                Some(Refusal::Held(holds.to_vec()).to_string())
            } else {
                None
            },
        })
        .collect()
}
