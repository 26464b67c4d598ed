//! What may happen to an order on its way: objection, amendment, cancellation, holds, silence, late answers.

use countersign_e2e::{
    CATALOG, System, cny, counters, fresh_id, kinds, minor, order_builder, reason, refused,
    timestamp, violated_fields,
};
use countersign_proto::v1::{self, OrderState as S};
use countersign_store::testing::TestDatabase;
use futures::future::join_all;
use tonic::Code;

async fn placed(system: &System) -> v1::Order {
    let order = system
        .orders()
        .await
        .create_order(order_builder().request())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        order.state(),
        S::AwaitingConfirmation,
        "{:?}",
        order.findings
    );
    order
}

fn objection(name: &str, lines: &[i32]) -> v1::RejectConfirmationRequest {
    v1::RejectConfirmationRequest {
        name: name.to_owned(),
        request_id: fresh_id("no"),
        answer_channel: v1::AnswerChannel::Link.into(),
        objection: Some(v1::Objection {
            category: v1::ObjectionCategory::Quantity.into(),
            line_numbers: lines.to_vec(),
            text: "Only one kettle, please".to_owned(),
        }),
        answered_by: "customer".to_owned(),
        receive_time: None,
    }
}

fn amendment(order: &v1::Order, paths: &[&str]) -> v1::AmendOrderRequest {
    v1::AmendOrderRequest {
        order: Some(order.clone()),
        update_mask: Some(prost_types::FieldMask {
            paths: paths.iter().map(|path| (*path).to_owned()).collect(),
        }),
        request_id: fresh_id("amend"),
        reason: "One kettle instead of two".to_owned(),
        ..v1::AmendOrderRequest::default()
    }
}

#[tokio::test]
async fn an_objection_leads_to_an_amendment_and_a_new_question() {
    let system = System::sqlite().await;
    let mut client = system.orders().await;
    let order = placed(&system).await;
    let name = order.name.clone();

    let status = refused(
        client.reject_confirmation(objection(&name, &[9])).await,
        Code::InvalidArgument,
    );
    assert_eq!(violated_fields(&status), ["objection.line_numbers"]);
    let objected = client
        .reject_confirmation(objection(&name, &[1]))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(objected.state(), S::Objected);
    assert_eq!(objected.order_number, "");
    assert_eq!(counters(&objected, 1).reserved, 2, "goods stay promised");

    // Staff change it as the customer wishes.
    let mut wanted = objected.clone();
    wanted.lines[0].quantity = 1;
    let total = minor(objected.total.as_ref().unwrap()) - CATALOG[0].price_minor;
    wanted.total = Some(cny(total));
    let preview = client
        .amend_order(v1::AmendOrderRequest {
            validate_only: true,
            ..amendment(&wanted, &["lines", "total"])
        })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (preview.revision, preview.state()),
        (2, S::AwaitingConfirmation)
    );
    assert_eq!(
        system.order(&name).await,
        objected,
        "a preview stores nothing"
    );
    assert_eq!(system.stock("KETTLE-17").await.1, 2);

    let amended = client
        .amend_order(amendment(&wanted, &["lines", "total"]))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (amended.revision, amended.state()),
        (2, S::AwaitingConfirmation)
    );
    assert_eq!(counters(&amended, 1).reserved, 1);
    assert_eq!(system.stock("KETTLE-17").await.1, 1);
    let rounds = system.trace(&name).await.confirmations;
    let standing: Vec<_> = rounds.iter().map(v1::Confirmation::state).collect();
    assert_eq!(
        standing,
        [v1::ConfirmationState::Objected, v1::ConfirmationState::Open]
    );
    assert_eq!(
        rounds[0].objection.as_ref().unwrap().text,
        "Only one kettle, please"
    );
    assert_eq!(rounds[1].revision, 2);

    let confirmed = system.accept(&name).await;
    assert_eq!(confirmed.state(), S::Allocated);
    assert_eq!(confirmed.price_agreement.unwrap().revision, 2);
    system.stock_agrees_with_orders().await;
}

