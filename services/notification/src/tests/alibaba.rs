//! The worker with Alibaba Cloud as its carrier of text messages and calls.

use std::collections::BTreeMap;

use countersign_domain::{
    message::DeliveryState::{Delivered, Failed, Ready, Sent},
    order::Channel::{Phone, Sms},
    reply::{ReplyContent, ReplyState},
    retention::Retained,
};
use countersign_runtime::config::{Alibaba, Config, GatewayTransport, NamedGaps};
use countersign_store::testing::TestDatabase;
use secrecy::SecretString;
use serde_json::{Value, json};

use super::{PHONE, Stage, eventually};
use crate::{
    template::{Locale, MessageKind},
    testkit::{AlibabaStub, Figures},
};

pub(super) const KEY: &str = "LTAI-test";
pub(super) const SECRET: &str = "s3cret-of-the-cloud";
const PATH: &str = "pushes-1234567890abc";

fn account(stub: &AlibabaStub) -> Alibaba {
    let text = NamedGaps {
        code: "SMS_1".to_owned(),
        variables: BTreeMap::from([("no".to_owned(), "order".to_owned())]),
    };
    let kinds: BTreeMap<_, _> = MessageKind::ALL
        .iter()
        .map(|kind| (kind.as_str().to_owned(), text.clone()))
        .collect();
    Alibaba {
        base_url: Some(stub.base()),
        access_key_id: KEY.to_owned(),
        access_key_secret: Some(SecretString::from(SECRET)),
        sign_name: "华贸易".to_owned(),
        callback_secret: Some(SecretString::from(PATH)),
        templates: Locale::ALL
            .iter()
            .map(|locale| (locale.tag().to_owned(), kinds.clone()))
            .collect(),
        ..Alibaba::default()
    }
}

pub(super) fn with_alibaba(config: &mut Config, stub: &AlibabaStub) {
    for gateway in [&mut config.sms, &mut config.phone] {
        gateway.transport = GatewayTransport::Alibaba;
        gateway.alibaba = Some(account(stub));
    }
}

fn report(out_id: &str, success: bool) -> Value {
    json!({"phone_number": "13912345678", "send_time": "2026-11-18 19:06:40",
        "report_time": "2026-11-18 19:06:45", "success": success, "err_code": "DELIVERED",
        "err_msg": "x", "sms_size": "1", "biz_id": "12345", "out_id": out_id})
}

impl Stage {
    fn pushes(&self, secret: &str, name: &str) -> String {
        format!("http://{}/callbacks/alibaba/{secret}/{name}", self.http)
    }

    /// Two text messages on their way, a call that waits.
    async fn with_two_texts(
        stub: &AlibabaStub,
        database: TestDatabase,
    ) -> (Self, countersign_domain::ids::OrderId) {
        let mut stage = Self::on(database, |config| with_alibaba(config, stub)).await;
        let order = stage.shop.order(None, PHONE).await.id;
        stage
            .until_states(order, &[(1, Sms, Sent), (2, Sms, Sent), (2, Phone, Ready)])
            .await;
        (stage, order)
    }
}

