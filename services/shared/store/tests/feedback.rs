//! Surveys and feedback on every database.
#![cfg(test)]

use chrono::{DateTime, Duration, Utc};
use countersign_domain::{
    decide::{
        Context, Decision, FeedbackFacts, SurveyFacts, TrackingFacts, record_feedback,
        resolve_feedback, survey, track,
    },
    feedback::{FeedbackAnswer, FeedbackSource, FeedbackTag, FollowUp, LineStars},
    ids::{CommitId, FeedbackId, OrderId, TrackingEventId},
    order::OrderState,
    survey::{Subject, SurveyRules, SurveyState},
    tracking::{TrackingDetails, TrackingEvent, TrackingStatus},
};
use countersign_store::{
    AskedCount, Comparison, FeedbackField as F, FeedbackFilter, FeedbackGrouping, FeedbackKey,
    FeedbackQuery, Filter, Operand, SaveExtras, Saved, StarsCount, Store,
    testing::{TestDatabase, shop::Shop},
};
use rand::{SeedableRng, rngs::StdRng};
use sea_orm::{ConnectionTrait as _, Statement};
use uuid::Uuid;

const fn context(now: DateTime<Utc>) -> Context<'static> {
    Context {
        now,
        actor: "test",
        request_id: "",
        traceparent: None,
    }
}

struct Stage {
    shop: Shop,
    store: Store,
    rng: StdRng,
}

impl Stage {
    fn new(store: &Store) -> Self {
        let mut shop = Shop::new(store.clone());
        shop.policy.survey = Some(SurveyRules {
            delay_seconds: 60,
            expire_seconds: 86_400,
            customer_pause_seconds: 3_600,
            low_stars_max: 2,
            total_min: None,
        });
        Self {
            shop,
            store: store.clone(),
            rng: StdRng::seed_from_u64(9),
        }
    }

    /// An order whose goods arrived.
    async fn delivered(&mut self) -> OrderId {
        let id = self
            .shop
            .order(Some("canary@example.com"), Some("+8613912345678"))
            .await
            .id;
        self.shop.accept(id).await;
        let mut order = self.store.find_order(id).await.unwrap().unwrap();
        // Goods that the supplier ships are promised by nobody's stock.
        for line in &mut order.lines {
            line.counters.reserved = line.counters.ordered;
        }
        let now = self.store.now().await.unwrap();
        let mut event = TrackingEvent {
            id: TrackingEventId::new_v7(now, &mut self.rng),
            source: "carrier".into(),
            source_event_id: "1".into(),
            status: TrackingStatus::Delivered,
            reason: String::new(),
            report_time: now,
            receive_time: now,
            details: TrackingDetails::default(),
            anomalies: Vec::new(),
        };
        let policy = self.shop.policy.clone();
        let facts = TrackingFacts {
            known: &[],
            policy: &policy,
        };
        let mut decision = track(&order, &mut event, &facts, &context(now)).unwrap();
        if let Decision::Change(change) = &mut decision {
            change.stock.clear();
        }
        self.shop.save(decision).await;
        let order = self.store.find_order(id).await.unwrap().unwrap();
        assert_eq!(order.state, OrderState::Delivered);
        assert!(order.progress.feedback_until.is_some());
        id
    }

    async fn ask(&self, id: OrderId) -> Decision {
        let order = self.store.find_order(id).await.unwrap().unwrap();
        let facts = SurveyFacts {
            policy: &self.shop.policy,
            decided: false,
            answered: false,
            opted_out: false,
            last_ask_time: self.store.last_ask_time(&order.customer).await.unwrap(),
        };
        survey(&order, &facts, &context(self.store.now().await.unwrap()))
    }

    async fn write(&mut self, decision: &Decision) -> Saved {
        let Decision::Change(change) = decision else {
            panic!("nothing to write");
        };
        let now = change.event.create_time;
        let mut id = || CommitId::new_v7(now, &mut self.rng);
        let extras = SaveExtras {
            outbox_ids: change.messages.iter().map(|_| id().as_uuid()).collect(),
            ..SaveExtras::default()
        };
        let commit = id();
        self.store.save(commit, change, &extras).await.unwrap()
    }