#[tokio::test]
async fn an_amendment_of_a_confirmed_order_voids_the_agreement_and_keeps_the_number() {
    for database in TestDatabase::all().await {
        let system = System::start(database).await;
        let mut client = system.orders().await;
        let order = placed(&system).await;
        let confirmed = system.accept(&order.name).await;

        // A tag that is no longer right is refused before anything is written.
        let mut wanted = confirmed.clone();
        wanted.lines[0].quantity = 5;
        wanted.total = Some(cny(5 * CATALOG[0].price_minor + CATALOG[1].price_minor));
        let outdated = v1::AmendOrderRequest {
            etag: order.etag.clone(),
            ..amendment(&wanted, &["lines", "total"])
        };
        let status = refused(client.amend_order(outdated).await, Code::Aborted);
        assert_eq!(reason(&status), "ETAG_MISMATCH");

        let amended = client
            .amend_order(v1::AmendOrderRequest {
                etag: confirmed.etag.clone(),
                ..amendment(&wanted, &["lines", "total"])
            })
            .await
            .unwrap()
            .into_inner();
        assert_eq!(amended.state(), S::AwaitingConfirmation);
        assert_eq!(amended.price_agreement, None);
        assert_eq!(amended.order_number, confirmed.order_number);
        assert_eq!(system.stock("KETTLE-17").await.1, 5);

        // The old round is not there to be answered any more; the new one is.
        let late = client
            .accept_confirmation(v1::AcceptConfirmationRequest {
                name: format!("{}/confirmations/1", order.name),
                request_id: fresh_id("yes"),
                ..v1::AcceptConfirmationRequest::default()
            })
            .await
            .unwrap()
            .into_inner();
        assert_eq!(late.state(), S::AwaitingConfirmation);
        let again = system.accept(&order.name).await;
        assert_eq!(again.state(), S::Allocated);
        assert_eq!(again.order_number, confirmed.order_number);
        assert_eq!(again.price_agreement.unwrap().revision, 2);
        let trace = system.trace(&order.name).await;
        assert_eq!(
            trace.delivery_notes,
            [1, 2].map(|revision| format!("{}/deliveryNotes/{revision}", order.name))
        );
        system.stock_agrees_with_orders().await;
    }
}

fn cancellation(name: &str, lines: &[(i32, i64)]) -> v1::CancelOrderRequest {
    v1::CancelOrderRequest {
        name: name.to_owned(),
        request_id: fresh_id("cancel"),
        reason: v1::CancelReason::CustomerChangedMind.into(),
        reason_text: "As you asked on the phone".to_owned(),
        initiator: v1::CancelInitiator::Customer.into(),
        lines: lines
            .iter()
            .map(|&(line_number, quantity)| v1::CancelLine {
                line_number,
                quantity,
            })
            .collect(),
        ..v1::CancelOrderRequest::default()
    }
}

#[tokio::test]
async fn cancelled_lines_and_orders_give_their_goods_back() {
    for database in TestDatabase::all().await {
        let system = System::start(database).await;
        let mut client = system.orders().await;
        let name = placed(&system).await.name;
        let confirmed = system.accept(&name).await;

        let status = refused(
            client.cancel_order(cancellation(&name, &[(1, 3)])).await,
            Code::InvalidArgument,
        );
        assert_eq!(violated_fields(&status), ["lines[0].quantity"]);

        let fewer = client
            .cancel_order(cancellation(&name, &[(1, 1)]))
            .await
            .unwrap()
            .into_inner();
        assert_eq!(fewer.state(), S::Allocated);
        assert_eq!(
            fewer.price_agreement, None,
            "the agreed total no longer holds"
        );
        assert_eq!(
            minor(fewer.total.as_ref().unwrap()),
            minor(confirmed.total.as_ref().unwrap()) - CATALOG[0].price_minor
        );
        let kettles = counters(&fewer, 1);
        assert_eq!(
            (kettles.ordered, kettles.cancelled, kettles.reserved),
            (2, 1, 1)
        );
        assert_eq!(system.stock("KETTLE-17").await.1, 1);

        let gone = client
            .cancel_order(cancellation(&name, &[]))
            .await
            .unwrap()
            .into_inner();
        assert_eq!(gone.state(), S::Cancelled);
        assert_eq!(gone.end_reason, "As you asked on the phone");
        for goods in CATALOG {
            assert_eq!(system.stock(goods.sku).await, (goods.on_hand, 0));
        }
        // Once more is no harm; anything else is refused.
        let again = client
            .cancel_order(cancellation(&name, &[]))
            .await
            .unwrap()
            .into_inner();
        assert_eq!(again, gone);
        let held = client.hold_order(hold(&name, v1::HoldReason::Credit)).await;
        assert_eq!(
            reason(&refused(held, Code::FailedPrecondition)),
            "ORDER_STATE"
        );
        system.stock_agrees_with_orders().await;
    }
}

