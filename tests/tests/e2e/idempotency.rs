//! Calls that are made twice take effect once: scenarios.

use std::time::Duration;

use chrono::{DateTime, Utc};
use countersign_domain::retention::Retained;
use countersign_e2e::{
    Orders, Replica, System, cny, fresh_id, order_builder, reason, refused, violated_fields,
};
use countersign_proto::v1;
use countersign_store::{Store, testing::TestDatabase};
use futures::future::join_all;
use prost::{Message as _, bytes::BufMut as _};
use tonic::{
    Code, Request, Response, Status,
    codec::{Codec, EncodeBuf, Encoder},
};
use tonic_prost::ProstCodec;

async fn rows(system: &System, table: &str) -> i64 {
    system
        .database
        .number(&format!("SELECT COUNT(*) AS n FROM {table}"))
        .await
}

fn is_replayed<T>(answer: &Response<T>) -> bool {
    answer
        .metadata()
        .get("idempotent-replayed")
        .is_some_and(|value| value == "true")
}

#[tokio::test]
async fn a_01_a_repeated_call_gets_the_same_answer_and_takes_effect_once() {
    for database in TestDatabase::all().await {
        let system = System::start(database).await;
        let mut client = system.orders().await;
        let request = order_builder()
            .with(|order| {
                order.annotations = [("b", "2"), ("a", "1"), ("c", "3")]
                    .map(|(name, value)| (name.to_owned(), value.to_owned()))
                    .into();
            })
            .request();
        let first = client.create_order(request.clone()).await.unwrap();
        assert!(!is_replayed(&first));
        let outbox = rows(&system, "outbox").await;
        assert!(outbox > 0);
        let second = client.create_order(request).await.unwrap();
        assert!(is_replayed(&second));
        assert_eq!(
            second.into_inner().encode_to_vec(),
            first.into_inner().encode_to_vec()
        );
        assert_eq!(rows(&system, "orders").await, 1);
        assert_eq!(rows(&system, "order_events").await, 1);
        assert_eq!(rows(&system, "outbox").await, outbox);
        system.stock_agrees_with_orders().await;
    }
}

/// Makes a call until it is answered, as clients do with `ABORTED`.
async fn insist(client: &mut Orders, request: &v1::CreateOrderRequest) -> Response<v1::Order> {
    for _ in 0..20 {
        match client.create_order(request.clone()).await {
            Ok(answer) => return answer,
            Err(status) => {
                assert!(
                    matches!(
                        status.code(),
                        Code::Aborted
                            | Code::Unavailable
                            | Code::Cancelled
                            | Code::DeadlineExceeded
                    ),
                    "{status:?}"
                );
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    panic!("never answered");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_02_b_06_two_hundred_parallel_calls_over_three_processes_make_one_order() {
    for database in TestDatabase::all().await {
        let mut system = System::start(database).await;
        system.add_replica().await;
        system.add_replica().await;
        let mut clients = Vec::new();
        for replica in &system.replicas {
            clients.push(replica.orders("shop").await);
        }
        let request = order_builder().request();
        let answers = join_all((0..200).map(|number| {
            let (mut client, request) = (clients[number % 3].clone(), request.clone());
            async move { client.create_order(request).await }
        }))
        .await;
        let mut names = std::collections::BTreeSet::new();
        let mut fresh = 0;
        for answer in answers {
            match answer {
                Ok(answer) => {
                    fresh += usize::from(!is_replayed(&answer));
                    names.insert(answer.into_inner().name);
                }
                Err(status) => {
                    assert_eq!(status.code(), Code::Aborted, "{status:?}");
                    assert!(tonic_types::StatusExt::get_details_retry_info(&status).is_some());
                }
            }
        }
        assert_eq!((names.len(), fresh), (1, 1));
        for table in ["orders", "requests", "order_events"] {
            assert_eq!(rows(&system, table).await, 1, "{table}");
        }
        assert_eq!(system.stock("KETTLE-17").await.1, 2);
    }
}

#[tokio::test]
async fn a_03_the_same_id_with_other_content_is_refused() {
    let system = System::sqlite().await;
    let mut client = system.orders().await;
    let request = order_builder().request();
    client.create_order(request.clone()).await.unwrap();
    let mut other = request.clone();
    other
        .order
        .as_mut()
        .unwrap()
        .delivery
        .as_mut()
        .unwrap()
        .wishes = "Ring once".to_owned();
    let status = refused(client.create_order(other).await, Code::FailedPrecondition);
    assert_eq!(reason(&status), "IDEMPOTENCY_KEY_REUSED");
    assert_eq!(rows(&system, "orders").await, 1);
    assert_eq!(rows(&system, "requests").await, 1);
}

#[tokio::test]
async fn a_04_callers_have_ids_and_references_of_their_own() {
    let system = System::sqlite().await;
    let request = order_builder().request();
    let mut names = Vec::new();
    for caller in ["shop", "erp"] {
        let mut client = system.orders_as(caller).await;
        let answer = client.create_order(request.clone()).await.unwrap();
        assert!(
            !is_replayed(&answer),
            "{caller} must not see another's answer"
        );
        names.push(answer.into_inner().name);
    }
    assert_ne!(names[0], names[1]);
    assert_eq!(rows(&system, "orders").await, 2);
}

/// Sends bytes as they are.
#[derive(Clone, Copy, Debug, Default)]
struct Raw;

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put_slice(&item);
        Ok(())
    }
}

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = v1::Order;
    type Encoder = Self;
    type Decoder = <ProstCodec<v1::Order, v1::Order> as Codec>::Decoder;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstCodec::<v1::Order, v1::Order>::default().decoder()
    }
}

