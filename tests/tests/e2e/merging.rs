//! Orders of one customer that go as one delivery.

use countersign_domain::policy::default_policies;
use countersign_e2e::{
    OrderBuilder, System, cny, counters, fresh_id, kinds, minor, order_builder, refused, timestamp,
    violated_fields,
};
use countersign_proto::v1::{self, OrderState as S};
use countersign_store::testing::TestDatabase;
use futures::future::join_all;
use tonic::Code;

/// An order of a customer who orders more than once.
fn order_of(customer: &str) -> OrderBuilder {
    let customer = customer.to_owned();
    order_builder().with(|order| order.customer = customer)
}

async fn placed(system: &System, order: OrderBuilder) -> v1::Order {
    let order = system
        .orders()
        .await
        .create_order(order.request())
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

fn merge(orders: &[&v1::Order]) -> v1::MergeOrdersRequest {
    v1::MergeOrdersRequest {
        names: orders.iter().map(|order| order.name.clone()).collect(),
        request_id: fresh_id("merge"),
        actor: "li.na".to_owned(),
        reason: "Both come in one delivery".to_owned(),
    }
}

fn total(order: &v1::Order) -> i64 {
    minor(order.total.as_ref().unwrap())
}

#[tokio::test]
async fn orders_that_wait_for_an_answer_go_together_and_the_customer_is_asked_about_both() {
    for database in TestDatabase::all().await {
        let system = System::start(database).await;
        let mut client = system.orders().await;
        let first = placed(&system, order_of("C-7")).await;
        let second = placed(&system, order_of("C-7").no_lines().line("TEA-100", 3)).await;
        let request = merge(&[&first, &second]);

        let answer = client
            .merge_orders(request.clone())
            .await
            .unwrap()
            .into_inner();

        assert_eq!(answer.refusals, []);
        assert_eq!(answer.merged_orders, std::slice::from_ref(&second.name));
        let survivor = system.order(&first.name).await;
        assert_eq!(answer.order.as_ref(), Some(&survivor));
        assert_eq!(
            (survivor.revision, survivor.state()),
            (2, S::AwaitingConfirmation)
        );
        assert_eq!(total(&survivor), total(&first) + total(&second));
        let skus: Vec<&str> = survivor.lines.iter().map(|it| it.sku.as_str()).collect();
        assert_eq!(skus, ["KETTLE-17", "CUP-4", "TEA-100"]);
        assert_eq!(counters(&survivor, 3).reserved, 3);
        assert_eq!(system.stock("TEA-100").await.1, 3);
        let gone = system.order(&second.name).await;
        assert_eq!(gone.state(), S::Merged);
        assert_eq!(gone.merged_into, first.name);
        assert_eq!(gone.end_reason, "Both come in one delivery");
        assert_eq!(counters(&gone, 1).reserved, 0);
        system.stock_agrees_with_orders().await;

        // Both know what happened, who did it, and tell the customer.
        let trace = system.trace(&gone.name).await;
        assert_eq!(kinds(&trace.events), ["order.received", "order.merged"]);
        assert_eq!(trace.events[1].actor, "li.na");
        let round = trace.confirmations.last().unwrap();
        assert_eq!(round.state(), v1::ConfirmationState::Superseded);
        let trace = system.trace(&first.name).await;
        assert_eq!(kinds(&trace.events), ["order.received", "order.joined"]);
        assert_eq!(trace.confirmations.len(), 2);
        let told = "SELECT COUNT(*) AS n FROM outbox WHERE kind = 'ORDER_AMENDED'";
        assert_eq!(system.database.number(told).await, 2);

        // The same call answers the same; another one finds that it has happened.
        let again = client.merge_orders(request).await.unwrap();
        assert_eq!(again.metadata().get("idempotent-replayed").unwrap(), "true");
        assert_eq!(again.into_inner(), answer);
        let anew = client
            .merge_orders(merge(&[&first, &second]))
            .await
            .unwrap()
            .into_inner();
        assert_eq!(anew, answer);

        // Nothing brings a merged order back.
        let status = refused(
            client
                .cancel_order(v1::CancelOrderRequest {
                    name: gone.name.clone(),
                    request_id: fresh_id("cancel"),
                    reason: v1::CancelReason::Other.into(),
                    reason_text: "no".to_owned(),
                    initiator: v1::CancelInitiator::Customer.into(),
                    ..v1::CancelOrderRequest::default()
                })
                .await,
            Code::FailedPrecondition,
        );
        assert!(status.message().contains("MERGED"), "{status:?}");
        let confirmed = system.accept(&first.name).await;
        assert_eq!(confirmed.state(), S::Allocated);
        assert_eq!(
            minor(&confirmed.price_agreement.unwrap().amount.unwrap()),
            total(&survivor)
        );
        system.stock_agrees_with_orders().await;
    }
}

#[tokio::test]
async fn formal_orders_go_together_without_a_new_question() {
    for database in TestDatabase::all().await {
        let system = System::start(database).await;
        let mut client = system.orders().await;
        let first = placed(&system, order_of("C-8")).await;
        let second = placed(&system, order_of("C-8").no_lines().line("CUP-4", 2)).await;
        let first = system.accept(&first.name).await;
        let second = system.accept(&second.name).await;
        assert_eq!(
            (first.state(), second.state()),
            (S::Allocated, S::Allocated)
        );

        let answer = client
            .merge_orders(merge(&[&first, &second]))
            .await
            .unwrap()
            .into_inner();

        assert_eq!(answer.refusals, []);
        let survivor = answer.order.unwrap();
        assert_eq!((survivor.revision, survivor.state()), (2, S::Allocated));
        assert_eq!(survivor.order_number, first.order_number);
        let agreement = survivor.price_agreement.as_ref().unwrap();
        assert_eq!(agreement.revision, 2);
        assert_eq!(
            minor(agreement.amount.as_ref().unwrap()),
            total(&first) + total(&second)
        );
        assert_eq!(counters(&survivor, 3).reserved, 2);
        let trace = system.trace(&first.name).await;
        assert_eq!(trace.confirmations.len(), 1, "nobody is asked again");
        let notes = "SELECT COUNT(*) AS n FROM delivery_notes WHERE revision = 2";
        assert_eq!(system.database.number(notes).await, 1);
        assert_eq!(system.order(&second.name).await.state(), S::Merged);
        system.stock_agrees_with_orders().await;
    }
}

#[tokio::test]
async fn what_keeps_orders_apart_is_told_by_order_and_field_and_nothing_changes() {
    let system = System::sqlite().await;
    let mut client = system.orders().await;
    let first = placed(&system, order_of("C-9")).await;
    let fits = placed(&system, order_of("C-9").line("TEA-100", 1)).await;
    let elsewhere = placed(
        &system,
        order_of("C-10").line("TEA-100", 2).with(|order| {
            let delivery = order.delivery.as_mut().unwrap();
            delivery.address.as_mut().unwrap().address_lines = vec!["1 Dock Road".to_owned()];
            order.payment_method = v1::PaymentMethod::Card.into();
        }),
    )
    .await;
    let held = placed(&system, order_of("C-9").line("TEA-100", 3)).await;
    client
        .hold_order(v1::HoldOrderRequest {
            name: held.name.clone(),
            request_id: fresh_id("hold"),
            hold: Some(v1::Hold {
                reason: v1::HoldReason::AwaitingPayment.into(),
                ..v1::Hold::default()
            }),
            ..v1::HoldOrderRequest::default()
        })
        .await
        .unwrap();
    let formal = placed(&system, order_of("C-9").line("TEA-100", 4)).await;
    let formal = system.accept(&formal.name).await;

    let answer = client
        .merge_orders(merge(&[&first, &fits, &elsewhere, &held, &formal]))
        .await
        .unwrap()
        .into_inner();

    assert!(answer.order.is_none() && answer.merged_orders.is_empty());
    let told: Vec<(&str, &str)> = answer
        .refusals
        .iter()
        .map(|refusal| (refusal.order.as_str(), refusal.field.as_str()))
        .collect();
    assert_eq!(
        told,
        [
            (held.name.as_str(), "holds"),
            (&elsewhere.name, "customer"),
            (&elsewhere.name, "delivery.address"),
            (&elsewhere.name, "payment_method"),
            (&formal.name, "state"),
        ]
    );
    for refusal in &answer.refusals {
        assert!(!refusal.description.is_empty());
        assert!(!refusal.description.contains("Dock Road"));
    }
    assert_eq!(system.order(&first.name).await, first);
    assert_eq!(system.order(&fits.name).await, fits);

    // Windows that have no moment in common, and a type whose policy does not allow it.
    let now = system.store.now().await.unwrap();
    let at = |hours: i64| Some(timestamp(now + chrono::Duration::hours(hours)));
    let windowed = |units: i64, start: i64, end: i64| {
        order_of("C-9").line("TEA-100", units).with(|order| {
            order.delivery.as_mut().unwrap().requested_window = Some(v1::TimeWindow {
                start_time: at(start),
                end_time: at(end),
            });
        })
    };
    let morning = placed(&system, windowed(5, 96, 100)).await;
    let noon = placed(&system, windowed(6, 98, 102)).await;
    let evening = placed(&system, windowed(7, 104, 108)).await;
    let answer = client
        .merge_orders(merge(&[&morning, &noon, &evening]))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(answer.refusals.len(), 1);
    assert_eq!(answer.refusals[0].order, evening.name);
    assert_eq!(answer.refusals[0].field, "delivery.requested_window");
    let answer = client
        .merge_orders(merge(&[&first, &morning, &noon]))
        .await
        .unwrap()
        .into_inner();
    let window = answer.order.unwrap().delivery.unwrap().requested_window;
    let window = window.unwrap();
    assert_eq!((window.start_time, window.end_time), (at(98), at(100)));
    assert!(
        !default_policies()
            .iter()
            .any(|policy| policy.order_type == "STORE" && policy.mergeable)
    );
    let store = |units: i64| {
        order_of("C-9")
            .line("TEA-100", units)
            .with(|order| order.order_type = "STORE".to_owned())
    };
    let (one, two) = (
        placed(&system, store(8)).await,
        placed(&system, store(9)).await,
    );
    let answer = client
        .merge_orders(merge(&[&one, &two]))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(answer.refusals[0].field, "order_type");
    system.stock_agrees_with_orders().await;

    // A call that makes no sense.
    let wrong = v1::MergeOrdersRequest {
        names: vec![first.name.clone()],
        ..v1::MergeOrdersRequest::default()
    };
    let status = refused(client.merge_orders(wrong).await, Code::InvalidArgument);
    assert_eq!(violated_fields(&status), ["names", "reason", "request_id"]);
    let twice = merge(&[&first, &first]);
    let status = refused(client.merge_orders(twice).await, Code::InvalidArgument);
    assert_eq!(violated_fields(&status), ["names[1]"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_merges_at_once_each_order_goes_one_way() {
    for database in TestDatabase::all().await {
        let mut system = System::start(database).await;
        system.add_replica().await;
        for round in 0..5 {
            let customer = format!("C-2{round}");
            let mut orders = Vec::new();
            for units in 1..=3 {
                orders.push(placed(&system, order_of(&customer).line("TEA-100", units)).await);
            }
            let [a, b, c] = &orders[..] else {
                unreachable!("three were placed")
            };
            let merges = [merge(&[a, b]), merge(&[b, c]), merge(&[c, a])];
            let (replicas, system_ref) = (&system.replicas, &system);
            let answers = join_all(merges.into_iter().enumerate().map(
                |(nth, request)| async move {
                    let mut client = replicas[nth % replicas.len()].orders("shop").await;
                    client.merge_orders(request).await
                },
            ))
            .await;
            let done = answers
                .iter()
                .flatten()
                .filter(|answer| answer.get_ref().order.is_some())
                .count();
            assert!((1..=2).contains(&done), "{answers:?}");
            let mut alive = 0;
            let mut sum = 0;
            for order in &orders {
                let now = system_ref.order(&order.name).await;
                if now.state() == S::Merged {
                    assert_ne!(now.merged_into, now.name);
                } else {
                    alive += 1;
                    sum += total(&now);
                }
            }
            assert_eq!(alive, 3 - done);
            assert_eq!(
                cny(sum),
                cny(orders.iter().map(total).sum()),
                "nothing is lost and nothing doubled"
            );
        }
        system.stock_agrees_with_orders().await;
    }
}
