//! The database, seen as types of the domain: the only crate that knows SeaORM.
//!
//! A repository here loads what a decision needs and writes what it came to, each in one transaction of its own. Every
//! write is conditional; whoever comes second reads again and decides again. Works on MySQL, MariaDB and SQLite.
#![warn(missing_docs)]

mod access_refusals;
mod anchors;
mod attempt_results;
mod attempts;
mod bulk;
mod catalog;
mod chain;
mod chain_walk;
mod changes;
mod claims;
mod confirmations;
mod connection;
mod customers;
mod data_keys;
mod dead_letters;
mod deadline;
mod deliveries;
mod delivery_news;
mod delivery_rows;
mod documents;
mod entity;
mod erasures;
mod error;
mod events;
mod feedback;
mod feedback_list;
mod feedback_summary;
#[cfg(feature = "testing")]
pub mod fuzz;
mod gates;
mod gateways;
mod intake;
mod joined;
mod key_proofs;
mod leases;
mod links;
mod lives;
mod mailbox;
mod members;
mod messages;
mod migration_lock;
mod numbers;
mod operator_acts;
mod opt_outs;
mod order_list;
mod order_rows;
mod orders;
mod outbox;
mod overview;
mod policies;
mod puts;
mod queue_yardstick;
mod reconciliations;
mod rekey;
mod replies;
mod requests;
mod requeues;
mod resolutions;
mod retention;
mod rows;
mod safe_mode;
mod sealed;
mod send_checks;
mod sending_counts;
mod sequence;
mod stock;
mod surveys;
mod taken_ids;
mod template_versions;
#[cfg(feature = "testing")]
#[expect(
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "tests stop at the first thing that does not work"
)]
pub mod testing;
mod timers;
mod tracking;
mod transaction;
mod turns;
mod unreachable;
mod unreadable;
mod webhooks;
mod yardstick;

pub use access_refusals::AccessRefusal;
pub use anchors::AnchorClaim;
pub use attempt_results::{Finish, NextStep, Refused, Verdict, Why};
pub use attempts::{AttemptRecord, Start, StartOutcome};
pub use catalog::{Page, PriceKey, Put};
pub use chain_walk::ChainProgress;
pub use changes::{SaveExtras, Saved};
pub use connection::{DatabaseKind, Probe, Settings, Store};
pub use data_keys::{DATA_KEY_BYTES, DataKeys};
pub use dead_letters::{DeadLetter, DeadLetterKey, DeadLetterQuery};
pub use deliveries::Claimed;
pub use delivery_news::News;
pub use erasures::{Erasure, ErasureBegun, ErasureReport, NewErasure, Obstacles, TableReport};
pub use error::StoreError;
pub use events::{EventPage, Position, PositionedEvent};
pub use feedback_list::{FeedbackField, FeedbackFilter, FeedbackKey, FeedbackQuery};
pub use feedback_summary::{AskedCount, FeedbackGrouping, StarsCount};
pub use gateways::{GatewayRecord, SYSTEM};
pub use intake::{IntakeFailure, IntakeRow, ORDERS_AT_A_STRETCH};
pub use leases::Recovered;
pub use links::FIRST_GENERATION;
pub use lives::{Beat, Life, Look, Wake};
pub use mailbox::{MailboxContent, MailboxItem, MailboxKey};
pub use messages::MessageSummary;
pub use migration_lock::MigrationLock;
pub use operator_acts::{ActCall, ActRecord, Acted};
pub use opt_outs::OptOut;
pub use order_list::{
    Comparison, Filter, ListKey, ListOrder, ListQuery, Operand, OrderField, OrderFilter,
};
pub use orders::LikeOrder;
pub use outbox::{DispatchFacts, Dispatched, OutboxRow, Planned};
pub use overview::Overview;
pub use policies::{ReferenceKind, ReferenceVersions};
pub use puts::{PutOptions, StockChange};
pub use queue_yardstick::QueueRows;
pub use reconciliations::{Finding, UnfinishedCount, UnfinishedKey};
pub use rekey::{RekeyProgress, Rekeyed, SealedCount};
pub use requests::{RequestRecord, StoredRequest};
pub use requeues::{BulkRequeued, FreshIds};
pub use resolutions::Resolution;
pub use retention::{ClosedOrders, Purged};
pub use safe_mode::SafeMode;
pub use sequence::ChainHead;
pub use taken_ids::IfTaken;
pub use template_versions::{TemplateKey, TemplateRecord, TemplateVersion};
pub use tracking::Contact as RecordedContact;
pub use transaction::wait_to_run_again;
pub use webhooks::{
    NewWebhookEndpoint, REPLAY_MAX, ReplaySelection, Replayed, TestEvent, TooManyKeys,
    WebhookChange, WebhookDelivery, WebhookDeliveryKey, WebhookEdit, WebhookEndpoint, WebhookTries,
    WebhookTry,
};
