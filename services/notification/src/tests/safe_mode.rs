//! A worker that runs while its database is put back to an earlier state, and staff who stop all sending.

use std::time::Duration;

use countersign_domain::{
    ids::CommitId, message::DeliveryState, order::Channel, safe_mode::SafeModeState,
};
use countersign_runtime::config::Config;
use countersign_store::{ActCall, Store, testing::TestDatabase};
use rand::{SeedableRng as _, rngs::StdRng};

use super::{PHONE, SECRET, Stage, eventually, with_gateway};
use crate::{ReconcileDeps, reconcile, testkit::GatewayStub};

async fn turn(store: &Store, state: SafeModeState) {
    let now = store.now().await.unwrap();
    let id = CommitId::new_v7(now, &mut StdRng::from_os_rng()).as_uuid();
    let call = ActCall::own(id, "wang", "as asked");
    assert!(store.turn_safe_mode(state, &call, now).await.unwrap());
}

#[tokio::test]
async fn l_05_a_running_worker_notices_that_its_database_went_back_and_sends_nothing_twice() {
    use DeliveryState::{Ready, Sent};
    for database in TestDatabase::all().await {
        let gateway = GatewayStub::start_forgetful(SECRET).await;
        let mut stage = Stage::on(database, |config| with_gateway(config, &gateway)).await;
        let store = stage.store().clone();
        let waiting = [
            (1, Channel::Sms, Ready),
            (2, Channel::Sms, DeliveryState::Waiting),
            (2, Channel::Phone, DeliveryState::Waiting),
        ];
        // What staff stop waits, and is taken in all the same.
        turn(&store, SafeModeState::On).await;
        let order = stage.shop.order(None, PHONE).await;
        stage.until_states(order.id, &waiting).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(gateway.accepted().len(), 0);
        // The backup: safe mode is off in it, and the texts are not sent.
        stage.database.save().await;
        let off = "UPDATE saved_safe_mode SET state = 'OFF'";
        stage.database.execute(off).await;
        turn(&store, SafeModeState::Off).await;
        let sent = [
            (1, Channel::Sms, Sent),
            (2, Channel::Sms, Sent),
            (2, Channel::Phone, Ready),
        ];
        stage.until_states(order.id, &sent).await;
        assert_eq!(gateway.accepted().len(), 2);
        let beats = "SELECT MAX(l.beats) - MAX(s.beats) AS n FROM lives l, saved_lives s";
        let began = std::time::Instant::now();
        while stage.database.number(beats).await == 0 {
            assert!(began.elapsed() < Duration::from_mins(1), "no sign of life");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }

        stage.database.restore().await;
        let switch = eventually(async || {
            let switch = store.find_safe_mode().await.unwrap();
            switch
                .filter(|it| it.state == SafeModeState::On)
                .ok_or_else(|| "off".to_owned())
        })
        .await;
        assert!(
            switch.reason.contains("gone back in time"),
            "{}",
            switch.reason
        );
        // What was claimed at that very moment is not begun.
        assert_eq!(gateway.accepted().len(), 2);

        let mut config = Config::default();
        with_gateway(&mut config, &gateway);
        let deps = ReconcileDeps {
            config: &config,
            store: &store,
            link_key: &stage.shop.key,
            actor: "wang",
            reason: "restored",
            dry_run: false,
            without: &[],
        };
        let anothers = Config::default();
        let named = [
            vec![],
            vec!["sms-tencent".to_owned()],
            vec!["sms-gateway".to_owned()],
        ];
        let asked = async |without: &[String]| {
            let wrong = ReconcileDeps {
                config: &anothers,
                dry_run: true,
                without,
                ..deps
            };
            reconcile(&wrong, &|_| ()).await
        };
        for without in &named[..2] {
            let refused = asked(without).await.unwrap_err().to_string();
            assert!(refused.contains("workers sent by sms-gateway"), "{refused}");
        }
        let report = asked(&named[2]).await.unwrap();
        assert_eq!(report[&Channel::Sms].not_sent, 2);
        let unknown = ReconcileDeps {
            without: &named[1],
            ..deps
        };
        let refused = reconcile(&unknown, &|_| ()).await.unwrap_err().to_string();
        assert!(refused.contains("--without sms-tencent"), "{refused}");
        let report = reconcile(&deps, &|_| ()).await.unwrap();
        assert_eq!(report[&Channel::Sms].sent, 2);
        turn(&store, SafeModeState::Off).await;
        stage.until_states(order.id, &sent).await;
        // What comes now goes out as ever.
        let next = stage.shop.order(None, PHONE).await;
        stage.until_states(next.id, &sent).await;
        assert_eq!(gateway.accepted().len(), 4);
        let all = store.list_deliveries(order.id).await.unwrap();
        for it in &all[..2] {
            assert_eq!(it.history.len(), 1);
            assert!(it.delivery.provider_id.is_some());
        }
        stage.end().await;
    }
}