    async fn say(&mut self, id: OrderId, answer: &FeedbackAnswer) {
        let order = self.store.find_order(id).await.unwrap().unwrap();
        let known = self.store.find_feedback_about(id, Subject::DELIVERY).await;
        let now = self.store.now().await.unwrap();
        let facts = FeedbackFacts {
            known: known.as_ref().unwrap().as_ref(),
            new_id: FeedbackId::new_v7(now, &mut self.rng),
            low_stars_max: 2,
            given_by: "customer",
            receive_time: now,
        };
        let decision = record_feedback(&order, answer, &facts, &context(now)).unwrap();
        assert_eq!(self.write(&decision).await, Saved::Done);
    }

    async fn list(&self, filter: Option<FeedbackFilter>) -> Vec<OrderId> {
        let query = FeedbackQuery {
            filter,
            after: None,
            limit: 50,
        };
        let found = self.store.list_feedback(&query).await.unwrap();
        found.items.iter().map(|said| said.order_id).collect()
    }
}

fn page(stars: u32, words: &str, tags: &[FeedbackTag]) -> FeedbackAnswer {
    FeedbackAnswer {
        words: words.into(),
        tags: tags.to_vec(),
        ..FeedbackAnswer::of_stars(stars, FeedbackSource::Page)
    }
}

fn is(field: F, text: &str) -> FeedbackFilter {
    Filter::Field(field, Comparison::Equal, Operand::Text(text.into()))
}

#[tokio::test]
async fn two_orders_off_the_same_van_ask_their_customer_once() {
    for database in TestDatabase::all().await {
        let mut stage = Stage::new(&database.store);
        let (first, second) = (stage.delivered().await, stage.delivered().await);
        // Decided side by side: neither knows of the other.
        let (one, two) = (stage.ask(first).await, stage.ask(second).await);
        assert_eq!(stage.write(&one).await, Saved::Done);
        assert_eq!(stage.write(&two).await, Saved::Outdated);
        let again = stage.ask(second).await;
        assert_eq!(stage.write(&again).await, Saved::Done);
        let found = async |id| {
            let survey = stage.store.find_survey(id, Subject::DELIVERY).await;
            survey.unwrap().unwrap()
        };
        assert_eq!(found(first).await.state, SurveyState::Asked);
        assert_eq!(found(second).await.state, SurveyState::Withheld);
        // After the pause the claim passes on; it is taken once.
        database.store.shift_clock(Duration::hours(2));
        let (third, fourth) = (stage.delivered().await, stage.delivered().await);
        let (one, two) = (stage.ask(third).await, stage.ask(fourth).await);
        assert_eq!(stage.write(&two).await, Saved::Done);
        assert_eq!(stage.write(&one).await, Saved::Outdated);
    }
}

#[tokio::test]
async fn feedback_is_kept_as_it_was_said_and_changed_whole() {
    for database in TestDatabase::all().await {
        let store = &database.store;
        let mut stage = Stage::new(store);
        let id = stage.delivered().await;
        let asked = stage.ask(id).await;
        stage.write(&asked).await;
        let words = "<b>茶</b> 👍🏽 \"=1\"\n第二行";
        let tags = [FeedbackTag::Late, FeedbackTag::GoodQuality];
        let mut answer = page(5, words, &tags);
        answer.lines = vec![LineStars {
            line_number: 1,
            stars: 1,
        }];
        stage.say(id, &answer).await;
        let said = async || {
            let said = store.find_feedback_about(id, Subject::DELIVERY).await;
            said.unwrap().unwrap()
        };
        let first = said().await;
        assert_eq!(first.answer.words, words);
        assert_eq!(
            first.answer.tags,
            [FeedbackTag::GoodQuality, FeedbackTag::Late]
        );
        assert_eq!(first.answer.lines, answer.lines);
        assert_eq!((first.lines.len(), first.lines[0].stars), (1, 1));
        assert_eq!(first.follow_up, FollowUp::Open);
        assert_eq!(store.find_feedback(first.id).await.unwrap().unwrap(), first);
        let survey = store.find_survey(id, Subject::DELIVERY).await.unwrap();
        assert_eq!(survey.unwrap().answer_time, Some(first.answer_time));

        let order = store.find_order(id).await.unwrap().unwrap();
        let now = store.now().await.unwrap();
        let resolved = resolve_feedback(&order, &first, "换了一个", "li.na", &context(now));
        assert_eq!(stage.write(&resolved.unwrap()).await, Saved::Done);
        let resolved = said().await;
        assert_eq!(resolved.follow_up, FollowUp::Resolved);
        assert_eq!(resolved.resolution.as_ref().unwrap().text, "换了一个");

        stage.say(id, &page(4, "", &[])).await;
        let second = said().await;
        assert_eq!((second.id, second.answers), (first.id, 2));
        assert_eq!(
            (second.answer.stars, second.answer.words.as_str()),
            (4, words)
        );
        assert!(second.answer.tags.is_empty() && !second.lines[0].own);
        assert_eq!(second.create_time, first.create_time);
        assert_eq!(second.resolution, resolved.resolution);
    }
}

