//! A text that did not arrive in hours in which nobody is rung up, and what the policy makes of the deadline: the call waits
//! for its hours, or there is none (RELIABILITY, M-03 and G-06).

use chrono::{DateTime, TimeDelta, Utc};
use countersign_domain::{contact_hours::QuietDeadline, message::DeliveryState, order::Channel};
use countersign_store::{Claimed, testing::TestDatabase};

use super::{
    PHONE, Stage, eventually,
    hours::later,
    twilio::{account, stub, taken},
};
use crate::testkit::TwilioStub;

/// A text that asked for the confirmation and came back as undelivered, while calls have to wait for their hours.
struct Night {
    stub: TwilioStub,
    stage: Stage,
    /// The call that waits.
    call: Claimed,
    /// When it was looked at.
    now: DateTime<Utc>,
    deadline: DateTime<Utc>,
}

impl Night {
    async fn new(database: TestDatabase, quiet: QuietDeadline) -> Self {
        let stub = stub().await;
        let now = database.store.now().await.unwrap();
        let mut stage = Stage::with_policy(
            database,
            |config| {
                config.sms = account(&stub);
                config.phone = account(&stub);
            },
            |policy| {
                policy.contact_hours.phone = later(now);
                policy.contact_hours.quiet_deadline = quiet;
                policy.acknowledge = false;
            },
        )
        .await;
        let order = stage.shop.order(None, PHONE).await.id;
        let asked = taken(&stub, 1).await.pop().unwrap();
        let undelivered = [("ErrorCode", "30003")];
        let told = stub.tell_status(&asked, "undelivered", &undelivered).await;
        assert_eq!(told, 204);
        let call = eventually(async || {
            let all = stage.store().list_deliveries(order).await.unwrap();
            let failed = all
                .iter()
                .any(|it| it.delivery.state == DeliveryState::Failed);
            let call = all.iter().find(|it| {
                it.delivery.channel == Channel::Phone
                    && it.delivery.state == DeliveryState::Ready
                    && it.delivery.due_time > now + TimeDelta::hours(1)
            });
            let call = call.filter(|_| failed).cloned();
            call.ok_or_else(|| format!("{all:?}"))
        })
        .await;
        // Nobody was rung up, and no try was counted.
        assert_eq!((call.delivery.attempts, call.history.len()), (0, 0));
        assert_eq!(stub.accepted().len(), 1);
        let round = stage.store().find_open_round(order).await.unwrap().unwrap();
        Self {
            deadline: round.expire_time,
            stub,
            stage,
            call,
            now,
        }
    }

    /// Time passes until calls may be made and this one's turn has come; answers how it then fares.
    async fn hours_begin(&self, wanted: DeliveryState) -> Claimed {
        let wait = self.call.delivery.due_time - self.now;
        self.stage.store().shift_clock(wait + TimeDelta::seconds(1));
        eventually(async || {
            let order = self.call.delivery.order_id;
            let all = self.stage.store().list_deliveries(order).await.unwrap();
            let call = all
                .into_iter()
                .find(|it| it.delivery.id == self.call.delivery.id);
            let call = call.unwrap();
            if call.delivery.state == wanted {
                Ok(call)
            } else {
                Err(format!("{call:?}"))
            }
        })
        .await
    }
}

#[tokio::test]
async fn m_03_g_06_an_undelivered_text_at_night_is_followed_by_a_call_in_the_morning() {
    for database in TestDatabase::all().await {
        let night = Night::new(database, QuietDeadline::Extend).await;
        // The deadline, two hours after the question, has moved to an hour after the calls begin.
        let opens = night.deadline - TimeDelta::hours(1);
        assert!(opens > night.now + TimeDelta::hours(2), "{opens}");
        assert!(night.call.delivery.due_time >= opens);
        let call = night.hours_begin(DeliveryState::Sent).await;
        assert_eq!(call.history.len(), 1);
        let accepted = night.stub.accepted();
        assert_eq!(accepted.len(), 2, "one call");
        assert!(accepted[1].sid.starts_with("CA"));
        night.stage.end().await;
    }
}

#[tokio::test]
async fn m_03_g_06_where_the_deadline_stays_nobody_is_rung_up_after_it() {
    for database in TestDatabase::all().await {
        let night = Night::new(database, QuietDeadline::Expire).await;
        let window = TimeDelta::seconds(7_200);
        let asked = night.deadline - window;
        assert!((asked - night.now).abs() < TimeDelta::seconds(60));
        assert!(night.call.delivery.due_time > night.deadline);
        let call = night.hours_begin(DeliveryState::Superseded).await;
        assert_eq!(call.history.len(), 0);
        assert_eq!(night.stub.accepted().len(), 1, "no call");
        night.stage.end().await;
    }
}
