//! What partners are told, on every database.
#![cfg(test)]

use std::{collections::BTreeSet, sync::Mutex};

use chrono::{DateTime, Duration, Utc};
use countersign_domain::{
    ids::{CommitId, WebhookDeliveryId, WebhookEndpointId},
    webhook::{WebhookDeliveryState, WebhookFailure, WebhookOutcome},
};
use countersign_store::{
    ActCall, Acted, DatabaseKind, NewWebhookEndpoint, Store, WebhookEndpoint, WebhookTry,
    testing::{TestDatabase, shop::Shop},
};
use rand::{SeedableRng, rngs::StdRng};
use uuid::Uuid;

const MAIL: Option<&str> = Some("canary@example.com");

struct Stage {
    database: TestDatabase,
    shop: Shop,
    rng: Mutex<StdRng>,
}

impl Stage {
    async fn all() -> Vec<Self> {
        let databases = TestDatabase::all().await;
        databases
            .into_iter()
            .map(|database| Self {
                shop: Shop::new(database.store.clone()),
                database,
                rng: Mutex::new(StdRng::seed_from_u64(5)),
            })
            .collect()
    }

    const fn store(&self) -> &Store {
        &self.database.store
    }

    async fn now(&self) -> DateTime<Utc> {
        self.store().now().await.unwrap()
    }

    fn id(&self, now: DateTime<Utc>) -> Uuid {
        CommitId::new_v7(now, &mut *self.rng.lock().unwrap()).as_uuid()
    }

    async fn endpoint(&self, request: u8) -> WebhookEndpoint {
        let now = self.now().await;
        let new = NewWebhookEndpoint {
            id: WebhookEndpointId::from_uuid(self.id(now)),
            url: "https://partner.example/hooks".to_owned(),
            description: String::new(),
            event_types: Vec::new(),
        };
        let call = ActCall {
            id: self.id(now),
            request_hash: [request; 32],
            fingerprint: [1; 32],
            actor: "wang".to_owned(),
            approver: String::new(),
            reason: "they want to know".to_owned(),
        };
        let made = self.store().create_webhook_endpoint(&new, &call, now).await;
        match made.unwrap() {
            Acted::Answered(made, _) => made,
            other => panic!("{other:?}"),
        }
    }

    async fn fan_out(&self) -> usize {
        let now = self.now().await;
        let id = || WebhookDeliveryId::from_uuid(self.id(now));
        self.store().fan_out_webhooks(100, now, id).await.unwrap()
    }

    async fn claim(
        &self,
        endpoint: WebhookEndpointId,
        token: u128,
        limit: u64,
    ) -> Vec<WebhookDeliveryId> {
        let now = self.now().await;
        let token = Uuid::from_u128(token);
        let lease = Duration::seconds(30);
        self.store()
            .claim_webhook_deliveries(endpoint, token, now, lease, limit)
            .await
            .unwrap()
            .iter()
            .map(|it| it.id)
            .collect()
    }

    async fn finish(
        &self,
        endpoint: WebhookEndpointId,
        token: u128,
        deliveries: &[WebhookDeliveryId],
        outcome: WebhookOutcome,
    ) -> usize {
        let now = self.now().await;
        let tries: Vec<WebhookTry> = deliveries
            .iter()
            .map(|delivery| WebhookTry {
                delivery: *delivery,
                outcome,
                http_status: None,
                jitter: 1.0,
            })
            .collect();
        let token = Uuid::from_u128(token);
        let done = self
            .store()
            .finish_webhook_tries(endpoint, token, &tries, now)
            .await
            .unwrap();
        done.delivered
    }

    async fn count(&self, endpoint: WebhookEndpointId, state: WebhookDeliveryState) -> usize {
        let page = self
            .store()
            .list_webhook_deliveries(endpoint, &[state], None, 500)
            .await;
        page.unwrap().items.len()
    }
}

