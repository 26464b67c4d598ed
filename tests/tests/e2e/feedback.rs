//! Customers are asked how it was, say it, and are listened to.

use chrono::Duration;
use countersign_e2e::{
    System, fresh_id, kinds, order_builder, reason, refused, timestamp, violated_fields,
};
use countersign_proto::v1::{
    self, FeedbackSource as Source, FeedbackTag as Tag, FollowUp, OrderState as S,
    feedback_service_client::FeedbackServiceClient,
};
use futures::TryStreamExt as _;
use tonic::{Code, transport::Channel};

type Feedback = FeedbackServiceClient<Channel>;

async fn feedback(system: &System) -> Feedback {
    let address = system.replicas[0].address;
    Feedback::connect(format!("http://{address}"))
        .await
        .unwrap()
}

/// An order whose goods have just arrived.
async fn delivered(system: &System, order: v1::CreateOrderRequest) -> v1::Order {
    let mut orders = system.orders().await;
    let placed = orders.create_order(order).await.unwrap().into_inner();
    system.accept(&placed.name).await;
    let now = system.store.now().await.unwrap();
    orders
        .record_tracking_event(v1::RecordTrackingEventRequest {
            parent: placed.name.clone(),
            request_id: fresh_id("track"),
            event: Some(v1::TrackingEvent {
                source: "carrier".to_owned(),
                source_event_id: fresh_id("event"),
                status: v1::TrackingStatus::Delivered.into(),
                report_time: Some(timestamp(now)),
                ..v1::TrackingEvent::default()
            }),
        })
        .await
        .unwrap();
    let order = system.order(&placed.name).await;
    assert_eq!(order.state(), S::Delivered);
    order
}

