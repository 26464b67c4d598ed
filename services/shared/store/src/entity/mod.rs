//! The tables, as SeaORM sees them. They stay inside this crate: everybody else sees types of the domain.
#![expect(
    unreachable_pub,
    reason = "the derive wants them public; the tables are described in the migrations"
)]

pub mod access_refusals;
pub mod attempts;
pub mod audit_entries;
pub mod audit_rules;
pub mod chain_heads;
pub mod commits;
pub mod confirmations;
pub mod contacts;
pub mod customers;
pub mod deliveries;
pub mod delivery_notes;
pub mod erasures;
pub mod feedback;
pub mod feedback_lines;
pub mod feedback_tags;
pub mod gateways;
pub mod lives;
pub mod mailbox;
pub mod operator_acts;
pub mod opt_outs;
pub mod order_events;
pub mod order_lines;
pub mod order_links;
pub mod order_numbers;
pub mod order_policies;
pub mod orders;
pub mod outbox;
pub mod personal_data_keys;
pub mod prices;
pub mod products;
pub mod reference_versions;
pub mod replies;
pub mod requests;
pub mod safe_mode;
pub mod sending_counts;
pub mod sequences;
pub mod service_packs;
pub mod stock;
pub mod surveyed_customers;
pub mod surveys;
pub mod template_versions;
pub mod templates;
pub mod timers;
pub mod tracking_events;
pub mod turns;
pub mod webhook_deliveries;
pub mod webhook_endpoints;
