//! Callers see only what is theirs.

use std::{collections::BTreeSet, time::Duration};

use countersign_e2e::{CITY, PHONE, Replica, System, fresh_id, order_builder};
use countersign_proto::v1::{
    self, fulfillment_service_client::FulfillmentServiceClient,
    order_service_client::OrderServiceClient,
};
use countersign_runtime::{
    callers::Gate,
    client::{Connection, connect},
};
use countersign_store::{AccessRefusal, testing::TestDatabase};
use tonic::{Code, Status};

use super::{
    But,
    authority::{Authority, Folder, gate},
    url,
};

type Orders = OrderServiceClient<Connection>;

/// A service whose callers show certificates.
struct Market {
    authority: Authority,
    folder: Folder,
    gate: Gate,
    replica: Replica,
}

impl Market {
    /// For these callers and their roles.
    async fn open(system: &System, callers: &[(&str, &[&str])]) -> Self {
        let authority = Authority::new("ours");
        let folder = Folder::new();
        let gate = gate(&folder.callers(&authority, callers)).await;
        let replica = Replica::start_behind(system.store.clone(), gate.clone()).await;
        Self {
            authority,
            folder,
            gate,
            replica,
        }
    }

    async fn connect_as(&self, name: &str) -> Connection {
        let issued = self.authority.caller(name, But::Good);
        let client = self
            .folder
            .client(name, Some(&issued), &self.authority.pem());
        connect(&url(self.replica.address), name, &client)
            .await
            .unwrap()
    }

    async fn orders_as(&self, name: &str) -> Orders {
        OrderServiceClient::new(self.connect_as(name).await)
    }
}

