//! What goes on beside the sending: results are written, leases kept, the dead followed.

use std::{sync::Arc, time::Duration};

use chrono::TimeDelta;
use countersign_domain::{ids::DeliveryId, message::every_account, order::Channel};
use countersign_store::{Finish, GatewayRecord, Recovered, Refused, StoreError, Why};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::Courier;
use crate::failpoint;

/// Results of one transaction.
const BATCH: usize = 256;
/// Between two searches for workers that died; with the lease this bounds how long a message lies (RELIABILITY 3.3).
const RECOVERY: Duration = Duration::from_secs(5);
/// Of so many searches one also looks for messages that nobody can read.
const BURIAL: u64 = 12;
/// Between two looks at which accounts are held.
const GATEWAYS: Duration = Duration::from_secs(2);
/// Left of the grace when what is unanswered is put on record as in doubt.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// Before a result is written again that the database did not take.
const PAUSE: Duration = Duration::from_millis(500);

/// Writes results as they come, all that are waiting in one transaction. Ends when the last sender is gone.
pub(super) async fn write_results(courier: Arc<Courier>, mut waiting: mpsc::Receiver<Finish>) {
    let mut batch = Vec::with_capacity(BATCH);
    while waiting.recv_many(&mut batch, BATCH).await > 0 {
        let written = async {
            let now = courier.store.now().await?;
            courier.store.finish_attempts(&batch, now).await
        };
        let written = written.await;
        failpoint::hit("recorded");
        match written {
            Ok(refused) => tell_taken(&courier, &batch, &refused),
            // Kept and tried again while the leases are; after a crash the tries are in doubt.
            Err(error) => {
                tracing::warn!(error = %error, results = batch.len(), "writing results failed; it is tried again");
                tokio::time::sleep(PAUSE).await;
                retry(&courier, &batch).await;
            }
        }
        let mut held = courier.held_now();
        for finish in batch.drain(..) {
            if held.get(&finish.delivery) == Some(&finish.token) {
                held.remove(&finish.delivery);
            }
        }
        drop(held);
        courier.queue.ring();
    }
}

/// A gateway that gives one id to two messages mixes customers up: somebody has to ask it why (RELIABILITY, D-21).
fn tell_taken(courier: &Courier, batch: &[Finish], refused: &[Refused]) {
    for it in refused.iter().filter(|it| it.why == Why::IdTaken) {
        let finish = batch.iter().find(|finish| finish.delivery == it.delivery);
        if let Some(taken) = finish.and_then(|finish| finish.if_taken.as_ref()) {
            let gateway = taken.gateway.as_str();
            let outcome = taken.outcome.as_str();
            tracing::error!(delivery = %it.delivery, gateway, outcome, "the gateway gave one id to two messages; the second does not keep it");
            courier.metrics.id_taken(taken.channel.as_str(), outcome);
        }
    }
}

/// One by one, so that one result that cannot be written keeps no other from being.
async fn retry(courier: &Courier, batch: &[Finish]) {
    for finish in batch {
        loop {
            let written = async {
                let now = courier.store.now().await?;
                courier
                    .store
                    .finish_attempts(std::slice::from_ref(finish), now)
                    .await
            };
            match written.await {
                Ok(refused) => {
                    tell_taken(courier, std::slice::from_ref(finish), &refused);
                    break;
                }
                Err(error)
                    if error.is_retryable() || error.is_connection_lost() || error.is_full() =>
                {
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error) => {
                    tracing::error!(error = %error, delivery = %finish.delivery, "a result cannot be written; the try will be in doubt");
                    break;
                }
            }
        }
    }
}

/// Prolongs the leases of what this process has, until it has nothing left.
pub(super) async fn keep_leases(courier: Arc<Courier>, soft: CancellationToken) {
    let lease = TimeDelta::from_std(courier.lease).unwrap_or(TimeDelta::seconds(30));
    loop {
        if soft.is_cancelled() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        } else {
            tokio::select! {
                () = soft.cancelled() => {}
                () = tokio::time::sleep(courier.lease / 3) => {}
            }
        }
        let held: Vec<(DeliveryId, Uuid)> = courier
            .held_now()
            .iter()
            .map(|(delivery, token)| (*delivery, *token))
            .collect();
        if held.is_empty() {
            if soft.is_cancelled() {
                return;
            }
            continue;
        }
        let kept = async {
            let now = courier.store.now().await?;
            courier.store.extend_leases(&held, now + lease).await
        };
        match kept.await {
            Ok(kept) if kept < held.len() as u64 => {
                tracing::debug!(kept, held = held.len(), "some leases had ended");
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(error = %error, "prolonging leases failed"),
        }
    }
}

