//! Events for partners' systems: endpoints, what they are to be told, and how telling them went.

mod deliveries;
mod endpoints;
mod fan_out;
mod replays;
mod tries;

pub use deliveries::{WebhookDelivery, WebhookDeliveryKey};
pub use endpoints::{NewWebhookEndpoint, TooManyKeys, WebhookChange, WebhookEdit, WebhookEndpoint};
pub use replays::{REPLAY_MAX, ReplaySelection, Replayed, TestEvent};
pub use tries::{WebhookTries, WebhookTry};