/// Everything that a writer of orders can try with the name of an order.
async fn tries(client: &Orders, name: &str) -> Vec<(&'static str, Result<(), Status>)> {
    let mut it = client.clone();
    let (name, request_id) = (name.to_owned(), fresh_id("try"));
    let mut tried = Vec::new();
    macro_rules! attempt {
        ($method:ident, $request:expr) => {
            tried.push((stringify!($method), it.$method($request).await.map(|_| ())));
        };
    }
    attempt!(get_order, v1::GetOrderRequest { name: name.clone() });
    attempt!(
        batch_get_orders,
        v1::BatchGetOrdersRequest {
            names: vec![name.clone()]
        }
    );
    attempt!(
        get_order_trace,
        v1::GetOrderTraceRequest { name: name.clone() }
    );
    attempt!(
        list_order_events,
        v1::ListOrderEventsRequest {
            parent: name.clone(),
            ..v1::ListOrderEventsRequest::default()
        }
    );
    attempt!(
        list_confirmations,
        v1::ListConfirmationsRequest {
            parent: name.clone()
        }
    );
    attempt!(
        list_tracking_events,
        v1::ListTrackingEventsRequest {
            parent: name.clone()
        }
    );
    attempt!(
        list_order_contacts,
        v1::ListOrderContactsRequest {
            parent: name.clone(),
            ..v1::ListOrderContactsRequest::default()
        }
    );
    attempt!(
        cancel_order,
        v1::CancelOrderRequest {
            name: name.clone(),
            request_id: request_id.clone(),
            reason: v1::CancelReason::Other.into(),
            ..v1::CancelOrderRequest::default()
        }
    );
    attempt!(
        amend_order,
        v1::AmendOrderRequest {
            order: Some(v1::Order {
                name,
                ..v1::Order::default()
            }),
            request_id,
            ..v1::AmendOrderRequest::default()
        }
    );
    tried
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn j_02_another_callers_order_is_as_if_it_were_not_there() {
    for database in TestDatabase::all().await {
        let system = System::start(database).await;
        let market = Market::open(
            &system,
            &[
                ("shop", &["ORDER_WRITER"]),
                ("rival", &["ORDER_WRITER"]),
                ("desk", &["AGENT"]),
            ],
        )
        .await;
        let mut shop = market.orders_as("shop").await;
        let rival = market.orders_as("rival").await;
        let desk = market.orders_as("desk").await;
        let order = shop
            .create_order(order_builder().request())
            .await
            .unwrap()
            .into_inner();
        let absent = "orders/01990000-0000-7000-8000-000000000000";

        for (method, outcome) in tries(&shop, &order.name).await {
            let code = outcome.err().map(|it| it.code());
            assert_ne!(code, Some(Code::NotFound), "{method} of one's own order");
        }
        assert_eq!(market.gate.refusals().take(), []);

        let foreign = tries(&rival, &order.name).await;
        let nowhere = tries(&rival, absent).await;
        for ((method, foreign), (_, nowhere)) in foreign.into_iter().zip(nowhere) {
            let (foreign, nowhere) = (foreign.unwrap_err(), nowhere.unwrap_err());
            assert_eq!(foreign.code(), Code::NotFound, "{method}: {foreign:?}");
            assert_eq!(foreign.code(), nowhere.code(), "{method}");
            // Word for word, but for the name that was asked for.
            assert_eq!(
                foreign.message().replace(&order.name, "it"),
                nowhere.message().replace(absent, "it"),
                "{method}"
            );
            assert_eq!(
                foreign.details().len() - order.name.len(),
                nowhere.details().len() - absent.len(),
                "{method}"
            );
        }
        let noted = market.gate.refusals().take();
        assert!(noted.iter().all(|it| it.caller == "rival"), "{noted:?}");
        assert!(noted.iter().all(|it| it.code == "NOT_FOUND"), "{noted:?}");
        let methods: BTreeSet<_> = noted.iter().map(|it| it.method).collect();
        assert!(methods.contains("/countersign.v1.OrderService/CancelOrder"));
        assert_eq!(noted.iter().map(|it| it.count).sum::<i64>(), 18);

        // Staff see it.
        let seen = desk
            .clone()
            .get_order(v1::GetOrderRequest {
                name: order.name.clone(),
            })
            .await;
        assert_eq!(seen.unwrap().into_inner().name, order.name);
        put_on_record(&system, noted).await;
    }
}

/// What was refused can be kept, and read again.
async fn put_on_record(
    system: &System,
    noted: Vec<countersign_runtime::callers::refusals::Refused>,
) {
    let rows: Vec<_> = noted
        .into_iter()
        .map(|it| AccessRefusal {
            minute: it.minute,
            caller: it.caller,
            method: it.method.to_owned(),
            code: it.code.to_owned(),
            peer: it.peer.to_owned(),
            count: it.count,
        })
        .collect();
    system.store.insert_access_refusals(&rows).await.unwrap();
    let mut kept = system
        .store
        .list_access_refusals(Some("rival"), 100)
        .await
        .unwrap();
    kept.sort_by(|a, b| a.method.cmp(&b.method));
    let mut rows = rows;
    rows.sort_by(|a, b| a.method.cmp(&b.method));
    assert_eq!(kept, rows);
    let others = system.store.list_access_refusals(Some("shop"), 100).await;
    assert_eq!(others.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn j_02_lists_and_watches_hold_ones_own_orders_only() {
    let system = System::sqlite().await;
    let market = Market::open(
        &system,
        &[
            ("shop", &["ORDER_WRITER"]),
            ("rival", &["ORDER_WRITER"]),
            ("desk", &["REPORTER"]),
        ],
    )
    .await;
    let mut own = Vec::new();
    for name in ["shop", "rival"] {
        let mut client = market.orders_as(name).await;
        let mut names = BTreeSet::new();
        for _ in 0..3 {
            let made = client.create_order(order_builder().request()).await;
            names.insert(made.unwrap().into_inner().name);
        }
        own.push((client, names));
    }
    for (client, names) in &own {
        let mut client = client.clone();
        for order_by in ["create_time", "create_time desc", "priority desc"] {
            let listed = list(&mut client, order_by).await;
            assert_eq!(&listed, names, "{order_by}");
        }
        let seen = watch(&mut client, names.len()).await;
        assert_eq!(&seen, names);
    }
    let mut desk = market.orders_as("desk").await;
    assert_eq!(list(&mut desk, "create_time").await.len(), 6);

    // Who watches from now on hears of one's own only, too.
    let (mut shop, _) = own.remove(0);
    let (mut rival, _) = own.remove(0);
    let mut stream = shop
        .watch_order_events(v1::WatchOrderEventsRequest::default())
        .await
        .unwrap()
        .into_inner();
    rival.create_order(order_builder().request()).await.unwrap();
    let made = shop.create_order(order_builder().request()).await;
    let made = made.unwrap().into_inner().name;
    let heard = loop {
        let answer = tokio::time::timeout(Duration::from_secs(30), stream.message()).await;
        if let Some(event) = answer.unwrap().unwrap().unwrap().event {
            break event;
        }
    };
    assert_eq!(heard.order, made);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn j_02_a_probable_duplicate_of_another_caller_is_named_to_staff_only() {
    let system = System::sqlite().await;
    let market = Market::open(
        &system,
        &[
            ("shop", &["ORDER_WRITER"]),
            ("rival", &["ORDER_WRITER"]),
            ("desk", &["AGENT"]),
        ],
    )
    .await;
    let mut shop = market.orders_as("shop").await;
    let mut rival = market.orders_as("rival").await;
    let mut desk = market.orders_as("desk").await;
    let like = |customer: &'static str| {
        order_builder().with(|order| order.customer = format!("customers/{customer}"))
    };
    let made = shop.create_order(like("TWICE-1").request()).await.unwrap();
    let first = made.into_inner().name;
    let id = first.trim_start_matches("orders/").to_owned();

    // The rival hears that there is one, by whatever call, and not which.
    let made = rival.create_order(like("TWICE-1").request()).await.unwrap();
    let second = made.into_inner();
    let duplicate = |order: &v1::Order| {
        let found = order.findings.iter();
        found
            .clone()
            .find(|it| it.rule == "probable-duplicate")
            .cloned()
    };
    let finding = duplicate(&second).unwrap();
    assert!(finding.message.contains("another caller"), "{finding:?}");
    let name = second.name.clone();
    let get = v1::GetOrderRequest { name: name.clone() };
    let trace = v1::GetOrderTraceRequest { name: name.clone() };
    let shown = [
        format!("{second:?}"),
        format!("{:?}", rival.get_order(get.clone()).await.unwrap()),
        format!("{:?}", rival.get_order_trace(trace).await.unwrap()),
        format!(
            "{:?}",
            rival.list_orders(v1::ListOrdersRequest::default()).await
        ),
    ];
    for text in shown {
        assert!(!text.contains(&id), "{text}");
    }
    // Staff see which.
    let seen = desk.get_order(get).await.unwrap().into_inner();
    assert_eq!(duplicate(&seen).unwrap().related_order, first);

    // One's own is named to oneself.
    let made = shop.create_order(like("TWICE-2").request()).await.unwrap();
    let third = made.into_inner().name;
    let made = shop.create_order(like("TWICE-2").request()).await.unwrap();
    let finding = duplicate(&made.into_inner()).unwrap();
    assert!(finding.message.contains(&third), "{finding:?}");
}

async fn list(client: &mut Orders, order_by: &str) -> BTreeSet<String> {
    let request = v1::ListOrdersRequest {
        order_by: order_by.to_owned(),
        ..v1::ListOrdersRequest::default()
    };
    let answer = client.list_orders(request).await.unwrap().into_inner();
    answer.orders.into_iter().map(|order| order.name).collect()
}

/// The orders of the events from the beginning on, until so many are known and nothing more comes.
async fn watch(client: &mut Orders, count: usize) -> BTreeSet<String> {
    let mut stream = client
        .watch_order_events(v1::WatchOrderEventsRequest {
            resume_token: "0".to_owned(),
            ..v1::WatchOrderEventsRequest::default()
        })
        .await
        .unwrap()
        .into_inner();
    let mut seen = BTreeSet::new();
    loop {
        let patience = if seen.len() < count { 30 } else { 1 };
        match tokio::time::timeout(Duration::from_secs(patience), stream.message()).await {
            Ok(answer) => seen.extend(answer.unwrap().unwrap().event.map(|event| event.order)),
            Err(_) => return seen,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn j_02_numbers_and_papers_of_others_are_not_there_either() {
    let system = System::sqlite().await;
    let market = Market::open(
        &system,
        &[("shop", &["ORDER_WRITER"]), ("rival", &["ORDER_WRITER"])],
    )
    .await;
    let mut shop = market.orders_as("shop").await;
    let mut rival = market.orders_as("rival").await;
    let made = shop.create_order(order_builder().request()).await;
    let name = made.unwrap().into_inner().name;
    let order = system.accept(&name).await;
    let number = order.order_number;
    assert!(!number.is_empty());

    for name in [number.clone(), format!("orders/{number}")] {
        let request = v1::GetOrderRequest { name };
        assert!(shop.get_order(request.clone()).await.is_ok());
        let refused = rival.get_order(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::NotFound);
        let id = order.name.trim_start_matches("orders/");
        assert!(!refused.message().contains(id), "{refused:?}");
    }
    let request = v1::LookupOrderStatusRequest {
        order_number: number,
        phone_last_digits: PHONE[PHONE.len() - 4..].to_owned(),
    };
    assert!(shop.lookup_order_status(request.clone()).await.is_ok());
    let refused = rival.lookup_order_status(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound);
    assert!(!refused.message().contains(CITY));

    let papers = |name: &str| {
        (
            format!("{name}/deliveryNotes/-"),
            format!("{name}/servicePack"),
        )
    };
    let (note, pack) = papers(&order.name);
    for (mine, name) in [(true, "shop"), (false, "rival")] {
        let mut papers = FulfillmentServiceClient::new(market.connect_as(name).await);
        let noted = papers
            .get_delivery_note(v1::GetDeliveryNoteRequest { name: note.clone() })
            .await;
        let packed = papers
            .get_service_pack(v1::GetServicePackRequest { name: pack.clone() })
            .await;
        for code in [
            noted.err().map(|it| it.code()),
            packed.err().map(|it| it.code()),
        ] {
            assert_eq!(code, (!mine).then_some(Code::NotFound), "{name}");
        }
    }
}