#[tokio::test]
async fn feedback_is_found_by_all_that_it_is_tied_to() {
    use FeedbackTag::{Damaged, Late, OnTime};
    for database in TestDatabase::all().await {
        let mut stage = Stage::new(&database.store);
        let mut ids = Vec::new();
        for answer in [
            page(5, "", &[OnTime]),
            page(1, "late", &[Late, Damaged]),
            FeedbackAnswer::of_stars(3, FeedbackSource::Sms),
        ] {
            let id = stage.delivered().await;
            stage.say(id, &answer).await;
            database.store.shift_clock(Duration::hours(1));
            ids.push(id);
        }
        let [good, bad, middling] = ids[..] else {
            panic!("three orders");
        };
        assert_eq!(stage.list(None).await, [middling, bad, good]);
        assert_eq!(stage.list(Some(is(F::Tag, "LATE"))).await, [bad]);
        let not_late = Filter::Field(F::Tag, Comparison::NotEqual, Operand::Text("LATE".into()));
        assert_eq!(stage.list(Some(not_late)).await, [middling, good]);
        assert_eq!(stage.list(Some(is(F::FollowUp, "OPEN"))).await, [bad]);
        assert_eq!(stage.list(Some(is(F::Source, "SMS"))).await, [middling]);
        assert_eq!(stage.list(Some(is(F::Product, "SKU-1"))).await.len(), 3);
        assert_eq!(stage.list(Some(is(F::Product, "sku-1"))).await, []);
        assert_eq!(stage.list(Some(is(F::Warehouse, "W"))).await, []);
        let order = is(F::Order, &good.as_uuid().to_string());
        assert_eq!(stage.list(Some(order)).await, [good]);
        let low = Filter::Field(F::Stars, Comparison::LessOrEqual, Operand::Number(3));
        assert_eq!(
            stage
                .list(Some(Filter::All(vec![low, is(F::Customer, "C-1")])))
                .await,
            [middling, bad]
        );

        let mut query = FeedbackQuery {
            limit: 2,
            ..FeedbackQuery::default()
        };
        let first = database.store.list_feedback(&query).await.unwrap();
        assert!(first.more && first.items.len() == 2);
        query.after = Some(FeedbackKey::of(&first.items[1]));
        let rest = database.store.list_feedback(&query).await.unwrap();
        assert!(!rest.more);
        assert_eq!(rest.items[0].order_id, good);
    }
}

#[tokio::test]
async fn the_database_counts_stars_and_answers_by_group() {
    use FeedbackGrouping as G;
    for database in TestDatabase::all().await {
        let store = &database.store;
        let mut stage = Stage::new(store);
        let start = store.now().await.unwrap();
        for answer in [Some(page(5, "", &[])), Some(page(2, "", &[])), None] {
            let id = stage.delivered().await;
            let asked = stage.ask(id).await;
            stage.write(&asked).await;
            if let Some(mut answer) = answer {
                answer.lines = vec![LineStars {
                    line_number: 1,
                    stars: 4,
                }];
                stage.say(id, &answer).await;
            }
            store.shift_clock(Duration::hours(2));
        }
        let end = store.now().await.unwrap();
        let gave = |group: &str, stars, count| StarsCount {
            group: group.into(),
            stars,
            count,
        };
        for (grouping, group) in [
            (G::Nothing, ""),
            (G::Channel, "web"),
            (G::OrderType, "ECOMMERCE"),
            (G::Source, "PAGE"),
            (G::Warehouse, ""),
        ] {
            let mut found = store.count_feedback(grouping, start, end).await.unwrap();
            found.sort_by_key(|found| found.stars);
            assert_eq!(found, [gave(group, 2, 1), gave(group, 5, 1)]);
        }
        let goods = store.count_feedback(G::Product, start, end).await.unwrap();
        assert_eq!(goods, [gave("SKU-1", 4, 2)]);
        let before = store.count_feedback(G::Nothing, start - Duration::days(1), start);
        assert_eq!(before.await.unwrap(), []);
        for (grouping, group) in [
            (G::Nothing, ""),
            (G::Channel, "web"),
            (G::OrderType, "ECOMMERCE"),
            (G::Warehouse, ""),
            (G::Product, "SKU-1"),
        ] {
            let asked = AskedCount {
                group: group.into(),
                asked: 3,
                answered: 2,
            };
            assert_eq!(
                store.count_asked(grouping, start, end).await.unwrap(),
                [asked]
            );
        }
        assert_eq!(store.count_asked(G::Source, start, end).await.unwrap(), []);
    }
}