fn hold(name: &str, reason: v1::HoldReason) -> v1::HoldOrderRequest {
    v1::HoldOrderRequest {
        name: name.to_owned(),
        request_id: fresh_id("hold"),
        hold: Some(v1::Hold {
            reason: reason.into(),
            note: "please look".to_owned(),
            owner: "mei".to_owned(),
            ..v1::Hold::default()
        }),
        ..v1::HoldOrderRequest::default()
    }
}

#[tokio::test]
async fn every_hold_must_be_released_before_an_order_moves() {
    let system = System::sqlite().await;
    let mut client = system.orders().await;
    // One that staff must approve (a custom order), one that the customer must accept.
    let custom = client
        .create_order(
            order_builder()
                .with(|order| {
                    order.order_type = "CUSTOM".to_owned();
                    order.handler = "mei".to_owned();
                    for line in &mut order.lines {
                        line.customization = "with her name on it".to_owned();
                    }
                })
                .request(),
        )
        .await
        .unwrap()
        .into_inner();
    assert_eq!(custom.state(), S::UnderAudit, "{:?}", custom.findings);
    let approve = || v1::ApproveOrderRequest {
        name: custom.name.clone(),
        request_id: fresh_id("approve"),
        reason: "checked".to_owned(),
        ..v1::ApproveOrderRequest::default()
    };
    let waiting = placed(&system).await;
    let accept = || v1::AcceptConfirmationRequest {
        name: waiting.name.clone(),
        request_id: fresh_id("yes"),
        ..v1::AcceptConfirmationRequest::default()
    };

    for name in [&custom.name, &waiting.name] {
        for kind in [
            v1::HoldReason::HighRiskOfFraud,
            v1::HoldReason::IncorrectAddress,
        ] {
            client.hold_order(hold(name, kind)).await.unwrap();
        }
    }
    for released in 0..2 {
        let status = refused(
            client.approve_order(approve()).await,
            Code::FailedPrecondition,
        );
        assert_eq!(reason(&status), "ORDER_HELD");
        let status = refused(
            client.accept_confirmation(accept()).await,
            Code::FailedPrecondition,
        );
        assert_eq!(reason(&status), "ORDER_HELD");
        for name in [&custom.name, &waiting.name] {
            let order = system.order(name).await;
            assert_eq!(order.holds.len(), 2 - released);
            let refusal = order
                .allowed_actions
                .iter()
                .find(|action| action.action == "AcceptConfirmation")
                .unwrap();
            assert!(!refusal.allowed);
            client
                .release_order_hold(v1::ReleaseOrderHoldRequest {
                    name: name.clone(),
                    request_id: fresh_id("release"),
                    hold_id: order.holds[0].hold_id.clone(),
                    note: "looked".to_owned(),
                    ..v1::ReleaseOrderHoldRequest::default()
                })
                .await
                .unwrap();
        }
    }
    let approved = client.approve_order(approve()).await.unwrap().into_inner();
    assert_eq!(approved.state(), S::AwaitingConfirmation);
    let accepted = client
        .accept_confirmation(accept())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(accepted.state(), S::Allocated);
    let events = system.trace(&waiting.name).await.events;
    assert_eq!(
        kinds(&events),
        [
            "order.received",
            "order.held",
            "order.held",
            "order.released",
            "order.released",
            "order.confirmed"
        ]
    );
}