#[tokio::test]
async fn f_08_of_a_thousand_reports_the_good_ones_are_applied_and_the_others_are_on_record() {
    let figures = Figures::start();
    for (round, database) in (1..).zip(TestDatabase::all().await) {
        let stub = AlibabaStub::start(KEY, SECRET).await;
        let (stage, order) = Stage::with_two_texts(&stub, database).await;
        let accepted = stub.accepted();
        let mut reports: Vec<Value> = (0..998)
            .map(|n| report(&format!("of-another-program-{n}"), true))
            .collect();
        reports.push(json!({"phone_number": 7}));
        reports.push(report(&accepted[1].out_id, true));
        stub.set_status(&accepted[1].out_id, 3);
        let url = stage.pushes(PATH, "sms-report");
        for _ in 0..2 {
            let (status, body) = stub.push(&url, &json!(reports)).await;
            assert_eq!(status, 200);
            assert_eq!(body, r#"{"code":0,"msg":"接收成功"}"#);
        }
        let told = [(1, Sms, Sent), (2, Sms, Delivered), (2, Phone, Ready)];
        stage.until_states(order, &told).await;
        eventually(async || {
            let refused = "SELECT COUNT(*) AS n FROM replies WHERE state = 'REFUSED' AND result = 'UNKNOWN_MESSAGE'";
            let refused = stage.database.number(refused).await;
            (refused == 998)
                .then_some(())
                .ok_or_else(|| refused.to_string())
        })
        .await;
        let all = "SELECT COUNT(*) AS n FROM replies";
        assert_eq!(stage.database.number(all).await, 1_000, "each once");
        // What cannot be read at all is counted, twice pushed twice, and kept for staff, once.
        assert_eq!(figures.of("unreadable_reports_total"), 2 * round);
        let part = json!({"phone_number": 7}).to_string();
        assert_eq!(parked(&stage).await, [("SMS_REPORT".to_owned(), part)]);
        // It stays for its time, and goes with what else has come to nothing.
        let store = stage.store();
        let before = store.now().await.unwrap() - chrono::TimeDelta::hours(24);
        let kept = store.purge_by_time(Retained::Replies, before, None, 9_999, false);
        kept.await.unwrap();
        assert_eq!(stage.database.number(PARKED).await, 1);
        store.shift_clock(chrono::TimeDelta::days(91));
        let before = store.now().await.unwrap() - chrono::TimeDelta::days(90);
        let gone = store.purge_by_time(Retained::Replies, before, None, 9_999, false);
        gone.await.unwrap();
        assert_eq!(stage.database.number(PARKED).await, 0);
        assert_eq!(stub.push(&url, &json!({"not": "an array"})).await.0, 400);
        stage.end().await;
    }
}

#[tokio::test]
async fn f_08_without_a_database_the_cloud_is_to_come_again() {
    let stub = AlibabaStub::start(KEY, SECRET).await;
    let (stage, _) = Stage::with_two_texts(&stub, TestDatabase::sqlite().await).await;
    let url = stage.pushes(PATH, "sms-report");
    let out_id = stub.accepted()[0].out_id.clone();
    let bad = json!([{"phone_number": "13912345678", "success": "perhaps"}]);
    let held = stage.database.lock("SELECT 1 AS n").await;
    // What can only be parked is not forgotten either.
    for push in [json!([report(&out_id, true)]), bad.clone()] {
        let (status, body) = stub.push(&url, &push).await;
        assert_eq!((status, body.as_str()), (503, ""));
    }
    held.release().await;
    assert_eq!(parked(&stage).await, []);
    for push in [json!([report(&out_id, true)]), bad.clone(), bad] {
        let (status, _) = stub.push(&url, &push).await;
        assert_eq!(status, 200);
    }
    // Its number stands there in the form by which a customer's data is looked for.
    let part = r#"{"phone_number":"+8613912345678","success":"perhaps"}"#;
    assert_eq!(
        parked(&stage).await,
        [("SMS_REPORT".to_owned(), part.to_owned())]
    );
    stage.end().await;
}

const PARKED: &str = "SELECT COUNT(*) AS n FROM replies WHERE kind = 'UNREADABLE'";

/// What is kept of pushes that could not be read: which push, and the part.
async fn parked(stage: &Stage) -> Vec<(String, String)> {
    let mut parked = Vec::new();
    for reply in stage.store().list_unreadable(100).await.unwrap() {
        assert_eq!(reply.state, ReplyState::Refused);
        assert!(reply.result.starts_with("UNREADABLE: "), "{}", reply.result);
        match reply.content {
            ReplyContent::Unreadable { push, part } => parked.push((push, part)),
            other => unreachable!("{other:?}"),
        }
    }
    parked
}

#[tokio::test]
async fn f_09_a_report_alone_changes_nothing() {
    let stub = AlibabaStub::start(KEY, SECRET).await;
    let (stage, order) = Stage::with_two_texts(&stub, TestDatabase::sqlite().await).await;
    let ours = stub.accepted()[1].out_id.clone();
    let asked = stub.seen().len();
    // Another secret, and another channel's reports are as if they were not there.
    for secret in ["pushes-1234567890abd", "x", "pushes"] {
        let url = stage.pushes(secret, "sms-report");
        assert_eq!(stub.push(&url, &json!([report(&ours, false)])).await.0, 404);
    }
    // The right one, but about no message of ours, or to another number.
    let mut other_number = report(&ours, false);
    other_number["phone_number"] = json!("13800000000");
    let unknown = json!([
        report("0198c0de-0000-7000-8000-000000000000", false),
        other_number
    ]);
    let url = stage.pushes(PATH, "sms-report");
    assert_eq!(stub.push(&url, &unknown).await.0, 200);
    // Ours, and forged: the cloud itself has no news yet. It is asked, and nothing follows.
    assert_eq!(stub.push(&url, &json!([report(&ours, false)])).await.0, 200);
    eventually(async || {
        let seen = stub.seen().len();
        (seen > asked).then_some(()).ok_or_else(|| seen.to_string())
    })
    .await;
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    let unchanged = [(1, Sms, Sent), (2, Sms, Sent), (2, Phone, Ready)];
    stage.until_states(order, &unchanged).await;
    // Once the cloud confirms it, the next channel has its turn.
    stub.set_status(&ours, 2);
    let failed = [(1, Sms, Sent), (2, Sms, Failed), (2, Phone, Sent)];
    stage.until_states(order, &failed).await;
    stage.end().await;
}

#[tokio::test]
async fn f_09_a_forged_success_of_a_message_that_failed_does_not_hide_the_failure() {
    let stub = AlibabaStub::start(KEY, SECRET).await;
    let (stage, order) = Stage::with_two_texts(&stub, TestDatabase::sqlite().await).await;
    let ours = stub.accepted()[1].out_id.clone();
    stub.set_status(&ours, 2);
    let url = stage.pushes(PATH, "sms-report");
    assert_eq!(stub.push(&url, &json!([report(&ours, true)])).await.0, 200);
    let failed = [(1, Sms, Sent), (2, Sms, Failed), (2, Phone, Sent)];
    stage.until_states(order, &failed).await;

    // The call was not answered: the report names the try by the short id that the cloud was given.
    let call = stub.accepted().pop().unwrap();
    let unanswered = json!([{"call_id": call.id, "out_id": call.out_id, "callee": "13912345678",
        "status_code": "200003", "duration": "0", "dtmf": "1"}]);
    let url = stage.pushes(PATH, "voice-report");
    assert_eq!(stub.push(&url, &unanswered).await.0, 200);
    let failed = [(1, Sms, Sent), (2, Sms, Failed), (2, Phone, Failed)];
    stage.until_states(order, &failed).await;
    stage.end().await;
}

#[tokio::test]
async fn a_customers_text_is_taken_once_however_often_it_is_pushed() {
    let stub = AlibabaStub::start(KEY, SECRET).await;
    let (stage, _) = Stage::with_two_texts(&stub, TestDatabase::sqlite().await).await;
    let up = json!([{"phone_number": "13912345678", "content": "好的。",
        "send_time": "2026-11-18 19:10:00", "dest_code": "1234", "sequence_id": 1_234_567_890}]);
    let url = stage.pushes(PATH, "sms-up");
    for _ in 0..3 {
        assert_eq!(stub.push(&url, &up).await.0, 200);
    }
    eventually(async || stage.orders.told().pop().ok_or(String::new())).await;
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    assert_eq!(stage.orders.told().len(), 1);
    stage.end().await;
}
