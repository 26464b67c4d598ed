//! One bad order never harms its neighbours, and nothing is sold twice.

use countersign_e2e::{System, order_builder, violated_fields};
use countersign_proto::v1::{self, OrderState as S};
use countersign_store::testing::TestDatabase;
use futures::future::join_all;
use tonic::Code;

/// What an order of the crowd is, and what must become of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sort {
    Good,
    /// The same call as the good one before it.
    Repeated,
    /// A new call with the reference of the good one before it.
    SameReference,
    /// More than the shelf has.
    Short,
    /// A field is wrong.
    Invalid,
    /// Wrong in a way that only judging finds.
    UnknownType,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_hundred_orders_at_once_fare_each_by_itself() {
    use Sort::{Good, Invalid, Repeated, SameReference, Short, UnknownType};
    for database in TestDatabase::all().await {
        let system = System::start(database).await;
        let sorts = [
            Good,
            Repeated,
            Short,
            Good,
            Invalid,
            Good,
            SameReference,
            Good,
            UnknownType,
            Good,
        ];
        let mut crowd: Vec<(Sort, v1::CreateOrderRequest)> = Vec::new();
        let mut good = order_builder().request();
        for sort in sorts.into_iter().cycle().take(300) {
            let request = match sort {
                Good => {
                    good = order_builder().request();
                    good.clone()
                }
                Repeated => good.clone(),
                SameReference => order_builder()
                    .with(|order| {
                        order.client_reference =
                            good.order.as_ref().unwrap().client_reference.clone();
                    })
                    .request(),
                Short => order_builder().line("VASE-1", 4).request(),
                Invalid => order_builder()
                    .with(|order| order.lines[1].quantity = -1)
                    .request(),
                UnknownType => order_builder()
                    .with(|order| order.order_type = "GIFT".to_owned())
                    .request(),
            };
            crowd.push((sort, request));
        }
        let client = system.orders().await;
        let answers = join_all(crowd.iter().map(|(sort, request)| {
            let (mut client, request) = (client.clone(), request.clone());
            async move { (*sort, client.create_order(request).await) }
        }))
        .await;
        // Of a pair with one reference either may come first: the pair as a whole makes one order.
        let mut orders = std::collections::BTreeSet::new();
        let mut taken_references = std::collections::BTreeSet::new();
        for (sort, answer) in answers {
            match (sort, answer) {
                (Good | Repeated | SameReference, Ok(answer)) => {
                    let order = answer.into_inner();
                    assert_eq!(
                        order.state(),
                        S::AwaitingConfirmation,
                        "{:?}",
                        order.findings
                    );
                    taken_references.insert(order.client_reference);
                    orders.insert(order.name);
                }
                (Good | Repeated | SameReference, Err(status)) => {
                    assert_eq!(status.code(), Code::AlreadyExists, "{sort:?} {status:?}");
                }
                (Short, Ok(answer)) => {
                    let order = answer.into_inner();
                    assert_eq!(order.state(), S::UnderAudit);
                    let rules: Vec<_> = order
                        .findings
                        .iter()
                        .map(|found| found.rule.as_str())
                        .collect();
                    assert_eq!(rules, ["stock-enough"]);
                    assert_eq!(order.lines[2].counters.unwrap().reserved, 0);
                    orders.insert(order.name);
                }
                (Invalid, Err(status)) => {
                    assert_eq!(violated_fields(&status), ["order.lines[1].quantity"]);
                }
                (UnknownType, Err(status)) => {
                    assert_eq!(violated_fields(&status), ["order.order_type"]);
                }
                (sort, answer) => panic!("{sort:?}: {answer:?}"),
            }
        }
        assert_eq!(
            taken_references.len(),
            150,
            "every reference was taken once"
        );
        assert_eq!(orders.len(), 150 + 30);
        assert_eq!(system.stock_agrees_with_orders().await, 180);
        assert_eq!(system.stock("VASE-1").await, (3, 0));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_five_hundred_orders_for_a_hundred_pieces_exactly_a_hundred_get_one() {
    for database in TestDatabase::all().await {
        let mut system = System::start(database).await;
        system.add_replica().await;
        system.restock("VASE-1", 100).await;
        let clients = [
            system.replicas[0].orders("shop").await,
            system.replicas[1].orders("shop").await,
        ];
        let answers = join_all((0..500).map(|number| {
            let mut client = clients[number % 2].clone();
            let request = order_builder().no_lines().line("VASE-1", 1).request();
            async move {
                loop {
                    match client.create_order(request.clone()).await {
                        Ok(answer) => return answer.into_inner(),
                        // The contract: the same call again.
                        Err(status) if status.code() == Code::Aborted => {}
                        Err(status) => panic!("{status:?}"),
                    }
                }
            }
        }))
        .await;
        let won = answers
            .iter()
            .filter(|order| order.state() == S::AwaitingConfirmation);
        let lost = answers
            .iter()
            .filter(|order| order.state() == S::UnderAudit);
        assert_eq!((won.count(), lost.count()), (100, 400));
        assert_eq!(system.stock("VASE-1").await, (100, 100));
        assert_eq!(system.stock_agrees_with_orders().await, 500);

        // What is called off goes to whoever comes next, and no further.
        let mut client = system.orders().await;
        let given_back = answers
            .iter()
            .find(|order| order.state() == S::AwaitingConfirmation)
            .unwrap();
        client
            .cancel_order(v1::CancelOrderRequest {
                name: given_back.name.clone(),
                request_id: "back".to_owned(),
                reason: v1::CancelReason::CustomerChangedMind.into(),
                reason_text: "as asked".to_owned(),
                initiator: v1::CancelInitiator::Customer.into(),
                ..v1::CancelOrderRequest::default()
            })
            .await
            .unwrap();
        for expected in [S::AwaitingConfirmation, S::UnderAudit] {
            let request = order_builder().no_lines().line("VASE-1", 1).request();
            let order = client.create_order(request).await.unwrap().into_inner();
            assert_eq!(order.state(), expected);
        }
        system.stock_agrees_with_orders().await;
    }
}