/// Waits until it is decided whether the customer is asked; answers the event.
async fn decided(system: &System, name: &str) -> v1::OrderEvent {
    for _ in 0..200 {
        let events = system.trace(name).await.events;
        if let Some(event) = events
            .iter()
            .find(|it| it.kind.starts_with("order.survey_"))
        {
            return event.clone();
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("nothing was decided about {name}");
}

fn said(order: &v1::Order, stars: i32) -> v1::RecordFeedbackRequest {
    v1::RecordFeedbackRequest {
        parent: order.name.clone(),
        request_id: fresh_id("feedback"),
        feedback: Some(v1::Feedback {
            stars,
            source: Source::Page.into(),
            given_by: "customer".to_owned(),
            ..v1::Feedback::default()
        }),
        ..v1::RecordFeedbackRequest::default()
    }
}

#[tokio::test]
async fn a_customer_is_asked_once_and_a_low_score_is_followed_up() {
    let system = System::sqlite().await;
    let mut client = feedback(&system).await;
    let order = delivered(&system, order_builder().request()).await;
    system.store.shift_clock(Duration::hours(25));
    let asked = decided(&system, &order.name).await;
    assert_eq!(asked.kind, "order.survey_sent");
    assert_eq!(asked.decided_by, "ECOMMERCE@1");
    assert!(!asked.public);

    let mut request = said(&order, 2);
    let given = request.feedback.as_mut().unwrap();
    given.tags = vec![Tag::Late.into(), Tag::Damaged.into()];
    given.words = "The lid is broken. 盖子坏了".to_owned();
    given.lines = vec![v1::FeedbackLine {
        line_number: 2,
        stars: 5,
        ..v1::FeedbackLine::default()
    }];
    let first = client.record_feedback(request.clone()).await.unwrap();
    assert!(first.metadata().get("idempotent-replayed").is_none());
    let first = first.into_inner();
    assert_eq!(first.follow_up(), FollowUp::Open);
    assert_eq!((first.lines.len(), first.lines[0].stars), (2, 2));
    assert_eq!((first.lines[1].stars, first.lines[1].own), (5, true));
    assert_eq!(first.lines[0].sku, "KETTLE-17");
    assert_eq!(first.lines[0].warehouse, countersign_e2e::WAREHOUSE);
    let again = client.record_feedback(request).await.unwrap();
    assert!(again.metadata().get("idempotent-replayed").is_some());
    assert_eq!(again.into_inner(), first);

    let open = v1::ListFeedbackRequest {
        filter: "follow_up = OPEN AND product = KETTLE-17 AND tag = DAMAGED AND stars <= 2"
            .to_owned(),
        ..v1::ListFeedbackRequest::default()
    };
    let listed = client
        .list_feedback(open.clone())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(listed.feedback, std::slice::from_ref(&first));
    let resolve = v1::ResolveFeedbackRequest {
        name: first.name.clone(),
        request_id: fresh_id("resolve"),
        resolution: "Rang the customer; a new lid is on its way".to_owned(),
        resolved_by: "li.na".to_owned(),
    };
    let resolved = client.resolve_feedback(resolve.clone()).await.unwrap();
    let resolved = resolved.into_inner();
    assert_eq!(resolved.follow_up(), FollowUp::Resolved);
    assert_eq!(resolved.resolved_by, "li.na");
    assert_eq!(
        client.resolve_feedback(resolve).await.unwrap().into_inner(),
        resolved
    );
    assert_eq!(
        client
            .list_feedback(open)
            .await
            .unwrap()
            .into_inner()
            .feedback,
        []
    );

    let get = v1::GetFeedbackRequest {
        name: first.name.clone(),
    };
    assert_eq!(
        client.get_feedback(get).await.unwrap().into_inner(),
        resolved
    );
    let trace = system.trace(&order.name).await;
    assert_eq!(trace.feedback, [resolved]);
    let told = kinds(&trace.events);
    let end = told.len() - 3;
    assert_eq!(
        told[end..],
        [
            "order.survey_sent",
            "order.feedback_received",
            "order.feedback_resolved"
        ]
    );
    assert!(!format!("{:?}", trace.events).contains("lid is broken"));
}

#[tokio::test]
async fn a_customer_who_was_just_asked_or_has_already_answered_is_left_alone() {
    let system = System::sqlite().await;
    let mut client = feedback(&system).await;
    let of = |customer: &str| {
        let customer = customer.to_owned();
        order_builder()
            .with(|order| order.customer = customer)
            .request()
    };
    let first = delivered(&system, of("C-TWICE")).await;
    // Other goods, or it would pass for a duplicate.
    let tea = order_builder()
        .line("TEA-100", 1)
        .with(|order| order.customer = "C-TWICE".to_owned());
    let second = delivered(&system, tea.request()).await;
    let answered = delivered(&system, of("C-EAGER")).await;
    client.record_feedback(said(&answered, 5)).await.unwrap();
    system.store.shift_clock(Duration::hours(25));
    let decisions = [
        decided(&system, &first.name).await,
        decided(&system, &second.name).await,
    ];
    let mut outcomes = decisions.map(|event| (event.kind, event.reason));
    outcomes.sort();
    assert_eq!(
        outcomes,
        [
            ("order.survey_sent".to_owned(), String::new()),
            (
                "order.survey_withheld".to_owned(),
                "RECENTLY_ASKED".to_owned()
            )
        ]
    );
    assert_eq!(decided(&system, &answered.name).await.reason, "ANSWERED");
    let contents = system
        .database
        .number("SELECT COUNT(*) AS n FROM outbox WHERE kind = 'SURVEY'")
        .await;
    assert_eq!(contents, 1);
}

#[tokio::test]
async fn what_customers_say_is_counted_with_its_trend_and_taken_out_as_rows() {
    let system = System::sqlite().await;
    let mut client = feedback(&system).await;
    let start = system.store.now().await.unwrap();
    for (day, stars) in [(0, vec![2, 4]), (1, vec![5, 5, 4])] {
        for stars in stars {
            let order = delivered(&system, order_builder().request()).await;
            let mut request = said(&order, stars);
            request.feedback.as_mut().unwrap().words = "=cmd|' /C calc'!A0".to_owned();
            client.record_feedback(request).await.unwrap();
        }
        if day == 0 {
            system.store.shift_clock(Duration::days(1));
        }
    }
    let request = v1::SummarizeFeedbackRequest {
        period: v1::FeedbackPeriod::Day.into(),
        start_time: Some(timestamp(start)),
        end_time: Some(timestamp(start + Duration::days(2))),
        ..v1::SummarizeFeedbackRequest::default()
    };
    let summaries = client.summarize_feedback(request.clone()).await.unwrap();
    let filled: Vec<_> = summaries
        .into_inner()
        .summaries
        .into_iter()
        .filter(|summary| summary.count > 0)
        .collect();
    assert_eq!(filled.len(), 2);
    assert_eq!(filled[0].distribution, [0, 1, 0, 1, 0]);
    assert_eq!((filled[0].mean, filled[0].mean_change), (Some(3.0), None));
    assert_eq!((filled[1].count, filled[1].count_change), (3, 1));
    let change = filled[1].mean_change.unwrap();
    assert!((change - (14.0 / 3.0 - 3.0)).abs() < 1e-9, "{change}");
    // The first day's customers are asked on the second.
    let by_goods = v1::SummarizeFeedbackRequest {
        group_by: v1::FeedbackGrouping::Product.into(),
        ..request.clone()
    };
    let goods = client
        .summarize_feedback(by_goods)
        .await
        .unwrap()
        .into_inner();
    let second_day: Vec<_> = goods
        .summaries
        .iter()
        .filter(|it| it.count == 3)
        .map(|it| it.group.as_str())
        .collect();
    assert_eq!(second_day, ["CUP-4", "KETTLE-17"]);
    let by_warehouse = v1::SummarizeFeedbackRequest {
        group_by: v1::FeedbackGrouping::Warehouse.into(),
        ..request
    };
    let warehouses = client
        .summarize_feedback(by_warehouse)
        .await
        .unwrap()
        .into_inner();
    assert!(
        warehouses
            .summaries
            .iter()
            .all(|it| it.group == countersign_e2e::WAREHOUSE)
    );

    let mut export = async |filter: &str, format: v1::ExportFormat| {
        let request = v1::ExportFeedbackRequest {
            filter: filter.to_owned(),
            format: format.into(),
        };
        let stream = client.export_feedback(request).await.unwrap().into_inner();
        let rows: Vec<v1::ExportFeedbackResponse> = stream.try_collect().await.unwrap();
        rows.into_iter().map(|it| it.row).collect::<Vec<_>>()
    };
    let csv = export("stars >= 4", v1::ExportFormat::Csv).await;
    assert_eq!(csv.len(), 5);
    assert!(csv[0].starts_with("\"name\",\"order\",\"create_time\""));
    assert!(
        csv[1..]
            .iter()
            .all(|row| row.contains("\"'=cmd|") && row.ends_with("\r\n"))
    );
    let json = export("", v1::ExportFormat::Jsonl).await;
    assert_eq!(json.len(), 5);
    let row: serde_json::Value = serde_json::from_str(&json[0]).unwrap();
    assert_eq!((&row["stars"], &row["source"]), (&4.into(), &"PAGE".into()));
    assert_eq!(row["words"], "=cmd|' /C calc'!A0");
}

#[tokio::test]
async fn feedback_that_cannot_be_is_refused_by_field() {
    let system = System::sqlite().await;
    let mut client = feedback(&system).await;
    let mut orders = system.orders().await;
    let early = orders
        .create_order(order_builder().request())
        .await
        .unwrap()
        .into_inner();
    let status = refused(
        client.record_feedback(said(&early, 5)).await,
        Code::FailedPrecondition,
    );
    assert_eq!(reason(&status), "PRECONDITION");

    let order = delivered(&system, order_builder().request()).await;
    let mut wrong = said(&order, 6);
    wrong.request_id = String::new();
    let given = wrong.feedback.as_mut().unwrap();
    given.tags = vec![99];
    given.words = "字".repeat(1_001);
    let status = refused(client.record_feedback(wrong).await, Code::InvalidArgument);
    let mut fields = violated_fields(&status);
    fields.sort();
    assert_eq!(
        fields,
        [
            "feedback.stars",
            "feedback.tags[0]",
            "feedback.words",
            "request_id"
        ]
    );
    let mut other_line = said(&order, 3);
    other_line.feedback.as_mut().unwrap().lines = vec![v1::FeedbackLine {
        line_number: 7,
        stars: 3,
        ..v1::FeedbackLine::default()
    }];
    let status = refused(
        client.record_feedback(other_line).await,
        Code::InvalidArgument,
    );
    assert_eq!(violated_fields(&status), ["feedback.lines[0].line_number"]);

    for (filter, told) in [
        ("star = 1", "unknown field"),
        ("stars = 9", "must be 1 to 5"),
        ("tag = BAD", "must be one of"),
    ] {
        let request = v1::ListFeedbackRequest {
            filter: filter.to_owned(),
            ..v1::ListFeedbackRequest::default()
        };
        let status = refused(client.list_feedback(request).await, Code::InvalidArgument);
        assert!(status.message().contains(told), "{status:?}");
    }
    let empty = client
        .summarize_feedback(v1::SummarizeFeedbackRequest::default())
        .await;
    assert_eq!(
        violated_fields(&refused(empty, Code::InvalidArgument)),
        ["period"]
    );
    let nothing = client
        .export_feedback(v1::ExportFeedbackRequest::default())
        .await;
    assert_eq!(
        refused(nothing.map(|_| ()), Code::InvalidArgument).code(),
        Code::InvalidArgument
    );

    // The time is over for the customer; what a member of staff was told counts.
    system.store.shift_clock(Duration::days(31));
    let status = refused(
        client.record_feedback(said(&order, 5)).await,
        Code::FailedPrecondition,
    );
    assert_eq!(reason(&status), "PRECONDITION");
    let mut told = said(&order, 5);
    told.feedback.as_mut().unwrap().source = 0;
    let told = client.record_feedback(told).await.unwrap().into_inner();
    assert_eq!(told.source(), Source::Staff);
}