#[tokio::test]
async fn silence_confirms_where_the_policy_says_so() {
    for database in TestDatabase::all().await {
        let system = System::start(database).await;
        let name = placed(&system).await.name;
        system.store.shift_clock(chrono::Duration::hours(23));
        tokio::time::sleep(std::time::Duration::from_millis(700)).await;
        assert_eq!(system.order(&name).await.state(), S::AwaitingConfirmation);

        system.store.shift_clock(chrono::Duration::minutes(61));
        let confirmed = system.until(&name, S::Allocated).await;
        let agreement = confirmed.price_agreement.clone().unwrap();
        assert_eq!(agreement.agreed_by, "system");
        assert_eq!(agreement.answer_channel(), v1::AnswerChannel::Silence);
        assert!(!confirmed.order_number.is_empty());
        let round = &system.trace(&name).await.confirmations[0];
        assert_eq!(round.state(), v1::ConfirmationState::Tacit);

        // The no that comes after silence was taken for a yes is on record and changes nothing.
        let mut client = system.orders().await;
        let after = client
            .reject_confirmation(objection(&name, &[]))
            .await
            .unwrap()
            .into_inner();
        assert_eq!(after.state(), S::Allocated);
        let trace = system.trace(&name).await;
        assert_eq!(trace.confirmations[0].late_answers.len(), 1);
        assert!(!trace.confirmations[0].late_answers[0].accepted);
        assert_eq!(kinds(&trace.events).last(), Some(&"order.late_answer"));
    }
}

#[tokio::test]
async fn silence_calls_for_staff_where_a_yes_is_needed() {
    let system = System::sqlite().await;
    let mut client = system.orders().await;
    let name = placed(&system).await.name;
    // Staff ask again, and this time only a yes will do.
    let round = client
        .create_confirmation(v1::CreateConfirmationRequest {
            parent: name.clone(),
            request_id: fresh_id("ask"),
            channels: vec![v1::Channel::Phone.into()],
            mode: v1::ConfirmationMode::Explicit.into(),
            ..v1::CreateConfirmationRequest::default()
        })
        .await
        .unwrap()
        .into_inner();
    assert_eq!((round.round, round.requested_by.as_str()), (2, "shop"));
    let before_deadline = system.store.now().await.unwrap();
    system.store.shift_clock(chrono::Duration::hours(25));
    let expired = system.until(&name, S::UnderAudit).await;
    assert_eq!(
        (expired.order_number.as_str(), expired.price_agreement),
        ("", None)
    );
    let trace = system.trace(&name).await;
    let states: Vec<_> = trace
        .confirmations
        .iter()
        .map(v1::Confirmation::state)
        .collect();
    assert_eq!(
        states,
        [
            v1::ConfirmationState::Superseded,
            v1::ConfirmationState::Expired
        ]
    );
    assert_eq!(
        kinds(&trace.events).last(),
        Some(&"order.confirmation_expired")
    );

    // A yes that the inbox received in time, but handed over after the deadline: the round is closed, so it is late.
    let late = client
        .accept_confirmation(v1::AcceptConfirmationRequest {
            name: name.clone(),
            request_id: fresh_id("yes"),
            receive_time: Some(timestamp(before_deadline)),
            ..v1::AcceptConfirmationRequest::default()
        })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(late.state(), S::UnderAudit);
    assert_eq!(
        system.trace(&name).await.confirmations[1]
            .late_answers
            .len(),
        1
    );
}