/// Makes due again what nobody has been heard of for, and tells how far behind the queue is.
pub(super) async fn recover(courier: Arc<Courier>, soft: CancellationToken) {
    for rounds in 0_u64.. {
        let recovered = async {
            let now = courier.store.now().await?;
            // First, for it must be known in particular when something of the rest fails again and again.
            for channel in Channel::ALL {
                let oldest = courier.store.oldest_due_time(*channel, now).await?;
                let age = oldest.map_or(0.0, |due| (now - due).as_seconds_f64());
                courier.metrics.oldest_due_age(channel.as_str(), age);
            }
            let waits = courier.store.oldest_answer_time().await?;
            let age = waits.map_or(0.0, |since| (now - since).as_seconds_f64());
            courier.metrics.oldest_answer_age(age);
            let recovered = courier.store.recover_deliveries(now, 500).await?;
            if rounds % BURIAL == 0 {
                let buried = courier.store.bury_unreadable_messages(now).await?;
                courier.metrics.dead_letters("UNREADABLE", buried as u64);
                courier.store.purge_sending_counts(now).await?;
            }
            Ok::<Recovered, StoreError>(recovered)
        };
        match recovered.await {
            Ok(Recovered {
                due: 0,
                poisoned: 0,
            }) => {}
            Ok(Recovered { due, poisoned }) => {
                failpoint::hit("recovered");
                tracing::warn!(due, "a worker died; its messages are due again");
                if poisoned > 0 {
                    tracing::error!(
                        poisoned,
                        "messages were given up that lost three workers each"
                    );
                    courier.metrics.dead_letters("POISON", poisoned as u64);
                }
                courier.queue.ring();
            }
            Err(error) => tracing::warn!(error = %error, "looking for lost messages failed"),
        }
        tokio::select! {
            () = soft.cancelled() => return,
            () = tokio::time::sleep(RECOVERY) => {}
        }
    }
}

/// Makes the accounts known, and does with them what all replicas have agreed on.
pub(super) async fn watch_gateways(courier: Arc<Courier>, soft: CancellationToken) {
    let accounts = courier.transports.accounts();
    let mut registered = false;
    loop {
        let followed = async {
            let now = courier.store.now().await?;
            if !registered {
                let every = Channel::ALL.iter().map(|it| (every_account(*it), *it));
                let names: Vec<(String, Channel)> = accounts
                    .iter()
                    .map(|account| (account.name.clone(), account.channel))
                    .chain(every)
                    .collect();
                courier.store.register_gateways(&names, now).await?;
                registered = true;
            }
            let records = courier.store.list_gateways().await?;
            for account in accounts {
                let every = every_account(account.channel);
                let stopped = |it: &&GatewayRecord| it.name == every && it.is_held_at(now);
                let own = |it: &&GatewayRecord| it.name == account.name;
                let record = records
                    .iter()
                    .find(stopped)
                    .or_else(|| records.iter().find(own));
                if let Some(record) = record {
                    account.follow(record, now);
                }
            }
            Ok::<(), StoreError>(())
        };
        if let Err(error) = followed.await {
            tracing::warn!(error = %error, "looking which gateways are held failed");
        }
        for account in accounts {
            courier.metrics.breaker(&account.name, account.level());
        }
        tokio::select! {
            () = soft.cancelled() => return,
            () = tokio::time::sleep(GATEWAYS) => {}
        }
    }
}

/// At the end: what is under way gets the grace, but for the moment that putting the rest on record takes.
pub(super) async fn drain(courier: Arc<Courier>, soft: CancellationToken) {
    soft.cancelled().await;
    let patience = courier.grace.saturating_sub(LAST_WORDS);
    let idle = async {
        while !courier.held_now().is_empty() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    if tokio::time::timeout(patience, idle).await.is_err() {
        let unanswered = courier.held_now().len();
        tracing::warn!(
            unanswered,
            "the time is over; what is unanswered is in doubt"
        );
        courier.cut.cancel();
    }
}
