//! A database that is put back to an earlier state: nothing leaves before staff have looked, and what the carriers have is
//! not sent again.

use std::time::Duration;

use chrono::TimeDelta;
use countersign_domain::{
    ids::{CommitId, DeliveryId},
    message::DeliveryState,
    order::Channel,
    safe_mode::SafeModeState,
};
use countersign_e2e::link_key;
use countersign_notification::{ReconcileDeps, ReconcileReport, reconcile};
use countersign_runtime::config::{Config, Sources};
use countersign_store::{ActCall, testing::TestDatabase};
use rand::{SeedableRng as _, rngs::StdRng};

use super::{
    history::ledger,
    stage::{Stage, Stop},
};

async fn ask(stage: &Stage, dry_run: bool) -> anyhow::Result<ReconcileReport> {
    let sources = Sources {
        environment: stage.environment(),
        ..Sources::default()
    };
    let config = Config::load(&sources)?;
    let deps = ReconcileDeps {
        config: &config,
        store: &stage.database.store,
        link_key: &link_key(),
        actor: "wang",
        reason: "restored from last night",
        dry_run,
        without: &[],
    };
    reconcile(&deps, &|_| ()).await
}

async fn switch_off(stage: &Stage) {
    let store = &stage.database.store;
    let now = store.now().await.unwrap();
    let id = CommitId::new_v7(now, &mut StdRng::from_os_rng()).as_uuid();
    let call = ActCall::own(id, "wang", "carriers were asked");
    let turned = store.turn_safe_mode(SafeModeState::Off, &call, now).await;
    assert!(turned.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l_05_a_restored_database_sends_nothing_until_the_carriers_were_asked() {
    for database in TestDatabase::all().await {
        let mut stage = Stage::on(database).await;
        stage.silence_minutes_max = 15;
        // A worker has lived and died before the backup.
        stage.order(false, true).await;
        let worker = stage.worker(None);
        stage.until_sent(2, Channel::Sms).await;
        worker.kill().await;
        // At the backup one order's messages stand in the outbox, and those of another by letter.
        stage.order(false, true).await;
        stage.order(true, false).await;
        stage.database.save().await;
        // After it they were sent, by a worker that starts at once.
        let worker = stage.worker(None);
        stage.until_sent(4, Channel::Sms).await;
        stage.until_sent(2, Channel::Email).await;
        worker.kill().await;
        let texts = ledger(&stage.gateways, Channel::Sms);
        let letters = ledger(&stage.gateways, Channel::Email);
        assert_eq!((texts.len(), letters.len()), (4, 2));

        stage.database.restore().await;
        assert!(ask(&stage, true).await.is_err(), "safe mode is off");
        stage.pass(TimeDelta::hours(1), None).await;
        let mut worker = stage.worker(None);
        let switch = stage.until_safe_mode().await;
        assert!(switch.reason.contains("60 minutes"), "{}", switch.reason);
        assert_eq!(switch.changed_by, "system");
        // The messages are made, and wait.
        stage.until_dispatched().await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(ledger(&stage.gateways, Channel::Sms), texts);
        assert_eq!(ledger(&stage.gateways, Channel::Email), letters);

        let asked = ask(&stage, true).await.unwrap();
        assert_eq!(asked[&Channel::Sms].sent, 2);
        let settled = ask(&stage, false).await.unwrap();
        assert_eq!(settled, asked);
        assert_eq!(settled[&Channel::Email].nobody_to_ask, 2);
        let again = ask(&stage, false).await.unwrap();
        assert_eq!(again.get(&Channel::Sms).map_or(0, |it| it.sent), 0, "once");
        for (id, state) in stage.texts().await {
            let known = texts.contains(&id.to_string());
            assert_eq!(state == DeliveryState::Sent, known, "{id} {state}");
        }

        switch_off(&stage).await;
        assert_eq!(
            stage.watch(&mut worker).await,
            Stop::Done,
            "{}",
            stage.log()
        );
        assert!(worker.ended().await, "{}", stage.log());
        assert_eq!(
            ledger(&stage.gateways, Channel::Sms),
            texts,
            "no text twice"
        );
        // A relay cannot be asked: the same letters again, under the ids that they had.
        let mut again = ledger(&stage.gateways, Channel::Email).split_off(2);
        again.sort();
        let mut letters = letters;
        letters.sort();
        assert_eq!(again, letters);
    }
}

impl Stage {
    async fn until_sent(&self, count: usize, channel: Channel) {
        self.until(&format!("{count} by {channel}"), || async {
            ledger(&self.gateways, channel).len() >= count
        })
        .await;
        // What the carrier has is on record, too.
        self.until("the results are written", || async {
            let sql = "SELECT COUNT(*) AS n FROM deliveries WHERE state = 'LEASED'";
            self.database.number(sql).await == 0
        })
        .await;
    }

    async fn until_dispatched(&self) {
        self.until("the outbox is empty", || async {
            self.database
                .number("SELECT COUNT(*) AS n FROM outbox")
                .await
                == 0
        })
        .await;
    }

    async fn until_safe_mode(&self) -> countersign_store::SafeMode {
        self.until("safe mode", || async {
            let switch = self.database.store.find_safe_mode().await.unwrap();
            switch.is_some_and(|it| it.state == SafeModeState::On)
        })
        .await;
        self.database.store.find_safe_mode().await.unwrap().unwrap()
    }

    async fn texts(&self) -> Vec<(DeliveryId, DeliveryState)> {
        let all = self.deliveries().await;
        let texts = all.iter().map(|it| &it.delivery);
        texts
            .filter(|it| it.channel == Channel::Sms)
            .map(|it| (it.id, it.state))
            .collect()
    }

    async fn until<F: Future<Output = bool>>(&self, what: &str, holds: impl Fn() -> F) {
        let began = std::time::Instant::now();
        while !holds().await {
            assert!(
                began.elapsed() < super::stage::PATIENCE,
                "{what}: not in time\n{}",
                self.log()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}