/// `CreateOrder` with a request of these bytes, as the shop.
async fn create_raw(replica: &Replica, bytes: Vec<u8>) -> Result<Response<v1::Order>, Status> {
    let channel = tonic::transport::Endpoint::from_shared(format!("http://{}", replica.address))
        .unwrap()
        .connect()
        .await
        .unwrap();
    let mut grpc = tonic::client::Grpc::new(channel);
    grpc.ready().await.unwrap();
    let mut request = Request::new(bytes);
    request
        .metadata_mut()
        .insert("x-countersign-caller", "shop".parse().unwrap());
    let path = "/countersign.v1.OrderService/CreateOrder".parse().unwrap();
    grpc.unary(request, path, Raw).await
}

/// A field of bytes with its tag and length before it.
fn field(tag: u32, content: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    prost::encoding::encode_key(tag, prost::encoding::WireType::LengthDelimited, &mut bytes);
    prost::encoding::encode_varint(content.len() as u64, &mut bytes);
    bytes.extend_from_slice(content);
    bytes
}

#[tokio::test]
async fn a_05_another_encoding_of_the_same_content_is_the_same_call() {
    let system = System::sqlite().await;
    let annotated = order_builder().with(|order| {
        order.annotations = [("a", "1"), ("b", "2"), ("c", "3")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
    });
    let request = annotated.request();
    let first = system
        .orders()
        .await
        .create_order(request.clone())
        .await
        .unwrap()
        .into_inner();

    let mut order = request.order.clone().unwrap();
    order.annotations.clear();
    let mut bytes = order.encode_to_vec();
    // The map backwards, a default written out, and a field of a later version.
    for (name, value) in [("c", "3"), ("b", "2"), ("a", "1")] {
        let entry = [field(1, name.as_bytes()), field(2, value.as_bytes())].concat();
        bytes.extend(field(31, &entry));
    }
    bytes.extend(field(11, b""));
    bytes.extend(field(500, b"from the future"));
    let mut call = field(2, request.request_id.as_bytes());
    call.extend(field(1, &bytes));
    prost::encoding::bool::encode(3, &false, &mut call);
    call.extend(field(77, b"also from the future"));
    assert_ne!(call, request.encode_to_vec());

    let again = create_raw(&system.replicas[0], call).await.unwrap();
    assert!(is_replayed(&again));
    assert_eq!(again.into_inner(), first);
    assert_eq!(rows(&system, "orders").await, 1);
}

#[tokio::test]
async fn a_06_ids_that_are_none_are_refused_and_not_stored() {
    let system = System::sqlite().await;
    let mut client = system.orders().await;
    for wrong in [
        String::new(),
        "k".repeat(129),
        "tab\there".to_owned(),
        "nul\0".to_owned(),
        "line\n".to_owned(),
        "schlüssel".to_owned(),
        "钥匙".to_owned(),
        "two words".to_owned(),
        "a/b".to_owned(),
    ] {
        let request = v1::CreateOrderRequest {
            request_id: wrong.clone(),
            ..order_builder().request()
        };
        let status = refused(client.create_order(request).await, Code::InvalidArgument);
        assert_eq!(violated_fields(&status), ["request_id"], "{wrong:?}");
        assert!(
            wrong.is_empty() || !status.message().contains(&wrong),
            "{status:?}"
        );
    }
    assert_eq!(rows(&system, "orders").await, 0);
    assert_eq!(rows(&system, "requests").await, 0);
    let longest = v1::CreateOrderRequest {
        request_id: "A-z_0.9:".repeat(16),
        ..order_builder().request()
    };
    client.create_order(longest).await.unwrap();
}

#[tokio::test]
async fn a_07_an_id_is_free_after_a_refused_call() {
    let system = System::sqlite().await;
    let mut client = system.orders().await;
    let good = order_builder().request();
    let mut bad = good.clone();
    bad.order.as_mut().unwrap().lines.clear();
    for _ in 0..2 {
        let status = refused(
            client.create_order(bad.clone()).await,
            Code::InvalidArgument,
        );
        assert_eq!(violated_fields(&status), ["order.lines"]);
    }
    // A type that no policy knows is found out later, when the order is judged.
    let mut unknown = good.clone();
    unknown.order.as_mut().unwrap().order_type = "GIFT".to_owned();
    let status = refused(client.create_order(unknown).await, Code::InvalidArgument);
    assert_eq!(violated_fields(&status), ["order.order_type"]);
    assert!(!is_replayed(&client.create_order(good).await.unwrap()));
}

/// What was found when calls that had been given up were made again.
#[derive(Debug, Default)]
struct GivenUp {
    /// Carried out before, although nobody was told.
    unanswered: usize,
    /// Not carried out before.
    fresh: usize,
}

/// Makes calls that are given up, each a little later than the one before; even ones pass their deadline, odd ones are
/// dropped by the client. Then makes them again.
async fn give_up(
    client: &Orders,
    requests: &[v1::CreateOrderRequest],
    step: Duration,
) -> (GivenUp, Vec<v1::Order>) {
    let answered = join_all(requests.iter().zip(0_u32..).map(|(request, number)| {
        let mut client = client.clone();
        async move {
            let patience = step * number;
            let mut call = Request::new(request.clone());
            if number % 2 == 0 {
                call.set_timeout(patience);
                client.create_order(call).await.is_ok()
            } else {
                let call = tokio::time::timeout(patience, client.create_order(call));
                call.await.is_ok_and(|answer| answer.is_ok())
            }
        }
    }))
    .await;
    let again = join_all(requests.iter().map(|request| {
        let mut client = client.clone();
        async move { insist(&mut client, request).await }
    }))
    .await;
    let mut found = GivenUp::default();
    for (answer, was_answered) in again.iter().zip(answered) {
        if !is_replayed(answer) {
            assert!(!was_answered, "what was answered is forgotten");
            found.fresh += 1;
        } else if !was_answered {
            found.unanswered += 1;
        }
    }
    let orders = again.into_iter().map(Response::into_inner).collect();
    (found, orders)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_08_a_09_a_call_given_up_at_any_moment_is_whole_or_not_there() {
    for database in TestDatabase::all().await {
        let system = System::start(database).await;
        let client = system.orders().await;
        let mut step = Duration::from_micros(500);
        let (mut found, mut orders) = (GivenUp::default(), Vec::new());
        // How long a call takes is the machine's affair: until some were given up before they were carried out, and some
        // between that and their answer.
        for _ in 0..6 {
            let requests: Vec<_> = (0..40).map(|_| order_builder().request()).collect();
            let (seen, made) = give_up(&client, &requests, step).await;
            found.unanswered += seen.unanswered;
            found.fresh += seen.fresh;
            orders.extend(made);
            if found.unanswered > 0 && found.fresh > 0 {
                break;
            }
            step *= 2;
        }
        println!("{found:?}");
        assert!(found.unanswered > 0 && found.fresh > 0, "{found:?}");
        let names: std::collections::BTreeSet<_> = orders.iter().map(|order| &order.name).collect();
        assert_eq!(names.len(), orders.len());
        let count = i64::try_from(orders.len()).unwrap();
        for table in ["orders", "requests", "order_events"] {
            assert_eq!(rows(&system, table).await, count, "{table}");
        }
        let without_outbox = system
            .database
            .number(
                "SELECT COUNT(*) AS n FROM orders WHERE NOT EXISTS \
                 (SELECT 1 FROM outbox WHERE outbox.order_id = orders.id)",
            )
            .await;
        assert_eq!(without_outbox, 0);
        assert_eq!(system.stock_agrees_with_orders().await, orders.len());
    }
}

/// Forgets calls that are older than a week.
async fn purge(store: &Store, now: DateTime<Utc>) -> u64 {
    let week_ago = now - chrono::Duration::days(7);
    let purged = store.purge_by_time(Retained::Requests, week_ago, None, 5_000, false);
    purged.await.unwrap().rows
}

#[tokio::test]
async fn a_10_a_reference_outlives_the_memory_of_calls() {
    for database in TestDatabase::all().await {
        let system = System::start(database).await;
        let mut client = system.orders().await;
        let request = order_builder().request();
        let first = client
            .create_order(request.clone())
            .await
            .unwrap()
            .into_inner();
        system.store.shift_clock(chrono::Duration::days(8));
        let now = system.store.now().await.unwrap();
        assert_eq!(purge(&system.store, now).await, 1);

        let status = refused(
            client.create_order(request.clone()).await,
            Code::AlreadyExists,
        );
        let named = tonic_types::StatusExt::get_details_resource_info(&status).unwrap();
        assert_eq!(named.resource_name, first.name);
        // So does the same reference under a new id.
        let renamed = v1::CreateOrderRequest {
            request_id: fresh_id("other"),
            ..request
        };
        let status = refused(client.create_order(renamed).await, Code::AlreadyExists);
        assert_eq!(reason(&status), "ALREADY_EXISTS");
        assert_eq!(rows(&system, "orders").await, 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_11_a_slow_call_is_not_carried_out_a_second_time() {
    for database in TestDatabase::all().await {
        let mut system = System::start(database).await;
        system.add_replica().await;
        // Somebody holds what intake needs for longer than patience lasts.
        let statement = match system.store.kind() {
            countersign_store::DatabaseKind::Sqlite => "SELECT 1 AS n",
            _ => "SELECT 1 AS n FROM stock WHERE sku = 'KETTLE-17' FOR UPDATE",
        };
        let locked = system.database.lock(statement).await;
        let request = order_builder().request();
        let calls = join_all((0..6).map(|number| {
            let replica = &system.replicas[number % 2];
            let request = request.clone();
            async move {
                let mut client = replica.orders("shop").await;
                tokio::time::sleep(Duration::from_millis(200 * number as u64)).await;
                client.create_order(request).await
            }
        }));
        let release = async {
            tokio::time::sleep(Duration::from_secs(7)).await;
            locked.release().await;
        };
        let (answers, ()) = tokio::join!(calls, release);
        let mut fresh = 0;
        for answer in answers {
            match answer {
                Ok(answer) => fresh += usize::from(!is_replayed(&answer)),
                Err(status) => assert!(
                    matches!(
                        status.code(),
                        Code::Aborted
                            | Code::Unavailable
                            | Code::Cancelled
                            | Code::DeadlineExceeded
                    ),
                    "{status:?}"
                ),
            }
        }
        assert!(fresh <= 1, "{fresh} executions");
        let mut client = system.orders().await;
        insist(&mut client, &request).await;
        for table in ["orders", "requests", "order_events"] {
            assert_eq!(rows(&system, table).await, 1, "{table}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_12_purging_while_calls_repeat_makes_no_new_order() {
    for database in TestDatabase::all().await {
        let system = System::start(database).await;
        let client = system.orders().await;
        let requests: Vec<_> = (0..20).map(|_| order_builder().request()).collect();
        for request in &requests {
            client.clone().create_order(request.clone()).await.unwrap();
        }
        system.store.shift_clock(chrono::Duration::days(8));
        let repeat = join_all((0..200).map(|number| {
            let (mut client, request) = (client.clone(), requests[number % 20].clone());
            async move { client.create_order(request).await }
        }));
        let purge = async {
            let mut purged = 0;
            for _ in 0..20 {
                let now = system.store.now().await.unwrap();
                purged += purge(&system.store, now).await;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            purged
        };
        let (answers, purged) = tokio::join!(repeat, purge);
        assert_eq!(purged, 20);
        for answer in answers {
            match answer {
                Ok(answer) => assert!(is_replayed(&answer)),
                Err(status) => assert!(
                    matches!(status.code(), Code::AlreadyExists | Code::Aborted),
                    "{status:?}"
                ),
            }
        }
        assert_eq!(rows(&system, "orders").await, 20);
        assert_eq!(system.stock_agrees_with_orders().await, 20);
    }
}

#[tokio::test]
async fn commands_repeat_like_intake_does() {
    let system = System::sqlite().await;
    let mut client = system.orders().await;
    let order = client
        .create_order(order_builder().request())
        .await
        .unwrap()
        .into_inner();
    let hold = v1::HoldOrderRequest {
        name: order.name.clone(),
        request_id: fresh_id("hold"),
        hold: Some(v1::Hold {
            reason: v1::HoldReason::Credit.into(),
            note: "over the limit".to_owned(),
            ..v1::Hold::default()
        }),
        ..v1::HoldOrderRequest::default()
    };
    let first = client.hold_order(hold.clone()).await.unwrap();
    let second = client.hold_order(hold.clone()).await.unwrap();
    assert!(!is_replayed(&first) && is_replayed(&second));
    assert_eq!(first.into_inner(), second.into_inner());
    assert_eq!(system.order(&order.name).await.holds.len(), 1);
    let mut other = hold;
    other.hold.as_mut().unwrap().note = "another".to_owned();
    let status = refused(client.hold_order(other).await, Code::FailedPrecondition);
    assert_eq!(reason(&status), "IDEMPOTENCY_KEY_REUSED");
    // The same id for another method is another call.
    let amount = Some(cny(1));
    let accept = v1::AcceptConfirmationRequest {
        name: order.name,
        request_id: fresh_id("yes"),
        amount,
        ..v1::AcceptConfirmationRequest::default()
    };
    refused(
        client.accept_confirmation(accept).await,
        Code::FailedPrecondition,
    );
}