/// Fills the tables with feedback of two years, most of it good.
async fn seed(store: &Store) {
    let statements = [
        "INSERT INTO feedback (id, order_id, kind, number, stars, words, source, given_by, customer, order_type, \
         source_channel, answers, follow_up, create_time, answer_time) \
         WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 900) \
         SELECT UNHEX(LEFT(SHA2(CONCAT(a.i, '-', b.i), 256), 32)), UNHEX(LEFT(SHA2(CONCAT('o', a.i, '-', b.i), 256), 32)), 'DELIVERY', 1, 1 + a.i % 5, '', \
         'PAGE', 'customer', CONCAT('C-', a.i), 'ECOMMERCE', 'web', 1, IF(a.i % 100 = 0, 'OPEN', 'NONE'), \
         TIMESTAMPADD(MINUTE, a.i * 20 + b.i, '2026-01-01'), TIMESTAMPADD(MINUTE, a.i * 20 + b.i, '2026-01-01') \
         FROM n a JOIN n b ON b.i <= 20",
        "INSERT INTO feedback_lines (feedback_id, line_number, sku, warehouse, stars, own, create_time) \
         SELECT id, 1, CONCAT('SKU-', CRC32(id) % 400), CONCAT('W-', CRC32(id) % 300), stars, FALSE, create_time FROM feedback",
        "INSERT INTO feedback_tags (feedback_id, tag) SELECT id, IF(CRC32(id) % 200 = 0, 'DAMAGED', 'ON_TIME') FROM feedback",
        "ANALYZE TABLE feedback, feedback_lines, feedback_tags",
    ];
    for sql in statements {
        store
            .connection()
            .query_all_raw(Statement::from_string(
                store.connection().get_database_backend(),
                sql,
            ))
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn lists_of_feedback_use_their_indexes() {
    for database in TestDatabase::all().await.into_iter().skip(1) {
        let store = &database.store;
        seed(store).await;
        let keys = async |filter: Option<FeedbackFilter>, later: bool| {
            let after = later.then(|| FeedbackKey {
                create_time: "2026-01-05T00:00:00Z".parse().unwrap(),
                id: FeedbackId::from_uuid(Uuid::max()),
            });
            let query = FeedbackQuery {
                filter,
                after,
                limit: 50,
            };
            store.explain_feedback_list(&query).await.unwrap()
        };
        for later in [false, true] {
            let newest = keys(None, later).await;
            assert!(newest.contains("ix_feedback_time"), "{newest}");
            assert!(!newest.contains("filesort"), "{newest}");
            let open = keys(Some(is(F::FollowUp, "OPEN")), later).await;
            assert!(open.contains("ix_feedback_"), "{open}");
            assert!(!open.contains("filesort"), "{open}");
        }
        for (field, text, index) in [
            (F::Product, "SKU-7", "ix_feedback_lines_sku"),
            (F::Warehouse, "W-7", "ix_feedback_lines_warehouse"),
            (F::Tag, "DAMAGED", "ix_feedback_tags_tag"),
        ] {
            let found = keys(Some(is(field, text)), false).await;
            assert!(
                found.contains(index) || found.contains("PRIMARY"),
                "{found}"
            );
            // What the index finds is gathered and sorted; no table is read from end to end.
            let mut tables = found.lines().filter(|row| !row.starts_with('<'));
            assert!(tables.all(|row| !row.contains(" none")), "{found}");
        }
        let order = keys(Some(is(F::Order, &Uuid::nil().to_string())), false).await;
        assert!(
            order.contains("uq_feedback_subject") || order.contains("Impossible"),
            "{order}"
        );
    }
}
