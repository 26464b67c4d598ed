//! What goes on beside the sending: results are written, leases kept, the dead followed.

use std::{sync::Arc, time::Duration};

use chrono::TimeDelta;
use countersign_domain::ids::DeliveryId;
use countersign_store::Finish;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::Courier;

/// Results of one transaction.
const BATCH: usize = 256;
/// Between two searches for workers that died; with the lease this bounds how long a message lies (RELIABILITY 3.3).
const RECOVERY: Duration = Duration::from_secs(5);
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
        if let Err(error) = written.await {
            // Kept and tried again while the leases are; after a crash the tries are in doubt.
            tracing::warn!(error = %error, results = batch.len(), "writing results failed; it is tried again");
            tokio::time::sleep(PAUSE).await;
            retry(&courier, &batch).await;
        }
        let mut held = courier.held_now();
        for finish in batch.drain(..) {
            if held.get(&finish.delivery) == Some(&finish.token) {
                held.remove(&finish.delivery);
            }
        }
        drop(held);
        courier.queue.notify_one();
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
                Ok(_) => break,
                Err(error) if error.is_retryable() || error.is_connection_lost() => {
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
    loop {
        let recovered = async {
            let now = courier.store.now().await?;
            let recovered = courier.store.recover_deliveries(now, 500).await?;
            let oldest = courier.store.oldest_due_time(now).await?;
            let age = oldest.map_or(0.0, |due| (now - due).as_seconds_f64());
            courier.metrics.oldest_due_age(age);
            Ok::<usize, countersign_store::StoreError>(recovered)
        };
        match recovered.await {
            Ok(0) => {}
            Ok(recovered) => {
                tracing::warn!(recovered, "a worker died; its messages are due again");
                courier.queue.notify_one();
            }
            Err(error) => tracing::warn!(error = %error, "looking for lost messages failed"),
        }
        tokio::select! {
            () = soft.cancelled() => return,
            () = tokio::time::sleep(RECOVERY) => {}
        }
    }
}