#[tokio::test]
async fn each_event_goes_to_each_endpoint_once_however_many_workers_look() {
    for mut stage in Stage::all().await {
        stage.shop.order(MAIL, None).await;
        assert_eq!(stage.fan_out().await, 0, "nobody wants to know");
        let first = stage.endpoint(1).await;
        assert_eq!(stage.endpoint(1).await.id, first.id, "the same call");
        stage.shop.order(MAIL, None).await;
        let (one, two, three) = tokio::join!(stage.fan_out(), stage.fan_out(), stage.fan_out());
        let looked_at = one + two + three + stage.fan_out().await;
        let second = stage.endpoint(2).await;
        stage.shop.order(MAIL, None).await;
        let later = stage.fan_out().await;
        assert!(looked_at > 0 && later > 0);
        let pending = WebhookDeliveryState::Pending;
        assert_eq!(stage.count(first.id, pending).await, looked_at + later);
        assert_eq!(stage.count(second.id, pending).await, later);
        assert_eq!(stage.fan_out().await, 0);
    }
}

#[tokio::test]
async fn two_claims_share_nothing_and_a_lost_lease_writes_nothing() {
    for mut stage in Stage::all().await {
        let endpoint = stage.endpoint(1).await.id;
        for _ in 0..10 {
            stage.shop.order(MAIL, None).await;
        }
        while stage.fan_out().await > 0 {}
        let all = stage.count(endpoint, WebhookDeliveryState::Pending).await;
        let (one, two) = tokio::join!(stage.claim(endpoint, 1, 5), stage.claim(endpoint, 2, 5));
        let together: BTreeSet<_> = one.iter().chain(&two).collect();
        assert_eq!((one.len(), together.len()), (5, 10));

        // The first one sleeps through its lease; somebody else tells them.
        stage.store().shift_clock(Duration::seconds(31));
        let again = stage.claim(endpoint, 3, 5).await;
        assert!(again.iter().all(|it| together.contains(it)), "oldest first");
        let done = WebhookOutcome::Delivered;
        assert_eq!(stage.finish(endpoint, 1, &again, done).await, 0);
        assert_eq!(stage.finish(endpoint, 3, &again, done).await, 5);
        assert_eq!(stage.finish(endpoint, 3, &again, done).await, 0);
        let delivered = stage.count(endpoint, WebhookDeliveryState::Delivered).await;
        let pending = stage.count(endpoint, WebhookDeliveryState::Pending).await;
        assert_eq!((delivered, pending), (5, all - 5));
    }
}

#[tokio::test]
async fn an_endpoint_that_fails_is_left_alone_and_after_five_days_disabled() {
    for mut stage in Stage::all().await {
        let endpoint = stage.endpoint(1).await.id;
        stage.shop.order(MAIL, None).await;
        stage.fan_out().await;
        let refused = WebhookOutcome::Failed {
            failure: WebhookFailure::Refused,
            retry_after: None,
        };
        let mut token = 10;
        for hour in 0..=121 {
            let now = stage.now().await;
            if hour % 30 == 0 {
                stage.shop.order(MAIL, None).await;
                stage.fan_out().await;
            }
            let due = stage.store().due_webhook_endpoints(now).await.unwrap();
            if !due.is_empty() {
                token += 1;
                let claimed = stage.claim(endpoint, token, 500).await;
                stage.finish(endpoint, token, &claimed, refused).await;
                let due = stage.store().due_webhook_endpoints(now).await.unwrap();
                assert!(due.is_empty(), "it is left alone");
            }
            stage.store().shift_clock(Duration::hours(1));
        }
        let found = stage.store().find_webhook_endpoint(endpoint).await;
        let found = found.unwrap().unwrap();
        assert_eq!(found.state.as_str(), "DISABLED");
        assert_eq!(found.disabled_reason.unwrap().as_str(), "FAILING");
        let now = stage.now().await;
        let due = stage.store().due_webhook_endpoints(now).await.unwrap();
        assert!(due.is_empty());
    }
}

#[tokio::test]
async fn b_07_a_claim_of_webhooks_is_answered_by_its_index_without_a_sort() {
    for stage in Stage::all().await {
        if stage.store().kind() == DatabaseKind::Sqlite {
            continue;
        }
        let endpoint = stage.endpoint(1).await.id;
        let plan = stage.store().explain_webhook_claim(endpoint).await.unwrap();
        assert!(plan.contains("ix_webhook_deliveries_due"), "{plan}");
        assert!(!plan.contains("filesort"), "{plan}");
    }
}