#[tokio::test]
async fn b_09_the_first_of_fifty_answers_at_once_wins_and_the_others_change_nothing() {
    for database in TestDatabase::all().await {
        let mut system = System::start(database).await;
        system.add_replica().await;
        let name = placed(&system).await.name;
        let mut clients = Vec::new();
        for replica in &system.replicas {
            clients.push(replica.orders("shop").await);
        }
        // Pairs of a yes and a no, by turns through the one process and the other.
        let answers = join_all((0..50).map(|number| {
            let (mut client, name) = (clients[number / 2 % 2].clone(), name.clone());
            async move {
                if number % 2 == 0 {
                    client
                        .accept_confirmation(v1::AcceptConfirmationRequest {
                            name,
                            request_id: format!("answer-{number}"),
                            answer_channel: v1::AnswerChannel::Sms.into(),
                            answered_by: format!("customer-{number}"),
                            ..v1::AcceptConfirmationRequest::default()
                        })
                        .await
                } else {
                    client
                        .reject_confirmation(v1::RejectConfirmationRequest {
                            request_id: format!("answer-{number}"),
                            answered_by: format!("customer-{number}"),
                            ..objection(&name, &[])
                        })
                        .await
                }
            }
        }))
        .await;
        let order = system.order(&name).await;
        let round = system.trace(&name).await.confirmations.remove(0);
        let accepted = match order.state() {
            S::Allocated => true,
            S::Objected => false,
            other => panic!("{other:?}"),
        };
        assert_eq!(
            round.state(),
            if accepted {
                v1::ConfirmationState::Accepted
            } else {
                v1::ConfirmationState::Objected
            }
        );
        // Whoever was told anything was told the truth; nobody met an internal error.
        let mut answered = 0;
        for answer in answers {
            match answer {
                Ok(answer) => {
                    answered += 1;
                    assert_eq!(answer.into_inner().state(), order.state());
                }
                Err(status) => assert_eq!(status.code(), Code::Aborted, "{status:?}"),
            }
        }
        assert!(answered >= 25, "only {answered} of 50 were answered");
        assert!(
            round
                .late_answers
                .iter()
                .all(|late| late.accepted != accepted)
        );
        let events = system.trace(&name).await.events;
        let deciding = kinds(&events)
            .iter()
            .filter(|kind| ["order.confirmed", "order.objected"].contains(kind))
            .count();
        assert_eq!(deciding, 1, "{:?}", kinds(&events));
    }
}

#[tokio::test]
async fn lists_go_page_by_page_and_refuse_a_token_of_another_list() {
    let system = System::sqlite().await;
    let mut client = system.orders().await;
    let mut made = Vec::new();
    for _ in 0..7 {
        made.push(placed(&system).await.name);
    }
    let page = |token: &str, order_by: &str| v1::ListOrdersRequest {
        page_size: 3,
        page_token: token.to_owned(),
        order_by: order_by.to_owned(),
        ..v1::ListOrdersRequest::default()
    };
    let (mut seen, mut token) = (Vec::new(), String::new());
    loop {
        let answer = client
            .list_orders(page(&token, "create_time"))
            .await
            .unwrap()
            .into_inner();
        seen.extend(answer.orders.into_iter().map(|order| order.name));
        token = answer.next_page_token;
        if token.is_empty() {
            break;
        }
        let other = client.list_orders(page(&token, "priority desc")).await;
        assert_eq!(
            violated_fields(&refused(other, Code::InvalidArgument)),
            ["page_token"]
        );
    }
    assert_eq!(seen, made);
    let newest = client.list_orders(page("", "")).await.unwrap().into_inner();
    let names: Vec<_> = newest.orders.into_iter().map(|order| order.name).collect();
    assert_eq!(names, [made[6].clone(), made[5].clone(), made[4].clone()]);

    let batch = client
        .batch_get_orders(v1::BatchGetOrdersRequest {
            names: vec![made[4].clone(), made[1].clone()],
        })
        .await
        .unwrap()
        .into_inner();
    let names: Vec<_> = batch.orders.into_iter().map(|order| order.name).collect();
    assert_eq!(names, [made[4].clone(), made[1].clone()]);
}
